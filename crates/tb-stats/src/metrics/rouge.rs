//! ROUGE-1, ROUGE-2 and ROUGE-L of one output against one target, equal to rouge-score 0.1.2.
//! No stemmer (its `use_stemmer=False`, the default) and no ROUGE-Lsum.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::chars::is_space;

/// What a text is cut into before matching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// rouge-score's default: lower-cased runs of ASCII letters and digits. Japanese text has none, so it scores 0.
    Words,
    /// Each character that is not whitespace, case kept; for Japanese.
    Characters,
}

/// Precision, recall and their harmonic mean, each from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RougeScore {
    /// Matched units over units of the output.
    pub precision: f64,
    /// Matched units over units of the target.
    pub recall: f64,
    /// Harmonic mean of both; 0 when both are 0.
    pub f1: f64,
}

/// The three usual ROUGE scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rouge {
    /// Overlap of single units.
    pub rouge1: RougeScore,
    /// Overlap of pairs of units.
    pub rouge2: RougeScore,
    /// Longest common subsequence of units.
    pub rouge_l: RougeScore,
}

/// ROUGE of one output against its target. An empty side scores 0.
pub fn sentence(output: &str, target: &str, units: Units) -> Rouge {
    let mut ids = HashMap::new();
    let output = tokens(output, units, &mut ids);
    let target = tokens(target, units, &mut ids);
    Rouge {
        rouge1: overlap(&output, &target, |gram| gram[0] as u64, 1),
        rouge2: overlap(&output, &target, |gram| (gram[0] as u64) << 32 | gram[1] as u64, 2),
        rouge_l: score(common_subsequence(&output, &target), output.len(), target.len()),
    }
}

/// The mean of the per-row scores over `(output, target)` pairs, as summarisation papers report; `None` for no pairs.
pub fn mean<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>, units: Units) -> Option<Rouge> {
    let mut sum = Rouge::default();
    let mut rows = 0_u64;
    for (output, target) in pairs {
        let row = sentence(output, target, units);
        sum.rouge1.add(row.rouge1);
        sum.rouge2.add(row.rouge2);
        sum.rouge_l.add(row.rouge_l);
        rows += 1;
    }
    let n = rows as f64;
    (rows > 0).then(|| Rouge { rouge1: sum.rouge1.over(n), rouge2: sum.rouge2.over(n), rouge_l: sum.rouge_l.over(n) })
}

impl RougeScore {
    fn add(&mut self, other: Self) {
        self.precision += other.precision;
        self.recall += other.recall;
        self.f1 += other.f1;
    }

    fn over(self, n: f64) -> Self {
        Self { precision: self.precision / n, recall: self.recall / n, f1: self.f1 / n }
    }
}

/// Cuts a text into units, each an id that is equal for equal units.
fn tokens(text: &str, units: Units, ids: &mut HashMap<String, u32>) -> Vec<u32> {
    let mut id = |token: &str| {
        let next = ids.len() as u32;
        *ids.entry(token.to_owned()).or_insert(next)
    };
    match units {
        Units::Words => text
            .to_lowercase()
            .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
            .filter(|word| !word.is_empty())
            .map(&mut id)
            .collect(),
        Units::Characters => text.chars().filter(|c| !is_space(*c)).map(|c| id(c.encode_utf8(&mut [0; 4]))).collect(),
    }
}

fn overlap(output: &[u32], target: &[u32], key: impl Fn(&[u32]) -> u64, order: usize) -> RougeScore {
    let mut left: HashMap<u64, usize> = HashMap::new();
    for gram in target.windows(order) {
        *left.entry(key(gram)).or_default() += 1;
    }
    let mut matched = 0;
    for gram in output.windows(order) {
        if let Some(count) = left.get_mut(&key(gram)).filter(|count| **count > 0) {
            *count -= 1;
            matched += 1;
        }
    }
    score(matched, (output.len() + 1).saturating_sub(order), (target.len() + 1).saturating_sub(order))
}

fn score(matched: usize, in_output: usize, in_target: usize) -> RougeScore {
    let precision = matched as f64 / in_output.max(1) as f64;
    let recall = matched as f64 / in_target.max(1) as f64;
    let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
    RougeScore { precision, recall, f1 }
}

/// Length of the longest common subsequence; time is the product of the lengths, memory one row.
fn common_subsequence(a: &[u32], b: &[u32]) -> usize {
    let mut row = vec![0_usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{Units, mean, sentence};

    #[test]
    fn a_hand_counted_pair() {
        // Output: the cat sat (3 words). Target: the cat on the mat (5 words). Common: the, cat.
        let got = sentence("The cat sat.", "the cat on the mat", Units::Words);
        assert_eq!((got.rouge1.precision, got.rouge1.recall), (2.0 / 3.0, 2.0 / 5.0));
        assert_eq!((got.rouge2.precision, got.rouge2.recall), (1.0 / 2.0, 1.0 / 4.0));
        assert_eq!(got.rouge_l.f1, 0.5);
    }

    #[test]
    fn empty_sides_score_zero() {
        for (output, target) in [("", ""), ("", "a"), ("a", ""), ("。", "。"), ("a", "b")] {
            let got = sentence(output, target, Units::Words);
            assert_eq!((got.rouge1.f1, got.rouge2.f1, got.rouge_l.f1), (0.0, 0.0, 0.0));
        }
        assert_eq!(mean([], Units::Words), None);
    }

    #[test]
    fn japanese_needs_characters() {
        assert_eq!(sentence("承知しました", "承知しました", Units::Words).rouge_l.f1, 0.0);
        assert_eq!(sentence("承知しました", "承知 しました", Units::Characters).rouge_l.f1, 1.0);
    }
}
