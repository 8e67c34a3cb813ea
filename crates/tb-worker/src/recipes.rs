//! What a way of teaching supplies to the one train loop: its decoder, its rows and a loss. The loop itself is in `train_loop.rs`.

pub mod pretrain;
pub mod sft;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use tb_nn::checkpoint::write_tensors;
use tb_nn::decoder::{Batch, Decoder, Pass};

use crate::batches::Grouping;
use crate::error::Result;
use crate::rows::TrainingRows;

/// A way of teaching.
pub trait Recipe {
    /// The model that learns.
    fn decoder(&self) -> &Decoder;

    /// What it learns from.
    fn data(&self) -> &Arc<TrainingRows>;

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

/// Writes every variable of a decoder, bit for bit.
fn write_trained(decoder: &Decoder, path: &Path) -> Result<()> {
    let tensors: Vec<(String, Tensor)> =
        decoder.trainable().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
    Ok(write_tensors(path, &tensors, &BTreeMap::new())?)
}
