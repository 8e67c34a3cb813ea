//! Token embedding: row lookup, and the gradient as a sum of rows.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape, Tensor, bail};
use half::bf16;

use crate::error::{Error, Result};
use crate::ops::WeightGrad;
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, View};
use crate::ops::slices::{read, tensor_like};

struct Embedding {
    ids: Vec<u32>,
    dims: (usize, usize),
}

/// y[n] = W[ids[n]]; W (V, C), y (N, C) in W's dtype. Backward for [`WeightGrad::Trained`]: dW[v] = sum of dy[n] over
/// the n with ids[n] = v, in the order of n. An id of V or more is refused.
pub fn embedding(ids: &[u32], weight: &Tensor, grad: WeightGrad) -> Result<Tensor> {
    let &[v, c] = weight.dims() else {
        return Err(Error::shape("embedding", "weight", "(V, C)", weight.dims()));
    };
    if let Some(id) = ids.iter().find(|id| **id as usize >= v) {
        return Err(Error::value("embedding", format!("token id {id} is not in the vocabulary of {v}")));
    }
    let weight = match grad {
        WeightGrad::Frozen => weight.detach(),
        WeightGrad::Trained => weight.clone(),
    };
    Ok(weight.apply_op1(Embedding { ids: ids.to_vec(), dims: (v, c) })?)
}

fn gather<T: Copy>(all: &[T], layout: &Layout, ids: &[u32], c: usize) -> CandleResult<Vec<T>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("the embedding must be contiguous");
    };
    let all = &all[start..end];
    let mut y = Vec::with_capacity(ids.len() * c);
    for id in ids {
        y.extend_from_slice(&all[*id as usize * c..(*id as usize + 1) * c]);
    }
    Ok(y)
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let c = self.dims.1;
        let y = match s {
            CpuStorage::F32(all) => CpuStorage::F32(gather::<f32>(all, l, &self.ids, c)?),
            CpuStorage::BF16(all) => CpuStorage::BF16(gather::<bf16>(all, l, &self.ids, c)?),
            _ => bail!("the embedding must be f32 or bf16"),
        };
        Ok((y, (self.ids.len(), c).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> CandleResult<(CudaStorage, Shape)> {
        let (gpu, c) = (Gpu::of(&s.device)?, self.dims.1);
        Ok((gpu.gather(View::of(gpu, s, l)?, &self.ids, c)?.into_storage(), (self.ids.len(), c).into()))
    }

    fn bwd(&self, weight: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let (v, c) = self.dims;
        read!(dy = dy);
        let mut dw = vec![0f32; v * c];
        for (id, row) in self.ids.iter().zip(dy.chunks_exact(c.max(1))) {
            for (w, d) in dw[*id as usize * c..(*id as usize + 1) * c].iter_mut().zip(row) {
                *w += d;
            }
        }
        Ok(Some(tensor_like(dw, weight)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{check, noise};

    #[test]
    fn repeated_ids_add_their_gradients() -> Result<()> {
        let w = noise(&[7, 5], 1)?;
        let ids = [3, 0, 3, 6, 3];
        let y = embedding(&ids, &w, WeightGrad::Frozen)?;
        assert_eq!(y.get(2)?.to_vec1::<f32>()?, w.get(3)?.to_vec1::<f32>()?);
        assert!(!y.track_op());
        check(&[w], |t| embedding(&ids, &t[0], WeightGrad::Trained));
        Ok(())
    }

    #[test]
    fn an_unknown_id_is_refused() -> Result<()> {
        assert!(matches!(embedding(&[7], &noise(&[7, 5], 1)?, WeightGrad::Frozen), Err(Error::Value { .. })));
        Ok(())
    }
}
