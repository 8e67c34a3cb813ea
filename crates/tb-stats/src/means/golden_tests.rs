//! Student's t, its intervals and Welch's against scipy: `tests/golden/stats/make_agreement.py` made the numbers.

use serde_json::Value;

use super::{Moments, mean_difference, mean_interval};
use crate::special::{student_t_quantile, student_t_two_sided};
use crate::testing::{assert_near, golden, golden_rows, number};

#[test]
fn students_t_equals_scipys() {
    let golden = golden("student_t");
    for (key, function) in
        [("quantiles", student_t_quantile as fn(f64, f64) -> f64), ("two_sided", student_t_two_sided)]
    {
        let cases = golden[key].as_array().unwrap();
        assert!(cases.len() > 100);
        for case in cases {
            let (at, df, want) = (number(&case[0]), number(&case[1]), number(&case[2]));
            let got = function(at, df);
            assert!((got - want).abs() <= 1e-11 * want.abs(), "{key} at {at}, {df}: {got}, peer {want}");
        }
    }
}

fn moments(value: &Value) -> Moments {
    Moments { count: value[0].as_u64().unwrap(), sum: number(&value[1]), sum_of_squares: number(&value[2]) }
}

#[test]
fn t_intervals_from_sums_equal_scipys_from_golden_rows() {
    for row in golden_rows("means", 20) {
        let got = mean_interval(&moments(&row["moments"]), number(&row["confidence"])).unwrap();
        let what = row["name"].to_string();
        assert_near(got.mean, &row["mean"], 1e-12, &what);
        assert_near(got.interval.low, &row["low"], 1e-11, &what);
        assert_near(got.interval.high, &row["high"], 1e-11, &what);
    }
}

#[test]
fn welchs_differences_equal_scipys() {
    for row in golden_rows("differences", 10) {
        let (control, treatment) = (moments(&row["control"]), moments(&row["treatment"]));
        let got = mean_difference(&control, &treatment, number(&row["confidence"])).unwrap();
        let what = row["name"].to_string();
        assert_near(got.degrees_of_freedom, &row["df"], 1e-11, &what);
        assert_near(got.p_value, &row["p_value"], 1e-11, &what);
        assert_near(got.interval.low, &row["low"], 1e-11, &what);
        assert_near(got.interval.high, &row["high"], 1e-11, &what);
    }
}
