//! Values in 8 bits: blocks of 256 with an f32 scale each, and one of two maps of 256 levels whose steps are finer near zero.
//!
//! Dettmers, "8-Bit Approximations for Parallelism in Deep Learning", 2015 (the dynamic map), and Dettmers et al., "8-bit Optimizers via
//! Block-wise Quantization", 2022 (the blocks).

use std::sync::LazyLock;
use tb_core::quantization::BYTE_BLOCK;

/// Scales below this count as this: the reciprocal stays finite.
pub(super) const SMALLEST_SCALE: f32 = 1e-38;

/// 256 ascending levels and the thresholds between them.
pub(crate) struct Map {
    levels: [f32; 256],
    /// Threshold i parts level i (at or below it) from level i + 1.
    thresholds: [f32; 255],
}

impl Map {
    /// Levels from -0.993 to 1.
    pub(crate) fn signed() -> &'static Self {
        static MAP: LazyLock<Map> = LazyLock::new(|| Map::new(levels(Sign::Both)));
        &MAP
    }

    /// Levels from 0 to 1.
    pub(crate) fn unsigned() -> &'static Self {
        static MAP: LazyLock<Map> = LazyLock::new(|| Map::new(levels(Sign::Plus)));
        &MAP
    }

    fn new(levels: [f32; 256]) -> Self {
        let thresholds = std::array::from_fn(|i| (levels[i] + levels[i + 1]) / 2.0);
        Self { levels, thresholds }
    }

    /// The levels, ascending.
    pub(crate) fn levels(&self) -> &[f32; 256] {
        &self.levels
    }

    /// The level nearest to a value in -1..=1; halfway between two it is the lower.
    fn nearest(&self, value: f32) -> u8 {
        self.thresholds.partition_point(|t| *t < value) as u8
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Both,
    Plus,
}

/// For every exponent -6..=0 the middles of 2^k (without a sign: 2^(k+1)) equal parts of 0.1..1, times 10^exponent; 0 and 1.
fn levels(sign: Sign) -> [f32; 256] {
    let mut all = Vec::with_capacity(256);
    for exponent in 0..7u32 {
        let parts = 1usize << (exponent + u32::from(sign == Sign::Plus));
        let bounds = linspace(parts + 1);
        for pair in bounds.windows(2) {
            // 10^exponent is a double, the middle a float: torch rounds the double first.
            let level = 10f64.powi(exponent as i32 - 6) as f32 * ((pair[0] + pair[1]) / 2.0);
            all.push(level);
            if sign == Sign::Both {
                all.push(-level);
            }
        }
    }
    all.extend([0.0, 1.0]);
    all.sort_by(f32::total_cmp);
    all.try_into().expect("127 middles of either sign, or 254, with 0 and 1 are 256")
}

/// torch.linspace(0.1, 1, n) in f32: from both ends to the middle, with fused multiply-adds (torch's kernels for AVX2 and AVX-512).
fn linspace(n: usize) -> Vec<f32> {
    let step = (1.0 - 0.1f32) / (n - 1) as f32;
    let up = |i: usize| step.mul_add(i as f32, 0.1);
    let down = |i: usize| (-step).mul_add((n - 1 - i) as f32, 1.0);
    (0..n).map(|i| if i < n / 2 { up(i) } else { down(i) }).collect()
}

/// A block's values divided by its scale, into -1..=1.
pub(super) fn scaled(value: f32, scale: f32, whole: Whole) -> f32 {
    let scale = scale.max(SMALLEST_SCALE);
    match whole {
        Whole::Yes => value * (1.0 / scale),
        Whole::Rest => value / scale,
    }
    .clamp(-1.0, 1.0)
}

/// Whether a block has its full length; bitsandbytes divides a shorter last one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    Rest,
}

/// The scale of a block: its largest magnitude.
pub(super) fn scale_of(block: &[f32], whole: Whole) -> f32 {
    let largest = block.iter().fold(0f32, |m, v| m.max(v.abs()));
    match whole {
        Whole::Yes => largest,
        Whole::Rest => largest.max(SMALLEST_SCALE),
    }
}

/// One block (up to 256 values) in 8 bits; its scale.
pub(crate) fn quantise(values: &[f32], map: &Map, into: &mut [u8]) -> f32 {
    let whole = if values.len() == BYTE_BLOCK { Whole::Yes } else { Whole::Rest };
    let scale = scale_of(values, whole);
    for (byte, v) in into.iter_mut().zip(values) {
        *byte = map.nearest(scaled(*v, scale, whole));
    }
    scale
}

/// One block back.
pub(crate) fn dequantise(bytes: &[u8], scale: f32, map: &Map, into: &mut [f32]) {
    for (v, byte) in into.iter_mut().zip(bytes) {
        *v = map.levels[usize::from(*byte)] * scale;
    }
}
