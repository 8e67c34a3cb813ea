//! The block formats of GGUF tensors as f32, value by value as llama.cpp's `ggml-quants.c` (and `gguf-py/gguf/quants.py`) defines them.
//!
//! In all of them a value is `scale * q - offset` with a small whole `q`; products are formed in that order, so that the bits agree.

use half::{bf16, f16};
use tb_core::gguf::TensorType;

/// Expands whole blocks: `bytes` holds as many as `out` needs.
pub(crate) fn dequantise(kind: TensorType, bytes: &[u8], out: &mut [f32]) {
    debug_assert_eq!(bytes.len() / kind.block_bytes() * kind.block_values(), out.len());
    match kind {
        TensorType::F32 => each(bytes, out, |b: [u8; 4]| f32::from_le_bytes(b)),
        TensorType::F16 => each(bytes, out, |b: [u8; 2]| f16::from_le_bytes(b).to_f32()),
        TensorType::Bf16 => each(bytes, out, |b: [u8; 2]| bf16::from_le_bytes(b).to_f32()),
        TensorType::Q4_0 => blocks(kind, bytes, out, q4_0),
        TensorType::Q4_1 => blocks(kind, bytes, out, q4_1),
        TensorType::Q5_0 => blocks(kind, bytes, out, q5_0),
        TensorType::Q5_1 => blocks(kind, bytes, out, q5_1),
        TensorType::Q8_0 => blocks(kind, bytes, out, q8_0),
        TensorType::Q2K => blocks(kind, bytes, out, q2_k),
        TensorType::Q3K => blocks(kind, bytes, out, q3_k),
        TensorType::Q4K => blocks(kind, bytes, out, q4_k),
        TensorType::Q5K => blocks(kind, bytes, out, q5_k),
        TensorType::Q6K => blocks(kind, bytes, out, q6_k),
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], one: impl Fn([u8; N]) -> f32) {
    for (y, b) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *y = one(*b);
    }
}

fn blocks(kind: TensorType, bytes: &[u8], out: &mut [f32], one: impl Fn(&[u8], &mut [f32])) {
    for (b, y) in bytes.chunks_exact(kind.block_bytes()).zip(out.chunks_exact_mut(kind.block_values())) {
        one(b, y);
    }
}

/// The f16 at byte `at`.
fn half(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

fn word(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// d, then 32 values of 4 bits: the low halves of 16 bytes come first.
fn q4_0(b: &[u8], y: &mut [f32]) {
    let d = half(b, 0);
    for (j, q) in b[2..18].iter().enumerate() {
        y[j] = d * f32::from((q & 15) as i8 - 8);
        y[j + 16] = d * f32::from((q >> 4) as i8 - 8);
    }
}

/// d and m, then as [`q4_0`] without the shift.
fn q4_1(b: &[u8], y: &mut [f32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    for (j, q) in b[4..20].iter().enumerate() {
        y[j] = d * f32::from(q & 15) + m;
        y[j + 16] = d * f32::from(q >> 4) + m;
    }
}

/// The fifth bits of value `j` and of value `j + 16`.
fn fifth(bits: u32, j: usize) -> (u8, u8) {
    ((((bits >> j) << 4) & 16) as u8, ((bits >> (j + 12)) & 16) as u8)
}

fn q5_0(b: &[u8], y: &mut [f32]) {
    let (d, bits) = (half(b, 0), word(b, 2));
    for (j, q) in b[6..22].iter().enumerate() {
        let (low, high) = fifth(bits, j);
        y[j] = d * f32::from(((q & 15) | low) as i8 - 16);
        y[j + 16] = d * f32::from(((q >> 4) | high) as i8 - 16);
    }
}

fn q5_1(b: &[u8], y: &mut [f32]) {
    let (d, m, bits) = (half(b, 0), half(b, 2), word(b, 4));
    for (j, q) in b[8..24].iter().enumerate() {
        let (low, high) = fifth(bits, j);
        y[j] = d * f32::from((q & 15) | low) + m;
        y[j + 16] = d * f32::from((q >> 4) | high) + m;
    }
}

fn q8_0(b: &[u8], y: &mut [f32]) {
    let d = half(b, 0);
    for (y, q) in y.iter_mut().zip(&b[2..34]) {
        *y = d * f32::from(*q as i8);
    }
}

/// 16 groups of 16 values of 2 bits; scale and offset of a group are 4 bits each.
fn q2_k(b: &[u8], y: &mut [f32]) {
    let (scales, qs) = (&b[..16], &b[16..80]);
    let (d, dmin) = (half(b, 80), half(b, 82));
    for (group, y) in y.chunks_exact_mut(16).enumerate() {
        let (scale, offset) = (d * f32::from(scales[group] & 15), dmin * f32::from(scales[group] >> 4));
        let (qs, shift) = (&qs[group / 8 * 32 + group % 2 * 16..], group / 2 % 4 * 2);
        for (y, q) in y.iter_mut().zip(qs) {
            *y = scale * f32::from((q >> shift) & 3) - offset;
        }
    }
}

/// 16 groups of 16 values of 3 bits, the third in a mask; the scale of a group is 6 bits around 32.
fn q3_k(b: &[u8], y: &mut [f32]) {
    let (mask, qs, packed, d) = (&b[..32], &b[32..96], &b[96..108], half(b, 108));
    for (group, y) in y.chunks_exact_mut(16).enumerate() {
        let low = if group < 8 { packed[group] & 15 } else { packed[group - 8] >> 4 };
        let high = (packed[8 + group % 4] >> (group / 4 * 2)) & 3;
        let scale = d * f32::from((low | (high << 4)) as i8 - 32);
        let half = group % 2 * 16;
        let (qs, shift) = (&qs[group / 8 * 32 + half..], group / 2 % 4 * 2);
        let bit = 1_u8 << (group / 2);
        for ((y, q), m) in y.iter_mut().zip(qs).zip(&mask[half..]) {
            let third = if m & bit == 0 { 4 } else { 0 };
            *y = scale * f32::from(((q >> shift) & 3) as i8 - third);
        }
    }
}

/// Scale and offset of group `j` of 8, 6 bits each, packed into 12 bytes.
pub(super) fn scale_and_offset(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let (low, a, b) = (packed[j + 4], packed[j - 4], packed[j]);
        ((low & 15) | ((a >> 6) << 4), (low >> 4) | ((b >> 6) << 4))
    }
}

/// 8 groups of 32 values of 4 bits.
fn q4_k(b: &[u8], y: &mut [f32]) {
    let (d, dmin, packed, qs) = (half(b, 0), half(b, 2), &b[4..16], &b[16..144]);
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, offset) = scale_and_offset(packed, group);
        let (scale, offset) = (d * f32::from(scale), dmin * f32::from(offset));
        for (y, q) in y.iter_mut().zip(&qs[group / 2 * 32..]) {
            *y = scale * f32::from((q >> (group % 2 * 4)) & 15) - offset;
        }
    }
}

/// As [`q4_k`] with the fifth bit of group `j` in bit `j` of 32 bytes.
fn q5_k(b: &[u8], y: &mut [f32]) {
    let (d, dmin, packed, fifths, qs) = (half(b, 0), half(b, 2), &b[4..16], &b[16..48], &b[48..176]);
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, offset) = scale_and_offset(packed, group);
        let (scale, offset) = (d * f32::from(scale), dmin * f32::from(offset));
        for ((y, q), h) in y.iter_mut().zip(&qs[group / 2 * 32..]).zip(fifths) {
            let q = ((q >> (group % 2 * 4)) & 15) | (((h >> group) & 1) << 4);
            *y = scale * f32::from(q) - offset;
        }
    }
}

/// 16 groups of 16 values of 6 bits around 32; the scale of a group is a signed byte.
fn q6_k(b: &[u8], y: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(b, 208));
    for (i, y) in y.iter_mut().enumerate() {
        let (part, quarter, l) = (i / 128, i % 128 / 32, i % 32);
        let four = low[part * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
        let two = (high[part * 32 + l] >> (quarter * 2)) & 3;
        let scale = d * f32::from(scales[i / 16] as i8);
        *y = scale * f32::from((four | (two << 4)) as i8 - 32);
    }
}
