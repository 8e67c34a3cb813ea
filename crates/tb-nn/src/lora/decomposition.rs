//! Parts of a matrix by singular values or by Q R, in f64 on one thread. Matrices are row-major slices; the algorithms are nalgebra's.

use nalgebra::DMatrix;
use tb_core::random::Stream;

use crate::{Error, Result, random};

/// The largest singular values of a matrix (O, I) with their vectors.
pub(super) struct Singular {
    /// (O, r).
    left: DMatrix<f64>,
    /// r of them, falling.
    values: Vec<f64>,
    /// (I, r).
    right: DMatrix<f64>,
}

impl Singular {
    /// B (O, r) and A (r, I) with s B A = U S V': the square root of S / s on either side.
    pub(super) fn balanced(self, scaling: f64) -> (Vec<f64>, Vec<f64>) {
        let roots: Vec<f64> = self.values.iter().map(|v| (v / scaling).sqrt()).collect();
        let (o, i, r) = (self.left.nrows(), self.right.nrows(), roots.len());
        let b = (0..o * r).map(|at| self.left[(at / r, at % r)] * roots[at % r]).collect();
        let a = (0..r * i).map(|at| self.right[(at % i, at / i)] * roots[at / i]).collect();
        (b, a)
    }
}

/// The r largest singular values, exactly.
pub(super) fn singular(values: &[f32], shape: (usize, usize), r: usize) -> Result<Singular> {
    largest(matrix(values, shape), r)
}

/// About the r largest singular values: `iterations` subspace iterations from a random one of r dimensions, as
/// `torch.svd_lowrank(W, q = r, niter)` does (Halko, Martinsson and Tropp, 2011, algorithms 4.4 and 5.1).
pub(super) fn singular_iterated(
    values: &[f32],
    shape: (usize, usize),
    r: usize,
    iterations: u32,
    stream: Stream,
) -> Result<Singular> {
    let w = matrix(values, shape);
    let start = random::normal((shape.1, r), 1.0, stream)?.flatten_all()?.to_vec1::<f32>()?;
    let orthonormal = |m: DMatrix<f64>| m.qr().q();
    let mut q = orthonormal(&w * &matrix(&start, (shape.1, r)));
    for _ in 0..iterations {
        q = orthonormal(w.tr_mul(&q));
        q = orthonormal(&w * &q);
    }
    let small = largest(q.tr_mul(&w), r)?;
    Ok(Singular { left: &q * &small.left, ..small })
}

/// The first r columns of Q (O, r) and rows of R (r, I) of W = Q R.
pub(super) fn qr(values: &[f32], shape: (usize, usize), r: usize) -> (Vec<f64>, Vec<f64>) {
    let (o, i) = shape;
    let qr = matrix(values, shape).qr();
    let (q, upper) = (qr.q(), qr.r());
    let b = (0..o * r).map(|at| q[(at / r, at % r)]).collect();
    let a = (0..r * i).map(|at| upper[(at / i, at % i)]).collect();
    (b, a)
}

fn largest(w: DMatrix<f64>, r: usize) -> Result<Singular> {
    // A number that is none would keep the iterations going for ever.
    if !w.iter().all(|v| v.is_finite()) {
        return Err(Error::value("singular values", "a weight is not finite"));
    }
    let svd = w.svd(true, true);
    let (Some(u), Some(vt)) = (svd.u, svd.v_t) else {
        return Err(Error::value("singular values", "their vectors were not found"));
    };
    Ok(Singular {
        left: u.columns(0, r).into_owned(),
        values: svd.singular_values.iter().take(r).copied().collect(),
        right: vt.rows(0, r).transpose(),
    })
}

fn matrix(values: &[f32], (rows, columns): (usize, usize)) -> DMatrix<f64> {
    DMatrix::from_fn(rows, columns, |i, j| f64::from(values[i * columns + j]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tb_core::random::Purpose;

    fn noise(shape: (usize, usize)) -> Vec<f32> {
        let stream = Stream::new(3, 0, Purpose::Init, 1);
        random::normal(shape, 1.0, stream).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The largest gap between s B A and W.
    fn gap((b, a): &(Vec<f64>, Vec<f64>), w: &[f32], (o, i): (usize, usize), s: f64) -> f64 {
        let r = b.len() / o;
        let at = |row: usize, column: usize| (0..r).map(|k| s * b[row * r + k] * a[k * i + column]).sum::<f64>();
        (0..o * i).map(|e| (at(e / i, e % i) - f64::from(w[e])).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn all_singular_values_give_the_matrix_back() {
        for shape in [(4, 7), (7, 4), (5, 5)] {
            let w = noise(shape);
            let r = shape.0.min(shape.1);
            let parts = singular(&w, shape, r).unwrap().balanced(2.5);
            assert!(gap(&parts, &w, shape, 2.5) < 1e-6);
            assert!(gap(&qr(&w, shape, r), &w, shape, 1.0) < 1e-6);
        }
    }

    #[test]
    fn values_fall_and_the_rest_is_as_small_as_the_next() {
        let shape = (9, 6);
        let w = noise(shape);
        let all = singular(&w, shape, 6).unwrap().values;
        assert!(all.windows(2).all(|v| v[0] >= v[1]));
        let (b, a) = singular(&w, shape, 2).unwrap().balanced(1.0);
        let rest: f64 = (0..54)
            .map(|e| (f64::from(w[e]) - (0..2).map(|k| b[e / 6 * 2 + k] * a[k * 6 + e % 6]).sum::<f64>()).powi(2))
            .sum();
        // Eckart and Young: what is left has the other singular values.
        assert!((rest - all[2..].iter().map(|v| v * v).sum::<f64>()).abs() < 1e-8);
    }

    #[test]
    fn many_iterations_find_the_largest_values() {
        let (shape, stream) = ((12, 20), Stream::new(3, 0, Purpose::Init, 2));
        let w = noise(shape);
        // The third value is near the fourth: they part slowly.
        let iterated = || singular_iterated(&w, shape, 3, 400, stream).unwrap();
        let (exact, found) = (singular(&w, shape, 3).unwrap(), iterated());
        for (a, b) in exact.values.iter().zip(&found.values) {
            assert!((a - b).abs() < 1e-3 * a, "{a} {b}");
        }
        assert_eq!(found.balanced(1.0), iterated().balanced(1.0), "the same stream gives the same bits");
    }
}
