//! NEFTune (Jain et al. 2023, arXiv:2310.05914): in training, uniform noise on the embedded tokens.
//!
//! Each sample gets values uniform in (-1, 1) times alpha / sqrt(L C), with its own length L and the width C. (transformers takes the
//! padded length for L, which would make the noise of a sample depend on its neighbours in the batch.)

use super::Pass;
use super::batch::Batch;
use super::linear::Context;
use crate::Result;
use candle_core::Tensor;
use rayon::prelude::*;
use tb_core::random::{Purpose, Stream, unit_f32};

/// x (B, T, C) with noise on every token that is no padding, where the pass wants it; the gradient passes through.
pub(super) fn noisy(x: Tensor, batch: &Batch, ctx: Context) -> Result<Tensor> {
    let Pass::Train { seed, step, first_row } = ctx.pass else { return Ok(x) };
    if ctx.noise_alpha <= 0.0 {
        return Ok(x);
    }
    let (rows, width, c) = x.dims3()?;
    let stream = Stream::new(seed, step, Purpose::Noise, 0);
    let mut noise = vec![0f32; rows * width * c];
    noise.par_chunks_mut(width * c).enumerate().for_each(|(row, noise)| {
        let stream = stream.child(u64::from(first_row) + row as u64);
        for (sample, (first, tokens)) in batch.row_samples(row).enumerate() {
            let size = (ctx.noise_alpha / ((tokens * c) as f64).sqrt()) as f32;
            let stream = stream.child(sample as u64);
            for (block, out) in noise[first * c..(first + tokens) * c].chunks_mut(4).enumerate() {
                for (v, word) in out.iter_mut().zip(stream.block_at(block as u32)) {
                    *v = (2.0 * unit_f32(word) - 1.0) * size;
                }
            }
        }
    });
    let noise = Tensor::from_vec(noise, (rows, width, c), x.device())?.to_dtype(x.dtype())?;
    Ok((x + noise)?)
}
