//! Supervised fine-tuning of an adapter: the next-token loss on the supervised tokens of each row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use tb_core::run_folder::names;
use tb_nn::decoder::{Batch, Decoder, Pass};

use super::Recipe;
use crate::batches::Grouping;
use crate::error::Result;
use crate::rows::TrainingRows;

/// A decoder with an adapter in training, and its rows.
pub struct Sft {
    decoder: Decoder,
    data: Arc<TrainingRows>,
    grouping: Grouping,
    base: PathBuf,
}

impl Sft {
    /// The recipe for a decoder that has an adapter in training; `base` is the folder that the adapter will name.
    #[must_use]
    pub fn new(decoder: Decoder, data: Arc<TrainingRows>, grouping: Grouping, base: PathBuf) -> Self {
        Self { decoder, data, grouping, base }
    }
}

impl Recipe for Sft {
    fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    fn data(&self) -> &Arc<TrainingRows> {
        &self.data
    }

    fn loss(&self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        Ok(self.decoder.loss(batch, pass)?)
    }

    fn grouping(&self) -> Grouping {
        self.grouping
    }

    fn result_folder(&self) -> &'static str {
        names::ADAPTER
    }

    fn write_result(&self, folder: &Path) -> Result<()> {
        Ok(self.decoder.save_adapter(folder, &self.base.to_string_lossy())?)
    }

    fn weights_file(&self) -> &'static str {
        "adapter_model.safetensors"
    }

    fn write_weights(&self, folder: &Path) -> Result<()> {
        self.write_result(folder)
    }
}
