//! A frozen weight in fewer bits, in bitsandbytes' layouts or in GGUF's q8_0, and back. Which weights are quantised is the decoder's choice; products with
//! them are in `ops::matmul`.
//!
//! Values follow the algorithm of bitsandbytes' reference backend to the last bit: the levels and thresholds, blocks over the flattened
//! matrix, the first of two values in the high half of a byte. Where its backends differ, the one in plain PyTorch is meant: its C++
//! backend takes a shortcut to the nearest 8-bit level and wants whole blocks in a row, and its CUDA kernels scale a last, shorter
//! block by the reciprocal.

mod arena;
mod dynamic;
mod four_bit;
mod int8;
mod q8_0;
mod stored;

use crate::{Error, Result};
use candle_core::{Device, Tensor};
use half::bf16;
use rayon::prelude::*;
use tb_core::quantization::Quantization;

pub(crate) use arena::Arena;
pub(crate) use dynamic::{Map, dequantise as dequantise_bytes, quantise as quantise_bytes};
use four_bit::FourBit;
use int8::Int8;
pub(crate) use q8_0::{BLOCK as Q8_0_BLOCK, Q8_0};
pub(crate) use stored::read as read_stored;

/// Values dequantised by one task at a time.
const PIECE: usize = 1 << 13;

/// The numbers to which a dequantised weight is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// As they are.
    F32,
    /// To bfloat16, nearest even.
    Bf16,
}

/// A constant matrix (O, I) in 8 or 4 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    rows: usize,
    columns: usize,
    form: Form,
    rounding: Rounding,
    #[cfg(feature = "cuda")]
    on_gpu: crate::ops::gpu::OnGpu,
}

/// A matrix as a GPU takes it.
#[cfg(feature = "cuda")]
pub(crate) struct Packed {
    /// Signed bytes, or two codes in each.
    pub(crate) bytes: Vec<u8>,
    /// One per row, or per block of 64 values.
    pub(crate) scales: Vec<f32>,
    /// The levels of 4-bit codes.
    pub(crate) levels: Option<&'static [f32; 16]>,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Int8(Int8),
    FourBit(FourBit),
    Q8_0(Q8_0),
}

impl Quantised {
    /// The matrix (O, I), row-major in `values`, in the form of `quantization`.
    ///
    /// Errors: a number of values that does not fit, a value that is not finite.
    pub fn new(
        values: &[f32],
        (rows, columns): (usize, usize),
        quantization: Quantization,
        rounding: Rounding,
    ) -> Result<Self> {
        if values.len() != rows * columns {
            let what = format!("{} values are no matrix of {rows} x {columns}", values.len());
            return Err(Error::value("quantise", what));
        }
        if !values.par_chunks(PIECE).all(|part| part.iter().all(|v| v.is_finite())) {
            return Err(Error::value("quantise", "a weight is not a finite number"));
        }
        let form = match quantization {
            Quantization::EightBit => Form::Int8(Int8::new(values, columns)?),
            Quantization::FourBit { kind, scales, .. } => Form::FourBit(FourBit::new(values, kind, scales)),
        };
        Ok(Self::of(rows, columns, form, rounding))
    }

    fn of(rows: usize, columns: usize, form: Form, rounding: Rounding) -> Self {
        Self {
            rows,
            columns,
            form,
            rounding,
            #[cfg(feature = "cuda")]
            on_gpu: Default::default(),
        }
    }

    /// What a GPU is sent.
    #[cfg(feature = "cuda")]
    pub(crate) fn packed(&self) -> Packed {
        match &self.form {
            Form::Int8(form) => form.packed(),
            Form::FourBit(form) => form.packed(),
            Form::Q8_0(_) => unreachable!("blocks of q8_0 are kept on the CPU alone"),
        }
    }

    /// The copy that a GPU holds.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_gpu(&self) -> &crate::ops::gpu::OnGpu {
        &self.on_gpu
    }

    /// A matrix (O, I) that a GGUF file holds in q8_0; lengths are the caller's care.
    pub(crate) fn from_q8_0(form: Q8_0, (rows, columns): (usize, usize), rounding: Rounding) -> Self {
        Self::of(rows, columns, Form::Q8_0(form), rounding)
    }

    /// The blocks, if it is held in q8_0.
    pub(crate) fn q8_0(&self) -> Option<&Q8_0> {
        match &self.form {
            Form::Q8_0(form) => Some(form),
            Form::Int8(_) | Form::FourBit(_) => None,
        }
    }

    /// (O, I).
    #[must_use]
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Memory of weights and scales.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match &self.form {
            Form::Int8(form) => form.size_bytes(),
            Form::FourBit(form) => form.size_bytes(),
            Form::Q8_0(form) => form.size_bytes(),
        }
    }

    /// The dequantised rows from `first` on, as many as fit in `out`, which holds whole rows.
    pub(crate) fn rows_into(&self, first: usize, out: &mut [f32]) {
        let start = first * self.columns;
        out.par_chunks_mut(PIECE).enumerate().for_each(|(piece, out)| {
            self.piece_into(start + piece * PIECE, out);
            match self.rounding {
                Rounding::F32 => {}
                Rounding::Bf16 => out.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32()),
            }
        });
    }

    /// The dequantised rows of these numbers, (N, I) f32. An id of O or more is refused.
    pub(crate) fn rows_of(&self, ids: &[u32]) -> Result<Tensor> {
        let mut values = vec![0f32; ids.len() * self.columns];
        for (id, row) in ids.iter().zip(values.chunks_exact_mut(self.columns.max(1))) {
            if *id as usize >= self.rows {
                let what = format!("token id {id} is not in the vocabulary of {}", self.rows);
                return Err(Error::value("embedding", what));
            }
            self.rows_into(*id as usize, row);
        }
        Ok(Tensor::from_vec(values, (ids.len(), self.columns), &Device::Cpu)?)
    }

    /// As [`Self::rows_into`], for [`Rounding::Bf16`].
    pub(crate) fn narrow_rows_into(&self, first: usize, out: &mut [bf16]) {
        let start = first * self.columns;
        out.par_chunks_mut(PIECE).enumerate().for_each_init(
            || vec![0f32; PIECE],
            |wide, (piece, out)| {
                let wide = &mut wide[..out.len()];
                self.piece_into(start + piece * PIECE, wide);
                out.iter_mut().zip(wide).for_each(|(out, v)| *out = bf16::from_f32(*v));
            },
        );
    }

    /// The values from `at` on of the flattened matrix, not rounded.
    fn piece_into(&self, at: usize, out: &mut [f32]) {
        match &self.form {
            Form::Int8(form) => form.dequantise(at, self.columns, out),
            Form::FourBit(form) => form.dequantise(at, out),
            Form::Q8_0(form) => form.dequantise(at, out),
        }
    }

    /// The numbers to which values are rounded as they are dequantised.
    pub(crate) fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// The whole dequantised matrix, (O, I) f32.
    pub fn dequantise(&self) -> Result<Tensor> {
        let mut values = vec![0f32; self.rows * self.columns];
        self.rows_into(0, &mut values);
        Ok(Tensor::from_vec(values, (self.rows, self.columns), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests;
