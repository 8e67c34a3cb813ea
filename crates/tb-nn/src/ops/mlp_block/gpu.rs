//! The feed-forward half of a block on a GPU: the passes of `mlp_block.rs`, on device memory.

use candle_core::{CudaStorage, Layout, Result, Tensor};

use super::Op;
use crate::ops::gpu::{
    Adapters, Gpu, Gradients, Half, Values, View, finished, input_gradient, normed, read_gpu, through,
};

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
        let (result, y, down) = finished(gpu, &self.down, self.after.as_ref(), (act.view(), x), &flat)?;
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
        let gradients = Gradients::new(gpu, flat, xs.dtype())?;
        let (adapters, into) = (&gradients.adapters, gradients.view());
        let mut dact = None;
        {
            let act = match self.down.is_adapted() {
                true => Some(gpu.gated(self.activation, kept.gate.view(), kept.up.view())?),
                false => None,
            };
            let through = through(gpu, self.after.as_ref(), kept.result.as_ref(), dy)?;
            let dresult = through.as_ref().map_or(dy, Values::view);
            let act = act.as_ref().map(Values::view);
            self.down.gpu_backward(gpu, (act, down), adapters, dresult, Some(&mut dact), into)?;
        }
        let dact = dact.expect("a gradient was asked for");
        let grads = gpu.gated_back(self.activation, kept.gate.view(), kept.up.view(), dact.view())?;
        drop(dact);
        let normed = if self.inputs.is_adapted() { normed(gpu, self.before.as_ref(), xs)? } else { None };
        let n = self.inputs.is_adapted().then(|| normed.as_ref().map_or(xs, Values::view));
        let mut dn = None;
        let wanted = x.track_op();
        self.inputs.gpu_backward(gpu, (n, inputs), adapters, grads, wanted.then_some(&mut dn), into)?;
        let dflat = gradients.into_tensor();
        let Some(dn) = dn else { return Ok((None, dflat)) };
        let dx = input_gradient(gpu, self.before.as_ref(), xs, dn.view(), dy)?;
        Ok((Some(dx.into_tensor(x.shape())), dflat))
    }
}
