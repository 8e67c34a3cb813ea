//! Root-mean-square normalisation: y = x / sqrt(mean(x^2) + eps) * w (Zhang and Sennrich 2019, arXiv:1910.07467).

use std::borrow::Cow;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::WeightGrad;
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, Values, View, read_gpu};
use crate::ops::lanes::{dot, sum2, vectorized};
use crate::ops::slices::{floats, read, store, tensor_like};
use crate::profile;

/// Rows per partial sum of dw; the partial sums are added in order.
const ROWS: usize = 64;

#[derive(Clone)]
struct RmsNorm {
    width: usize,
    eps: f32,
    /// The weight where it is constant; where it is trained it is the op's second argument.
    frozen: Option<Tensor>,
}

/// y = x / sqrt(mean(x^2) + eps) * w over the last dimension; x (..., C), w (C).
///
/// Backward, with n = x / rms and g = dy * w: dx = (g - n mean(g n)) / rms; dw = sum over rows of dy * n, formed only
/// for [`WeightGrad::Trained`]. Nothing but x is kept.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64, grad: WeightGrad) -> Result<Tensor> {
    let &[width] = weight.dims() else {
        return Err(Error::shape("rms_norm", "weight", "(C)", weight.dims()));
    };
    if x.dims().last() != Some(&width) || width == 0 {
        return Err(Error::shape("rms_norm", "x", format!("(..., {width})"), x.dims()));
    }
    let op = RmsNorm { width, eps: eps as f32, frozen: None };
    Ok(match grad {
        WeightGrad::Frozen => x.apply_op1(RmsNorm { frozen: Some(weight.detach()), ..op })?,
        WeightGrad::Trained => x.apply_op2(weight, op)?,
    })
}

vectorized! {
    fn forward_row(y: &mut [f32], x: &[f32], w: &[f32], eps: f32) {
        let scale = 1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = x * scale * w;
        }
    }
}

vectorized! {
    fn backward_row(dx: &mut [f32], x: &[f32], w: &[f32], dy: &[f32], eps: f32) {
        let width = x.len() as f32;
        let scale = 1.0 / (dot(x, x) / width + eps).sqrt();
        for ((dx, d), w) in dx.iter_mut().zip(dy).zip(w) {
            *dx = d * w;
        }
        let mean = sum2(dx, x, |g, x| g * x) * scale * scale / width;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = (*dx - x * mean) * scale;
        }
    }
}

vectorized! {
    fn add_weight_grad(dw: &mut [f32], x: &[f32], dy: &[f32], eps: f32) {
        let scale = 1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt();
        for ((dw, x), d) in dw.iter_mut().zip(x).zip(dy) {
            *dw += d * (x * scale);
        }
    }
}

/// The forward over rows of `w.len()` values.
fn norm_rows(x: &[f32], w: &[f32], eps: f32) -> Vec<f32> {
    let _span = profile::span("rms_norm");
    let mut y = vec![0f32; x.len()];
    y.par_chunks_mut(w.len()).zip(x.par_chunks(w.len())).with_min_len(8).for_each(|(y, x)| forward_row(y, x, w, eps));
    y
}

/// The input gradient for the upstream gradient `dy`.
fn norm_rows_backward(x: &[f32], w: &[f32], eps: f32, dy: &[f32]) -> Vec<f32> {
    let _span = profile::span("rms_norm back");
    let mut dx = vec![0f32; x.len()];
    dx.par_chunks_mut(w.len())
        .zip(x.par_chunks(w.len()))
        .zip(dy.par_chunks(w.len()))
        .with_min_len(8)
        .for_each(|((dx, x), dy)| backward_row(dx, x, w, dy, eps));
    dx
}

/// A norm with a constant weight, as a part of a fused block.
#[derive(Clone, Copy)]
pub struct FrozenNorm<'a> {
    /// The weight (C).
    pub weight: &'a Tensor,
    /// The epsilon.
    pub eps: f64,
}

/// A norm inside an op: owns its weight.
pub(crate) struct NormLayer {
    weight: Tensor,
    eps: f32,
}

impl NormLayer {
    /// The norm, whose weight must have `width` values.
    pub(crate) fn new(op: &'static str, name: &'static str, norm: &FrozenNorm, width: usize) -> Result<Self> {
        if norm.weight.dims() != [width] || width == 0 {
            return Err(Error::shape(op, name, format!("({width})"), norm.weight.dims()));
        }
        Ok(Self { weight: norm.weight.detach(), eps: norm.eps as f32 })
    }

    /// Each row of x normalised.
    pub(crate) fn forward(&self, x: &[f32]) -> CandleResult<Vec<f32>> {
        read!(w = self.weight);
        Ok(norm_rows(x, &w, self.eps))
    }

    /// The gradient of x for the upstream gradient `dy`.
    pub(crate) fn backward(&self, x: &[f32], dy: &[f32]) -> CandleResult<Vec<f32>> {
        read!(w = self.weight);
        Ok(norm_rows_backward(x, &w, self.eps, dy))
    }

    /// Each row of x normalised, on a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn gpu_forward(&self, gpu: &Gpu, x: View) -> CandleResult<Values> {
        read_gpu!(gpu, w = self.weight);
        gpu.rms_norm(x, w, self.eps)
    }

    /// [residual +] the gradient of x for the upstream gradient `dy`, on a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn gpu_backward(&self, gpu: &Gpu, x: View, dy: View, residual: Option<View>) -> CandleResult<Values> {
        read_gpu!(gpu, w = self.weight);
        gpu.rms_norm_back(x, w, self.eps, dy, residual)
    }

    /// `residual` + the gradient of x: the backward of x + f(norm(x)).
    pub(crate) fn backward_onto(&self, residual: &[f32], x: &[f32], dy: &[f32]) -> CandleResult<Vec<f32>> {
        let _span = profile::span("rms_norm back");
        read!(w = self.weight);
        let (w, eps) = (&*w, self.eps);
        let mut dx = vec![0f32; x.len()];
        dx.par_chunks_mut(w.len())
            .zip(x.par_chunks(w.len()))
            .zip(dy.par_chunks(w.len()))
            .zip(residual.par_chunks(w.len()))
            .with_min_len(8)
            .for_each(|(((dx, x), dy), residual)| {
                backward_row(dx, x, w, dy, eps);
                for (dx, r) in dx.iter_mut().zip(residual) {
                    *dx += r;
                }
            });
        Ok(dx)
    }
}

/// x through a norm, or x itself where there is none.
pub(crate) fn normed<'a>(norm: Option<&NormLayer>, x: &'a [f32]) -> CandleResult<Cow<'a, [f32]>> {
    Ok(match norm {
        None => Cow::Borrowed(x),
        Some(norm) => Cow::Owned(norm.forward(x)?),
    })
}

impl RmsNorm {
    fn input_grad(&self, x: &Tensor, w: &Tensor, dy: &Tensor) -> CandleResult<Tensor> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let gpu = Gpu::of_tensor(x)?;
            read_gpu!(gpu, xs = x);
            read_gpu!(gpu, w = w);
            read_gpu!(gpu, dy = dy);
            return Ok(gpu.rms_norm_back(xs, w, self.eps, dy, None)?.into_tensor(x.shape()));
        }
        read!(xs = x);
        read!(w = w);
        read!(dy = dy);
        let dx = norm_rows_backward(&xs, &w, self.eps, &dy);
        tensor_like(dx, x)
    }

    fn weight_grad(&self, x: &Tensor, w: &Tensor, dy: &Tensor) -> CandleResult<Tensor> {
        read!(x = x);
        read!(dy = dy);
        let piece = ROWS * self.width;
        let parts: Vec<Vec<f32>> = x
            .par_chunks(piece)
            .zip(dy.par_chunks(piece))
            .map(|(x, dy)| {
                let mut dw = vec![0f32; self.width];
                for (x, dy) in x.chunks_exact(self.width).zip(dy.chunks_exact(self.width)) {
                    add_weight_grad(&mut dw, x, dy, self.eps);
                }
                dw
            })
            .collect();
        let mut dw = vec![0f32; self.width];
        for part in parts {
            for (v, p) in dw.iter_mut().zip(part) {
                *v += p;
            }
        }
        tensor_like(dw, w)
    }
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm-frozen"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let weight = self.frozen.as_ref().expect("the one-argument form holds its weight");
        read!(w = weight);
        Ok((store(norm_rows(&floats(s, l)?, &w, self.eps), s.dtype())?, l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s.device)?;
        let weight = self.frozen.as_ref().expect("the one-argument form holds its weight");
        read_gpu!(gpu, w = weight);
        Ok((gpu.rms_norm(View::of(gpu, s, l)?, w, self.eps)?.into_storage(), l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let weight = self.frozen.as_ref().expect("the one-argument form holds its weight");
        Ok(Some(self.input_grad(x, weight, dy)?))
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((store(norm_rows(&floats(s1, l1)?, &floats(s2, l2)?, self.eps), s1.dtype())?, l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s1.device)?;
        let y = gpu.rms_norm(View::of(gpu, s1, l1)?, View::of(gpu, s2, l2)?, self.eps)?;
        Ok((y.into_storage(), l1.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let dx = x.track_op().then(|| self.input_grad(x, w, dy)).transpose()?;
        Ok((dx, Some(self.weight_grad(x, w, dy)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};

    #[test]
    fn agrees_with_stock_norm_and_finite_differences() -> Result<()> {
        for shape in [vec![1, 1], vec![3, 7], vec![2, 5, 33], vec![70, 19]] {
            let width = *shape.last().unwrap();
            let (x, w) = (noise(&shape, 1)?, noise(&[width], 2)?);
            let rms = ((x.sqr()?.mean_keepdim(candle_core::D::Minus1)? + 1e-5)?).sqrt()?;
            let want = x.broadcast_div(&rms)?.broadcast_mul(&w)?;
            assert_close(&rms_norm(&x, &w, 1e-5, WeightGrad::Frozen)?, &want, 2e-6);
            check(&[x.clone(), w.clone()], |t| rms_norm(&t[0], &t[1], 1e-5, WeightGrad::Trained));
            check(&[x], |t| rms_norm(&t[0], &w, 1e-5, WeightGrad::Frozen));
        }
        Ok(())
    }

    #[test]
    fn weight_gradient_is_the_same_bits_on_any_number_of_threads() -> Result<()> {
        same_bits_on_any_threads(&[noise(&[200, 48], 1)?, noise(&[48], 2)?], |t| {
            rms_norm(&t[0], &t[1], 1e-6, WeightGrad::Trained)
        });
        Ok(())
    }
}
