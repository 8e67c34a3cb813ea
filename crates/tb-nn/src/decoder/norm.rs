//! A named RMSNorm of the decoder, and the pair around one half of a block. The maths is in `ops::rms_norm`.

use super::AdapterSwitch;
use super::linear::{Context, Replacement, Tuned, worn};
use super::param::{Builder, Parameter};
use crate::Result;
use crate::ops::rms_norm::{FrozenNorm, rms_norm};
use candle_core::{DType, Tensor};
use tb_core::decoder_config::{DecoderConfig, NormWeight};

/// An RMSNorm.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) name: String,
    /// As the checkpoint has it.
    weight: Parameter,
    pub(crate) tuned: Tuned,
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
        let factor = constant_factor(kind, &weight)?;
        Ok(Self { name, weight, tuned: None, factor, kind, eps: config.rms_norm_eps })
    }

    pub(crate) fn replace(&mut self, make: &mut Replacement<'_>) -> Result<()> {
        if let Some(weight) = make(&self.name, &self.weight)? {
            self.factor = constant_factor(self.kind, &weight)?;
            self.weight = weight;
        }
        Ok(())
    }

    /// Whether the weight in use is the base's own, and frozen.
    pub(crate) fn is_frozen(&self, ctx: Context) -> bool {
        let tuned = self.tuned.is_some() && ctx.adapter == AdapterSwitch::On;
        !tuned && self.weight.var().is_none()
    }

    /// x (..., C) to (..., C).
    pub(crate) fn forward(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        let weight = worn(&self.weight, &self.tuned, ctx.adapter);
        match (self.factor.as_ref().filter(|_| self.is_frozen(ctx)), self.kind) {
            (Some(factor), _) => rms_norm(x, factor, self.eps, weight.grad()),
            (None, NormWeight::Plain) => rms_norm(x, weight.tensor(), self.eps, weight.grad()),
            (None, NormWeight::OnePlus) => rms_norm(x, &(weight.tensor() + 1.0)?, self.eps, weight.grad()),
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

    /// Everything that may train: the weight and its copy.
    pub(crate) fn vars(&self) -> impl Iterator<Item = &candle_core::Var> {
        [Some(&self.weight), self.tuned.as_ref()].into_iter().flatten().filter_map(Parameter::var)
    }

    /// (checkpoint name, parameter).
    pub(crate) fn parameter(&self) -> (String, &Parameter) {
        (self.name.clone(), &self.weight)
    }
}

/// What a constant weight of this kind amounts to as a factor, where that is something else.
fn constant_factor(kind: NormWeight, weight: &Parameter) -> Result<Option<Tensor>> {
    match (kind, weight) {
        // In f32 whatever the model's dtype, as transformers does: 1 + w has fewer bits for w than w itself.
        (NormWeight::OnePlus, Parameter::Frozen(w)) => Ok(Some((w.to_dtype(DType::F32)? + 1.0)?)),
        (NormWeight::OnePlus, Parameter::Trained(_)) | (NormWeight::Plain, _) => Ok(None),
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
    pub(crate) fn before(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        match &self.before {
            None => Ok(x.clone()),
            Some(norm) => norm.forward(x, ctx),
        }
    }

    /// residual + the half's result, normalised where the family does that.
    pub(crate) fn add(&self, residual: &Tensor, result: &Tensor, ctx: Context) -> Result<Tensor> {
        match &self.after {
            None => Ok((residual + result)?),
            Some(norm) => Ok((residual + norm.forward(result, ctx)?)?),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Norm> {
        self.before.iter().chain(&self.after)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        self.before.iter_mut().chain(&mut self.after)
    }

    /// Whether both are the base's own, and frozen.
    pub(crate) fn is_frozen(&self, ctx: Context) -> bool {
        self.all().all(|norm| norm.is_frozen(ctx))
    }
}
