//! BLEU (Papineni 2002), equal to sacrebleu 2.6: orders 1 to 4, exponential smoothing, case kept, one reference per row.
//! No MeCab: Japanese is scored over characters.

mod tokenize;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use tokenize::Tokenizer;

/// The longest n-gram.
pub const MAX_ORDER: usize = 4;

/// Summed n-gram counts of one row or of a corpus, per order 1 to 4. Rows add up to a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BleuCounts {
    /// Tokens of the outputs.
    pub output_tokens: u64,
    /// Tokens of the targets.
    pub target_tokens: u64,
    /// n-grams in common, each at most as often as in the target.
    pub matched: [u64; MAX_ORDER],
    /// n-grams of the outputs.
    pub total: [u64; MAX_ORDER],
}

/// Whether orders that an output is too short for count as zero or are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orders {
    All,
    Effective,
}

impl BleuCounts {
    /// The counts of one row.
    pub fn of(output: &str, target: &str, tokenizer: Tokenizer) -> Self {
        let mut ids = HashMap::new();
        let output = tokens(output, tokenizer, &mut ids);
        let target = tokens(target, tokenizer, &mut ids);
        let mut counts =
            Self { output_tokens: output.len() as u64, target_tokens: target.len() as u64, ..Self::default() };
        for order in 1..=MAX_ORDER {
            let mut left: HashMap<&[u32], u64> = HashMap::new();
            for gram in target.windows(order) {
                *left.entry(gram).or_default() += 1;
            }
            for gram in output.windows(order) {
                counts.total[order - 1] += 1;
                if let Some(count) = left.get_mut(gram).filter(|count| **count > 0) {
                    *count -= 1;
                    counts.matched[order - 1] += 1;
                }
            }
        }
        counts
    }

    /// Corpus BLEU, 0 to 100: brevity penalty times the geometric mean of four n-gram precisions.
    /// A corpus whose outputs are all shorter than four tokens scores 0, as in sacrebleu.
    pub fn corpus_score(&self) -> f64 {
        self.score(Orders::All)
    }

    /// Sentence BLEU, 0 to 100, with sacrebleu's `effective_order`: orders the output is too short for are left out.
    pub fn sentence_score(&self) -> f64 {
        self.score(Orders::Effective)
    }

    fn score(&self, orders: Orders) -> f64 {
        if self.matched.iter().all(|matched| *matched == 0) {
            return 0.0;
        }
        let mut log_sum = 0.0;
        let mut halving = 1.0;
        let mut order = 0;
        while order < MAX_ORDER && self.total[order] > 0 {
            let (matched, total) = (self.matched[order] as f64, self.total[order] as f64);
            // An order without a match takes half, a quarter, ... of a match (NIST smoothing).
            let precision = if matched == 0.0 {
                halving *= 2.0;
                100.0 / (halving * total)
            } else {
                100.0 * matched / total
            };
            log_sum += precision.ln();
            order += 1;
        }
        if order < MAX_ORDER && orders == Orders::All {
            return 0.0;
        }
        self.brevity_penalty() * (log_sum / order as f64).exp()
    }

    fn brevity_penalty(&self) -> f64 {
        if self.output_tokens >= self.target_tokens {
            1.0
        } else if self.output_tokens == 0 {
            0.0
        } else {
            (1.0 - self.target_tokens as f64 / self.output_tokens as f64).exp()
        }
    }
}

impl std::ops::AddAssign for BleuCounts {
    fn add_assign(&mut self, other: Self) {
        self.output_tokens += other.output_tokens;
        self.target_tokens += other.target_tokens;
        for order in 0..MAX_ORDER {
            self.matched[order] += other.matched[order];
            self.total[order] += other.total[order];
        }
    }
}

fn tokens(text: &str, tokenizer: Tokenizer, ids: &mut HashMap<String, u32>) -> Vec<u32> {
    let mut result = Vec::new();
    tokenizer.for_each_token(text, |token| {
        let next = ids.len() as u32;
        result.push(match ids.get(token) {
            Some(id) => *id,
            None => *ids.entry(token.to_owned()).or_insert(next),
        });
    });
    result
}

/// Sentence BLEU (0 to 100, effective order, as `sacrebleu.sentence_bleu`); 0 when either side is empty.
pub fn sentence(output: &str, target: &str, tokenizer: Tokenizer) -> f64 {
    BleuCounts::of(output, target, tokenizer).sentence_score()
}

/// Corpus BLEU (0 to 100, as `sacrebleu.corpus_bleu`) of `(output, target)` pairs; `None` for no pairs.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>, tokenizer: Tokenizer) -> Option<f64> {
    corpus_of_counts(pairs.into_iter().map(|(output, target)| BleuCounts::of(output, target, tokenizer)))
}

/// Corpus BLEU of rows counted before, for resampling or for rows with different tokenizers; `None` for no rows.
pub fn corpus_of_counts(rows: impl IntoIterator<Item = BleuCounts>) -> Option<f64> {
    rows.into_iter()
        .reduce(|mut total, row| {
            total += row;
            total
        })
        .map(|total| total.corpus_score())
}

#[cfg(test)]
mod tests {
    use super::{Tokenizer, corpus, sentence};

    #[test]
    fn equal_texts_score_100_and_unrelated_ones_0() {
        let text = "Could you please send the report today?";
        assert!((sentence(text, text, Tokenizer::V13a) - 100.0).abs() < 1e-9);
        assert_eq!(sentence("alpha beta", "gamma delta", Tokenizer::V13a), 0.0);
    }

    #[test]
    fn empty_sides_score_zero_and_an_empty_corpus_has_none() {
        for tokenizer in [Tokenizer::V13a, Tokenizer::Char] {
            for (output, target) in [("", ""), ("", "a"), ("a", ""), (" \n", "\u{3000}")] {
                assert_eq!(sentence(output, target, tokenizer), 0.0);
                assert_eq!(corpus([(output, target)], tokenizer), Some(0.0));
            }
            assert_eq!(corpus([], tokenizer), None);
        }
    }

    #[test]
    fn a_short_sentence_is_scored_by_the_orders_it_has() {
        assert!((sentence("Thanks!", "Thanks!", Tokenizer::V13a) - 100.0).abs() < 1e-9);
        assert_eq!(corpus([("Thanks!", "Thanks!")], Tokenizer::V13a), Some(0.0));
    }
}
