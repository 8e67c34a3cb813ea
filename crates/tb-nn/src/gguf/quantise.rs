//! f32 values as blocks of GGUF's formats, by the same search as llama.cpp's `ggml-quants.c` without an importance matrix
//! (`quantize_row_*_ref`), so that its files and ours differ by no more than the order of a sum. The layouts are in `dequantise.rs`.

use half::{bf16, f16};
use tb_core::gguf::TensorType;

use super::dequantise::scale_and_offset;

/// Packs whole blocks of finite values; `out` holds as many as `values` fill. `Q4_0`, `Q4_1`, `Q2_K` and `Q3_K` are only read.
pub(crate) fn quantise(kind: TensorType, values: &[f32], out: &mut [u8]) {
    debug_assert_eq!(out.len() / kind.block_bytes() * kind.block_values(), values.len());
    match kind {
        TensorType::F32 => each(values, out, f32::to_le_bytes),
        TensorType::F16 => each(values, out, |x| f16::from_f32(x).to_le_bytes()),
        TensorType::Bf16 => each(values, out, |x| bf16::from_f32(x).to_le_bytes()),
        TensorType::Q5_0 => blocks(kind, values, out, q5_0),
        TensorType::Q5_1 => blocks(kind, values, out, q5_1),
        TensorType::Q8_0 => blocks(kind, values, out, q8_0),
        TensorType::Q4K => blocks(kind, values, out, q4_k),
        TensorType::Q5K => blocks(kind, values, out, q5_k),
        TensorType::Q6K => blocks(kind, values, out, q6_k),
        TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q2K | TensorType::Q3K => {
            unreachable!("no export format stores tensors in {}", kind.name())
        }
    }
}

fn each<const N: usize>(values: &[f32], out: &mut [u8], one: impl Fn(f32) -> [u8; N]) {
    for (x, b) in values.iter().zip(out.as_chunks_mut::<N>().0) {
        *b = one(*x);
    }
}

fn blocks(kind: TensorType, values: &[f32], out: &mut [u8], one: impl Fn(&[f32], &mut [u8])) {
    for (x, b) in values.chunks_exact(kind.block_values()).zip(out.chunks_exact_mut(kind.block_bytes())) {
        one(x, b);
    }
}

fn put_half(b: &mut [u8], at: usize, x: f32) -> f32 {
    let half = f16::from_f32(x);
    b[at..at + 2].copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

/// 1/x, or 0 for 0.
fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// The nearest whole number, halves to the even one.
fn nearest(x: f32) -> i32 {
    x.round_ties_even() as i32
}

/// Packs 32 values of 5 bits: 16 bytes of low parts at `low`, a word of fifth bits at `high`.
fn pack_five(b: &mut [u8], high: usize, low: usize, q: impl Fn(usize) -> u8) {
    let mut fifths = 0_u32;
    for j in 0..16 {
        let (a, c) = (q(j), q(j + 16));
        b[low + j] = (a & 15) | ((c & 15) << 4);
        fifths |= u32::from(a >> 4) << j | u32::from(c >> 4) << (j + 16);
    }
    b[high..high + 4].copy_from_slice(&fifths.to_le_bytes());
}

/// The value of largest magnitude becomes -16.
fn q5_0(x: &[f32], b: &mut [u8]) {
    let largest = x.iter().fold(0.0_f32, |best, v| if best.abs() < v.abs() { *v } else { best });
    let d = largest / -16.0;
    let inverse = inverse(d);
    put_half(b, 0, d);
    pack_five(b, 2, 6, |j| ((x[j] * inverse + 16.5) as i8).min(31) as u8);
}

fn q5_1(x: &[f32], b: &mut [u8]) {
    let (min, max) = x.iter().fold((f32::MAX, -f32::MAX), |(a, c), v| (a.min(*v), c.max(*v)));
    let d = (max - min) / 31.0;
    let inverse = inverse(d);
    put_half(b, 0, d);
    put_half(b, 2, min);
    pack_five(b, 4, 8, |j| ((x[j] - min) * inverse + 0.5) as u8);
}

fn q8_0(x: &[f32], b: &mut [u8]) {
    let d = x.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
    let inverse = inverse(d);
    put_half(b, 0, d);
    for (q, v) in b[2..34].iter_mut().zip(x) {
        *q = (v * inverse).round() as i8 as u8;
    }
}

/// How the scale of a group of 32 is searched: largest value, and the trial divisors `max + first + step / 10` for `steps + 1` steps.
struct Search {
    max: i32,
    first: f32,
    steps: i32,
}

const FOUR_BITS: Search = Search { max: 15, first: -1.0, steps: 20 };
const FIVE_BITS: Search = Search { max: 31, first: -0.5, steps: 15 };

/// Scale and offset (not negative) of a group whose weighted squared error is least, and its values.
fn scale_and_min(x: &[f32], search: &Search, q: &mut [u8]) -> (f32, f32) {
    let mean = (x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32).sqrt();
    let weight = |v: f32| mean + v.abs();
    let (mut min, mut max, mut sum_w, mut sum_x) = (x[0], x[0], weight(x[0]), weight(x[0]) * x[0]);
    for v in &x[1..] {
        min = min.min(*v);
        max = max.max(*v);
        sum_w += weight(*v);
        sum_x += weight(*v) * v;
    }
    min = min.min(0.0);
    if max == min {
        q.fill(0);
        return (0.0, -min);
    }
    let whole = |v: f32, inverse: f32, min: f32| nearest(inverse * (v - min)).clamp(0, search.max);
    let start = search.max as f32 / (max - min);
    let mut scale = 1.0 / start;
    let mut best = 0.0;
    for (v, q) in x.iter().zip(q.iter_mut()) {
        *q = whole(*v, start, min) as u8;
        let miss = scale * f32::from(*q) + min - v;
        best += weight(*v) * (miss * miss);
    }
    let mut trial = [0_u8; 32];
    for step in 0..=search.steps {
        // `min` moves with every improvement, and the trials after it start from there.
        let inverse = (search.first + 0.1 * step as f32 + search.max as f32) / (max - min);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
        for (v, l) in x.iter().zip(&mut trial) {
            *l = whole(*v, inverse, min) as u8;
            let (w, l) = (weight(*v), f32::from(*l));
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * v;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant <= 0.0 {
            continue;
        }
        let mut this_scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let mut this_min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        if this_min > 0.0 {
            this_min = 0.0;
            this_scale = sum_xl / sum_l2;
        }
        let mut error = 0.0;
        for (v, l) in x.iter().zip(&trial) {
            let miss = this_scale * f32::from(*l) + this_min - v;
            error += weight(*v) * (miss * miss);
        }
        if error < best {
            q.copy_from_slice(&trial[..q.len()]);
            (best, scale, min) = (error, this_scale, this_min);
        }
    }
    (scale, -min)
}

/// The head of a block of 8 groups (d, dmin, 12 bytes of scales), and the values under the scales as they are stored.
fn eight_groups(x: &[f32], search: &Search, b: &mut [u8]) -> [u8; 256] {
    let mut q = [0_u8; 256];
    let (mut scales, mut mins) = ([0.0_f32; 8], [0.0_f32; 8]);
    for (j, (x, q)) in x.chunks_exact(32).zip(q.chunks_exact_mut(32)).enumerate() {
        (scales[j], mins[j]) = scale_and_min(x, search, q);
    }
    let largest = |all: &[f32; 8]| all.iter().fold(0.0_f32, |m, v| m.max(*v));
    let (max_scale, max_min) = (largest(&scales), largest(&mins));
    let ratio = |max: f32| if max > 0.0 { 63.0 / max } else { 0.0 };
    let (by_scale, by_min) = (ratio(max_scale), ratio(max_min));
    b[4..16].fill(0);
    for j in 0..8 {
        let scale = (nearest(by_scale * scales[j]) as u8).min(63);
        let min = (nearest(by_min * mins[j]) as u8).min(63);
        if j < 4 {
            b[4 + j] = scale;
            b[8 + j] = min;
        } else {
            b[8 + j] = (scale & 15) | ((min & 15) << 4);
            b[j] |= (scale >> 4) << 6;
            b[4 + j] |= (min >> 4) << 6;
        }
    }
    let (d, dmin) = (put_half(b, 0, max_scale / 63.0), put_half(b, 2, max_min / 63.0));
    for (j, (x, q)) in x.chunks_exact(32).zip(q.chunks_exact_mut(32)).enumerate() {
        let (scale, min) = scale_and_offset(&b[4..16], j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        if scale != 0.0 {
            for (v, q) in x.iter().zip(q) {
                *q = nearest((v + min) / scale).clamp(0, search.max) as u8;
            }
        }
    }
    q
}

fn q4_k(x: &[f32], b: &mut [u8]) {
    let q = eight_groups(x, &FOUR_BITS, b);
    for (pair, out) in q.chunks_exact(64).zip(b[16..144].chunks_exact_mut(32)) {
        for (l, out) in out.iter_mut().enumerate() {
            *out = pair[l] | (pair[l + 32] << 4);
        }
    }
}

fn q5_k(x: &[f32], b: &mut [u8]) {
    let q = eight_groups(x, &FIVE_BITS, b);
    b[16..48].fill(0);
    for (n, pair) in q.chunks_exact(64).enumerate() {
        for l in 0..32 {
            let (low, high) = (pair[l], pair[l + 32]);
            b[48 + n * 32 + l] = (low & 15) | ((high & 15) << 4);
            b[16 + l] |= ((low >> 4) << (2 * n)) | ((high >> 4) << (2 * n + 1));
        }
    }
}

/// Below this a group counts as zero.
const NOTHING: f32 = 1e-15;

/// The scale of a group around 0 whose squared error, weighted by the squares, is least, and its values counted from `-max`; of a group
/// of nothing, 0 everywhere.
fn signed_scale(x: &[f32], max: i32) -> (f32, [u8; 16]) {
    let mut q = [0_u8; 16];
    let largest = x.iter().fold(0.0_f32, |best, v| if v.abs() > best.abs() { *v } else { best });
    if largest.abs() < NOTHING {
        return (0.0, q);
    }
    let whole = |v: f32, inverse: f32| nearest(inverse * v).clamp(-max, max - 1);
    let sums = |inverse: f32| {
        x.iter().fold((0.0_f32, 0.0_f32), |(xl, l2), v| {
            let (w, l) = (v * v, whole(*v, inverse) as f32);
            (xl + w * v * l, l2 + w * l * l)
        })
    };
    let inverse = -max as f32 / largest;
    let (sum_xl, sum_l2) = sums(inverse);
    let mut chosen = inverse;
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_xl / sum_l2 };
    let mut best = scale * sum_xl;
    for step in (-9..=9).filter(|s| *s != 0) {
        let inverse = -(max as f32 + 0.1 * step as f32) / largest;
        let (sum_xl, sum_l2) = sums(inverse);
        if sum_l2 > 0.0 && sum_xl * sum_xl > best * sum_l2 {
            chosen = inverse;
            scale = sum_xl / sum_l2;
            best = scale * sum_xl;
        }
    }
    for (q, v) in q.iter_mut().zip(x) {
        *q = (whole(*v, chosen) + max) as u8;
    }
    (scale, q)
}

fn q6_k(x: &[f32], b: &mut [u8]) {
    let (mut scales, mut q) = ([0.0_f32; 16], [0_u8; 256]);
    for (j, (x, q)) in x.chunks_exact(16).zip(q.chunks_exact_mut(16)).enumerate() {
        let (scale, whole) = signed_scale(x, 32);
        scales[j] = scale;
        q.copy_from_slice(&whole);
    }
    b.fill(0);
    let largest = scales.iter().fold(0.0_f32, |best, s| if s.abs() > best.abs() { *s } else { best });
    if largest.abs() < NOTHING {
        return;
    }
    let inverse = -128.0 / largest;
    let d = put_half(b, 208, 1.0 / inverse);
    for (j, scale) in scales.iter().enumerate() {
        let stored = nearest(inverse * scale).min(127) as i8;
        b[192 + j] = stored as u8;
        let step = d * f32::from(stored);
        if step != 0.0 {
            for (v, q) in x[j * 16..].iter().zip(&mut q[j * 16..j * 16 + 16]) {
                *q = (nearest(v / step).clamp(-32, 31) + 32) as u8;
            }
        }
    }
    for (part, q) in q.chunks_exact(128).enumerate() {
        for l in 0..32 {
            let of = |quarter: usize| q[quarter * 32 + l];
            b[part * 64 + l] = (of(0) & 15) | ((of(2) & 15) << 4);
            b[part * 64 + 32 + l] = (of(1) & 15) | ((of(3) & 15) << 4);
            b[128 + part * 32 + l] = (of(0) >> 4) | ((of(1) >> 4) << 2) | ((of(2) >> 4) << 4) | ((of(3) >> 4) << 6);
        }
    }
}
