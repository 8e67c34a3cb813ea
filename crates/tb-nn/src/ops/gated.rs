//! The elementwise part of a gated feed-forward layer: y = act(gate) * up (Shazeer 2020, arXiv:2002.05202).
//!
//! silu(g) = g / (1 + e^-g); gelu(g) = g (1 + tanh(k (g + 0.044715 g^3))) / 2 with k = sqrt(2 / pi).

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;
use tb_core::decoder_config::Activation;

use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, View, read_gpu};
use crate::ops::lanes::{sigmoid, tanh, vectorized};
use crate::ops::slices::{floats, read, store, tensor_like};
use crate::profile;

/// Elements per parallel piece.
const PIECE: usize = 1 << 14;
/// sqrt(2 / pi).
const ROOT: f32 = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
/// Of the cubic term of the approximation of gelu.
const CUBIC: f32 = 0.044_715;

struct Gated {
    activation: Activation,
}

/// y = act(gate) * up, elementwise over equal shapes.
///
/// Backward: dup = dy * act(g), dgate = dy * up * act'(g); with s = sigmoid(g), silu' = s (1 + g (1 - s)), and with t the tanh,
/// gelu' = (1 + t) / 2 + g (1 - t^2) k (1 + 3 * 0.044715 g^2) / 2.
pub fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        return Err(Error::shape("gated", "up", format!("{:?}", gate.dims()), up.dims()));
    }
    Ok(gate.apply_op2(up, Gated { activation })?)
}

vectorized! {
    fn silu_piece(y: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
            *y = g * sigmoid(*g) * u;
        }
    }
}

vectorized! {
    fn silu_grads(dgate: &mut [f32], dup: &mut [f32], gate: &[f32], up: &[f32], dy: &[f32]) {
        for ((((dg, du), g), u), d) in dgate.iter_mut().zip(dup).zip(gate).zip(up).zip(dy) {
            let s = sigmoid(*g);
            *dg = d * u * s * (1.0 + g * (1.0 - s));
            *du = d * g * s;
        }
    }
}

vectorized! {
    fn gelu_piece(y: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
            let t = tanh(ROOT * (g + CUBIC * (g * g * g)));
            *y = 0.5 * g * (1.0 + t) * u;
        }
    }
}

vectorized! {
    fn gelu_grads(dgate: &mut [f32], dup: &mut [f32], gate: &[f32], up: &[f32], dy: &[f32]) {
        for ((((dg, du), g), u), d) in dgate.iter_mut().zip(dup).zip(gate).zip(up).zip(dy) {
            let t = tanh(ROOT * (g + CUBIC * (g * g * g)));
            let slope = ROOT * (1.0 + 3.0 * CUBIC * (g * g));
            *dg = d * u * (0.5 * (1.0 + t) + 0.5 * g * (1.0 - t * t) * slope);
            *du = d * (0.5 * g * (1.0 + t));
        }
    }
}

/// act(gate) * up, elementwise.
pub(crate) fn forward(activation: Activation, gate: &[f32], up: &[f32]) -> Vec<f32> {
    let _span = profile::span("gated");
    let piece = match activation {
        Activation::Silu => silu_piece,
        Activation::GeluTanh => gelu_piece,
    };
    let mut y = vec![0f32; gate.len()];
    y.par_chunks_mut(PIECE)
        .zip(gate.par_chunks(PIECE))
        .zip(up.par_chunks(PIECE))
        .for_each(|((y, g), u)| piece(y, g, u));
    y
}

/// (dgate, dup) for the upstream gradient dy, elementwise.
pub(crate) fn backward(activation: Activation, gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let _span = profile::span("gated back");
    let piece = match activation {
        Activation::Silu => silu_grads,
        Activation::GeluTanh => gelu_grads,
    };
    let (mut dg, mut du) = (vec![0f32; gate.len()], vec![0f32; gate.len()]);
    dg.par_chunks_mut(PIECE)
        .zip(du.par_chunks_mut(PIECE))
        .zip(gate.par_chunks(PIECE))
        .zip(up.par_chunks(PIECE))
        .zip(dy.par_chunks(PIECE))
        .for_each(|((((dg, du), g), u), d)| piece(dg, du, g, u, d));
    (dg, du)
}

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let y = forward(self.activation, &floats(s1, l1)?, &floats(s2, l2)?);
        Ok((store(y, s1.dtype())?, l1.shape().clone()))
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
        let y = gpu.gated(self.activation, View::of(gpu, s1, l1)?, View::of(gpu, s2, l2)?)?;
        Ok((y.into_storage(), l1.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if gate.device().is_cuda() {
            let gpu = Gpu::of_tensor(gate)?;
            read_gpu!(gpu, g = gate);
            read_gpu!(gpu, u = up);
            read_gpu!(gpu, d = dy);
            let [dg, du] = gpu.gated_back(self.activation, g, u, d)?;
            return Ok((Some(dg.into_tensor(gate.shape())), Some(du.into_tensor(up.shape()))));
        }
        read!(g = gate);
        read!(u = up);
        read!(d = dy);
        let (dg, du) = backward(self.activation, &g, &u, &d);
        Ok((Some(tensor_like(dg, gate)?), Some(tensor_like(du, up)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_close, check, noise};
    use candle_core::DType;

    #[test]
    fn agrees_with_the_stock_activations_and_finite_differences() -> Result<()> {
        for shape in [vec![1, 1], vec![3, 7], vec![2, 5, 33]] {
            let (gate, up) = ((noise(&shape, 1)? * 3.0)?, noise(&shape, 2)?);
            assert_close(&gated(&gate, &up, Activation::Silu)?, &(gate.silu()? * &up)?, 1e-6);
            // Candle's `gelu` is this approximation.
            assert_close(&gated(&gate, &up, Activation::GeluTanh)?, &(gate.gelu()? * &up)?, 1e-6);
            for activation in [Activation::Silu, Activation::GeluTanh] {
                check(&[gate.clone(), up.clone()], |t| gated(&t[0], &t[1], activation));
            }
        }
        Ok(())
    }

    #[test]
    fn bf16_in_gives_bf16_out_near_the_f32_result() -> Result<()> {
        let (gate, up) = (noise(&[4, 9], 1)?, noise(&[4, 9], 2)?);
        let y = gated(&gate.to_dtype(DType::BF16)?, &up.to_dtype(DType::BF16)?, Activation::Silu)?;
        assert_eq!(y.dtype(), DType::BF16);
        assert_close(&y, &gated(&gate, &up, Activation::Silu)?, 0.03);
        Ok(())
    }

    #[test]
    fn unequal_shapes_are_refused() -> Result<()> {
        let refused = gated(&noise(&[2, 3], 1)?, &noise(&[3, 2], 1)?, Activation::Silu);
        assert!(matches!(refused, Err(Error::Shape { .. })));
        Ok(())
    }
}
