//! SwiGLU's elementwise part: y = silu(gate) * up, silu(g) = g / (1 + e^-g) (Shazeer 2020, arXiv:2002.05202).

use candle_core::{CpuStorage, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::lanes::{sigmoid, vectorized};
use crate::ops::slices::{floats, read, store, tensor};

/// Elements per parallel piece.
const PIECE: usize = 1 << 14;

struct SwiGlu;

/// y = silu(gate) * up, elementwise over equal shapes. Backward: with s = sigmoid(g), dgate = dy * up * s (1 + g (1 - s)),
/// dup = dy * g * s.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        return Err(Error::shape("swiglu", "up", format!("{:?}", gate.dims()), up.dims()));
    }
    Ok(gate.apply_op2(up, SwiGlu)?)
}

vectorized! {
    fn forward_piece(y: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
            *y = g * sigmoid(*g) * u;
        }
    }
}

vectorized! {
    fn backward_piece(dgate: &mut [f32], dup: &mut [f32], gate: &[f32], up: &[f32], dy: &[f32]) {
        for ((((dg, du), g), u), d) in dgate.iter_mut().zip(dup).zip(gate).zip(up).zip(dy) {
            let s = sigmoid(*g);
            *dg = d * u * s * (1.0 + g * (1.0 - s));
            *du = d * g * s;
        }
    }
}

/// silu(gate) * up, elementwise.
pub(crate) fn forward(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let mut y = vec![0f32; gate.len()];
    y.par_chunks_mut(PIECE)
        .zip(gate.par_chunks(PIECE))
        .zip(up.par_chunks(PIECE))
        .for_each(|((y, g), u)| forward_piece(y, g, u));
    y
}

/// (dgate, dup) for the upstream gradient dy, elementwise.
pub(crate) fn backward(gate: &[f32], up: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (mut dg, mut du) = (vec![0f32; gate.len()], vec![0f32; gate.len()]);
    dg.par_chunks_mut(PIECE)
        .zip(du.par_chunks_mut(PIECE))
        .zip(gate.par_chunks(PIECE))
        .zip(up.par_chunks(PIECE))
        .zip(dy.par_chunks(PIECE))
        .for_each(|((((dg, du), g), u), d)| backward_piece(dg, du, g, u, d));
    (dg, du)
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let y = forward(&floats(s1, l1)?, &floats(s2, l2)?);
        Ok((store(y, s1.dtype())?, l1.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        read!(g = gate);
        read!(u = up);
        read!(d = dy);
        let (dg, du) = backward(&g, &u, &d);
        Ok((Some(tensor(dg, gate.dims(), gate.dtype())?), Some(tensor(du, up.dims(), up.dtype())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_close, check, noise};
    use candle_core::DType;

    #[test]
    fn agrees_with_stock_silu_and_finite_differences() -> Result<()> {
        for shape in [vec![1, 1], vec![3, 7], vec![2, 5, 33]] {
            let (gate, up) = (noise(&shape, 1)?, noise(&shape, 2)?);
            assert_close(&swiglu(&gate, &up)?, &(gate.silu()? * &up)?, 1e-6);
            check(&[gate, up], |t| swiglu(&t[0], &t[1]));
        }
        Ok(())
    }

    #[test]
    fn bf16_in_gives_bf16_out_near_the_f32_result() -> Result<()> {
        let (gate, up) = (noise(&[4, 9], 1)?, noise(&[4, 9], 2)?);
        let y = swiglu(&gate.to_dtype(DType::BF16)?, &up.to_dtype(DType::BF16)?)?;
        assert_eq!(y.dtype(), DType::BF16);
        assert_close(&y, &swiglu(&gate, &up)?, 0.03);
        Ok(())
    }

    #[test]
    fn unequal_shapes_are_refused() -> Result<()> {
        assert!(matches!(swiglu(&noise(&[2, 3], 1)?, &noise(&[3, 2], 1)?), Err(Error::Shape { .. })));
        Ok(())
    }
}
