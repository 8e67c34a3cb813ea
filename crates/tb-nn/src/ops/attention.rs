//! Causal self-attention with grouped key/value heads, in tiles; nothing of size T x T is kept for the backward.
//!
//! The forward is the online softmax of FlashAttention (Dao et al. 2022, arXiv:2205.14135): per tile of queries it walks
//! over tiles of keys and keeps only the log of each row's sum of exponentials; the backward forms the probabilities
//! again. Heads are read from and written to the (B, T, H, D) layout through strides.

mod onward;
mod tile;

use std::ops::Range;
use std::sync::OnceLock;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Attended, Gpu, Values, View, read_gpu};
use crate::ops::lanes::{dot, exp, tanh, vectorized};
use crate::ops::matmul::{Mat, ONE, Old, product, product_into};
use crate::ops::slices::{SharedOut, floats, read, store, tensor_like};
use crate::profile;
use tile::{KEYS, Tile};

pub use onward::onward_attention;
pub(crate) use tile::QUERIES;

/// Sizes: B rows, T tokens, H query heads, K key/value heads, D values per head.
#[derive(Clone, Copy)]
pub(crate) struct Dims {
    pub(crate) rows: usize,
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) size: usize,
}

/// Which tokens of a batch attend among themselves: runs within its rows, each a sample of its own. Tokens in no run are padding.
///
/// Several runs in a row make attention block-diagonal: the samples that were packed into the row do not see each other, and
/// nothing is computed between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    rows: usize,
    width: usize,
    /// First token (row * width + column) and tokens of each run that has any.
    runs: Vec<(usize, usize)>,
}

impl Spans {
    /// One run at the beginning of each row. An error where a row is longer than the width.
    pub fn from_lengths(lengths: &[usize], width: usize) -> Result<Self> {
        let rows: Vec<&[usize]> = lengths.iter().map(std::slice::from_ref).collect();
        Self::from_rows(&rows, width)
    }

    /// The lengths of the runs of each row, one behind the other from the row's beginning. An error where they are longer than the width.
    pub fn from_rows<R: AsRef<[usize]>>(rows: &[R], width: usize) -> Result<Self> {
        let mut runs = Vec::with_capacity(rows.len());
        for (row, lengths) in rows.iter().enumerate() {
            let mut at = 0;
            for length in lengths.as_ref() {
                if *length > 0 {
                    runs.push((row * width + at, *length));
                }
                at += length;
            }
            if at > width {
                return Err(Error::value("spans", format!("row {row} has {at} tokens, more than the width {width}")));
            }
        }
        Ok(Self { rows: rows.len(), width, runs })
    }
}

/// How a query scores the keys before it, and which of them it sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sight {
    /// Factor of q k'.
    pub scale: f32,
    /// Tokens that a query sees, itself included; every one up to itself where there is none.
    pub window: Option<usize>,
    /// A score s counts as cap * tanh(s / cap) (Gemma 2).
    pub soft_cap: Option<f32>,
}

impl Sight {
    /// Every token up to the query's own, scores without a cap.
    #[must_use]
    pub const fn scaled(scale: f32) -> Self {
        Self { scale, window: None, soft_cap: None }
    }

    /// The first token that the query at this position sees.
    pub(crate) fn first(&self, query: usize) -> usize {
        self.window.map_or(0, |window| (query + 1).saturating_sub(window))
    }

    /// Keys of the tile `first..end` that a query sees, counted from `first`.
    fn seen(&self, query: usize, first: usize, end: usize) -> Range<usize> {
        let last = (query + 1).clamp(first, end);
        self.first(query).clamp(first, last) - first..last - first
    }

    /// Refuses a window of nothing and a cap that is no positive number.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        if self.window == Some(0) {
            return Err(Error::value(op, "a window must hold at least one token"));
        }
        match self.soft_cap {
            Some(cap) if !(cap.is_finite() && cap > 0.0) => {
                Err(Error::value(op, format!("the soft cap {cap} must be a positive number")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Attention on slices; the op below and the fused block use it.
pub(crate) struct Core {
    pub(crate) dims: Dims,
    pub(crate) sight: Sight,
    /// First token and tokens of each run.
    pub(crate) runs: Vec<(usize, usize)>,
}

struct Attention {
    core: Core,
    /// Log-sum-exp of each row of scores (B, T, H).
    log_sums: OnceLock<Vec<f32>>,
    #[cfg(feature = "cuda")]
    gpu_log_sums: OnceLock<Values>,
}

/// softmax(cap(scale q k') + mask) v; q (B, T, H, D), k and v (B, T, K, D) with K dividing H; the result is (B, T, H, D).
///
/// Query head h attends with key/value head h / (H / K). The mask is causal, and within the window of `sight`. Tokens attend within
/// their run of `spans` (`None`: within their row); those in no run are neither attended nor computed, and their result and gradients
/// are 0.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, sight: Sight, spans: Option<&Spans>) -> Result<Tensor> {
    const OP: &str = "causal_attention";
    let &[rows, tokens, heads, size] = q.dims() else {
        return Err(Error::shape(OP, "q", "(B, T, H, D)", q.dims()));
    };
    let &[_, _, kv_heads, _] = k.dims() else {
        return Err(Error::shape(OP, "k", "(B, T, K, D)", k.dims()));
    };
    if k.dims() != [rows, tokens, kv_heads, size] || kv_heads == 0 || heads % kv_heads != 0 {
        return Err(Error::shape(OP, "k", format!("({rows}, {tokens}, a divisor of {heads}, {size})"), k.dims()));
    }
    if v.dims() != k.dims() {
        return Err(Error::shape(OP, "v", format!("{:?}", k.dims()), v.dims()));
    }
    let core = Core::new(Dims { rows, tokens, heads, kv_heads, size }, sight, spans)?;
    let op = Attention {
        core,
        log_sums: OnceLock::new(),
        #[cfg(feature = "cuda")]
        gpu_log_sums: OnceLock::new(),
    };
    Ok(q.apply_op3(k, v, op)?)
}

vectorized! {
    fn row_dot(a: &[f32], b: &[f32]) -> f32 { dot(a, b) }
}

vectorized! {
    /// Scores become probabilities e^(score - log_sum), and dp becomes ds = p (dp - delta) scale.
    fn score_grads(p: &mut [f32], dp: &mut [f32], log_sum: f32, delta: f32, scale: f32) {
        for (p, d) in p.iter_mut().zip(dp) {
            *p = exp(*p - log_sum);
            *d = *p * (*d - delta) * scale;
        }
    }
}

vectorized! {
    /// As [`score_grads`], through the cap: d cap tanh(s / cap) / ds = 1 - tanh(s / cap)^2.
    fn capped_score_grads(p: &mut [f32], dp: &mut [f32], cap: f32, log_sum: f32, delta: f32, scale: f32) {
        for (p, d) in p.iter_mut().zip(dp) {
            let t = tanh(*p / cap);
            *p = exp(cap * t - log_sum);
            *d = *p * (*d - delta) * scale * (1.0 - t * t);
        }
    }
}

impl Core {
    /// Attention of these sizes, after checking the spans against them.
    pub(crate) fn new(dims: Dims, sight: Sight, spans: Option<&Spans>) -> Result<Self> {
        sight.check("causal_attention")?;
        let runs = match spans {
            None => (0..dims.rows).map(|row| (row * dims.tokens, dims.tokens)).collect(),
            Some(spans) if (spans.rows, spans.width) == (dims.rows, dims.tokens) => spans.runs.clone(),
            Some(spans) => {
                let (rows, width) = (spans.rows, spans.width);
                let what =
                    format!("spans of {rows} rows of {width} tokens do not fit {} of {}", dims.rows, dims.tokens);
                return Err(Error::value("causal_attention", what));
            }
        };
        Ok(Self { dims, sight, runs })
    }

    /// The result (B, T, H, D) and the log-sum-exp of each row of scores (B, T, H).
    pub(crate) fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let _span = profile::span("attention");
        let Dims { rows, tokens, heads, kv_heads, size } = self.dims;
        let (q_row, k_row) = (heads * size, kv_heads * size);
        let mut out = vec![0f32; rows * tokens * q_row];
        let mut log_sums = vec![0f32; rows * heads * tokens];
        let (shared, shared_sums) = (SharedOut::new(&mut out), SharedOut::new(&mut log_sums));
        // Tiles of queries: the run's first token, and the tile's bounds in the run. Those that see most keys first, so that the
        // threads finish together.
        let mut tiles: Vec<(usize, usize, usize)> = self
            .runs
            .iter()
            .flat_map(|(base, length)| {
                (0..*length).step_by(QUERIES).map(|first| (*base, first, (first + QUERIES).min(*length)))
            })
            .collect();
        tiles.sort_by_key(|(_, first, _)| std::cmp::Reverse(*first));
        (0..tiles.len() * heads).into_par_iter().for_each_init(
            || vec![0f32; QUERIES * KEYS],
            |scores, task| {
                let ((base, first, end), h) = (tiles[task / heads], task % heads);
                let (q_at, kv_at) = ((base + first) * q_row + h * size, base * k_row + h / (heads / kv_heads) * size);
                let (q, k, v) = (&q[q_at..], &k[kv_at..], &v[kv_at..]);
                let tile = Tile { queries: first..end, q, q_row, k, v, k_row, size, sight: self.sight };
                // SAFETY: this task alone writes head h of these tokens.
                let of_tile = unsafe { tile.attend(scores, shared.at(q_at)) };
                for (i, log_sum) in of_tile[..end - first].iter().enumerate() {
                    // SAFETY: as above; log_sums has one element per (token, h).
                    unsafe { *shared_sums.at((base + first + i) * heads + h) = *log_sum };
                }
            },
        );
        (out, log_sums)
    }

    /// dq, dk and dv from the operands, the forward's results and the upstream gradient.
    pub(crate) fn backward(
        &self,
        [q, k, v]: [&[f32]; 3],
        (y, log_sums): (&[f32], &[f32]),
        dy: &[f32],
    ) -> [Vec<f32>; 3] {
        let _span = profile::span("attention back");
        let Dims { heads, kv_heads, size, .. } = self.dims;
        let (q_row, k_row) = (heads * size, kv_heads * size);
        let mut dq = vec![0f32; q.len()];
        let (mut dk, mut dv) = (vec![0f32; k.len()], vec![0f32; v.len()]);
        let (dq_out, dk_out, dv_out) = (SharedOut::new(&mut dq), SharedOut::new(&mut dk), SharedOut::new(&mut dv));
        // One task owns a key/value head of a run and all its query heads: sums over the group have a fixed order.
        (0..self.runs.len() * kv_heads).into_par_iter().for_each_init(
            || (vec![0f32; QUERIES * KEYS], vec![0f32; QUERIES * KEYS]),
            |(p, dp), task| {
                let ((base, length), kv) = (self.runs[task / kv_heads], task % kv_heads);
                let group = heads / kv_heads;
                for (h, first) in (kv * group..(kv + 1) * group)
                    .flat_map(|h| (0..length).step_by(QUERIES).map(move |first| (h, first)))
                {
                    let end = (first + QUERIES).min(length);
                    let n = end - first;
                    let q_at = (base + first) * q_row + h * size;
                    let queries = Mat { data: &q[q_at..], row: q_row, col: 1 };
                    let upstream = Mat { data: &dy[q_at..], row: q_row, col: 1 };
                    let mut deltas = [0f32; QUERIES];
                    for (i, delta) in deltas[..n].iter_mut().enumerate() {
                        let at = q_at + i * q_row;
                        *delta = row_dot(&y[at..at + size], &dy[at..at + size]);
                    }
                    let start = self.sight.first(first);
                    for key in (start..end).step_by(KEYS) {
                        let key_end = (key + KEYS).min(end);
                        let m = key_end - key;
                        let (p, dp) = (&mut p[..n * m], &mut dp[..n * m]);
                        let at = (base + key) * k_row + kv * size;
                        let keys = Mat { data: &k[at..], row: k_row, col: 1 };
                        let values = Mat { data: &v[at..], row: k_row, col: 1 };
                        let (keys_t, values_t) = (keys.turned(), values.turned());
                        product((n, m, size), p, Old::Drop, queries, keys_t, self.sight.scale, ONE);
                        product((n, m, size), dp, Old::Drop, upstream, values_t, 1.0, ONE);
                        for (i, (p, dp)) in p.chunks_exact_mut(m).zip(dp.chunks_exact_mut(m)).enumerate() {
                            let log_sum = log_sums[(base + first + i) * heads + h];
                            let seen = self.sight.seen(first + i, key, key_end);
                            for dead in [0..seen.start, seen.end..m] {
                                p[dead.clone()].fill(0.0);
                                dp[dead].fill(0.0);
                            }
                            let (p, dp, delta, scale) =
                                (&mut p[seen.clone()], &mut dp[seen], deltas[i], self.sight.scale);
                            match self.sight.soft_cap {
                                None => score_grads(p, dp, log_sum, delta, scale),
                                Some(cap) => capped_score_grads(p, dp, cap, log_sum, delta, scale),
                            }
                        }
                        let old = if key == start { Old::Drop } else { Old::Add };
                        // SAFETY: this task alone writes the rows of its heads; dk and dv began as zeros.
                        unsafe {
                            let (pt, dst) = (Mat::transposed(p, m), Mat::transposed(dp, m));
                            product_into((m, size, n), dv_out.at(at), k_row, Old::Add, pt, upstream, 1.0, ONE);
                            product_into((m, size, n), dk_out.at(at), k_row, Old::Add, dst, queries, 1.0, ONE);
                            product_into((n, size, m), dq_out.at(q_at), q_row, old, Mat::rows(dp, m), keys, 1.0, ONE);
                        }
                    }
                }
            },
        );
        [dq, dk, dv]
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "causal-attention"
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
        let (out, log_sums) = self.core.forward(&floats(s1, l1)?, &floats(s2, l2)?, &floats(s3, l3)?);
        // The op object is made per call, so nothing was kept before.
        let _ = self.log_sums.set(log_sums);
        Ok((store(out, s1.dtype())?, l1.shape().clone()))
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
        let (q, k, v) = (View::of(gpu, s1, l1)?, View::of(gpu, s2, l2)?, View::of(gpu, s3, l3)?);
        let Attended { out, log_sums } = gpu.attention(&self.core, q, k, v)?;
        // The op object is made per call, so nothing was kept before.
        let _ = self.gpu_log_sums.set(log_sums);
        Ok((out.into_storage(), l1.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if q.device().is_cuda() {
            let gpu = Gpu::of_tensor(q)?;
            read_gpu!(gpu, q_values = q);
            read_gpu!(gpu, k_values = k);
            read_gpu!(gpu, v_values = v);
            read_gpu!(gpu, y = y);
            read_gpu!(gpu, dy = dy);
            let log_sums = self.gpu_log_sums.get().expect("the forward ran before the backward").view();
            let [dq, dk, dv] = gpu.attention_back(&self.core, [q_values, k_values, v_values], (y, log_sums), dy)?;
            let wanted = |grad: Values, of: &Tensor| of.track_op().then(|| grad.into_tensor(of.shape()));
            return Ok((wanted(dq, q), wanted(dk, k), wanted(dv, v)));
        }
        read!(q_values = q);
        read!(k_values = k);
        read!(v_values = v);
        read!(y = y);
        read!(dy = dy);
        let log_sums = self.log_sums.get().expect("the forward ran before the backward");
        let [dq, dk, dv] = self.core.backward([&q_values, &k_values, &v_values], (&y, log_sums), &dy);
        let wanted = |grad: Vec<f32>, of: &Tensor| of.track_op().then(|| tensor_like(grad, of)).transpose();
        Ok((wanted(dq, q)?, wanted(dk, k)?, wanted(dv, v)?))
    }
}

#[cfg(test)]
mod tests;
