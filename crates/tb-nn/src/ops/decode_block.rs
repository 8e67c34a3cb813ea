//! The attention half of a block for one new token per row, from keys and values that are kept: `attention_block` without what a backward
//! pass needs. No gradient.

#[cfg(feature = "cuda")]
mod gpu;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::ops::attention_block::{AttentionBlock, Parts};
use crate::ops::decode_attention::{CachedRow, attended};
use crate::ops::rms_norm::normed;
use crate::ops::rope::Turn;
use crate::ops::slices::{added, cpu, floats, tensor_like};

#[cfg(feature = "cuda")]
pub(crate) use gpu::decode_block_on_gpu;

/// Keys and values (tokens, K, D) of a row, which the new token's are added to.
pub type Kept<'a> = (&'a mut Vec<f32>, &'a mut Vec<f32>);

/// y = x + after(o(attention(q(n), k(n), v(n)))) with n = before(x); x (B, 1, C), one cache per row. The block has no spans.
pub fn decode_block(x: &Tensor, block: &AttentionBlock, cache: &mut [Kept]) -> Result<Tensor> {
    const OP: &str = "decode_block";
    let rows = check_rows(OP, x, cache.len())?;
    let (parts, flat) = Parts::new(OP, x, block)?;
    let flat = flat.as_ref().map(Tensor::storage_and_layout);
    let flat = flat.as_ref().map(|(guard, layout)| floats(cpu(guard)?, layout)).transpose()?.unwrap_or_default();

    let (guard, layout) = x.storage_and_layout();
    let values = floats(cpu(&guard)?, layout)?;
    let ([mut q, mut k, v], _) = parts.inputs.forward(&normed(parts.before.as_ref(), &values)?, &flat)?;
    if let Some([of_q, of_k]) = &parts.query_key {
        q = of_q.forward(&q)?;
        k = of_k.forward(&k)?;
    }
    let (heads, kv_heads, size) = (block.heads, block.kv_heads, block.size);
    if let Some(rotation) = &parts.rotation {
        rotation.turn(&mut q, [rows, 1, heads, size], Turn::Forward)?;
        rotation.turn(&mut k, [rows, 1, kv_heads, size], Turn::Forward)?;
    }
    let held = extended(cache, &k, &v, kv_heads * size);
    let attended = attended(&q, &held, (heads, kv_heads, size), block.sight)?;
    let y = match &parts.after {
        None => parts.output.forward(&attended, Some(&values), &flat)?.0,
        Some(after) => {
            let result = parts.output.forward(&attended, None, &flat)?.0;
            added(after.forward(&result)?, &values)
        }
    };
    Ok(tensor_like(y, x)?)
}

/// The rows of x (B, 1, C), which must be as many as there are caches.
fn check_rows(op: &'static str, x: &Tensor, caches: usize) -> Result<usize> {
    match x.dims() {
        &[rows, 1, _] if rows == caches => Ok(rows),
        &[rows, 1, _] => Err(Error::value(op, format!("{rows} rows need {rows} caches, got {caches}"))),
        dims => Err(Error::shape(op, "x", "(B, 1, C)", dims)),
    }
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
