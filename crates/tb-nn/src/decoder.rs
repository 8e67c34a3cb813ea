//! The causal decoder of every supported family: loading, passes over a batch, adapters, saving. The layers are in the files of `decoder/`; generation is in `generate.rs`.

mod adapter;
mod attention;
pub mod batch;
pub(crate) mod block;
mod full;
mod head;
pub mod induction;
mod linear;
mod merge;
mod mlp;
pub(crate) mod model;
mod noise;
mod norm;
pub(crate) mod param;
mod recompute;
pub(crate) mod rope;

pub use adapter::{Adapter, AdapterSwitch, AdapterUse, ParameterCounts};
pub use batch::{Batch, IGNORED, Row};
pub use recompute::Checkpointing;
pub use tb_core::decoder_config::{Bias, DecoderConfig, Family, HeadKind, RopeScaling};
pub use tb_core::quantization::Quantization;

pub(crate) use linear::Context;
pub(crate) use merge::Merged;

#[cfg(feature = "cuda")]
use crate::generate::Steps;
use crate::ops::cross_entropy;
use crate::ops::lanes::soft_cap;
use crate::ops::linear::{dropped, frozen_linear};
use crate::ops::rows::pick_rows;
use crate::quant::Arena;
use crate::weights::Weights;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use model::{Graph, Model};
use param::{Builder, Form, Source};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A causal language model of one of the [`Family`]s, with at most one adapter.
pub struct Decoder {
    config: DecoderConfig,
    dtype: DType,
    device: Device,
    quantization: Option<Quantization>,
    /// The files, where the linear layers were quantised as they were read.
    unquantised: Option<PathBuf>,
    purpose: Purpose,
    model: Model,
    lora: Option<adapter::Worn>,
    adapter: AdapterSwitch,
    checkpointing: Checkpointing,
    noise_alpha: f64,
    /// The number of the base weights.
    base_key: WeightsKey,
    #[cfg(feature = "cuda")]
    steps: Steps,
}

/// What a model was loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Everything.
    Any,
    /// Answers only: weights may be held as they are in the file.
    Answers,
}

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Dropout and noise are on; both are functions of these numbers, the layer and the place in a row.
    Train {
        /// Seed of the run.
        seed: u64,
        /// Optimiser step.
        step: u64,
        /// Rows of the step before this micro-batch: how a step is cut into micro-batches changes nothing.
        first_row: u32,
    },
    /// Both are off.
    Eval,
}

impl Decoder {
    /// Loads a Hugging Face folder or a GGUF file with frozen weights in `dtype` (f32 or bf16). Nothing is read before the
    /// configuration is accepted.
    ///
    /// Errors name the file, and the field or tensor in it.
    pub fn load(model: &Path, dtype: DType, device: &Device) -> Result<Self> {
        Self::load_as(model, dtype, None, device)
    }

    /// As [`Self::load`], with the linear layers of all blocks in the form of `quantization`: each is quantised as it is read.
    ///
    /// A checkpoint that bitsandbytes has quantised keeps its own form, whether one is asked for or not.
    ///
    /// Errors: also a weight that is not finite, by its name, and a form other than the checkpoint's own.
    pub fn load_as(model: &Path, dtype: DType, quantization: Option<Quantization>, device: &Device) -> Result<Self> {
        Self::load_with(model, dtype, quantization, Purpose::Any, device)
    }

    /// As [`Self::load_as`], for a model that is only asked: matrices that a GGUF file holds in q8_0 stay so in memory, and a token costs
    /// the reading of one byte a weight. Activations are in `dtype`; in f32 all numbers are those of [`Self::load_as`].
    ///
    /// Such a base carries adapters. It is never trained, merged into or written: these are errors.
    pub fn load_to_answer(
        model: &Path,
        dtype: DType,
        quantization: Option<Quantization>,
        device: &Device,
    ) -> Result<Self> {
        Self::load_with(model, dtype, quantization, Purpose::Answers, device)
    }

    fn load_with(
        model: &Path,
        dtype: DType,
        quantization: Option<Quantization>,
        purpose: Purpose,
        device: &Device,
    ) -> Result<Self> {
        let config = read_config(model)?;
        check_dtype(dtype)?;
        let quantization = form(&config, quantization)?;
        let weights = Weights::open(model)?;
        let kept = match purpose {
            // A GPU multiplies what was expanded.
            Purpose::Answers if device.is_cpu() => Some(Arena::default()),
            Purpose::Any | Purpose::Answers => None,
        };
        let builder = Builder { source: Source::Checkpoint(&weights), dtype, device, quantization, kept };
        let unquantised = matches!(quantization, Some(Form::Quantise(_))).then(|| model.to_owned());
        Ok(Self { unquantised, purpose, ..Self::build(config, &builder)? })
    }

    /// A random f32 model with every weight trainable: matrices N(0, std) keyed by name and seed, norms 1, biases 0.
    pub fn init(config: DecoderConfig, seed: u64, std: f64, device: &Device) -> Result<Self> {
        if !std.is_finite() || std < 0.0 {
            return Err(Error::value("init", format!("the standard deviation {std} must be a number from 0")));
        }
        let source = Source::Random { seed, std };
        Self::build(config, &Builder { source, dtype: DType::F32, device, quantization: None, kept: None })
    }

    fn build(config: DecoderConfig, builder: &Builder<'_>) -> Result<Self> {
        let model = Model::build(builder, &config)?;
        Ok(Self {
            config,
            dtype: builder.dtype,
            device: builder.device.clone(),
            quantization: builder.quantization.map(Form::quantization),
            unquantised: None,
            purpose: Purpose::Any,
            model,
            lora: None,
            adapter: AdapterSwitch::On,
            checkpointing: Checkpointing::Off,
            noise_alpha: 0.0,
            base_key: WeightsKey::next(),
            #[cfg(feature = "cuda")]
            steps: Steps::default(),
        })
    }

    /// The shape of the model.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where the weights lie.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The dtype of the base weights, and on a GPU of the activations, which are f32 on the CPU.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How the linear layers of the base are held, if in fewer bits.
    #[must_use]
    pub fn quantization(&self) -> Option<Quantization> {
        self.quantization
    }

    /// Chooses what training keeps for the backward pass; loss and gradients are the same bits either way.
    pub fn set_checkpointing(&mut self, checkpointing: Checkpointing) {
        self.checkpointing = checkpointing;
    }

    /// Adds NEFTune's noise of this size to the embedded tokens in training; 0 adds none.
    pub fn set_noise(&mut self, alpha: f64) {
        self.noise_alpha = alpha;
    }

    /// Refuses to train or to write a model that was loaded to answer.
    fn check_not_to_answer(&self, op: &'static str) -> Result<()> {
        match self.purpose {
            Purpose::Any => Ok(()),
            Purpose::Answers => Err(Error::value(op, "the model was loaded to answer: load it as it is in its files")),
        }
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Which weights passes go through while the adapter is on: training changes their values, not their number.
    #[must_use]
    pub fn weights_key(&self) -> WeightsKey {
        self.lora.as_ref().map_or(self.base_key, |worn| worn.key)
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn steps(&self) -> &Steps {
        &self.steps
    }

    pub(crate) fn context(&self, pass: Pass) -> Context {
        Context { pass, adapter: self.adapter, noise_alpha: self.noise_alpha }
    }

    /// Hidden states after the final norm, (B, T, C) in the numbers of the activations. Rows are meaningful up to their length.
    pub fn hidden(&self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        batch.check(self.config.vocab_size)?;
        let checkpointing = match pass {
            Pass::Train { .. } => self.checkpointing,
            Pass::Eval => Checkpointing::Off,
        };
        self.model.hidden(batch, self.context(pass), Graph::Kept(checkpointing))
    }

    /// Sum of the negative log-likelihoods (nats) of the supervised targets, () f32; zero where there is none.
    ///
    /// To train, divide by the supervised tokens of the whole accumulated batch before the backward pass.
    pub fn loss(&self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        let targets = batch.targets(self.config.vocab_size)?;
        if targets.ids.is_empty() {
            return Ok(Tensor::zeros((), DType::F32, &self.device)?);
        }
        let all = self.hidden(batch, pass)?; // (B, T, C)
        let hidden = self.at_targets(&all, batch, &targets)?; // (N, C)
        if let Some(head) = self.model.plain_head(self.adapter) {
            return cross_entropy::linear_cross_entropy(
                &hidden,
                head.tensor(),
                &targets.ids,
                self.logit_cap(),
                head.grad(),
            );
        }
        let layer = self.model.head_layer();
        // Dropped before the targets are picked, so that a position's mask does not depend on the others.
        let dropout = layer.lora.as_ref().and_then(|lora| layer.dropout(lora, pass));
        let masked = dropout.map(|d| self.at_targets(&dropped(&all, d)?, batch, &targets)).transpose()?; // (N, C)
        head::loss(&layer, &hidden, masked.as_ref(), &targets.ids, self.logit_cap(), self.context(pass))
    }

    /// Log-probability (nats) of every supervised target, per row in order of position; no gradient.
    pub fn token_logprobs(&self, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        let targets = batch.targets(self.config.vocab_size)?;
        let mut all = if targets.ids.is_empty() {
            Vec::new()
        } else {
            let hidden = self.at_targets(&self.looked_at(batch)?, batch, &targets)?;
            let cap = self.logit_cap();
            match self.model.plain_head(self.adapter) {
                Some(head) => cross_entropy::token_logprobs(&hidden, head.tensor(), &targets.ids, cap)?,
                None => head::logprobs(&self.model.head_layer(), &hidden, &targets.ids, cap, self.context(Pass::Eval))?,
            }
        }
        .into_iter();
        Ok(targets.per_row.iter().map(|n| all.by_ref().take(*n).collect()).collect())
    }

    /// Logits at every position, (B, T, V) f32. For tests and inspection: training never forms them.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        self.project(&self.looked_at(batch)?)
    }

    /// Logits (..., V) f32 of final hidden states (..., C).
    pub(crate) fn project(&self, hidden: &Tensor) -> Result<Tensor> {
        self.capped(self.uncapped(hidden)?)
    }

    /// As [`Self::project`], before the soft cap of the family.
    pub(crate) fn uncapped(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = match self.model.plain_head(self.adapter) {
            Some(head) => frozen_linear(hidden, &head.tensor().detach(), None)?,
            None => self.model.head_layer().forward(hidden, self.context(Pass::Eval))?.detach(),
        };
        Ok(logits.to_dtype(DType::F32)?)
    }

    /// Logits (..., V) f32 with the soft cap of the family.
    pub(crate) fn capped(&self, logits: Tensor) -> Result<Tensor> {
        let Some(cap) = self.logit_cap() else { return Ok(logits) };
        let mut values = logits.flatten_all()?.to_vec1::<f32>()?;
        values.par_chunks_mut(self.config.vocab_size).for_each(|row| soft_cap(row, cap));
        Ok(Tensor::from_vec(values, logits.dims(), &self.device)?)
    }

    fn logit_cap(&self) -> Option<f32> {
        self.config.logit_soft_cap.map(|cap| cap as f32)
    }

    /// Hidden states of a pass that no backward pass follows, (B, T, C): nothing is kept for one, whatever trains.
    fn looked_at(&self, batch: &Batch) -> Result<Tensor> {
        batch.check(self.config.vocab_size)?;
        Ok(self.model.hidden(batch, self.context(Pass::Eval), Graph::Dropped)?.detach())
    }

    /// Of hidden states (B, T, C), those that predict a target, (N, C).
    fn at_targets(&self, hidden: &Tensor, batch: &Batch, targets: &batch::Targets) -> Result<Tensor> {
        let flat = hidden.reshape((batch.rows * batch.width, self.config.hidden_size))?; // (B*T, C)
        pick_rows(&flat, &targets.positions)
    }
}

/// A number that only these weights have in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightsKey(u64);

impl WeightsKey {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Reads `config.json` of a model folder, or the metadata of a GGUF file. The error names the file and the field.
pub fn read_config(model: &Path) -> Result<DecoderConfig> {
    if is_gguf(model) {
        return crate::gguf::read_config(model);
    }
    let path = model.join("config.json");
    let value = crate::checkpoint::read_json(&path)?;
    DecoderConfig::from_json(&value).map_err(|e| Error::file(path, e))
}

/// Bytes of the weights that [`Decoder::load_to_answer`] holds in numbers of `dtype`, where nothing is quantised. Errors name the file.
pub fn bytes_to_answer(model: &Path, dtype: DType) -> Result<u64> {
    let weight_bytes = dtype.size_in_bytes() as u64;
    if is_gguf(model) {
        return crate::gguf::kept_bytes(model, weight_bytes);
    }
    Ok(read_config(model)?.parameter_count() * weight_bytes)
}

/// Whether a model is a GGUF file instead of a folder: a file of any name, for what it holds is checked when it is read.
pub(crate) fn is_gguf(model: &Path) -> bool {
    model.is_file()
}

/// The form that the linear layers come to, of the one that the files hold and the one that is wanted.
fn form(config: &DecoderConfig, wanted: Option<Quantization>) -> Result<Option<Form>> {
    use Quantization::{EightBit, FourBit};
    Ok(match (config.stored_quantization(), wanted) {
        (None, wanted) => wanted.map(Form::Quantise),
        (Some(stored), None) => Some(Form::Stored(stored)),
        (Some(EightBit), Some(EightBit)) => Some(Form::Stored(EightBit)),
        // Scales are stored as they are; the product's numbers are the caller's.
        (Some(FourBit { kind, scales, .. }), Some(FourBit { kind: wanted, compute, .. })) if kind == wanted => {
            Some(Form::Stored(FourBit { kind, scales, compute }))
        }
        (Some(EightBit | FourBit { .. }), Some(EightBit | FourBit { .. })) => {
            return Err(Error::config(
                "quantization_config",
                "the checkpoint is quantised in another form already: load it as it is, or quantise the original weights",
            ));
        }
    })
}

fn check_dtype(dtype: DType) -> Result<()> {
    match dtype {
        DType::F32 | DType::BF16 => Ok(()),
        other => Err(Error::value("load", format!("weights are computed in f32 or bf16, not {other:?}"))),
    }
}
