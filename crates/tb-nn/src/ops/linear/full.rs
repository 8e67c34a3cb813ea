//! A linear layer whose weight is trained: dX = dY W, dW = dY' X, db = column sums of dY.

#[cfg(feature = "cuda")]
mod gpu;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};

use super::{add_bias, dims, with_last};
use crate::error::Result;
use crate::ops::matmul::{ALL, Mat, Weight, new_product, read_weight};
use crate::ops::slices::{floats, read, store, tensor_like};

struct FullLinear {
    dims: (usize, usize, usize),
}

/// y = x W' + b with trained W (O, I) and b (O); x (..., I). Backward: dX = dY W, dW = dY' X, db = sum over rows of dY.
pub fn full_linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let op = FullLinear { dims: dims("full_linear", x, weight.dims(), bias)? };
    Ok(match bias {
        None => x.apply_op2(weight, op)?,
        Some(bias) => x.apply_op3(weight, bias, op)?,
    })
}

impl FullLinear {
    fn weight_grads(&self, x: &Tensor, weight: &Tensor, dy: &Tensor) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return self.gpu_weight_grads(x, weight, dy);
        }
        let (n, o, i) = self.dims;
        read!(dy = dy);
        let dx = if x.track_op() {
            read_weight!(w = weight);
            Some(tensor_like(w.new_backward(self.dims, &dy), x)?)
        } else {
            None
        };
        let dw = if weight.track_op() {
            read!(x = x);
            let dw = new_product((o, i, n), Mat::transposed(&dy, o), Mat::rows(&x, i), 1.0, ALL);
            Some(tensor_like(dw, weight)?)
        } else {
            None
        };
        Ok((dx, dw))
    }
}

/// The sum of the rows of dY (N, O), each column in the order of the rows.
pub(super) fn bias_grad(dy: &[f32], o: usize) -> Vec<f32> {
    let mut db = vec![0f32; o];
    for row in dy.chunks_exact(o.max(1)) {
        for (b, v) in db.iter_mut().zip(row) {
            *b += v;
        }
    }
    db
}

impl CustomOp2 for FullLinear {
    fn name(&self) -> &'static str {
        "full-linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let y = Weight::of(s2, l2)?.new_forward(self.dims, &floats(s1, l1)?);
        Ok((store(y, s1.dtype())?, with_last(l1.dims(), self.dims.1).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        Ok((self.gpu_forward((s1, l1), (s2, l2), None)?, with_last(l1.dims(), self.dims.1).into()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        self.weight_grads(x, w, dy)
    }
}

impl CustomOp3 for FullLinear {
    fn name(&self) -> &'static str {
        "full-linear-bias"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let mut y = Weight::of(s2, l2)?.new_forward(self.dims, &floats(s1, l1)?);
        add_bias(&mut y, &floats(s3, l3)?);
        Ok((store(y, s1.dtype())?, with_last(l1.dims(), self.dims.1).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        Ok((self.gpu_forward((s1, l1), (s2, l2), Some((s3, l3)))?, with_last(l1.dims(), self.dims.1).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let (dx, dw) = self.weight_grads(x, w, dy)?;
            return Ok((dx, dw, Some(self.gpu_bias_grad(bias, dy)?)));
        }
        let (dx, dw) = self.weight_grads(x, w, dy)?;
        read!(dy = dy);
        let db = tensor_like(bias_grad(&dy, self.dims.1), bias)?;
        Ok((dx, dw, Some(db)))
    }
}
