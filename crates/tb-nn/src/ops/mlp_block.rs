//! The feed-forward half of a block as one op: y = x + after(down(act(gate(n)) * up(n))), n = before(x).
//!
//! One op instead of six keeps Candle's graph from storing every inner result and from adding every inner gradient to a
//! fresh tensor of zeros. Kept for the backward: x, gate(n), up(n), and down's result where a norm follows; norms and the
//! activation are computed again.

#[cfg(feature = "cuda")]
mod gpu;

use std::borrow::Cow;
use std::sync::OnceLock;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};
use tb_core::decoder_config::Activation;

use crate::error::{Error, Result};
use crate::ops::gated;
use crate::ops::inputs::{InputLayers, Inputs, Named, half};
use crate::ops::linear::{Hidden, row_width};
use crate::ops::projection::{Joined, Layer, Projection};
use crate::ops::rms_norm::{FrozenNorm, NormLayer, normed};
use crate::ops::slices::{added, floats, read, store, tensor_like};

/// The parts of the half-block; weights and norms are constants, adapters are trained.
#[derive(Clone, Copy)]
pub struct MlpBlock<'a> {
    /// The norm of x, if there is one.
    pub before: Option<FrozenNorm<'a>>,
    /// Gate and up, C to F each.
    pub inputs: Inputs<'a, 2>,
    /// Function of the gate.
    pub activation: Activation,
    /// F to C.
    pub down: Projection<'a>,
    /// The norm of down's result, if there is one.
    pub after: Option<FrozenNorm<'a>>,
    /// Where its adapters are kept as one vector, if nothing trains them.
    pub joined: Option<&'a Joined>,
    /// F.
    pub width: usize,
}

struct Kept {
    gate: Vec<f32>,
    up: Vec<f32>,
    /// down's result, where a norm follows.
    result: Vec<f32>,
    /// What the adapters of the inputs keep, and that of down.
    hidden: (Vec<Hidden>, Hidden),
}

struct Op {
    before: Option<NormLayer>,
    inputs: InputLayers<2>,
    activation: Activation,
    down: Layer,
    after: Option<NormLayer>,
    kept: OnceLock<Kept>,
    #[cfg(feature = "cuda")]
    gpu_kept: OnceLock<gpu::Kept>,
}

/// y = x + after(down(act(gate(n)) * up(n))) with n = before(x); x (..., C). Backward: dx, and the gradients of the adapters.
pub fn mlp_block(x: &Tensor, block: &MlpBlock) -> Result<Tensor> {
    const OP: &str = "mlp_block";
    let Some(&c) = x.dims().last() else {
        return Err(Error::shape(OP, "x", "(..., C)", x.dims()));
    };
    let f = block.width;
    let named = Named { names: ["gate", "up"], joined: "gate_up", widths: [f, f], inputs: c };
    let (inputs, down, flat) =
        half(OP, (row_width(x), x.dtype()), block.joined, &block.inputs, &named, ("down", &block.down, (c, f)))?;
    let norm = |name: &'static str, norm: &Option<FrozenNorm>| {
        norm.as_ref().map(|n| NormLayer::new(OP, name, n, c)).transpose()
    };
    let op = Op {
        before: norm("before", &block.before)?,
        inputs,
        activation: block.activation,
        down,
        after: norm("after", &block.after)?,
        kept: OnceLock::new(),
        #[cfg(feature = "cuda")]
        gpu_kept: OnceLock::new(),
    };
    Ok(match flat {
        None => x.apply_op1(op)?,
        Some(flat) => x.apply_op2(&flat, op)?,
    })
}

impl Op {
    fn forward(&self, x: &[f32], flat: &[f32]) -> CandleResult<Vec<f32>> {
        let n = normed(self.before.as_ref(), x)?;
        let ([gate, up], inputs) = self.inputs.forward(&n, flat)?;
        drop(n);
        let act = gated::forward(self.activation, &gate, &up);
        let (result, y, down) = match &self.after {
            None => {
                let (y, h) = self.down.forward(&act, Some(x), flat)?;
                (Vec::new(), y, h)
            }
            Some(norm) => {
                let (result, h) = self.down.forward(&act, None, flat)?;
                let y = added(norm.forward(&result)?, x);
                (result, y, h)
            }
        };
        // The op object is made per call, so nothing was kept before.
        let _ = self.kept.set(Kept { gate, up, result, hidden: (inputs, down) });
        Ok(y)
    }

    /// (dx, adapters' gradients).
    fn backward(&self, x: &Tensor, flat: &[f32], dy: &Tensor) -> CandleResult<(Option<Tensor>, Vec<f32>)> {
        let kept = self.kept.get().expect("the forward ran before the backward");
        let (inputs, down) = &kept.hidden;
        read!(dy = dy);
        read!(xs = x);
        let mut dflat = vec![0f32; flat.len()];
        let mut dact = Vec::new();
        {
            let act = match self.down.is_adapted() {
                true => gated::forward(self.activation, &kept.gate, &kept.up),
                false => Vec::new(),
            };
            let dresult = match &self.after {
                None => Cow::Borrowed(&*dy),
                Some(norm) => Cow::Owned(norm.backward(&kept.result, &dy)?),
            };
            self.down.backward((&act, down), flat, &dresult, Some(&mut dact), &mut dflat)?;
        }
        let (dg, du) = gated::backward(self.activation, &kept.gate, &kept.up, &dact);
        drop(dact);
        let n = if self.inputs.is_adapted() { normed(self.before.as_ref(), &xs)? } else { Cow::Borrowed(&[][..]) };
        let mut dn = Vec::new();
        let wanted = x.track_op();
        self.inputs.backward((&n, inputs), flat, [dg, du], wanted.then_some(&mut dn), &mut dflat)?;
        if !wanted {
            return Ok((None, dflat));
        }
        let dx = match &self.before {
            None => added(dn, &dy),
            Some(norm) => norm.backward_onto(&dy, &xs, &dn)?,
        };
        Ok((Some(tensor_like(dx, x)?), dflat))
    }
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "mlp-block"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((store(self.forward(&floats(s, l)?, &[])?, s.dtype())?, l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        Ok((self.gpu_forward((s, l), None)?, l.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return Ok(self.gpu_backward(x, None, dy)?.0);
        }
        Ok(self.backward(x, &[], dy)?.0)
    }
}

impl CustomOp2 for Op {
    fn name(&self) -> &'static str {
        "mlp-block-adapted"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        Ok((store(self.forward(&floats(s1, l1)?, &floats(s2, l2)?)?, s1.dtype())?, l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        Ok((self.gpu_forward((s1, l1), Some((s2, l2)))?, l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        flat: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return self.gpu_backward(x, Some(flat), dy);
        }
        read!(values = flat);
        let (dx, dflat) = self.backward(x, &values, dy)?;
        Ok((dx, Some(tensor_like(dflat, flat)?)))
    }
}

#[cfg(test)]
mod tests;
