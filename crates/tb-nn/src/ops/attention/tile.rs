//! One head of a tile of queries against all keys that they see: the online softmax of the forward pass.
//!
//! What a tile computes depends on the places of its queries in their run, on the window and on the values alone, not on which tiles
//! are computed beside it: a text that is read on from a multiple of [`QUERIES`] has the bits of one that is read as a whole.

use std::ops::Range;

use super::Sight;
use crate::ops::lanes::{exp, exp_and_sum, max, soft_cap, vectorized};
use crate::ops::matmul::{Mat, ONE, Old, product, product_into};

/// Queries per tile.
pub(crate) const QUERIES: usize = 64;
/// Keys per tile.
pub(super) const KEYS: usize = 256;

/// Queries of one head, one behind the other, and the run that they are a part of.
pub(super) struct Tile<'a> {
    /// Places of the queries in their run, at most [`QUERIES`].
    pub(super) queries: Range<usize>,
    /// The first query's values, and those behind it.
    pub(super) q: &'a [f32],
    /// From one query to the next, in q and in the result.
    pub(super) q_row: usize,
    /// The head's keys, from the run's first token on.
    pub(super) k: &'a [f32],
    /// The head's values, likewise.
    pub(super) v: &'a [f32],
    /// From one token to the next, in k and v.
    pub(super) k_row: usize,
    /// Values of a head.
    pub(super) size: usize,
    pub(super) sight: Sight,
}

vectorized! {
    /// Turns scores into e^(score - top) over the keys that are seen and 0 elsewhere; returns (new top, sum).
    fn online_softmax(row: &mut [f32], seen: Range<usize>, top: f32) -> (f32, f32) {
        row[..seen.start].fill(0.0);
        row[seen.end..].fill(0.0);
        let live = &mut row[seen];
        let highest = max(live);
        let top = if highest > top { highest } else { top };
        let sum = exp_and_sum(live, top);
        (top, sum)
    }
}

vectorized! {
    fn scale_row(row: &mut [f32], by: f32) {
        for v in row.iter_mut() {
            *v *= by;
        }
    }
}

impl Tile<'_> {
    /// Writes each query's result, rows of `q_row` from `out` on; returns the log-sum-exp of each row of scores. `scores` has room for
    /// [`QUERIES`] x [`KEYS`].
    ///
    /// # Safety
    /// The head's part of each query's row can be written at `out`, and nobody else does so.
    pub(super) unsafe fn attend(&self, scores: &mut [f32], out: *mut f32) -> [f32; QUERIES] {
        let Self { q_row, k_row, size, sight, .. } = *self;
        let (first, end) = (self.queries.start, self.queries.end);
        let n = end - first;
        // SAFETY: the caller's promise.
        let of_query = |i: usize| unsafe { std::slice::from_raw_parts_mut(out.add(i * q_row), size) };
        let (mut tops, mut sums) = ([f32::NEG_INFINITY; QUERIES], [0f32; QUERIES]);
        let start = sight.first(first);
        for key in (start..end).step_by(KEYS) {
            let key_end = (key + KEYS).min(end);
            let m = key_end - key;
            let scores = &mut scores[..n * m];
            let queries = Mat { data: self.q, row: q_row, col: 1 };
            let keys = Mat { data: &self.k[key * k_row..], row: k_row, col: 1 }.turned();
            product((n, m, size), scores, Old::Drop, queries, keys, sight.scale, ONE);
            for (i, row) in scores.chunks_exact_mut(m).enumerate() {
                let seen = sight.seen(first + i, key, key_end);
                if let Some(cap) = sight.soft_cap {
                    soft_cap(&mut row[seen.clone()], cap);
                }
                let (top, sum) = online_softmax(row, seen, tops[i]);
                // A window may leave nothing to see in the first tiles: then there is nothing to correct.
                if tops[i] > f32::NEG_INFINITY {
                    let correction = exp(tops[i] - top);
                    sums[i] *= correction;
                    scale_row(of_query(i), correction);
                }
                sums[i] += sum;
                tops[i] = top;
            }
            let values = Mat { data: &self.v[key * k_row..], row: k_row, col: 1 };
            let old = if key == start { Old::Drop } else { Old::Add };
            // SAFETY: n rows of stride q_row from `out`, by the caller's promise.
            unsafe { product_into((n, size, m), out, q_row, old, Mat::rows(scores, m), values, 1.0, ONE) };
        }
        let mut log_sums = [0f32; QUERIES];
        for i in 0..n {
            scale_row(of_query(i), 1.0 / sums[i]);
            log_sums[i] = tops[i] + sums[i].ln();
        }
        log_sums
    }
}
