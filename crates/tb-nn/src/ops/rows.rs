//! Some rows of a matrix: y[n] = x[rows[n]]. Each row is taken at most once, so the gradient is the same rows and zeros between them.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};

use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, View, read_gpu};
use crate::ops::slices::{floats, read, store, tensor_like};

struct Rows {
    rows: Vec<u32>,
    width: usize,
}

/// y (R, C) = the rows `rows` of x (N, C), in ascending order and none twice. Backward: dx[rows[n]] = dy[n], 0 elsewhere.
pub fn pick_rows(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let &[n, width] = x.dims() else {
        return Err(Error::shape("pick_rows", "x", "(N, C)", x.dims()));
    };
    if rows.windows(2).any(|w| w[0] >= w[1]) || rows.last().is_some_and(|last| *last as usize >= n) {
        return Err(Error::value("pick_rows", format!("rows must ascend and be below {n}")));
    }
    Ok(x.apply_op1(Rows { rows: rows.to_vec(), width })?)
}

impl CustomOp1 for Rows {
    fn name(&self) -> &'static str {
        "pick-rows"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (x, c) = (floats(s, l)?, self.width);
        let mut y = Vec::with_capacity(self.rows.len() * c);
        for row in &self.rows {
            y.extend_from_slice(&x[*row as usize * c..][..c]);
        }
        Ok((store(y, s.dtype())?, (self.rows.len(), c).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s.device)?;
        let y = gpu.gather(View::of(gpu, s, l)?, &self.rows, self.width)?;
        Ok((y.into_storage(), (self.rows.len(), self.width).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let gpu = Gpu::of_tensor(x)?;
            read_gpu!(gpu, dy = dy);
            return Ok(Some(gpu.scatter(dy, &self.rows, x.dim(0)?, self.width)?.into_tensor(x.shape())));
        }
        read!(dy = dy);
        let c = self.width;
        let mut dx = vec![0f32; x.elem_count()];
        for (row, dy) in self.rows.iter().zip(dy.chunks_exact(c.max(1))) {
            dx[*row as usize * c..][..c].copy_from_slice(dy);
        }
        Ok(Some(tensor_like(dx, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{check, noise};

    #[test]
    fn rows_are_taken_and_their_gradients_put_back() -> Result<()> {
        let x = noise(&[5, 3], 1)?;
        let y = pick_rows(&x, &[0, 3, 4])?;
        assert_eq!(y.get(1)?.to_vec1::<f32>()?, x.get(3)?.to_vec1::<f32>()?);
        check(std::slice::from_ref(&x), |t| pick_rows(&t[0], &[0, 3, 4]));
        for bad in [&[1, 1][..], &[2, 1], &[5]] {
            assert!(matches!(pick_rows(&x, bad), Err(Error::Value { .. })));
        }
        Ok(())
    }
}
