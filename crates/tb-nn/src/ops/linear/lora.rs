//! A frozen linear layer with a low-rank adapter as one op: y = x W' + b + s (drop(x) A') B'.
//!
//! Kept for the backward: x (by the graph), h = drop(x) A' (N, r), and one bit per element of x for the dropout mask.
//! The low-rank part on slices is [`LowRank`], which the fused blocks use too.

use std::borrow::Cow;
use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType};
use rayon::prelude::*;

use super::dropout::{BLOCK_ROWS, Dropout, RowDropout, apply_mask, row_width};
use super::frozen::forward;
use super::{dims, with_last};
use crate::error::{Error, Result};
use crate::ops::constant::{Constant, ConstantRef};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, Narrow, View, read_gpu};
use crate::ops::matmul::{ALL, Mat, ONE, Old, new_product, product, read_weight, rows_product};
use crate::ops::slices::{floats, read, store, tensor_like};
use crate::profile;

/// At most this many partial sums of dA are kept and added in order.
const PARTS: usize = 32;

struct LoraLinear {
    weight: Constant,
    bias: Option<Tensor>,
    dims: (usize, usize, usize),
    low_rank: LowRank,
    hidden: OnceLock<Hidden>,
    #[cfg(feature = "cuda")]
    gpu_hidden: OnceLock<Narrow>,
}

/// y = x W' + b + s (drop(x) A') B' with constant W (O, I) and b (O), trained A (r, I) and B (O, r), s = `scaling`.
///
/// x (..., I) is f32 or bf16, W f32, bf16 or quantised, A and B usually f32; y (..., O) in x's dtype. With h = drop(x) A':
/// dH = s dY B, dB = s dY' h, dA = dH' drop(x), dX = dY W + drop'(dH A).
pub fn lora_linear<'a>(
    x: &Tensor,
    weight: impl Into<ConstantRef<'a>>,
    bias: Option<&Tensor>,
    a: &Tensor,
    b: &Tensor,
    scaling: f64,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    const OP: &str = "lora_linear";
    let weight = weight.into();
    let dims = dims(OP, x, &weight.dims(), bias)?;
    let (_, o, i) = dims;
    let rank = a.dims().first().copied().unwrap_or(0);
    if a.dims() != [rank, i] || rank == 0 {
        return Err(Error::shape(OP, "A", format!("(r, {i})"), a.dims()));
    }
    if b.dims() != [o, rank] {
        return Err(Error::shape(OP, "B", format!("({o}, {rank})"), b.dims()));
    }
    let dropout = dropout.map(|d| d.checked(row_width(x))).transpose()?.flatten();
    let op = LoraLinear {
        weight: weight.held()?,
        bias: bias.map(Tensor::detach),
        dims,
        low_rank: LowRank { rank, inputs: i, outputs: o, scaling: scaling as f32, dropout },
        hidden: OnceLock::new(),
        #[cfg(feature = "cuda")]
        gpu_hidden: OnceLock::new(),
    };
    Ok(x.apply_op3(a, b, op)?)
}

/// What the adapter's forward keeps for its backward.
#[derive(Default)]
pub(crate) struct Hidden {
    /// h = drop(x) A' (N, r).
    h: Vec<f32>,
    /// One bit per element of x, in row-major order; empty without dropout.
    mask: Vec<u64>,
}

/// The adapter's part on slices: s (drop(x) A') B' with A (r, I) and B (O, r).
#[derive(Clone)]
pub(crate) struct LowRank {
    pub(crate) rank: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) scaling: f32,
    pub(crate) dropout: Option<RowDropout>,
}

impl LowRank {
    /// drop(x) for rows from `first` (a multiple of 64), in `scratch` when there is dropout.
    fn dropped<'a>(
        &self,
        x: &'a [f32],
        first: usize,
        rows: usize,
        mask: &[u64],
        scratch: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let i = self.inputs;
        let part = &x[first * i..(first + rows) * i];
        match &self.dropout {
            None => part,
            Some(d) => {
                scratch.clear();
                scratch.extend_from_slice(part);
                apply_mask(scratch, mask, d.scale());
                scratch
            }
        }
    }

    /// Values of the shape of x with the mask that was drawn, as the adapter sees x.
    pub(crate) fn seen<'a>(&self, x: &'a [f32], hidden: &Hidden) -> Cow<'a, [f32]> {
        let Some(dropout) = &self.dropout else { return Cow::Borrowed(x) };
        let mut seen = x.to_vec();
        let (values, masks) = (seen.par_chunks_mut(BLOCK_ROWS * self.inputs), hidden.mask.par_chunks(self.inputs));
        values.zip(masks).for_each(|(values, mask)| apply_mask(values, mask, dropout.scale()));
        Cow::Owned(seen)
    }

    /// h = drop(x) A' (N, r), with the mask that was drawn.
    pub(crate) fn down(&self, x: &[f32], a: &[f32]) -> Hidden {
        let _span = profile::span("adapter");
        let (r, i) = (self.rank, self.inputs);
        let n = x.len() / i.max(1);
        let Some(dropout) = &self.dropout else {
            let mut h = vec![0f32; n * r];
            rows_product((n, r, i), &mut h, Old::Drop, x, a, 1.0, ALL);
            return Hidden { h, mask: Vec::new() };
        };
        let mut hidden = Hidden { h: vec![0f32; n * r], mask: vec![0u64; x.len().div_ceil(64)] };
        // 64 rows are a whole number of mask words, whatever the width.
        hidden.h.par_chunks_mut(BLOCK_ROWS * r).zip(hidden.mask.par_chunks_mut(i)).enumerate().for_each_init(
            Vec::new,
            |scratch, (block, (h, mask))| {
                let rows = h.len() / r;
                dropout.mask(i, block * BLOCK_ROWS, rows, mask);
                let x = self.dropped(x, block * BLOCK_ROWS, rows, mask, scratch);
                product((rows, r, i), h, Old::Drop, Mat::rows(x, i), Mat::transposed(a, i), 1.0, ONE);
            },
        );
        hidden
    }

    /// y += s h B'.
    pub(crate) fn up(&self, y: &mut [f32], hidden: &Hidden, b: &[f32]) {
        let _span = profile::span("adapter");
        let (r, o, h) = (self.rank, self.outputs, &hidden.h);
        rows_product((h.len() / r, o, r), y, Old::Add, h, b, self.scaling, ALL);
    }

    /// (dA, dB) for the upstream gradient dy (N, O); adds drop'(s dy B A) to dx (N, I) where that is wanted.
    pub(crate) fn backward(
        &self,
        (x, hidden): (&[f32], &Hidden),
        (a, b): (&[f32], &[f32]),
        dy: &[f32],
        dx: Option<&mut [f32]>,
    ) -> (Vec<f32>, Vec<f32>) {
        let _span = profile::span("adapter back");
        let (r, o, h) = (self.rank, self.outputs, &hidden.h);
        let n = h.len() / r;
        let dh = new_product((n, r, o), Mat::rows(dy, o), Mat::rows(b, r), self.scaling, ALL);
        let db = new_product((o, r, n), Mat::transposed(dy, o), Mat::rows(h, r), self.scaling, ALL);
        (self.input_side(x, a, &dh, &hidden.mask, dx), db)
    }

    /// dA = dH' drop(x) (r, I), and dx += drop'(dH A) where dx is wanted.
    fn input_side(&self, x: &[f32], a: &[f32], dh: &[f32], mask: &[u64], dx: Option<&mut [f32]>) -> Vec<f32> {
        let (r, i) = (self.rank, self.inputs);
        let n = dh.len() / r;
        if self.dropout.is_none() {
            if let Some(dx) = dx {
                product((n, i, r), dx, Old::Add, Mat::rows(dh, r), Mat::rows(a, i), 1.0, ALL);
            }
            return new_product((r, i, n), Mat::transposed(dh, r), Mat::rows(x, i), 1.0, ALL);
        }
        // Parts depend on N only, and are added in order: the same bits on any number of threads.
        let part_rows = n.div_ceil(PARTS).next_multiple_of(BLOCK_ROWS).max(BLOCK_ROWS);
        let mut none = Vec::new();
        let wants_dx = dx.is_some();
        let dx = dx.unwrap_or(&mut none);
        let one = |first: usize, rows: usize, dx: &mut [f32]| {
            let mut da = vec![0f32; r * i];
            let (mut scratch, mut back) = (Vec::new(), vec![0f32; if wants_dx { BLOCK_ROWS * i } else { 0 }]);
            for start in (0..rows).step_by(BLOCK_ROWS) {
                let m = BLOCK_ROWS.min(rows - start);
                let dh = &dh[(first + start) * r..(first + start + m) * r];
                let mask = mask.get((first + start) / BLOCK_ROWS * i..).unwrap_or_default();
                let x = self.dropped(x, first + start, m, mask, &mut scratch);
                product((r, i, m), &mut da, Old::Add, Mat::transposed(dh, r), Mat::rows(x, i), 1.0, ONE);
                if wants_dx {
                    let back = &mut back[..m * i];
                    product((m, i, r), back, Old::Drop, Mat::rows(dh, r), Mat::rows(a, i), 1.0, ONE);
                    if let Some(d) = &self.dropout {
                        apply_mask(back, mask, d.scale());
                    }
                    for (v, b) in dx[start * i..(start + m) * i].iter_mut().zip(back.iter()) {
                        *v += *b;
                    }
                }
            }
            da
        };
        let starts: Vec<usize> = (0..n).step_by(part_rows).collect();
        let parts: Vec<Vec<f32>> = if wants_dx {
            dx.par_chunks_mut(part_rows * i).zip(&starts).map(|(dx, s)| one(*s, dx.len() / i, dx)).collect()
        } else {
            starts.par_iter().map(|s| one(*s, part_rows.min(n - s), &mut [])).collect()
        };
        let mut da = vec![0f32; r * i];
        for part in parts {
            for (v, p) in da.iter_mut().zip(&part) {
                *v += p;
            }
        }
        da
    }
}

#[cfg(feature = "cuda")]
impl LoraLinear {
    fn gpu_backward(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gpu = Gpu::of_tensor(x)?;
        let h = self.gpu_hidden.get().expect("the forward ran before the backward");
        read_gpu!(gpu, xs = x);
        read_gpu!(gpu, a_values = a);
        read_gpu!(gpu, b_values = b);
        read_gpu!(gpu, dy = dy);
        let factors = (gpu.converted(a_values, xs.dtype())?, gpu.converted(b_values, xs.dtype())?);
        let mut dx = x.track_op().then(|| gpu.linear_back(&self.weight, self.dims, dy)).transpose()?;
        let grads = (gpu.new_values(a.elem_count(), DType::F32)?, gpu.new_values(b.elem_count(), DType::F32)?);
        let views = (grads.0.view(), grads.1.view());
        self.low_rank.gpu_backward(gpu, (xs, h), (factors.0.view(), factors.1.view()), dy, dx.as_mut(), views)?;
        let (da, db) = (grads.0.into_tensor(a.shape()), grads.1.into_tensor(b.shape()));
        Ok((dx.map(|dx| dx.into_tensor(x.shape())), Some(da.to_dtype(a.dtype())?), Some(db.to_dtype(b.dtype())?)))
    }
}

impl CustomOp3 for LoraLinear {
    fn name(&self) -> &'static str {
        "lora-linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (x, a, b) = (floats(s1, l1)?, floats(s2, l2)?, floats(s3, l3)?);
        read_weight!(weight = self.weight);
        let mut y = forward(self.dims, &x, weight, self.bias.as_ref())?;
        let h = self.low_rank.down(&x, &a);
        self.low_rank.up(&mut y, &h, &b);
        // A second forward of the same op object cannot happen: it is made per call.
        let _ = self.hidden.set(h);
        Ok((store(y, s1.dtype())?, with_last(l1.dims(), self.dims.1).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> CandleResult<(CudaStorage, Shape)> {
        let gpu = Gpu::of(&s1.device)?;
        let (x, a, b) = (View::of(gpu, s1, l1)?, View::of(gpu, s2, l2)?, View::of(gpu, s3, l3)?);
        let y = gpu.linear(&self.weight, self.bias.as_ref(), self.dims, x)?;
        let (a, b) = (gpu.converted(a, x.dtype())?, gpu.converted(b, x.dtype())?);
        let h = self.low_rank.gpu_forward(gpu, x, (a.view(), b.view()), y.view())?;
        let _ = self.gpu_hidden.set(h);
        Ok((y.into_storage(), with_last(l1.dims(), self.dims.1).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return self.gpu_backward(x, a, b, dy);
        }
        read!(dy = dy);
        read!(a_values = a);
        read!(b_values = b);
        read!(x_values = x);
        read_weight!(weight = self.weight);
        let h = self.hidden.get().expect("the forward ran before the backward");
        let mut dx = x.track_op().then(|| weight.new_backward(self.dims, &dy));
        let (da, db) = self.low_rank.backward((&x_values, h), (&a_values, &b_values), &dy, dx.as_deref_mut());
        Ok((dx.map(|dx| tensor_like(dx, x)).transpose()?, Some(tensor_like(da, a)?), Some(tensor_like(db, b)?)))
    }
}
