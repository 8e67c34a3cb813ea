//! One rater's numbers by hand, on simulated answers, and at their limits.

use super::{DawidSkene, gold_accuracies, rater_biases};
use crate::StatsError;
use crate::agreement::{Rating, Ratings};
use crate::proportions::wilson;
use crate::testing::uniform;

/// Answers of raters who are right with the given probabilities, and the true categories.
fn simulated(units: usize, categories: u32, right: &[f64], seed: u64) -> (Ratings, Vec<u32>) {
    let mut random = uniform(seed);
    let (mut answers, mut truths) = (Vec::new(), Vec::new());
    for unit in 0..units {
        let truth = (random() * f64::from(categories)) as u32;
        truths.push(truth);
        for (rater, right) in right.iter().enumerate() {
            let wrong = (truth + 1 + (random() * f64::from(categories - 1)) as u32) % categories;
            answers.push((unit, rater, if random() < *right { truth } else { wrong }));
        }
    }
    (Ratings::of_categories(answers).unwrap(), truths)
}

#[test]
fn bias_is_the_mean_distance_to_the_others() {
    let triples = [(0, 0, 3), (0, 1, 2), (0, 2, 2), (1, 0, 5), (1, 1, 2), (2, 3, 4), (3, 2, 1)];
    let table = Ratings::of_categories(triples).unwrap();
    let got = rater_biases(&table, 0.5).unwrap();
    // Rater 0: 3 - 2 and 5 - 2, mean 2, standard error 1, t of one degree of freedom at 0.75 is 1.
    assert_eq!((got[0].rater, got[0].units, got[0].bias), (0, 2, Some(2.0)));
    let interval = got[0].interval.unwrap();
    assert!((interval.low - 1.0).abs() < 1e-14 && (interval.high - 3.0).abs() < 1e-14, "{interval:?}");
    // Rater 1: 2 - 2.5 and 2 - 5. Rater 2 shares one unit, rater 3 none.
    assert_eq!(got[1].bias, Some(-1.75));
    assert_eq!((got[2].units, got[2].bias, got[2].interval), (1, Some(-0.5), None));
    assert_eq!((got[3].units, got[3].bias, got[3].interval), (0, None, None));
    assert_eq!(rater_biases(&table, 2.0), Err(StatsError::Confidence { given: 2.0 }));
}

#[test]
fn bias_loses_no_digits_of_large_values() {
    let rating = |(unit, rater, value): (usize, usize, f64)| Rating { unit, rater, value: 1e12 + value };
    let values = [(0, 0, 1.0), (0, 1, 2.0), (0, 2, 4.0), (1, 0, 0.0), (1, 1, 0.0)];
    let got = rater_biases(&Ratings::new(values.map(rating)).unwrap(), 0.9).unwrap();
    assert_eq!((got[0].bias, got[1].bias, got[2].bias), (Some(-1.0), Some(-0.25), Some(2.5)));
}

#[test]
fn gold_items_count_right_answers() {
    let table = Ratings::of_categories([(0, 5, 1), (0, 6, 2), (1, 5, 0), (2, 5, 1), (3, 7, 1)]).unwrap();
    let got = gold_accuracies(&table, &[(2, 1.0), (0, 1.0), (1, 1.0), (99, 0.0)], 0.95).unwrap();
    assert_eq!((got[0].rater, got[0].right, got[0].answered), (5, 2, 3));
    assert_eq!(got[0].interval, wilson(2, 3, 0.95).unwrap());
    assert_eq!((got[1].right, got[1].answered, got[1].accuracy()), (0, 1, Some(0.0)));
    assert_eq!((got[2].answered, got[2].accuracy(), got[2].interval.high), (0, None, 1.0));
    let twice = gold_accuracies(&table, &[(4, 1.0), (4, 1.0)], 0.95);
    assert_eq!(twice, Err(StatsError::DuplicateGold { unit: 4 }));
    assert_eq!(gold_accuracies(&table, &[(4, f64::NAN)], 0.95), Err(StatsError::NotFinite { index: 0 }));
    assert!(gold_accuracies(&table, &[], 0.0).is_err());
}

#[test]
fn dawid_skene_finds_accuracies_and_beats_the_majority() {
    let right = [0.95, 0.9, 0.55, 0.5, 0.4];
    let (table, truths) = simulated(2000, 3, &right, 17);
    let got = DawidSkene::default().fit(&table).unwrap();
    assert!(got.converged, "{} rounds", got.iterations);
    for (rater, right) in got.raters.iter().zip(right) {
        // Two and a half standard errors of 2000 answers at 0.5.
        assert!((rater.accuracy - right).abs() < 0.03, "{}: {} for {right}", rater.rater, rater.accuracy);
        assert!((rater.weight - (rater.accuracy * 2.0 / (1.0 - rater.accuracy)).ln()).abs() < 1e-9);
        assert_eq!(rater.answers, 2000);
    }
    let correct = (0..2000).filter(|at| got.most_probable(*at).unwrap().0 == f64::from(truths[*at])).count();
    let mut by_majority = 0.0;
    for (cells, truth) in table.by_unit().zip(&truths) {
        let mut votes = [0; 3];
        cells.iter().for_each(|cell| votes[cell.value as usize] += 1);
        let most = votes.iter().max().unwrap();
        let tied = votes.iter().filter(|vote| *vote == most).count();
        by_majority += if votes[*truth as usize] == *most { 1.0 / tied as f64 } else { 0.0 };
    }
    assert!(correct as f64 > by_majority + 100.0, "{correct}, majority {by_majority}");
}

#[test]
fn probabilities_sum_to_1_and_the_same_answers_give_the_same_bits() {
    let (table, _) = simulated(60, 4, &[0.7, 0.6, 0.8], 5);
    let got = DawidSkene::default().fit(&table).unwrap();
    let is_one = |shares: &[f64]| (shares.iter().sum::<f64>() - 1.0).abs() < 1e-12;
    assert!(is_one(&got.prevalence) && got.posteriors.iter().all(|shares| is_one(shares)));
    assert!(got.raters.iter().flat_map(|rater| &rater.confusion).all(|row| is_one(row)));
    assert_eq!(got, DawidSkene::default().fit(&table).unwrap());
    assert_eq!((got.units.len(), got.categories.len(), got.most_probable(60)), (60, 4, None));
}

#[test]
fn a_rater_of_few_answers_is_held_by_the_prior() {
    // Two careful raters agree on 40 units; rater 2 answered once, rightly.
    let mut answers: Vec<(usize, usize, u32)> =
        (0..40).flat_map(|unit| [0, 1].map(|rater| (unit, rater, (unit % 2) as u32))).collect();
    answers.push((0, 2, 0));
    let got = DawidSkene::default().fit(&Ratings::of_categories(answers).unwrap()).unwrap();
    let [first, _, newcomer] = &got.raters[..] else { panic!("three raters") };
    // 22 of 23 right in either category; 3 of 4 in one and 2 of 3 in the other. Less what the posteriors leave open,
    // about (1/23)² of each unit.
    assert!((first.accuracy - 22.0 / 23.0).abs() < 4e-3, "{}", first.accuracy);
    assert!((newcomer.accuracy - (3.0 / 4.0 + 2.0 / 3.0) / 2.0).abs() < 4e-3, "{}", newcomer.accuracy);
    assert!(first.weight > newcomer.weight && newcomer.weight > 0.0);
}

#[test]
fn a_round_never_lowers_the_posterior_density() {
    let (table, _) = simulated(80, 3, &[0.8, 0.5, 0.6, 0.4], 23);
    let mut before = f64::NEG_INFINITY;
    for max_iterations in 0..30 {
        let fit = DawidSkene { max_iterations, tolerance: 0.0, ..DawidSkene::default() };
        let got = fit.fit(&table).unwrap();
        assert_eq!(got.iterations, max_iterations);
        // ln of the likelihood of all answers plus the prior of all confusions.
        let mut density = 0.0;
        for cells in table.by_unit() {
            let of = |truth: usize| {
                let answers = cells.iter().map(|cell| (cell.rater as usize, cell.value as usize));
                got.prevalence[truth] * answers.map(|(r, l)| got.raters[r].confusion[truth][l]).product::<f64>()
            };
            density += (0..3).map(of).sum::<f64>().ln();
        }
        for rater in &got.raters {
            for (truth, row) in rater.confusion.iter().enumerate() {
                let count = |answer| if answer == truth { fit.right_answers } else { fit.wrong_answers / 2.0 };
                density += row.iter().enumerate().map(|(answer, p)| count(answer) * p.ln()).sum::<f64>();
            }
        }
        assert!(density >= before - 1e-9, "round {max_iterations}: {before}, {density}");
        before = density;
    }
}

#[test]
fn what_cannot_be_fitted_is_refused_by_name() {
    let fit = DawidSkene::default();
    assert_eq!(fit.fit(&Ratings::new([]).unwrap()), Err(StatsError::NoRows));
    let one = Ratings::of_categories([(0, 0, 3), (0, 1, 3)]).unwrap();
    assert_eq!(fit.fit(&one), Err(StatsError::NoVariation));
    let many = Ratings::of_categories((0..201).map(|unit| (unit, 0, unit as u32))).unwrap();
    assert_eq!(fit.fit(&many), Err(StatsError::TooManyCategories { given: 201, most: 200 }));
    let flat = DawidSkene { wrong_answers: 0.0, ..fit };
    assert_eq!(flat.fit(&one), Err(StatsError::Smoothing { right: 2.0, wrong: 0.0 }));
    // Very many raters on one unit: the product of a thousand probabilities is no number, its logarithm is.
    let crowd = Ratings::of_categories((0..3000).map(|rater| (rater % 2, rater, (rater % 3 == 0) as u32))).unwrap();
    let got = fit.fit(&crowd).unwrap();
    assert!(got.posteriors.iter().flatten().all(|share| share.is_finite()));
}
