//! NF4 and FP4: 16 levels, blocks of 64 with a scale each, and scales that may themselves be in 8 bits (double quantisation).
//!
//! Dettmers et al., "QLoRA", 2023. A weight is level * scale; the scale of block b is then
//! signed map [byte b] * outer scale [b / 256] + offset, with the offset the mean of all scales.

use super::dynamic::{self, Map, Whole, scale_of, scaled};
use rayon::prelude::*;
use tb_core::quantization::{BLOCK, BYTE_BLOCK, FourBitType, Scales};

const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
/// 0, 0.0625, 8, 12, 4, 6, 2, 3 over 12, and their negatives.
const FP4: [f32; 16] = [
    0.0,
    0.0625 / 12.0,
    8.0 / 12.0,
    1.0,
    4.0 / 12.0,
    0.5,
    2.0 / 12.0,
    0.25,
    0.0,
    -0.0625 / 12.0,
    -8.0 / 12.0,
    -1.0,
    -4.0 / 12.0,
    -0.5,
    -2.0 / 12.0,
    -0.25,
];
/// FP4's codes by ascending level; of its two zeros the first is below zero's threshold.
const FP4_ASCENDING: [u8; 16] = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];
const NF4_ASCENDING: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Bytes of a block.
const BLOCK_BYTES: usize = BLOCK / 2;

/// Packed codes and their scales.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FourBit {
    kind: FourBitType,
    /// Two codes a byte, the first in the high half.
    packed: Vec<u8>,
    scales: BlockScales,
}

/// One scale per block.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum BlockScales {
    Plain(Vec<f32>),
    Double { bytes: Vec<u8>, outer: Vec<f32>, offset: f32 },
}

/// The levels by code.
pub(super) const fn levels(kind: FourBitType) -> &'static [f32; 16] {
    match kind {
        FourBitType::Nf4 => &NF4,
        FourBitType::Fp4 => &FP4,
    }
}

/// Codes by ascending level, and the thresholds between them: halfway, and a value on one takes the lower.
fn thresholds(kind: FourBitType) -> ([f32; 15], &'static [u8; 16]) {
    let (levels, order) = match kind {
        FourBitType::Nf4 => (&NF4, &NF4_ASCENDING),
        FourBitType::Fp4 => (&FP4, &FP4_ASCENDING),
    };
    let level = |i: usize| levels[usize::from(order[i])];
    (std::array::from_fn(|i| (level(i) + level(i + 1)) / 2.0), order)
}

impl FourBit {
    pub(super) fn new(values: &[f32], kind: FourBitType, scales: Scales) -> Self {
        let (thresholds, order) = thresholds(kind);
        let code = |v: f32| order[thresholds.iter().filter(|t| v > **t).count()];
        let mut packed = vec![0u8; values.len().div_ceil(2)];
        let plain: Vec<f32> = packed
            .par_chunks_mut(BLOCK_BYTES)
            .zip(values.par_chunks(BLOCK))
            .map(|(bytes, block)| {
                let whole = if block.len() == BLOCK { Whole::Yes } else { Whole::Rest };
                let scale = scale_of(block, whole);
                for (byte, pair) in bytes.iter_mut().zip(block.chunks(2)) {
                    // An odd last value is packed with a zero.
                    let second = pair.get(1).map_or(0.0, |v| scaled(*v, scale, whole));
                    *byte = code(scaled(pair[0], scale, whole)) << 4 | code(second);
                }
                scale
            })
            .collect();
        let scales = match scales {
            Scales::Plain => BlockScales::Plain(plain),
            Scales::Double => BlockScales::double(&plain),
        };
        Self { kind, packed, scales }
    }

    /// From parts that were stored; lengths are the caller's care.
    pub(super) fn from_parts(kind: FourBitType, packed: Vec<u8>, scales: BlockScales) -> Self {
        Self { kind, packed, scales }
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&[u8], &BlockScales) {
        (&self.packed, &self.scales)
    }

    #[cfg(feature = "cuda")]
    pub(super) fn packed(&self) -> crate::quant::Packed {
        let scales = (0..self.packed.len().div_ceil(BLOCK_BYTES)).map(|block| self.scales.get(block)).collect();
        crate::quant::Packed { bytes: self.packed.clone(), scales, levels: Some(levels(self.kind)) }
    }

    pub(super) fn size_bytes(&self) -> usize {
        let scales = match &self.scales {
            BlockScales::Plain(scales) => 4 * scales.len(),
            BlockScales::Double { bytes, outer, .. } => bytes.len() + 4 * outer.len(),
        };
        self.packed.len() + scales
    }

    /// The values from number `start` on.
    pub(super) fn dequantise(&self, start: usize, mut out: &mut [f32]) {
        let levels = levels(self.kind);
        let mut at = start;
        while !out.is_empty() {
            let n = (BLOCK - at % BLOCK).min(out.len());
            let (part, rest) = out.split_at_mut(n);
            self.part_of_block(levels, at, part);
            (at, out) = (at + n, rest);
        }
    }

    /// Values that lie in one block.
    fn part_of_block(&self, levels: &[f32; 16], start: usize, out: &mut [f32]) {
        let scale = self.scales.get(start / BLOCK);
        let level = |code: u8| levels[usize::from(code)] * scale;
        // An odd start is the low half of a byte.
        let (odd, out) = out.split_at_mut(start % 2);
        if let [first] = odd {
            *first = level(self.packed[start / 2] & 15);
        }
        let at = start + odd.len();
        // The 16 products of a block once, instead of a product per weight.
        let scaled: [f32; 16] = std::array::from_fn(|code| levels[code] * scale);
        let bytes = &self.packed[at / 2..];
        let (pairs, last) = out.as_chunks_mut::<2>();
        for ([a, b], byte) in pairs.iter_mut().zip(bytes) {
            *a = scaled[usize::from(byte >> 4)];
            *b = scaled[usize::from(byte & 15)];
        }
        if let ([v], Some(byte)) = (last, bytes.get(pairs.len())) {
            *v = level(byte >> 4);
        }
    }
}

impl BlockScales {
    fn double(plain: &[f32]) -> Self {
        let offset = torch_mean(plain);
        let map = Map::signed();
        let mut bytes = vec![0u8; plain.len()];
        let outer = bytes
            .chunks_mut(BYTE_BLOCK)
            .zip(plain.chunks(BYTE_BLOCK))
            .map(|(bytes, scales)| {
                let around: Vec<f32> = scales.iter().map(|s| s - offset).collect();
                dynamic::quantise(&around, map, bytes)
            })
            .collect();
        Self::Double { bytes, outer, offset }
    }

    fn get(&self, block: usize) -> f32 {
        match self {
            Self::Plain(scales) => scales[block],
            Self::Double { bytes, outer, offset } => {
                Map::signed().levels()[usize::from(bytes[block])] * outer[block / BYTE_BLOCK] + offset
            }
        }
    }
}

/// The mean in f32 as torch adds it on one thread of a CPU (`cascade_sum`): every scale of double quantisation depends on its last bit.
fn torch_mean(values: &[f32]) -> f32 {
    const LANES: usize = 8;
    let sum = if values.len() < LANES {
        row_sum::<1>(values)[0]
    } else {
        let (lanes, rest) = values.as_chunks::<LANES>();
        let partial = row_sum::<LANES>(lanes.as_flattened());
        let tail = rest.iter().fold(0f32, |sum, v| sum + v);
        partial.iter().fold(tail, |sum, v| sum + v)
    };
    sum / values.len() as f32
}

/// Sums of L interleaved columns: four at a time, each in levels of 2^k terms so that large sums meet large ones.
fn row_sum<const L: usize>(values: &[f32]) -> [f32; L] {
    const AT_ONCE: usize = 4;
    const LEVELS: usize = 4;
    let vectors = values.len() / L;
    let groups = vectors / AT_ONCE;
    let ceil_log2 = if groups <= 1 { 0 } else { usize::BITS - (groups - 1).leading_zeros() };
    let power = (ceil_log2 as usize / LEVELS).max(4);
    let mask = (1usize << power) - 1;
    let mut sums = [[[0f32; L]; AT_ONCE]; LEVELS];
    let add = |into: &mut [f32; L], from: &[f32]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
    for group in 0..groups {
        for k in 0..AT_ONCE {
            add(&mut sums[0][k], &values[(group * AT_ONCE + k) * L..][..L]);
        }
        let done = group + 1;
        if done & mask == 0 {
            for level in 1..LEVELS {
                let (below, here) = sums.split_at_mut(level);
                for (from, into) in below[level - 1].iter_mut().zip(&mut here[0]) {
                    add(into, &std::mem::replace(from, [0.0; L]));
                }
                if done & (mask << (level * power)) != 0 {
                    break;
                }
            }
        }
    }
    let [mut low, upper @ ..] = sums;
    for level in &upper {
        for (low, level) in low.iter_mut().zip(level) {
            add(low, level);
        }
    }
    for vector in groups * AT_ONCE..vectors {
        add(&mut low[0], &values[vector * L..][..L]);
    }
    let [mut sum, others @ ..] = low;
    for other in &others {
        add(&mut sum, other);
    }
    sum
}
