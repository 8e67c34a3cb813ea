//! Perplexity from a summed negative log-likelihood. Computing the likelihood is the model's work, not ours.

/// `exp(nll_sum_nats / tokens)`: 1 is certainty, the vocabulary size is guessing.
///
/// `None` when there is no token, the sum is not finite, or the result exceeds what an f64 holds.
pub fn perplexity(nll_sum_nats: f64, tokens: u64) -> Option<f64> {
    if tokens == 0 {
        return None;
    }
    Some((nll_sum_nats / tokens as f64).exp()).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::perplexity;

    #[test]
    fn guessing_among_k_has_perplexity_k() {
        let got = perplexity(12.0 * 50.0_f64.ln(), 12).unwrap();
        assert!((got - 50.0).abs() < 1e-9);
        assert_eq!(perplexity(0.0, 7), Some(1.0));
    }

    #[test]
    fn no_tokens_nan_and_overflow_have_none() {
        assert_eq!(perplexity(1.0, 0), None);
        assert_eq!(perplexity(f64::NAN, 3), None);
        assert_eq!(perplexity(1e9, 1), None);
    }
}
