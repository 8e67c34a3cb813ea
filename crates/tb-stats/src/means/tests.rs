//! Means by hand and at their limits; `golden_tests.rs` holds them against scipy.

use super::{Moments, mean_difference, mean_interval};
use crate::StatsError;

#[test]
fn two_values_by_hand() {
    // 1 and 3: mean 2, variance 2, standard error 1; t of one degree of freedom at 0.75 is tan(π/4) = 1.
    let got = mean_interval(&Moments::of([1.0, 3.0]), 0.5).unwrap();
    assert_eq!((got.mean, got.standard_error, got.count), (2.0, 1.0, 2));
    assert!((got.interval.low - 1.0).abs() < 1e-14 && (got.interval.high - 3.0).abs() < 1e-14, "{got:?}");
}

#[test]
fn sums_of_parts_are_the_sums_of_the_whole() {
    let all = Moments::of([1.0, 2.0, 4.0, -3.0]);
    assert_eq!(Moments::of([1.0, 2.0]).merge(Moments::of([4.0, -3.0])), all);
    assert_eq!((all.mean(), all.variance()), (Ok(1.0), Ok(26.0 / 3.0)));
    assert_eq!(Moments::default().merge(all), all);
}

#[test]
fn a_constant_has_a_point_interval_whatever_rounding_says() {
    let constant = Moments::of([0.1; 1000]);
    let got = mean_interval(&constant, 0.95).unwrap();
    assert!(got.standard_error < 1e-8 && (got.mean - 0.1).abs() < 1e-12, "{got:?}");
    assert!(got.interval.low <= got.mean && got.mean <= got.interval.high);
    let short = Moments { count: 3, sum: 3.0, sum_of_squares: 3.0 - 1e-9 };
    assert_eq!(short.variance(), Ok(0.0));
    let got = mean_difference(&short, &short, 0.95).unwrap();
    assert_eq!((got.difference, got.interval.low, got.interval.high), (0.0, 0.0, 0.0));
    assert_eq!((got.degrees_of_freedom, got.p_value), (4.0, 1.0));
    let other = Moments { count: 2, sum: 4.0, sum_of_squares: 8.0 };
    let got = mean_difference(&short, &other, 0.95).unwrap();
    assert_eq!((got.difference, got.p_value, got.degrees_of_freedom), (1.0, 0.0, 3.0));
}

#[test]
fn welch_is_student_where_sides_are_alike_and_turns_with_them() {
    let (a, b) = (Moments::of([1.0, 2.0, 3.0]), Moments::of([4.0, 5.0, 6.0]));
    let got = mean_difference(&a, &b, 0.95).unwrap();
    assert!((got.degrees_of_freedom - 4.0).abs() < 1e-12 && got.difference == 3.0);
    let turned = mean_difference(&b, &a, 0.95).unwrap();
    assert_eq!((turned.interval.low, turned.interval.high), (-got.interval.high, -got.interval.low));
    assert_eq!(turned.p_value, got.p_value);
    // An interval at 1 - p touches 0.
    let touching = mean_difference(&a, &b, 1.0 - got.p_value).unwrap();
    assert!(touching.interval.low.abs() < 1e-12, "{touching:?}");
}

#[test]
fn impossible_sums_and_bad_input_are_refused() {
    assert_eq!(Moments::default().mean(), Err(StatsError::NoRows));
    let one = Moments::of([5.0]);
    assert_eq!((one.mean(), one.variance()), (Ok(5.0), Err(StatsError::TooFewValues { given: 1, needed: 2 })));
    assert!(mean_difference(&one, &Moments::of([1.0, 2.0]), 0.95).is_err());
    // Two numbers with sum 4 have squares of at least 8.
    let impossible = Moments { count: 2, sum: 4.0, sum_of_squares: 7.0 };
    let error = StatsError::Moments { count: 2, sum: 4.0, sum_of_squares: 7.0 };
    assert_eq!((impossible.mean(), impossible.variance()), (Err(error.clone()), Err(error)));
    assert!(Moments { count: 2, sum: 0.0, sum_of_squares: -1.0 }.variance().is_err());
    assert!(Moments { count: 2, sum: f64::NAN, sum_of_squares: 1.0 }.mean().is_err());
    let two = Moments::of([1.0, 2.0]);
    assert_eq!(mean_interval(&two, 1.0), Err(StatsError::Confidence { given: 1.0 }));
    assert!(mean_difference(&two, &two, 0.0).is_err());
}
