//! Opens what a task names: the decoder with or without its adapter, and the tokenizer.

use std::path::Path;

use candle_core::DType;
use tb_core::recipe::{Dtype, FinetuningType, Hyperparameters};
use tb_core::run_folder::ModelSource;
use tb_data::model_folder::adapter_quantization;
use tb_data::tokenize::TextTokenizer;
use tb_nn::decoder::induction::Planting;
use tb_nn::decoder::{AdapterUse, Checkpointing, Decoder, read_config};

use crate::device;
use crate::error::Result;

/// Standard deviation of the first weights in pretraining (transformers' `initializer_range`).
const INIT_STD: f64 = 0.02;

/// A model to ask: base and, if named, adapter, both frozen. It cannot be trained, merged or written.
///
/// # Errors
/// A file that is missing, damaged or of another model; it is named.
pub fn frozen(source: &ModelSource, dtype: Dtype, device_id: &str) -> Result<Decoder> {
    // An adapter answers on its base in the form that it was trained on.
    let quantization = match &source.adapter {
        Some(adapter) => adapter_quantization(adapter)?,
        None => None,
    };
    let device = device::open(device_id)?;
    let dtype = device::dtype(dtype, &device);
    let mut decoder = Decoder::load_to_answer(&source.base, dtype, quantization, &device)?;
    if let Some(adapter) = &source.adapter {
        decoder.load_adapter(adapter, AdapterUse::Frozen)?;
    }
    Ok(decoder)
}

/// A model to fine-tune: with an adapter that trains, the one that the source names or a fresh one, or with every weight in training
/// (of a source with an adapter, the base with that merged in).
///
/// # Errors
/// As [`frozen`], or hyperparameters that do not fit the model.
pub fn fine_tuned(source: &ModelSource, h: &Hyperparameters, device_id: &str) -> Result<Decoder> {
    let device = device::open(device_id)?;
    let mut decoder = match h.finetuning_type {
        FinetuningType::Lora => {
            let mut decoder =
                Decoder::load_as(&source.base, device::dtype(h.dtype, &device), h.quantization(), &device)?;
            match &source.adapter {
                Some(adapter) => {
                    decoder.load_adapter(adapter, AdapterUse::Trained)?;
                }
                None => decoder.add_lora(&h.lora_config(), h.seed)?,
            }
            decoder
        }
        FinetuningType::Full => {
            let mut decoder = Decoder::load(&source.base, DType::F32, &device)?;
            if let Some(adapter) = &source.adapter {
                decoder.load_adapter(adapter, AdapterUse::Frozen)?;
                decoder.merge_adapter()?;
            }
            decoder.train_all()?;
            decoder
        }
    };
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
