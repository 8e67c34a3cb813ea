//! The attention half of a block for one new token per row, from keys and values that are kept: `attention_block` without what a backward
//! pass needs. No gradient.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::ops::attention_block::AttentionBlock;
use crate::ops::decode_attention::{CachedRow, attended};
use crate::ops::inputs::{Named, half};
use crate::ops::rms_norm::{FrozenNorm, NormLayer, normed};
use crate::ops::rope::{Rotation, Turn};
use crate::ops::slices::{added, cpu, floats, tensor_like};

/// Keys and values (tokens, K, D) of a row, which the new token's are added to.
pub type Kept<'a> = (&'a mut Vec<f32>, &'a mut Vec<f32>);

/// y = x + after(o(attention(q(n), k(n), v(n)))) with n = before(x); x (B, 1, C), one cache per row. The block has no spans.
pub fn decode_block(x: &Tensor, block: &AttentionBlock, cache: &mut [Kept]) -> Result<Tensor> {
    const OP: &str = "decode_block";
    let &[rows, 1, c] = x.dims() else {
        return Err(Error::shape(OP, "x", "(B, 1, C)", x.dims()));
    };
    if cache.len() != rows {
        return Err(Error::value(OP, format!("{rows} rows need {rows} caches, got {}", cache.len())));
    }
    let (heads, kv_heads, size) = (block.heads, block.kv_heads, block.size);
    let (wide, narrow) = (heads * size, kv_heads * size);
    let named = Named { names: ["q", "k", "v"], joined: "qkv", widths: [wide, narrow, narrow], inputs: c };
    let (inputs, output, flat) = half(OP, (1, x.dtype()), &block.inputs, &named, ("o", &block.output, (c, wide)))?;
    let flat = flat.as_ref().map(Tensor::storage_and_layout);
    let flat = flat.as_ref().map(|(guard, layout)| floats(cpu(guard)?, layout)).transpose()?.unwrap_or_default();
    let norm = |name: &'static str, norm: &FrozenNorm, width: usize| NormLayer::new(OP, name, norm, width);
    let of_heads = |name: &'static str, weight: &FrozenNorm, all: usize| {
        norm(name, weight, if weight.weight.dims() == [all] { all } else { size })
    };

    let (guard, layout) = x.storage_and_layout();
    let values = floats(cpu(&guard)?, layout)?;
    let before = block.before.as_ref().map(|n| norm("before", n, c)).transpose()?;
    let ([mut q, mut k, v], _) = inputs.forward(&normed(before.as_ref(), &values)?, &flat)?;
    if let Some([of_q, of_k]) = &block.query_key {
        q = of_heads("q_norm", of_q, wide)?.forward(&q)?;
        k = of_heads("k_norm", of_k, narrow)?.forward(&k)?;
    }
    if let Some(r) = block.rotation {
        let rotation = Rotation::new(r.cos, r.sin, r.positions, [rows, 1, heads, size])?;
        rotation.turn(&mut q, [rows, 1, heads, size], Turn::Forward)?;
        rotation.turn(&mut k, [rows, 1, kv_heads, size], Turn::Forward)?;
    }
    let held = extended(cache, &k, &v, narrow);
    let attended = attended(&q, &held, (heads, kv_heads, size), block.sight)?;
    let y = match &block.after {
        None => output.forward(&attended, Some(&values), &flat)?.0,
        Some(after) => {
            let result = output.forward(&attended, None, &flat)?.0;
            added(norm("after", after, c)?.forward(&result)?, &values)
        }
    };
    Ok(tensor_like(y, x)?)
}

/// Adds each row's new key and value, of so many values, to what is kept; all that the row has then.
pub(crate) fn extended<'a>(cache: &'a mut [Kept], k: &[f32], v: &[f32], width: usize) -> Vec<CachedRow<'a>> {
    let new = k.chunks_exact(width).zip(v.chunks_exact(width));
    let grown = cache.iter_mut().zip(new).map(|((keys, values), (k, v))| {
        keys.extend_from_slice(k);
        values.extend_from_slice(v);
        CachedRow { keys, values }
    });
    grown.collect()
}
