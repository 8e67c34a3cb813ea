//! A named RMSNorm of the decoder, and the pair around one half of a block. The maths is in `ops::rms_norm`.

use super::param::{Builder, Parameter};
use crate::Result;
use crate::ops::rms_norm::{FrozenNorm, rms_norm};
use candle_core::{DType, Tensor};
use tb_core::decoder_config::{DecoderConfig, NormWeight};

/// An RMSNorm.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    name: String,
    /// As the checkpoint has it.
    weight: Parameter,
    /// What a constant weight amounts to as a factor, where that is something else.
    factor: Option<Tensor>,
    kind: NormWeight,
    eps: f64,
}

impl Norm {
    /// `<path>.weight`, (width).
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig, path: &str, width: usize) -> Result<Self> {
        let name = format!("{path}.weight");
        let kind = config.layout().norm_weight;
        let weight = b.norm(&name, width, kind)?;
        let factor = match (kind, &weight) {
            // In f32 whatever the model's dtype, as transformers does: 1 + w has fewer bits for w than w itself.
            (NormWeight::OnePlus, Parameter::Frozen(w)) => Some((w.to_dtype(DType::F32)? + 1.0)?),
            (NormWeight::OnePlus, Parameter::Trained(_)) | (NormWeight::Plain, _) => None,
        };
        Ok(Self { name, weight, factor, kind, eps: config.rms_norm_eps })
    }

    /// x (..., C) to (..., C).
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match (&self.factor, self.kind) {
            (Some(factor), _) => rms_norm(x, factor, self.eps, self.weight.grad()),
            (None, NormWeight::Plain) => rms_norm(x, self.weight.tensor(), self.eps, self.weight.grad()),
            (None, NormWeight::OnePlus) => rms_norm(x, &(self.weight.tensor() + 1.0)?, self.eps, self.weight.grad()),
        }
    }

    /// As a part of a fused block; the weight must be frozen.
    pub(crate) fn frozen(&self) -> FrozenNorm<'_> {
        FrozenNorm { weight: self.factor.as_ref().unwrap_or_else(|| self.weight.tensor()), eps: self.eps }
    }

    /// Values that it normalises together.
    pub(crate) fn width(&self) -> usize {
        self.weight.tensor().elem_count()
    }

    /// (checkpoint name, parameter).
    pub(crate) fn parameter(&self) -> (String, &Parameter) {
        (self.name.clone(), &self.weight)
    }
}

/// The norms around one half of a block; at least one is there.
#[derive(Clone, Debug)]
pub(crate) struct HalfNorms {
    pub(crate) before: Option<Norm>,
    pub(crate) after: Option<Norm>,
}

impl HalfNorms {
    /// The norms of these names in the block at `path`.
    pub(crate) fn build(
        b: &Builder<'_>,
        config: &DecoderConfig,
        path: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<Self> {
        let norm = |name: &str| Norm::build(b, config, &format!("{path}.{name}"), config.hidden_size);
        Ok(Self { before: before.map(norm).transpose()?, after: after.map(norm).transpose()? })
    }

    /// x normalised, or x itself.
    pub(crate) fn before(&self, x: &Tensor) -> Result<Tensor> {
        match &self.before {
            None => Ok(x.clone()),
            Some(norm) => norm.forward(x),
        }
    }

    /// residual + the half's result, normalised where the family does that.
    pub(crate) fn add(&self, residual: &Tensor, result: &Tensor) -> Result<Tensor> {
        match &self.after {
            None => Ok((residual + result)?),
            Some(norm) => Ok((residual + norm.forward(result)?)?),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Norm> {
        self.before.iter().chain(&self.after)
    }

    /// Whether the half's base weights are constants: a model is trained in full or not at all.
    pub(crate) fn is_frozen(&self) -> bool {
        self.all().all(|norm| matches!(norm.weight, Parameter::Frozen(_)))
    }
}
