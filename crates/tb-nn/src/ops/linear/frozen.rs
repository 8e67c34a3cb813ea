//! A linear layer whose weight is a constant: the backward forms dX = dY W and nothing else.

use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;

use super::{add_bias, dims, with_last};
use crate::error::Result;
use crate::ops::constant::{Constant, ConstantRef};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, View, read_gpu};
use crate::ops::matmul::{Weight, read_weight};
use crate::ops::slices::{floats, read, store, tensor_like};

struct FrozenLinear {
    weight: Constant,
    bias: Option<Tensor>,
    dims: (usize, usize, usize),
}

/// y = x W' + b with constant W and b. x (..., I) f32 or bf16, W (O, I) f32, bf16 or quantised, b (O); y (..., O) in x's dtype.
/// Backward: dX = dY W.
pub fn frozen_linear<'a>(x: &Tensor, weight: impl Into<ConstantRef<'a>>, bias: Option<&Tensor>) -> Result<Tensor> {
    let weight = weight.into();
    let dims = dims("frozen_linear", x, &weight.dims(), bias)?;
    let weight = weight.held()?;
    Ok(x.apply_op1(FrozenLinear { weight, bias: bias.map(Tensor::detach), dims })?)
}

/// The forward of any linear layer: y = x W' + b on slices.
pub(super) fn forward(
    dims: (usize, usize, usize),
    x: &[f32],
    weight: Weight,
    bias: Option<&Tensor>,
) -> CandleResult<Vec<f32>> {
    let mut y = weight.new_forward(dims, x);
    if let Some(bias) = bias {
        read!(bias = bias);
        add_bias(&mut y, &bias);
    }
    Ok(y)
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let x = floats(s, l)?;
        read_weight!(weight = self.weight);
        let y = forward(self.dims, &x, weight, self.bias.as_ref())?;
        Ok((store(y, s.dtype())?, with_last(l.dims(), self.dims.1).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s.device)?;
        let y = gpu.linear(&self.weight, self.bias.as_ref(), self.dims, View::of(gpu, s, l)?)?;
        Ok((y.into_storage(), with_last(l.dims(), self.dims.1).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let gpu = Gpu::of_tensor(x)?;
            read_gpu!(gpu, dy = dy);
            return Ok(Some(gpu.linear_back(&self.weight, self.dims, dy)?.into_tensor(x.shape())));
        }
        read!(dy_values = dy);
        read_weight!(weight = self.weight);
        let dx = weight.new_backward(self.dims, &dy_values);
        Ok(Some(tensor_like(dx, x)?))
    }
}
