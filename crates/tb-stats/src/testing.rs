//! What the tests here share: the numbers of reference implementations that
//! `tests/golden/stats/make_agreement.py` made.

use serde_json::Value;

const GOLDEN: &str = include_str!("../../../tests/golden/stats/agreement.json");

/// One part of the golden numbers.
pub fn golden(part: &str) -> Value {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    golden[part].clone()
}

/// The rows of one part, of which there are at least so many.
pub fn golden_rows(part: &str, at_least: usize) -> Vec<Value> {
    let rows = golden(part).as_array().unwrap().clone();
    assert!(rows.len() >= at_least, "{part}: {}", rows.len());
    rows
}

/// A number of the golden file.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Within `bound` of the peer's number, relative where it is above 1.
#[track_caller]
pub fn assert_near(got: f64, want: &Value, bound: f64, what: &str) {
    let want = number(want);
    assert!((got - want).abs() <= bound * want.abs().max(1.0), "{what}: {got}, peer {want}");
}
