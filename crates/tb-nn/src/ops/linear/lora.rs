//! A frozen linear layer with a low-rank adapter as one op: y = x W' + b + s (drop(x) A') B'.
//!
//! Kept for the backward: x (by the graph) and h = drop(x) A' (N, r). The dropout mask is made again from its counter.
//! The low-rank part on slices is [`LowRank`], which the fused blocks use too.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;
use tb_core::random::Stream;

use super::frozen::forward;
use super::{dims, with_last};
use crate::error::{Error, Result};
use crate::ops::lanes::vectorized;
use crate::ops::matmul::{ALL, Mat, ONE, Old, new_product, product, read_weight};
use crate::ops::slices::{floats, read, store, tensor};

/// Dropout of the adapter's input: element e of x (in row-major order) is kept when word e of the stream says so,
/// then scaled by 1 / (1 - p).
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The share of elements set to zero, in 0..1 (1 excluded).
    pub p: f32,
    /// The random words of this layer at this step and micro-batch.
    pub stream: Stream,
}

/// Rows handled at a time, so that the masked copy of x stays in the cache.
const BLOCK_ROWS: usize = 64;
/// At most this many partial sums of dA are kept and added in order.
const PARTS: usize = 32;

struct LoraLinear {
    weight: Tensor,
    bias: Option<Tensor>,
    dims: (usize, usize, usize),
    low_rank: LowRank,
    hidden: OnceLock<Vec<f32>>,
}

/// y = x W' + b + s (drop(x) A') B' with constant W (O, I) and b (O), trained A (r, I) and B (O, r), s = `scaling`.
///
/// x (..., I) and W are f32 or bf16, A and B usually f32; y (..., O) in x's dtype. With h = drop(x) A':
/// dH = s dY B, dB = s dY' h, dA = dH' drop(x), dX = dY W + drop'(dH A).
pub fn lora_linear(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    a: &Tensor,
    b: &Tensor,
    scaling: f64,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    const OP: &str = "lora_linear";
    let dims = dims(OP, x, weight, bias)?;
    let (_, o, i) = dims;
    let rank = a.dims().first().copied().unwrap_or(0);
    if a.dims() != [rank, i] || rank == 0 {
        return Err(Error::shape(OP, "A", format!("(r, {i})"), a.dims()));
    }
    if b.dims() != [o, rank] {
        return Err(Error::shape(OP, "B", format!("({o}, {rank})"), b.dims()));
    }
    let dropout = dropout.map(Dropout::checked).transpose()?.flatten();
    let op = LoraLinear {
        weight: weight.detach().contiguous()?,
        bias: bias.map(Tensor::detach),
        dims,
        low_rank: LowRank { rank, inputs: i, outputs: o, scaling: scaling as f32, dropout },
        hidden: OnceLock::new(),
    };
    Ok(x.apply_op3(a, b, op)?)
}

impl Dropout {
    /// Itself, `None` where it drops nothing, an error where p is out of range.
    pub(crate) fn checked(self) -> Result<Option<Self>> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(Error::value("dropout", format!("p must be at least 0 and below 1, got {}", self.p)));
        }
        Ok((self.p > 0.0).then_some(self))
    }

    /// Multiplies values that begin at element `first` of x by mask / (1 - p).
    pub(crate) fn apply(&self, first: usize, values: &mut [f32]) {
        let threshold = (f64::from(self.p) * 4_294_967_296.0) as u32;
        let scale = 1.0 / (1.0 - self.p);
        let some = |values: &mut [f32], first: usize| {
            let words = self.stream.block_at((first / 4) as u32);
            for (v, bits) in values.iter_mut().zip(&words[first % 4..]) {
                *v = if *bits >= threshold { *v * scale } else { 0.0 };
            }
        };
        let lead = (first.next_multiple_of(4) - first).min(values.len());
        let (head, rest) = values.split_at_mut(lead);
        some(head, first);
        let at = first + lead;
        let (blocks, tail) = rest.as_chunks_mut::<4>();
        mask_blocks(blocks, &self.stream, (at / 4) as u32, threshold, scale);
        some(tail, at + 4 * blocks.len());
    }
}

vectorized! {
    fn mask_blocks(blocks: &mut [[f32; 4]], stream: &Stream, first: u32, threshold: u32, scale: f32) {
        for (i, block) in blocks.iter_mut().enumerate() {
            let words = stream.block_at(first + i as u32);
            for k in 0..4 {
                block[k] = if words[k] >= threshold { block[k] * scale } else { 0.0 };
            }
        }
    }
}

/// The adapter's part on slices: s (drop(x) A') B' with A (r, I) and B (O, r).
#[derive(Clone)]
pub(crate) struct LowRank {
    pub(crate) rank: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) scaling: f32,
    pub(crate) dropout: Option<Dropout>,
}

impl LowRank {
    /// drop(x) for rows from `first`, in `scratch` when there is dropout.
    fn dropped<'a>(&self, x: &'a [f32], first: usize, rows: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let i = self.inputs;
        let part = &x[first * i..(first + rows) * i];
        match &self.dropout {
            None => part,
            Some(d) => {
                scratch.clear();
                scratch.extend_from_slice(part);
                d.apply(first * i, scratch);
                scratch
            }
        }
    }

    /// h = drop(x) A' (N, r).
    pub(crate) fn down(&self, x: &[f32], a: &[f32]) -> Vec<f32> {
        let (r, i) = (self.rank, self.inputs);
        let n = x.len() / i.max(1);
        if self.dropout.is_none() {
            return new_product((n, r, i), Mat::rows(x, i), Mat::transposed(a, i), 1.0, ALL);
        }
        let mut h = vec![0f32; n * r];
        h.par_chunks_mut(BLOCK_ROWS * r).enumerate().for_each_init(Vec::new, |scratch, (block, h)| {
            let rows = h.len() / r;
            let x = self.dropped(x, block * BLOCK_ROWS, rows, scratch);
            product((rows, r, i), h, Old::Drop, Mat::rows(x, i), Mat::transposed(a, i), 1.0, ONE);
        });
        h
    }

    /// y += s h B'.
    pub(crate) fn up(&self, y: &mut [f32], h: &[f32], b: &[f32]) {
        let (r, o) = (self.rank, self.outputs);
        product((h.len() / r, o, r), y, Old::Add, Mat::rows(h, r), Mat::transposed(b, r), self.scaling, ALL);
    }

    /// (dA, dB) for the upstream gradient dy (N, O); adds drop'(s dy B A) to dx (N, I) where that is wanted.
    pub(crate) fn backward(
        &self,
        (x, h): (&[f32], &[f32]),
        (a, b): (&[f32], &[f32]),
        dy: &[f32],
        dx: Option<&mut [f32]>,
    ) -> (Vec<f32>, Vec<f32>) {
        let (r, o, n) = (self.rank, self.outputs, h.len() / self.rank);
        let dh = new_product((n, r, o), Mat::rows(dy, o), Mat::rows(b, r), self.scaling, ALL);
        let db = new_product((o, r, n), Mat::transposed(dy, o), Mat::rows(h, r), self.scaling, ALL);
        (self.input_side(x, a, &dh, dx), db)
    }

    /// dA = dH' drop(x) (r, I), and dx += drop'(dH A) where dx is wanted.
    fn input_side(&self, x: &[f32], a: &[f32], dh: &[f32], dx: Option<&mut [f32]>) -> Vec<f32> {
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
                let x = self.dropped(x, first + start, m, &mut scratch);
                product((r, i, m), &mut da, Old::Add, Mat::transposed(dh, r), Mat::rows(x, i), 1.0, ONE);
                if wants_dx {
                    let back = &mut back[..m * i];
                    product((m, i, r), back, Old::Drop, Mat::rows(dh, r), Mat::rows(a, i), 1.0, ONE);
                    if let Some(d) = &self.dropout {
                        d.apply((first + start) * i, back);
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

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        read!(dy = dy);
        read!(a_values = a);
        read!(b_values = b);
        read!(x_values = x);
        read_weight!(weight = self.weight);
        let h = self.hidden.get().expect("the forward ran before the backward");
        let mut dx = x.track_op().then(|| weight.new_backward(self.dims, &dy));
        let (da, db) = self.low_rank.backward((&x_values, h), (&a_values, &b_values), &dy, dx.as_deref_mut());
        Ok((
            dx.map(|dx| tensor(dx, x.dims(), x.dtype())).transpose()?,
            Some(tensor(da, a.dims(), a.dtype())?),
            Some(tensor(db, b.dims(), b.dtype())?),
        ))
    }
}
