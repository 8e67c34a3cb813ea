//! Dropout of an adapter's input: which elements are kept, as bits, and the operation for an adapter that needs the dropped input more than once.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;
use tb_core::random::Stream;

use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, Mask, Values, View, read_gpu};
use crate::ops::lanes::vectorized;
use crate::ops::slices::{floats, read, store, tensor_like};

/// Dropout of the adapter's input x (B, T, I): element i of token t of row b is kept when word t I + i of the stream of row
/// `first_row` + b says so, then scaled by 1 / (1 - p). So a step drops the same elements however it is cut into micro-batches.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The share of elements set to zero, in 0..1 (1 excluded).
    pub p: f32,
    /// The random words of this layer at this step; each row has a stream of its own in it.
    pub stream: Stream,
    /// Rows of the step before this micro-batch.
    pub first_row: u32,
}

/// Dropout of an input whose rows have `width` tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowDropout {
    dropout: Dropout,
    width: usize,
}

/// Rows handled at a time, so that the masked copy of x stays in the cache; as many as a mask word has bits.
pub(super) const BLOCK_ROWS: usize = 64;
struct Dropped(RowDropout);

/// drop(x): x with the dropped elements 0 and the others scaled, for an adapter that needs it more than once.
pub fn dropped(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    Ok(match dropout.checked(row_width(x))? {
        None => x.clone(),
        Some(dropout) => x.apply_op1(Dropped(dropout))?,
    })
}

impl Dropped {
    /// Masks values of the shape of x in place.
    fn mask(&self, values: &mut [f32], shape: &Shape) {
        let width = shape.dims().last().copied().unwrap_or(1).max(1);
        // 64 rows are a whole number of mask words, whatever the width.
        values.par_chunks_mut(BLOCK_ROWS * width).enumerate().for_each_init(Vec::new, |words, (block, values)| {
            words.clear();
            words.resize(values.len().div_ceil(64), 0u64);
            self.0.mask(width, block * BLOCK_ROWS, values.len() / width, words);
            apply_mask(values, words, self.0.scale());
        });
    }
}

#[cfg(feature = "cuda")]
impl Dropped {
    /// Values of this shape, masked.
    fn gpu_masked(&self, gpu: &Gpu, values: View, shape: &Shape) -> CandleResult<Values> {
        let tokens = shape.elem_count() / shape.dims().last().copied().unwrap_or(1).max(1);
        let masked = gpu.dropout(values, &self.0.on_gpu(tokens), None)?;
        Ok(masked.expect("there is a new value where nothing is added to"))
    }
}

impl CustomOp1 for Dropped {
    fn name(&self) -> &'static str {
        "dropped"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let mut y = floats(s, l)?.into_owned();
        self.mask(&mut y, l.shape());
        Ok((store(y, s.dtype())?, l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s.device)?;
        Ok((self.gpu_masked(gpu, View::of(gpu, s, l)?, l.shape())?.into_storage(), l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let gpu = Gpu::of_tensor(x)?;
            read_gpu!(gpu, dy = dy);
            return Ok(Some(self.gpu_masked(gpu, dy, x.shape())?.into_tensor(x.shape())));
        }
        read!(dy = dy);
        let mut dx = dy.to_vec();
        self.mask(&mut dx, x.shape());
        Ok(Some(tensor_like(dx, x)?))
    }
}

/// Tokens of a row of x (..., T, I).
pub(crate) fn row_width(x: &Tensor) -> usize {
    x.dims().iter().rev().nth(1).copied().unwrap_or(1)
}

impl Dropout {
    /// Itself for rows of `width` tokens, `None` where it drops nothing, an error where p is out of range.
    pub(crate) fn checked(self, width: usize) -> Result<Option<RowDropout>> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(Error::value("dropout", format!("p must be at least 0 and below 1, got {}", self.p)));
        }
        Ok((self.p > 0.0).then_some(RowDropout { dropout: self, width: width.max(1) }))
    }
}

impl RowDropout {
    /// The mask of `tokens` tokens of `inputs` elements from token `first` (a multiple of 64) as bits, lowest first: set where the
    /// element is kept.
    pub(super) fn mask(&self, inputs: usize, first: usize, tokens: usize, words: &mut [u64]) {
        let threshold = self.threshold();
        let mut token = first;
        while token < first + tokens {
            let (row, t) = (token / self.width, token % self.width);
            let run = (self.width - t).min(first + tokens - token);
            let stream = self.dropout.stream.child(u64::from(self.dropout.first_row) + row as u64);
            let from = (token - first) * inputs;
            if inputs.is_multiple_of(64) {
                let words = &mut words[from / 64..(from + run * inputs) / 64];
                mask_words(words, &stream, (t * inputs / 4) as u32, threshold);
            } else {
                // Rows do not begin with a word: bit by bit.
                let mut block = [0; 4];
                for k in 0..run * inputs {
                    let element = t * inputs + k;
                    if k == 0 || element.is_multiple_of(4) {
                        block = stream.block_at((element / 4) as u32);
                    }
                    let (word, bit) = ((from + k) / 64, (from + k) % 64);
                    let kept = u64::from(block[element % 4] >= threshold);
                    words[word] = words[word] & !(1 << bit) | kept << bit;
                }
            }
            token += run;
        }
    }

    /// The mask of `tokens` tokens as a GPU makes it.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_gpu(&self, tokens: usize) -> Mask {
        Mask {
            stream: self.dropout.stream.words(),
            first_row: self.dropout.first_row,
            rows: tokens / self.width,
            threshold: self.threshold(),
            scale: self.scale(),
        }
    }

    /// A word at or above this keeps its element.
    fn threshold(&self) -> u32 {
        (f64::from(self.dropout.p) * 4_294_967_296.0) as u32
    }

    pub(super) fn scale(&self) -> f32 {
        1.0 / (1.0 - self.dropout.p)
    }
}

vectorized! {
    fn mask_words(words: &mut [u64], stream: &Stream, first: u32, threshold: u32) {
        for (i, word) in words.iter_mut().enumerate() {
            *word = 0;
            for quarter in 0..16 {
                let four = stream.block_at(first.wrapping_add(16 * i as u32 + quarter));
                let bits = four.iter().rev().fold(0u64, |bits, w| bits << 1 | u64::from(*w >= threshold));
                *word |= bits << (4 * quarter);
            }
        }
    }
}

vectorized! {
    /// Multiplies values by their mask bit and `scale`; the first value is the lowest bit of the first word.
    pub(super) fn apply_mask(values: &mut [f32], words: &[u64], scale: f32) {
        let (full, rest) = values.as_chunks_mut::<64>();
        for (block, word) in full.iter_mut().zip(words) {
            for (half, bits) in block.as_chunks_mut::<32>().0.iter_mut().zip([*word as u32, (*word >> 32) as u32]) {
                for (k, v) in half.iter_mut().enumerate() {
                    *v *= if bits >> k & 1 == 1 { scale } else { 0.0 };
                }
            }
        }
        if let Some(word) = words.get(full.len()) {
            for (k, v) in rest.iter_mut().enumerate() {
                *v *= if word >> k & 1 == 1 { scale } else { 0.0 };
            }
        }
    }
}
