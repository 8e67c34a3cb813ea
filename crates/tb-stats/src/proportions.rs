//! Intervals for one proportion. Comparing two proportions is not here.

use crate::special::normal_quantile;
use crate::{Interval, StatsError};

/// The Wilson score interval for a proportion, ends within [0, 1].
///
/// With `p = successes / trials` and `z` the normal quantile:
/// `(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)`. No trials give [0, 1]: nothing is known.
/// Errors when `successes > trials` or the confidence is outside (0, 1).
pub fn wilson(successes: u64, trials: u64, confidence: f64) -> Result<Interval, StatsError> {
    if successes > trials {
        return Err(StatsError::Successes { successes, trials });
    }
    check_confidence(confidence)?;
    if trials == 0 {
        return Ok(Interval { low: 0.0, high: 1.0 });
    }
    let z = normal_quantile(0.5 + confidence / 2.0);
    let n = trials as f64;
    let p = successes as f64 / n;
    let z2 = z * z;
    let centre = p + z2 / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    Ok(Interval {
        // At the borders the formula is exactly 0 and 1; rounding must not say otherwise.
        low: if successes == 0 { 0.0 } else { ((centre - half) / scale).max(0.0) },
        high: if successes == trials { 1.0 } else { ((centre + half) / scale).min(1.0) },
    })
}

/// Refuses a confidence level outside (0, 1).
pub(crate) fn check_confidence(confidence: f64) -> Result<(), StatsError> {
    if confidence > 0.0 && confidence < 1.0 { Ok(()) } else { Err(StatsError::Confidence { given: confidence }) }
}

#[cfg(test)]
mod tests {
    use super::wilson;
    use crate::StatsError;

    /// statsmodels 0.15.0: proportion_confint(k, n, alpha, method="wilson").
    #[test]
    fn intervals_equal_statsmodels() {
        for (k, n, confidence, low, high) in GOLDEN {
            let got = wilson(k, n, confidence).unwrap();
            assert!((got.low - low).abs() < 1e-12 && (got.high - high).abs() < 1e-12, "{k}/{n}: {got:?}");
        }
    }

    const GOLDEN: [(u64, u64, f64, f64, f64); 6] = [
        (0, 10, 0.95, 0.0, 0.2775327998628892),
        (10, 10, 0.95, 0.7224672001371107, 0.9999999999999999),
        (152, 300, 0.95, 0.45036683073695566, 0.5627979296467172),
        (1, 3, 0.9, 0.07826572633372836, 0.746466131718776),
        (812, 1000, 0.99, 0.778156612230858, 0.8417305008694164),
        (299, 300, 0.95, 0.9813633063054688, 0.9994113422781488),
    ];

    #[test]
    fn no_trials_know_nothing_and_nonsense_is_refused() {
        let all = wilson(0, 0, 0.95).unwrap();
        assert_eq!((all.low, all.high), (0.0, 1.0));
        assert_eq!(wilson(3, 2, 0.95), Err(StatsError::Successes { successes: 3, trials: 2 }));
        assert_eq!(wilson(1, 2, 1.0), Err(StatsError::Confidence { given: 1.0 }));
        assert!(wilson(1, 2, f64::NAN).is_err());
    }
}
