//! The operations on an NVIDIA GPU: device memory, kernels and products that the device paths of the operations are written with.
//!
//! Activations are bf16 (or f32), adapters and sums f32. Everything runs on the one stream of its device in the order of the calls, so
//! memory that a value gives back is taken only by what comes after. No kernel adds in an order that depends on scheduling: the same
//! device gives the same bits. Kernels are in `gpu/*.cu`, compiled by `build.rs`.

mod adapters;
mod attention;
mod decoding;
mod elementwise;
mod few_rows;
mod half_block;
mod linear;
mod matmul;
mod quantised;
mod recording;
#[cfg(test)]
mod tests;
mod uploads;
mod values;

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{DType, Device, Error, Result, Tensor};
use cudarc::driver::{CudaEvent, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, sys};
use cudarc::nvrtc::Ptx;

use crate::{pressure, profile};
use tb_core::random::Words;
use uploads::Uploads;

pub(crate) use adapters::{Narrow, NarrowBack};
pub(crate) use attention::Attended;
pub(crate) use decoding::{Cache, CachedRows};
pub(crate) use half_block::{Gradients, finished, input_gradient, normed, through};
pub(crate) use linear::{Adapters, Half};
pub(crate) use matmul::{Mat, Old};
pub(crate) use quantised::OnGpu;
pub(crate) use recording::Recording;
pub(crate) use values::{Values, View, read_gpu};

/// What `build.rs` compiled.
const MODULES: [&[u8]; 6] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/adapters.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/elementwise.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/few_rows.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/cross_entropy.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/attention.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/attention_mma.fatbin")),
];
/// And for devices of compute capability [`HOPPER`] alone.
const HOPPER_MODULE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attention_wgmma.fatbin"));
const HOPPER: (i32, i32) = (9, 0);

/// Threads of a block where the kernel does not say otherwise.
const THREADS: u32 = 256;
/// Most blocks of a kernel that walks over its values in strides.
const BLOCKS: u32 = 132 * 16;
/// Places at which blocks of one kernel can be counted.
const ARRIVALS: usize = 1 << 16;

/// Those of this process.
static ALL: Mutex<Vec<(DeviceId, &'static Gpu)>> = Mutex::new(Vec::new());

/// A device with its kernels; one per device of the process.
pub(crate) struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    modules: Vec<Arc<CudaModule>>,
    /// Whether [`HOPPER_MODULE`] is among them.
    hopper: bool,
    /// Multiprocessors.
    units: usize,
    functions: Mutex<HashMap<(&'static str, &'static str), CudaFunction>>,
    blas: matmul::Blas,
    uploads: Uploads,
    /// Zeros: blocks of a kernel that have arrived, where the last one adds up.
    arrived: Arc<CudaSlice<u32>>,
    timings: Mutex<Vec<Timing>>,
}

/// An operation that was timed: its beginning and end on the device.
type Timing = (&'static str, CudaEvent, CudaEvent);

/// A parameter of a kernel: the low bytes of a word.
#[derive(Clone, Copy)]
pub(crate) struct Param(u64);

macro_rules! params {
    ($($from:ty: $value:ident => $to:expr;)*) => {
        $(impl From<$from> for Param {
            fn from($value: $from) -> Self {
                Self($to)
            }
        })*
    };
}
params! {
    u64: v => v;
    usize: v => v as u64;
    u32: v => u64::from(v);
    i32: v => u64::from(v as u32);
    f32: v => u64::from(v.to_bits());
    View<'_>: v => v.at();
    Option<View<'_>>: v => v.map_or(0, |v| v.at());
}

/// Which elements of (rows, ...) dropout keeps: those whose word of the row's stream is at least `threshold`.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    pub(crate) stream: Words,
    pub(crate) first_row: u32,
    pub(crate) rows: usize,
    pub(crate) threshold: u32,
    pub(crate) scale: f32,
}

/// Which instance of a kernel.
fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "_f32",
        _ => "_bf16",
    }
}

fn driver(what: &str, e: impl std::fmt::Debug) -> Error {
    Error::Msg(format!("{what}: {e:?}"))
}

/// The bit of a kernel that says that a constant is f32.
pub(crate) fn wide(view: View) -> i32 {
    i32::from(view.dtype() == DType::F32)
}

impl Gpu {
    /// The kernels of a device, loaded on first use.
    pub(crate) fn of(device: &CudaDevice) -> Result<&'static Self> {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, gpu)) = all.iter().find(|(id, _)| *id == device.id()) {
            return Ok(gpu);
        }
        let gpu: &'static Self = Box::leak(Box::new(Self::new(device)?));
        all.push((device.id(), gpu));
        Ok(gpu)
    }

    /// That of a tensor on a GPU.
    pub(crate) fn of_tensor(tensor: &Tensor) -> Result<&'static Self> {
        Self::of_device(tensor.device())
    }

    /// That of one of Candle's devices.
    pub(crate) fn of_device(device: &Device) -> Result<&'static Self> {
        match device {
            Device::Cuda(device) => Self::of(device),
            Device::Cpu | Device::Metal(_) => Err(Error::Msg("this is not an NVIDIA GPU".into())),
        }
    }

    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let context = stream.context();
        keep_memory(context.cu_device(), context.total_mem().map_err(|e| driver("memory", e))? as u64)?;
        let load =
            |image: &&[u8]| context.load_module(Ptx::from_binary(image.to_vec())).map_err(|e| driver("kernels", e));
        let hopper = context.compute_capability().map_err(|e| driver("compute capability", e))? == HOPPER;
        let modules = MODULES.iter().chain(hopper.then_some(&HOPPER_MODULE)).map(load).collect::<Result<_>>()?;
        let units = context
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(|e| driver("multiprocessors", e))?;
        let blas = matmul::Blas::new(&stream)?;
        let arrived = Arc::new(device.alloc_zeros::<u32>(ARRIVALS)?);
        let device = device.clone();
        Ok(Self {
            device,
            stream,
            modules,
            hopper,
            units: units as usize,
            functions: Mutex::default(),
            blas,
            uploads: Uploads::default(),
            arrived,
            timings: Mutex::default(),
        })
    }

    /// Values that are not written yet: the caller's kernel writes all of them.
    pub(crate) fn new_values(&self, len: usize, dtype: DType) -> Result<Values> {
        pressure::check()?;
        Values::new(self, len, dtype)
    }

    /// Zeros.
    pub(crate) fn zeros(&self, len: usize, dtype: DType) -> Result<Values> {
        pressure::check()?;
        Values::zeros(self, len, dtype)
    }

    /// Starts a kernel.
    ///
    /// # Safety
    /// The parameters must be those of the kernel, and the memory they point to must hold what it reads and writes.
    pub(crate) unsafe fn launch(
        &self,
        (name, suffix): (&'static str, &'static str),
        (grid, block): ((u32, u32), u32),
        shared: usize,
        params: &mut [Param],
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.launch_with((name, suffix), ((grid.0, grid.1, 1), block), shared, params) }
    }

    /// As [`Self::launch`], with blocks in three dimensions.
    ///
    /// # Safety
    /// As [`Self::launch`].
    unsafe fn launch_with(
        &self,
        (name, suffix): (&'static str, &'static str),
        (grid, block): ((u32, u32, u32), u32),
        shared: usize,
        params: &mut [Param],
    ) -> Result<()> {
        if grid.0 == 0 || grid.1 == 0 || grid.2 == 0 {
            return Ok(());
        }
        let function = self.function(name, suffix, shared)?;
        let mut list: Vec<*mut c_void> = params.iter_mut().map(|p| std::ptr::from_mut(&mut p.0).cast()).collect();
        let (block, stream) = ((block, 1, 1), self.stream.cu_stream());
        self.timed(name, || {
            // SAFETY: the caller's promise; each parameter is read from the low bytes of its word.
            unsafe {
                let function = function.cu_function();
                cudarc::driver::result::launch_kernel(function, grid, block, shared as u32, stream, &mut list)
            }
            .map_err(|e| driver(name, e))
        })
    }

    /// Starts work on the device, timed where that is wanted.
    fn timed(&self, name: &'static str, start: impl FnOnce() -> Result<()>) -> Result<()> {
        if !profile::is_on() {
            return start();
        }
        let event = || {
            let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
            self.stream.record_event(Some(flags)).map_err(|e| driver("event", e))
        };
        let begin = event()?;
        start()?;
        let timing = (name, begin, event()?);
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).push(timing);
        Ok(())
    }

    fn function(&self, name: &'static str, suffix: &'static str, shared: usize) -> Result<CudaFunction> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&(name, suffix)) {
            return Ok(function.clone());
        }
        let full = format!("{name}{suffix}");
        let function = self.modules.iter().find_map(|module| module.load_function(&full).ok());
        let function = function.ok_or_else(|| Error::Msg(format!("there is no kernel {full}")))?;
        if shared > 48 << 10 {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, shared as i32).map_err(|e| driver(name, e))?;
        }
        functions.insert((name, suffix), function.clone());
        Ok(function)
    }

    /// Starts a kernel of one number type over `n` values in strides.
    ///
    /// # Safety
    /// As [`Self::launch`].
    unsafe fn over(&self, kernel: (&'static str, &'static str), n: usize, params: &mut [Param]) -> Result<()> {
        let blocks = u32::try_from(n.div_ceil(THREADS as usize)).unwrap_or(BLOCKS).min(BLOCKS);
        // SAFETY: the caller's promise.
        unsafe { self.launch(kernel, ((blocks, 1), THREADS), 0, params) }
    }

    fn address<T>(&self, slice: &CudaSlice<T>) -> u64 {
        slice.device_ptr(&self.stream).0
    }
}

/// A word of 64 bits as two of 32, the low one first.
fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// Lets the driver keep what was given back for the next step, up to three quarters of the memory: by itself it returns all of it to the system
/// whenever the host waits for the device.
fn keep_memory(device: sys::CUdevice, total: u64) -> Result<()> {
    let mut most = total / 4 * 3;
    // SAFETY: the pool is the device's own, and the attribute is a 64-bit number.
    unsafe {
        let pool =
            cudarc::driver::result::device::get_default_mem_pool(device).map_err(|e| driver("memory pool", e))?;
        let attribute = sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        cudarc::driver::result::mem_pool::set_attribute(pool, attribute, std::ptr::from_mut(&mut most).cast())
            .map_err(|e| driver("memory pool", e))
    }
}

/// Hands over what was timed on every device.
pub(crate) fn collect_profile() {
    for (_, gpu) in ALL.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        for (name, begin, end) in gpu.timings.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // An event that the device has not reached is left out: the caller has waited for it.
            if let Ok(ms) = begin.elapsed_ms(&end) {
                profile::add(name, f64::from(ms) / 1e3);
            }
        }
    }
}
