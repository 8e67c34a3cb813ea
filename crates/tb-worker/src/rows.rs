//! Rows of tokens as a run uses them: in memory or in a mapped store, alone or several packed into one.

use tb_core::footprint::BatchShape;
use tb_core::packing::best_fit_decreasing;
use tb_data::tokenize::store::TokenStore;
use tb_data::tokenize::targets;
use tb_nn::decoder::{Batch, Row};

use crate::error::Result;

/// Samples, each with at least one target.
#[derive(Debug)]
pub enum Samples {
    /// In memory.
    Held(Vec<Row>),
    /// In a mapped file.
    Stored(TokenStore),
}

impl Default for Samples {
    fn default() -> Self {
        Self::Held(Vec::new())
    }
}

impl Samples {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Held(rows) => rows.len(),
            Self::Stored(store) => store.len(),
        }
    }

    /// Tokens of one.
    #[must_use]
    pub fn tokens(&self, at: usize) -> usize {
        match self {
            Self::Held(rows) => rows[at].ids.len(),
            Self::Stored(store) => store.tokens(at),
        }
    }

    /// Tokens of one that are learnt.
    #[must_use]
    pub fn supervised(&self, at: usize) -> usize {
        match self {
            Self::Held(rows) => targets(&rows[at].labels),
            Self::Stored(store) => store.supervised(at),
        }
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, at: usize) -> Row {
        match self {
            Self::Held(rows) => rows[at].clone(),
            Self::Stored(store) => {
                let (ids, labels) = store.row(at);
                Row { ids, labels }
            }
        }
    }
}

/// The rows of batches: each one sample, or a pack of several.
#[derive(Debug, Default)]
pub struct Rows {
    samples: Samples,
    /// The samples of each row; none where row and sample are the same.
    packs: Option<Vec<Vec<u32>>>,
}

impl Rows {
    /// A row for each sample.
    #[must_use]
    pub fn single(samples: Samples) -> Self {
        Self { samples, packs: None }
    }

    /// Rows of at most `capacity` tokens, each holding as many samples as fit best.
    #[must_use]
    pub fn packed(samples: Samples, capacity: u32) -> Self {
        let lengths: Vec<u32> = (0..samples.len()).map(|at| samples.tokens(at) as u32).collect();
        Self { packs: Some(best_fit_decreasing(&lengths, capacity)), samples }
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packs.as_ref().map_or(self.samples.len(), Vec::len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples in them.
    #[must_use]
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    fn members(&self, row: usize) -> Vec<usize> {
        match &self.packs {
            None => vec![row],
            Some(packs) => packs[row].iter().map(|at| *at as usize).collect(),
        }
    }

    /// Tokens of a row.
    #[must_use]
    pub fn tokens(&self, row: usize) -> usize {
        self.members(row).into_iter().map(|at| self.samples.tokens(at)).sum()
    }

    /// Tokens of a row that are learnt.
    #[must_use]
    pub fn supervised(&self, row: usize) -> usize {
        self.members(row).into_iter().map(|at| self.samples.supervised(at)).sum()
    }

    /// Tokens of every row.
    #[must_use]
    pub fn lengths(&self) -> Vec<u32> {
        (0..self.len()).map(|row| self.tokens(row) as u32).collect()
    }

    /// A batch of some rows, padded with `pad_id`.
    ///
    /// # Errors
    /// No row.
    pub fn batch(&self, rows: &[u32], pad_id: u32) -> Result<Batch> {
        let packs: Vec<Vec<Row>> = rows
            .iter()
            .map(|row| self.members(*row as usize).into_iter().map(|at| self.samples.get(at)).collect())
            .collect();
        Ok(Batch::packed(&packs, pad_id)?)
    }

    /// The largest batch of so many rows: one of them is the longest, and all are padded to it.
    #[must_use]
    pub fn largest(&self, batch_size: u32) -> BatchShape {
        let taken = self.len().min(batch_size as usize);
        let mut supervised: Vec<usize> = (0..self.len()).map(|row| self.supervised(row)).collect();
        supervised.sort_unstable_by_key(|n| std::cmp::Reverse(*n));
        BatchShape {
            rows: taken as u64,
            width: self.lengths().into_iter().max().map_or(0, u64::from),
            supervised: supervised.iter().take(taken).map(|n| *n as u64).sum(),
        }
    }

    /// All rows in batches of at most `rows` rows and `cells` places, padding included (but at least one row each): rows of like length
    /// together, the longest first, so that what does not fit into memory shows at once.
    #[must_use]
    pub fn in_batches(&self, rows: usize, cells: usize) -> Vec<Vec<u32>> {
        let lengths = self.lengths();
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_by_key(|row| std::cmp::Reverse(lengths[*row as usize]));
        let mut batches: Vec<Vec<u32>> = Vec::new();
        let mut room = 0;
        for row in order {
            if room == 0 {
                batches.push(Vec::new());
                let width = (lengths[row as usize] as usize).max(1);
                room = rows.min(cells / width).max(1);
            }
            if let Some(batch) = batches.last_mut() {
                batch.push(row);
            }
            room -= 1;
        }
        batches
    }
}

/// What a run learns from.
#[derive(Debug, Default)]
pub struct TrainingRows {
    /// To learn.
    pub rows: Rows,
    /// Held out.
    pub eval_rows: Rows,
    /// Fills short rows.
    pub pad_id: u32,
}

impl TrainingRows {
    /// The batches of an evaluation beside micro-batches of `micro_rows` rows: never larger than those are at their largest, so that an
    /// evaluation, which keeps nothing for a backward pass, needs less memory than a step. A held-out row longer than a whole
    /// micro-batch is computed alone.
    #[must_use]
    pub fn eval_batches(&self, batch_size: u32, micro_rows: u32) -> Vec<Vec<u32>> {
        let longest = self.rows.lengths().into_iter().max().unwrap_or(0) as usize;
        let cells = (micro_rows as usize).min(self.rows.len()) * longest;
        self.eval_rows.in_batches((batch_size as usize).max(1), cells)
    }

    /// The largest of those batches.
    #[must_use]
    pub fn largest_eval(&self, batch_size: u32, micro_rows: u32) -> BatchShape {
        let rows = &self.eval_rows;
        let shape = |batch: &Vec<u32>| BatchShape {
            rows: batch.len() as u64,
            width: batch.iter().map(|row| rows.tokens(*row as usize) as u64).max().unwrap_or(0),
            supervised: batch.iter().map(|row| rows.supervised(*row as usize) as u64).sum(),
        };
        let all = self.eval_batches(batch_size, micro_rows);
        all.iter().map(shape).max_by_key(|s| (s.rows * s.width, s.supervised)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(lengths: &[usize]) -> Samples {
        let row = |n: &usize| Row { ids: vec![1; *n], labels: vec![1; *n] };
        Samples::Held(lengths.iter().map(row).collect())
    }

    #[test]
    fn packed_rows_hold_every_sample_once() {
        let rows = Rows::packed(samples(&[3, 9, 4, 1, 6]), 10);
        assert_eq!((rows.len(), rows.samples().len()), (3, 5));
        assert_eq!(rows.lengths(), [10, 10, 3]);
        // The first token of each sample is no target.
        assert_eq!((0..3).map(|r| rows.supervised(r)).collect::<Vec<_>>(), [8, 8, 2]);
        let batch = rows.batch(&[0, 2], 0).unwrap();
        assert_eq!((batch.samples.clone(), batch.width), (vec![vec![9, 1], vec![3]], 10));
        assert_eq!(rows.largest(2), BatchShape { rows: 2, width: 10, supervised: 16 });
    }

    #[test]
    fn an_evaluation_is_never_larger_than_a_micro_batch() {
        let data = TrainingRows {
            rows: Rows::single(samples(&[5, 8, 3])),
            eval_rows: Rows::single(samples(&[4, 4, 8, 2, 2, 2, 2, 30])),
            pad_id: 0,
        };
        let batches = data.eval_batches(3, 2);
        // 16 places: the row of 30 alone, then 8 with one more, then as many rows as are asked for.
        assert_eq!(batches, [vec![7], vec![2, 0], vec![1, 3, 4], vec![5, 6]]);
        let mut all = batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
        assert_eq!(data.largest_eval(3, 2).rows * data.largest_eval(3, 2).width, 30);
    }
}
