//! Products with a bf16 weight by AVX512-BF16's dot instruction, which multiplies pairs of bf16 and adds them in f32: about four times the
//! f32 rate. The other operand is rounded to bf16 (nearest even), as PyTorch's bf16 products take it; sums stay f32.
//!
//! C (M, L) = A (M, K) B (K, L) in tiles of [`ROWS`] by [`LANES`]. A task packs the lanes of one tile column, [`DEPTH`] of K at a time, so that
//! each pair of k lies beside that of the next lane, and runs down the rows of A. What a task does depends on the shape alone, so the
//! result has the same bits on any number of threads.

use half::bf16;

use super::Old;

/// How a weight (O, I), row-major, lies in the product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// y = x W': its rows are the lanes, K is I.
    Rows,
    /// dx = dy W: its columns are the lanes, K is O.
    Columns,
}

/// A bf16 matrix with an even row length, so that every row begins with a whole pair.
pub(super) struct Rounded {
    values: Vec<bf16>,
    row: usize,
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

#[cfg(target_arch = "x86_64")]
mod instructions {
    use std::arch::x86_64::*;

    use rayon::prelude::*;

    use super::super::{Place, has_vectors, lane_mask};
    use super::{Old, Rounded, Side, bf16};

    /// Rows of a tile: with [`VECTORS`] it fills the registers.
    const ROWS: usize = 8;
    /// Vectors of 16 lanes across a tile.
    const VECTORS: usize = 3;
    const LANES: usize = 16 * VECTORS;
    /// Pairs of k in one packed piece: 36 KiB, which stays in the first-level cache.
    const DEPTH: usize = 192;

    /// Whether this processor has the instruction.
    pub(in super::super) fn available() -> bool {
        is_x86_feature_detected!("avx512bf16") && has_vectors()
    }

    /// Columns `first..first + columns` of the matrix with rows of `width` values, rounded; denormal numbers become 0.
    pub(in super::super) fn rounded(values: &[f32], width: usize, first: usize, columns: usize) -> Rounded {
        let (rows, row) = (values.len() / width.max(1), columns.next_multiple_of(2));
        let mut out = vec![bf16::ZERO; rows * row];
        if columns > 0 {
            out.par_chunks_mut(row).zip(values.par_chunks(width)).with_min_len(16).for_each(|(out, values)| {
                // SAFETY: the caller asked whether the instructions are available.
                unsafe { round(&values[first..first + columns], &mut out[..columns]) };
            });
        }
        Rounded { values: out, row }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn round(values: &[f32], out: &mut [bf16]) {
        let (whole, rest) = values.as_chunks::<16>();
        let (whole_out, rest_out) = out.as_chunks_mut::<16>();
        for (values, out) in whole.iter().zip(whole_out) {
            // SAFETY: both hold 16 values.
            unsafe {
                let narrow = _mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr()));
                _mm256_storeu_si256(out.as_mut_ptr().cast(), std::mem::transmute::<__m256bh, __m256i>(narrow));
            }
        }
        let mask = (1u16 << rest.len()) - 1;
        // SAFETY: the mask covers what is left.
        unsafe {
            let narrow = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, rest.as_ptr()));
            let narrow = std::mem::transmute::<__m256bh, __m256i>(narrow);
            _mm256_mask_storeu_epi16(rest_out.as_mut_ptr().cast(), mask, narrow);
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
        let m = a.values.len() / a.row.max(1);
        let rows = weight.len() / width.max(1);
        let (lanes, k) = if side == Side::Rows { (rows, width) } else { (width, rows) };
        assert_eq!(a.row, k.next_multiple_of(2), "the operands differ in k");
        let place = Place(c);
        let groups = lanes.div_ceil(LANES);
        (0..groups).into_par_iter().for_each_init(
            // SAFETY: a vector of zeros.
            || vec![unsafe { std::mem::zeroed::<__m512i>() }; DEPTH * VECTORS],
            |packed, group| {
                let first = group * LANES;
                let count = LANES.min(lanes - first);
                for from in (0..k).step_by(2 * DEPTH) {
                    let depth = (k - from).min(2 * DEPTH);
                    let pairs = depth.div_ceil(2);
                    let add = from > 0 || old == Old::Add;
                    // SAFETY: the instructions are available; the piece lies inside the weight, its tiles inside a and c.
                    unsafe {
                        match side {
                            Side::Rows => pack_rows(weight, width, (first, count), (from, depth), packed),
                            Side::Columns => pack_columns(weight, width, (first, count), (from, depth), packed),
                        }
                        for row in (0..m).step_by(ROWS) {
                            let a = a.values.as_ptr().add(row * a.row + from);
                            let c = place.at(row * stride + first);
                            let tile = Tile { pairs, a, a_row: k.next_multiple_of(2), c, c_row: stride, count, add };
                            run((m - row).min(ROWS), packed, tile);
                        }
                    }
                }
            },
        );
    }

    #[derive(Clone, Copy)]
    struct Tile {
        pairs: usize,
        a: *const bf16,
        a_row: usize,
        c: *mut f32,
        c_row: usize,
        /// Lanes that exist.
        count: usize,
        add: bool,
    }

    /// # Safety
    /// As [`tile`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn run(rows: usize, packed: &[__m512i], t: Tile) {
        // SAFETY: the caller's promise.
        unsafe {
            match rows {
                1 => tile::<1>(packed, t),
                2 => tile::<2>(packed, t),
                3 => tile::<3>(packed, t),
                4 => tile::<4>(packed, t),
                5 => tile::<5>(packed, t),
                6 => tile::<6>(packed, t),
                7 => tile::<7>(packed, t),
                _ => tile::<ROWS>(packed, t),
            }
        }
    }

    /// # Safety
    /// `M` rows of `a` hold `pairs` pairs, those of `c` `count` values, initialised where `add`; `packed` holds `pairs` pairs of all lanes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    unsafe fn tile<const M: usize>(packed: &[__m512i], t: Tile) {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; M];
        for (pair, lanes) in packed.as_chunks::<VECTORS>().0[..t.pairs].iter().enumerate() {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the pair lies inside its row.
                let two = unsafe { t.a.add(row * t.a_row + 2 * pair).cast::<i32>().read_unaligned() };
                let two = bh(_mm512_set1_epi32(two));
                for (sum, lanes) in sums.iter_mut().zip(lanes) {
                    *sum = _mm512_dpbf16_ps(*sum, two, bh(*lanes));
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let mask = lane_mask(t.count.saturating_sub(16 * v));
                // SAFETY: the mask covers the lanes that exist.
                unsafe {
                    let c = t.c.add(row * t.c_row + (16 * v).min(t.count));
                    let sum = if t.add { _mm512_add_ps(*sum, _mm512_maskz_loadu_ps(mask, c)) } else { *sum };
                    _mm512_mask_storeu_ps(c, mask, sum);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn bh(v: __m512i) -> __m512bh {
        // SAFETY: the same 512 bits.
        unsafe { std::mem::transmute(v) }
    }

    /// Rows `first..first + count` of the weight as lanes, `depth` values of each from `from`.
    ///
    /// # Safety
    /// The piece lies inside the weight.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn pack_rows(
        weight: &[bf16],
        width: usize,
        (first, count): (usize, usize),
        (from, depth): (usize, usize),
        packed: &mut [__m512i],
    ) {
        for v in 0..VECTORS {
            for start in (0..depth).step_by(32) {
                let n = (depth - start).min(32);
                let mask = if n == 32 { u32::MAX } else { (1 << n) - 1 };
                let mut rows = [_mm512_setzero_si512(); 16];
                for (lane, row) in rows.iter_mut().enumerate().take(count.saturating_sub(16 * v).min(16)) {
                    let at = (first + 16 * v + lane) * width + from + start;
                    // SAFETY: the mask ends with the piece.
                    *row = unsafe { _mm512_maskz_loadu_epi16(mask, weight.as_ptr().add(at).cast()) };
                }
                let columns = transposed(rows);
                for (pair, column) in columns.iter().enumerate().take(n.div_ceil(2)) {
                    packed[(start / 2 + pair) * VECTORS + v] = *column;
                }
            }
        }
    }

    /// A 16 x 16 matrix of pairs, turned.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn transposed(r: [__m512i; 16]) -> [__m512i; 16] {
        let zero = _mm512_setzero_si512();
        // Pairs of neighbouring rows, then fours, within each quarter of a vector.
        let mut twos = [zero; 16];
        for i in 0..8 {
            twos[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            twos[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        let mut fours = [zero; 16];
        for i in 0..4 {
            for half in 0..2 {
                let (a, b) = (twos[4 * i + half], twos[4 * i + 2 + half]);
                fours[4 * i + 2 * half] = _mm512_unpacklo_epi64(a, b);
                fours[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(a, b);
            }
        }
        // fours[4 i + j] holds, in quarter q, column 4 q + j of rows 4 i to 4 i + 3.
        let mut out = [zero; 16];
        for j in 0..4 {
            let low = _mm512_shuffle_i32x4(fours[j], fours[4 + j], 0b01_00_01_00);
            let high = _mm512_shuffle_i32x4(fours[8 + j], fours[12 + j], 0b01_00_01_00);
            out[j] = _mm512_shuffle_i32x4(low, high, 0b10_00_10_00);
            out[4 + j] = _mm512_shuffle_i32x4(low, high, 0b11_01_11_01);
            let low = _mm512_shuffle_i32x4(fours[j], fours[4 + j], 0b11_10_11_10);
            let high = _mm512_shuffle_i32x4(fours[8 + j], fours[12 + j], 0b11_10_11_10);
            out[8 + j] = _mm512_shuffle_i32x4(low, high, 0b10_00_10_00);
            out[12 + j] = _mm512_shuffle_i32x4(low, high, 0b11_01_11_01);
        }
        out
    }

    /// Columns `first..first + count` of the weight as lanes, of `depth` rows from `from`.
    ///
    /// # Safety
    /// The piece lies inside the weight.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn pack_columns(
        weight: &[bf16],
        width: usize,
        (first, count): (usize, usize),
        (from, depth): (usize, usize),
        packed: &mut [__m512i],
    ) {
        for pair in 0..depth.div_ceil(2) {
            for v in 0..VECTORS {
                let mask = lane_mask(count.saturating_sub(16 * v));
                let column = first + (16 * v).min(count);
                let load = |row: usize| {
                    let mask = if row < depth { mask } else { 0 };
                    let at = (from + row.min(depth - 1)) * width + column;
                    // SAFETY: the mask ends with the piece.
                    let narrow = unsafe { _mm256_maskz_loadu_epi16(mask, weight.as_ptr().add(at).cast()) };
                    _mm512_cvtepu16_epi32(narrow)
                };
                let high = _mm512_slli_epi32::<16>(load(2 * pair + 1));
                packed[pair * VECTORS + v] = _mm512_or_si512(load(2 * pair), high);
            }
        }
    }
}

pub(super) use instructions::{available, product, rounded};

#[cfg(test)]
mod tests {
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

    #[test]
    fn products_are_exact_where_f32_sums_are() {
        if !available() {
            return;
        }
        let mut shapes = vec![(1, 1, 1), (8, 48, 384), (17, 100, 771), (9, 49, 385), (70, 33, 2), (3, 47, 33)];
        shapes.extend((0..300usize).map(|s| (1 + s * 7 % 23, 1 + s * 13 % 131, 1 + s * 29 % 210)));
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
                // SAFETY: it is available, and c has the room.
                unsafe { product(side, &rounded(&a, k, 0, k), &narrow, i, (c.as_mut_ptr(), stride, old)) };
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
    fn values_are_rounded_to_nearest_even_and_a_part_of_each_row_can_be_taken() {
        if !available() {
            return;
        }
        let values: Vec<f32> =
            (0..33 * 7).map(|i| (i as f32 * 0.37 - 40.0).exp2() * if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let got = rounded(&values, 33, 2, 29);
        assert_eq!(got.row, 30);
        for (row, values) in got.values.chunks(30).zip(values.chunks(33)) {
            for (got, want) in row.iter().zip(&values[2..31]) {
                assert_eq!(*got, bf16::from_f32(*want));
            }
            assert_eq!(row[29], bf16::ZERO);
        }
    }
}
