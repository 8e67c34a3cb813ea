//! Products with a bf16 weight in bf16: pairs are multiplied and added in f32. The other operand is rounded to bf16 (nearest even), as
//! PyTorch's bf16 products take it; sums stay f32.
//!
//! Two ways, as the processor has it: [`tiles`] by AMX, else [`dot`] by AVX512-BF16. Both compute C (M, L) = A (M, K) B (K, L) and share what is
//! here: the rounded A, and how a piece of the weight is packed as B. A task packs a few vectors of lanes, a piece of K at a time, so that
//! each pair of k lies beside that of the next lane, and runs down the rows of A. What a task does depends on the shape alone, so the result
//! has the same bits on any number of threads.

use half::bf16;

use super::Old;

#[cfg(target_arch = "x86_64")]
mod dot;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod tiles;

/// How a weight (O, I), row-major, lies in the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// y = x W': its rows are the lanes, K is I.
    Rows,
    /// dx = dy W: its columns are the lanes, K is O.
    Columns,
}

/// A bf16 matrix (M, K), filled up with zeros to whole tiles of [`ROWS`] by [`DEPTH`] values, which lie one after another: those of two times
/// [`ROWS`] rows alternately along K, then those of the next rows.
pub(super) struct Rounded {
    values: Vec<bf16>,
    rows: usize,
    /// K, filled up.
    row: usize,
}

/// Rows of a tile.
const ROWS: usize = 16;
/// Values of K in a row of a tile.
const DEPTH: usize = 32;
/// Values of a tile.
const TILE: usize = ROWS * DEPTH;

impl Rounded {
    fn zeros(rows: usize, columns: usize) -> Self {
        let row = columns.next_multiple_of(DEPTH);
        Self { values: vec![bf16::ZERO; rows.next_multiple_of(2 * ROWS) * row], rows, row }
    }

    /// The tiles of the rows from `row`, [`ROWS`] of them, from the value `from` of each: one every 2 [`TILE`]. Both begin a tile.
    #[cfg(target_arch = "x86_64")]
    fn tiles(&self, row: usize, from: usize) -> *const bf16 {
        let pair = row / (2 * ROWS) * (2 * ROWS) * self.row;
        self.values[pair + from * 2 * ROWS + row / ROWS % 2 * TILE..].as_ptr()
    }
}

/// What a product makes of which operands.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Operands<'a> {
    side: Side,
    a: &'a Rounded,
    /// (O, I) with rows of `width` values.
    weight: &'a [bf16],
    width: usize,
    /// L and K.
    lanes: usize,
    k: usize,
    c: super::Place,
    stride: usize,
    old: Old,
}

#[cfg(target_arch = "x86_64")]
mod instructions {
    use std::arch::x86_64::*;

    use rayon::prelude::*;

    use super::super::{Place, has_vectors, lane_mask};
    use super::{DEPTH, Old, Operands, ROWS, Rounded, Side, TILE, bf16, dot, tiles};

    /// Whether this processor multiplies in bf16.
    pub(in super::super) fn available() -> bool {
        is_x86_feature_detected!("avx512bf16") && has_vectors()
    }

    /// Columns `first..first + columns` of the matrix with rows of `width` values, rounded; denormal numbers become 0.
    pub(in super::super) fn rounded(values: &[f32], width: usize, first: usize, columns: usize) -> Rounded {
        let mut rounded = Rounded::zeros(values.len() / width.max(1), columns);
        if columns > 0 {
            let pairs = rounded.values.par_chunks_mut(2 * ROWS * rounded.row);
            pairs.zip(values.par_chunks(2 * ROWS * width)).for_each(|(pair, rows)| {
                for (at, values) in rows.chunks(width).enumerate() {
                    let out = &mut pair[at / ROWS * TILE + at % ROWS * DEPTH..];
                    // SAFETY: the caller asked whether the instructions are available.
                    unsafe { round(&values[first..first + columns], out) };
                }
            });
        }
        rounded
    }

    /// Rounds a row into its places in the tiles; `out` begins with the first.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn round(values: &[f32], out: &mut [bf16]) {
        for (values, out) in values.chunks(DEPTH).zip(out.chunks_mut(2 * TILE)) {
            let half = |first: usize| {
                let mask = lane_mask(values.len().saturating_sub(first));
                // SAFETY: the mask covers what is left of the values.
                unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr().add(first.min(values.len()))) }
            };
            let narrow = _mm512_cvtne2ps_pbh(half(16), half(0));
            let out = out[..DEPTH].as_mut_ptr();
            // SAFETY: 32 values, as many as there is room for.
            unsafe { _mm512_storeu_si512(out.cast(), std::mem::transmute::<__m512bh, __m512i>(narrow)) };
        }
    }

    /// c (M, L) [+]= a (M, K) times the weight (O, I) with rows of `width` values, of which L (or K) is O; c has rows of the stride given.
    ///
    /// # Safety
    /// [`available`]; c is valid for M x L writes, and initialised where it is added to.
    pub(in super::super) unsafe fn product(
        side: Side,
        a: &Rounded,
        weight: &[bf16],
        width: usize,
        (c, stride, old): (*mut f32, usize, Old),
    ) {
        let operands = operands(side, a, weight, width, (c, stride, old));
        // SAFETY: the caller's promise.
        unsafe { if tiles::available() { tiles::product(operands) } else { dot::product(operands) } }
    }

    pub(super) fn operands<'a>(
        side: Side,
        a: &'a Rounded,
        weight: &'a [bf16],
        width: usize,
        (c, stride, old): (*mut f32, usize, Old),
    ) -> Operands<'a> {
        let rows = weight.len() / width.max(1);
        let (lanes, k) = if side == Side::Rows { (rows, width) } else { (width, rows) };
        assert_eq!(a.row, k.next_multiple_of(DEPTH), "the operands differ in k");
        Operands { side, a, weight, width, lanes, k, c: Place(c), stride, old }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod instructions {
    use super::{Old, Rounded, Side, bf16};

    pub(in super::super) fn available() -> bool {
        false
    }

    pub(in super::super) fn rounded(_: &[f32], _: usize, _: usize, _: usize) -> Rounded {
        unreachable!("only where it is available")
    }

    pub(in super::super) unsafe fn product(_: Side, _: &Rounded, _: &[bf16], _: usize, _: (*mut f32, usize, Old)) {
        unreachable!("only where it is available")
    }
}

pub(super) use instructions::{available, product, rounded};

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::instructions::operands;
    use super::*;

    /// Whole numbers of a few bits, and every product and sum of them exact.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_769) | 1;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 27) as f32 - 16.0
        };
        (0..n).map(next).collect()
    }

    fn is_exact_where_f32_sums_are(product: impl Fn(Operands)) {
        let mut shapes = vec![(1, 1, 1), (8, 48, 384), (17, 100, 1771), (9, 49, 385), (70, 33, 2), (3, 47, 33)];
        shapes.extend([(64, 64, 64), (33, 96, 1025), (40, 31, 1024)]);
        shapes.extend((0..300usize).map(|s| (1 + s * 7 % 71, 1 + s * 13 % 131, 1 + s * 29 % 210)));
        for (n, o, i) in shapes {
            for side in [Side::Rows, Side::Columns] {
                let (lanes, k) = if side == Side::Rows { (o, i) } else { (i, o) };
                let (a, w) = (numbers(n * k, 1 + o as u32), numbers(o * i, 7 + n as u32));
                let narrow: Vec<bf16> = w.iter().map(|v| bf16::from_f32(*v)).collect();
                let expected = |r: usize, l: usize| -> f32 {
                    let of_weight = |k: usize| if side == Side::Rows { w[l * i + k] } else { w[k * i + l] };
                    (0..k).map(|x| a[r * k + x] * of_weight(x)).sum()
                };
                // A destination with room beside each row, which must stay as it is.
                let (stride, old) = (lanes + 5, [Old::Drop, Old::Add][n % 2]);
                let mut c = vec![3.0f32; n * stride];
                product(operands(side, &rounded(&a, k, 0, k), &narrow, i, (c.as_mut_ptr(), stride, old)));
                let before = if old == Old::Add { 3.0 } else { 0.0 };
                for (at, value) in c.iter().enumerate() {
                    let (r, l) = (at / stride, at % stride);
                    let want = if l < lanes { expected(r, l) + before } else { 3.0 };
                    assert_eq!(*value, want, "{n} {o} {i} at {r} {l}");
                }
            }
        }
    }

    #[test]
    fn dot_products_are_exact_where_f32_sums_are() {
        if available() {
            // SAFETY: it is available, and the destination has the room.
            is_exact_where_f32_sums_are(|operands| unsafe { dot::product(operands) });
        }
    }

    #[test]
    fn products_of_tiles_are_exact_where_f32_sums_are() {
        if tiles::available() {
            // SAFETY: as above.
            is_exact_where_f32_sums_are(|operands| unsafe { tiles::product(operands) });
        }
    }

    fn gives_a_row_the_same_bits_wherever_it_lies(product: impl Fn(Operands)) {
        let (n, o, i) = (83, 70, 2100);
        let fractions = |n, seed| numbers(n, seed).iter().map(|v| (v + 0.3).sin()).collect::<Vec<f32>>();
        let (a, w) = (fractions(n * i, 1), fractions(o * i, 2));
        let narrow: Vec<bf16> = w.iter().map(|v| bf16::from_f32(*v)).collect();
        let of_rows = |first: usize, rows: usize| {
            let mut c: Vec<f32> = (0..n * o).map(|at| (at as f32).cos()).skip(first * o).take(rows * o).collect();
            let a = rounded(&a[first * i..(first + rows) * i], i, 0, i);
            product(operands(Side::Rows, &a, &narrow, i, (c.as_mut_ptr(), o, Old::Add)));
            c
        };
        let all = of_rows(0, n);
        for (first, rows) in [(0, 17), (3, 80), (20, 1), (50, 33)] {
            assert_eq!(of_rows(first, rows), all[first * o..(first + rows) * o], "{rows} rows from {first}");
        }
    }

    #[test]
    fn a_row_has_the_same_bits_wherever_it_lies() {
        if available() {
            // SAFETY: it is available, and the destination has the room.
            gives_a_row_the_same_bits_wherever_it_lies(|operands| unsafe { dot::product(operands) });
        }
        if tiles::available() {
            // SAFETY: as above.
            gives_a_row_the_same_bits_wherever_it_lies(|operands| unsafe { tiles::product(operands) });
        }
    }

    #[test]
    fn values_are_rounded_to_nearest_even_and_a_part_of_each_row_can_be_taken() {
        if !available() {
            return;
        }
        let values: Vec<f32> = (0..47 * 37)
            .map(|i| ((i % 231) as f32 * 0.37 - 40.0).exp2() * if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect();
        let got = rounded(&values, 47, 2, 37);
        assert_eq!((got.rows, got.row, got.values.len()), (37, 64, 64 * 64));
        let mut left = got.values.clone();
        for (row, values) in values.chunks(47).enumerate() {
            for (column, want) in values[2..39].iter().enumerate() {
                let tile = (row / 32 * 2 + column / 32) * 2 + row / 16 % 2;
                let at = tile * TILE + row % 16 * 32 + column % 32;
                assert_eq!(std::mem::take(&mut left[at]), bf16::from_f32(*want));
            }
        }
        assert!(left.iter().all(|v| *v == bf16::ZERO));
    }
}
