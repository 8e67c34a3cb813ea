//! Keys and values that a row has seen, and the two passes that use them: all prompts at once, then one token per row.

#[cfg(feature = "cuda")]
mod gpu;

use super::Flow;
use crate::Result;
use crate::decoder::block::Block;
use crate::decoder::rope::{Angles, Rotation};
use crate::decoder::{Batch, Context, Decoder, DecoderConfig, Pass};
use crate::ops::attention::{Spans, causal_attention};
use crate::ops::decode_block::Kept;
use crate::ops::rope::Positions;
use crate::ops::rows::pick_rows;
use candle_core::{DType, Tensor};

/// One row's keys and values of every layer, f32 (tokens, K, D).
pub(super) struct RowCache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    /// Where the model is on a GPU, its keys and values are there too.
    #[cfg(feature = "cuda")]
    gpu: Option<crate::ops::gpu::Cache>,
    /// The tokens that they are of.
    ids: Vec<u32>,
}

impl RowCache {
    /// An empty cache with room for a prompt of `tokens` and some more.
    pub(super) fn new(config: &DecoderConfig, tokens: usize) -> Self {
        let room = (tokens + 64) * config.num_key_value_heads * config.head_dim;
        let layer = || (Vec::with_capacity(room), Vec::with_capacity(room));
        Self {
            layers: (0..config.num_hidden_layers).map(|_| layer()).collect(),
            #[cfg(feature = "cuda")]
            gpu: None,
            ids: Vec::new(),
        }
    }

    /// Tokens held: also the position of the next one.
    pub(super) fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// What the rotation of a text of so many tokens depends on besides positions: only texts of one reach are computed together.
pub(super) fn reach(decoder: &Decoder, tokens: usize) -> Vec<usize> {
    decoder.model().ropes.iter().map(|rope| rope.reach(tokens)).collect()
}

/// Fills the rows' caches from their prompts, which have one [`reach`]; logits after the last token of each, (B, V).
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
    let mut x = model.embed(&batch.ids, batch.rows, batch.width, ctx)?.detach(); // (B, T, C)
    let angles = Angles::for_text(&model.ropes, batch.width, Positions::From(0))?;
    let spans = Spans::from_lengths(&batch.lengths, batch.width)?;
    for (layer, block) in model.blocks.iter().enumerate() {
        match wanted() {
            Flow::Continue => {}
            Flow::Stop => return Ok(None),
        }
        let (q, k, v) = projected(block, &x, &angles, ctx)?;
        fill(decoder, batch, caches, layer, &k, &v)?;
        let attended = causal_attention(&q, &k, &v, block.attention.sight, Some(&spans))?;
        x = block.feed_forward(&block.add_attended(&x, &attended, ctx)?, ctx)?.detach();
    }
    for ((cache, length), ids) in caches.iter_mut().zip(&batch.lengths).zip(batch.ids.chunks(batch.width)) {
        cache.ids.extend_from_slice(&ids[..*length]);
    }
    let last: Vec<u32> = batch.lengths.iter().enumerate().map(|(r, n)| (r * batch.width + n - 1) as u32).collect();
    let flat = x.reshape((batch.rows * batch.width, decoder.config().hidden_size))?; // (B*T, C)
    let last = pick_rows(&flat, &last)?; // (B, C)
    decoder.project(&model.norm.forward(&last, ctx)?.detach()).map(Some)
}

/// Takes keys and values (B, T, K, D) of one layer of the prompts into the rows' caches.
fn fill(decoder: &Decoder, batch: &Batch, caches: &mut [RowCache], layer: usize, k: &Tensor, v: &Tensor) -> Result<()> {
    #[cfg(feature = "cuda")]
    if decoder.device().is_cuda() {
        return gpu::fill(decoder, batch, caches, layer, k, v);
    }
    let token = decoder.config().num_key_value_heads * decoder.config().head_dim;
    let (keys, values) = (flat(k)?, flat(v)?);
    for (row, cache) in caches.iter_mut().enumerate() {
        let start = row * batch.width * token;
        let part = start..start + batch.lengths[row] * token;
        cache.layers[layer].0.extend_from_slice(&keys[part.clone()]);
        cache.layers[layer].1.extend_from_slice(&values[part]);
    }
    Ok(())
}

/// Adds one token to each row; logits after it, (B, V).
///
/// Where a token makes its text turn by other frequencies (a longrope once, a dynamic embedding with each token beyond the trained
/// length), all tokens before it are other than they were: the row is read again from its beginning.
pub(super) fn decode(decoder: &Decoder, ids: &[u32], caches: &mut [&mut RowCache]) -> Result<Tensor> {
    // As one task of the pool: from outside it, each of the many small operations would wait for a thread to wake up.
    rayon::scope(|_| decode_in_pool(decoder, ids, caches))
}

fn decode_in_pool(decoder: &Decoder, ids: &[u32], caches: &mut [&mut RowCache]) -> Result<Tensor> {
    let turns = |c: &RowCache| reach(decoder, c.tokens() + 1) != reach(decoder, c.tokens());
    let renewed: Vec<bool> = caches.iter().map(|c| turns(c)).collect();
    if !renewed.contains(&true) {
        return extend(decoder, ids, caches);
    }
    let (mut fresh, mut others, mut other_ids) = (Vec::new(), Vec::new(), Vec::new());
    for ((cache, id), renewed) in caches.iter_mut().zip(ids).zip(&renewed) {
        if *renewed {
            let text = [cache.ids.as_slice(), &[*id]].concat();
            **cache = RowCache::new(decoder.config(), text.len());
            fresh.push(prefill(decoder, &Batch::from_ids(&[text], 0)?, std::slice::from_mut(&mut **cache))?); // (1, V)
        } else {
            others.push(&mut **cache);
            other_ids.push(*id);
        }
    }
    let extended = if others.is_empty() { None } else { Some(extend(decoder, &other_ids, &mut others)?) };
    let (mut fresh, mut at) = (fresh.into_iter(), 0);
    let mut rows = Vec::with_capacity(ids.len());
    for renewed in renewed {
        match (renewed, &extended) {
            (false, Some(extended)) => {
                rows.push(extended.narrow(0, at, 1)?);
                at += 1;
            }
            (_, _) => rows.extend(fresh.next()),
        }
    }
    Ok(Tensor::cat(&rows, 0)?)
}

/// Adds one token to each row by the keys and values that are held; logits after it, (B, V).
fn extend(decoder: &Decoder, ids: &[u32], caches: &mut [&mut RowCache]) -> Result<Tensor> {
    let (model, ctx, config) = (decoder.model(), decoder.context(Pass::Eval), decoder.config());
    let mut x = model.embed(ids, ids.len(), 1, ctx)?.detach(); // (B, 1, C)
    let lengths: Vec<usize> = caches.iter().map(|c| c.tokens() + 1).collect();
    let angles = Angles::of_last(&model.ropes, &lengths)?;
    #[cfg(feature = "cuda")]
    let on_gpu = if decoder.device().is_cuda() { Some(gpu::step(decoder, caches)?) } else { None };
    for (layer, block) in model.blocks.iter().enumerate() {
        #[cfg(feature = "cuda")]
        if let Some(rows) = &on_gpu {
            let (q, k, v) = projected(block, &x, &angles, ctx)?;
            let attended = gpu::attend(rows, layer, &q, &k, &v, block.attention.sight)?;
            x = block.feed_forward(&block.add_attended(&x, &attended, ctx)?, ctx)?.detach();
            continue;
        }
        let mut kept: Vec<Kept<'_>> = caches.iter_mut().map(|c| kept(&mut c.layers[layer])).collect();
        x = block.step(&x, &angles, &mut kept, ctx)?.detach();
    }
    for (cache, id) in caches.iter_mut().zip(ids) {
        cache.ids.push(*id);
    }
    let x = model.norm.forward(&x, ctx)?.detach().reshape((ids.len(), config.hidden_size))?; // (B, C)
    decoder.project(&x)
}

fn kept((keys, values): &mut (Vec<f32>, Vec<f32>)) -> Kept<'_> {
    (keys, values)
}

/// Rotated queries (B, T, H, D) and keys, and values (B, T, K, D), of x (B, T, C).
fn projected(block: &Block, x: &Tensor, angles: &Angles, ctx: Context) -> Result<(Tensor, Tensor, Tensor)> {
    let rotation = angles.of(block.kind);
    let (q, k, v) = block.project(x, ctx)?;
    Ok((Rotation::turned(rotation, &q)?, Rotation::turned(rotation, &k)?, v))
}

fn flat(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
