//! Quantiles of a sample. Sorting is done on a copy; the caller's order stays.

/// The `share` quantile (0 to 1) of `values` by linear interpolation between order statistics
/// (type 7, the default of numpy and R). `None` when there is no value or one is NaN.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, share)
}

/// As [`quantile`], for values already in ascending order.
pub fn quantile_of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    if sorted.is_empty() || share.is_nan() || sorted.iter().any(|v| v.is_nan()) {
        return None;
    }
    let position = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let (low, high) = (sorted[below], sorted[above]);
    // Equal neighbours first: infinity minus infinity would be NaN.
    Some(if low == high { low } else { low + (high - low) * (position - below as f64) })
}

/// The arithmetic mean; `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{mean, quantile};

    /// numpy.quantile([3, 1, 4, 1, 5, 9, 2, 6], q) 2.4.6.
    #[test]
    fn quantiles_equal_numpys() {
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0];
        for (share, expected) in [(0.0, 1.0), (0.1, 1.0), (0.5, 3.5), (0.9, 6.9), (1.0, 9.0), (0.33, 2.31)] {
            let got = quantile(&values, share).unwrap();
            assert!((got - expected).abs() < 1e-12, "{share}: {got}");
        }
    }

    #[test]
    fn nothing_and_nan_have_no_quantile() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0, f64::NAN], 0.5), None);
        assert_eq!(quantile(&[f64::INFINITY, f64::INFINITY], 0.5), Some(f64::INFINITY));
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[1.0, 2.0]), Some(1.5));
    }
}
