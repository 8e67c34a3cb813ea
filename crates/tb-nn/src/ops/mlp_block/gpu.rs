//! The feed-forward half of a block on a GPU: the passes of `mlp_block.rs`, on device memory.

use candle_core::{CudaStorage, DType, Layout, Result, Tensor};

use super::Op;
use crate::ops::gpu::{Adapters, Gpu, Half, Values, View, read_gpu};
use crate::ops::rms_norm::NormLayer;

pub(super) struct Kept {
    gate: Values,
    up: Values,
    /// down's result, where a norm follows.
    result: Option<Values>,
    hidden: (Vec<Half>, Half),
}

impl Op {
    pub(super) fn gpu_forward(
        &self,
        (x, layout): (&CudaStorage, &Layout),
        flat: Option<(&CudaStorage, &Layout)>,
    ) -> Result<CudaStorage> {
        let gpu = Gpu::of(&x.device)?;
        let x = View::of(gpu, x, layout)?;
        let flat = flat.map(|(s, l)| View::of(gpu, s, l)).transpose()?;
        let flat = Adapters::new(gpu, flat, x.dtype())?;
        let normed = normed(gpu, self.before.as_ref(), x)?;
        let n = normed.as_ref().map_or(x, Values::view);
        let ([gate, up], inputs) = self.inputs.gpu_forward(gpu, n, &flat)?;
        drop(normed);
        let act = gpu.gated(self.activation, gate.view(), up.view())?;
        let (result, y, down) = match &self.after {
            None => {
                let (y, h) = self.down.gpu_forward(gpu, act.view(), Some(x), &flat)?;
                (None, y, h)
            }
            Some(norm) => {
                let (result, h) = self.down.gpu_forward(gpu, act.view(), None, &flat)?;
                let y = gpu.add(norm.gpu_forward(gpu, result.view())?.view(), x)?;
                (Some(result), y, h)
            }
        };
        // The op object is made per call, so nothing was kept before.
        let _ = self.gpu_kept.set(Kept { gate, up, result, hidden: (inputs, down) });
        Ok(y.into_storage())
    }

    /// (dx, adapters' gradients).
    pub(super) fn gpu_backward(
        &self,
        x: &Tensor,
        flat: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gpu = Gpu::of_tensor(x)?;
        let kept = self.gpu_kept.get().expect("the forward ran before the backward");
        let (inputs, down) = &kept.hidden;
        read_gpu!(gpu, xs = x);
        read_gpu!(gpu, dy = dy);
        let (adapters, dflat) = with_gradients(gpu, flat, xs.dtype())?;
        let into = dflat.as_ref().map(Values::view);
        let mut dact = None;
        {
            let act = match self.down.is_adapted() {
                true => Some(gpu.gated(self.activation, kept.gate.view(), kept.up.view())?),
                false => None,
            };
            let through = match (&self.after, &kept.result) {
                (Some(norm), Some(result)) => Some(norm.gpu_backward(gpu, result.view(), dy, None)?),
                _ => None,
            };
            let dresult = through.as_ref().map_or(dy, Values::view);
            let act = act.as_ref().map(Values::view);
            self.down.gpu_backward(gpu, (act, down), &adapters, dresult, Some(&mut dact), into)?;
        }
        let dact = dact.expect("a gradient was asked for");
        let grads = gpu.gated_back(self.activation, kept.gate.view(), kept.up.view(), dact.view())?;
        drop(dact);
        let normed = if self.inputs.is_adapted() { normed(gpu, self.before.as_ref(), xs)? } else { None };
        let n = self.inputs.is_adapted().then(|| normed.as_ref().map_or(xs, Values::view));
        let mut dn = None;
        let wanted = x.track_op();
        self.inputs.gpu_backward(gpu, (n, inputs), &adapters, grads, wanted.then_some(&mut dn), into)?;
        let dflat = dflat.zip(flat).map(|(dflat, flat)| dflat.into_tensor(flat.shape()));
        let Some(dn) = dn else { return Ok((None, dflat)) };
        let dx = match &self.before {
            None => gpu.add(dn.view(), dy)?,
            Some(norm) => norm.gpu_backward(gpu, xs, dn.view(), Some(dy))?,
        };
        Ok((Some(dx.into_tensor(x.shape())), dflat))
    }
}

/// x through a norm; none where there is no norm.
pub(crate) fn normed(gpu: &Gpu, norm: Option<&NormLayer>, x: View) -> Result<Option<Values>> {
    norm.map(|norm| norm.gpu_forward(gpu, x)).transpose()
}

/// The adapters of a half-block, and room for their gradients.
pub(crate) fn with_gradients(gpu: &Gpu, flat: Option<&Tensor>, dtype: DType) -> Result<(Adapters, Option<Values>)> {
    let Some(flat) = flat else { return Ok((Adapters::new(gpu, None, dtype)?, None)) };
    read_gpu!(gpu, values = flat);
    Ok((Adapters::new(gpu, Some(values), dtype)?, Some(gpu.new_values(values.len(), DType::F32)?)))
}
