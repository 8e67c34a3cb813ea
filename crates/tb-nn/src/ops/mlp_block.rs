//! The feed-forward half of a pre-norm block as one op: y = x + down(silu(gate(n)) * up(n)), n = rms_norm(x).
//!
//! One op instead of six keeps Candle's graph from storing every inner result and from adding every inner gradient to a
//! fresh tensor of zeros. Kept for the backward: x, gate(n), up(n); the norm and the activation are computed again.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};

use crate::error::{Error, Result};
use crate::ops::linear::{Hidden, row_width};
use crate::ops::projection::{Layer, Projection, layers};
use crate::ops::rms_norm::{norm_rows, norm_rows_backward};
use crate::ops::slices::{floats, read, store, tensor};
use crate::ops::swiglu;

/// The parts of the half-block; weights and norm are constants, adapters are trained.
#[derive(Clone, Copy)]
pub struct MlpBlock<'a> {
    /// The norm's weight (C).
    pub norm: &'a Tensor,
    /// The norm's epsilon.
    pub eps: f64,
    /// C to F.
    pub gate: Projection<'a>,
    /// C to F.
    pub up: Projection<'a>,
    /// F to C.
    pub down: Projection<'a>,
}

struct Kept {
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What the adapters keep, of gate, up, down.
    hidden: [Hidden; 3],
}

struct Op {
    norm: Tensor,
    eps: f32,
    layers: [Layer; 3],
    kept: OnceLock<Kept>,
}

/// y = x + down(silu(gate(n)) * up(n)) with n = rms_norm(x); x (..., C). Backward: dx, and the gradients of the adapters.
pub fn mlp_block(x: &Tensor, block: &MlpBlock) -> Result<Tensor> {
    const OP: &str = "mlp_block";
    let &[c] = block.norm.dims() else {
        return Err(Error::shape(OP, "norm", "(C)", block.norm.dims()));
    };
    if x.dims().last() != Some(&c) || c == 0 {
        return Err(Error::shape(OP, "x", format!("(..., {c})"), x.dims()));
    }
    let f = block.gate.weight.dims().first().copied().unwrap_or(0);
    let parts = [("gate", &block.gate, (f, c)), ("up", &block.up, (f, c)), ("down", &block.down, (c, f))];
    let (layers, flat) = layers(OP, row_width(x), parts)?;
    let op = Op { norm: block.norm.detach(), eps: block.eps as f32, layers, kept: OnceLock::new() };
    Ok(match flat {
        None => x.apply_op1(op)?,
        Some(flat) => x.apply_op2(&flat, op)?,
    })
}

impl Op {
    fn forward(&self, x: &[f32], flat: &[f32]) -> CandleResult<Vec<f32>> {
        read!(w = self.norm);
        let [gate, up, down] = &self.layers;
        let n = norm_rows(x, &w, self.eps);
        let (g, h0) = gate.forward(&n, None, flat)?;
        let (u, h1) = up.forward(&n, None, flat)?;
        drop(n);
        let act = swiglu::forward(&g, &u);
        let (y, h2) = down.forward(&act, Some(x), flat)?;
        // The op object is made per call, so nothing was kept before.
        let _ = self.kept.set(Kept { gate: g, up: u, hidden: [h0, h1, h2] });
        Ok(y)
    }

    /// (dx, adapters' gradients).
    fn backward(&self, x: &Tensor, flat: &[f32], dy: &Tensor) -> CandleResult<(Option<Tensor>, Vec<f32>)> {
        let kept = self.kept.get().expect("the forward ran before the backward");
        let [gate, up, down] = &self.layers;
        let [h0, h1, h2] = &kept.hidden;
        read!(dy = dy);
        read!(xs = x);
        read!(w = self.norm);
        let mut dflat = vec![0f32; flat.len()];
        let act = if down.is_adapted() { swiglu::forward(&kept.gate, &kept.up) } else { Vec::new() };
        let mut dact = Vec::new();
        down.backward((&act, h2), flat, &dy, Some(&mut dact), &mut dflat)?;
        drop(act);
        let (dg, du) = swiglu::backward(&kept.gate, &kept.up, &dact);
        drop(dact);
        let adapted = gate.is_adapted() || up.is_adapted();
        let n = if adapted { norm_rows(&xs, &w, self.eps) } else { Vec::new() };
        let mut dn = Vec::new();
        let wanted = x.track_op();
        gate.backward((&n, h0), flat, &dg, wanted.then_some(&mut dn), &mut dflat)?;
        up.backward((&n, h1), flat, &du, wanted.then_some(&mut dn), &mut dflat)?;
        if !wanted {
            return Ok((None, dflat));
        }
        let dx = norm_rows_backward(&xs, &w, self.eps, &dn, &dy);
        Ok((Some(tensor(dx, x.dims(), x.dtype())?), dflat))
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

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
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

    fn bwd(
        &self,
        x: &Tensor,
        flat: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        read!(values = flat);
        let (dx, dflat) = self.backward(x, &values, dy)?;
        Ok((dx, Some(tensor(dflat, flat.dims(), flat.dtype())?)))
    }
}

#[cfg(test)]
mod tests;
