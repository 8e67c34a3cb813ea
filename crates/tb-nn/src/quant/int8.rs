//! LLM.int8()'s weights: a signed byte per weight and the largest magnitude of each row (Dettmers et al. 2022, "vector-wise").
//!
//! A weight is byte * scale / 127. bitsandbytes multiplies bytes of the activations too, except in columns with outliers, where it takes the
//! dequantised weight; here every column is taken that way, forward and backward, so activations lose nothing.

use crate::{Error, Result};
use half::f16;
use rayon::prelude::*;

/// bitsandbytes' 1 / 127.
const PER_STEP: f32 = 7.874_016e-3;

/// Bytes and the scale of each row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Int8 {
    values: Vec<i8>,
    scales: Vec<f32>,
}

impl Int8 {
    /// Weights pass through f16, as in bitsandbytes. Errors: a weight beyond f16.
    pub(super) fn new(values: &[f32], columns: usize) -> Result<Self> {
        let columns = columns.max(1);
        let mut bytes = vec![0i8; values.len()];
        let scales: Vec<f32> = bytes
            .par_chunks_mut(columns)
            .zip(values.par_chunks(columns))
            .map(|(bytes, row)| {
                let half = |v: &f32| f16::from_f32(*v).to_f32();
                let scale = row.iter().map(half).fold(0f32, |m, v| m.max(v.abs()));
                if scale > 0.0 {
                    // As torch computes 127 / scale.
                    let factor = 1.0 / scale * 127.0;
                    for (byte, v) in bytes.iter_mut().zip(row) {
                        *byte = (half(v) * factor).round_ties_even() as i8;
                    }
                }
                scale
            })
            .collect();
        if scales.iter().any(|s| !s.is_finite()) {
            return Err(Error::value("quantise", "a weight is beyond the range of float16, through which int8 goes"));
        }
        Ok(Self { values: bytes, scales })
    }

    /// From parts that were stored; lengths are the caller's care.
    pub(super) fn from_parts(values: Vec<i8>, scales: Vec<f32>) -> Self {
        Self { values, scales }
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&[i8], &[f32]) {
        (&self.values, &self.scales)
    }

    #[cfg(feature = "cuda")]
    pub(super) fn packed(&self) -> crate::quant::Packed {
        let bytes = self.values.iter().map(|v| *v as u8).collect();
        crate::quant::Packed { bytes, scales: self.scales.clone(), levels: None }
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.values.len() + 4 * self.scales.len()
    }

    /// The values from number `start` on.
    pub(super) fn dequantise(&self, start: usize, columns: usize, mut out: &mut [f32]) {
        let mut at = start;
        while !out.is_empty() {
            let n = (columns - at % columns).min(out.len());
            let (part, rest) = out.split_at_mut(n);
            let scale = self.scales[at / columns];
            for (v, byte) in part.iter_mut().zip(&self.values[at..]) {
                *v = f32::from(*byte) * scale * PER_STEP;
            }
            (at, out) = (at + n, rest);
        }
    }
}
