//! Self-attention of one block: projections, rotation, grouped-query attention, output. The attention itself is in `ops::attention`.

use super::block::Norm;
use super::linear::{Context, Linear};
use super::param::Builder;
use crate::Result;
use crate::ops::attention::{Sight, Spans, causal_attention};
use crate::ops::attention_block::{AttentionBlock, attention_block};
use crate::ops::rope::{Positions, rope};
use candle_core::Tensor;
use tb_core::decoder_config::DecoderConfig;

/// Angles and positions of the tokens of one pass.
pub(crate) struct Rotation<'a> {
    /// (P, D/2) f32.
    pub(crate) cos: &'a Tensor,
    /// (P, D/2) f32.
    pub(crate) sin: &'a Tensor,
    pub(crate) positions: &'a Positions,
}

/// q, k, v and o of one block.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig, path: &str) -> Result<Self> {
        let (c, d) = (config.hidden_size, config.head_dim);
        let (q, kv) = (config.num_attention_heads * d, config.num_key_value_heads * d);
        Ok(Self {
            q: Linear::build(b, format!("{path}.q_proj"), (q, c), config.qkv_bias)?,
            k: Linear::build(b, format!("{path}.k_proj"), (kv, c), config.qkv_bias)?,
            v: Linear::build(b, format!("{path}.v_proj"), (kv, c), config.qkv_bias)?,
            o: Linear::build(b, format!("{path}.o_proj"), (c, q), config.output_bias)?,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: d,
        })
    }

    /// Rotated queries (B, T, H, D), rotated keys and values (B, T, K, D) of x (B, T, C).
    pub(crate) fn project(
        &self,
        x: &Tensor,
        rotation: &Rotation<'_>,
        ctx: Context,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let (b, t, _) = x.dims3()?;
        let split = |y: Tensor, heads| y.reshape((b, t, heads, self.head_dim));
        let q = split(self.q.forward(x, ctx)?, self.heads)?; // (B, T, H, D)
        let k = split(self.k.forward(x, ctx)?, self.kv_heads)?; // (B, T, K, D)
        let v = split(self.v.forward(x, ctx)?, self.kv_heads)?; // (B, T, K, D)
        let turn = |y: &Tensor| rope(y, rotation.cos, rotation.sin, rotation.positions);
        Ok((turn(&q)?, turn(&k)?, v))
    }

    /// The output projection of attended values (B, T, H, D), to (B, T, C).
    pub(crate) fn output(&self, attended: &Tensor, ctx: Context) -> Result<Tensor> {
        let (b, t, _, _) = attended.dims4()?;
        let joined = attended.reshape((b, t, self.heads * self.head_dim))?; // (B, T, H*D)
        self.o.forward(&joined, ctx)
    }

    /// x + attention(norm(x)) as one op, where every base weight is frozen; x (B, T, C).
    pub(crate) fn fused(
        &self,
        x: &Tensor,
        norm: &Norm,
        rotation: &Rotation<'_>,
        spans: Option<&Spans>,
        ctx: Context,
    ) -> Result<Tensor> {
        let block = AttentionBlock {
            norm: norm.weight.tensor(),
            eps: norm.eps,
            q: self.q.projection(ctx),
            k: self.k.projection(ctx),
            v: self.v.projection(ctx),
            o: self.o.projection(ctx),
            heads: self.heads,
            kv_heads: self.kv_heads,
            cos: rotation.cos,
            sin: rotation.sin,
            positions: rotation.positions,
            sight: self.sight(),
            spans,
        };
        attention_block(x, &block)
    }

    /// x (B, T, C) to (B, T, C), each position seeing itself and those before it within its run of `spans`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        rotation: &Rotation<'_>,
        spans: Option<&Spans>,
        ctx: Context,
    ) -> Result<Tensor> {
        let (q, k, v) = self.project(x, rotation, ctx)?;
        self.output(&causal_attention(&q, &k, &v, self.sight(), spans)?, ctx)
    }

    /// Scores divided by sqrt(D), every token up to the query's own seen.
    pub(crate) fn sight(&self) -> Sight {
        Sight::scaled((1.0 / (self.head_dim as f64).sqrt()) as f32)
    }

    pub(crate) fn linears(&self) -> [&Linear; 4] {
        [&self.q, &self.k, &self.v, &self.o]
    }

    pub(crate) fn linears_mut(&mut self) -> [&mut Linear; 4] {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o]
    }
}
