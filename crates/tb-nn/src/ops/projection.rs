//! A constant linear layer with an optional trained adapter, as a part of a fused block; works on slices.
//!
//! A Candle op takes three arguments at most, so a block's adapters travel as one flat vector: A then B of each adapted
//! projection, in order.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Result as CandleResult, Tensor};

use crate::error::{Error, Result};
use crate::ops::constant::{Constant, ConstantRef};
use crate::ops::linear::{Dropout, Hidden, LowRank, add_bias};
use crate::ops::matmul::{Held, Hold, Old, read_weight};
use crate::ops::slices::read;

/// A trained low-rank adapter: + s (drop(x) A') B'.
#[derive(Clone, Copy)]
pub struct Adapter<'a> {
    /// A (r, I).
    pub a: &'a Tensor,
    /// B (O, r).
    pub b: &'a Tensor,
    /// The factor s.
    pub scaling: f64,
    /// Dropout of the adapter's input, while training.
    pub dropout: Option<Dropout>,
}

/// y = x W' + b with constant W (O, I) and b (O), and an adapter where there is one.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    /// W (O, I), f32, bf16 or quantised; never trained through a block.
    pub weight: ConstantRef<'a>,
    /// b (O).
    pub bias: Option<&'a Tensor>,
    /// The trained part.
    pub adapter: Option<Adapter<'a>>,
}

/// A block's adapters as one flat vector, kept where nothing trains them: in f32, on a GPU in the numbers of the activations. Who has a copy keeps it.
#[derive(Clone, Debug, Default)]
pub struct Joined(Arc<OnceLock<Tensor>>);

impl Joined {
    fn get_or_make(&self, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        if let Some(held) = self.0.get() {
            return Ok(held.clone());
        }
        let made = make()?;
        Ok(self.0.get_or_init(|| made).clone())
    }
}

/// A projection inside an op: owns its constants and knows where its adapter lies in the flat vector.
pub(crate) struct Layer {
    pub(crate) weight: Constant,
    pub(crate) bias: Option<Tensor>,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) adapter: Option<(LowRank, usize)>,
}

/// The layers of a block on rows of `width` tokens in these numbers, and its adapters as one flat tensor, `None` where there is none.
/// With `joined`, one that nothing trains is made once and kept there.
pub(crate) fn layers(
    op: &'static str,
    (width, activations): (usize, DType),
    joined: Option<&Joined>,
    projections: &[(&'static str, &Projection, (usize, usize))],
) -> Result<(Vec<Layer>, Option<Tensor>)> {
    let mut parts = Vec::new();
    let mut offset = 0;
    let mut made = Vec::with_capacity(projections.len());
    for &(name, p, (outputs, inputs)) in projections {
        if p.weight.dims() != [outputs, inputs] {
            return Err(Error::shape(op, name, format!("({outputs}, {inputs})"), &p.weight.dims()));
        }
        if let Some(bias) = p.bias
            && bias.dims() != [outputs]
        {
            return Err(Error::shape(op, name, format!("a bias ({outputs})"), bias.dims()));
        }
        let adapter = match &p.adapter {
            None => None,
            Some(a) => {
                let rank = a.a.dims().first().copied().unwrap_or(0);
                if rank == 0 || a.a.dims() != [rank, inputs] {
                    return Err(Error::shape(op, name, format!("A (r, {inputs})"), a.a.dims()));
                }
                if a.b.dims() != [outputs, rank] {
                    return Err(Error::shape(op, name, format!("B ({outputs}, {rank})"), a.b.dims()));
                }
                let dropout = a.dropout.map(|d| d.checked(width)).transpose()?.flatten();
                parts.extend([a.a.flatten_all()?, a.b.flatten_all()?]);
                let at = offset;
                offset += rank * (inputs + outputs);
                Some((LowRank { rank, inputs, outputs, scaling: a.scaling as f32, dropout }, at))
            }
        };
        let (weight, bias) = (p.weight.held()?, p.bias.map(Tensor::detach));
        made.push(Layer { weight, bias, outputs, inputs, adapter });
    }
    let flat = match parts.first() {
        None => None,
        Some(first) if parts.iter().any(|p| p.dtype() != first.dtype()) => {
            return Err(Error::value(op, "adapters of one block must share a dtype"));
        }
        Some(_) => {
            let join = |dtype| Ok(Tensor::cat(&parts, 0)?.to_dtype(dtype)?);
            Some(match joined.filter(|_| parts.iter().all(|p| !p.track_op())) {
                None => join(DType::F32)?,
                Some(joined) => {
                    let dtype = if parts[0].device().is_cuda() { activations } else { DType::F32 };
                    joined.get_or_make(|| join(dtype))?
                }
            })
        }
    };
    Ok((made, flat))
}

impl Layer {
    /// A and B in the flat vector.
    fn split<'a>(low: &LowRank, at: usize, flat: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        flat[at..at + low.rank * (low.inputs + low.outputs)].split_at(low.rank * low.inputs)
    }

    /// Whether there is an adapter.
    pub(crate) fn is_adapted(&self) -> bool {
        self.adapter.is_some()
    }

    /// The weight, and O.
    pub(crate) fn held(&self) -> (Held<'_>, usize) {
        (self.weight.hold(), self.outputs)
    }

    /// y = [residual +] x W' + b + the adapter's part, and what the adapter keeps for the backward (nothing without one).
    pub(crate) fn forward(
        &self,
        x: &[f32],
        residual: Option<&[f32]>,
        flat: &[f32],
    ) -> CandleResult<(Vec<f32>, Hidden)> {
        let n = x.len() / self.inputs.max(1);
        let dims = (n, self.outputs, self.inputs);
        read_weight!(weight = self.weight);
        let y = match residual {
            None => weight.new_forward(dims, x),
            Some(residual) => {
                let mut y = residual.to_vec();
                assert_eq!(y.len(), n * self.outputs);
                // SAFETY: y is initialised and has N x O elements.
                unsafe { weight.forward(dims, y.as_mut_ptr(), Old::Add, x) };
                y
            }
        };
        self.completed(y, x, flat)
    }

    /// What is missing in y = [residual +] x W': b and the adapter's part; and what the adapter keeps for the backward.
    pub(crate) fn completed(&self, mut y: Vec<f32>, x: &[f32], flat: &[f32]) -> CandleResult<(Vec<f32>, Hidden)> {
        if let Some(bias) = &self.bias {
            read!(bias = bias);
            add_bias(&mut y, &bias);
        }
        let h = match &self.adapter {
            None => Hidden::default(),
            Some((low, at)) => {
                let (a, b) = Self::split(low, *at, flat);
                let h = low.down(x, a);
                low.up(&mut y, &h, b);
                h
            }
        };
        Ok((y, h))
    }

    /// Adds the adapter's gradients to `dflat`, and the input's gradient to `dx` (or makes it, where `dx` is empty).
    /// `x` may be empty where there is no adapter.
    pub(crate) fn backward(
        &self,
        (x, h): (&[f32], &Hidden),
        flat: &[f32],
        dy: &[f32],
        dx: Option<&mut Vec<f32>>,
        dflat: &mut [f32],
    ) -> CandleResult<()> {
        let n = dy.len() / self.outputs.max(1);
        let dims = (n, self.outputs, self.inputs);
        let dx = match dx {
            None => None,
            Some(dx) => {
                read_weight!(weight = self.weight);
                if dx.is_empty() {
                    *dx = weight.new_backward(dims, dy);
                } else {
                    assert_eq!(dx.len(), n * self.inputs);
                    // SAFETY: dx is initialised and has N x I elements.
                    unsafe { weight.backward(dims, dx.as_mut_ptr(), Old::Add, dy) };
                }
                Some(dx.as_mut_slice())
            }
        };
        if let Some((low, at)) = &self.adapter {
            let (da, db) = low.backward((x, h), Self::split(low, *at, flat), dy, dx);
            let (into_a, into_b) = dflat[*at..*at + da.len() + db.len()].split_at_mut(da.len());
            into_a.copy_from_slice(&da);
            into_b.copy_from_slice(&db);
        }
        Ok(())
    }
}
