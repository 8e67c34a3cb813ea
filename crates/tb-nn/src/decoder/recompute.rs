//! Gradient checkpointing of one block: its inner results are dropped after the forward pass and computed again in the backward pass.
//!
//! Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. The second computation repeats the first bit for bit
//! (dropout masks are functions of seed, step and layer), so loss and gradients are the bits of the plain pass.

use super::block::Block;
use super::linear::Context;
use super::rope::Angles;
use crate::Result;
use crate::ops::attention::Spans;
use candle_core::{CpuStorage, CustomOp2, Error, Layout, Shape, Storage, Tensor, Var};
use std::sync::{Arc, Mutex, PoisonError};

/// What the backward pass finds stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checkpointing {
    /// Every inner result: fastest.
    #[default]
    Off,
    /// Only the input of each block: about a third more time, far less memory.
    PerBlock,
}

/// As `block.forward`, keeping only x.
pub(super) fn recomputed(
    block: &Arc<Block>,
    x: &Tensor,
    angles: &Angles,
    spans: Option<&Spans>,
    ctx: Context,
) -> Result<Tensor> {
    let vars = block.vars();
    let op = Recompute {
        block: Arc::clone(block),
        angles: angles.clone(),
        spans: spans.cloned(),
        ctx,
        wants_input: x.track_op(),
        forward: Mutex::new(None),
    };
    if vars.is_empty() && !op.wants_input {
        return op.run(x);
    }
    // Candle hands a custom op gradients only for its arguments: the block's variables travel as one flat tensor.
    let flat = if vars.is_empty() {
        Tensor::zeros(1, x.dtype(), x.device())?
    } else {
        let parts: candle_core::Result<Vec<Tensor>> = vars.iter().map(|v| v.flatten_all()).collect();
        Tensor::cat(&parts?, 0)?
    };
    let y = op.run(&x.detach())?;
    *op.forward.lock().unwrap_or_else(PoisonError::into_inner) = Some(y);
    Ok(x.contiguous()?.apply_op2(&flat, op)?)
}

struct Recompute {
    block: Arc<Block>,
    angles: Angles,
    spans: Option<Spans>,
    ctx: Context,
    /// Whether anything below the block is trained.
    wants_input: bool,
    /// The result of the forward pass, taken when the op is applied.
    forward: Mutex<Option<Tensor>>,
}

impl Recompute {
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        self.block.forward(x, &self.angles, self.spans.as_ref(), self.ctx)
    }
}

impl Recompute {
    /// The result of the forward pass, once.
    fn result(&self) -> candle_core::Result<(Tensor, Shape)> {
        let y = self.forward.lock().unwrap_or_else(PoisonError::into_inner).take();
        let y = y.ok_or_else(|| Error::Msg("a recomputed block was applied twice".into()))?.contiguous()?;
        let shape = y.shape().clone();
        Ok((y, shape))
    }
}

fn as_candle(e: crate::Error) -> Error {
    match e {
        crate::Error::Candle(e) => e,
        other => Error::Msg(other.to_string()),
    }
}

impl CustomOp2 for Recompute {
    fn name(&self) -> &'static str {
        "recomputed block"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (y, shape) = self.result()?;
        let (storage, _) = y.storage_and_layout();
        match &*storage {
            Storage::Cpu(s) => Ok((s.clone(), shape)),
            Storage::Cuda(_) | Storage::Metal(_) => Err(Error::Msg("the block computed on another device".into())),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (y, shape) = self.result()?;
        let (storage, layout) = y.storage_and_layout();
        match &*storage {
            Storage::Cuda(s) => Ok((s.try_clone(layout)?, shape)),
            Storage::Cpu(_) | Storage::Metal(_) => Err(Error::Msg("the block computed on another device".into())),
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        _flat: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let input = Var::from_tensor(&x.detach())?;
        let x = if self.wants_input { input.as_tensor().clone() } else { x.detach() };
        let y = self.run(&x).map_err(as_candle)?;
        // The gradient of sum(y * grad) with `grad` held constant is the product with the Jacobian.
        let grads = inner_backward(&y, grad)?;
        let dx = if self.wants_input { grads.get(input.as_tensor()).cloned() } else { None };
        let vars = self.block.vars();
        if vars.is_empty() {
            return Ok((dx, None));
        }
        let parts: candle_core::Result<Vec<Tensor>> = vars
            .iter()
            .map(|v| match grads.get(v.as_tensor()) {
                Some(g) => g.flatten_all(),
                None => v.as_tensor().zeros_like()?.flatten_all(),
            })
            .collect();
        Ok((dx, Some(Tensor::cat(&parts?, 0)?)))
    }
}

fn inner_backward(y: &Tensor, grad: &Tensor) -> candle_core::Result<candle_core::backprop::GradStore> {
    (y * grad.detach())?.sum_all()?.backward()
}
