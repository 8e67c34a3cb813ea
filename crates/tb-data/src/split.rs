//! Splitting by a hash of the prompt: one prompt never stands in two splits, whatever the order of the rows or what is added later.

pub mod prompts;

use sha2::{Digest, Sha256};
use tb_core::dataset::{Example, Message, Row, Said, SplitName};

use crate::error::{Error, Result};

/// How much of a dataset goes where; the three need not add up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// To learn from.
    pub train: f64,
    /// To watch the loss on.
    pub validation: f64,
    /// To measure on.
    pub test: f64,
}

impl Shares {
    /// Whether they can be met.
    ///
    /// # Errors
    /// [`Error::BadShares`] for a negative or not finite share, or a train share of 0.
    pub fn check(self) -> Result<()> {
        let Self { train, validation, test } = self;
        if ![train, validation, test].iter().all(|s| s.is_finite() && *s >= 0.0) || train <= 0.0 {
            return Err(Error::BadShares { train, validation, test });
        }
        Ok(())
    }

    /// The split of what falls on a place in [0, 1).
    fn split_at(self, place: f64) -> SplitName {
        let Self { train, validation, test } = self;
        let whole = train + validation + test;
        if place < train / whole || (validation == 0.0 && test == 0.0) {
            SplitName::Train
        } else if validation > 0.0 && (place < (train + validation) / whole || test == 0.0) {
            SplitName::Validation
        } else {
            SplitName::Test
        }
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self { train: 0.8, validation: 0.1, test: 0.1 }
    }
}

/// The rows of each split, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Splits {
    /// To learn from.
    pub train: Vec<Row>,
    /// To watch the loss on.
    pub validation: Vec<Row>,
    /// To measure on.
    pub test: Vec<Row>,
}

impl Splits {
    /// The rows of one split.
    #[must_use]
    pub fn rows(&self, name: SplitName) -> &[Row] {
        match name {
            SplitName::Train => &self.train,
            SplitName::Validation => &self.validation,
            SplitName::Test => &self.test,
        }
    }
}

/// Splits rows: each prompt's place follows from its content and `seed` alone. The shares are met in the long run, not exactly.
///
/// # Errors
/// [`Error::BadShares`] for a negative or not finite share, or a train share of 0.
pub fn split(rows: Vec<Row>, shares: Shares, seed: u64) -> Result<Splits> {
    shares.check()?;
    let mut splits = Splits::default();
    for row in rows {
        let rows = match shares.split_at(place(&prompt_key(&row.example), seed)) {
            SplitName::Train => &mut splits.train,
            SplitName::Validation => &mut splits.validation,
            SplitName::Test => &mut splits.test,
        };
        rows.push(row);
    }
    Ok(splits)
}

/// Where in [0, 1) a prompt falls.
fn place(prompt: &str, seed: u64) -> f64 {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(prompt);
    let bytes = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    // 53 bits fill a double exactly.
    (u64::from_be_bytes(first) >> 11) as f64 / (1_u64 << 53) as f64
}

/// What must not stand in two splits: the prompt, a conversation up to its first answer, or a whole text.
fn prompt_key(example: &Example) -> String {
    match example {
        Example::Preference { prompt, .. }
        | Example::Unpaired { prompt, .. }
        | Example::PromptCompletion { prompt, .. } => match prompt {
            Said::Text(text) => text.clone(),
            Said::Messages(messages) => said(messages),
        },
        Example::Messages { messages } => {
            let end = messages.iter().position(|m| m.role == "assistant").unwrap_or(messages.len());
            said(&messages[..end])
        }
        Example::Text { text } => text.clone(),
    }
}

fn said(messages: &[Message]) -> String {
    messages.iter().map(|m| format!("{}\u{1f}{}\u{1e}", m.role, m.content)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn rows(n: u64) -> Vec<Row> {
        (0..n)
            .map(|i| Row {
                line: i + 1,
                example: Example::PromptCompletion {
                    prompt: Said::Text(format!("prompt {}", i / 2)),
                    completion: Said::Text(format!("answer {i}")),
                },
                more: serde_json::Map::new(),
            })
            .collect()
    }

    fn prompts(rows: &[Row]) -> HashSet<String> {
        rows.iter().map(|r| prompt_key(&r.example)).collect()
    }

    #[test]
    fn no_prompt_stands_in_two_splits_and_the_shares_are_met() {
        let splits = split(rows(4000), Shares::default(), 7).unwrap();
        let (train, validation, test) = (prompts(&splits.train), prompts(&splits.validation), prompts(&splits.test));
        assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
        assert_eq!(train.len() + validation.len() + test.len(), 2000);
        // Standard deviation of 2000 draws at 0.8 is 18: five of them.
        assert!((train.len() as f64 - 1600.0).abs() < 90.0, "{}", train.len());
        assert!((test.len() as f64 - 200.0).abs() < 70.0, "{}", test.len());
    }

    #[test]
    fn order_and_company_make_no_difference_but_the_seed_does() {
        let one = split(rows(400), Shares::default(), 7).unwrap();
        let mut turned = rows(800);
        turned.reverse();
        let other = split(turned, Shares::default(), 7).unwrap();
        assert!(prompts(&one.test).is_subset(&prompts(&other.test)));
        assert!(prompts(&one.train).is_subset(&prompts(&other.train)));
        assert_ne!(prompts(&split(rows(400), Shares::default(), 8).unwrap().test), prompts(&one.test));
    }

    #[test]
    fn a_share_of_zero_gets_nothing_and_bad_shares_are_refused() {
        let all = split(rows(100), Shares { train: 1.0, validation: 0.0, test: 0.0 }, 1).unwrap();
        assert_eq!((all.train.len(), all.validation.len(), all.test.len()), (100, 0, 0));
        let some = split(rows(100), Shares { train: 0.5, validation: 0.0, test: 0.5 }, 1).unwrap();
        assert!(some.validation.is_empty() && !some.test.is_empty());
        for bad in [f64::NAN, -0.1, f64::INFINITY] {
            assert!(split(rows(1), Shares { train: 0.5, validation: bad, test: 0.1 }, 1).is_err());
        }
        assert!(split(rows(1), Shares { train: 0.0, validation: 0.5, test: 0.5 }, 1).is_err());
    }
}
