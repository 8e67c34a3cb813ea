//! The caches of rows on a GPU: one buffer per row, filled by the prompt, read and made longer by every step.

use candle_core::Tensor;

use super::RowCache;
use crate::decoder::{Batch, Decoder};
use crate::ops::attention::Sight;
use crate::ops::gpu::{Cache, CachedRows, Gpu, read_gpu};
use crate::{Error, Result};

/// Takes keys and values (B, T, K, D) of one layer of the prompts.
pub(super) fn fill(
    decoder: &Decoder,
    batch: &Batch,
    caches: &mut [RowCache],
    layer: usize,
    k: &Tensor,
    v: &Tensor,
) -> Result<()> {
    let (gpu, config) = (Gpu::of_tensor(k)?, decoder.config());
    let width = config.num_key_value_heads * config.head_dim;
    read_gpu!(gpu, k = k);
    read_gpu!(gpu, v = v);
    for (row, (cache, tokens)) in caches.iter_mut().zip(&batch.lengths).enumerate() {
        if cache.gpu.is_none() {
            cache.gpu = Some(Cache::new(gpu, (config.num_hidden_layers, width), tokens + 1, decoder.dtype())?);
        }
        let (from, len) = (row * batch.width * width, tokens * width);
        let cache = cache.gpu.as_mut().expect("it was just made");
        cache.fill(gpu, layer, k.part(from, len), v.part(from, len))?;
    }
    Ok(())
}

/// Room for a new token in each row.
pub(super) fn step(decoder: &Decoder, caches: &mut [&mut RowCache]) -> Result<CachedRows> {
    let gpu = Gpu::of_device(decoder.device())?;
    let filled = caches
        .iter_mut()
        .map(|cache| cache.gpu.as_mut().ok_or_else(|| Error::State { what: "a row was not read on this GPU".into() }));
    let filled = filled.collect::<Result<Vec<_>>>()?;
    Ok(gpu.step_caches(filled.into_iter())?)
}

/// Attention of the new tokens' q (B, 1, H, D) to their rows, of which k and v (B, 1, K, D) become a part.
pub(super) fn attend(
    rows: &CachedRows,
    layer: usize,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    sight: Sight,
) -> Result<Tensor> {
    let gpu = Gpu::of_tensor(q)?;
    let ((_, _, heads, size), kv_heads) = (q.dims4()?, k.dim(2)?);
    read_gpu!(gpu, qs = q);
    read_gpu!(gpu, k = k);
    read_gpu!(gpu, v = v);
    Ok(gpu.decode_attention(rows, layer, (qs, k, v), (heads, kv_heads, size), sight)?.into_tensor(q.shape()))
}
