//! The gated feed-forward layer of one block: down(act(gate(x)) * up(x)). The activation is in `ops::gated`.

use super::linear::{Context, InputLinears, Linear};
use super::norm::{HalfNorms, Norm};
use super::param::Builder;
use crate::Result;
use crate::ops::gated::gated;
use crate::ops::mlp_block::{MlpBlock, mlp_block};
use crate::ops::projection::Joined;
use candle_core::Tensor;
use tb_core::decoder_config::{Activation, DecoderConfig, Projections};

/// gate, up and down of one block.
#[derive(Clone, Debug)]
pub(crate) struct Mlp {
    inputs: InputLinears<2>,
    activation: Activation,
    down: Linear,
    pub(super) joined: Joined,
    width: usize,
}

impl Mlp {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig, path: &str) -> Result<Self> {
        let (c, f, bias) = (config.hidden_size, config.intermediate_size, config.mlp_bias);
        let linear = |name: &str, shape| Linear::build(b, format!("{path}.{name}"), shape, bias);
        Ok(Self {
            inputs: match config.layout().projections {
                Projections::Separate => {
                    InputLinears::Separate([linear("gate_proj", (f, c))?, linear("up_proj", (f, c))?])
                }
                Projections::Joined => InputLinears::Joined(linear("gate_up_proj", (2 * f, c))?, [f, f]),
            },
            activation: config.activation,
            down: linear("down_proj", (c, f))?,
            joined: Joined::default(),
            width: f,
        })
    }

    /// The feed-forward half of a block as one op, where every base weight is frozen; x (..., C).
    pub(crate) fn fused(&self, x: &Tensor, norms: &HalfNorms, ctx: Context) -> Result<Tensor> {
        let block = MlpBlock {
            before: norms.before.as_ref().map(Norm::frozen),
            inputs: self.inputs.projections(ctx),
            activation: self.activation,
            down: self.down.projection(ctx),
            after: norms.after.as_ref().map(Norm::frozen),
            joined: Some(&self.joined),
            width: self.width,
        };
        mlp_block(x, &block)
    }

    /// x (..., C) to (..., C).
    pub(crate) fn forward(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        let [gate, up] = self.inputs.forward(x, ctx)?; // (..., F)
        self.down.forward(&gated(&gate, &up, self.activation)?, ctx)
    }

    /// Whether all of it can run as one op.
    pub(crate) fn fuses(&self, ctx: Context) -> bool {
        self.linears().all(|l| l.fuses(ctx))
    }

    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.inputs.linears().iter().chain([&self.down])
    }

    /// To change them: what was made of their adapters is dropped.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.joined = Joined::default();
        self.inputs.linears_mut().iter_mut().chain([&mut self.down])
    }
}
