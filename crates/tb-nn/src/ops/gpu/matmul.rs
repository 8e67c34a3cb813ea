//! Matrix products on a GPU by cuBLASLt: bf16 by bf16 on tensor cores, or f32 by f32, both with sums in f32.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Result};
use cudarc::cublaslt::{result as lt, sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};

use super::{Gpu, Values, View, driver};

/// Scratch memory that a product may use.
const WORKSPACE: usize = 32 << 20;

/// A row-major matrix; element (i, j) is at `i * row + j`, or the other way round where it is turned.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    view: View<'a>,
    row: usize,
    turned: bool,
}

impl<'a> Mat<'a> {
    /// With `row` values from one row to the next.
    pub(crate) fn rows(view: View<'a>, row: usize) -> Self {
        Self { view, row, turned: false }
    }

    /// The transpose of such a matrix.
    pub(crate) fn transposed(view: View<'a>, row: usize) -> Self {
        Self { view, row, turned: true }
    }
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Old<'a> {
    /// Nothing.
    Drop,
    /// What the destination holds.
    Add,
    /// These values, of the destination's shape and type.
    From(View<'a>),
}

/// What the choice of an algorithm depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    dims: (usize, usize, usize),
    rows: [usize; 3],
    turned: [bool; 2],
    dtypes: (DType, DType),
    alignments: [u32; 4],
    adds: bool,
}

/// The descriptors of a product and the algorithm chosen for it.
struct Plan {
    product: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

// SAFETY: descriptors are plain memory of the library, read only after they are made.
unsafe impl Send for Plan {}

pub(super) struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    plans: Mutex<HashMap<Shape, Plan>>,
}

// SAFETY: cuBLASLt's handle may be used from any thread.
unsafe impl Send for Blas {}
// SAFETY: as above; plans are behind a lock.
unsafe impl Sync for Blas {}

fn number(dtype: DType) -> sys::cudaDataType {
    match dtype {
        DType::F32 => sys::cudaDataType::CUDA_R_32F,
        _ => sys::cudaDataType::CUDA_R_16BF,
    }
}

/// The largest power of two, at most 256, that divides an address.
fn alignment(at: u64) -> u32 {
    1 << at.trailing_zeros().min(8)
}

impl Blas {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = lt::create_handle().map_err(|e| driver("cuBLASLt", e))?;
        // SAFETY: scratch memory is written before it is read.
        let workspace = unsafe { stream.alloc::<u8>(WORKSPACE) }.map_err(|e| driver("cuBLASLt", e))?;
        Ok(Self { handle, workspace, stream: Arc::clone(stream), plans: Mutex::default() })
    }

    fn plan(&self, shape: Shape) -> Result<Plan> {
        let Shape { dims: (m, n, k), rows, turned, dtypes: (input, output), alignments, .. } = shape;
        let fail = |e| driver("cuBLASLt", e);
        // SAFETY: descriptors are made, filled and used in this order; attributes have the sizes that the library documents.
        unsafe {
            let f32s = sys::cudaDataType::CUDA_R_32F;
            let product = lt::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, f32s).map_err(fail)?;
            // Row-major is the transpose of column-major: the operands change places.
            for (attribute, turned) in [
                (sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, turned[1]),
                (sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB, turned[0]),
            ] {
                let value = i32::from(turned);
                lt::set_matmul_desc_attribute(product, attribute, std::ptr::from_ref(&value).cast(), 4)
                    .map_err(fail)?;
            }
            let layout = |dtype, (rows, columns): (usize, usize), turned: bool, row: usize| {
                let (rows, columns) = if turned { (columns, rows) } else { (rows, columns) };
                lt::create_matrix_layout(number(dtype), columns as u64, rows as u64, row as i64)
            };
            let layouts = [
                layout(input, (m, k), turned[0], rows[0]).map_err(fail)?,
                layout(input, (k, n), turned[1], rows[1]).map_err(fail)?,
                layout(output, (m, n), false, rows[2]).map_err(fail)?,
            ];
            let preference = lt::create_matmul_pref().map_err(fail)?;
            use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
            let workspace = WORKSPACE;
            let set = |attribute, value: *const c_void, size| {
                lt::set_matmul_pref_attribute(preference, attribute, value, size)
            };
            set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::ptr::from_ref(&workspace).cast(), 8)
                .map_err(fail)?;
            let [a, b, c, d] = &alignments;
            for (attribute, value) in [
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
                (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, d),
            ] {
                set(attribute, std::ptr::from_ref(value).cast(), 4).map_err(fail)?;
            }
            let [la, lb, ld] = layouts;
            let found = lt::get_matmul_algo_heuristic(self.handle, product, lb, la, ld, ld, preference);
            lt::destroy_matmul_pref(preference).map_err(fail)?;
            let algorithm =
                found.map_err(|e| driver(&format!("no algorithm for a product of {m} x {n} x {k}"), e))?.algo;
            Ok(Plan { product, layouts, algorithm })
        }
    }
}

impl Gpu {
    /// destination (M, N) = [old +] scale * a (M, K) b (K, N), with `row` values from one row of the destination to the next.
    pub(crate) fn product(
        &self,
        dims: (usize, usize, usize),
        destination: View,
        row: usize,
        old: Old,
        (a, b): (Mat, Mat),
        scale: f32,
    ) -> Result<()> {
        let (m, n, k) = dims;
        if m == 0 || n == 0 || k == 0 {
            return Err(driver("product", format!("of {m} x {n} x {k}")));
        }
        assert_eq!(a.view.dtype(), b.view.dtype(), "both factors have one number type");
        let (beta, addend) = match old {
            Old::Drop => (0f32, destination),
            Old::Add => (1.0, destination),
            Old::From(view) => (1.0, view),
        };
        let shape = Shape {
            dims,
            rows: [a.row, b.row, row],
            turned: [a.turned, b.turned],
            dtypes: (a.view.dtype(), destination.dtype()),
            alignments: [a.view.at(), b.view.at(), addend.at(), destination.at()].map(alignment),
            adds: beta != 0.0,
        };
        let blas = &self.blas;
        let mut plans = blas.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.entry(shape) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(new) => new.insert(blas.plan(shape)?),
        };
        let [la, lb, ld] = plan.layouts;
        let pointer = |view: View| view.at() as *mut c_void;
        let name = if n.min(m).min(k) <= 64 { "product, low rank" } else { "product" };
        // SAFETY: the matrices lie in their views, which the callers' shapes were checked against.
        self.timed(name, || unsafe {
            lt::matmul(
                blas.handle,
                plan.product,
                std::ptr::from_ref(&scale).cast(),
                std::ptr::from_ref(&beta).cast(),
                pointer(b.view),
                lb,
                pointer(a.view),
                la,
                pointer(addend),
                ld,
                pointer(destination),
                ld,
                &plan.algorithm,
                blas.workspace.device_ptr(&blas.stream).0 as *mut c_void,
                WORKSPACE,
                blas.stream.cu_stream().cast(),
            )
            .map_err(|e| driver(&format!("product of {m} x {n} x {k}"), e))
        })
    }

    /// A fresh scale * a (M, K) b (K, N).
    pub(crate) fn new_product(
        &self,
        dims: (usize, usize, usize),
        factors: (Mat, Mat),
        scale: f32,
        dtype: DType,
    ) -> Result<Values> {
        let out = self.new_values(dims.0 * dims.1, dtype)?;
        self.product(dims, out.view(), dims.1, Old::Drop, factors, scale)?;
        Ok(out)
    }
}
