//! The attention half of a pre-norm block as one op: y = x + o(attention(rope(q(n)), rope(k(n)), v(n))), n = rms_norm(x).
//!
//! Why one op: see `mlp_block`. Kept for the backward: x, rotated q and k, v, the attention's result and log-sums, and the
//! adapters' small h; the norm is computed again.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};

use crate::error::{Error, Result};
use crate::ops::attention::{Core, Dims, Sight, Spans};
use crate::ops::linear::Hidden;
use crate::ops::projection::{Layer, Projection, layers};
use crate::ops::rms_norm::{norm_rows, norm_rows_backward};
use crate::ops::rope::{Positions, Rotation, Turn};
use crate::ops::slices::{floats, read, store, tensor};

/// The parts of the half-block; weights and norm are constants, adapters are trained.
#[derive(Clone, Copy)]
pub struct AttentionBlock<'a> {
    /// The norm's weight (C).
    pub norm: &'a Tensor,
    /// The norm's epsilon.
    pub eps: f64,
    /// C to H * D.
    pub q: Projection<'a>,
    /// C to K * D.
    pub k: Projection<'a>,
    /// C to K * D.
    pub v: Projection<'a>,
    /// H * D to C.
    pub o: Projection<'a>,
    /// Query heads H.
    pub heads: usize,
    /// Key/value heads K, a divisor of H.
    pub kv_heads: usize,
    /// Angles (P, D/2).
    pub cos: &'a Tensor,
    /// Angles (P, D/2).
    pub sin: &'a Tensor,
    /// The tokens' positions.
    pub positions: &'a Positions,
    /// How queries score keys, and which they see.
    pub sight: Sight,
    /// The tokens that attend among themselves; `None` where each row is one full sample.
    pub spans: Option<&'a Spans>,
}

struct Kept {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    log_sums: Vec<f32>,
    /// What the adapters keep, of q, k, v, o.
    hidden: [Hidden; 4],
}

struct Op {
    norm: Tensor,
    eps: f32,
    layers: [Layer; 4],
    rotation: Rotation,
    core: Core,
    kept: OnceLock<Kept>,
}

/// y = x + o(attention(rope(q(n)), rope(k(n)), v(n))) with n = rms_norm(x); x (B, T, C).
///
/// Backward: dx, and the gradients of the adapters. Causal, grouped heads and spans as in `attention::causal_attention`,
/// except that the residual of a padded token passes through.
pub fn attention_block(x: &Tensor, block: &AttentionBlock) -> Result<Tensor> {
    const OP: &str = "attention_block";
    let &[rows, tokens, c] = x.dims() else {
        return Err(Error::shape(OP, "x", "(B, T, C)", x.dims()));
    };
    if block.norm.dims() != [c] || c == 0 {
        return Err(Error::shape(OP, "norm", format!("({c})"), block.norm.dims()));
    }
    let (heads, kv_heads) = (block.heads, block.kv_heads);
    if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
        return Err(Error::value(OP, format!("{kv_heads} key/value heads do not divide {heads} heads")));
    }
    let size = block.q.weight.dims().first().copied().unwrap_or(0) / heads;
    let dims = Dims { rows, tokens, heads, kv_heads, size };
    let (wide, narrow) = (heads * size, kv_heads * size);
    let parts = [
        ("q", &block.q, (wide, c)),
        ("k", &block.k, (narrow, c)),
        ("v", &block.v, (narrow, c)),
        ("o", &block.o, (c, wide)),
    ];
    let (layers, flat) = layers(OP, tokens, parts)?;
    let op = Op {
        norm: block.norm.detach(),
        eps: block.eps as f32,
        layers,
        rotation: Rotation::new(block.cos, block.sin, block.positions, [rows, tokens, heads, size])?,
        core: Core::new(dims, block.sight, block.spans)?,
        kept: OnceLock::new(),
    };
    Ok(match flat {
        None => x.apply_op1(op)?,
        Some(flat) => x.apply_op2(&flat, op)?,
    })
}

impl Op {
    /// Rotates queries and keys in place.
    fn turn(&self, q: &mut [f32], k: &mut [f32], turn: Turn) -> CandleResult<()> {
        let Dims { rows, tokens, heads, kv_heads, size } = self.core.dims;
        self.rotation.turn(q, [rows, tokens, heads, size], turn)?;
        self.rotation.turn(k, [rows, tokens, kv_heads, size], turn)
    }

    fn forward(&self, x: &[f32], flat: &[f32]) -> CandleResult<Vec<f32>> {
        read!(w = self.norm);
        let [lq, lk, lv, lo] = &self.layers;
        let n = norm_rows(x, &w, self.eps);
        let (mut q, h0) = lq.forward(&n, None, flat)?;
        let (mut k, h1) = lk.forward(&n, None, flat)?;
        let (v, h2) = lv.forward(&n, None, flat)?;
        drop(n);
        self.turn(&mut q, &mut k, Turn::Forward)?;
        let (attended, log_sums) = self.core.forward(&q, &k, &v);
        let (y, h3) = lo.forward(&attended, Some(x), flat)?;
        // The op object is made per call, so nothing was kept before.
        let _ = self.kept.set(Kept { q, k, v, attended, log_sums, hidden: [h0, h1, h2, h3] });
        Ok(y)
    }

    /// (dx, adapters' gradients).
    fn backward(&self, x: &Tensor, flat: &[f32], dy: &Tensor) -> CandleResult<(Option<Tensor>, Vec<f32>)> {
        let kept = self.kept.get().expect("the forward ran before the backward");
        let [lq, lk, lv, lo] = &self.layers;
        let [h0, h1, h2, h3] = &kept.hidden;
        read!(dy = dy);
        read!(xs = x);
        read!(w = self.norm);
        let mut dflat = vec![0f32; flat.len()];
        let wanted = x.track_op();
        let mut dattended = Vec::new();
        let below = wanted || [lq, lk, lv].iter().any(|l| l.is_adapted());
        lo.backward((&kept.attended, h3), flat, &dy, below.then_some(&mut dattended), &mut dflat)?;
        if !below {
            return Ok((None, dflat));
        }
        let operands = [kept.q.as_slice(), &kept.k, &kept.v];
        let [mut dq, mut dk, dv] = self.core.backward(operands, (&kept.attended, &kept.log_sums), &dattended);
        drop(dattended);
        self.turn(&mut dq, &mut dk, Turn::Back)?;
        let adapted = [lq, lk, lv].iter().any(|l| l.is_adapted());
        let n = if adapted { norm_rows(&xs, &w, self.eps) } else { Vec::new() };
        let mut dn = Vec::new();
        for (layer, h, d) in [(lq, h0, &dq), (lk, h1, &dk), (lv, h2, &dv)] {
            layer.backward((&n, h), flat, d, wanted.then_some(&mut dn), &mut dflat)?;
        }
        if !wanted {
            return Ok((None, dflat));
        }
        let dx = norm_rows_backward(&xs, &w, self.eps, &dn, &dy);
        Ok((Some(tensor(dx, x.dims(), x.dtype())?), dflat))
    }
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "attention-block"
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
        "attention-block-adapted"
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
