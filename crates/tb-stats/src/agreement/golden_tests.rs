//! Alpha and kappas against krippendorff, scikit-learn and statsmodels: `tests/golden/stats/make_agreement.py` made the
//! numbers.

use serde_json::Value;

use super::{KappaWeights, Level, Ratings, alpha, cohen_kappa, fleiss_kappa};
use crate::StatsError;
use crate::testing::{assert_near, golden_ratings, golden_rows, numbers};

/// The peer's number, or no number on either side.
#[track_caller]
fn assert_same(got: Result<f64, StatsError>, want: &Value, what: &str) {
    match got {
        Ok(got) => assert_near(got, want, 1e-12, what),
        Err(StatsError::NoVariation | StatsError::NothingToCompare) => assert!(want.is_null(), "{what}: peer {want}"),
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn alphas_equal_krippendorffs() {
    for row in golden_rows("alpha", 40) {
        let table = golden_ratings(&row);
        for (level, key) in [(Level::Nominal, "nominal"), (Level::Ordinal, "ordinal"), (Level::Interval, "interval")] {
            let want = &row[key];
            assert_same(alpha(&table, level), want, &format!("{key} of {}", row["name"]));
        }
    }
}

#[test]
fn the_published_example_has_the_published_alphas() {
    let table = golden_ratings(&golden_rows("alpha", 1)[0]);
    for (level, published) in [(Level::Nominal, 0.743), (Level::Ordinal, 0.815), (Level::Interval, 0.849)] {
        assert!((alpha(&table, level).unwrap() - published).abs() < 5e-4, "{level:?}");
    }
}

#[test]
fn cohens_kappas_equal_scikit_learns() {
    for row in golden_rows("cohen", 20) {
        let pairs = row["pairs"].as_array().unwrap().iter().enumerate();
        let value = |pair: &Value, side: usize| pair[side].as_u64().unwrap() as u32;
        let both = pairs.flat_map(|(unit, pair)| [(unit, 10, value(pair, 0)), (unit, 20, value(pair, 1))]);
        let table = Ratings::of_categories(both).unwrap();
        for (weights, key) in [
            (KappaWeights::Unweighted, "unweighted"),
            (KappaWeights::Linear, "linear"),
            (KappaWeights::Quadratic, "quadratic"),
        ] {
            let what = format!("{key} of {}", row["name"]);
            assert_same(cohen_kappa(&table, (10, 20), weights), &row[key], &what);
            assert_same(cohen_kappa(&table, (20, 10), weights), &row[key], &what);
        }
    }
}

#[test]
fn fleiss_kappas_equal_statsmodels() {
    for row in golden_rows("fleiss", 15) {
        let mut triples = Vec::new();
        for (unit, counts) in row["counts"].as_array().unwrap().iter().enumerate() {
            let mut rater = 0;
            for (category, count) in numbers(counts).into_iter().enumerate() {
                for _ in 0..count as usize {
                    triples.push((unit, rater, category as u32));
                    rater += 1;
                }
            }
        }
        let table = Ratings::of_categories(triples).unwrap();
        assert_same(fleiss_kappa(&table), &row["kappa"], &row["name"].to_string());
    }
}
