//! Which rows each optimiser step learns from: a pure function of the step, so that a resumed run needs nothing but its number.

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
#[derive(Clone, Debug)]
pub struct Batches {
    lengths: Vec<u32>,
    micro_rows: usize,
    accumulation: usize,
    seed: u64,
    shuffle: bool,
    grouping: Grouping,
    /// The micro-batches of the epoch asked for last.
    epoch: Option<(u64, Vec<Vec<u32>>)>,
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
            epoch: None,
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
    pub fn of_step(&mut self, step: u64) -> Vec<Vec<u32>> {
        let (epoch, within) = ((step - 1) / self.steps_per_epoch(), (step - 1) % self.steps_per_epoch());
        if self.epoch.as_ref().is_none_or(|(e, _)| *e != epoch) {
            self.epoch = Some((epoch, self.micro_batches(epoch)));
        }
        let all = self.epoch.as_ref().map(|(_, all)| all.as_slice()).unwrap_or_default();
        let start = (within as usize * self.accumulation).min(all.len());
        all[start..(start + self.accumulation).min(all.len())].to_vec()
    }

    fn micro_batches(&self, epoch: u64) -> Vec<Vec<u32>> {
        let rows = self.lengths.len();
        let mut order =
            if self.shuffle { permutation(rows, self.seed, epoch) } else { (0..rows as u32).collect::<Vec<_>>() };
        if self.grouping == Grouping::ByLength {
            for block in order.chunks_mut(BLOCK * self.micro_rows) {
                block.sort_by_key(|row| std::cmp::Reverse(self.lengths[*row as usize]));
            }
        }
        let mut batches: Vec<Vec<u32>> = order.chunks(self.micro_rows).map(<[u32]>::to_vec).collect();
        // Sorted blocks would feed all long rows first; the smaller last batch stays last.
        if self.grouping == Grouping::ByLength && self.shuffle {
            let full = rows / self.micro_rows;
            Stream::new(self.seed, epoch, Purpose::Shuffle, 1).shuffle(&mut batches[..full]);
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(micro: u32, accumulation: u32) -> Hyperparameters {
        Hyperparameters {
            per_device_train_batch_size: micro,
            gradient_accumulation_steps: accumulation,
            ..Hyperparameters::default()
        }
    }

    fn rows_of_epoch(batches: &mut Batches, epoch: u64) -> Vec<u32> {
        let n = batches.steps_per_epoch();
        (epoch * n + 1..=(epoch + 1) * n).flat_map(|s| batches.of_step(s)).flatten().collect()
    }

    #[test]
    fn each_epoch_holds_every_row_once() {
        for grouping in [Grouping::AsTheyCome, Grouping::ByLength] {
            let lengths = (0..103).map(|i| 5 + i * 7 % 31).collect();
            let mut batches = Batches::new(lengths, &settings(4, 3), grouping);
            assert_eq!(batches.steps_per_epoch(), settings(4, 3).steps_per_epoch(103));
            let (first, second) = (rows_of_epoch(&mut batches, 0), rows_of_epoch(&mut batches, 1));
            assert_ne!(first, second);
            for mut rows in [first, second] {
                rows.sort_unstable();
                assert_eq!(rows, (0..103).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_step_is_the_same_whatever_was_asked_before() {
        let h = settings(3, 2);
        let mut forwards = Batches::new(vec![9; 20], &h, Grouping::AsTheyCome);
        let all: Vec<_> = (1..=12).map(|s| forwards.of_step(s)).collect();
        for step in (1..=12).rev() {
            let mut fresh = Batches::new(vec![9; 20], &h, Grouping::AsTheyCome);
            assert_eq!(fresh.of_step(step), all[step as usize - 1]);
        }
    }

    #[test]
    fn the_rows_of_a_step_do_not_depend_on_how_it_is_cut() {
        let rows = |micro, accumulation| {
            let mut batches = Batches::new(vec![1; 64], &settings(micro, accumulation), Grouping::AsTheyCome);
            batches.of_step(5).concat()
        };
        assert_eq!(rows(8, 1), rows(1, 8));
        assert_eq!(rows(8, 1), rows(4, 2));
    }

    #[test]
    fn grouping_saves_padding_and_keeps_the_small_batch_last() {
        let lengths: Vec<u32> = (0..250).map(|i| 1 + i * 37 % 200).collect();
        let padding = |grouping| {
            let mut batches = Batches::new(lengths.clone(), &settings(8, 1), grouping);
            let all: Vec<Vec<u32>> = (1..=batches.steps_per_epoch()).flat_map(|s| batches.of_step(s)).collect();
            assert_eq!(all.last().unwrap().len(), 2);
            let width = |b: &Vec<u32>| b.iter().map(|r| lengths[*r as usize]).max().unwrap();
            all.iter().map(|b| b.iter().map(|r| width(b) - lengths[*r as usize]).sum::<u32>()).sum::<u32>()
        };
        assert!(padding(Grouping::ByLength) * 5 < padding(Grouping::AsTheyCome));
    }

    #[test]
    fn without_shuffling_rows_come_in_order() {
        let h = Hyperparameters { shuffle: false, ..settings(2, 2) };
        let mut batches = Batches::new(vec![1; 6], &h, Grouping::AsTheyCome);
        assert_eq!(batches.of_step(1), [vec![0, 1], vec![2, 3]]);
        assert_eq!(batches.of_step(2), [vec![4, 5]]);
        assert_eq!(batches.of_step(3), [vec![0, 1], vec![2, 3]]);
    }
}
