//! What a way of teaching supplies to the one train loop: its decoder, its rows and a loss. The loop itself is in `train_loop.rs`.

pub mod pretrain;
pub mod sft;

use std::path::Path;

use candle_core::Tensor;
use tb_nn::decoder::{Batch, Decoder, Pass, Row};

use crate::batches::Grouping;
use crate::error::Result;

/// Rows to learn and rows held out, as tokens.
#[derive(Clone, Debug, Default)]
pub struct TrainingRows {
    /// To learn; each has at least one target.
    pub rows: Vec<Row>,
    /// Held out; each has at least one target.
    pub eval_rows: Vec<Row>,
    /// Fills short rows.
    pub pad_id: u32,
}

/// A way of teaching.
pub trait Recipe {
    /// The model that learns.
    fn decoder(&self) -> &Decoder;

    /// What it learns from.
    fn data(&self) -> &TrainingRows;

    /// Sum of the loss (nats) over the supervised tokens of a micro-batch, () f32 with its graph.
    fn loss(&self, batch: &Batch, pass: Pass) -> Result<Tensor>;

    /// How rows are put together.
    fn grouping(&self) -> Grouping;

    /// The folder of the result, inside the run folder.
    fn result_folder(&self) -> &'static str;

    /// Writes the result into an empty folder.
    fn write_result(&self, folder: &Path) -> Result<()>;

    /// The file of a checkpoint that holds the weights in training.
    fn weights_file(&self) -> &'static str;

    /// Writes the weights in training, bit for bit, into the folder of a checkpoint, under [`Self::weights_file`].
    fn write_weights(&self, folder: &Path) -> Result<()>;
}
