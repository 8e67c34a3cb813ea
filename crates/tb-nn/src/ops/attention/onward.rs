//! Attention of tokens that follow others whose keys and values are held: a prompt that is read on from where it was left. No gradient.

use candle_core::Tensor;
use rayon::prelude::*;

use super::Sight;
use super::tile::{KEYS, QUERIES, Tile};
use crate::error::{Error, Result};
use crate::ops::decode_attention::CachedRow;
use crate::ops::slices::{SharedOut, read, tensor_like};
use crate::profile;

/// softmax(cap(scale q k') + mask) v for the last tokens of each row: `news[r]` of them, whose q is q[r, ..news[r]] of q (B, T, H, D), and
/// whose keys and values are the last of row r with `kv_heads` heads. What is before them is a multiple of [`QUERIES`] tokens. The result
/// has q's shape and dtype, 0 behind a row's tokens, and the bits of `causal_attention` of the whole rows.
pub fn onward_attention(
    q: &Tensor,
    rows: &[CachedRow<'_>],
    news: &[usize],
    kv_heads: usize,
    sight: Sight,
) -> Result<Tensor> {
    const OP: &str = "onward_attention";
    let _span = profile::span("attention");
    sight.check(OP)?;
    let &[b, t, heads, size] = q.dims() else {
        return Err(Error::shape(OP, "q", "(B, T, H, D)", q.dims()));
    };
    if kv_heads == 0 || heads % kv_heads != 0 {
        return Err(Error::value(OP, format!("{kv_heads} key/value heads do not divide {heads} heads")));
    }
    if rows.len() != b || news.len() != b {
        return Err(Error::value(OP, format!("{b} rows need as many caches, got {}", rows.len())));
    }
    let (q_row, k_row) = (heads * size, kv_heads * size);
    let mut tiles = Vec::new();
    for (row, (held, new)) in rows.iter().zip(news).enumerate() {
        let all = held.keys.len() / k_row.max(1);
        if held.keys.len() != held.values.len() || *new > t || *new > all || (all - new) % QUERIES != 0 {
            let what =
                format!("row {row} holds {all} tokens, of which {new} are new: not a multiple of {QUERIES} before");
            return Err(Error::value(OP, what));
        }
        let before = all - new;
        tiles.extend((before..all).step_by(QUERIES).map(|first| (row, before, first..(first + QUERIES).min(all))));
    }
    // Those that see most keys first, so that the threads finish together.
    tiles.sort_by_key(|(_, _, queries)| std::cmp::Reverse(queries.start));
    read!(q_values = q);
    let mut out = vec![0f32; b * t * q_row];
    let shared = SharedOut::new(&mut out);
    (0..tiles.len() * heads).into_par_iter().for_each_init(
        || vec![0f32; QUERIES * KEYS],
        |scores, task| {
            let ((row, before, queries), h) = (&tiles[task / heads], task % heads);
            let (q_at, own) = ((row * t + queries.start - before) * q_row + h * size, h / (heads / kv_heads) * size);
            let (k, v) = (&rows[*row].keys[own..], &rows[*row].values[own..]);
            let tile = Tile { queries: queries.clone(), q: &q_values[q_at..], q_row, k, v, k_row, size, sight };
            // SAFETY: this task alone writes head h of these tokens.
            unsafe { tile.attend(scores, shared.at(q_at)) };
        },
    );
    Ok(tensor_like(out, q)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::attention::{Spans, causal_attention};
    use crate::ops::gradient_check::noise;
    use candle_core::IndexOp;

    #[test]
    fn a_text_that_is_read_on_has_the_bits_of_the_whole() -> Result<()> {
        let (t, heads, kv, size) = (333, 4, 2, 6);
        let (q, k, v) = (noise(&[2, t, heads, size], 1)?, noise(&[2, t, kv, size], 2)?, noise(&[2, t, kv, size], 3)?);
        let lengths = [t, 200];
        for (window, soft_cap) in [(None, None), (Some(70), None), (Some(300), Some(0.5))] {
            let sight = Sight { scale: 0.7, window, soft_cap };
            let whole = causal_attention(&q, &k, &v, sight, Some(&Spans::from_lengths(&lengths, t)?))?;
            let flat = |x: &Tensor, r: usize| -> Result<Vec<f32>> {
                Ok(x.i((r, ..lengths[r]))?.contiguous()?.flatten_all()?.to_vec1()?)
            };
            let held = [(flat(&k, 0)?, flat(&v, 0)?), (flat(&k, 1)?, flat(&v, 1)?)];
            let rows: Vec<_> = held.iter().map(|(k, v)| CachedRow { keys: k, values: v }).collect();
            for before in [[0, 0], [64, 192], [320, 128]] {
                let news = [lengths[0] - before[0], lengths[1] - before[1]];
                let width = news[0].max(news[1]);
                let own = |r: usize| -> Result<Tensor> {
                    let own = q.i((r..r + 1, before[r]..lengths[r]))?;
                    Ok(own.pad_with_zeros(1, 0, width - news[r])?)
                };
                let got = onward_attention(&Tensor::cat(&[own(0)?, own(1)?], 0)?, &rows, &news, kv, sight)?;
                for r in 0..2 {
                    let (got, whole) = (got.i((r, ..news[r]))?, whole.i((r, before[r]..lengths[r]))?);
                    let bits = |x: Tensor| -> Result<Vec<u32>> {
                        Ok(x.contiguous()?.flatten_all()?.to_vec1::<f32>()?.iter().map(|v| v.to_bits()).collect())
                    };
                    assert_eq!(bits(got)?, bits(whole)?, "{window:?} {before:?}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_row_that_was_left_elsewhere_is_refused() -> Result<()> {
        let q = noise(&[1, 3, 2, 4], 1)?;
        let held = vec![0f32; 10 * 4];
        let row = CachedRow { keys: &held, values: &held };
        assert!(matches!(onward_attention(&q, &[row], &[3], 1, Sight::scaled(1.0)), Err(Error::Value { .. })));
        Ok(())
    }
}
