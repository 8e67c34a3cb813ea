//! The pieces of an adapter that are not one product: DoRA's norms and gains, and a trained factor beside a constant one.
//!
//! Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024: y = m / n (W + s B A) x, n = ||W + s B A|| row by row, which the
//! backward pass holds constant (section 4.3). What is constant lives inside an op, so that no gradient of it is ever formed.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result as CandleResult, Shape, Tensor};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::constant::ConstantRef;
use crate::ops::matmul::{Mat, ONE, Old, product, read_weight};
use crate::ops::slices::{floats, read, store, tensor};

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
    Ok(tensor(norms, o, candle_core::DType::F32)?)
}

/// The norm of each column of W + s A' B'; W (V, C), A (r, V), B (C, r), the result (C) f32 outside any graph: DoRA of an embedding.
pub fn column_norms(weight: &Tensor, a: &Tensor, b: &Tensor, scaling: f64) -> Result<Tensor> {
    let ((v, c), r) = (weight.dims2()?, a.dims2()?.0);
    if r == 0 || a.dims() != [r, v] || b.dims() != [c, r] {
        return Err(Error::shape("column_norms", "A", format!("(r, {v}) with B ({c}, r)"), a.dims()));
    }
    let a = a.detach().t()?.contiguous()?; // (V, r)
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
    Ok(tensor(sums.into_iter().map(|s| s.sqrt() as f32).collect(), c, candle_core::DType::F32)?)
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
        let width = ms.len().max(1);
        let parts: Vec<Vec<f32>> = zs
            .par_chunks(ROWS * width)
            .zip(dys.par_chunks(ROWS * width))
            .map(|(z, dy)| {
                let mut dm = vec![0f32; width];
                for (z, dy) in z.chunks_exact(width).zip(dy.chunks_exact(width)) {
                    for ((d, z), dy) in dm.iter_mut().zip(z).zip(dy) {
                        *d += z * dy;
                    }
                }
                dm
            })
            .collect();
        let mut dm = vec![0f32; width];
        for part in parts {
            for (d, p) in dm.iter_mut().zip(part) {
                *d += p;
            }
        }
        for (d, n) in dm.iter_mut().zip(n.iter()) {
            *d /= n;
        }
        let dz = if z.track_op() {
            let mut dz = dys.to_vec();
            dz.par_chunks_mut(width).with_min_len(16).for_each(|row| {
                for (o, d) in row.iter_mut().enumerate() {
                    *d *= ms[o] / n[o];
                }
            });
            Some(tensor(dz, z.dims(), z.dtype())?)
        } else {
            None
        };
        Ok((dz, Some(tensor(dm, m.dims(), m.dtype())?)))
    }
}

/// Which axis grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Rows: the constant stands below.
    Rows,
    /// Columns: the constant stands to the right.
    Columns,
}

struct Beside {
    constant: Tensor,
    axis: Axis,
}

/// A trained matrix with a constant one of the same height (or width) beside (or below) it; both f32. Backward: the gradient of the
/// trained part.
pub fn beside(trained: &Tensor, constant: &Tensor, axis: Axis) -> Result<Tensor> {
    let same = match axis {
        Axis::Rows => trained.dim(1)? == constant.dim(1)?,
        Axis::Columns => trained.dim(0)? == constant.dim(0)?,
    };
    if !same {
        return Err(Error::shape(
            "beside",
            "the constant",
            format!("one that fits {:?}", trained.dims()),
            constant.dims(),
        ));
    }
    Ok(trained.apply_op1(Beside { constant: constant.detach(), axis })?)
}

impl CustomOp1 for Beside {
    fn name(&self) -> &'static str {
        "beside"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let (rows, columns) = l.shape().dims2()?;
        let (more_rows, more_columns) = self.constant.dims2()?;
        let trained = floats(s, l)?;
        read!(constant = self.constant);
        let (values, shape) = match self.axis {
            Axis::Rows => ([&*trained, &*constant].concat(), (rows + more_rows, columns)),
            Axis::Columns => {
                let pairs = trained.chunks_exact(columns).zip(constant.chunks_exact(more_columns));
                (pairs.flat_map(|(t, c)| t.iter().chain(c).copied()).collect(), (rows, columns + more_columns))
            }
        };
        Ok((CpuStorage::F32(values), shape.into()))
    }

    fn bwd(&self, trained: &Tensor, _y: &Tensor, dy: &Tensor) -> CandleResult<Option<Tensor>> {
        let (rows, columns) = trained.dims2()?;
        let dy = match self.axis {
            Axis::Rows => dy.narrow(0, 0, rows)?,
            Axis::Columns => dy.narrow(1, 0, columns)?,
        };
        read!(dy = dy);
        Ok(Some(tensor(dy.to_vec(), (rows, columns), trained.dtype())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};
    use crate::quant::{Quantised, Rounding};
    use candle_core::DType;
    use std::sync::Arc;
    use tb_core::quantization::Quantization;

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

    #[test]
    fn a_constant_beside_a_trained_factor_takes_no_gradient() -> Result<()> {
        let (a, below, right) = (noise(&[3, 4], 1)?, noise(&[2, 4], 2)?, noise(&[3, 5], 3)?);
        assert_close(&beside(&a, &below, Axis::Rows)?, &Tensor::cat(&[&a, &below], 0)?, 0.0);
        assert_close(&beside(&a, &right, Axis::Columns)?, &Tensor::cat(&[&a, &right], 1)?, 0.0);
        check(std::slice::from_ref(&a), |t| beside(&t[0], &below, Axis::Rows));
        check(std::slice::from_ref(&a), |t| beside(&t[0], &right, Axis::Columns));
        let var = candle_core::Var::from_tensor(&a)?;
        let grads = beside(&var, &below, Axis::Rows)?.sum_all()?.backward()?;
        assert!(grads.get(&below).is_none() && grads.get(&var).is_some());
        assert!(beside(&a, &right, Axis::Rows).is_err());
        Ok(())
    }

    #[test]
    fn same_bits_on_any_number_of_threads() -> Result<()> {
        let n = (noise(&[48], 4)?.abs()? + 0.5)?;
        same_bits_on_any_threads(&[noise(&[300, 48], 1)?, noise(&[48], 3)?], |t| gain(&t[0], &t[1], &n, None));
        Ok(())
    }
}
