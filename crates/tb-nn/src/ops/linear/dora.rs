//! A weight-decomposed adapter (DoRA): its norms, its gain, and a frozen linear layer with it as one op.
//!
//! Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024: y = m / n (W + s B A) x, n = ||W + s B A|| row by row, which the
//! backward pass holds constant (section 4.3). What is constant lives inside an op, so that no gradient of it is ever formed.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use super::{Dropout, Hidden, LowRank, add_bias, dims, row_width, with_last};
use crate::error::{Error, Result};
use crate::ops::constant::{Constant, ConstantRef};
use crate::ops::matmul::{Mat, ONE, Old, product, read_weight};
#[cfg(feature = "cuda")]
use crate::ops::slices::through_host;
use crate::ops::slices::{floats, read, store, tensor, tensor_like};

/// Rows handled at a time.
const ROWS: usize = 64;

/// The norm of each row of W + s B A; W (O, I) f32, bf16 or quantised, A (r, I), B (O, r), the result (O) f32 outside any graph.
pub fn row_norms<'w>(weight: impl Into<ConstantRef<'w>>, a: &Tensor, b: &Tensor, scaling: f64) -> Result<Tensor> {
    let weight = weight.into();
    let dims = weight.dims();
    let &[o, i] = dims.as_slice() else { return Err(Error::shape("row_norms", "weight", "(O, I)", &dims)) };
    let r = a.dims2()?.0;
    if r == 0 || a.dims() != [r, i] || b.dims() != [o, r] {
        return Err(Error::shape("row_norms", "A", format!("(r, {i}) with B ({o}, r)"), a.dims()));
    }
    let weight = weight.held()?;
    let device = b.device();
    read_weight!(weight = weight);
    read!(a = a);
    read!(b = b);
    let mut norms = vec![0f32; o];
    weight.for_panels(o, i, |start, n, w| {
        let norms = norms[start..start + n].par_chunks_mut(ROWS);
        norms.enumerate().for_each_init(Vec::new, |rows: &mut Vec<f32>, (block, norms)| {
            let (first, n) = (block * ROWS, norms.len());
            rows.clear();
            rows.extend_from_slice(&w[first * i..(first + n) * i]);
            let b = &b[(start + first) * r..(start + first + n) * r];
            product((n, i, r), rows, Old::Add, Mat::rows(b, r), Mat::rows(&a, i), scaling as f32, ONE);
            for (norm, row) in norms.iter_mut().zip(rows.chunks_exact(i.max(1))) {
                *norm = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32;
            }
        });
    });
    Ok(tensor(norms, o, DType::F32)?.to_device(device)?)
}

/// The norm of each column of W + s A' B'; W (V, C), A (r, V), B (C, r), the result (C) f32 outside any graph: DoRA of an embedding.
pub fn column_norms(weight: &Tensor, a: &Tensor, b: &Tensor, scaling: f64) -> Result<Tensor> {
    let ((v, c), r) = (weight.dims2()?, a.dims2()?.0);
    if r == 0 || a.dims() != [r, v] || b.dims() != [c, r] {
        return Err(Error::shape("column_norms", "A", format!("(r, {v}) with B ({c}, r)"), a.dims()));
    }
    let (a, device) = (a.detach().t()?.contiguous()?, b.device()); // (V, r)
    read!(w = weight);
    read!(a = a);
    read!(b = b);
    let parts: Vec<Vec<f64>> = w
        .par_chunks(ROWS * c.max(1))
        .zip(a.par_chunks(ROWS * r))
        .map(|(w, a)| {
            let n = a.len() / r;
            let mut rows = w.to_vec();
            product((n, c, r), &mut rows, Old::Add, Mat::rows(a, r), Mat::transposed(&b, r), scaling as f32, ONE);
            let mut sums = vec![0f64; c];
            for row in rows.chunks_exact(c.max(1)) {
                for (sum, v) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*v) * f64::from(*v);
                }
            }
            sums
        })
        .collect();
    // Parts in order: the same bits on any number of threads.
    let mut sums = vec![0f64; c];
    for part in parts {
        for (sum, p) in sums.iter_mut().zip(part) {
            *sum += p;
        }
    }
    Ok(tensor(sums.into_iter().map(|s| s.sqrt() as f32).collect(), c, DType::F32)?.to_device(device)?)
}

struct Gain {
    norms: Tensor,
    bias: Option<Tensor>,
}

/// y = m / n z + b for each row of z (..., O); trained m (O), constant n (O) and b (O); y in z's dtype.
///
/// Backward: dz = m / n dy, dm = sum over rows of dy z / n.
pub fn gain(z: &Tensor, magnitude: &Tensor, norms: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "gain";
    let width = z.dims().last().copied().unwrap_or(0);
    for (name, vector) in [("m", Some(magnitude)), ("n", Some(norms)), ("b", bias)] {
        if let Some(vector) = vector.filter(|v| v.dims() != [width]) {
            return Err(Error::shape(OP, name, format!("({width})"), vector.dims()));
        }
    }
    Ok(z.apply_op2(magnitude, Gain { norms: norms.detach(), bias: bias.map(Tensor::detach) })?)
}

impl CustomOp2 for Gain {
    #[cfg(feature = "cuda")]
    through_host!(CustomOp2: s1, l1; s2, l2);

    fn name(&self) -> &'static str {
        "gain"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let mut y = floats(s1, l1)?.into_owned();
        let m = floats(s2, l2)?;
        read!(n = self.norms);
        let bias: Vec<f32> = match &self.bias {
            None => vec![0.0; m.len()],
            Some(bias) => {
                read!(bias = bias);
                bias.to_vec()
            }
        };
        y.par_chunks_mut(m.len().max(1)).with_min_len(16).for_each(|row| {
            for (o, v) in row.iter_mut().enumerate() {
                *v = *v * (m[o] / n[o]) + bias[o];
            }
        });
        Ok((store(y, s1.dtype())?, l1.shape().clone()))
    }

    fn bwd(&self, z: &Tensor, m: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        read!(zs = z);
        read!(ms = m);
        read!(n = self.norms);
        read!(dys = dy);
        let dm = length_gradient(&zs, &dys, &n);
        let dz = if z.track_op() {
            let mut dz = dys.to_vec();
            by_gain(&mut dz, &ms, &n, |gain, d| *d *= gain);
            Some(tensor_like(dz, z)?)
        } else {
            None
        };
        Ok((dz, Some(tensor_like(dm, m)?)))
    }
}

/// A weight-decomposed adapter: its factors A (r, I) and B (O, r), s, its lengths m (O), and the norms n (O), which are constant.
#[derive(Clone, Copy, Debug)]
pub struct Decomposed<'a> {
    /// A.
    pub a: &'a Tensor,
    /// B.
    pub b: &'a Tensor,
    /// s.
    pub scaling: f64,
    /// m.
    pub magnitude: &'a Tensor,
    /// n, of [`row_norms`].
    pub norms: &'a Tensor,
}

struct DoraLinear {
    weight: Constant,
    bias: Option<Tensor>,
    norms: Tensor,
    dims: (usize, usize, usize),
    low_rank: LowRank,
    kept: OnceLock<Kept>,
}

/// What the forward keeps for the backward.
struct Kept {
    /// z = W x^ + s B A x^ (N, O).
    z: Vec<f32>,
    hidden: Hidden,
}

/// y = m / n z + b with z = W x + s B A x, for constant W (O, I) and b (O), and trained A, B and m. With dropout, x^ = drop(x) in z and
/// y = W x + b + m / n z - W x^ (PEFT's `dora.py`).
///
/// x (..., I) is f32 or bf16, W f32, bf16 or quantised; y (..., O) in x's dtype. Kept for the backward: z, A x^ and the mask, a bit per
/// element of x. With dZ = m / n dY: dm = sum over rows of dY z / n, dA, dB and dX by dZ as in [`super::lora_linear`]; with dropout W's part
/// of dX is dY W + drop'((dZ - dY) W).
pub fn dora_linear<'w>(
    x: &Tensor,
    weight: impl Into<ConstantRef<'w>>,
    bias: Option<&Tensor>,
    adapter: Decomposed<'_>,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    const OP: &str = "dora_linear";
    let weight = weight.into();
    let dims = dims(OP, x, &weight.dims(), bias)?;
    let (_, o, i) = dims;
    let rank = adapter.a.dims().first().copied().unwrap_or(0);
    if rank == 0 || adapter.a.dims() != [rank, i] || adapter.b.dims() != [o, rank] {
        return Err(Error::shape(OP, "A", format!("(r, {i}) with B ({o}, r)"), adapter.a.dims()));
    }
    for (name, vector) in [("m", adapter.magnitude), ("n", adapter.norms)] {
        if vector.dims() != [o] {
            return Err(Error::shape(OP, name, format!("({o})"), vector.dims()));
        }
    }
    let dropout = dropout.map(|d| d.checked(row_width(x))).transpose()?.flatten();
    let op = DoraLinear {
        weight: weight.held()?,
        bias: bias.map(Tensor::detach),
        norms: adapter.norms.detach(),
        dims,
        low_rank: LowRank { rank, inputs: i, outputs: o, scaling: adapter.scaling as f32, dropout },
        kept: OnceLock::new(),
    };
    // An op takes three arguments at most: the trained tensors travel as one.
    let trained = [adapter.a.flatten_all()?, adapter.b.flatten_all()?, adapter.magnitude.clone()];
    Ok(x.apply_op2(&Tensor::cat(&trained, 0)?.to_dtype(DType::F32)?, op)?)
}

impl DoraLinear {
    /// A, B and m in the one vector.
    fn split<'t>(&self, trained: &'t [f32]) -> (&'t [f32], &'t [f32], &'t [f32]) {
        let (r, o, i) = (self.low_rank.rank, self.low_rank.outputs, self.low_rank.inputs);
        let (a, rest) = trained.split_at(r * i);
        let (b, m) = rest.split_at(o * r);
        (a, b, m)
    }
}

/// `f(m / n, row)` for each row of width O.
fn by_gain(values: &mut [f32], m: &[f32], n: &[f32], f: impl Fn(f32, &mut f32) + Sync) {
    values.par_chunks_mut(m.len().max(1)).with_min_len(16).for_each(|row| {
        for ((v, m), n) in row.iter_mut().zip(m).zip(n) {
            f(m / n, v);
        }
    });
}

impl CustomOp2 for DoraLinear {
    #[cfg(feature = "cuda")]
    through_host!(CustomOp2: s1, l1; s2, l2);

    fn name(&self) -> &'static str {
        "dora-linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (x, trained) = (floats(s1, l1)?, floats(s2, l2)?);
        let (a, b, m) = self.split(&trained);
        read!(n = self.norms);
        read_weight!(weight = self.weight);
        let hidden = self.low_rank.down(&x, a);
        let of_dropped = weight.new_forward(self.dims, &self.low_rank.seen(&x, &hidden));
        let mut z = of_dropped.clone();
        self.low_rank.up(&mut z, &hidden, b);
        let mut y = match &self.low_rank.dropout {
            None => vec![0f32; z.len()],
            Some(_) => {
                let mut y = weight.new_forward(self.dims, &x);
                y.par_iter_mut().zip(&of_dropped).for_each(|(y, u)| *y -= u);
                y
            }
        };
        let width = m.len().max(1);
        y.par_chunks_mut(width).zip(z.par_chunks(width)).with_min_len(16).for_each(|(y, z)| {
            for (o, (y, z)) in y.iter_mut().zip(z).enumerate() {
                *y += m[o] / n[o] * z;
            }
        });
        if let Some(bias) = &self.bias {
            read!(bias = bias);
            add_bias(&mut y, &bias);
        }
        // A second forward of the same op object cannot happen: it is made per call.
        let _ = self.kept.set(Kept { z, hidden });
        Ok((store(y, s1.dtype())?, with_last(l1.dims(), self.dims.1).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        trained: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        read!(xs = x);
        read!(all = trained);
        read!(n = self.norms);
        read!(dys = dy);
        let (a, b, m) = self.split(&all);
        let Kept { z, hidden } = self.kept.get().expect("the forward ran before the backward");
        let dm = length_gradient(z, &dys, &n);
        let mut dz = dys.to_vec();
        by_gain(&mut dz, m, &n, |gain, d| *d *= gain);
        let mut dx = None;
        if x.track_op() {
            read_weight!(weight = self.weight);
            dx = Some(match &self.low_rank.dropout {
                None => weight.new_backward(self.dims, &dz),
                Some(_) => {
                    let beyond: Vec<f32> = dz.par_iter().zip(&*dys).map(|(dz, dy)| dz - dy).collect();
                    let back = weight.new_backward(self.dims, &beyond);
                    drop(beyond);
                    let mut dx = weight.new_backward(self.dims, &dys);
                    dx.par_iter_mut().zip(&*self.low_rank.seen(&back, hidden)).for_each(|(dx, back)| *dx += back);
                    dx
                }
            });
        }
        let (da, db) = self.low_rank.backward((&xs, hidden), (a, b), &dz, dx.as_deref_mut());
        let flat = [da, db, dm].concat();
        Ok((dx.map(|dx| tensor_like(dx, x)).transpose()?, Some(tensor_like(flat, trained)?)))
    }
}

/// dm (O): the sum over rows of z dy / n, in parts that are added in order: the same bits on any number of threads.
fn length_gradient(z: &[f32], dy: &[f32], n: &[f32]) -> Vec<f32> {
    let width = n.len().max(1);
    let part = |(z, dy): (&[f32], &[f32])| {
        let mut sums = vec![0f32; width];
        for (z, dy) in z.chunks_exact(width).zip(dy.chunks_exact(width)) {
            for ((d, z), dy) in sums.iter_mut().zip(z).zip(dy) {
                *d += z * dy;
            }
        }
        sums
    };
    let parts: Vec<Vec<f32>> = z.par_chunks(ROWS * width).zip(dy.par_chunks(ROWS * width)).map(part).collect();
    let mut sums = vec![0f32; width];
    for part in parts {
        for (d, p) in sums.iter_mut().zip(part) {
            *d += p;
        }
    }
    for (d, n) in sums.iter_mut().zip(n) {
        *d /= n;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::constant::Taken;
    use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};
    use crate::ops::linear::{dropped, frozen_linear, full_linear};
    use crate::quant::{Quantised, Rounding};
    use candle_core::DType;
    use std::sync::Arc;
    use tb_core::quantization::Quantization;
    use tb_core::random::{Purpose, Stream};

    #[test]
    fn norms_are_those_of_the_merged_weight() -> Result<()> {
        for (o, i, r) in [(1, 1, 1), (5, 7, 2), (150, 33, 3)] {
            let (w, a, b) = (noise(&[o, i], 1)?, noise(&[r, i], 2)?, noise(&[o, r], 3)?);
            let merged = (&w + (b.matmul(&a)? * 1.3)?)?;
            assert_close(&row_norms(&w, &a, &b, 1.3)?, &merged.sqr()?.sum(1)?.sqrt()?, 1e-5);
            // An embedding: W (V, C) with A (r, V) and B (C, r).
            let (a, b) = (noise(&[r, o], 2)?, noise(&[i, r], 3)?);
            let merged = (&w + (b.matmul(&a)?.t()? * 1.3)?)?;
            assert_close(&column_norms(&w, &a, &b, 1.3)?, &merged.sqr()?.sum(0)?.sqrt()?, 1e-5);
        }
        // 600 x 900 is several widened panels.
        let (w, a, b) = (noise(&[900, 600], 1)?, noise(&[2, 600], 2)?, noise(&[900, 2], 3)?);
        let narrow = w.to_dtype(DType::BF16)?;
        assert_close(&row_norms(&narrow, &a, &b, 1.3)?, &row_norms(&narrow.to_dtype(DType::F32)?, &a, &b, 1.3)?, 1e-5);
        let int8 = Quantised::new(&w.flatten_all()?.to_vec1()?, (900, 600), Quantization::EightBit, Rounding::F32)?;
        let dense = int8.dequantise()?;
        assert_close(&row_norms(&Arc::new(int8), &a, &b, 1.3)?, &row_norms(&dense, &a, &b, 1.3)?, 1e-5);
        assert!(row_norms(&noise(&[2, 3], 1)?, &noise(&[1, 2], 1)?, &noise(&[2, 1], 1)?, 1.0).is_err());
        Ok(())
    }

    #[test]
    fn a_gain_scales_each_output_and_has_the_right_gradients() -> Result<()> {
        for shape in [vec![1, 1], vec![3, 7], vec![2, 70, 5]] {
            let o = *shape.last().unwrap();
            let (z, m, b) = (noise(&shape, 1)?, noise(&[o], 2)?, noise(&[o], 3)?);
            let n = (noise(&[o], 4)?.abs()? + 0.5)?;
            let want = z.broadcast_mul(&(&m / &n)?)?.broadcast_add(&b)?;
            assert_close(&gain(&z, &m, &n, Some(&b))?, &want, 1e-5);
            check(&[z, m], |t| gain(&t[0], &t[1], &n, None));
        }
        Ok(())
    }

    fn dropout() -> Dropout {
        Dropout { p: 0.4, stream: Stream::new(5, 1, Purpose::Dropout, 77), first_row: 2 }
    }

    #[test]
    fn one_operation_is_what_its_pieces_are_and_has_the_right_gradients() -> Result<()> {
        for (shape, o, r) in [(vec![1, 1], 1, 1), (vec![2, 5, 6], 7, 3), (vec![2, 70, 4], 3, 2)] {
            let i = *shape.last().unwrap();
            let (w, bias, n) = (noise(&[o, i], 1)?, noise(&[o], 2)?, (noise(&[o], 3)?.abs()? + 0.5)?);
            let trained = [noise(&shape, 4)?, noise(&[r, i], 5)?, noise(&[o, r], 6)?, noise(&[o], 7)?];
            for drop in [None, Some(dropout())] {
                let one = |t: &[Tensor]| {
                    let adapter = Decomposed { a: &t[1], b: &t[2], scaling: 1.3, magnitude: &t[3], norms: &n };
                    dora_linear(&t[0], &w, Some(&bias), adapter, drop)
                };
                let pieces = |t: &[Tensor]| -> Result<Tensor> {
                    let seen = drop.map_or_else(|| Ok(t[0].clone()), |drop| dropped(&t[0], drop))?;
                    let of_seen = frozen_linear(&seen, &w, None)?;
                    let z = (&of_seen + (full_linear(&full_linear(&seen, &t[1], None)?, &t[2], None)? * 1.3)?)?;
                    let base = frozen_linear(&t[0], &w, Some(&bias))?;
                    Ok(((base - of_seen)? + gain(&z, &t[3], &n, None)?)?)
                };
                assert_close(&one(&trained)?, &pieces(&trained)?, 1e-5);
                check(&trained, one);
            }
        }
        // What an adapter took from the weight is missing from it, quantised or not.
        let (w, x) = (noise(&[8, 64], 1)?, noise(&[3, 64], 2)?);
        let int8 =
            Arc::new(Quantised::new(&w.flatten_all()?.to_vec1()?, (8, 64), Quantization::EightBit, Rounding::F32)?);
        let taken = Taken { a: noise(&[2, 64], 3)?, b: noise(&[8, 2], 4)?, scaling: 0.7 };
        let product = (taken.b.matmul(&taken.a)? * 0.7)?;
        for (whole, dense) in [(ConstantRef::from(&w), w.clone()), (ConstantRef::from(&int8), int8.dequantise()?)] {
            let rest = (dense - &product)?;
            assert_close(
                &frozen_linear(&x, whole.without(Some(&taken)), None)?,
                &frozen_linear(&x, &rest, None)?,
                1e-5,
            );
            check(std::slice::from_ref(&x), |t| frozen_linear(&t[0], whole.without(Some(&taken)), None));
        }
        Ok(())
    }

    #[test]
    fn same_bits_on_any_number_of_threads() -> Result<()> {
        let n = (noise(&[48], 4)?.abs()? + 0.5)?;
        let (w, a, b) = (noise(&[48, 96], 5)?, noise(&[4, 96], 6)?, noise(&[48, 4], 7)?);
        same_bits_on_any_threads(&[noise(&[3, 100, 96], 1)?, noise(&[48], 3)?], |t| {
            let adapter = Decomposed { a: &a, b: &b, scaling: 1.3, magnitude: &t[1], norms: &n };
            dora_linear(&t[0], &w, None, adapter, Some(dropout()))
        });
        same_bits_on_any_threads(&[noise(&[300, 48], 1)?, noise(&[48], 3)?], |t| gain(&t[0], &t[1], &n, None));
        Ok(())
    }
}
