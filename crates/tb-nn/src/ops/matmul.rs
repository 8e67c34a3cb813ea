//! Matrix products on slices: the `gemm` crate with strides, and weights that are stored narrower than f32.
//!
//! The one place that knows how a weight's dtype meets f32 activations: f32 by f32, and a bf16 weight in bf16 where the processor
//! multiplies so (`narrow`), else widened.

mod few_rows;
mod narrow;
mod q8_0;
mod rows;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
use gemm::Parallelism;
use half::bf16;
use rayon::prelude::*;
use std::ops::Deref;

pub(crate) use few_rows::MOST_ROWS;
use narrow::Side;
use rows::many_rows;
pub(crate) use rows::rows_product;

use super::constant::{Constant, Stored};
use super::slices::SharedOut;
use crate::profile;
use crate::quant::{Q8_0, Quantised, Rounding};

/// A strided f32 matrix over a slice: element (i, j) is at `i * row + j * col`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub col: usize,
}

impl<'a> Mat<'a> {
    /// Row-major with `width` columns.
    pub(crate) fn rows(data: &'a [f32], width: usize) -> Self {
        Self { data, row: width, col: 1 }
    }

    /// The transpose.
    pub(crate) fn turned(self) -> Self {
        Self { data: self.data, row: self.col, col: self.row }
    }

    /// The transpose of a row-major matrix with `width` columns.
    pub(crate) fn transposed(data: &'a [f32], width: usize) -> Self {
        Self { data, row: 1, col: width }
    }
}

/// What happens to the destination's old values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Old {
    /// Overwritten, never read.
    Drop,
    /// Added to.
    Add,
}

/// All threads of the current pool.
pub(crate) const ALL: Parallelism = Parallelism::Rayon(0);
/// The calling thread only.
pub(crate) const ONE: Parallelism = Parallelism::None;

fn check(len: usize, m: usize, n: usize, row: usize, col: usize) {
    assert!(m == 0 || n == 0 || (m - 1) * row + (n - 1) * col < len, "matrix outside its slice");
}

/// dst(m, n) = [dst +] scale * a(m, k) b(k, n), with dst row-major of stride `dst_row`.
///
/// # Safety
/// `dst` must be valid for writes (and, with [`Old::Add`], initialised) over m rows of stride `dst_row`.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn product_into(
    (m, n, k): (usize, usize, usize),
    dst: *mut f32,
    dst_row: usize,
    old: Old,
    a: Mat,
    b: Mat,
    scale: f32,
    threads: Parallelism,
) {
    check(a.data.len(), m, k, a.row, a.col);
    check(b.data.len(), k, n, b.row, b.col);
    // SAFETY: the operands were checked; the destination is the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst,
            1,
            dst_row as isize,
            old == Old::Add,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

/// dst(m, n) [+]= scale * a(m, k) b(k, n), contiguous row-major.
pub(crate) fn product(
    dims: (usize, usize, usize),
    dst: &mut [f32],
    old: Old,
    a: Mat,
    b: Mat,
    scale: f32,
    threads: Parallelism,
) {
    check(dst.len(), dims.0, dims.1, dims.1, 1);
    // SAFETY: checked.
    unsafe { product_into(dims, dst.as_mut_ptr(), dims.1, old, a, b, scale, threads) }
}

/// A fresh a(m, k) b(k, n) * scale, row-major.
pub(crate) fn new_product(dims: (usize, usize, usize), a: Mat, b: Mat, scale: f32, threads: Parallelism) -> Vec<f32> {
    let len = dims.0 * dims.1;
    let mut out = Vec::with_capacity(len);
    // SAFETY: the product writes every element of m x n before the length is set.
    unsafe {
        product_into(dims, out.as_mut_ptr(), dims.1, Old::Drop, a, b, scale, threads);
        out.set_len(len);
    }
    out
}

/// Whether this processor has vectors of 16 lanes with masks (AVX-512 F, BW, VL).
pub(crate) fn has_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The mask of the first `n` of 16 lanes.
#[cfg(target_arch = "x86_64")]
pub(crate) fn lane_mask(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

/// The destination of a product whose tasks write to columns of their own.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Place(*mut f32);
// SAFETY: no two tasks write to the same columns.
#[cfg(target_arch = "x86_64")]
unsafe impl Send for Place {}
// SAFETY: as above.
#[cfg(target_arch = "x86_64")]
unsafe impl Sync for Place {}

#[cfg(target_arch = "x86_64")]
impl Place {
    /// # Safety
    /// Inside the destination.
    unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// A weight matrix (O, I), row-major, less a product of low rank.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    values: Values<'a>,
    taken: Option<Factors<'a>>,
}

/// A matrix in the dtype it is stored in.
#[derive(Clone, Copy)]
enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    Quantised(&'a Quantised),
}

/// s B A of rank r, with A (r, I) and B (O, r).
#[derive(Clone, Copy)]
struct Factors<'a> {
    a: &'a [f32],
    b: &'a [f32],
    rank: usize,
    scaling: f32,
}

/// Widened panels hold about this many values: they stay in the second-level cache.
const PANEL_VALUES: usize = 1 << 18;
/// The same in bf16.
const NARROW_VALUES: usize = 1 << 19;

impl<'a> Weight<'a> {
    /// The weight in a contiguous tensor's storage.
    pub(crate) fn of(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a weight must be contiguous");
        };
        let values = match storage {
            CpuStorage::F32(all) => Values::F32(&all[start..end]),
            CpuStorage::BF16(all) => Values::Bf16(&all[start..end]),
            _ => bail!("a weight must be f32 or bf16"),
        };
        Ok(Self { values, taken: None })
    }

    /// Calls `f(first row, rows, values)` for panels of rows that cover the (O, I) matrix as it is stored; f32 comes as one panel.
    pub(crate) fn for_panels(self, o: usize, i: usize, mut f: impl FnMut(usize, usize, &[f32])) {
        match self.values {
            Values::F32(all) => f(0, o, all),
            Values::Bf16(all) => {
                let rows = (PANEL_VALUES / i.max(1)).clamp(1, o.max(1));
                let mut wide = vec![0f32; rows * i];
                for first in (0..o).step_by(rows) {
                    let n = rows.min(o - first);
                    let source = &all[first * i..(first + n) * i];
                    wide[..n * i].par_chunks_mut(1 << 14).zip(source.par_chunks(1 << 14)).for_each(|(w, s)| {
                        for (w, s) in w.iter_mut().zip(s) {
                            *w = s.to_f32();
                        }
                    });
                    f(first, n, &wide[..n * i]);
                }
            }
            Values::Quantised(matrix) => {
                let rows = (PANEL_VALUES / i.max(1)).clamp(1, o.max(1));
                let mut wide = vec![0f32; rows * i];
                for first in (0..o).step_by(rows) {
                    let n = rows.min(o - first);
                    matrix.rows_into(first, &mut wide[..n * i]);
                    f(first, n, &wide[..n * i]);
                }
            }
        }
    }

    /// Whether products take both operands in bf16: the weight is, and the processor multiplies so.
    fn is_bf16(self) -> bool {
        let narrow = match self.values {
            Values::F32(_) => false,
            Values::Bf16(_) => true,
            Values::Quantised(matrix) => matrix.rounding() == Rounding::Bf16,
        };
        narrow && narrow::available()
    }

    /// As [`Self::for_panels`], in bf16; a bf16 weight comes as one panel. `f(first row, values)`.
    fn for_narrow_panels(self, o: usize, i: usize, mut f: impl FnMut(usize, &[bf16])) {
        match self.values {
            Values::F32(_) => unreachable!("an f32 weight is multiplied as it is"),
            Values::Bf16(all) => f(0, &all[..o * i]),
            Values::Quantised(matrix) => {
                let rows = (NARROW_VALUES / i.max(1)).clamp(1, o.max(1));
                let mut narrow = vec![bf16::ZERO; rows * i];
                for first in (0..o).step_by(rows) {
                    let n = rows.min(o - first);
                    matrix.narrow_rows_into(first, &mut narrow[..n * i]);
                    f(first, &narrow[..n * i]);
                }
            }
        }
    }

    /// y(N, O) [+]= x(N, I) W'.
    ///
    /// # Safety
    /// `y` must be valid for N x O writes, and initialised with [`Old::Add`].
    pub(crate) unsafe fn forward(self, (n, o, i): (usize, usize, usize), y: *mut f32, old: Old, x: &[f32]) {
        let _span = profile::span(if self.is_bf16() { "product, bf16" } else { "product, f32" });
        if let Some(weight) = self.blocks(n, i) {
            let product = q8_0::Product { weight, y: SharedOut::from_pointer(y), stride: o, old };
            // SAFETY: the caller's promise.
            unsafe { q8_0::products(x, i, &[product]) };
        } else if n <= MOST_ROWS && i > 0 && has_vectors() {
            // SAFETY: the panel's columns lie inside y by the caller's promise.
            unsafe {
                match self.values {
                    Values::Bf16(w) => few_rows::product(x, &w[..o * i], i, (y, o, old)),
                    Values::F32(_) | Values::Quantised(_) => {
                        self.for_panels(o, i, |first, _, w| few_rows::product(x, w, i, (y.add(first), o, old)));
                    }
                }
            }
        } else if self.is_bf16() {
            let x = narrow::rounded(x, i, 0, i);
            self.for_narrow_panels(o, i, |first, w| {
                // SAFETY: as below.
                unsafe { narrow::product(Side::Rows, &x, w, i, (y.add(first), o, old)) };
            });
        } else {
            self.for_panels(o, i, |first, rows, w| {
                // SAFETY: the panel's columns lie inside y by the caller's promise.
                unsafe { many_rows((n, rows, i), (y.add(first), o, old), x, w, 1.0, ALL) };
            });
        }
        if let Some(Factors { a, b, rank: r, scaling }) = self.taken {
            let mut h = vec![0f32; n * r];
            rows_product((n, r, i), &mut h, Old::Drop, x, a, -scaling, ALL);
            // SAFETY: the panels covered every column, so all of y is initialised.
            let y = unsafe { std::slice::from_raw_parts_mut(y, n * o) };
            rows_product((n, o, r), y, Old::Add, &h, b, 1.0, ALL);
        }
    }

    /// The q8_0 blocks, if they are multiplied as they are.
    fn blocks(&self, n: usize, i: usize) -> Option<&'a Q8_0> {
        match self.values {
            Values::Quantised(matrix) => matrix.q8_0().filter(|_| n <= MOST_ROWS && i > 0),
            Values::F32(_) | Values::Bf16(_) => None,
        }
    }

    /// Fresh y(N, O) = x(N, I) W' for weights with these O; as one parallel piece of work where they are all held in q8_0 and rows are few.
    pub(crate) fn new_forwards(weights: &[(Self, usize)], (n, i): (usize, usize), x: &[f32]) -> Vec<Vec<f32>> {
        let blocks = weights.iter().map(|(w, _)| w.blocks(n, i).filter(|_| w.taken.is_none()));
        let Some(blocks) = blocks.collect::<Option<Vec<_>>>() else {
            return weights.iter().map(|(w, o)| w.new_forward((n, *o, i), x)).collect();
        };
        let mut ys: Vec<Vec<f32>> = weights.iter().map(|(_, o)| vec![0f32; n * o]).collect();
        let products: Vec<q8_0::Product> = blocks
            .into_iter()
            .zip(&mut ys)
            .zip(weights)
            .map(|((weight, y), (_, o))| q8_0::Product { weight, y: SharedOut::new(y), stride: *o, old: Old::Drop })
            .collect();
        // SAFETY: each y has N x O values.
        unsafe { q8_0::products(x, i, &products) };
        ys
    }

    /// A fresh y(N, O) = x(N, I) W'.
    pub(crate) fn new_forward(self, (n, o, i): (usize, usize, usize), x: &[f32]) -> Vec<f32> {
        let mut y = Vec::with_capacity(n * o);
        // SAFETY: the panels cover every column, so all of y is written before its length is set.
        unsafe {
            self.forward((n, o, i), y.as_mut_ptr(), Old::Drop, x);
            y.set_len(n * o);
        }
        y
    }

    /// dx(N, I) [+]= dy(N, O) W.
    ///
    /// # Safety
    /// `dx` must be valid for N x I writes, and initialised with [`Old::Add`]. With [`Old::Drop`] all of it is written.
    pub(crate) unsafe fn backward(self, (n, o, i): (usize, usize, usize), dx: *mut f32, old: Old, dy: &[f32]) {
        let _span = profile::span(if self.is_bf16() { "product back, bf16" } else { "product back, f32" });
        if o == 0 {
            // SAFETY: an empty product writes zeros or nothing; the caller's promise holds for it.
            unsafe { product_into((n, i, 0), dx, i, old, Mat::rows(&[], 0), Mat::rows(&[], i), 1.0, ONE) };
        }
        if self.is_bf16() {
            self.for_narrow_panels(o, i, |first, w| {
                let old = if first == 0 { old } else { Old::Add };
                let dy = narrow::rounded(dy, o, first, w.len() / i.max(1));
                // SAFETY: as below.
                unsafe { narrow::product(Side::Columns, &dy, w, i, (dx, i, old)) };
            });
        } else {
            self.for_panels(o, i, |first, rows, w| {
                let old = if first == 0 { old } else { Old::Add };
                let a = Mat { data: &dy[first.min(dy.len())..], row: o, col: 1 };
                // SAFETY: the caller's promise; panels after the first add to what the first one wrote.
                unsafe { product_into((n, i, rows), dx, i, old, a, Mat::rows(w, i), 1.0, ALL) };
            });
        }
        if let Some(Factors { a, b, rank: r, scaling }) = self.taken {
            let dh = new_product((n, r, o), Mat::rows(dy, o), Mat::rows(b, r), -scaling, ALL);
            // SAFETY: the first panel wrote all of dx.
            unsafe { product_into((n, i, r), dx, i, Old::Add, Mat::rows(&dh, r), Mat::rows(a, i), 1.0, ALL) };
        }
    }

    /// A fresh dx(N, I) = dy(N, O) W.
    pub(crate) fn new_backward(self, (n, o, i): (usize, usize, usize), dy: &[f32]) -> Vec<f32> {
        let mut dx = Vec::with_capacity(n * i);
        // SAFETY: all of dx is written before its length is set.
        unsafe {
            self.backward((n, o, i), dx.as_mut_ptr(), Old::Drop, dy);
            dx.set_len(n * i);
        }
        dx
    }
}

/// What keeps a weight's values in place while they are read.
pub(crate) struct Held<'a> {
    values: HeldValues<'a>,
    taken: Option<(HeldValues<'a>, HeldValues<'a>, f64)>,
}

enum HeldValues<'a> {
    Dense(Box<dyn Deref<Target = Storage> + 'a>, &'a Layout),
    /// A copy of what lies on a GPU.
    Copied(Result<CpuStorage>, &'a Layout),
    Quantised(&'a Quantised),
}

/// What a product can take as its weight.
pub(crate) trait Hold {
    fn hold(&self) -> Held<'_>;
}

impl Hold for Tensor {
    fn hold(&self) -> Held<'_> {
        Held { values: HeldValues::of(self), taken: None }
    }
}

impl Hold for Constant {
    fn hold(&self) -> Held<'_> {
        let values = match &self.stored {
            Stored::Dense(tensor) => HeldValues::of(tensor),
            Stored::Quantised(matrix) => HeldValues::Quantised(matrix),
        };
        let taken = self.taken.as_ref().map(|t| (HeldValues::of(&t.a), HeldValues::of(&t.b), t.scaling));
        Held { values, taken }
    }
}

impl<'a> HeldValues<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        let (guard, layout) = tensor.storage_and_layout();
        if let Storage::Cuda(storage) = &*guard {
            return Self::Copied(storage.to_cpu_storage(), layout);
        }
        Self::Dense(Box::new(guard), layout)
    }

    fn weight(&self) -> Result<Weight<'_>> {
        match self {
            Self::Dense(guard, layout) => match &***guard {
                Storage::Cpu(storage) => Weight::of(storage, layout),
                Storage::Cuda(_) | Storage::Metal(_) => bail!("a product on the host takes a weight of the host"),
            },
            Self::Copied(Ok(storage), layout) => Weight::of(storage, layout),
            Self::Copied(Err(error), _) => bail!("a weight could not be copied from the GPU: {error}"),
            Self::Quantised(matrix) => Ok(Weight { values: Values::Quantised(matrix), taken: None }),
        }
    }

    /// An f32 matrix, with its rows.
    fn floats(&self) -> Result<(&[f32], usize)> {
        match (self.weight()?.values, self) {
            (Values::F32(all), Self::Dense(_, layout) | Self::Copied(_, layout)) => {
                Ok((all, layout.shape().dims2()?.0))
            }
            (Values::F32(_) | Values::Bf16(_) | Values::Quantised(_), _) => {
                bail!("what is taken from a weight must be f32")
            }
        }
    }
}

impl Held<'_> {
    pub(crate) fn weight(&self) -> Result<Weight<'_>> {
        let mut weight = self.values.weight()?;
        if let Some((a, b, scaling)) = &self.taken {
            let ((a, rank), (b, _)) = (a.floats()?, b.floats()?);
            weight.taken = Some(Factors { a, b, rank, scaling: *scaling as f32 });
        }
        Ok(weight)
    }
}

/// Binds `$name` to the [`Weight`] in a tensor or a constant until the end of the enclosing block.
macro_rules! read_weight {
    ($name:ident = $weight:expr) => {
        use $crate::ops::matmul::Hold as _;
        let held = $weight.hold();
        let $name = held.weight()?;
    };
}
pub(crate) use read_weight;
