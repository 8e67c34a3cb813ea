//! Rotary position embedding in the "rotate half" pairing (i, i + D/2) (Su et al. 2021, arXiv:2104.09864).

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, Values, View, read_gpu};
use crate::ops::lanes::vectorized;
use crate::ops::slices::{floats, read, store, tensor_like};
use crate::profile;

/// The position of each token of x (B, T, H, D).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Token t of every row is at this offset + t.
    From(u32),
    /// Token t of row b is at `rows[b]` + t.
    Rows(Vec<u32>),
    /// Each token's own position, row-major (B * T).
    Tokens(Vec<u32>),
}

impl Positions {
    fn at(&self, row: usize, token: usize, width: usize) -> usize {
        match self {
            Self::From(offset) => *offset as usize + token,
            Self::Rows(rows) => rows[row] as usize + token,
            Self::Tokens(all) => all[row * width + token] as usize,
        }
    }

    /// The largest position over B rows of T tokens, after checking the number of entries.
    fn largest(&self, rows: usize, width: usize) -> Result<Option<usize>> {
        let (len, want) = match self {
            Self::From(_) => (0, 0),
            Self::Rows(all) => (all.len(), rows),
            Self::Tokens(all) => (all.len(), rows * width),
        };
        if len != want {
            return Err(Error::value("rope", format!("{want} positions are needed, got {len}")));
        }
        if rows * width == 0 {
            return Ok(None);
        }
        Ok(match self {
            Self::From(offset) => Some(*offset as usize + width - 1),
            Self::Rows(all) => all.iter().max().map(|p| *p as usize + width - 1),
            Self::Tokens(all) => all.iter().max().map(|p| *p as usize),
        })
    }
}

/// Which way to rotate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// By the angle: the forward.
    Forward,
    /// By the opposite angle: the backward.
    Back,
}

/// The angles and positions of a pass, without the number of heads.
pub(crate) struct Rotation {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
    pub(crate) positions: Positions,
}

struct Rope {
    rotation: Rotation,
    dims: [usize; 4],
}

/// Rotates each pair (i, i + R/2) of the first R values of each head of x (B, T, H, D) by its position's angle; cos and sin are
/// (P, R/2), and values from R on stay.
///
/// y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin; the angles may carry a factor. Backward: the rotation by the opposite angle. A position of P or more is
/// refused.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor, positions: &Positions) -> Result<Tensor> {
    let &[b, t, h, d] = x.dims() else {
        return Err(Error::shape("rope", "x", "(B, T, H, D)", x.dims()));
    };
    let rotation = Rotation::new(cos, sin, positions, [b, t, h, d])?;
    Ok(x.apply_op1(Rope { rotation, dims: [b, t, h, d] })?)
}

vectorized! {
    fn turn_head(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        let (x1, rest) = x.split_at_mut(cos.len());
        let x2 = &mut rest[..cos.len()];
        for (((x1, x2), c), s) in x1.iter_mut().zip(x2).zip(cos).zip(sin) {
            let s = s * sign;
            (*x1, *x2) = (*x1 * c - *x2 * s, *x2 * c + *x1 * s);
        }
    }
}

impl Rotation {
    /// The rotation for x of shape (B, T, H, D), after checking the tables' shapes and the positions against each other.
    pub(crate) fn new(cos: &Tensor, sin: &Tensor, positions: &Positions, [b, t, _, d]: [usize; 4]) -> Result<Self> {
        let &[table, pairs] = cos.dims() else {
            return Err(Error::shape("rope", "cos", "(P, R/2)", cos.dims()));
        };
        if sin.dims() != cos.dims() {
            return Err(Error::shape("rope", "sin", format!("({table}, {pairs})"), sin.dims()));
        }
        if pairs == 0 || 2 * pairs > d {
            return Err(Error::value("rope", format!("{pairs} pairs do not fit into a head of {d}")));
        }
        if let Some(largest) = positions.largest(b, t)?
            && largest >= table
        {
            return Err(Error::value("rope", format!("position {largest} is beyond the table of {table} positions")));
        }
        Ok(Self { cos: cos.detach(), sin: sin.detach(), positions: positions.clone() })
    }

    /// Rotates x (B, T, H, D) in place, on a GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn gpu_turn(&self, gpu: &Gpu, x: &mut Values, [b, t, h, d]: [usize; 4], turn: Turn) -> CandleResult<()> {
        read_gpu!(gpu, cos = self.cos);
        read_gpu!(gpu, sin = self.sin);
        let sign = match turn {
            Turn::Forward => 1.0,
            Turn::Back => -1.0,
        };
        let positions: Vec<u32> = (0..b * t).map(|token| self.positions.at(token / t, token % t, t) as u32).collect();
        gpu.rope(x, (cos, sin, self.cos.dims()[1]), &positions, (h, d), sign)
    }

    /// Rotates x (B, T, H, D) in place.
    pub(crate) fn turn(&self, x: &mut [f32], [_, t, h, d]: [usize; 4], turn: Turn) -> CandleResult<()> {
        let _span = profile::span("rope");
        read!(cos = self.cos);
        read!(sin = self.sin);
        let sign = match turn {
            Turn::Forward => 1.0,
            Turn::Back => -1.0,
        };
        if h == 0 {
            return Ok(());
        }
        let pairs = self.cos.dims()[1];
        x.par_chunks_mut(h * d).with_min_len(8).enumerate().for_each(|(token, x)| {
            let at = self.positions.at(token / t, token % t, t) * pairs;
            let (cos, sin) = (&cos[at..at + pairs], &sin[at..at + pairs]);
            for x in x.chunks_exact_mut(d) {
                turn_head(x, cos, sin, sign);
            }
        });
        Ok(())
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let mut y = floats(s, l)?.into_owned();
        self.rotation.turn(&mut y, self.dims, Turn::Forward)?;
        Ok((store(y, s.dtype())?, l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s.device)?;
        let x = View::of(gpu, s, l)?;
        let mut y = gpu.converted(x, x.dtype())?;
        self.rotation.gpu_turn(gpu, &mut y, self.dims, Turn::Forward)?;
        Ok((y.into_storage(), l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let gpu = Gpu::of_tensor(x)?;
            read_gpu!(gpu, dy = dy);
            let mut dx = gpu.converted(dy, dy.dtype())?;
            self.rotation.gpu_turn(gpu, &mut dx, self.dims, Turn::Back)?;
            return Ok(Some(dx.into_tensor(x.shape())));
        }
        read!(dy = dy);
        let mut dx = dy.into_owned();
        self.rotation.turn(&mut dx, self.dims, Turn::Back)?;
        Ok(Some(tensor_like(dx, x)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_close, check, noise};
    use candle_core::Device;

    fn table(positions: usize, half: usize) -> Result<(Tensor, Tensor)> {
        let angles: Vec<f32> = (0..positions * half)
            .map(|e| (e / half) as f32 / 10_000f32.powf((e % half) as f32 / half as f32))
            .collect();
        let angles = Tensor::from_vec(angles, (positions, half), &Device::Cpu)?;
        Ok((angles.cos()?, angles.sin()?))
    }

    #[test]
    fn agrees_with_the_stock_slow_rotation() -> Result<()> {
        let (b, t, h, d) = (2, 5, 3, 6);
        let x = noise(&[b, t, h, d], 1)?;
        let (cos, sin) = table(9, d / 2)?;
        let y = rope(&x, &cos, &sin, &Positions::From(3))?;
        let heads = x.transpose(1, 2)?.contiguous()?; // (B, H, T, D)
        let want = candle_nn::rotary_emb::rope_slow(&heads, &cos.narrow(0, 3, t)?, &sin.narrow(0, 3, t)?)?;
        assert_close(&y, &want.transpose(1, 2)?.contiguous()?, 1e-6);
        Ok(())
    }

    #[test]
    fn every_form_of_positions_has_the_right_gradient() -> Result<()> {
        let x = noise(&[2, 3, 2, 4], 1)?;
        let (cos, sin) = table(16, 2)?;
        for positions in [Positions::From(2), Positions::Rows(vec![0, 7]), Positions::Tokens(vec![0, 1, 0, 1, 2, 15])] {
            check(std::slice::from_ref(&x), |t| rope(&t[0], &cos, &sin, &positions));
        }
        Ok(())
    }

    #[test]
    fn values_beyond_the_rotated_ones_stay() -> Result<()> {
        let (x, (cos, sin)) = (noise(&[2, 3, 2, 7], 1)?, table(16, 2)?);
        let y = rope(&x, &cos, &sin, &Positions::From(2))?;
        assert_close(
            &y.narrow(3, 0, 4)?,
            &rope(&x.narrow(3, 0, 4)?.contiguous()?, &cos, &sin, &Positions::From(2))?,
            0.0,
        );
        assert_close(&y.narrow(3, 4, 3)?, &x.narrow(3, 4, 3)?, 0.0);
        check(std::slice::from_ref(&x), |t| rope(&t[0], &cos, &sin, &Positions::From(2)));
        let (cos, sin) = table(16, 4)?;
        assert!(matches!(rope(&x, &cos, &sin, &Positions::From(2)), Err(Error::Value { .. })));
        Ok(())
    }

    #[test]
    fn a_position_beyond_the_table_is_refused() -> Result<()> {
        let (cos, sin) = table(4, 2)?;
        let x = noise(&[1, 3, 1, 4], 1)?;
        assert!(rope(&x, &cos, &sin, &Positions::From(1)).is_ok());
        assert!(matches!(rope(&x, &cos, &sin, &Positions::From(2)), Err(Error::Value { .. })));
        assert!(matches!(rope(&x, &cos, &sin, &Positions::Rows(vec![0, 0])), Err(Error::Value { .. })));
        Ok(())
    }
}
