//! The attention half of a block for one new token per row on a GPU: the pass of `decode_block.rs`, on device memory.

use candle_core::Tensor;

use super::check_rows;
use crate::error::Result;
use crate::ops::attention_block::{AttentionBlock, Parts};
use crate::ops::gpu::{Adapters, CachedRows, Gpu, Values, View, finished, normed, read_gpu};
use crate::ops::rope::Turn;

/// As [`super::decode_block`], with the rows' caches of this layer on a GPU.
pub(crate) fn decode_block_on_gpu(
    x: &Tensor,
    block: &AttentionBlock,
    (caches, layer): (&CachedRows, usize),
) -> Result<Tensor> {
    const OP: &str = "decode_block";
    let rows = check_rows(OP, x, caches.rows())?;
    let (parts, flat) = Parts::new(OP, x, block)?;
    let gpu = Gpu::of_tensor(x)?;
    let flat = flat.as_ref().map(Tensor::storage_and_layout);
    let flat = flat.as_ref().map(|(guard, layout)| View::of_storage(gpu, guard, layout)).transpose()?;
    let flat = Adapters::new(gpu, flat, x.dtype())?;
    read_gpu!(gpu, xs = x);
    let before = normed(gpu, parts.before.as_ref(), xs)?;
    let ([mut q, mut k, v], _) = parts.inputs.gpu_forward(gpu, before.as_ref().map_or(xs, Values::view), &flat)?;
    drop(before);
    if let Some([of_q, of_k]) = &parts.query_key {
        q = of_q.gpu_forward(gpu, q.view())?;
        k = of_k.gpu_forward(gpu, k.view())?;
    }
    let (heads, kv_heads, size) = (block.heads, block.kv_heads, block.size);
    if let Some(rotation) = &parts.rotation {
        rotation.gpu_turn(gpu, &mut q, [rows, 1, heads, size], Turn::Forward)?;
        rotation.gpu_turn(gpu, &mut k, [rows, 1, kv_heads, size], Turn::Forward)?;
    }
    let of = (q.view(), k.view(), v.view());
    let attended = gpu.decode_attention(caches, layer, of, (heads, kv_heads, size), block.sight)?;
    let (_, y, _) = finished(gpu, &parts.output, parts.after.as_ref(), (attended.view(), xs), &flat)?;
    Ok(y.into_tensor(x.shape()))
}
