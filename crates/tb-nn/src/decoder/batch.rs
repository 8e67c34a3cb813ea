//! A batch of token rows, right padded, with its targets. Where loss is computed is decided here; how is in `ops::cross_entropy`.
//!
//! A row holds one sample, or several packed one behind the other. Packed samples do not see each other: attention stays within a
//! sample, positions start at 0 with each, and the first token of each has nothing before it to be learnt from.

use crate::ops::attention::Spans;
use crate::ops::rope::Positions;
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
    /// Tokens of each sample of each row, in order; a row's add up to its length.
    pub samples: Vec<Vec<usize>>,
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
        let packs: Vec<&[Row]> = rows.iter().map(std::slice::from_ref).collect();
        Self::packed(&packs, pad_id)
    }

    /// As [`Self::from_rows`], each row holding all samples of a pack. Errors: as there, or a pack without samples.
    pub fn packed<P: AsRef<[Row]>>(packs: &[P], pad_id: u32) -> Result<Self> {
        if packs.is_empty() {
            return Err(Error::value("batch", "needs at least one row"));
        }
        let samples: Vec<Vec<usize>> =
            packs.iter().map(|pack| pack.as_ref().iter().map(|sample| sample.ids.len()).collect()).collect();
        let lengths: Vec<usize> = samples.iter().map(|pack| pack.iter().sum()).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        let mut batch = Self {
            ids: Vec::with_capacity(packs.len() * width),
            labels: Vec::with_capacity(packs.len() * width),
            lengths,
            samples,
            rows: packs.len(),
            width,
        };
        for (i, pack) in packs.iter().enumerate() {
            for sample in pack.as_ref() {
                if sample.ids.is_empty() {
                    return Err(Error::value("batch", format!("row {i} has no tokens")));
                }
                if sample.ids.len() != sample.labels.len() {
                    return Err(Error::value(
                        "batch",
                        format!("row {i} has {} tokens but {} labels", sample.ids.len(), sample.labels.len()),
                    ));
                }
                batch.ids.extend_from_slice(&sample.ids);
                batch.labels.extend_from_slice(&sample.labels);
            }
            if pack.as_ref().is_empty() {
                return Err(Error::value("batch", format!("row {i} has no tokens")));
            }
            batch.ids.resize((i + 1) * width, pad_id);
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

    /// Number of targets after the shift: a label at the first position of a sample has nothing before it and does not count.
    #[must_use]
    pub fn supervised_tokens(&self) -> usize {
        (0..self.rows).map(|r| self.row_targets(r).count()).sum()
    }

    /// Number of tokens that are not padding.
    #[must_use]
    pub fn real_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Tokens of the longest sample: the positions that a pass needs.
    #[must_use]
    pub fn longest_sample(&self) -> usize {
        self.samples.iter().flatten().copied().max().unwrap_or(0)
    }

    /// (first column, tokens) of every sample of a row.
    pub(crate) fn row_samples(&self, row: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.samples[row].iter().scan(0, |at, n| {
            let first = *at;
            *at += n;
            Some((first, *n))
        })
    }

    /// The place of each token in its sample. Padding stands at 0.
    pub(crate) fn positions(&self) -> Positions {
        if self.samples.iter().all(|pack| pack.len() == 1) {
            return Positions::From(0);
        }
        let mut all = vec![0; self.rows * self.width];
        for row in 0..self.rows {
            for (first, n) in self.row_samples(row) {
                let at = row * self.width + first;
                all[at..at + n].iter_mut().zip(0..).for_each(|(place, position)| *place = position);
            }
        }
        Positions::Tokens(all)
    }

    /// The samples as what attends among itself; none where each row is one sample without padding.
    pub(crate) fn spans(&self) -> Result<Option<Spans>> {
        let full = self.samples.iter().all(|pack| pack.as_slice() == [self.width]);
        Ok(if full { None } else { Some(Spans::from_rows(&self.samples, self.width)?) })
    }

    /// (t, label) of every target of a row; never the first token of a sample.
    fn row_targets(&self, row: usize) -> impl Iterator<Item = (usize, i32)> + '_ {
        let labels = &self.labels[row * self.width..(row + 1) * self.width];
        self.row_samples(row)
            .flat_map(move |(first, n)| (first + 1..first + n).map(|t| (t, labels[t])))
            .filter(|(_, label)| *label != IGNORED)
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
            || self.samples.len() != self.rows
            || self.lengths.iter().any(|&n| n == 0 || n > self.width)
            || self
                .samples
                .iter()
                .zip(&self.lengths)
                .any(|(pack, n)| pack.contains(&0) || pack.iter().sum::<usize>() != *n)
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
    fn packed_samples_keep_their_targets_and_positions() {
        let row = |ids: &[u32]| Row { ids: ids.to_vec(), labels: ids.iter().map(|id| *id as i32).collect() };
        let packs = [vec![row(&[1, 2, 3]), row(&[4, 5])], vec![row(&[6]), row(&[7, 8])]];
        let batch = Batch::packed(&packs, 0).unwrap();
        assert_eq!((batch.rows, batch.width, batch.longest_sample()), (2, 5, 3));
        assert_eq!(batch.ids, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
        assert_eq!(batch.positions(), Positions::Tokens(vec![0, 1, 2, 0, 1, 0, 0, 1, 0, 0]));
        // What the same samples have as rows of their own: two, one, none and one target.
        let targets = batch.targets(9).unwrap();
        assert_eq!((targets.positions, targets.ids), (vec![0, 1, 3, 6], vec![2, 3, 5, 8]));
        assert_eq!((batch.supervised_tokens(), batch.real_tokens()), (4, 8));
        assert!(Batch::packed(&[Vec::<Row>::new()], 0).is_err());
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
