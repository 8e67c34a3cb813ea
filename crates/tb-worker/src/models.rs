//! Opens what a task names: the decoder with or without its adapter, and the tokenizer.

use std::path::Path;

use tb_core::recipe::{Dtype, Hyperparameters};
use tb_core::run_folder::ModelSource;
use tb_data::tokenize::TextTokenizer;
use tb_nn::decoder::induction::Planting;
use tb_nn::decoder::{AdapterUse, Checkpointing, Decoder, read_config};
use tb_nn::lora::{LoraConfig, LoraInit, ScalingRule};

use crate::device;
use crate::error::Result;

/// Standard deviation of the first weights in pretraining (transformers' `initializer_range`).
const INIT_STD: f64 = 0.02;

/// A model to look at: base and, if named, adapter, both frozen.
///
/// # Errors
/// A file that is missing, damaged or of another model; it is named.
pub fn frozen(source: &ModelSource, dtype: Dtype, device_id: &str) -> Result<Decoder> {
    let mut decoder = Decoder::load(&source.base, device::dtype(dtype), &device::open(device_id)?)?;
    if let Some(adapter) = &source.adapter {
        decoder.load_adapter(adapter, AdapterUse::Frozen)?;
    }
    Ok(decoder)
}

/// A model whose adapter trains: the one that the source names, or a fresh one.
///
/// # Errors
/// As [`frozen`], or hyperparameters that do not fit the model.
pub fn with_adapter(source: &ModelSource, h: &Hyperparameters, device_id: &str) -> Result<Decoder> {
    let mut decoder = Decoder::load(&source.base, device::dtype(h.dtype), &device::open(device_id)?)?;
    match &source.adapter {
        Some(adapter) => {
            decoder.load_adapter(adapter, AdapterUse::Trained)?;
        }
        None => decoder.add_lora(&lora_config(h), h.seed)?,
    }
    decoder.set_checkpointing(checkpointing(h));
    decoder.set_noise(h.neftune_noise_alpha);
    Ok(decoder)
}

/// A random model of the shape that `config.json` in `folder` names, with every weight in training.
///
/// # Errors
/// A configuration that is missing or not supported.
pub fn random(folder: &Path, h: &Hyperparameters, device_id: &str) -> Result<Decoder> {
    let mut decoder = Decoder::init(read_config(folder)?, h.seed, INIT_STD, &device::open(device_id)?)?;
    // Where the shape has room, the model starts with heads that look back: it then learns to copy in minutes.
    match decoder.plant_induction_heads(h.seed)? {
        Planting::Done | Planting::NoRoom => {}
    }
    decoder.set_checkpointing(checkpointing(h));
    decoder.set_noise(h.neftune_noise_alpha);
    Ok(decoder)
}

/// The tokenizer of a model folder.
///
/// # Errors
/// A file that is missing or damaged; it is named.
pub fn tokenizer(folder: &Path) -> Result<TextTokenizer> {
    Ok(TextTokenizer::load(folder)?)
}

/// What fills short rows: the tokenizer's padding token, else the end token, else 0. It carries no loss and is not attended to.
#[must_use]
pub fn pad_id(tokenizer: &TextTokenizer) -> u32 {
    tokenizer.pad_id().or_else(|| tokenizer.eos_id()).unwrap_or(0)
}

/// Whether activations are kept, as the hyperparameters want it.
#[must_use]
pub fn checkpointing(h: &Hyperparameters) -> Checkpointing {
    if h.gradient_checkpointing { Checkpointing::PerBlock } else { Checkpointing::Off }
}

fn lora_config(h: &Hyperparameters) -> LoraConfig {
    LoraConfig {
        r: h.lora_r as usize,
        lora_alpha: h.lora_alpha,
        lora_dropout: h.lora_dropout,
        target_modules: (&h.target_modules).into(),
        scaling_rule: if h.use_rslora { ScalingRule::RankStabilised } else { ScalingRule::AlphaOverR },
        init: LoraInit::KaimingUniform,
        ..LoraConfig::default()
    }
}
