//! The choice of the next token from one row of logits: greedy, or temperature, top-k and top-p in the order of transformers.

use super::GenerationConfig;
use crate::{Error, Result};
use rayon::prelude::*;
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
    let mut ranked = Ranked::new(logits, config.top_k);
    let best = f64::from(logits[greedy(logits) as usize]);
    let weight = |id: u32| ((f64::from(logits[id as usize]) - best) / config.temperature).exp();
    let mut total = ranked.total(weight);
    if config.top_p < 1.0 {
        // A token stays if those likelier than it have not yet reached top_p.
        let (wanted, mut kept, mut before) = (config.top_p * total, 0, 0.0);
        while let Some(id) = ranked.get(kept).filter(|_| before < wanted) {
            before += weight(id);
            kept += 1;
        }
        ranked.ids.truncate(kept.max(1));
        total = before;
    }
    let mut left = Stream::new(config.seed, position as u64, Purpose::Sampling, row as u64).uniform_f64() * total;
    let (mut chosen, mut rank) = (0, 0);
    while let Some(id) = ranked.get(rank) {
        // Rounding can leave a trace of `left` after the last weight.
        chosen = id;
        left -= weight(id);
        if left < 0.0 {
            break;
        }
        rank += 1;
    }
    Ok(chosen)
}

/// Token ids by falling logit, equals by id; sorted only as far as they are asked for, since the first few carry nearly all of the probability.
struct Ranked<'a> {
    logits: &'a [f32],
    ids: Vec<u32>,
    sorted: usize,
}

/// Ids that are sorted at first, and by how many times more each time after that.
const FIRST: usize = 64;
const GROWTH: usize = 8;
/// Weights that a task adds.
const TASK: usize = 1 << 13;

impl<'a> Ranked<'a> {
    /// All ids, or the `top_k` likeliest.
    fn new(logits: &'a [f32], top_k: usize) -> Self {
        let mut ranked = Self { logits, ids: (0..logits.len() as u32).collect(), sorted: 0 };
        if top_k > 0 && top_k < ranked.ids.len() {
            ranked.sort_to(top_k);
            ranked.ids.truncate(top_k);
        }
        ranked
    }

    /// The id of this rank, counted from 0.
    fn get(&mut self, rank: usize) -> Option<u32> {
        while rank >= self.sorted && self.sorted < self.ids.len() {
            self.sort_to((self.sorted * GROWTH).max(FIRST).min(self.ids.len()));
        }
        self.ids.get(rank).copied()
    }

    fn sort_to(&mut self, end: usize) {
        let logits = self.logits;
        let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let (rest, more) = (&mut self.ids[self.sorted..], end - self.sorted);
        if more < rest.len() {
            rest.select_nth_unstable_by(more - 1, better);
        }
        rest[..more].sort_unstable_by(better);
        self.sorted = end;
    }

    /// The sum of the weights of all ids, in an order of its own.
    fn total(&self, weight: impl Fn(u32) -> f64 + Sync) -> f64 {
        let parts = self.ids.par_chunks(TASK).map(|ids| ids.iter().map(|id| weight(*id)).sum::<f64>());
        parts.collect::<Vec<f64>>().into_iter().sum()
    }
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
    fn what_is_sorted_bit_by_bit_is_sorted_as_a_whole() {
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 611) as f32).collect();
        let mut whole: Vec<u32> = (0..5000).collect();
        whole.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        let mut ranked = Ranked::new(&logits, 0);
        let all: Vec<u32> = (0..5001).map_while(|rank| ranked.get(rank)).collect();
        assert_eq!(all, whole);
        let mut few = Ranked::new(&logits, 700);
        assert_eq!((0..).map_while(|rank| few.get(rank)).collect::<Vec<_>>(), whole[..700]);
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
