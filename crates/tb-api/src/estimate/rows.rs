//! The rows of a form in figures: how many can be used at a `max_length`, their tokens, and the largest batch among them.

use std::{path::Path, sync::Arc};

use tb_core::{
    ApiError,
    footprint::BatchShape,
    packing::best_fit_decreasing,
    recipe::Hyperparameters,
    run_folder::{DataSource, TrainTask},
};

use crate::datasets::lengths::{self, HeldLengths, Lengths, Question, RowLength};

/// Both files of a form, uncut.
pub(super) struct RowFigures {
    train: Arc<Lengths>,
    eval: Option<Arc<Lengths>>,
    /// Size of both files.
    pub file_bytes: u64,
}

/// Both files after the cut.
pub(super) struct CutFigures {
    pub train: SplitFigures,
    pub eval: SplitFigures,
}

/// One file after the cut.
#[derive(Clone, Debug, Default)]
pub(super) struct SplitFigures {
    /// Rows that can be used.
    pub rows: u64,
    /// Rows that cannot: nothing of them is left to learn, or they cannot be rendered.
    pub unusable: u64,
    /// Rows cut.
    pub cut: u64,
    /// Tokens of the rows that can be used.
    pub tokens: u64,
    /// Rows of batches: the rows that can be used, or the packs that they fill.
    pub batch_rows: u64,
    /// Tokens of the longest row.
    pub longest: u64,
    /// Tokens of the longest row before the cut.
    pub longest_uncut: u64,
    /// Tokens of the longest row of a batch.
    width: u64,
    /// Supervised tokens of each row of a batch, the longest row first.
    supervised: Vec<u32>,
}

/// Reads both files.
///
/// # Errors
/// A file or tokenizer that cannot be read.
pub(super) fn figures(held: &HeldLengths, task: &TrainTask, beside: Option<&Path>) -> Result<RowFigures, ApiError> {
    let of = |source: &DataSource| {
        let question = Question {
            path: &source.path,
            mapping: source.mapping.as_ref(),
            model: &task.model.base,
            loss_on: task.hyperparameters.loss_on,
            beside,
        };
        lengths::lengths(held, &question)
    };
    let train = of(&task.data)?;
    let eval = task.eval_data.as_ref().map(of).transpose()?;
    let file_bytes = train.file_bytes + eval.as_ref().map_or(0, |e| e.file_bytes);
    Ok(RowFigures { train, eval, file_bytes })
}

impl RowFigures {
    /// The figures at the form's `max_length`.
    pub fn cut(&self, h: &Hyperparameters) -> CutFigures {
        CutFigures {
            train: cut(&self.train.rows, h),
            eval: self.eval.as_ref().map(|e| cut(&e.rows, h)).unwrap_or_default(),
        }
    }

    /// A `max_length` below `now` that leaves 99 of 100 rows whole, if there is one that is much shorter than the longest row.
    pub fn shorter_than(&self, now: u32) -> Option<u32> {
        let mut all: Vec<u32> = self.train.rows.iter().map(|r| r.tokens).filter(|n| *n > 0).collect();
        all.sort_unstable();
        let longest = all.last().copied()?.min(now);
        let p99 = all[(all.len() * 99 / 100).min(all.len() - 1)].max(2);
        (p99 * 4 < longest * 3).then_some(p99)
    }
}

fn cut(all: &[RowLength], h: &Hyperparameters) -> SplitFigures {
    let max_length = h.max_length;
    let mut usable: Vec<RowLength> = all.iter().filter_map(|row| row.cut(max_length)).collect();
    usable.sort_unstable_by_key(|row| std::cmp::Reverse((row.tokens, row.supervised)));
    // (tokens, supervised tokens) of each row of a batch, the longest first.
    let batch_rows: Vec<(u32, u32)> = if h.packing {
        let lengths: Vec<u32> = usable.iter().map(|row| row.tokens).collect();
        let of_pack = |pack: &Vec<u32>| {
            pack.iter()
                .map(|at| &usable[*at as usize])
                .fold((0, 0), |(tokens, supervised), row| (tokens + row.tokens, supervised + row.supervised))
        };
        let mut packs: Vec<_> = best_fit_decreasing(&lengths, max_length).iter().map(of_pack).collect();
        packs.sort_unstable_by_key(|pack| std::cmp::Reverse(*pack));
        packs
    } else {
        usable.iter().map(|row| (row.tokens, row.supervised)).collect()
    };
    SplitFigures {
        rows: usable.len() as u64,
        unusable: (all.len() - usable.len()) as u64,
        cut: all.iter().filter(|row| row.tokens > max_length && row.cut(max_length).is_some()).count() as u64,
        tokens: usable.iter().map(|row| u64::from(row.tokens)).sum(),
        batch_rows: batch_rows.len() as u64,
        longest: usable.first().map_or(0, |row| u64::from(row.tokens)),
        longest_uncut: all.iter().map(|row| u64::from(row.tokens)).max().unwrap_or(0),
        width: batch_rows.first().map_or(0, |(tokens, _)| u64::from(*tokens)),
        supervised: batch_rows.into_iter().map(|(_, supervised)| supervised).collect(),
    }
}

impl SplitFigures {
    /// The largest batch of so many rows: one of them holds the longest row, and all are padded to it.
    pub fn largest(&self, batch_size: u32) -> BatchShape {
        let rows = u64::from(batch_size).min(self.batch_rows);
        let supervised = self.supervised.iter().take(rows as usize).map(|n| u64::from(*n)).sum();
        BatchShape { rows, width: self.width, supervised }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_counted_and_left_out() {
        let rows = [
            RowLength { tokens: 10, supervised: 4, first: 6 },
            RowLength { tokens: 30, supervised: 25, first: 5 },
            RowLength { tokens: 30, supervised: 2, first: 28 },
            RowLength::default(),
        ];
        let h = Hyperparameters { max_length: 20, ..Hyperparameters::default() };
        let figures = cut(&rows, &h);
        assert_eq!((figures.rows, figures.unusable, figures.cut, figures.tokens), (2, 2, 1, 30));
        assert_eq!((figures.longest, figures.longest_uncut), (20, 30));
        assert_eq!(figures.largest(8), BatchShape { rows: 2, width: 20, supervised: 19 });
        assert_eq!(figures.largest(1), BatchShape { rows: 1, width: 20, supervised: 15 });
        assert_eq!(cut(&[], &h).largest(4), BatchShape::default());
        // Both rows need a pack of their own at 20, and share one at 40.
        assert_eq!(cut(&rows, &Hyperparameters { packing: true, ..h.clone() }).batch_rows, 2);
        let packed = cut(&rows[..2], &Hyperparameters { packing: true, max_length: 40, ..h });
        assert_eq!((packed.rows, packed.batch_rows), (2, 1));
        assert_eq!(packed.largest(8), BatchShape { rows: 1, width: 40, supervised: 29 });
    }
}
