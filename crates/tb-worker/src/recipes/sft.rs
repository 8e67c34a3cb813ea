//! Supervised fine-tuning of an adapter, or of every weight: the next-token loss on the supervised tokens of each row.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Tensor};
use tb_core::run_folder::names;
use tb_nn::decoder::{Batch, Decoder, Pass};

use super::{Recipe, write_trained};
use crate::batches::Grouping;
use crate::error::Result;
use crate::output;
use crate::rows::TrainingRows;

/// What a checkpoint's file is called where it is no adapter's.
const WEIGHTS: &str = "weights.safetensors";

/// A decoder with an adapter in training, or with every weight, and its rows.
pub struct Sft {
    decoder: Decoder,
    data: Arc<TrainingRows>,
    grouping: Grouping,
    base: PathBuf,
}

impl Sft {
    /// The recipe for a decoder in training; `base` is the folder that an adapter will name, and whose tokenizer a whole model takes along.
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
        if self.decoder.lora().is_some() { names::ADAPTER } else { names::MODEL }
    }

    fn write_result(&self, folder: &Path) -> Result<()> {
        if self.decoder.lora().is_some() {
            return Ok(self.decoder.save_adapter(folder, &self.base.to_string_lossy())?);
        }
        // What was learnt can be smaller than the steps of 16-bit numbers.
        self.decoder.save_full(folder, DType::F32)?;
        output::copy_if_there(&self.base, folder, "generation_config.json")?;
        output::copy_tokenizer(&self.base, folder)
    }

    fn weights_file(&self) -> &'static str {
        if self.decoder.lora().is_some() && !self.decoder.adapter_is_converted() {
            "adapter_model.safetensors"
        } else {
            WEIGHTS
        }
    }

    fn write_weights(&self, folder: &Path) -> Result<()> {
        match self.weights_file() {
            WEIGHTS => write_trained(&self.decoder, &folder.join(WEIGHTS)),
            _ => self.write_result(folder),
        }
    }
}
