//! What the tests here share: a random source, and the numbers of reference implementations that
//! `tests/golden/stats/make_agreement.py` made.

use serde_json::Value;

use crate::agreement::{Rating, Ratings};

/// SplitMix64, enough for a test; the programs use the project's own generator.
pub fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

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

/// A list of numbers of the golden file.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// A golden row's (unit, rater, value) triples as a table.
pub fn golden_ratings(row: &Value) -> Ratings {
    let rating = |triple: &Value| Rating {
        unit: triple[0].as_u64().unwrap() as usize,
        rater: triple[1].as_u64().unwrap() as usize,
        value: number(&triple[2]),
    };
    Ratings::new(row["ratings"].as_array().unwrap().iter().map(rating)).unwrap()
}

/// Within `bound` of the peer's number, relative where it is above 1.
#[track_caller]
pub fn assert_near(got: f64, want: &Value, bound: f64, what: &str) {
    let want = number(want);
    assert!((got - want).abs() <= bound * want.abs().max(1.0), "{what}: {got}, peer {want}");
}
