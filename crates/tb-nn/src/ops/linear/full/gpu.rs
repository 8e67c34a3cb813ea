//! A trained linear layer on a GPU: the passes of `full.rs`, on device memory.

use candle_core::{CudaStorage, Layout, Result, Tensor};

use super::FullLinear;
use crate::ops::gpu::{Gpu, Mat, Values, View, read_gpu};

impl FullLinear {
    /// y = x W' + b.
    pub(super) fn gpu_forward(
        &self,
        (x, of_x): (&CudaStorage, &Layout),
        (w, of_w): (&CudaStorage, &Layout),
        bias: Option<(&CudaStorage, &Layout)>,
    ) -> Result<CudaStorage> {
        let (gpu, (n, o, i)) = (Gpu::of(&x.device)?, self.dims);
        let x = View::of(gpu, x, of_x)?;
        let w = View::of(gpu, w, of_w)?;
        let other = gpu.in_other(w, x.dtype())?;
        let factors = (Mat::rows(x, i), Mat::transposed(other.as_ref().map_or(w, Values::view), i));
        let mut y = gpu.new_product((n, o, i), factors, 1.0, x.dtype())?;
        if let Some((bias, layout)) = bias {
            gpu.add_bias(&mut y, View::of(gpu, bias, layout)?)?;
        }
        Ok(y.into_storage())
    }

    /// dX = dY W and dW = dY' X, where they are wanted.
    pub(super) fn gpu_weight_grads(
        &self,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (gpu, (n, o, i)) = (Gpu::of_tensor(x)?, self.dims);
        read_gpu!(gpu, dys = dy);
        let dx = if x.track_op() {
            read_gpu!(gpu, w = weight);
            let other = gpu.in_other(w, dys.dtype())?;
            let factors = (Mat::rows(dys, o), Mat::rows(other.as_ref().map_or(w, Values::view), i));
            Some(gpu.new_product((n, i, o), factors, 1.0, dys.dtype())?.into_tensor(x.shape()))
        } else {
            None
        };
        let dw = if weight.track_op() {
            read_gpu!(gpu, xs = x);
            let factors = (Mat::transposed(dys, o), Mat::rows(xs, i));
            Some(gpu.new_product((o, i, n), factors, 1.0, weight.dtype())?.into_tensor(weight.shape()))
        } else {
            None
        };
        Ok((dx, dw))
    }

    /// The sum of the rows of dY.
    pub(super) fn gpu_bias_grad(&self, bias: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (gpu, (n, o, _)) = (Gpu::of_tensor(dy)?, self.dims);
        let ones = Tensor::ones((1, n), dy.dtype(), dy.device())?;
        read_gpu!(gpu, ones = ones);
        read_gpu!(gpu, dys = dy);
        let factors = (Mat::rows(ones, n), Mat::rows(dys, o));
        Ok(gpu.new_product((1, o, n), factors, 1.0, bias.dtype())?.into_tensor(bias.shape()))
    }
}
