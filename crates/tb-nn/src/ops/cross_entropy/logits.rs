//! Cross-entropy of logits that exist already: of a chunk of positions, made by an output layer that is more than one product.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::{Keep, nll_and_softmax, through_cap};
use crate::error::{Error, Result};
use crate::ops::lanes::soft_cap;
#[cfg(feature = "cuda")]
use crate::ops::slices::through_host;
use crate::ops::slices::{floats, read, tensor_like};

struct LogitsCrossEntropy {
    targets: Vec<u32>,
    cap: Option<f32>,
    wanted: bool,
    grad: OnceLock<Vec<f32>>,
}

/// The sum over n of -log softmax(cap(logits[n]))[targets[n]], in nats, as a scalar f32; logits (N, V). Backward: (softmax - onehot) cap'.
pub fn logits_cross_entropy(logits: &Tensor, targets: &[u32], cap: Option<f32>) -> Result<Tensor> {
    check("logits_cross_entropy", logits, targets)?;
    let op = LogitsCrossEntropy { targets: targets.to_vec(), cap, wanted: logits.track_op(), grad: OnceLock::new() };
    Ok(logits.apply_op1(op)?)
}

/// log softmax(cap(logits[n]))[targets[n]] per position; logits (N, V).
pub fn logits_logprobs(logits: &Tensor, targets: &[u32], cap: Option<f32>) -> Result<Vec<f32>> {
    let v = check("logits_logprobs", logits, targets)?;
    read!(logits = logits);
    let rows = logits.par_chunks(v).zip(targets);
    let one = |(row, target): (&[f32], &u32)| {
        let mut row = row.to_vec();
        if let Some(cap) = cap {
            soft_cap(&mut row, cap);
        }
        -nll_and_softmax(&mut row, *target as usize, Keep::Nothing)
    };
    Ok(rows.map(one).collect())
}

fn check(op: &'static str, logits: &Tensor, targets: &[u32]) -> Result<usize> {
    let &[n, v] = logits.dims() else {
        return Err(Error::shape(op, "logits", "(N, V)", logits.dims()));
    };
    if n != targets.len() || v == 0 {
        return Err(Error::shape(op, "logits", format!("({}, V)", targets.len()), logits.dims()));
    }
    match targets.iter().find(|t| **t as usize >= v) {
        Some(t) => Err(Error::value(op, format!("target {t} is not in the vocabulary of {v}"))),
        None => Ok(v),
    }
}

impl CustomOp1 for LogitsCrossEntropy {
    #[cfg(feature = "cuda")]
    through_host!(CustomOp1: s, l);

    fn name(&self) -> &'static str {
        "logits-cross-entropy"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let (_, v) = l.shape().dims2()?;
        let keep = if self.wanted { Keep::Gradient } else { Keep::Nothing };
        let mut logits = floats(s, l)?.into_owned();
        let rows = logits.par_chunks_mut(v).zip(&self.targets);
        let one = |(row, target): (&mut [f32], &u32)| {
            let Some(cap) = self.cap else { return nll_and_softmax(row, *target as usize, keep) };
            soft_cap(row, cap);
            let capped = row.to_vec();
            let nll = nll_and_softmax(row, *target as usize, keep);
            through_cap(row, &capped, cap);
            nll
        };
        let nll: Vec<f32> = rows.map(one).collect();
        let loss = nll.iter().map(|x| f64::from(*x)).sum::<f64>() as f32;
        // The op object is made per call, so nothing was kept before.
        let _ = self.grad.set(logits);
        Ok((CpuStorage::F32(vec![loss]), ().into()))
    }

    fn bwd(&self, logits: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let scale = dy.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()?;
        let kept = self.grad.get().expect("the forward ran before the backward");
        let values = kept.par_iter().with_min_len(1 << 14).map(|v| v * scale).collect();
        Ok(Some(tensor_like(values, logits)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::WeightGrad;
    use crate::ops::cross_entropy::{linear_cross_entropy, token_logprobs};
    use crate::ops::gradient_check::{assert_close, check as check_gradients, noise};

    #[test]
    fn agrees_with_the_loss_straight_from_hidden_states() -> Result<()> {
        for (n, v, c) in [(1, 2, 1), (3, 7, 3)] {
            let targets: Vec<u32> = (0..n).map(|i| ((i * 5 + 1) % v) as u32).collect();
            let (hidden, head) = (noise(&[n, c], 1)?, noise(&[v, c], 2)?);
            let logits = hidden.matmul(&head.t()?)?;
            for cap in [None, Some(1.5)] {
                let want = linear_cross_entropy(&hidden, &head, &targets, cap, WeightGrad::Frozen)?;
                assert_close(&logits_cross_entropy(&logits, &targets, cap)?, &want, 1e-5);
                let ours = logits_logprobs(&logits, &targets, cap)?;
                let theirs = token_logprobs(&hidden, &head, &targets, cap)?;
                assert!(ours.into_iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-5));
                check_gradients(std::slice::from_ref(&logits), |t| logits_cross_entropy(&t[0], &targets, cap));
            }
        }
        assert!(matches!(logits_cross_entropy(&noise(&[1, 3], 1)?, &[3], None), Err(Error::Value { .. })));
        assert!(matches!(logits_cross_entropy(&noise(&[2, 3], 1)?, &[1], None), Err(Error::Shape { .. })));
        Ok(())
    }
}
