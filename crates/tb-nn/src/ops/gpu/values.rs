//! Memory of a GPU that holds f32 or bf16 values: owned, borrowed, and as Candle's tensors.

use std::marker::PhantomData;

use candle_core::cuda_backend::{CudaStorage, CudaStorageSlice};
use candle_core::op::BackpropOp;
use candle_core::{DType, Layout, Result, Shape, Storage, Tensor, bail};
use cudarc::driver::{CudaSlice, DevicePtr};
use half::bf16;

use super::Gpu;

/// Values in memory of their own; given back, in the order of the stream, when they are dropped.
pub(crate) struct Values {
    storage: CudaStorage,
    at: u64,
    len: usize,
}

/// Values that live elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    at: u64,
    dtype: DType,
    len: usize,
    owner: PhantomData<&'a ()>,
}

impl Values {
    pub(super) fn new(gpu: &Gpu, len: usize, dtype: DType) -> Result<Self> {
        // SAFETY: whoever asks for new values writes all of them before any is read.
        let slice = unsafe {
            match dtype {
                DType::F32 => CudaStorageSlice::F32(gpu.device.alloc::<f32>(len)?),
                DType::BF16 => CudaStorageSlice::BF16(gpu.device.alloc::<bf16>(len)?),
                other => bail!("values of a GPU are f32 or bf16, not {other:?}"),
            }
        };
        Ok(Self::own(gpu, slice, len))
    }

    pub(super) fn zeros(gpu: &Gpu, len: usize, dtype: DType) -> Result<Self> {
        let slice = match dtype {
            DType::F32 => CudaStorageSlice::F32(gpu.device.alloc_zeros::<f32>(len)?),
            DType::BF16 => CudaStorageSlice::BF16(gpu.device.alloc_zeros::<bf16>(len)?),
            other => bail!("values of a GPU are f32 or bf16, not {other:?}"),
        };
        Ok(Self::own(gpu, slice, len))
    }

    fn own(gpu: &Gpu, slice: CudaStorageSlice, len: usize) -> Self {
        let at = match &slice {
            CudaStorageSlice::F32(s) => address(gpu, s),
            CudaStorageSlice::BF16(s) => address(gpu, s),
            _ => unreachable!("values are f32 or bf16"),
        };
        Self { storage: CudaStorage { slice, device: gpu.device.clone() }, at, len }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self.storage.slice {
            CudaStorageSlice::F32(_) => DType::F32,
            _ => DType::BF16,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { at: self.at, dtype: self.dtype(), len: self.len, owner: PhantomData }
    }

    /// As the result of an operation.
    pub(crate) fn into_storage(self) -> CudaStorage {
        self.storage
    }

    /// As a tensor outside any graph.
    pub(crate) fn into_tensor(self, shape: impl Into<Shape>) -> Tensor {
        Tensor::from_storage(Storage::Cuda(self.storage), shape.into(), BackpropOp::none(), false)
    }
}

fn address<T>(gpu: &Gpu, slice: &CudaSlice<T>) -> u64 {
    slice.device_ptr(&gpu.stream).0
}

impl<'a> View<'a> {
    /// The values of a tensor's storage, which must be contiguous f32 or bf16.
    pub(crate) fn of(gpu: &Gpu, storage: &'a CudaStorage, layout: &Layout) -> Result<Self> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("an operation on a GPU takes contiguous values");
        };
        let (at, dtype) = match &storage.slice {
            CudaStorageSlice::F32(s) => (address(gpu, s), DType::F32),
            CudaStorageSlice::BF16(s) => (address(gpu, s), DType::BF16),
            _ => bail!("an operation on a GPU takes f32 or bf16 values"),
        };
        let at = at + (start * dtype.size_in_bytes()) as u64;
        Ok(Self { at, dtype, len: end - start, owner: PhantomData })
    }

    /// Those of a storage on a GPU.
    pub(crate) fn of_storage(gpu: &Gpu, storage: &'a Storage, layout: &Layout) -> Result<Self> {
        match storage {
            Storage::Cuda(storage) => Self::of(gpu, storage, layout),
            Storage::Cpu(_) | Storage::Metal(_) => bail!("an operation on a GPU takes values on that GPU"),
        }
    }

    pub(crate) fn at(self) -> u64 {
        self.at
    }

    pub(crate) fn dtype(self) -> DType {
        self.dtype
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// `len` values from number `from` on.
    pub(crate) fn part(self, from: usize, len: usize) -> Self {
        assert!(from + len <= self.len, "a part outside its values");
        Self { at: self.at + (from * self.dtype.size_in_bytes()) as u64, len, ..self }
    }

    /// The same memory as values of another type; the caller knows what lies there.
    pub(crate) fn taken_as(self, dtype: DType) -> Self {
        let len = self.len * self.dtype.size_in_bytes() / dtype.size_in_bytes();
        Self { dtype, len, ..self }
    }
}

/// Binds `$name` to the view of a contiguous tensor on a GPU until the end of the enclosing block.
macro_rules! read_gpu {
    ($gpu:expr, $name:ident = $tensor:expr) => {
        let contiguous = $tensor.contiguous()?;
        let (guard, layout) = contiguous.storage_and_layout();
        let $name = $crate::ops::gpu::View::of_storage($gpu, &guard, layout)?;
    };
}
pub(crate) use read_gpu;
