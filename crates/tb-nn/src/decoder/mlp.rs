//! The gated feed-forward layer of one block: down(silu(gate(x)) * up(x)). The activation is in `ops::swiglu`.

use super::block::Norm;
use super::linear::{Context, Linear};
use super::param::Builder;
use crate::Result;
use crate::ops::mlp_block::{MlpBlock, mlp_block};
use crate::ops::swiglu::swiglu;
use candle_core::Tensor;
use tb_core::decoder_config::DecoderConfig;

/// gate, up and down of one block.
#[derive(Clone, Debug)]
pub(crate) struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Mlp {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig, path: &str) -> Result<Self> {
        let (c, f, bias) = (config.hidden_size, config.intermediate_size, config.mlp_bias);
        Ok(Self {
            gate: Linear::build(b, format!("{path}.gate_proj"), (f, c), bias)?,
            up: Linear::build(b, format!("{path}.up_proj"), (f, c), bias)?,
            down: Linear::build(b, format!("{path}.down_proj"), (c, f), bias)?,
        })
    }

    /// x + mlp(norm(x)) as one op, where every base weight is frozen; x (..., C).
    pub(crate) fn fused(&self, x: &Tensor, norm: &Norm, ctx: Context) -> Result<Tensor> {
        let block = MlpBlock {
            norm: norm.weight.tensor(),
            eps: norm.eps,
            gate: self.gate.projection(ctx),
            up: self.up.projection(ctx),
            down: self.down.projection(ctx),
        };
        mlp_block(x, &block)
    }

    /// x (..., C) to (..., C).
    pub(crate) fn forward(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        let gated = swiglu(&self.gate.forward(x, ctx)?, &self.up.forward(x, ctx)?)?; // (..., F)
        self.down.forward(&gated, ctx)
    }

    pub(crate) fn linears(&self) -> [&Linear; 3] {
        [&self.gate, &self.up, &self.down]
    }

    pub(crate) fn linears_mut(&mut self) -> [&mut Linear; 3] {
        [&mut self.gate, &mut self.up, &mut self.down]
    }
}
