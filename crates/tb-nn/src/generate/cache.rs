//! Keys and values that a row has seen, and the two passes that use them: all prompts at once, then one token per row.

use super::Flow;
use crate::Result;
use crate::decoder::{Batch, Decoder, DecoderConfig, Pass, Rotation};
use crate::ops::attention::{Spans, causal_attention};
use crate::ops::decode_attention::{CachedRow, decode_attention};
use crate::ops::rope::Positions;
use candle_core::{DType, Tensor};

/// One row's keys and values of every layer, f32 (tokens, K, D).
pub(super) struct RowCache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    tokens: usize,
}

impl RowCache {
    /// An empty cache with room for a prompt of `tokens` and some more.
    pub(super) fn new(config: &DecoderConfig, tokens: usize) -> Self {
        let room = (tokens + 64) * config.num_key_value_heads * config.head_dim;
        let layer = || (Vec::with_capacity(room), Vec::with_capacity(room));
        Self { layers: (0..config.num_hidden_layers).map(|_| layer()).collect(), tokens: 0 }
    }

    /// Tokens held: also the position of the next one.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }
}

/// Fills the rows' caches from their prompts; logits after the last token of each, (B, V).
pub(super) fn prefill(decoder: &Decoder, batch: &Batch, caches: &mut [RowCache]) -> Result<Tensor> {
    let logits = prefill_while(decoder, batch, caches, &mut || Flow::Continue)?;
    Ok(logits.expect("the listener never stops it"))
}

/// As [`prefill`], with a listener that is asked before every layer; none, and caches of no use, once it stops.
pub(super) fn prefill_while(
    decoder: &Decoder,
    batch: &Batch,
    caches: &mut [RowCache],
    wanted: &mut dyn FnMut() -> Flow,
) -> Result<Option<Tensor>> {
    batch.check(decoder.config().vocab_size)?;
    let (model, ctx) = (decoder.model(), decoder.context(Pass::Eval));
    let mut x = model.embed(&batch.ids, batch.rows, batch.width)?.detach(); // (B, T, C)
    let (cos, sin) = model.rope.upto(batch.width)?;
    let rotation = Rotation { cos: &cos, sin: &sin, positions: &Positions::From(0) };
    let spans = Spans::from_lengths(&batch.lengths, batch.width)?;
    let token = decoder.config().num_key_value_heads * decoder.config().head_dim;
    for (layer, block) in model.blocks.iter().enumerate() {
        match wanted() {
            Flow::Continue => {}
            Flow::Stop => return Ok(None),
        }
        let (q, k, v) = block.attention.project(&block.input_norm.forward(&x)?, &rotation, ctx)?;
        let (keys, values) = (flat(&k)?, flat(&v)?);
        for (row, cache) in caches.iter_mut().enumerate() {
            let start = row * batch.width * token;
            let part = start..start + batch.lengths[row] * token;
            cache.layers[layer].0.extend_from_slice(&keys[part.clone()]);
            cache.layers[layer].1.extend_from_slice(&values[part]);
        }
        let attended = causal_attention(&q, &k, &v, block.attention.sight(), Some(&spans))?;
        x = block.feed_forward(&(&x + block.attention.output(&attended, ctx)?)?, ctx)?.detach();
    }
    for (cache, length) in caches.iter_mut().zip(&batch.lengths) {
        cache.tokens = *length;
    }
    let last: Vec<u32> = batch.lengths.iter().enumerate().map(|(r, n)| (r * batch.width + n - 1) as u32).collect();
    let flat = x.reshape((batch.rows * batch.width, decoder.config().hidden_size))?; // (B*T, C)
    let last = flat.index_select(&Tensor::new(last.as_slice(), decoder.device())?, 0)?; // (B, C)
    decoder.project(&model.norm.forward(&last)?.detach()).map(Some)
}

/// Adds one token to each row; logits after it, (B, V).
pub(super) fn decode(decoder: &Decoder, ids: &[u32], caches: &mut [&mut RowCache]) -> Result<Tensor> {
    let (model, ctx, config) = (decoder.model(), decoder.context(Pass::Eval), decoder.config());
    let mut x = model.embed(ids, ids.len(), 1)?.detach(); // (B, 1, C)
    let longest = caches.iter().map(|c| c.tokens).max().unwrap_or(0);
    let (cos, sin) = model.rope.upto(longest + 1)?;
    let positions = Positions::Rows(caches.iter().map(|c| c.tokens as u32).collect());
    let rotation = Rotation { cos: &cos, sin: &sin, positions: &positions };
    let token = config.num_key_value_heads * config.head_dim;
    for (layer, block) in model.blocks.iter().enumerate() {
        let (q, k, v) = block.attention.project(&block.input_norm.forward(&x)?, &rotation, ctx)?;
        let (keys, values) = (flat(&k)?, flat(&v)?);
        for ((cache, key), value) in caches.iter_mut().zip(keys.chunks_exact(token)).zip(values.chunks_exact(token)) {
            cache.layers[layer].0.extend_from_slice(key);
            cache.layers[layer].1.extend_from_slice(value);
        }
        let held: Vec<CachedRow<'_>> =
            caches.iter().map(|c| CachedRow { keys: &c.layers[layer].0, values: &c.layers[layer].1 }).collect();
        let attended = decode_attention(&q, &held, config.num_key_value_heads, block.attention.sight())?;
        x = block.feed_forward(&(&x + block.attention.output(&attended, ctx)?)?, ctx)?.detach();
    }
    for cache in caches.iter_mut() {
        cache.tokens += 1;
    }
    let x = model.norm.forward(&x)?.detach().reshape((ids.len(), config.hidden_size))?; // (B, C)
    decoder.project(&x)
}

fn flat(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
