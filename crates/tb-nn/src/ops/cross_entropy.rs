//! Cross-entropy straight from hidden states: logits exist only for a chunk of positions at a time.
//!
//! The caller passes the supervised positions alone. Because the loss is a scalar, the forward can form dHidden (and
//! dHead) while the chunk's logits are at hand; the backward only scales them, so there is one logits product, not two.

#[cfg(feature = "cuda")]
mod gpu;
mod logits;

use std::sync::OnceLock;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::WeightGrad;
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, View, read_gpu};
use crate::ops::lanes::{exp_and_sum, max, soft_cap, vectorized};
use crate::ops::matmul::{ALL, Mat, Old, Weight, product, read_weight};
use crate::ops::slices::{floats, read, tensor_like};
use crate::profile;

pub use logits::{logits_cross_entropy, logits_logprobs};

/// Bytes of logits that exist at a time.
const CHUNK_BYTES: usize = 48 << 20;

/// Positions per chunk for a vocabulary of `v`: a function of the vocabulary alone.
pub(crate) fn chunk_rows(v: usize) -> usize {
    (CHUNK_BYTES / 4 / v.max(1)).clamp(16, 1024)
}

struct LinearCrossEntropy {
    targets: Vec<u32>,
    dims: (usize, usize, usize),
    cap: Option<f32>,
    frozen: Option<Tensor>,
    wants_hidden: bool,
    grads: OnceLock<(Vec<f32>, Vec<f32>)>,
    #[cfg(feature = "cuda")]
    gpu_kept: OnceLock<gpu::Kept>,
}

fn dims(op: &'static str, hidden: &Tensor, head: &Tensor, targets: &[u32]) -> Result<(usize, usize, usize)> {
    let &[v, c] = head.dims() else {
        return Err(Error::shape(op, "head", "(V, C)", head.dims()));
    };
    if hidden.dims() != [targets.len(), c] {
        return Err(Error::shape(op, "hidden", format!("({}, {c})", targets.len()), hidden.dims()));
    }
    if let Some(t) = targets.iter().find(|t| **t as usize >= v) {
        return Err(Error::value(op, format!("target {t} is not in the vocabulary of {v}")));
    }
    Ok((targets.len(), v, c))
}

/// The sum over n of -log softmax(cap(hidden[n] head'))[targets[n]], in nats, as a scalar f32; with a cap a logit l counts as
/// cap * tanh(l / cap).
///
/// hidden (N, C) holds only supervised positions, head (V, C). Backward: dHidden = g (softmax - onehot) cap' head, and for
/// [`WeightGrad::Trained`] dHead = g ((softmax - onehot) cap')' hidden; both formed in the forward, in chunks of positions.
pub fn linear_cross_entropy(
    hidden: &Tensor,
    head: &Tensor,
    targets: &[u32],
    cap: Option<f32>,
    grad: WeightGrad,
) -> Result<Tensor> {
    let dims = dims("linear_cross_entropy", hidden, head, targets)?;
    let op = LinearCrossEntropy {
        targets: targets.to_vec(),
        dims,
        cap,
        frozen: None,
        wants_hidden: hidden.track_op(),
        grads: OnceLock::new(),
        #[cfg(feature = "cuda")]
        gpu_kept: OnceLock::new(),
    };
    Ok(match grad {
        WeightGrad::Frozen => {
            hidden.apply_op1(LinearCrossEntropy { frozen: Some(head.detach().contiguous()?), ..op })?
        }
        WeightGrad::Trained => hidden.apply_op2(head, op)?,
    })
}

/// log softmax(cap(hidden[n] head'))[targets[n]] per position, without a gradient. Shapes as [`linear_cross_entropy`].
pub fn token_logprobs(hidden: &Tensor, head: &Tensor, targets: &[u32], cap: Option<f32>) -> Result<Vec<f32>> {
    let (n, v, c) = dims("token_logprobs", hidden, head, targets)?;
    #[cfg(feature = "cuda")]
    if hidden.device().is_cuda() && n > 0 {
        let gpu = Gpu::of_tensor(hidden)?;
        let head = head.detach().to_dtype(hidden.dtype())?;
        read_gpu!(gpu, head = head);
        read_gpu!(gpu, hidden = hidden);
        return Ok(gpu.token_logprobs((n, v, c), (hidden, head), targets, cap)?);
    }
    let head = head.detach().contiguous()?;
    read!(hidden = hidden);
    read_weight!(weight = head);
    let rows = chunk_rows(v);
    let mut logprobs = Vec::with_capacity(n);
    for (hidden, targets) in hidden.chunks(rows * c.max(1)).zip(targets.chunks(rows)) {
        let mut logits = weight.new_forward((targets.len(), v, c), hidden);
        let piece: Vec<f32> = logits
            .par_chunks_mut(v)
            .zip(targets)
            .map(|(row, target)| {
                if let Some(cap) = cap {
                    soft_cap(row, cap);
                }
                -nll_and_softmax(row, *target as usize, Keep::Nothing)
            })
            .collect();
        logprobs.extend(piece);
    }
    Ok(logprobs)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    Gradient,
}

vectorized! {
    /// The row's negative log-likelihood; with `Gradient` the row becomes softmax - onehot.
    fn nll_and_softmax(row: &mut [f32], target: usize, keep: Keep) -> f32 {
        let top = max(row);
        let at_target = row[target];
        let sum = exp_and_sum(row, top);
        if keep == Keep::Gradient {
            let scale = 1.0 / sum;
            for p in row.iter_mut() {
                *p *= scale;
            }
            row[target] -= 1.0;
        }
        sum.ln() + top - at_target
    }
}

vectorized! {
    /// Gradients of capped logits become those of the logits: d cap tanh(l / cap) / dl = 1 - tanh(l / cap)^2.
    fn through_cap(grads: &mut [f32], capped: &[f32], cap: f32) {
        for (g, c) in grads.iter_mut().zip(capped) {
            let t = c / cap;
            *g *= 1.0 - t * t;
        }
    }
}

impl LinearCrossEntropy {
    /// The loss; keeps dHidden (N, C) and, when `trained`, dHead (V, C).
    fn run(&self, hidden: &[f32], head: Weight, wants_head: bool) -> f32 {
        let _span = profile::span("cross entropy");
        let (n, v, c) = self.dims;
        let rows = chunk_rows(v);
        let keep = if self.wants_hidden || wants_head { Keep::Gradient } else { Keep::Nothing };
        let mut dhidden = vec![0f32; if self.wants_hidden { n * c } else { 0 }];
        let mut dhead = vec![0f32; if wants_head { v * c } else { 0 }];
        // One buffer for all chunks: fresh pages would cost more than the softmax.
        let mut logits = vec![0f32; rows.min(n) * v];
        let mut loss = 0f64;
        for (chunk, (hidden, targets)) in hidden.chunks(rows * c.max(1)).zip(self.targets.chunks(rows)).enumerate() {
            let m = targets.len();
            let logits = &mut logits[..m * v];
            // SAFETY: the buffer has M x V elements.
            unsafe { head.forward((m, v, c), logits.as_mut_ptr(), Old::Drop, hidden) };
            let nll: Vec<f32> = logits
                .par_chunks_mut(v)
                .zip(targets)
                .map_init(Vec::new, |capped, (row, target)| match self.cap {
                    None => nll_and_softmax(row, *target as usize, keep),
                    Some(cap) => {
                        soft_cap(row, cap);
                        capped.clear();
                        capped.extend_from_slice(row);
                        let nll = nll_and_softmax(row, *target as usize, keep);
                        if keep == Keep::Gradient {
                            through_cap(row, capped, cap);
                        }
                        nll
                    }
                })
                .collect();
            loss += nll.iter().map(|x| f64::from(*x)).sum::<f64>();
            if self.wants_hidden {
                let into = &mut dhidden[chunk * rows * c..][..m * c];
                // SAFETY: the part has M x C elements.
                unsafe { head.backward((m, v, c), into.as_mut_ptr(), Old::Drop, logits) };
            }
            if wants_head {
                product((v, c, m), &mut dhead, Old::Add, Mat::transposed(logits, v), Mat::rows(hidden, c), 1.0, ALL);
            }
        }
        // The op object is made per call, so nothing was kept before.
        let _ = self.grads.set((dhidden, dhead));
        loss as f32
    }

    fn scaled(
        &self,
        which: impl Fn(&(Vec<f32>, Vec<f32>)) -> &[f32],
        like: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<Tensor> {
        let scale = dy.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        let kept = self.grads.get().expect("the forward ran before the backward");
        let values = which(kept).par_iter().with_min_len(1 << 14).map(|v| v * scale).collect();
        tensor_like(values, like)
    }
}

impl CustomOp1 for LinearCrossEntropy {
    fn name(&self) -> &'static str {
        "linear-cross-entropy-frozen"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let head = self.frozen.as_ref().expect("the one-argument form holds its head");
        read_weight!(head = head);
        let loss = self.run(&floats(s, l)?, head, false);
        Ok((CpuStorage::F32(vec![loss]), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s.device)?;
        let head = self.frozen.as_ref().expect("the one-argument form holds its head");
        read_gpu!(gpu, head = head);
        Ok((self.gpu_run(gpu, View::of(gpu, s, l)?, head, false)?.into_storage(), ().into()))
    }

    fn bwd(&self, hidden: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if hidden.device().is_cuda() {
            let [dhidden, _] = self.gpu_scaled(hidden, None, dy)?;
            return Ok(dhidden);
        }
        Ok(Some(self.scaled(|g| &g.0, hidden, dy)?))
    }
}

impl CustomOp2 for LinearCrossEntropy {
    fn name(&self) -> &'static str {
        "linear-cross-entropy"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let loss = self.run(&floats(s1, l1)?, Weight::of(s2, l2)?, true);
        Ok((CpuStorage::F32(vec![loss]), ().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s1.device)?;
        let loss = self.gpu_run(gpu, View::of(gpu, s1, l1)?, View::of(gpu, s2, l2)?, true)?;
        Ok((loss.into_storage(), ().into()))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        head: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if hidden.device().is_cuda() {
            let [dhidden, dhead] = self.gpu_scaled(hidden, Some(head), dy)?;
            return Ok((dhidden, dhead));
        }
        let dhidden = self.wants_hidden.then(|| self.scaled(|g| &g.0, hidden, dy)).transpose()?;
        Ok((dhidden, Some(self.scaled(|g| &g.1, head, dy)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};
    use candle_core::{Device, Var};

    fn case(n: usize, v: usize, c: usize) -> Result<(Tensor, Tensor, Vec<u32>)> {
        let targets = (0..n).map(|i| ((i * 7 + 3) % v) as u32).collect();
        Ok((noise(&[n, c], 1)?, noise(&[v, c], 2)?, targets))
    }

    #[test]
    fn agrees_with_stock_cross_entropy_and_finite_differences() -> Result<()> {
        for (n, v, c) in [(1, 2, 1), (5, 11, 3), (37, 301, 9)] {
            let (hidden, head, targets) = case(n, v, c)?;
            let logits = hidden.matmul(&head.t()?)?;
            let ids = Tensor::from_vec(targets.clone(), n, &Device::Cpu)?;
            let want = (candle_nn::loss::cross_entropy(&logits, &ids)? * n as f64)?;
            let got = linear_cross_entropy(&hidden, &head, &targets, None, WeightGrad::Frozen)?;
            assert_close(&got, &want, 1e-4);
            let sum: f32 = token_logprobs(&hidden, &head, &targets, None)?.iter().sum();
            assert_close(&Tensor::new(-sum, &Device::Cpu)?, &want, 1e-4);
            let vars = [Var::from_tensor(&hidden)?, Var::from_tensor(&head)?];
            let stock =
                (candle_nn::loss::cross_entropy(&vars[0].matmul(&vars[1].t()?)?, &ids)? * n as f64)?.backward()?;
            let ours = linear_cross_entropy(&vars[0], &vars[1], &targets, None, WeightGrad::Trained)?.backward()?;
            for v in &vars {
                assert_close(ours.get(v).unwrap(), stock.get(v).unwrap(), 1e-5);
            }
            let ours = linear_cross_entropy(&vars[0], &vars[1], &targets, None, WeightGrad::Frozen)?.backward()?;
            assert_close(ours.get(&vars[0]).unwrap(), stock.get(&vars[0]).unwrap(), 1e-5);
            assert!(ours.get(&vars[1]).is_none());
        }
        // One f32 sum of many positions is too coarse for differences: small cases only.
        for (n, v, c) in [(1, 2, 1), (3, 7, 3)] {
            let (hidden, head, targets) = case(n, v, c)?;
            check(&[hidden.clone(), head.clone()], |t| {
                linear_cross_entropy(&t[0], &t[1], &targets, None, WeightGrad::Trained)
            });
            check(&[hidden], |t| linear_cross_entropy(&t[0], &head, &targets, None, WeightGrad::Frozen));
        }
        Ok(())
    }

    #[test]
    fn capped_logits_agree_with_the_plain_formula_and_finite_differences() -> Result<()> {
        let (hidden, head, targets) = case(5, 11, 3)?;
        let logits = hidden.matmul(&head.t()?)?;
        let capped = ((logits / 0.7)?.tanh()? * 0.7)?;
        let ids = Tensor::from_vec(targets.clone(), 5, &Device::Cpu)?;
        let want = (candle_nn::loss::cross_entropy(&capped, &ids)? * 5.0)?;
        assert_close(&linear_cross_entropy(&hidden, &head, &targets, Some(0.7), WeightGrad::Frozen)?, &want, 1e-5);
        let sum: f32 = token_logprobs(&hidden, &head, &targets, Some(0.7))?.iter().sum();
        assert_close(&Tensor::new(-sum, &Device::Cpu)?, &want, 1e-5);
        let (hidden, head, targets) = case(3, 7, 3)?;
        check(&[hidden, head], |t| linear_cross_entropy(&t[0], &t[1], &targets, Some(0.7), WeightGrad::Trained));
        Ok(())
    }

    #[test]
    fn chunks_do_not_change_the_result() -> Result<()> {
        // 2 chunks: with V = 40,000 a chunk holds 314 positions.
        let (hidden, head, targets) = case(400, 40_000, 2)?;
        let whole = token_logprobs(&hidden, &head, &targets, None)?;
        let tail = token_logprobs(&hidden.narrow(0, 390, 10)?, &head, &targets[390..], None)?;
        assert_eq!(chunk_rows(40_000), 314);
        for (a, b) in whole[390..].iter().zip(&tail) {
            assert!((a - b).abs() < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn gradients_are_the_same_bits_on_any_number_of_threads() -> Result<()> {
        let (hidden, head, targets) = case(70, 200, 24)?;
        same_bits_on_any_threads(&[hidden, head], |t| {
            linear_cross_entropy(&t[0], &t[1], &targets, None, WeightGrad::Trained)
        });
        Ok(())
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_refused() -> Result<()> {
        let (hidden, head, _) = case(1, 5, 3)?;
        assert!(matches!(
            linear_cross_entropy(&hidden, &head, &[5], None, WeightGrad::Frozen),
            Err(Error::Value { .. })
        ));
        Ok(())
    }
}
