//! Attention of one new token per row against that row's cached keys and values. No gradient.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::attention::Sight;
use crate::ops::lanes::{dot, exp_and_sum, max, soft_cap, vectorized};
use crate::ops::matmul::has_vectors;
use crate::ops::slices::{read, tensor_like};

/// What one row has seen so far, the new token included.
#[derive(Clone, Copy, Debug)]
pub struct CachedRow<'a> {
    /// Keys (tokens, K, D), contiguous.
    pub keys: &'a [f32],
    /// Values (tokens, K, D), contiguous.
    pub values: &'a [f32],
}

/// Products below which a task is not worth a thread of its own.
const TASK: usize = 1 << 15;

/// softmax(cap(scale q keys')) values for each row, over the last tokens that its window holds; q (B, 1, H, D), one cache
/// per row with `kv_heads` heads; the result has q's shape and dtype. A row's cache holds at least its new token.
pub fn decode_attention(q: &Tensor, cache: &[CachedRow], kv_heads: usize, sight: Sight) -> Result<Tensor> {
    const OP: &str = "decode_attention";
    let &[rows, 1, heads, size] = q.dims() else {
        return Err(Error::shape(OP, "q", "(B, 1, H, D)", q.dims()));
    };
    if cache.len() != rows {
        return Err(Error::value(OP, format!("{rows} rows need {rows} caches, got {}", cache.len())));
    }
    read!(q_values = q);
    Ok(tensor_like(attended(&q_values, cache, (heads, kv_heads, size), sight)?, q)?)
}

/// As [`decode_attention`], of q (B, H, D) on slices; `dims` are (H, K, D).
pub(crate) fn attended(
    q: &[f32],
    cache: &[CachedRow],
    (heads, kv_heads, size): (usize, usize, usize),
    sight: Sight,
) -> Result<Vec<f32>> {
    const OP: &str = "decode_attention";
    sight.check(OP)?;
    if kv_heads == 0 || heads % kv_heads != 0 {
        return Err(Error::value(OP, format!("{kv_heads} key/value heads do not divide {heads} heads")));
    }
    let width = kv_heads * size;
    if let Some(c) =
        cache.iter().find(|c| c.keys.len() != c.values.len() || c.keys.is_empty() || c.keys.len() % width != 0)
    {
        let (k, v) = (c.keys.len(), c.values.len());
        return Err(Error::value(OP, format!("a cache must hold whole tokens of {width} values, got {k} and {v}")));
    }
    let longest = cache.iter().map(|c| c.keys.len() / kv_heads).max().unwrap_or(1);
    let mut out = vec![0f32; q.len()];
    let tasks = out.par_chunks_mut(size).zip(q.par_chunks(size)).enumerate().with_min_len(TASK.div_ceil(longest));
    tasks.for_each_init(Vec::new, |p, (task, (o, q))| {
        let (row, head) = (task / heads, task % heads);
        let CachedRow { keys, values } = cache[row];
        let unseen = sight.first(keys.len() / width - 1) * width;
        let seen = CachedRow { keys: &keys[unseen..], values: &values[unseen..] };
        attend(o, q, &seen, head / (heads / kv_heads) * size, width, sight, p);
    });
    Ok(out)
}

/// One head of one row: keys and values are those that it sees, its own from value `at` of a token on.
fn attend(out: &mut [f32], q: &[f32], cache: &CachedRow, at: usize, width: usize, sight: Sight, p: &mut Vec<f32>) {
    let tokens = cache.keys.len() / width;
    let own = |all| Head { all, at, width, tokens };
    p.clear();
    p.resize(tokens, 0.0);
    if has_vectors() {
        // SAFETY: the vectors are available.
        unsafe { instructions::scores(p, q, own(cache.keys), sight.scale) };
    } else {
        scores(p, q, own(cache.keys), sight.scale);
    }
    if let Some(cap) = sight.soft_cap {
        soft_cap(p, cap);
    }
    let scale = 1.0 / softmax_sum(p);
    if has_vectors() {
        // SAFETY: as above.
        unsafe { instructions::weighted(out, p, own(cache.values), scale) };
    } else {
        weighted(out, p, own(cache.values), scale);
    }
}

/// One head's values of each token.
#[derive(Clone, Copy)]
struct Head<'a> {
    all: &'a [f32],
    at: usize,
    width: usize,
    tokens: usize,
}

impl<'a> Head<'a> {
    fn token(self, token: usize, size: usize) -> &'a [f32] {
        &self.all[token * self.width + self.at..][..size]
    }
}

vectorized! {
    /// e^(p - max p) in p's place, and their sum.
    fn softmax_sum(p: &mut [f32]) -> f32 {
        let top = max(p);
        exp_and_sum(p, top)
    }
}

vectorized! {
    fn scores(p: &mut [f32], q: &[f32], keys: Head, scale: f32) {
        for (token, p) in p.iter_mut().enumerate() {
            *p = dot(q, keys.token(token, q.len())) * scale;
        }
    }
}

vectorized! {
    fn weighted(out: &mut [f32], p: &[f32], values: Head, scale: f32) {
        let size = out.len();
        for (token, p) in p.iter().enumerate() {
            for (o, v) in out.iter_mut().zip(values.token(token, size)) {
                *o += p * v;
            }
        }
        for o in out.iter_mut() {
            *o *= scale;
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod instructions {
    use super::Head;

    pub(super) unsafe fn scores(_: &mut [f32], _: &[f32], _: Head, _: f32) {
        unreachable!("only where it is available")
    }

    pub(super) unsafe fn weighted(_: &mut [f32], _: &[f32], _: Head, _: f32) {
        unreachable!("only where it is available")
    }
}

#[cfg(target_arch = "x86_64")]
mod instructions {
    use std::arch::x86_64::*;

    use super::Head;
    use crate::ops::matmul::lane_mask;

    const LANES: usize = 16;
    /// Tokens, or vectors of a head, that are taken together so that sums do not wait for each other.
    const TOGETHER: usize = 4;

    /// p = scale q keys'.
    ///
    /// # Safety
    /// The processor has AVX-512 (F, BW, VL).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn scores(p: &mut [f32], q: &[f32], keys: Head, scale: f32) {
        let (size, last) = (q.len(), keys.tokens.saturating_sub(1));
        for (four, p) in p.chunks_mut(TOGETHER).enumerate() {
            // Beyond the last token it is taken again, and not kept.
            let rows: [&[f32]; TOGETHER] = std::array::from_fn(|k| keys.token((four * TOGETHER + k).min(last), size));
            let mut sums = [_mm512_setzero_ps(); TOGETHER];
            for at in (0..size).step_by(LANES) {
                let mask = lane_mask(size - at);
                // SAFETY: the mask ends with the head.
                unsafe {
                    let q = _mm512_maskz_loadu_ps(mask, q.as_ptr().add(at));
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        *sum = _mm512_fmadd_ps(q, _mm512_maskz_loadu_ps(mask, row.as_ptr().add(at)), *sum);
                    }
                }
            }
            for (p, sum) in p.iter_mut().zip(sums) {
                *p = _mm512_reduce_add_ps(sum) * scale;
            }
        }
    }

    /// out = scale p values.
    ///
    /// # Safety
    /// As [`scores`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn weighted(out: &mut [f32], p: &[f32], values: Head, scale: f32) {
        let size = out.len();
        for first in (0..size).step_by(TOGETHER * LANES) {
            let masks: [u16; TOGETHER] = std::array::from_fn(|k| lane_mask(size.saturating_sub(first + k * LANES)));
            let mut sums = [_mm512_setzero_ps(); TOGETHER];
            for (token, p) in p.iter().enumerate() {
                let (p, row) = (_mm512_set1_ps(*p), values.token(token, size));
                for (k, (sum, mask)) in sums.iter_mut().zip(masks).enumerate() {
                    // SAFETY: the mask ends with the head; behind it nothing is read.
                    let v = unsafe { _mm512_maskz_loadu_ps(mask, row.as_ptr().wrapping_add(first + k * LANES)) };
                    *sum = _mm512_fmadd_ps(p, v, *sum);
                }
            }
            for (k, (sum, mask)) in sums.into_iter().zip(masks).enumerate() {
                // SAFETY: as above.
                unsafe {
                    let at = out.as_mut_ptr().wrapping_add(first + k * LANES);
                    _mm512_mask_storeu_ps(at, mask, _mm512_mul_ps(sum, _mm512_set1_ps(scale)));
                }
            }
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
    fn vectors_and_plain_code_agree() {
        if !has_vectors() {
            return;
        }
        let number = |k: usize| (k * 7919 % 331) as f32 / 331.0 - 0.5;
        for (size, tokens) in [(1, 1), (16, 3), (64, 9), (100, 6), (130, 4)] {
            let width = 2 * size + 3;
            let all: Vec<f32> = (0..tokens * width).map(number).collect();
            let q: Vec<f32> = (5..5 + size).map(number).collect();
            let head = Head { all: &all, at: size, width, tokens };
            let (mut a, mut b) = (vec![0f32; tokens], vec![0f32; tokens]);
            let (mut x, mut y) = (vec![0f32; size], vec![0f32; size]);
            // SAFETY: the vectors are available.
            unsafe {
                instructions::scores(&mut a, &q, head, 0.3);
                instructions::weighted(&mut x, &a, head, 0.7);
            }
            scores(&mut b, &q, head, 0.3);
            weighted(&mut y, &b, head, 0.7);
            assert!(a.iter().zip(&b).chain(x.iter().zip(&y)).all(|(a, b)| (a - b).abs() < 1e-5), "{size} {tokens}");
        }
    }

    #[test]
    fn a_ragged_cache_is_refused() -> Result<()> {
        let q = noise(&[1, 1, 2, 3], 1)?;
        let cache = [CachedRow { keys: &[0.0; 4], values: &[0.0; 4] }];
        assert!(matches!(decode_attention(&q, &cache, 1, Sight::scaled(1.0)), Err(Error::Value { .. })));
        Ok(())
    }
}
