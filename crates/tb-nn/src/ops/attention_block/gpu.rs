//! The attention half of a block on a GPU: the passes of `attention_block.rs`, on device memory.

use candle_core::{CudaStorage, Layout, Result, Tensor};

use super::Op;
use crate::ops::attention::Dims;
use crate::ops::gpu::{
    Adapters, Attended, Gpu, Gradients, Half, Values, View, finished, input_gradient, normed, read_gpu, through,
};
use crate::ops::rms_norm::NormLayer;
use crate::ops::rope::Turn;

pub(super) struct Kept {
    q: Values,
    k: Values,
    v: Values,
    attended: Attended,
    /// o's result, where a norm follows.
    result: Option<Values>,
    hidden: (Vec<Half>, Half),
}

impl Op {
    /// Rotates queries and keys in place.
    fn gpu_turn(&self, gpu: &Gpu, q: &mut Values, k: &mut Values, turn: Turn) -> Result<()> {
        let Some(rotation) = &self.parts.rotation else { return Ok(()) };
        let Dims { rows, tokens, heads, kv_heads, size } = self.core.dims;
        rotation.gpu_turn(gpu, q, [rows, tokens, heads, size], turn)?;
        rotation.gpu_turn(gpu, k, [rows, tokens, kv_heads, size], turn)
    }

    /// Projected queries and keys as they are attended, where a norm comes first.
    fn gpu_normalised(&self, gpu: &Gpu, [nq, nk]: &[NormLayer; 2], q: View, k: View) -> Result<(Values, Values)> {
        let (mut q, mut k) = (nq.gpu_forward(gpu, q)?, nk.gpu_forward(gpu, k)?);
        self.gpu_turn(gpu, &mut q, &mut k, Turn::Forward)?;
        Ok((q, k))
    }

    pub(super) fn gpu_forward(
        &self,
        (x, layout): (&CudaStorage, &Layout),
        flat: Option<(&CudaStorage, &Layout)>,
    ) -> Result<CudaStorage> {
        let gpu = Gpu::of(&x.device)?;
        let x = View::of(gpu, x, layout)?;
        let flat = flat.map(|(s, l)| View::of(gpu, s, l)).transpose()?;
        let flat = Adapters::new(gpu, flat, x.dtype())?;
        let normed = normed(gpu, self.parts.before.as_ref(), x)?;
        let n = normed.as_ref().map_or(x, Values::view);
        let ([mut q, mut k, v], inputs) = self.parts.inputs.gpu_forward(gpu, n, &flat)?;
        drop(normed);
        let attended = match &self.parts.query_key {
            None => {
                self.gpu_turn(gpu, &mut q, &mut k, Turn::Forward)?;
                gpu.attention(&self.core, q.view(), k.view(), v.view())?
            }
            Some(norms) => {
                let (q, k) = self.gpu_normalised(gpu, norms, q.view(), k.view())?;
                gpu.attention(&self.core, q.view(), k.view(), v.view())?
            }
        };
        let inner = (attended.out.view(), x);
        let (result, y, output) = finished(gpu, &self.parts.output, self.parts.after.as_ref(), inner, &flat)?;
        // The op object is made per call, so nothing was kept before.
        let _ = self.gpu_kept.set(Kept { q, k, v, attended, result, hidden: (inputs, output) });
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
        let (inputs, output) = &kept.hidden;
        read_gpu!(gpu, xs = x);
        read_gpu!(gpu, dy = dy);
        let gradients = Gradients::new(gpu, flat, xs.dtype())?;
        let (adapters, into) = (&gradients.adapters, gradients.view());
        let wanted = x.track_op();
        let below = wanted || self.parts.inputs.is_adapted();
        let mut dattended = None;
        {
            let through = through(gpu, self.parts.after.as_ref(), kept.result.as_ref(), dy)?;
            let dresult = through.as_ref().map_or(dy, Values::view);
            let attended = Some(kept.attended.out.view());
            let dx = below.then_some(&mut dattended);
            self.parts.output.gpu_backward(gpu, (attended, output), adapters, dresult, dx, into)?;
        }
        let Some(dattended) = dattended else { return Ok((None, gradients.into_tensor())) };
        let results = (kept.attended.out.view(), kept.attended.log_sums.view());
        let v = kept.v.view();
        let [mut dq, mut dk, dv] = match &self.parts.query_key {
            None => gpu.attention_back(&self.core, [kept.q.view(), kept.k.view(), v], results, dattended.view())?,
            Some(norms) => {
                let (q, k) = self.gpu_normalised(gpu, norms, kept.q.view(), kept.k.view())?;
                gpu.attention_back(&self.core, [q.view(), k.view(), v], results, dattended.view())?
            }
        };
        drop(dattended);
        self.gpu_turn(gpu, &mut dq, &mut dk, Turn::Back)?;
        if let Some([nq, nk]) = &self.parts.query_key {
            dq = nq.gpu_backward(gpu, kept.q.view(), dq.view(), None)?;
            dk = nk.gpu_backward(gpu, kept.k.view(), dk.view(), None)?;
        }
        let normed = if self.parts.inputs.is_adapted() { normed(gpu, self.parts.before.as_ref(), xs)? } else { None };
        let n = self.parts.inputs.is_adapted().then(|| normed.as_ref().map_or(xs, Values::view));
        let mut dn = None;
        self.parts.inputs.gpu_backward(gpu, (n, inputs), adapters, [dq, dk, dv], wanted.then_some(&mut dn), into)?;
        let dflat = gradients.into_tensor();
        let Some(dn) = dn else { return Ok((None, dflat)) };
        let dx = input_gradient(gpu, self.parts.before.as_ref(), xs, dn.view(), dy)?;
        Ok((Some(dx.into_tensor(x.shape())), dflat))
    }
}
