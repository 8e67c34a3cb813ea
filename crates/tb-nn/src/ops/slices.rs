//! Reading tensors as f32 slices and writing f32 results back in a tensor's own dtype. No maths.

use std::borrow::Cow;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::pressure;

/// Items per parallel piece when converting: large enough to hide the scheduling.
const PIECE: usize = 1 << 16;

/// The CPU storage of a tensor; an error on any other device.
pub(crate) fn cpu(storage: &Storage) -> Result<&CpuStorage> {
    match storage {
        Storage::Cpu(s) => Ok(s),
        Storage::Cuda(_) | Storage::Metal(_) => bail!("this operation computes in the host's memory alone"),
    }
}

/// The values of a tensor's storage as f32, in logical order: copied from a GPU, for what has no path there.
pub(crate) fn values<'a>(storage: &'a Storage, layout: &Layout) -> Result<Cow<'a, [f32]>> {
    match storage {
        Storage::Cpu(s) => floats(s, layout),
        Storage::Cuda(s) => Ok(Cow::Owned(floats(&s.to_cpu_storage()?, layout)?.into_owned())),
        Storage::Metal(_) => bail!("this operation has no path for Metal"),
    }
}

/// The values in logical order as f32: borrowed where they already are contiguous f32, else widened or gathered.
pub(crate) fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [f32]>> {
    fn widen<T: Copy + Sync>(all: &[T], layout: &Layout, to: impl Fn(T) -> f32 + Sync) -> Vec<f32> {
        match layout.contiguous_offsets() {
            Some((start, end)) => {
                let mut out = vec![0f32; end - start];
                out.par_chunks_mut(PIECE).zip(all[start..end].par_chunks(PIECE)).for_each(|(o, s)| {
                    for (o, s) in o.iter_mut().zip(s) {
                        *o = to(*s);
                    }
                });
                out
            }
            None => offsets(layout).map(|i| to(all[i])).collect(),
        }
    }
    Ok(match storage {
        CpuStorage::F32(all) => match layout.contiguous_offsets() {
            Some((start, end)) => Cow::Borrowed(&all[start..end]),
            None => Cow::Owned(widen(all, layout, |v| v)),
        },
        CpuStorage::BF16(all) => Cow::Owned(widen(all, layout, bf16::to_f32)),
        CpuStorage::F16(all) => Cow::Owned(widen(all, layout, f16::to_f32)),
        CpuStorage::F64(all) => Cow::Owned(widen(all, layout, |v| v as f32)),
        other => bail!("expected floating point values, got {:?}", other.dtype()),
    })
}

/// The storage offsets of a strided layout in logical order.
fn offsets(layout: &Layout) -> impl Iterator<Item = usize> {
    let (dims, stride) = (layout.dims(), layout.stride());
    let mut index = vec![0usize; dims.len()];
    let mut at = layout.start_offset();
    (0..layout.shape().elem_count()).map(move |_| {
        let here = at;
        for d in (0..dims.len()).rev() {
            index[d] += 1;
            at += stride[d];
            if index[d] < dims[d] {
                break;
            }
            at -= stride[d] * dims[d];
            index[d] = 0;
        }
        here
    })
}

/// f32 values as storage of `dtype` (rounded to nearest even where it is narrower). Every operation ends here or in [`tensor`], and
/// so is refused when memory is about to run out.
pub(crate) fn store(values: Vec<f32>, dtype: DType) -> Result<CpuStorage> {
    pressure::check()?;
    Ok(match dtype {
        DType::F32 => CpuStorage::F32(values),
        DType::BF16 => CpuStorage::BF16(values.into_par_iter().with_min_len(PIECE).map(bf16::from_f32).collect()),
        DType::F16 => CpuStorage::F16(values.into_par_iter().with_min_len(PIECE).map(f16::from_f32).collect()),
        DType::F64 => CpuStorage::F64(values.into_iter().map(f64::from).collect()),
        other => bail!("cannot store floating point values as {other:?}"),
    })
}

/// f32 values as a tensor of another's shape and dtype on its device, outside any graph.
pub(crate) fn tensor_like(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    tensor(values, like.shape(), like.dtype())?.to_device(like.device())
}

/// f32 values as a tensor of `dtype` outside any graph.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
    let shape = shape.into();
    pressure::check()?;
    if dtype == DType::F32 {
        return Tensor::from_vec(values, shape, &Device::Cpu);
    }
    let storage = Storage::Cpu(store(values, dtype)?);
    Ok(Tensor::from_storage(storage, shape, candle_core::op::BackpropOp::none(), false))
}

/// a + b, in a's place.
pub(crate) fn added(mut a: Vec<f32>, b: &[f32]) -> Vec<f32> {
    a.par_chunks_mut(PIECE).zip(b.par_chunks(PIECE)).for_each(|(a, b)| {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    });
    a
}

/// The forward of an operation of N arguments that has no path of its own on a GPU: through the memory of the host.
#[cfg(feature = "cuda")]
macro_rules! through_host {
    ($op:ident: $($storage:ident, $layout:ident);+) => {
        fn cuda_fwd(
            &self,
            $($storage: &candle_core::CudaStorage, $layout: &candle_core::Layout),+
        ) -> candle_core::Result<(candle_core::CudaStorage, candle_core::Shape)> {
            use candle_core::backend::{BackendDevice, BackendStorage};
            let device = through_host!(@first $($storage)+).device().clone();
            $(let $storage = $storage.to_cpu_storage()?;)+
            let (y, shape) = $op::cpu_fwd(self, $(&$storage, $layout),+)?;
            Ok((device.storage_from_cpu_storage_owned(y)?, shape))
        }
    };
    (@first $first:ident $($rest:ident)*) => { $first };
}
#[cfg(feature = "cuda")]
pub(crate) use through_host;

/// Binds `$name` to the f32 values of a tensor (borrowed where possible) until the end of the enclosing block.
macro_rules! read {
    ($name:ident = $tensor:expr) => {
        let (guard, layout) = $tensor.storage_and_layout();
        let $name = $crate::ops::slices::values(&guard, layout)?;
    };
}
pub(crate) use read;

/// A raw pointer that parallel tasks may share because each writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedOut(*mut f32);

// SAFETY: every user writes disjoint parts from different threads and joins before the owner is used again.
unsafe impl Send for SharedOut {}
// SAFETY: as above.
unsafe impl Sync for SharedOut {}

impl SharedOut {
    /// The shared output over `values`.
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The shared output at a pointer.
    pub(crate) fn from_pointer(values: *mut f32) -> Self {
        Self(values)
    }

    /// The pointer at `offset`. The caller keeps within the slice and within its own part.
    #[inline]
    pub(crate) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}
