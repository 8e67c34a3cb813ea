//! Keys and values that a row has seen, and the pass that adds one token to each row. How a prompt gets there is in `generate/prefill.rs`.

#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
pub(crate) use gpu::Steps;

use super::Flow;
use super::prefill::read_on;
use crate::Result;
use crate::decoder::block::Block;
use crate::decoder::rope::{Angles, Rotation};
use crate::decoder::{Batch, Context, Decoder, DecoderConfig, Pass};
use crate::ops::attention::onward_attention;
#[cfg(feature = "cuda")]
use crate::ops::attention::{Spans, causal_attention};
use crate::ops::decode_attention::CachedRow;
use crate::ops::decode_block::Kept;
use candle_core::{DType, Tensor};

/// Keys and values of one layer, f32 (tokens, K, D).
pub(super) type Layer = (Vec<f32>, Vec<f32>);

/// One row's keys and values of every layer.
pub(super) struct RowCache {
    layers: Vec<Layer>,
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

    /// An empty cache of so many layers.
    #[cfg(test)]
    pub(super) fn bare(layers: usize) -> Self {
        Self {
            layers: vec![Layer::default(); layers],
            #[cfg(feature = "cuda")]
            gpu: None,
            ids: Vec::new(),
        }
    }

    /// Tokens held: also the position of the next one.
    pub(super) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The tokens.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Adds tokens whose keys and values every layer has got already.
    pub(super) fn add_ids(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
    }

    /// Adds tokens with their keys and values.
    pub(super) fn extend(&mut self, layers: &[Layer], ids: &[u32]) {
        for ((keys, values), (more_keys, more_values)) in self.layers.iter_mut().zip(layers) {
            keys.extend_from_slice(more_keys);
            values.extend_from_slice(more_values);
        }
        self.add_ids(ids);
    }

    /// Keys and values of `tokens` tokens from `first` on.
    pub(super) fn part(&self, first: usize, tokens: usize) -> Vec<Layer> {
        let held = self.tokens();
        let part = |all: &[f32]| {
            let token = all.len() / held.max(1);
            all[first * token..(first + tokens) * token].to_vec()
        };
        self.layers.iter().map(|(keys, values)| (part(keys), part(values))).collect()
    }
}

/// What the rotation of a text of so many tokens depends on besides positions: only texts of one reach are computed together.
pub(super) fn reach(decoder: &Decoder, tokens: usize) -> Vec<usize> {
    decoder.model().ropes.iter().map(|rope| rope.reach(tokens)).collect()
}

/// Takes keys and values (B, T, K, D) of one layer of new tokens into the rows' caches; what those with q (B, T, H, D) attend to.
pub(super) fn attend(
    decoder: &Decoder,
    batch: &Batch,
    caches: &mut [RowCache],
    layer: usize,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
) -> Result<Tensor> {
    let sight = decoder.model().blocks[layer].attention.sight;
    #[cfg(feature = "cuda")]
    if decoder.device().is_cuda() {
        gpu::fill(decoder, batch, caches, layer, k, v)?;
        return causal_attention(q, k, v, sight, Some(&Spans::from_lengths(&batch.lengths, batch.width)?));
    }
    let token = decoder.config().num_key_value_heads * decoder.config().head_dim;
    let (keys, values) = (flat(k)?, flat(v)?);
    for (row, cache) in caches.iter_mut().enumerate() {
        let start = row * batch.width * token;
        let part = start..start + batch.lengths[row] * token;
        cache.layers[layer].0.extend_from_slice(&keys[part.clone()]);
        cache.layers[layer].1.extend_from_slice(&values[part]);
    }
    let rows = caches.iter().map(|cache| &cache.layers[layer]).map(|(keys, values)| CachedRow { keys, values });
    onward_attention(q, &rows.collect::<Vec<_>>(), &batch.lengths, decoder.config().num_key_value_heads, sight)
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
            let read = read_on(decoder, &[&text], std::slice::from_mut(&mut **cache), &mut || Flow::Continue)?;
            fresh.push(read.expect("the listener never stops it")); // (1, V)
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
    let ctx = decoder.context(Pass::Eval);
    let x = decoder.model().embed(ids, ids.len(), 1, ctx)?.detach(); // (B, 1, C)
    #[cfg(feature = "cuda")]
    let logits = if decoder.device().is_cuda() {
        gpu::extend(decoder, &x, caches, ctx)?
    } else {
        step(decoder, x, caches, ctx)?
    };
    #[cfg(not(feature = "cuda"))]
    let logits = step(decoder, x, caches, ctx)?;
    for (cache, id) in caches.iter_mut().zip(ids) {
        cache.ids.push(*id);
    }
    Ok(logits)
}

/// The blocks and the output layer over one embedded token of each row, x (B, 1, C).
fn step(decoder: &Decoder, mut x: Tensor, caches: &mut [&mut RowCache], ctx: Context) -> Result<Tensor> {
    let model = decoder.model();
    let lengths: Vec<usize> = caches.iter().map(|c| c.tokens() + 1).collect();
    let angles = Angles::of_last(&model.ropes, &lengths)?;
    for (layer, block) in model.blocks.iter().enumerate() {
        let mut kept: Vec<Kept<'_>> = caches.iter_mut().map(|c| kept(&mut c.layers[layer])).collect();
        x = block.step(&x, &angles, &mut kept, ctx)?.detach();
    }
    let x = model.norm.forward(&x, ctx)?.detach().reshape((lengths.len(), decoder.config().hidden_size))?; // (B, C)
    decoder.project(&x)
}

fn kept((keys, values): &mut (Vec<f32>, Vec<f32>)) -> Kept<'_> {
    (keys, values)
}

/// Rotated queries (B, T, H, D) and keys, and values (B, T, K, D), of x (B, T, C).
pub(super) fn projected(block: &Block, x: &Tensor, angles: &Angles, ctx: Context) -> Result<(Tensor, Tensor, Tensor)> {
    let rotation = angles.of(block.kind);
    let (q, k, v) = block.project(x, ctx)?;
    Ok((Rotation::turned(rotation, &q)?, Rotation::turned(rotation, &k)?, v))
}

fn flat(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
