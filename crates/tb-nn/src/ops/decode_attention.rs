//! Attention of one new token per row against that row's cached keys and values. No gradient.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::attention::Sight;
use crate::ops::lanes::{dot, exp_and_sum, max, soft_cap, vectorized};
use crate::ops::slices::{read, tensor_like};

/// What one row has seen so far, the new token included.
#[derive(Clone, Copy, Debug)]
pub struct CachedRow<'a> {
    /// Keys (tokens, K, D), contiguous.
    pub keys: &'a [f32],
    /// Values (tokens, K, D), contiguous.
    pub values: &'a [f32],
}

/// softmax(cap(scale q keys')) values for each row, over the last tokens that its window holds; q (B, 1, H, D), one cache
/// per row with `kv_heads` heads; the result has q's shape and dtype. A row's cache holds at least its new token.
pub fn decode_attention(q: &Tensor, cache: &[CachedRow], kv_heads: usize, sight: Sight) -> Result<Tensor> {
    const OP: &str = "decode_attention";
    sight.check(OP)?;
    let &[rows, 1, heads, size] = q.dims() else {
        return Err(Error::shape(OP, "q", "(B, 1, H, D)", q.dims()));
    };
    if kv_heads == 0 || heads % kv_heads != 0 {
        return Err(Error::value(OP, format!("{kv_heads} key/value heads do not divide {heads} heads")));
    }
    if cache.len() != rows {
        return Err(Error::value(OP, format!("{rows} rows need {rows} caches, got {}", cache.len())));
    }
    let width = kv_heads * size;
    if let Some(c) =
        cache.iter().find(|c| c.keys.len() != c.values.len() || c.keys.is_empty() || c.keys.len() % width != 0)
    {
        let (k, v) = (c.keys.len(), c.values.len());
        return Err(Error::value(OP, format!("a cache must hold whole tokens of {width} values, got {k} and {v}")));
    }
    read!(q_values = q);
    let mut out = vec![0f32; q_values.len()];
    out.par_chunks_mut(size).zip(q_values.par_chunks(size)).enumerate().for_each_init(Vec::new, |p, (task, (o, q))| {
        let (row, head) = (task / heads, task % heads);
        let CachedRow { keys, values } = cache[row];
        let unseen = sight.first(keys.len() / width - 1) * width;
        let seen = CachedRow { keys: &keys[unseen..], values: &values[unseen..] };
        attend(o, q, &seen, head / (heads / kv_heads) * size, width, sight, p);
    });
    Ok(tensor_like(out, q)?)
}

vectorized! {
    fn attend(out: &mut [f32], q: &[f32], cache: &CachedRow, at: usize, width: usize, sight: Sight, p: &mut Vec<f32>) {
        p.clear();
        p.extend(cache.keys.chunks_exact(width).map(|k| dot(q, &k[at..at + q.len()]) * sight.scale));
        if let Some(cap) = sight.soft_cap {
            soft_cap(p, cap);
        }
        let top = max(p);
        let sum = exp_and_sum(p, top);
        for (p, v) in p.iter().zip(cache.values.chunks_exact(width)) {
            for (o, v) in out.iter_mut().zip(&v[at..]) {
                *o += p * v;
            }
        }
        let scale = 1.0 / sum;
        for o in out.iter_mut() {
            *o *= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::attention::causal_attention;
    use crate::ops::gradient_check::{assert_close, noise};
    use candle_core::IndexOp;

    #[test]
    fn equals_the_last_row_of_full_attention_at_each_length() -> Result<()> {
        let (t, h, k, d) = (9, 6, 2, 5);
        let (q, key, v) = (noise(&[2, t, h, d], 1)?, noise(&[2, t, k, d], 2)?, noise(&[2, t, k, d], 3)?);
        for (window, soft_cap) in [(None, None), (Some(3), None), (Some(1), Some(0.5)), (Some(20), Some(2.0))] {
            let sight = Sight { scale: 0.4, window, soft_cap };
            let full = causal_attention(&q, &key, &v, sight, None)?;
            let lengths = [t, 4];
            let flat = |x: &Tensor, b: usize| -> Result<Vec<f32>> {
                Ok(x.i((b, ..lengths[b]))?.contiguous()?.flatten_all()?.to_vec1()?)
            };
            let held = [(flat(&key, 0)?, flat(&v, 0)?), (flat(&key, 1)?, flat(&v, 1)?)];
            let cache: Vec<_> = held.iter().map(|(k, v)| CachedRow { keys: k, values: v }).collect();
            let pick =
                |x: &Tensor| -> Result<Tensor> { Ok(Tensor::cat(&[x.i((0..1, t - 1..t))?, x.i((1..2, 3..4))?], 0)?) };
            assert_close(&decode_attention(&pick(&q)?, &cache, k, sight)?, &pick(&full)?, 1e-6);
        }
        Ok(())
    }

    #[test]
    fn a_ragged_cache_is_refused() -> Result<()> {
        let q = noise(&[1, 1, 2, 3], 1)?;
        let cache = [CachedRow { keys: &[0.0; 4], values: &[0.0; 4] }];
        assert!(matches!(decode_attention(&q, &cache, 1, Sight::scaled(1.0)), Err(Error::Value { .. })));
        Ok(())
    }
}
