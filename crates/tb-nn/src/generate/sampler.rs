//! The choice of the next token from one row of logits: greedy, or temperature, top-k and top-p in the order of transformers.

use super::GenerationConfig;
use crate::{Error, Result};
use tb_core::random::{Purpose, Stream};

/// The token for `row` at `position`. Among equals the lower id wins.
pub(super) fn choose(logits: &[f32], config: &GenerationConfig, row: usize, position: usize) -> Result<u32> {
    if let Some(id) = logits.iter().position(|l| l.is_nan()) {
        return Err(Error::value(
            "generate",
            format!("the model's score of token {id} is not a number: its weights are damaged or training diverged"),
        ));
    }
    if config.temperature == 0.0 {
        return Ok(greedy(logits));
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if config.top_k > 0 && config.top_k < order.len() {
        order.select_nth_unstable_by(config.top_k - 1, better);
        order.truncate(config.top_k);
    }
    order.sort_unstable_by(better);
    let best = f64::from(logits[order[0] as usize]);
    let mut weights: Vec<f64> =
        order.iter().map(|id| ((f64::from(logits[*id as usize]) - best) / config.temperature).exp()).collect();
    if config.top_p < 1.0 {
        // A token stays if those likelier than it have not yet reached top_p.
        let total: f64 = weights.iter().sum();
        let mut before = 0.0;
        let kept = weights
            .iter()
            .take_while(|w| {
                let stays = before < config.top_p * total;
                before += **w;
                stays
            })
            .count();
        weights.truncate(kept.max(1));
    }
    let total: f64 = weights.iter().sum();
    let mut left = Stream::new(config.seed, position as u64, Purpose::Sampling, row as u64).uniform_f64() * total;
    for (id, weight) in order.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return Ok(*id);
        }
    }
    // Rounding can leave a trace of `left` after the last weight.
    Ok(order[weights.len() - 1])
}

fn greedy(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, l) in logits.iter().enumerate() {
        if *l > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(temperature: f64, top_k: usize, top_p: f64) -> GenerationConfig {
        GenerationConfig { temperature, top_k, top_p, seed: 5, ..GenerationConfig::default() }
    }

    fn shares(logits: &[f32], c: &GenerationConfig) -> Vec<f64> {
        let mut counts = vec![0u32; logits.len()];
        for position in 0..4000 {
            counts[choose(logits, c, 0, position).unwrap() as usize] += 1;
        }
        counts.into_iter().map(|n| f64::from(n) / 4000.0).collect()
    }

    fn logits() -> [f32; 3] {
        [0.3f32, 0.5, 0.2].map(f32::ln)
    }

    #[test]
    fn shares_follow_the_softmax_at_each_temperature() {
        for (t, expected) in [(1.0, [0.3, 0.5, 0.2]), (0.5, [9.0 / 38.0, 25.0 / 38.0, 4.0 / 38.0])] {
            for (got, want) in shares(&logits(), &config(t, 0, 1.0)).iter().zip(expected) {
                assert!((got - want).abs() < 0.03, "{got} {want}");
            }
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        assert_eq!(shares(&logits(), &config(1.0, 2, 1.0))[2], 0.0);
        assert_eq!(shares(&logits(), &config(1.0, 0, 0.79))[2], 0.0);
        assert!(shares(&logits(), &config(1.0, 0, 0.81))[2] > 0.1);
        assert_eq!(shares(&logits(), &config(1.0, 0, 0.01))[1], 1.0);
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_refuses_nan() {
        assert_eq!(choose(&[1.0, 3.0, 3.0], &config(0.0, 0, 1.0), 0, 0).unwrap(), 1);
        assert!(choose(&[1.0, f32::NAN], &config(0.0, 0, 1.0), 0, 0).is_err());
    }

    #[test]
    fn the_choice_is_a_function_of_seed_row_and_position() {
        let c = config(1.0, 0, 1.0);
        let run =
            |row, c: &GenerationConfig| (0..50).map(|p| choose(&logits(), c, row, p).unwrap()).collect::<Vec<_>>();
        assert_eq!(run(0, &c), run(0, &c));
        assert_ne!(run(0, &c), run(1, &c));
        assert_ne!(run(0, &c), run(0, &GenerationConfig { seed: 6, ..c.clone() }));
    }
}
