//! GGUF's q8_0 as it is stored: a signed byte per weight and an f16 scale per 32 of a row. A weight is byte * scale, exact in f32.

use half::f16;
use rayon::prelude::*;

use super::arena::{Arena, Part};
use crate::Result;

/// Weights that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Bytes of a stored block: the scale, then the weights.
const BLOCK_BYTES: usize = 2 + BLOCK;

/// Bytes and scales of whole rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Q8_0 {
    pub(crate) values: Part<i8>,
    pub(crate) scales: Part<f16>,
}

impl Q8_0 {
    /// A matrix (rows, columns) of stored blocks, of which `row` gives a row, in the arena; none where a scale is not finite.
    pub(crate) fn from_stored<'a>(
        arena: &Arena,
        (rows, columns): (usize, usize),
        row: impl Fn(usize) -> &'a [u8] + Sync,
    ) -> Result<Option<Self>> {
        let blocks = |at: usize| row(at).as_chunks::<BLOCK_BYTES>().0;
        let values = arena.part(rows * columns, |values: &mut [i8]| {
            values.par_chunks_mut(columns.max(1)).enumerate().with_min_len(16).for_each(|(at, values)| {
                for (values, block) in values.as_chunks_mut::<BLOCK>().0.iter_mut().zip(blocks(at)) {
                    *values = std::array::from_fn(|k| block[2 + k] as i8);
                }
            });
        })?;
        let scales = arena.part(rows * columns / BLOCK, |scales: &mut [f16]| {
            for (at, scales) in scales.chunks_mut((columns / BLOCK).max(1)).enumerate() {
                for (scale, block) in scales.iter_mut().zip(blocks(at)) {
                    *scale = f16::from_le_bytes([block[0], block[1]]);
                }
            }
        })?;
        Ok(scales.iter().all(|scale| scale.is_finite()).then_some(Self { values, scales }))
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.values.len() + 2 * self.scales.len()
    }

    /// The values from number `start` on.
    pub(super) fn dequantise(&self, start: usize, mut out: &mut [f32]) {
        let mut at = start;
        while !out.is_empty() {
            let n = (BLOCK - at % BLOCK).min(out.len());
            let (part, rest) = out.split_at_mut(n);
            let scale = self.scales[at / BLOCK].to_f32();
            for (v, byte) in part.iter_mut().zip(&self.values[at..]) {
                *v = scale * f32::from(*byte);
            }
            (at, out) = (at + n, rest);
        }
    }
}
