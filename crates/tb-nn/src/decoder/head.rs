//! Loss and log-probabilities of an output layer that carries an adapter: a chunk of positions at a time, whatever the layer computes.
//!
//! The loss is a scalar, so the gradients of a chunk are formed while its logits are there; the backward pass only scales them.

use super::linear::{Context, Linear};
use crate::Result;
use crate::ops::cross_entropy::{chunk_rows, logits_cross_entropy, logits_logprobs};
#[cfg(feature = "cuda")]
use crate::ops::slices::through_host;
use crate::ops::slices::{read, tensor_like};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result as CandleResult, Shape, Tensor, Var};

/// The sum of the negative log-likelihoods (nats) of `targets`, () f32 with its graph. hidden (N, C); `dropped` is hidden as the adapter
/// sees it, where there is dropout.
pub(super) fn loss(
    head: &Linear,
    hidden: &Tensor,
    dropped: Option<&Tensor>,
    targets: &[u32],
    cap: Option<f32>,
    ctx: Context,
) -> Result<Tensor> {
    let (n, c) = hidden.dims2()?;
    let inputs: Vec<&Tensor> = std::iter::once(hidden).chain(dropped).collect();
    let wanted = hidden.track_op();
    let vars: Vec<&Var> = head.vars().collect();
    let mut total = 0f64;
    let mut of_inputs: Vec<Vec<f32>> = vec![Vec::with_capacity(if wanted { n * c } else { 0 }); inputs.len()];
    let mut of_vars: Vec<Vec<f32>> = vars.iter().map(|v| vec![0.0; v.elem_count()]).collect();
    let rows = chunk_rows(outputs(head)?);
    for (chunk, targets) in targets.chunks(rows).enumerate() {
        let mut pieces = Vec::with_capacity(inputs.len());
        for input in &inputs {
            let piece = input.detach().narrow(0, chunk * rows, targets.len())?.contiguous()?;
            pieces.push(if wanted { Var::from_tensor(&piece)?.into_inner() } else { piece });
        }
        let logits = head.forward_dropped(&pieces[0], pieces.get(1), ctx)?.to_dtype(DType::F32)?; // (chunk, V)
        let nll = logits_cross_entropy(&logits, targets, cap)?;
        total += f64::from(nll.to_scalar::<f32>()?);
        if !wanted && vars.is_empty() {
            continue;
        }
        let grads = nll.backward()?;
        for (into, piece) in of_inputs.iter_mut().zip(&pieces).filter(|_| wanted) {
            let grad = grads.get(piece).ok_or_else(|| no_gradient(head))?;
            read!(grad = grad);
            into.extend_from_slice(&grad);
        }
        for (into, var) in of_vars.iter_mut().zip(&vars) {
            let grad = grads.get(var.as_tensor()).ok_or_else(|| no_gradient(head))?;
            read!(grad = grad);
            into.iter_mut().zip(grad.iter()).for_each(|(sum, g)| *sum += g);
        }
    }
    // Candle hands a custom op gradients only for its arguments: inputs travel as one tensor, variables as another.
    let joined = Tensor::cat(&inputs, 0)?; // (N or 2 N, C)
    let flat = match vars.is_empty() {
        true => Tensor::zeros(1, DType::F32, hidden.device())?,
        false => {
            let parts: CandleResult<Vec<Tensor>> = vars.iter().map(|v| v.flatten_all()).collect();
            Tensor::cat(&parts?, 0)?
        }
    };
    let op = HeadLoss {
        loss: total as f32,
        of_inputs: wanted.then(|| of_inputs.concat()),
        of_vars: (!vars.is_empty()).then(|| of_vars.concat()),
    };
    Ok(joined.apply_op2(&flat, op)?)
}

/// Log-probability of every target, without a gradient; hidden (N, C).
pub(super) fn logprobs(
    head: &Linear,
    hidden: &Tensor,
    targets: &[u32],
    cap: Option<f32>,
    ctx: Context,
) -> Result<Vec<f32>> {
    let rows = chunk_rows(outputs(head)?);
    let mut all = Vec::with_capacity(targets.len());
    for (chunk, targets) in targets.chunks(rows).enumerate() {
        let piece = hidden.detach().narrow(0, chunk * rows, targets.len())?.contiguous()?;
        let logits = head.forward_dropped(&piece, None, ctx)?.detach().to_dtype(DType::F32)?; // (chunk, V)
        all.extend(logits_logprobs(&logits, targets, cap)?);
    }
    Ok(all)
}

fn outputs(head: &Linear) -> Result<usize> {
    Ok(head.weight.dims()?.0)
}

fn no_gradient(head: &Linear) -> crate::Error {
    crate::Error::NoGradient { name: head.path.clone() }
}

struct HeadLoss {
    loss: f32,
    of_inputs: Option<Vec<f32>>,
    of_vars: Option<Vec<f32>>,
}

impl CustomOp2 for HeadLoss {
    #[cfg(feature = "cuda")]
    through_host!(CustomOp2: s1, l1; s2, l2);

    fn name(&self) -> &'static str {
        "adapted head loss"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![self.loss]), ().into()))
    }

    fn bwd(
        &self,
        inputs: &Tensor,
        flat: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let scale = dy.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        let scaled = |kept: &Option<Vec<f32>>, like: &Tensor| {
            let kept = kept.as_ref()?;
            Some(tensor_like(kept.iter().map(|v| v * scale).collect(), like))
        };
        Ok((scaled(&self.of_inputs, inputs).transpose()?, scaled(&self.of_vars, flat).transpose()?))
    }
}
