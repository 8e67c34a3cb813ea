//! chrF (Popović 2015), equal to sacrebleu 2.6 with its defaults: characters 1 to 6, no word n-grams, beta 2,
//! whitespace removed, case kept, no epsilon smoothing; one reference per row.

use serde::{Deserialize, Serialize};

use crate::chars::is_space;

/// The longest character n-gram.
pub const CHAR_ORDER: usize = 6;

/// Recall counts `BETA²` times as much as precision.
const BETA: f64 = 2.0;

/// Summed n-gram counts of one row or of a corpus, per order 1 to 6. Rows add up to a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChrfCounts {
    /// n-grams of the outputs; 0 for an order that the target is too short for.
    pub output: [u64; CHAR_ORDER],
    /// n-grams of the targets.
    pub target: [u64; CHAR_ORDER],
    /// n-grams in common, each at most as often as in either.
    pub matched: [u64; CHAR_ORDER],
}

impl ChrfCounts {
    /// The counts of one row.
    pub fn of(output: &str, target: &str) -> Self {
        Self::of_profiles(&ChrfProfile::new(output), &ChrfProfile::new(target))
    }

    /// The counts of one row whose texts were prepared before.
    pub fn of_profiles(output: &ChrfProfile, target: &ChrfProfile) -> Self {
        let mut counts = Self::default();
        for order in 0..CHAR_ORDER {
            let (out, tgt) = (&output.grams[order], &target.grams[order]);
            counts.output[order] = if tgt.is_empty() { 0 } else { out.len() as u64 };
            counts.target[order] = tgt.len() as u64;
            counts.matched[order] = in_common(out, tgt);
        }
        counts
    }

    /// chrF from 0 to 100: F-beta of precision and recall, each averaged over the orders that both sides have.
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0_u32);
        for order in 0..CHAR_ORDER {
            let (out, tgt, matched) = (self.output[order], self.target[order], self.matched[order]);
            if out > 0 && tgt > 0 {
                precision += matched as f64 / out as f64;
                recall += matched as f64 / tgt as f64;
                orders += 1;
            }
        }
        if orders == 0 || precision + recall == 0.0 {
            return 0.0;
        }
        precision /= f64::from(orders);
        recall /= f64::from(orders);
        let factor = BETA * BETA;
        100.0 * ((1.0 + factor) * precision * recall) / (factor * precision + recall)
    }
}

impl std::ops::AddAssign for ChrfCounts {
    fn add_assign(&mut self, other: Self) {
        for order in 0..CHAR_ORDER {
            self.output[order] += other.output[order];
            self.target[order] += other.target[order];
            self.matched[order] += other.matched[order];
        }
    }
}

/// The sorted character n-grams of one text, so that a text compared many times is cut only once.
#[derive(Debug, Clone)]
pub struct ChrfProfile {
    /// Per order, each n-gram packed 21 bits a character, ascending, repeated as often as it occurs.
    pub(crate) grams: [Vec<u128>; CHAR_ORDER],
}

impl ChrfProfile {
    /// Cuts a text into n-grams of 1 to 6 characters; whitespace is removed first.
    pub fn new(text: &str) -> Self {
        let chars: Vec<u128> = text.chars().filter(|c| !is_space(*c)).map(|c| u128::from(u32::from(c))).collect();
        Self {
            grams: std::array::from_fn(|order| {
                let mut grams: Vec<u128> =
                    chars.windows(order + 1).map(|gram| gram.iter().fold(0, |key, c| key << 21 | c)).collect();
                grams.sort_unstable();
                grams
            }),
        }
    }
}

/// The size of the intersection of two sorted multisets.
fn in_common(a: &[u128], b: &[u128]) -> u64 {
    let (mut i, mut j, mut matched) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                matched += 1;
                i += 1;
                j += 1;
            }
        }
    }
    matched
}

/// chrF (0 to 100) of one output against its target; 0 when either is empty.
pub fn sentence(output: &str, target: &str) -> f64 {
    ChrfCounts::of(output, target).score()
}

/// Corpus chrF (0 to 100) of `(output, target)` pairs, from summed counts, not a mean of sentences; `None` for no pairs.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<f64> {
    corpus_of_counts(pairs.into_iter().map(|(output, target)| ChrfCounts::of(output, target)))
}

/// Corpus chrF of rows counted before, for resampling; `None` for no rows.
pub fn corpus_of_counts(rows: impl IntoIterator<Item = ChrfCounts>) -> Option<f64> {
    rows.into_iter()
        .reduce(|mut total, row| {
            total += row;
            total
        })
        .map(|total| total.score())
}

#[cfg(test)]
mod tests {
    use super::{ChrfCounts, corpus, sentence};

    #[test]
    fn a_hand_counted_pair() {
        // "abc" against "abd": order 1 matches 2 of 3, order 2 matches 1 of 2, order 3 none of 1; longer orders absent.
        let counts = ChrfCounts::of("abc", "abd");
        assert_eq!(counts.matched, [2, 1, 0, 0, 0, 0]);
        assert_eq!(counts.output, [3, 2, 1, 0, 0, 0]);
        let mean = (2.0 / 3.0 + 0.5) / 3.0;
        assert!((counts.score() - 100.0 * mean).abs() < 1e-12);
    }

    #[test]
    fn whitespace_does_not_count_and_case_does() {
        assert_eq!(sentence("a b\u{3000}c", "abc"), 100.0);
        assert!(sentence("ABC", "abc") == 0.0);
    }

    #[test]
    fn empty_sides_score_zero_and_an_empty_corpus_has_none() {
        assert_eq!(sentence("", ""), 0.0);
        assert_eq!(sentence("", "abc"), 0.0);
        assert_eq!(sentence("abc", ""), 0.0);
        assert_eq!(corpus([]), None);
        assert_eq!(corpus([("", "")]), Some(0.0));
    }
}
