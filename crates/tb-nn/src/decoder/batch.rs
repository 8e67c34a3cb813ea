//! A batch of token rows, right padded, with its targets. Where loss is computed is decided here; how is in `ops::cross_entropy`.

use crate::{Error, Result};

/// A position without a target.
pub const IGNORED: i32 = -100;

/// One tokenised example before padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Token ids, at least one.
    pub ids: Vec<u32>,
    /// As long as `ids`: `labels[t]` is the id at t if that token is to be learnt, else [`IGNORED`].
    pub labels: Vec<i32>,
}

/// Rows of one width for the decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// B * T ids, row-major, right padded.
    pub ids: Vec<u32>,
    /// B * T targets: `labels[t]` is the target *at* t, learnt from the tokens before t; -100 where there is none.
    pub labels: Vec<i32>,
    /// Real tokens of each row, 1 to T.
    pub lengths: Vec<usize>,
    /// B.
    pub rows: usize,
    /// T.
    pub width: usize,
}

/// The supervised positions of a batch, in row-major order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Index into the B * T positions of the hidden state that predicts each target.
    pub(crate) positions: Vec<u32>,
    /// The target ids.
    pub(crate) ids: Vec<u32>,
    /// Number of targets per row.
    pub(crate) per_row: Vec<usize>,
}

impl Batch {
    /// Pads the rows to the longest with `pad_id` and label -100. Errors: no row, an empty row, labels of another length.
    pub fn from_rows(rows: &[Row], pad_id: u32) -> Result<Self> {
        let width = rows.iter().map(|r| r.ids.len()).max().unwrap_or(0);
        let mut batch = Self {
            ids: Vec::with_capacity(rows.len() * width),
            labels: Vec::with_capacity(rows.len() * width),
            lengths: rows.iter().map(|r| r.ids.len()).collect(),
            rows: rows.len(),
            width,
        };
        if rows.is_empty() {
            return Err(Error::value("batch", "needs at least one row"));
        }
        for (i, row) in rows.iter().enumerate() {
            if row.ids.is_empty() {
                return Err(Error::value("batch", format!("row {i} has no tokens")));
            }
            if row.ids.len() != row.labels.len() {
                return Err(Error::value(
                    "batch",
                    format!("row {i} has {} tokens but {} labels", row.ids.len(), row.labels.len()),
                ));
            }
            batch.ids.extend_from_slice(&row.ids);
            batch.ids.resize((i + 1) * width, pad_id);
            batch.labels.extend_from_slice(&row.labels);
            batch.labels.resize((i + 1) * width, IGNORED);
        }
        Ok(batch)
    }

    /// Rows without targets, for scoring prompts and generation.
    pub fn from_ids(rows: &[Vec<u32>], pad_id: u32) -> Result<Self> {
        let rows: Vec<Row> =
            rows.iter().map(|ids| Row { labels: vec![IGNORED; ids.len()], ids: ids.clone() }).collect();
        Self::from_rows(&rows, pad_id)
    }

    /// Number of targets after the shift: a label at the first position of a row has nothing before it and does not count.
    #[must_use]
    pub fn supervised_tokens(&self) -> usize {
        (0..self.rows).map(|r| self.row_targets(r).count()).sum()
    }

    /// Number of tokens that are not padding.
    #[must_use]
    pub fn real_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// (t, label) of every target of a row, t >= 1.
    fn row_targets(&self, row: usize) -> impl Iterator<Item = (usize, i32)> + '_ {
        let length = self.lengths[row];
        let labels = &self.labels[row * self.width..row * self.width + length];
        labels.iter().copied().enumerate().skip(1).filter(|(_, label)| *label != IGNORED)
    }

    /// The supervised positions; refuses a target outside the vocabulary and shapes that do not fit.
    pub(crate) fn targets(&self, vocab_size: usize) -> Result<Targets> {
        self.check(vocab_size)?;
        let mut targets = Targets::default();
        for row in 0..self.rows {
            let before = targets.ids.len();
            for (t, label) in self.row_targets(row) {
                let id = u32::try_from(label).ok().filter(|id| (*id as usize) < vocab_size).ok_or_else(|| {
                    Error::value("batch", format!(
                        "label {label} at row {row}, position {t} is neither {IGNORED} nor an id below the vocabulary size {vocab_size}"
                    ))
                })?;
                targets.positions.push((row * self.width + t - 1) as u32);
                targets.ids.push(id);
            }
            targets.per_row.push(targets.ids.len() - before);
        }
        Ok(targets)
    }

    /// Refuses a hand-made batch whose parts do not fit, and ids outside the vocabulary.
    pub(crate) fn check(&self, vocab_size: usize) -> Result<()> {
        let cells = self.rows * self.width;
        if cells == 0
            || self.ids.len() != cells
            || self.labels.len() != cells
            || self.lengths.len() != self.rows
            || self.lengths.iter().any(|&n| n == 0 || n > self.width)
        {
            return Err(Error::value(
                "batch",
                format!(
                    "{} ids, {} labels and {} lengths do not make {} rows of {} tokens",
                    self.ids.len(),
                    self.labels.len(),
                    self.lengths.len(),
                    self.rows,
                    self.width
                ),
            ));
        }
        match self.ids.iter().position(|&id| id as usize >= vocab_size) {
            Some(at) => Err(Error::value(
                "batch",
                format!(
                    "token {} at row {}, position {} is outside the vocabulary of {vocab_size}: the tokenizer does not belong to this model",
                    self.ids[at],
                    at / self.width,
                    at % self.width
                ),
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_position_is_never_a_target() {
        let rows =
            [Row { ids: vec![3, 4, 5], labels: vec![3, -100, 5] }, Row { ids: vec![6, 7], labels: vec![-100, 7] }];
        let batch = Batch::from_rows(&rows, 0).unwrap();
        assert_eq!(batch.ids, [3, 4, 5, 6, 7, 0]);
        assert_eq!((batch.supervised_tokens(), batch.real_tokens()), (2, 5));
        let t = batch.targets(8).unwrap();
        assert_eq!((t.positions, t.ids, t.per_row), (vec![1, 3], vec![5, 7], vec![1, 1]));
    }

    #[test]
    fn bad_batches_are_refused_by_name() {
        let row = |ids: &[u32], labels: &[i32]| Row { ids: ids.to_vec(), labels: labels.to_vec() };
        assert!(Batch::from_rows(&[], 0).is_err());
        assert!(Batch::from_rows(&[row(&[], &[])], 0).is_err());
        assert!(Batch::from_rows(&[row(&[1], &[1, 2])], 0).unwrap_err().to_string().contains("row 0"));
        let high = Batch::from_rows(&[row(&[1, 9], &[1, 2])], 0).unwrap();
        assert!(high.targets(8).unwrap_err().to_string().contains("token 9"));
        let label = Batch::from_rows(&[row(&[1, 2], &[1, -7])], 0).unwrap();
        assert!(label.targets(8).unwrap_err().to_string().contains("label -7"));
    }
}
