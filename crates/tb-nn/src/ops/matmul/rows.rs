//! y (N, O) [+]= s x (N, I) W' in f32, of which a row has the same bits whatever rows are beside it, as long as these are few
//! ([`MOST_ROWS`] or fewer) or many. What is read in pieces, or beside other texts, is so the same as what is read alone.

use gemm::Parallelism;

use super::few_rows::{self, MOST_ROWS};
use super::{Mat, Old, has_vectors, product, product_into};

/// Where N and O are both this small or smaller, or N O this small, `gemm` adds in an order that depends on them; elsewhere on I alone.
const SMALL: usize = 64;
const SMALL_AREA: usize = 256;

/// As [`product_into`] of x and W', both contiguous, for more than a few rows.
///
/// # Safety
/// `y` is valid for N rows of `stride` values, and initialised where it is added to.
pub(crate) unsafe fn many_rows(
    (n, o, i): (usize, usize, usize),
    (y, stride, old): (*mut f32, usize, Old),
    x: &[f32],
    w: &[f32],
    scale: f32,
    threads: Parallelism,
) {
    let is_small = n * o <= SMALL_AREA || (n <= SMALL && o <= SMALL);
    if !is_small || o == 0 || i == 0 {
        // SAFETY: the caller's promise.
        unsafe { product_into((n, o, i), y, stride, old, Mat::rows(x, i), Mat::transposed(w, i), scale, threads) };
        return;
    }
    let rows = (SMALL + 1).max(SMALL_AREA / o + 1);
    let mut wide = vec![0f32; rows * i];
    wide[..n * i].copy_from_slice(&x[..n * i]);
    let mut all = vec![0f32; rows * o];
    for (row, all) in all.chunks_exact_mut(o).enumerate().take(if old == Old::Add { n } else { 0 }) {
        // SAFETY: it is initialised by the caller's promise.
        all.copy_from_slice(unsafe { std::slice::from_raw_parts(y.add(row * stride), o) });
    }
    product((rows, o, i), &mut all, old, Mat::rows(&wide, i), Mat::transposed(w, i), scale, threads);
    for (row, all) in all.chunks_exact(o).enumerate().take(n) {
        // SAFETY: valid by the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), y.add(row * stride), o) };
    }
}

/// y (N, O) [+]= s x (N, I) W', contiguous, for any number of rows.
pub(crate) fn rows_product(
    (n, o, i): (usize, usize, usize),
    y: &mut [f32],
    old: Old,
    x: &[f32],
    w: &[f32],
    scale: f32,
    threads: Parallelism,
) {
    assert!(y.len() >= n * o && x.len() >= n * i && w.len() >= o * i, "matrix outside its slice");
    if n > MOST_ROWS || i == 0 || !has_vectors() {
        // SAFETY: y has N x O initialised values.
        unsafe { many_rows((n, o, i), (y.as_mut_ptr(), o, old), x, w, scale, threads) };
        return;
    }
    let scaled: Vec<f32>;
    let x = if scale == 1.0 {
        &x[..n * i]
    } else {
        scaled = x[..n * i].iter().map(|v| v * scale).collect();
        &scaled
    };
    // SAFETY: the vectors are available, and y has N x O initialised values.
    unsafe { few_rows::product(x, &w[..o * i], i, (y.as_mut_ptr(), o, old)) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::matmul::{ALL, ONE};

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    /// Sizes of adapters of every rank, of narrow heads, of deep sums, and of what is too small for a path of its own.
    #[test]
    fn a_row_has_the_same_bits_whatever_is_beside_it() {
        let number = |seed: usize| (seed * 7919 % 331) as f32 / 331.0 - 0.5;
        let sizes =
            [(1, 9), (2, 700), (8, 576), (24, 1536), (64, 520), (65, 576), (192, 1100), (576, 1), (576, 2), (300, 8)];
        for (o, i) in sizes {
            let x: Vec<f32> = (0..150 * i).map(number).collect();
            let w: Vec<f32> = (5..5 + o * i).map(number).collect();
            for (old, scale) in [(Old::Drop, 1.0), (Old::Add, 0.3)] {
                let run = |first: usize, n: usize, threads| {
                    let mut y: Vec<f32> = (first * o..(first + n) * o).map(number).collect();
                    rows_product((n, o, i), &mut y, old, &x[first * i..(first + n) * i], &w, scale, threads);
                    bits(&y)
                };
                let many = run(0, 150, ALL);
                for (first, n) in [(0, 17), (0, 32), (3, 33), (64, 64), (64, 65), (86, 64), (100, 50), (133, 17)] {
                    assert_eq!(
                        run(first, n, ALL),
                        many[first * o..(first + n) * o],
                        "{n} rows from {first} of ({o}, {i})"
                    );
                }
                assert_eq!(run(0, 150, ONE), many);
                if has_vectors() {
                    let few = run(0, 16, ALL);
                    for n in 1..16 {
                        assert_eq!(run(0, n, ALL), few[..n * o], "{n} rows of ({o}, {i})");
                    }
                }
            }
        }
    }
}
