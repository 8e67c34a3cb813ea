//! Cross-entropy straight from hidden states on a GPU: f32 logits of a chunk, which become their gradients where they lie.

use candle_core::{DType, Result, Tensor};

use super::LinearCrossEntropy;
use crate::ops::gpu::{Gpu, Mat, Old, Values, View, read_gpu};

/// Bytes of f32 logits that exist at a time: so many rows that a product with the head is bound by arithmetic, not by reading the head.
const CHUNK_BYTES: usize = 320 << 20;

fn chunk_rows(v: usize) -> usize {
    (CHUNK_BYTES / 4 / v).clamp(16, 4096)
}

/// What the forward leaves for the backward.
pub(super) struct Kept {
    dhidden: Option<Values>,
    dhead: Option<Values>,
}

impl Gpu {
    /// f32 logits of a chunk of hidden states, (M, V).
    fn logits(&self, (m, v, c): (usize, usize, usize), hidden: View, head: View) -> Result<Values> {
        self.new_product((m, v, c), (Mat::rows(hidden, c), Mat::transposed(head, c)), 1.0, DType::F32)
    }

    /// log softmax(cap(logits))[target] of every position.
    pub(super) fn token_logprobs(
        &self,
        (n, v, c): (usize, usize, usize),
        (hidden, head): (View, View),
        targets: &[u32],
        cap: Option<f32>,
    ) -> Result<Vec<f32>> {
        let nll = self.zeros(n, DType::F32)?;
        let rows = chunk_rows(v);
        for (chunk, targets) in targets.chunks(rows).enumerate() {
            let (first, m) = (chunk * rows, targets.len());
            let mut logits = self.logits((m, v, c), hidden.part(first * c, m * c), head)?;
            self.cross_entropy(&mut logits, targets, nll.view().part(first, m), cap, None)?;
        }
        Ok(nll.into_tensor(n).to_vec1::<f32>()?.into_iter().map(|v| -v).collect())
    }
}

impl LinearCrossEntropy {
    /// The loss, one f32; keeps dHidden (N, C) and, where it is wanted, dHead (V, C).
    pub(super) fn gpu_run(&self, gpu: &Gpu, hidden: View, head: View, wants_head: bool) -> Result<Values> {
        let (n, v, c) = self.dims;
        let rows = chunk_rows(v);
        let dtype = hidden.dtype();
        let converted = if head.dtype() == dtype { None } else { Some(gpu.converted(head, dtype)?) };
        let head = converted.as_ref().map_or(head, Values::view);
        let keep = (self.wants_hidden || wants_head).then_some(dtype);
        let nll = gpu.new_values(n, DType::F32)?;
        let dhidden = self.wants_hidden.then(|| gpu.new_values(n * c, dtype)).transpose()?;
        let dhead = wants_head.then(|| gpu.zeros(v * c, DType::F32)).transpose()?;
        for (chunk, targets) in self.targets.chunks(rows).enumerate() {
            let (first, m) = (chunk * rows, targets.len());
            let hidden = hidden.part(first * c, m * c);
            let mut logits = gpu.logits((m, v, c), hidden, head)?;
            gpu.cross_entropy(&mut logits, targets, nll.view().part(first, m), self.cap, keep)?;
            // A row of gradients begins where its row of f32 logits did.
            let (grads, row) = (logits.view().taken_as(dtype), v * 4 / dtype.size_in_bytes());
            if let Some(dhidden) = &dhidden {
                let into = dhidden.view().part(first * c, m * c);
                gpu.product((m, c, v), into, c, Old::Drop, (Mat::rows(grads, row), Mat::rows(head, c)), 1.0)?;
            }
            if let Some(dhead) = &dhead {
                let factors = (Mat::transposed(grads, row), Mat::rows(hidden, c));
                gpu.product((v, c, m), dhead.view(), c, Old::Add, factors, 1.0)?;
            }
        }
        // The op object is made per call, so nothing was kept before.
        let _ = self.gpu_kept.set(Kept { dhidden, dhead });
        gpu.sum(nll.view())
    }

    /// The kept gradients of hidden and head times the upstream gradient, each where it is wanted.
    pub(super) fn gpu_scaled(
        &self,
        hidden: &Tensor,
        head: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let gpu = Gpu::of_tensor(hidden)?;
        let kept = self.gpu_kept.get().expect("the forward ran before the backward");
        let dy = dy.to_dtype(DType::F32)?;
        read_gpu!(gpu, by = dy);
        let scaled = |kept: &Option<Values>, like: &Tensor| -> Result<Option<Tensor>> {
            let Some(kept) = kept else { return Ok(None) };
            Ok(Some(gpu.scaled_by(kept.view(), by)?.into_tensor(like.shape()).to_dtype(like.dtype())?))
        };
        Ok([scaled(&kept.dhidden, hidden)?, head.map(|head| scaled(&kept.dhead, head)).transpose()?.flatten()])
    }
}
