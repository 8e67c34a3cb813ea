//! The attention half of a block as one op: y = x + after(o(attention(q(n), k(n), v(n)))), n = before(x), with queries and keys
//! normalised and rotated where the family does so.
//!
//! Why one op: see `mlp_block`. Kept for the backward: x, q and k as they are attended (as projected, where they are normalised),
//! v, the attention's result and log-sums, o's result where a norm follows, and the adapters' small h; norms are computed again.

#[cfg(feature = "cuda")]
mod gpu;

use std::borrow::Cow;
use std::sync::OnceLock;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};

use crate::error::{Error, Result};
use crate::ops::attention::{Core, Dims, Sight, Spans};
use crate::ops::inputs::{InputLayers, Inputs, Named, half};
use crate::ops::linear::Hidden;
use crate::ops::projection::{Joined, Layer, Projection};
use crate::ops::rms_norm::{FrozenNorm, NormLayer, normed};
use crate::ops::rope::{Positions, Rotation, Turn};
use crate::ops::slices::{added, floats, read, store, tensor_like};

/// The parts of the half-block; weights and norms are constants, adapters are trained.
#[derive(Clone, Copy)]
pub struct AttentionBlock<'a> {
    /// The norm of x, if there is one.
    pub before: Option<FrozenNorm<'a>>,
    /// C to H * D, K * D and K * D.
    pub inputs: Inputs<'a, 3>,
    /// Norms of queries and of keys before their rotation, with weights of one head (D) or of all.
    pub query_key: Option<[FrozenNorm<'a>; 2]>,
    /// The rotation of queries and keys, if there is one.
    pub rotation: Option<Turning<'a>>,
    /// H * D to C.
    pub output: Projection<'a>,
    /// The norm of o's result, if there is one.
    pub after: Option<FrozenNorm<'a>>,
    /// Query heads H.
    pub heads: usize,
    /// Key/value heads K, a divisor of H.
    pub kv_heads: usize,
    /// Values of a head D.
    pub size: usize,
    /// How queries score keys, and which they see.
    pub sight: Sight,
    /// Where its adapters are kept as one vector, if nothing trains them.
    pub joined: Option<&'a Joined>,
    /// The tokens that attend among themselves; `None` where each row is one full sample.
    pub spans: Option<&'a Spans>,
}

/// Angles and the tokens' positions among them.
#[derive(Clone, Copy)]
pub struct Turning<'a> {
    /// (P, R/2).
    pub cos: &'a Tensor,
    /// (P, R/2).
    pub sin: &'a Tensor,
    /// The tokens' positions.
    pub positions: &'a Positions,
}

struct Kept {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    log_sums: Vec<f32>,
    /// o's result, where a norm follows.
    result: Vec<f32>,
    /// What the adapters of the inputs keep, and that of o.
    hidden: (Vec<Hidden>, Hidden),
}

/// The parts as the operations have them, checked against each other.
pub(crate) struct Parts {
    pub(crate) before: Option<NormLayer>,
    pub(crate) inputs: InputLayers<3>,
    pub(crate) query_key: Option<[NormLayer; 2]>,
    pub(crate) rotation: Option<Rotation>,
    pub(crate) output: Layer,
    pub(crate) after: Option<NormLayer>,
}

impl Parts {
    /// Those of a block over x (B, T, C), and its adapters as one flat vector, if it has any.
    pub(crate) fn new(op: &'static str, x: &Tensor, block: &AttentionBlock) -> Result<(Self, Option<Tensor>)> {
        let &[rows, tokens, c] = x.dims() else {
            return Err(Error::shape(op, "x", "(B, T, C)", x.dims()));
        };
        let (heads, kv_heads, size) = (block.heads, block.kv_heads, block.size);
        if heads == 0 || kv_heads == 0 || heads % kv_heads != 0 {
            return Err(Error::value(op, format!("{kv_heads} key/value heads do not divide {heads} heads")));
        }
        let (wide, narrow) = (heads * size, kv_heads * size);
        let named = Named { names: ["q", "k", "v"], joined: "qkv", widths: [wide, narrow, narrow], inputs: c };
        let (inputs, output, flat) =
            half(op, (tokens, x.dtype()), block.joined, &block.inputs, &named, ("o", &block.output, (c, wide)))?;
        let norm = |name: &'static str, norm: &Option<FrozenNorm>| {
            norm.as_ref().map(|n| NormLayer::new(op, name, n, c)).transpose()
        };
        let of_heads = |name: &'static str, norm: &FrozenNorm, all: usize| {
            let width = if norm.weight.dims() == [all] { all } else { size };
            NormLayer::new(op, name, norm, width)
        };
        let query_key = match &block.query_key {
            None => None,
            Some([q, k]) => Some([of_heads("q_norm", q, wide)?, of_heads("k_norm", k, narrow)?]),
        };
        let rotation = block
            .rotation
            .map(|r| Rotation::new(r.cos, r.sin, r.positions, [rows, tokens, heads, size]))
            .transpose()?;
        let (before, after) = (norm("before", &block.before)?, norm("after", &block.after)?);
        Ok((Self { before, inputs, query_key, rotation, output, after }, flat))
    }
}

struct Op {
    parts: Parts,
    core: Core,
    kept: OnceLock<Kept>,
    #[cfg(feature = "cuda")]
    gpu_kept: OnceLock<gpu::Kept>,
}

/// y = x + after(o(attention(q(n), k(n), v(n)))) with n = before(x); x (B, T, C).
///
/// Backward: dx, and the gradients of the adapters. Causal, grouped heads and spans as in `attention::causal_attention`,
/// except that the residual of a padded token passes through.
pub fn attention_block(x: &Tensor, block: &AttentionBlock) -> Result<Tensor> {
    let (parts, flat) = Parts::new("attention_block", x, block)?;
    let (rows, tokens, _) = x.dims3()?;
    let dims = Dims { rows, tokens, heads: block.heads, kv_heads: block.kv_heads, size: block.size };
    let op = Op {
        parts,
        core: Core::new(dims, block.sight, block.spans)?,
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
    /// Rotates queries and keys in place.
    fn turn(&self, q: &mut [f32], k: &mut [f32], turn: Turn) -> CandleResult<()> {
        let Some(rotation) = &self.parts.rotation else { return Ok(()) };
        let Dims { rows, tokens, heads, kv_heads, size } = self.core.dims;
        rotation.turn(q, [rows, tokens, heads, size], turn)?;
        rotation.turn(k, [rows, tokens, kv_heads, size], turn)
    }

    /// Projected queries and keys as they are attended, where a norm comes first.
    fn normalised(&self, [nq, nk]: &[NormLayer; 2], q: &[f32], k: &[f32]) -> CandleResult<(Vec<f32>, Vec<f32>)> {
        let (mut q, mut k) = (nq.forward(q)?, nk.forward(k)?);
        self.turn(&mut q, &mut k, Turn::Forward)?;
        Ok((q, k))
    }

    fn forward(&self, x: &[f32], flat: &[f32]) -> CandleResult<Vec<f32>> {
        let n = normed(self.parts.before.as_ref(), x)?;
        let ([mut q, mut k, v], inputs) = self.parts.inputs.forward(&n, flat)?;
        drop(n);
        let (attended, log_sums) = match &self.parts.query_key {
            None => {
                self.turn(&mut q, &mut k, Turn::Forward)?;
                self.core.forward(&q, &k, &v)
            }
            Some(norms) => {
                let (q, k) = self.normalised(norms, &q, &k)?;
                self.core.forward(&q, &k, &v)
            }
        };
        let (result, y, output) = match &self.parts.after {
            None => {
                let (y, h) = self.parts.output.forward(&attended, Some(x), flat)?;
                (Vec::new(), y, h)
            }
            Some(norm) => {
                let (result, h) = self.parts.output.forward(&attended, None, flat)?;
                let y = added(norm.forward(&result)?, x);
                (result, y, h)
            }
        };
        // The op object is made per call, so nothing was kept before.
        let _ = self.kept.set(Kept { q, k, v, attended, log_sums, result, hidden: (inputs, output) });
        Ok(y)
    }

    /// (dx, adapters' gradients).
    fn backward(&self, x: &Tensor, flat: &[f32], dy: &Tensor) -> CandleResult<(Option<Tensor>, Vec<f32>)> {
        let kept = self.kept.get().expect("the forward ran before the backward");
        let (inputs, output) = &kept.hidden;
        read!(dy = dy);
        read!(xs = x);
        let mut dflat = vec![0f32; flat.len()];
        let wanted = x.track_op();
        let below = wanted || self.parts.inputs.is_adapted();
        let mut dattended = Vec::new();
        {
            let dresult = match &self.parts.after {
                None => Cow::Borrowed(&*dy),
                Some(norm) => Cow::Owned(norm.backward(&kept.result, &dy)?),
            };
            let into = below.then_some(&mut dattended);
            self.parts.output.backward((&kept.attended, output), flat, &dresult, into, &mut dflat)?;
        }
        if !below {
            return Ok((None, dflat));
        }
        let results = (kept.attended.as_slice(), kept.log_sums.as_slice());
        let [mut dq, mut dk, dv] = match &self.parts.query_key {
            None => self.core.backward([&kept.q, &kept.k, &kept.v], results, &dattended),
            Some(norms) => {
                let (q, k) = self.normalised(norms, &kept.q, &kept.k)?;
                self.core.backward([&q, &k, &kept.v], results, &dattended)
            }
        };
        drop(dattended);
        self.turn(&mut dq, &mut dk, Turn::Back)?;
        if let Some([nq, nk]) = &self.parts.query_key {
            dq = nq.backward(&kept.q, &dq)?;
            dk = nk.backward(&kept.k, &dk)?;
        }
        let n = if self.parts.inputs.is_adapted() {
            normed(self.parts.before.as_ref(), &xs)?
        } else {
            Cow::Borrowed(&[][..])
        };
        let mut dn = Vec::new();
        self.parts.inputs.backward((&n, inputs), flat, [dq, dk, dv], wanted.then_some(&mut dn), &mut dflat)?;
        if !wanted {
            return Ok((None, dflat));
        }
        let dx = match &self.parts.before {
            None => added(dn, &dy),
            Some(norm) => norm.backward_onto(&dy, &xs, &dn)?,
        };
        Ok((Some(tensor_like(dx, x)?), dflat))
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
        "attention-block-adapted"
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
