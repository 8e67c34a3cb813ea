//! Self-attention of one block: projections, norms of queries and keys, rotation, attention, output. The attention itself is in
//! `ops::attention`.

use super::linear::{Context, InputLinears, Linear};
use super::norm::{HalfNorms, Norm};
use super::param::Builder;
use super::rope::Rotation;
use crate::Result;
use crate::ops::attention::{Sight, Spans};
use crate::ops::attention_block::{AttentionBlock, attention_block};
#[cfg(feature = "cuda")]
use crate::ops::decode_block::decode_block_on_gpu;
use crate::ops::decode_block::{Kept, decode_block};
#[cfg(feature = "cuda")]
use crate::ops::gpu::CachedRows;
use crate::ops::projection::Joined;
use candle_core::Tensor;
use tb_core::decoder_config::{DecoderConfig, LayerKind, Projections, QueryKeyNorm};

/// The linears and norms of one block's attention.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    inputs: InputLinears<3>,
    query_key: Option<[Norm; 2]>,
    o: Linear,
    pub(super) joined: Joined,
    pub(crate) sight: Sight,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Attention {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig, kind: LayerKind, path: &str) -> Result<Self> {
        let (c, d) = (config.hidden_size, config.head_dim);
        let (q, kv) = config.query_key_widths();
        let layout = config.layout();
        let linear = |name: &str, outputs| Linear::build(b, format!("{path}.{name}"), (outputs, c), config.qkv_bias);
        let norms = |q, kv| -> Result<Option<[Norm; 2]>> {
            let norm = |name: &str, width| Norm::build(b, config, &format!("{path}.{name}"), width);
            Ok(Some([norm("q_norm", q)?, norm("k_norm", kv)?]))
        };
        Ok(Self {
            inputs: match layout.projections {
                Projections::Separate => {
                    InputLinears::Separate([linear("q_proj", q)?, linear("k_proj", kv)?, linear("v_proj", kv)?])
                }
                Projections::Joined => InputLinears::Joined(linear("qkv_proj", q + 2 * kv)?, [q, kv, kv]),
            },
            query_key: match layout.query_key_norm {
                QueryKeyNorm::Absent => None,
                QueryKeyNorm::PerHead => norms(d, d)?,
                QueryKeyNorm::Whole => norms(q, kv)?,
            },
            o: Linear::build(b, format!("{path}.o_proj"), (c, q), config.output_bias)?,
            joined: Joined::default(),
            sight: Sight {
                scale: config.attention_scale as f32,
                window: kind.window,
                soft_cap: config.attention_soft_cap.map(|cap| cap as f32),
            },
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: d,
        })
    }

    /// Queries (B, T, H, D), keys and values (B, T, K, D) of x (B, T, C), not rotated.
    pub(crate) fn project(&self, x: &Tensor, ctx: Context) -> Result<(Tensor, Tensor, Tensor)> {
        let (b, t, _) = x.dims3()?;
        let split = |y: Tensor, heads| y.reshape((b, t, heads, self.head_dim));
        let [q, k, v] = self.inputs.forward(x, ctx)?;
        let (q, k) = match &self.query_key {
            None => (split(q, self.heads)?, split(k, self.kv_heads)?),
            Some([of_q, of_k]) => {
                (self.normalised(of_q, q, self.heads, ctx)?, self.normalised(of_k, k, self.kv_heads, ctx)?)
            }
        };
        Ok((q, k, split(v, self.kv_heads)?))
    }

    /// y (B, T, heads * D) as (B, T, heads, D), normalised per head or as a whole, whichever the weight is for.
    fn normalised(&self, norm: &Norm, y: Tensor, heads: usize, ctx: Context) -> Result<Tensor> {
        let (b, t, width) = y.dims3()?;
        let split = (b, t, heads, self.head_dim);
        if norm.width() == width {
            Ok(norm.forward(&y, ctx)?.reshape(split)?)
        } else {
            norm.forward(&y.reshape(split)?, ctx)
        }
    }

    /// The output projection of attended values (B, T, H, D), to (B, T, C).
    pub(crate) fn output(&self, attended: &Tensor, ctx: Context) -> Result<Tensor> {
        let (b, t, _, _) = attended.dims4()?;
        let joined = attended.reshape((b, t, self.heads * self.head_dim))?; // (B, T, H*D)
        self.o.forward(&joined, ctx)
    }

    /// The attention half of a block as one op, where every base weight is frozen; x (B, T, C).
    pub(crate) fn fused(
        &self,
        x: &Tensor,
        norms: &HalfNorms,
        rotation: Option<Rotation<'_>>,
        spans: Option<&Spans>,
        ctx: Context,
    ) -> Result<Tensor> {
        attention_block(x, &AttentionBlock { spans, ..self.block(norms, rotation, ctx) })
    }

    /// The same for one new token per row, x (B, 1, C), whose keys and values are added to those that are kept.
    pub(crate) fn fused_step(
        &self,
        x: &Tensor,
        norms: &HalfNorms,
        rotation: Option<Rotation<'_>>,
        kept: &mut [Kept<'_>],
        ctx: Context,
    ) -> Result<Tensor> {
        decode_block(x, &self.block(norms, rotation, ctx), kept)
    }

    /// The same with caches on a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn fused_step_on_gpu(
        &self,
        x: &Tensor,
        norms: &HalfNorms,
        rotation: Option<Rotation<'_>>,
        caches: (&CachedRows, usize),
        ctx: Context,
    ) -> Result<Tensor> {
        decode_block_on_gpu(x, &self.block(norms, rotation, ctx), caches)
    }

    fn block<'a>(&'a self, norms: &'a HalfNorms, rotation: Option<Rotation<'a>>, ctx: Context) -> AttentionBlock<'a> {
        AttentionBlock {
            before: norms.before.as_ref().map(Norm::frozen),
            inputs: self.inputs.projections(ctx),
            query_key: self.query_key.as_ref().map(|norms| norms.each_ref().map(Norm::frozen)),
            rotation: rotation.map(Rotation::turning),
            output: self.o.projection(ctx),
            after: norms.after.as_ref().map(Norm::frozen),
            heads: self.heads,
            kv_heads: self.kv_heads,
            size: self.head_dim,
            sight: self.sight,
            joined: Some(&self.joined),
            spans: None,
        }
    }

    /// Whether all of it can run as one op.
    pub(crate) fn fuses(&self, ctx: Context) -> bool {
        self.linears().all(|l| l.fuses(ctx)) && self.norms().all(|n| n.is_frozen(ctx))
    }

    pub(crate) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        self.query_key.iter_mut().flatten()
    }

    pub(crate) fn norms(&self) -> impl Iterator<Item = &Norm> {
        self.query_key.iter().flatten()
    }

    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.inputs.linears().iter().chain([&self.o])
    }

    /// To change them: what was made of their adapters is dropped.
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.joined = Joined::default();
        self.inputs.linears_mut().iter_mut().chain([&mut self.o])
    }
}
