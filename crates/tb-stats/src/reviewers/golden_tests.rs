//! Dawid and Skene against the steps of crowd-kit: `tests/golden/stats/make_agreement.py` made the numbers.

use serde_json::Value;

use super::DawidSkene;
use crate::testing::{assert_near, golden_ratings, golden_rows, number};

#[test]
fn dawid_skene_equals_crowd_kits_steps() {
    for row in golden_rows("dawid_skene", 5) {
        let fit = DawidSkene {
            right_answers: number(&row["right"]),
            wrong_answers: number(&row["wrong"]),
            max_iterations: row["rounds"].as_u64().unwrap() as u32,
            tolerance: -1.0,
        };
        let got = fit.fit(&golden_ratings(&row)).unwrap();
        let what = row["name"].to_string();
        assert!(!got.converged && u64::from(got.iterations) == row["rounds"].as_u64().unwrap());
        let near = |got: &[f64], want: &Value| {
            let want = want.as_array().unwrap();
            assert_eq!(got.len(), want.len(), "{what}");
            got.iter().zip(want).for_each(|(got, want)| assert_near(*got, want, 1e-9, &what));
        };
        near(&got.prevalence, &row["prevalence"]);
        for (posterior, want) in got.posteriors.iter().zip(row["posteriors"].as_array().unwrap()) {
            near(posterior, want);
        }
        for (at, rater) in got.raters.iter().enumerate() {
            assert_near(rater.accuracy, &row["accuracies"][at], 1e-9, &what);
            for (truth, confusion) in rater.confusion.iter().enumerate() {
                near(confusion, &row["confusions"][at][truth]);
            }
        }
    }
}
