//! Agreement by hand, at its limits, against the matrix of coincidences written out, and the coverage of its intervals.

use super::{
    KappaWeights, Level, Rating, Ratings, alpha, alpha_interval, cohen_kappa, cohen_kappa_interval, fleiss_kappa,
    fleiss_kappa_interval, rater_shares, rater_shares_interval, shares, shares_interval,
};
use crate::StatsError;
use crate::bootstrap::Bootstrap;
use crate::testing::uniform;

const LEVELS: [Level; 3] = [Level::Nominal, Level::Ordinal, Level::Interval];
const WEIGHTS: [KappaWeights; 3] = [KappaWeights::Unweighted, KappaWeights::Linear, KappaWeights::Quadratic];

/// A table with one row of ratings per unit.
fn table(units: &[&[f64]]) -> Ratings {
    let rating = |(unit, row): (usize, &&[f64])| {
        let row = row.to_vec();
        row.into_iter().enumerate().map(move |(rater, value)| Rating { unit, rater, value })
    };
    Ratings::new(units.iter().enumerate().flat_map(rating)).unwrap()
}

/// Ratings of a yes or no that each rater gets right with probability `right`, a rating being missing with `missing`.
fn simulated(units: usize, raters: usize, right: f64, missing: f64, random: &mut impl FnMut() -> f64) -> Ratings {
    let mut triples = Vec::new();
    for unit in 0..units {
        let truth = u32::from(random() < 0.5);
        for rater in 0..raters {
            let answer = if random() < right { truth } else { 1 - truth };
            if random() >= missing {
                triples.push((unit, rater, answer));
            }
        }
    }
    Ratings::of_categories(triples).unwrap()
}

/// Alpha with the matrix of coincidences written out, as in Krippendorff's paper.
fn alpha_by_matrix(ratings: &Ratings, level: Level) -> f64 {
    let values = ratings.values();
    let k = values.len();
    let mut coincidences = vec![vec![0.0; k]; k];
    for cells in ratings.by_unit().filter(|cells| cells.len() >= 2) {
        for (at, a) in cells.iter().enumerate() {
            for (other, b) in cells.iter().enumerate() {
                if at != other {
                    coincidences[a.value as usize][b.value as usize] += 1.0 / (cells.len() - 1) as f64;
                }
            }
        }
    }
    let margins: Vec<f64> = coincidences.iter().map(|row| row.iter().sum()).collect();
    let total: f64 = margins.iter().sum();
    let delta = |c: usize, k: usize| match level {
        Level::Nominal => f64::from(c != k),
        Level::Ordinal => {
            let (low, high) = (c.min(k), c.max(k));
            (margins[low..=high].iter().sum::<f64>() - (margins[low] + margins[high]) / 2.0).powi(2)
        }
        Level::Interval => (values[c] - values[k]).powi(2),
    };
    let (mut observed, mut expected) = (0.0, 0.0);
    for c in 0..k {
        for other in 0..k {
            observed += coincidences[c][other] * delta(c, other);
            expected += margins[c] * margins[other] * delta(c, other) / (total - 1.0);
        }
    }
    1.0 - observed / expected
}

#[test]
fn alpha_from_moments_is_alpha_from_the_matrix() {
    let mut random = uniform(11);
    for case in 0..60 {
        let mut ratings = Vec::new();
        for unit in 0..10 + case {
            let truth = (random() * 6.0).floor();
            for rater in 0..2 + case % 5 {
                let value = if random() < 0.6 { truth } else { (random() * 6.0).floor() * 1.5 - 2.0 };
                if random() < 0.7 {
                    ratings.push(Rating { unit, rater, value });
                }
            }
        }
        let table = Ratings::new(ratings).unwrap();
        for level in LEVELS {
            let (got, want) = (alpha(&table, level).unwrap(), alpha_by_matrix(&table, level));
            assert!((got - want).abs() < 1e-12, "{case} {level:?}: {got}, {want}");
        }
    }
}

#[test]
fn small_tables_by_hand() {
    // Two units, (1, 2) and (2, 2): observed 2, expected (4² - 1² - 3²) / 3 = 2.
    let mixed = table(&[&[1.0, 2.0], &[2.0, 2.0]]);
    assert_eq!(alpha(&mixed, Level::Nominal), Ok(0.0));
    // The first rater said 1 and 2, the second always 2: agreement 1/2, by chance 1/2.
    assert_eq!(cohen_kappa(&mixed, (0, 1), KappaWeights::Unweighted), Ok(0.0));
    // P = 1/2, E = (1/4)² + (3/4)² = 5/8: (1/2 - 5/8) / (3/8) = -1/3.
    assert!((fleiss_kappa(&mixed).unwrap() + 1.0 / 3.0).abs() < 1e-15);
    // Two raters at opposite ends: kappa -1, weighted or not.
    let opposed = table(&[&[1.0, 5.0], &[5.0, 1.0]]);
    for weights in WEIGHTS {
        assert_eq!(cohen_kappa(&opposed, (0, 1), weights), Ok(-1.0));
    }
    // A unit with one rating changes nothing.
    let more = table(&[&[1.0, 2.0], &[2.0, 2.0], &[7.0]]);
    assert_eq!(alpha(&more, Level::Nominal), Ok(0.0));
}

#[test]
fn full_agreement_is_1_and_its_interval_a_point() {
    let rows: Vec<Vec<f64>> = (0..30).map(|unit| vec![f64::from(unit % 4); 3]).collect();
    let same = table(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let bootstrap = Bootstrap { resamples: 200, confidence: 0.95 };
    for level in LEVELS {
        let got = alpha_interval(&same, level, &bootstrap, &mut uniform(1)).unwrap();
        assert_eq!((got.value, got.interval.low, got.interval.high, got.units), (1.0, 1.0, 1.0, 30));
    }
    for weights in WEIGHTS {
        let got = cohen_kappa_interval(&same, (0, 2), weights, &bootstrap, &mut uniform(1)).unwrap();
        assert_eq!((got.value, got.interval.low, got.interval.high), (1.0, 1.0, 1.0));
    }
    assert_eq!(fleiss_kappa_interval(&same, &bootstrap, &mut uniform(1)).unwrap().value, 1.0);
}

#[test]
fn without_pairs_or_variation_there_is_an_error_and_no_number() {
    let bootstrap = Bootstrap::default();
    let alone = table(&[&[1.0], &[2.0]]);
    let constant = table(&[&[4.0, 4.0], &[4.0, 4.0]]);
    // The only paired values are equal, though another value was given.
    let hidden = table(&[&[4.0, 4.0], &[4.0, 4.0], &[1.0]]);
    for level in LEVELS {
        assert_eq!(alpha(&Ratings::new([]).unwrap(), level), Err(StatsError::NothingToCompare));
        assert_eq!(alpha(&alone, level), Err(StatsError::NothingToCompare));
        assert_eq!(alpha(&constant, level), Err(StatsError::NoVariation));
        assert_eq!(alpha(&hidden, level), Err(StatsError::NoVariation));
        let got = alpha_interval(&hidden, level, &bootstrap, &mut uniform(1));
        assert_eq!(got, Err(StatsError::NoVariation));
    }
    for weights in WEIGHTS {
        assert_eq!(cohen_kappa(&constant, (0, 1), weights), Err(StatsError::NoVariation));
        assert_eq!(cohen_kappa(&constant, (0, 9), weights), Err(StatsError::NothingToCompare));
        assert_eq!(cohen_kappa(&constant, (1, 1), weights), Err(StatsError::SameRater { rater: 1 }));
        let got = cohen_kappa_interval(&constant, (0, 1), weights, &bootstrap, &mut uniform(1));
        assert_eq!(got, Err(StatsError::NoVariation));
    }
    assert_eq!(fleiss_kappa(&alone), Err(StatsError::NothingToCompare));
    assert_eq!(fleiss_kappa(&constant), Err(StatsError::NoVariation));
    assert_eq!(fleiss_kappa(&Ratings::new([]).unwrap()), Err(StatsError::NothingToCompare));
    let uneven = StatsError::UnequalRatings { unit: 2, ratings: 1, expected: 2 };
    assert_eq!(fleiss_kappa(&hidden), Err(uneven));
    assert_eq!(fleiss_kappa(&hidden.units_with(2)), Err(StatsError::NoVariation));
}

#[test]
fn extreme_values_give_numbers() {
    for values in [[-f64::MAX, f64::MAX, 0.0], [0.0, 5e-324, 1e-323], [1e300, 1.0, 2.0]] {
        let [a, b, c] = values;
        let extreme = table(&[&[a, b], &[b, b], &[c, c], &[a, a], &[c, b]]);
        for level in LEVELS {
            let got = alpha_interval(&extreme, level, &Bootstrap::default(), &mut uniform(2)).unwrap();
            assert!(got.value.is_finite() && got.interval.low <= got.interval.high, "{values:?} {level:?}");
        }
        for weights in WEIGHTS {
            assert!(cohen_kappa(&extreme, (0, 1), weights).unwrap().is_finite(), "{values:?} {weights:?}");
        }
    }
}

#[test]
fn interval_agreement_does_not_change_with_scale_and_offset_and_ordinal_with_any_growing_map() {
    let plain = simulated_ratings(5, |v| v);
    for (level, map) in [
        (Level::Interval, (|v| 250.0 * v - 1e5) as fn(f64) -> f64),
        (Level::Ordinal, |v: f64| v.exp()),
        (Level::Nominal, |v: f64| -v),
    ] {
        let mapped = simulated_ratings(5, map);
        let (a, b) = (alpha(&plain, level).unwrap(), alpha(&mapped, level).unwrap());
        assert!((a - b).abs() < 1e-12, "{level:?}: {a}, {b}");
    }
}

/// Twenty units with three ratings from 1 to 5, near each other.
fn simulated_ratings(seed: u64, map: fn(f64) -> f64) -> Ratings {
    let mut random = uniform(seed);
    let mut ratings = Vec::new();
    for unit in 0..20 {
        let truth = 1.0 + (random() * 5.0).floor();
        for rater in 0..3 {
            let value: f64 = truth + (random() * 3.0).floor() - 1.0;
            ratings.push(Rating { unit, rater, value: map(value.clamp(1.0, 5.0)) });
        }
    }
    Ratings::new(ratings).unwrap()
}

#[test]
fn two_raters_without_gaps_have_close_alpha_fleiss_and_cohen() {
    // Nominal alpha is 1 - (1 - Fleiss) (n - 1) / n for units with two ratings each, n ratings in all.
    let both = simulated(200, 2, 0.8, 0.0, &mut uniform(3));
    let (alpha, fleiss) = (alpha(&both, Level::Nominal).unwrap(), fleiss_kappa(&both).unwrap());
    assert!((alpha - (1.0 - (1.0 - fleiss) * 399.0 / 400.0)).abs() < 1e-12, "{alpha}, {fleiss}");
    let cohen = cohen_kappa(&both, (0, 1), KappaWeights::Unweighted).unwrap();
    assert!(cohen >= fleiss && cohen - fleiss < 0.01, "{cohen}, {fleiss}");
}

#[test]
fn a_95_percent_interval_of_alpha_covers_the_truth_about_95_times_in_100() {
    // Right with 0.85: two raters differ with 2 * 0.85 * 0.15 = 0.255, two values by chance with 0.5; alpha = 0.49.
    let mut random = uniform(41);
    let bootstrap = Bootstrap { resamples: 300, confidence: 0.95 };
    let trials = 500;
    let mut covered = 0;
    for _ in 0..trials {
        let ratings = simulated(80, 3, 0.85, 0.2, &mut random);
        let got = alpha_interval(&ratings, Level::Nominal, &bootstrap, &mut random).unwrap();
        assert_eq!(got.undefined, 0);
        covered += u32::from(got.interval.low <= 0.49 && 0.49 <= got.interval.high);
    }
    // 95 % of 500 is 475; four standard errors of the simulation are 20, and percentiles of 80 units cost a point.
    assert!((455..=493).contains(&covered), "{covered} of {trials}");
}

#[test]
fn a_resample_is_the_statistic_of_the_units_drawn() {
    // All sums are those of the drawn units: an interval of one resample is its alpha.
    let ratings = simulated_ratings(9, |v| v);
    let one = Bootstrap { resamples: 1, confidence: 0.5 };
    for level in LEVELS {
        let got = alpha_interval(&ratings, level, &one, &mut uniform(77)).unwrap();
        let mut random = uniform(77);
        let rows: Vec<Rating> = ratings.iter().collect();
        let drawn = (0..20).flat_map(|unit| {
            let from = (random() * 20.0) as usize;
            let cells = rows.iter().filter(move |rating| rating.unit == from);
            cells.map(move |rating| Rating { unit, ..*rating }).collect::<Vec<_>>()
        });
        let want = alpha(&Ratings::new(drawn).unwrap(), level).unwrap();
        assert!((got.interval.low - want).abs() < 1e-12, "{level:?}: {got:?}, {want}");
    }
}

#[test]
fn resamples_of_one_value_are_left_out_and_counted() {
    // One unit of eight has another value: (7/8)^8 = 34 % of the resamples miss it.
    let rare: Vec<[f64; 2]> = (0..8).map(|unit| if unit == 0 { [2.0, 2.0] } else { [1.0, 1.0] }).collect();
    let rare = table(&rare.iter().map(<[f64; 2]>::as_slice).collect::<Vec<_>>());
    let bootstrap = Bootstrap { resamples: 1000, confidence: 0.9 };
    let of_alpha = alpha_interval(&rare, Level::Ordinal, &bootstrap, &mut uniform(4)).unwrap();
    let of_cohen = cohen_kappa_interval(&rare, (0, 1), KappaWeights::Linear, &bootstrap, &mut uniform(4)).unwrap();
    let of_fleiss = fleiss_kappa_interval(&rare, &bootstrap, &mut uniform(4)).unwrap();
    for got in [of_alpha, of_cohen, of_fleiss] {
        assert!((290..=400).contains(&got.undefined), "{got:?}");
        assert_eq!((got.value, got.interval.low, got.interval.high), (1.0, 1.0, 1.0));
    }
}

#[test]
fn shares_of_a_rater_and_the_rest() {
    // Rater 0 against two others: unit 0 agrees with one of two, both near; unit 1 with none, none near; unit 2 alone.
    let three = table(&[&[3.0, 3.0, 4.0], &[1.0, 5.0, 3.0], &[2.0]]);
    let got = rater_shares(&three, 0, 1.0).unwrap();
    assert_eq!((got.same, got.near, got.units, got.pairs), (0.25, 0.5, 2, 4));
    // All pairs: unit 0 has 1 same and 3 near of 3, unit 1 none of 3.
    let got = shares(&three, 1.0).unwrap();
    assert!((got.same - 1.0 / 6.0).abs() < 1e-15 && got.near == 0.5 && (got.units, got.pairs) == (2, 6), "{got:?}");
    let got = shares(&three, 2.0).unwrap();
    assert!((got.near - 5.0 / 6.0).abs() < 1e-15, "{got:?}");
    let exact = shares(&three, 0.0).unwrap();
    assert_eq!(exact.same, exact.near);
    // 0.4 - 0.3 is above 0.1 in binary.
    assert_eq!(shares(&table(&[&[0.3, 0.4]]), 0.1).unwrap().near, 1.0);
    let bootstrap = Bootstrap { resamples: 300, confidence: 0.95 };
    let got = rater_shares_interval(&three, 0, 1.0, &bootstrap, &mut uniform(6)).unwrap();
    assert_eq!((got.same.value, got.near.value, got.near.rows, got.pairs), (0.25, 0.5, 2, 4));
    assert_eq!((got.near.interval.low, got.near.interval.high), (0.0, 1.0));
    let got = shares_interval(&three, 1.0, &bootstrap, &mut uniform(6)).unwrap();
    assert_eq!((got.near.value, got.near.rows, got.pairs), (0.5, 2, 6));
    assert!((got.same.interval.low, got.same.interval.high) == (0.0, 1.0 / 3.0), "{got:?}");
}

#[test]
fn shares_need_a_pair_and_a_distance() {
    let one = table(&[&[3.0], &[4.0]]);
    assert_eq!(shares(&one, 1.0), Err(StatsError::NothingToCompare));
    assert_eq!(rater_shares(&one, 0, 1.0), Err(StatsError::NothingToCompare));
    assert_eq!(rater_shares(&one, 7, 1.0), Err(StatsError::NothingToCompare));
    assert_eq!(shares(&one, -1.0), Err(StatsError::Distance { given: -1.0 }));
    assert!(rater_shares(&one, 0, f64::NAN).is_err());
}

#[test]
fn all_shares_are_the_pairs_counted_one_by_one() {
    let ratings = simulated_ratings(21, |v| v);
    let (mut same, mut near) = (0.0, 0.0);
    for cells in ratings.by_unit() {
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let distance =
                (ratings.values()[cells[a].value as usize] - ratings.values()[cells[b].value as usize]).abs();
            same += f64::from(distance == 0.0) / 60.0;
            near += f64::from(distance <= 1.0) / 60.0;
        }
    }
    let got = shares(&ratings, 1.0).unwrap();
    assert!((got.same - same).abs() < 1e-12 && (got.near - near).abs() < 1e-12, "{got:?}, {same}, {near}");
}
