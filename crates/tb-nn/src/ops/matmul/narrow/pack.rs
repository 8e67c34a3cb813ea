//! A piece of the weight as B: pairs of k, each with the values of all its lanes side by side.

use std::arch::x86_64::*;

use rayon::prelude::*;

use super::super::lane_mask;
use super::{DEPTH, Old, Operands, Side};

/// A packed piece of B, of which a product makes a part of C.
pub(super) struct Piece<'a> {
    /// `V` vectors for each pair of k.
    pub(super) packed: &'a [__m512i],
    /// Its first lane, and how many there are.
    pub(super) first: usize,
    pub(super) count: usize,
    /// Its first value of k, and times [`DEPTH`] how many there are.
    pub(super) from: usize,
    pub(super) steps: usize,
    /// Whether to add to what C holds.
    pub(super) add: bool,
}

/// Calls `f` with every piece of up to 16 `V` lanes and `most` values of k, a multiple of [`DEPTH`]: those of the same lanes one after the
/// other, in the order of k.
///
/// # Safety
/// The processor has AVX-512.
pub(super) unsafe fn for_pieces<const V: usize>(operands: Operands, most: usize, f: impl Fn(Piece) + Sync) {
    let Operands { lanes, k, old, .. } = operands;
    let pairs = k.min(most).next_multiple_of(DEPTH) / 2;
    (0..lanes.div_ceil(16 * V)).into_par_iter().for_each_init(
        // SAFETY: a vector of zeros.
        || vec![unsafe { std::mem::zeroed::<__m512i>() }; pairs * V],
        |packed, group| {
            let first = group * 16 * V;
            let count = (lanes - first).min(16 * V);
            for from in (0..k).step_by(most) {
                let depth = (k - from).min(most);
                // SAFETY: the caller's promise; the piece lies inside the weight.
                unsafe { pack::<V>(operands, (first, count), (from, depth), packed) };
                let add = from > 0 || old == Old::Add;
                f(Piece { packed, first, count, from, steps: depth.div_ceil(DEPTH), add });
            }
        },
    );
}

/// Lanes `first..first + count` of the weight, `depth` values of k of each from `from`: `V` vectors of 16 lanes for each pair, with zeros
/// for lanes that there are not and up to a multiple of [`DEPTH`] values.
///
/// # Safety
/// The processor has AVX-512; the piece lies inside the weight, and `packed` has room for `V` vectors of each pair.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack<const V: usize>(
    operands: Operands,
    lanes: (usize, usize),
    (from, depth): (usize, usize),
    packed: &mut [__m512i],
) {
    // SAFETY: the caller's promise.
    unsafe {
        match operands.side {
            Side::Rows => rows::<V>(operands, lanes, (from, depth), packed),
            Side::Columns => columns::<V>(operands, lanes, (from, depth), packed),
        }
    }
}

/// Rows of the weight as lanes.
///
/// # Safety
/// As [`pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn rows<const V: usize>(
    Operands { weight, width, .. }: Operands,
    (first, count): (usize, usize),
    (from, depth): (usize, usize),
    packed: &mut [__m512i],
) {
    for v in 0..V {
        for start in (0..depth).step_by(DEPTH) {
            let n = (depth - start).min(DEPTH);
            let mask = if n == DEPTH { u32::MAX } else { (1 << n) - 1 };
            let mut rows = [_mm512_setzero_si512(); 16];
            for (lane, row) in rows.iter_mut().enumerate().take(count.saturating_sub(16 * v).min(16)) {
                let at = (first + 16 * v + lane) * width + from + start;
                // SAFETY: the mask ends with the piece.
                *row = unsafe { _mm512_maskz_loadu_epi16(mask, weight.as_ptr().add(at).cast()) };
            }
            for (pair, column) in transposed(rows).iter().enumerate() {
                packed[(start / 2 + pair) * V + v] = *column;
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

/// Columns of the weight as lanes.
///
/// # Safety
/// As [`pack`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn columns<const V: usize>(
    Operands { weight, width, .. }: Operands,
    (first, count): (usize, usize),
    (from, depth): (usize, usize),
    packed: &mut [__m512i],
) {
    for pair in 0..depth.next_multiple_of(DEPTH) / 2 {
        for v in 0..V {
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
            packed[pair * V + v] = _mm512_or_si512(load(2 * pair), high);
        }
    }
}
