//! By AVX512-BF16's dot instruction, in registers: blocks of [`ROWS`] by 16 [`VECTORS`]. About four times the f32 rate on AMD's processors; on
//! Intel's no faster than f32, but there are [`super::tiles`].

use std::arch::x86_64::*;

use super::super::lane_mask;
use super::pack::{Piece, for_pieces};
use super::{DEPTH, Operands, TILE, bf16};

/// Rows of a block, half of a tile of A: with [`VECTORS`] it fills the registers.
const ROWS: usize = 8;
/// Vectors of 16 lanes across a block.
const VECTORS: usize = 3;
/// Values of k in one packed piece: 36 KiB, which stays in the first-level cache.
const PIECE: usize = 384;

/// # Safety
/// [`super::available`]; c is valid for M x L writes, and initialised where it is added to.
pub(super) unsafe fn product(operands: Operands) {
    let Operands { a, c, stride, .. } = operands;
    let blocks = |Piece { packed, first, count, from, steps, add }: Piece| {
        for row in (0..a.rows).step_by(ROWS) {
            // SAFETY: the instructions are available; the block lies inside a and c.
            unsafe {
                let of_tile = a.tiles(row, from).add(row % (2 * ROWS) * DEPTH);
                let block = Block { steps, a: of_tile, c: c.at(row * stride + first), c_row: stride, count, add };
                run((a.rows - row).min(ROWS), packed, block);
            }
        }
    };
    // SAFETY: the caller's promise.
    unsafe { for_pieces::<VECTORS>(operands, PIECE, blocks) };
}

#[derive(Clone, Copy)]
struct Block {
    /// Times [`DEPTH`] values of k.
    steps: usize,
    /// In the first of as many tiles.
    a: *const bf16,
    c: *mut f32,
    c_row: usize,
    /// Lanes that exist.
    count: usize,
    add: bool,
}

/// # Safety
/// As [`block`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn run(rows: usize, packed: &[__m512i], b: Block) {
    // SAFETY: the caller's promise.
    unsafe {
        match rows {
            1 => block::<1>(packed, b),
            2 => block::<2>(packed, b),
            3 => block::<3>(packed, b),
            4 => block::<4>(packed, b),
            5 => block::<5>(packed, b),
            6 => block::<6>(packed, b),
            7 => block::<7>(packed, b),
            _ => block::<ROWS>(packed, b),
        }
    }
}

/// # Safety
/// `M` rows of `steps` tiles begin at `a`, `M` rows of `c` hold `count` values, initialised where `add`; `packed` holds the pairs of all lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn block<const M: usize>(packed: &[__m512i], b: Block) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; M];
    for (step, packed) in packed.as_chunks::<{ DEPTH / 2 * VECTORS }>().0[..b.steps].iter().enumerate() {
        for (pair, lanes) in packed.as_chunks::<VECTORS>().0.iter().enumerate() {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the pair lies inside its row of the tile.
                let two = unsafe { b.a.add(step * 2 * TILE + row * DEPTH + 2 * pair).cast::<i32>().read_unaligned() };
                let two = bh(_mm512_set1_epi32(two));
                for (sum, lanes) in sums.iter_mut().zip(lanes) {
                    *sum = _mm512_dpbf16_ps(*sum, two, bh(*lanes));
                }
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            let mask = lane_mask(b.count.saturating_sub(16 * v));
            // SAFETY: the mask covers the lanes that exist.
            unsafe {
                let c = b.c.add(row * b.c_row + (16 * v).min(b.count));
                let sum = if b.add { _mm512_add_ps(*sum, _mm512_maskz_loadu_ps(mask, c)) } else { *sum };
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
