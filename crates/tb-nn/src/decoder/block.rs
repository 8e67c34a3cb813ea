//! One transformer block: attention, then the feed-forward layer, each added to the residual stream with norms before it, after it
//! or both, as the family's layout says.

use super::attention::Attention;
use super::linear::{Context, Linear};
use super::mlp::Mlp;
use super::norm::{HalfNorms, Norm};
use super::param::{Builder, Parameter};
use super::rope::{Angles, Rotation};
use crate::Result;
use crate::ops::attention::{Sight, Spans, causal_attention};
use crate::ops::decode_attention::decode_attention;
use crate::ops::decode_block::{Kept, extended};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{CachedRows, Gpu, read_gpu};
#[cfg(feature = "cuda")]
use crate::ops::projection::Joined;
use crate::ops::slices::read;
use candle_core::{Tensor, Var};
use tb_core::decoder_config::{DecoderConfig, LayerKind, Norms};

/// One layer of the decoder.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) kind: LayerKind,
    attention_norms: HalfNorms,
    pub(crate) attention: Attention,
    mlp_norms: HalfNorms,
    mlp: Mlp,
}

impl Block {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig, layer: usize) -> Result<Self> {
        let path = format!("model.layers.{layer}");
        let kind = config.layers[layer];
        let half = |before: Option<&str>, after: Option<&str>| HalfNorms::build(b, config, &path, before, after);
        const INPUT: &str = "input_layernorm";
        const POST_ATTENTION: &str = "post_attention_layernorm";
        const PRE_MLP: &str = "pre_feedforward_layernorm";
        const POST_MLP: &str = "post_feedforward_layernorm";
        let (attention_norms, mlp_norms) = match config.layout().norms {
            // Here the second norm has the name of what it follows, not of what it is for.
            Norms::Before => (half(Some(INPUT), None)?, half(Some(POST_ATTENTION), None)?),
            Norms::Around => (half(Some(INPUT), Some(POST_ATTENTION))?, half(Some(PRE_MLP), Some(POST_MLP))?),
            Norms::After => (half(None, Some(POST_ATTENTION))?, half(None, Some(POST_MLP))?),
        };
        Ok(Self {
            kind,
            attention_norms,
            attention: Attention::build(b, config, kind, &format!("{path}.self_attn"))?,
            mlp_norms,
            mlp: Mlp::build(b, config, &format!("{path}.mlp"))?,
        })
    }

    /// x (B, T, C) to (B, T, C).
    pub(crate) fn forward(&self, x: &Tensor, angles: &Angles, spans: Option<&Spans>, ctx: Context) -> Result<Tensor> {
        let rotation = angles.of(self.kind);
        // One operation where only plain adapters train, separate ones where anything else does.
        let attended = if self.attends_as_one(ctx) {
            self.attention.fused(x, &self.attention_norms, rotation, spans, ctx)?
        } else {
            let (q, k, v) = self.project(x, ctx)?;
            let (q, k) = (Rotation::turned(rotation, &q)?, Rotation::turned(rotation, &k)?);
            self.add_attended(x, &causal_attention(&q, &k, &v, self.attention.sight, spans)?, ctx)?
        };
        self.feed_forward(&attended, ctx)
    }

    /// As [`Self::forward`] for one new token per row, x (B, 1, C), after the tokens whose keys and values (tokens, K, D) are kept.
    pub(crate) fn step(&self, x: &Tensor, angles: &Angles, kept: &mut [Kept<'_>], ctx: Context) -> Result<Tensor> {
        let rotation = angles.of(self.kind);
        let attended = if self.attends_as_one(ctx) {
            self.attention.fused_step(x, &self.attention_norms, rotation, kept, ctx)?
        } else {
            let (q, k, v) = self.project(x, ctx)?;
            let (q, k) = (Rotation::turned(rotation, &q)?, Rotation::turned(rotation, &k)?);
            self.add_attended(x, &attended_step(&q, &k, &v, kept, self.attention.sight)?, ctx)?
        };
        self.feed_forward(&attended, ctx)
    }

    /// As [`Self::step`] on a GPU, where the caches of a layer are named by its number.
    #[cfg(feature = "cuda")]
    pub(crate) fn step_on_gpu(
        &self,
        x: &Tensor,
        angles: &Angles,
        (caches, layer): (&CachedRows, usize),
        ctx: Context,
    ) -> Result<Tensor> {
        let rotation = angles.of(self.kind);
        let attended = if self.attends_as_one(ctx) {
            self.attention.fused_step_on_gpu(x, &self.attention_norms, rotation, (caches, layer), ctx)?
        } else {
            let (q, k, v) = self.project(x, ctx)?;
            let (q, k) = (Rotation::turned(rotation, &q)?, Rotation::turned(rotation, &k)?);
            let attended = attended_on_gpu(caches, layer, (&q, &k, &v), self.attention.sight)?;
            self.add_attended(x, &attended, ctx)?
        };
        self.feed_forward(&attended, ctx)
    }

    /// Whether the first half is one operation: nothing of the base trains, and the adapter is a plain one.
    fn attends_as_one(&self, ctx: Context) -> bool {
        self.attention_norms.is_frozen(ctx) && self.attention.fuses(ctx)
    }

    /// Whether the second half is.
    fn feeds_as_one(&self, ctx: Context) -> bool {
        self.mlp_norms.is_frozen(ctx) && self.mlp.fuses(ctx)
    }

    /// The adapters of both halves, as their operations keep them.
    #[cfg(feature = "cuda")]
    pub(crate) fn joined(&self) -> [&Joined; 2] {
        [&self.attention.joined, &self.mlp.joined]
    }

    /// Whether both halves are one operation each.
    #[cfg(feature = "cuda")]
    pub(crate) fn is_plain(&self, ctx: Context) -> bool {
        self.attends_as_one(ctx) && self.feeds_as_one(ctx)
    }

    /// Queries (B, T, H, D), keys and values (B, T, K, D) of x (B, T, C), not rotated.
    pub(crate) fn project(&self, x: &Tensor, ctx: Context) -> Result<(Tensor, Tensor, Tensor)> {
        self.attention.project(&self.attention_norms.before(x, ctx)?, ctx)
    }

    /// x (B, T, C) after the first half of the block, from what its tokens attended to, (B, T, H, D).
    pub(crate) fn add_attended(&self, x: &Tensor, attended: &Tensor, ctx: Context) -> Result<Tensor> {
        self.attention_norms.add(x, &self.attention.output(attended, ctx)?, ctx)
    }

    /// The second half of the block, of x (B, T, C) after attention.
    pub(crate) fn feed_forward(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        if self.feeds_as_one(ctx) {
            self.mlp.fused(x, &self.mlp_norms, ctx)
        } else {
            self.mlp_norms.add(x, &self.mlp.forward(&self.mlp_norms.before(x, ctx)?, ctx)?, ctx)
        }
    }

    /// Linears in the order of trainable parameters.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.attention.linears().chain(self.mlp.linears())
    }

    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.attention.linears_mut().chain(self.mlp.linears_mut())
    }

    /// (checkpoint name, parameter) of everything, in a fixed order.
    pub(crate) fn parameters(&self) -> Vec<(String, &Parameter)> {
        self.attention_norms
            .all()
            .chain(self.attention.norms())
            .map(Norm::parameter)
            .chain(self.attention.linears().flat_map(Linear::parameters))
            .chain(self.mlp_norms.all().map(Norm::parameter))
            .chain(self.mlp.linears().flat_map(Linear::parameters))
            .collect()
    }

    /// Every variable of the block, in a fixed order.
    pub(crate) fn vars(&self) -> Vec<&Var> {
        self.norms().flat_map(Norm::vars).chain(self.linears().flat_map(Linear::vars)).collect()
    }

    pub(crate) fn norms(&self) -> impl Iterator<Item = &Norm> {
        self.attention_norms.all().chain(self.attention.norms()).chain(self.mlp_norms.all())
    }

    pub(crate) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        let Self { attention_norms, attention, mlp_norms, .. } = self;
        attention_norms.all_mut().chain(attention.norms_mut()).chain(mlp_norms.all_mut())
    }
}

/// Adds each row's new key and value, k and v (B, 1, K, D), to what is kept, and attends to all of it with q (B, 1, H, D).
fn attended_step(q: &Tensor, k: &Tensor, v: &Tensor, kept: &mut [Kept<'_>], sight: Sight) -> Result<Tensor> {
    let (_, _, kv_heads, size) = k.dims4()?;
    read!(k = k);
    read!(v = v);
    decode_attention(q, &extended(kept, &k, &v, kv_heads * size), kv_heads, sight)
}

/// Attention of the new tokens' q (B, 1, H, D) to their rows, of which k and v (B, 1, K, D) become a part.
#[cfg(feature = "cuda")]
fn attended_on_gpu(
    caches: &CachedRows,
    layer: usize,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    sight: Sight,
) -> Result<Tensor> {
    let gpu = Gpu::of_tensor(q)?;
    let ((_, _, heads, size), kv_heads) = (q.dims4()?, k.dim(2)?);
    read_gpu!(gpu, qs = q);
    read_gpu!(gpu, k = k);
    read_gpu!(gpu, v = v);
    Ok(gpu.decode_attention(caches, layer, (qs, k, v), (heads, kv_heads, size), sight)?.into_tensor(q.shape()))
}
