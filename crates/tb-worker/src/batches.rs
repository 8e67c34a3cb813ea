//! Which rows each optimiser step learns from: a pure function of the step, so that a resumed run needs nothing but its number.

use std::sync::{Arc, Mutex, PoisonError};

use tb_core::random::{Purpose, Stream, permutation};
use tb_core::recipe::Hyperparameters;

/// Micro-batches per block of rows that is sorted by length (transformers' `group_by_length` sorts in blocks of fifty).
const BLOCK: usize = 50;

/// How rows are put into micro-batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// As they come.
    AsTheyCome,
    /// Rows of like length together.
    ByLength,
}

/// The order of rows over a whole run.
#[derive(Debug)]
pub struct Batches {
    lengths: Vec<u32>,
    micro_rows: usize,
    accumulation: usize,
    seed: u64,
    shuffle: bool,
    grouping: Grouping,
    /// The epoch asked for last.
    epoch: Mutex<Option<Arc<Epoch>>>,
}

/// The order of one pass.
#[derive(Debug)]
struct Epoch {
    number: u64,
    rows: Vec<u32>,
    /// Of `rows` cut into micro-batches, which comes when.
    micro_batches: Vec<u32>,
}

impl Batches {
    /// The order for rows of these lengths (tokens) under these hyperparameters.
    #[must_use]
    pub fn new(lengths: Vec<u32>, h: &Hyperparameters, grouping: Grouping) -> Self {
        Self {
            lengths,
            micro_rows: (h.per_device_train_batch_size as usize).max(1),
            accumulation: (h.gradient_accumulation_steps as usize).max(1),
            seed: h.seed,
            shuffle: h.shuffle,
            grouping,
            epoch: Mutex::new(None),
        }
    }

    /// Optimiser steps in one pass, at least 1.
    #[must_use]
    pub fn steps_per_epoch(&self) -> u64 {
        self.lengths.len().div_ceil(self.micro_rows).div_ceil(self.accumulation).max(1) as u64
    }

    /// Passes finished after `step` steps, with fraction.
    #[must_use]
    pub fn epochs_after(&self, step: u64) -> f64 {
        step as f64 / self.steps_per_epoch() as f64
    }

    /// The micro-batches (row numbers) of a step, counted from 1.
    #[must_use]
    pub fn of_step(&self, step: u64) -> Vec<Vec<u32>> {
        let (number, within) = ((step - 1) / self.steps_per_epoch(), (step - 1) % self.steps_per_epoch());
        let epoch = self.epoch(number);
        let all = epoch.micro_batches.as_slice();
        let start = (within as usize * self.accumulation).min(all.len());
        let of_batch = |batch: &u32| {
            let first = *batch as usize * self.micro_rows;
            epoch.rows[first..(first + self.micro_rows).min(epoch.rows.len())].to_vec()
        };
        all[start..(start + self.accumulation).min(all.len())].iter().map(of_batch).collect()
    }

    fn epoch(&self, number: u64) -> Arc<Epoch> {
        let mut held = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_ref().filter(|epoch| epoch.number == number) {
            Some(epoch) => Arc::clone(epoch),
            None => Arc::clone(held.insert(Arc::new(self.order(number)))),
        }
    }

    fn order(&self, number: u64) -> Epoch {
        let n = self.lengths.len();
        let mut rows = if self.shuffle { permutation(n, self.seed, number) } else { (0..n as u32).collect::<Vec<_>>() };
        if self.grouping == Grouping::ByLength {
            for block in rows.chunks_mut(BLOCK * self.micro_rows) {
                block.sort_by_key(|row| std::cmp::Reverse(self.lengths[*row as usize]));
            }
        }
        let mut micro_batches: Vec<u32> = (0..n.div_ceil(self.micro_rows) as u32).collect();
        // Sorted blocks would feed all long rows first; the smaller last batch stays last.
        if self.grouping == Grouping::ByLength && self.shuffle {
            let full = n / self.micro_rows;
            Stream::new(self.seed, number, Purpose::Shuffle, 1).shuffle(&mut micro_batches[..full]);
        }
        Epoch { number, rows, micro_batches }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::micro_batches;

    fn rows_of_epoch(batches: &Batches, epoch: u64) -> Vec<u32> {
        let n = batches.steps_per_epoch();
        (epoch * n + 1..=(epoch + 1) * n).flat_map(|s| batches.of_step(s)).flatten().collect()
    }

    #[test]
    fn each_epoch_holds_every_row_once() {
        for grouping in [Grouping::AsTheyCome, Grouping::ByLength] {
            let lengths = (0..103).map(|i| 5 + i * 7 % 31).collect();
            let batches = Batches::new(lengths, &micro_batches(4, 3), grouping);
            assert_eq!(batches.steps_per_epoch(), micro_batches(4, 3).steps_per_epoch(103));
            let (first, second) = (rows_of_epoch(&batches, 0), rows_of_epoch(&batches, 1));
            assert_ne!(first, second);
            for mut rows in [first, second] {
                rows.sort_unstable();
                assert_eq!(rows, (0..103).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_step_is_the_same_whatever_was_asked_before() {
        let h = micro_batches(3, 2);
        let forwards = Batches::new(vec![9; 20], &h, Grouping::AsTheyCome);
        let all: Vec<_> = (1..=12).map(|s| forwards.of_step(s)).collect();
        for step in (1..=12).rev() {
            let fresh = Batches::new(vec![9; 20], &h, Grouping::AsTheyCome);
            assert_eq!(fresh.of_step(step), all[step as usize - 1]);
        }
    }

    #[test]
    fn the_rows_of_a_step_do_not_depend_on_how_it_is_cut() {
        let rows = |micro, accumulation| {
            let batches = Batches::new(vec![1; 64], &micro_batches(micro, accumulation), Grouping::AsTheyCome);
            batches.of_step(5).concat()
        };
        assert_eq!(rows(8, 1), rows(1, 8));
        assert_eq!(rows(8, 1), rows(4, 2));
    }

    #[test]
    fn grouping_saves_padding_and_keeps_the_small_batch_last() {
        let lengths: Vec<u32> = (0..250).map(|i| 1 + i * 37 % 200).collect();
        let padding = |grouping| {
            let batches = Batches::new(lengths.clone(), &micro_batches(8, 1), grouping);
            let all: Vec<Vec<u32>> = (1..=batches.steps_per_epoch()).flat_map(|s| batches.of_step(s)).collect();
            assert_eq!(all.last().unwrap().len(), 2);
            let width = |b: &Vec<u32>| b.iter().map(|r| lengths[*r as usize]).max().unwrap();
            all.iter().map(|b| b.iter().map(|r| width(b) - lengths[*r as usize]).sum::<u32>()).sum::<u32>()
        };
        assert!(padding(Grouping::ByLength) * 5 < padding(Grouping::AsTheyCome));
    }

    #[test]
    fn without_shuffling_rows_come_in_order() {
        let h = Hyperparameters { shuffle: false, ..micro_batches(2, 2) };
        let batches = Batches::new(vec![1; 6], &h, Grouping::AsTheyCome);
        assert_eq!(batches.of_step(1), [vec![0, 1], vec![2, 3]]);
        assert_eq!(batches.of_step(2), [vec![4, 5]]);
        assert_eq!(batches.of_step(3), [vec![0, 1], vec![2, 3]]);
    }
}
