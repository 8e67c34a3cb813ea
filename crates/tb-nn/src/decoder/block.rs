//! One pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

use super::attention::{Attention, Rotation};
use super::linear::{Context, Linear};
use super::mlp::Mlp;
use super::param::{Builder, Parameter};
use crate::Result;
use crate::ops::attention::Spans;
use crate::ops::rms_norm::rms_norm;
use candle_core::{Tensor, Var};
use tb_core::decoder_config::DecoderConfig;

/// A named RMSNorm.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) name: String,
    pub(crate) weight: Parameter,
    pub(crate) eps: f64,
}

impl Norm {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig, path: &str) -> Result<Self> {
        let name = format!("{path}.weight");
        let weight = b.norm(&name, config.hidden_size)?;
        Ok(Self { name, weight, eps: config.rms_norm_eps })
    }

    /// x (..., C) to (..., C).
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, self.weight.tensor(), self.eps, self.weight.grad())
    }
}

/// One layer of the decoder.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) input_norm: Norm,
    pub(crate) attention: Attention,
    pub(crate) post_norm: Norm,
    mlp: Mlp,
}

impl Block {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig, layer: usize) -> Result<Self> {
        let path = format!("model.layers.{layer}");
        Ok(Self {
            input_norm: Norm::build(b, config, &format!("{path}.input_layernorm"))?,
            attention: Attention::build(b, config, &format!("{path}.self_attn"))?,
            post_norm: Norm::build(b, config, &format!("{path}.post_attention_layernorm"))?,
            mlp: Mlp::build(b, config, &format!("{path}.mlp"))?,
        })
    }

    /// x (B, T, C) to (B, T, C).
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        rotation: &Rotation<'_>,
        spans: Option<&Spans>,
        ctx: Context,
    ) -> Result<Tensor> {
        let attended = match self.input_norm.weight {
            Parameter::Frozen(_) => self.attention.fused(x, &self.input_norm, rotation, spans, ctx)?,
            Parameter::Trained(_) => {
                (x + self.attention.forward(&self.input_norm.forward(x)?, rotation, spans, ctx)?)?
            }
        };
        self.feed_forward(&attended, ctx)
    }

    /// The second half of the block, of x (B, T, C) after attention. A model is trained in full or not at all, so the
    /// norm tells for the whole block whether its base weights are frozen.
    pub(crate) fn feed_forward(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        match self.post_norm.weight {
            Parameter::Frozen(_) => self.mlp.fused(x, &self.post_norm, ctx),
            Parameter::Trained(_) => Ok((x + self.mlp.forward(&self.post_norm.forward(x)?, ctx)?)?),
        }
    }

    /// Linears in the order of trainable parameters.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.attention.linears().into_iter().chain(self.mlp.linears())
    }

    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.attention.linears_mut().into_iter().chain(self.mlp.linears_mut())
    }

    /// Every variable of the block, in a fixed order.
    pub(crate) fn vars(&self) -> Vec<&Var> {
        let norms = [&self.input_norm, &self.post_norm].into_iter().filter_map(|n| n.weight.var());
        norms.chain(self.linears().flat_map(Linear::vars)).collect()
    }
}
