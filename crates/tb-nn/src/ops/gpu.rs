//! The operations on an NVIDIA GPU: device memory, kernels and products that the device paths of the operations are written with.
//!
//! Activations are bf16 (or f32), adapters and sums f32. Everything runs on the one stream of its device in the order of the calls, so
//! memory that a value gives back is taken only by what comes after. No kernel adds in an order that depends on scheduling: the same
//! device gives the same bits. Kernels are in `gpu/*.cu`, compiled by `build.rs`.

mod adapters;
mod attention;
mod linear;
mod matmul;
mod quantised;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{DType, Device, Error, Result, Tensor};
use cudarc::driver::{CudaEvent, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, sys};
use cudarc::nvrtc::Ptx;

use crate::optim::Scalars;
use crate::{pressure, profile};
use tb_core::decoder_config::Activation;
use tb_core::random::Words;

pub(crate) use adapters::{Narrow, NarrowBack};
pub(crate) use attention::{Attended, Cache, CachedRows};
pub(crate) use linear::{Adapters, Half};
pub(crate) use matmul::{Mat, Old};
pub(crate) use quantised::OnGpu;
pub(crate) use values::{Values, View, read_gpu};

/// What `build.rs` compiled.
const MODULES: [&[u8]; 5] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/adapters.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/elementwise.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/cross_entropy.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/attention.fatbin")),
    include_bytes!(concat!(env!("OUT_DIR"), "/attention_mma.fatbin")),
];

/// Threads of a block where the kernel does not say otherwise.
const THREADS: u32 = 256;
/// Most blocks of a kernel that walks over its values in strides.
const BLOCKS: u32 = 132 * 16;
/// Lists of numbers that are kept on the device because the next layer asks for the same ones.
const UPLOADS: usize = 16;

/// Those of this process.
static ALL: Mutex<Vec<(DeviceId, &'static Gpu)>> = Mutex::new(Vec::new());

/// A device with its kernels; one per device of the process.
pub(crate) struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    modules: Vec<Arc<CudaModule>>,
    functions: Mutex<HashMap<(&'static str, &'static str), CudaFunction>>,
    blas: matmul::Blas,
    uploads: Mutex<Vec<Upload>>,
    timings: Mutex<Vec<Timing>>,
}

/// A list of numbers, and where it lies on the device.
type Upload = (Vec<u32>, Arc<CudaSlice<u32>>);

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
        let modules = MODULES.iter().map(load).collect::<Result<_>>()?;
        let blas = matmul::Blas::new(&stream)?;
        let device = device.clone();
        Ok(Self {
            device,
            stream,
            modules,
            functions: Mutex::default(),
            blas,
            uploads: Mutex::default(),
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

    /// As [`Self::launch`], with blocks in three dimensions and no shared memory but the kernel's own.
    ///
    /// # Safety
    /// As [`Self::launch`].
    unsafe fn launch_3d(
        &self,
        kernel: (&'static str, &'static str),
        place: ((u32, u32, u32), u32),
        params: &mut [Param],
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.launch_with(kernel, place, 0, params) }
    }

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

    /// The numbers on the device; the same list is sent once.
    pub(crate) fn uploaded(&self, numbers: &[u32]) -> Result<Arc<CudaSlice<u32>>> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slice)) = uploads.iter().find(|(held, _)| held == numbers) {
            return Ok(Arc::clone(slice));
        }
        let slice = Arc::new(self.device.clone_htod(numbers)?);
        if uploads.len() == UPLOADS {
            uploads.remove(0);
        }
        uploads.push((numbers.to_vec(), Arc::clone(&slice)));
        Ok(slice)
    }

    fn address<T>(&self, slice: &CudaSlice<T>) -> u64 {
        slice.device_ptr(&self.stream).0
    }

    /// y = x / rms(x) * w per row of w's length.
    pub(crate) fn rms_norm(&self, x: View, w: View, eps: f32) -> Result<Values> {
        let y = self.new_values(x.len(), x.dtype())?;
        let rows = (x.len() / w.len()) as u32;
        let mut params = [y.view().into(), x.into(), w.into(), wide(w).into(), (w.len() as i32).into(), eps.into()];
        // SAFETY: a block per row; y has x's length.
        unsafe { self.launch(("rms_norm", suffix(x.dtype())), ((rows, 1), norm_threads(w.len())), 0, &mut params)? };
        Ok(y)
    }

    /// [residual +] the gradient of x for the upstream gradient dy.
    pub(crate) fn rms_norm_back(&self, x: View, w: View, eps: f32, dy: View, residual: Option<View>) -> Result<Values> {
        let dx = self.new_values(x.len(), x.dtype())?;
        let rows = (x.len() / w.len()) as u32;
        let mut params = [
            dx.view().into(),
            x.into(),
            w.into(),
            wide(w).into(),
            dy.into(),
            residual.into(),
            (w.len() as i32).into(),
            eps.into(),
        ];
        // SAFETY: a block per row; all have x's length.
        unsafe {
            self.launch(("rms_norm_back", suffix(x.dtype())), ((rows, 1), norm_threads(w.len())), 0, &mut params)?
        };
        Ok(dx)
    }

    /// Rotates x (tokens, heads, size) in place; the angles are (P, pairs) f32. `sign` is 1 forward and -1 back.
    pub(crate) fn rope(
        &self,
        x: &mut Values,
        (cos, sin, pairs): (View, View, usize),
        positions: &[u32],
        (heads, size): (usize, usize),
        sign: f32,
    ) -> Result<()> {
        let positions_on = self.uploaded(positions)?;
        let dtype = x.dtype();
        let mut params = [
            x.view().into(),
            cos.into(),
            sin.into(),
            self.address(&positions_on).into(),
            (heads as i32).into(),
            (size as i32).into(),
            (pairs as i32).into(),
            sign.into(),
        ];
        // SAFETY: a block per token; positions were checked against the table.
        unsafe { self.launch(("rope", suffix(dtype)), ((positions.len() as u32, 1), THREADS), 0, &mut params) }
    }

    /// act(gate) up.
    pub(crate) fn gated(&self, activation: Activation, gate: View, up: View) -> Result<Values> {
        let y = self.new_values(gate.len(), gate.dtype())?;
        let mut params = [y.view().into(), gate.into(), up.into(), gelu(activation).into(), gate.len().into()];
        // SAFETY: all have one length.
        unsafe { self.over(("gated", suffix(gate.dtype())), gate.len().div_ceil(8), &mut params)? };
        Ok(y)
    }

    /// (dgate, dup).
    pub(crate) fn gated_back(&self, activation: Activation, gate: View, up: View, dy: View) -> Result<[Values; 2]> {
        let n = gate.len();
        let grads = [self.new_values(n, gate.dtype())?, self.new_values(n, gate.dtype())?];
        let mut params = [
            grads[0].view().into(),
            grads[1].view().into(),
            gate.into(),
            up.into(),
            dy.into(),
            gelu(activation).into(),
            n.into(),
        ];
        // SAFETY: all have one length.
        unsafe { self.over(("gated_back", suffix(gate.dtype())), n.div_ceil(8), &mut params)? };
        Ok(grads)
    }

    /// a + b.
    pub(crate) fn add(&self, a: View, b: View) -> Result<Values> {
        let y = self.new_values(a.len(), a.dtype())?;
        // SAFETY: all have one length.
        unsafe {
            let mut params = [y.view().into(), a.into(), b.into(), a.len().into()];
            self.over(("add", suffix(a.dtype())), a.len().div_ceil(8), &mut params)?;
        }
        Ok(y)
    }

    /// Adds the bias to each row of y.
    pub(crate) fn add_bias(&self, y: &mut Values, bias: View) -> Result<()> {
        let (n, dtype) = (y.len(), y.dtype());
        let mut params = [y.view().into(), bias.into(), wide(bias).into(), (bias.len() as i32).into(), n.into()];
        // SAFETY: y holds whole rows of the bias' length.
        unsafe { self.over(("add_bias", suffix(dtype)), n, &mut params) }
    }

    /// x times the f32 number at `by`.
    pub(crate) fn scaled_by(&self, x: View, by: View) -> Result<Values> {
        let y = self.new_values(x.len(), x.dtype())?;
        // SAFETY: both have one length.
        unsafe {
            let mut params = [y.view().into(), x.into(), by.into(), x.len().into()];
            self.over(("scaled_by", suffix(x.dtype())), x.len(), &mut params)?;
        }
        Ok(y)
    }

    /// Writes values where as many of the same type are.
    pub(crate) fn copy(&self, to: View, from: View) -> Result<()> {
        assert!(to.len() == from.len() && to.dtype() == from.dtype(), "a copy between unlike places");
        let bytes = from.len() * from.dtype().size_in_bytes();
        // SAFETY: both have so many bytes.
        unsafe { cudarc::driver::result::memcpy_dtod_async(to.at(), from.at(), bytes, self.stream.cu_stream()) }
            .map_err(|e| driver("copy", e))
    }

    /// The values in another number type, f32 or bf16.
    pub(crate) fn converted(&self, x: View, dtype: DType) -> Result<Values> {
        let y = self.new_values(x.len(), dtype)?;
        let kernel = match (x.dtype(), dtype) {
            (DType::F32, DType::BF16) => "to_bf16",
            (DType::BF16, DType::F32) => "to_f32",
            _ => {
                self.copy(y.view(), x)?;
                return Ok(y);
            }
        };
        // SAFETY: both have one length.
        unsafe { self.over((kernel, ""), x.len(), &mut [y.view().into(), x.into(), x.len().into()])? };
        Ok(y)
    }

    /// `width` columns from column `from` of x, whose rows have `row` values.
    pub(crate) fn cut(&self, x: View, row: usize, from: usize, width: usize) -> Result<Values> {
        let n = x.len() / row * width;
        let y = self.new_values(n, x.dtype())?;
        let mut params = [
            y.view().into(),
            (width as i32).into(),
            x.part(from, x.len() - from).into(),
            (row as i32).into(),
            (width as i32).into(),
            n.into(),
        ];
        // SAFETY: every row has the columns.
        unsafe { self.over(("columns", suffix(x.dtype())), n, &mut params)? };
        Ok(y)
    }

    /// Writes x, of rows of `width`, into the columns of y from `to` on; y's rows have `row` values.
    pub(crate) fn paste(&self, y: &mut Values, row: usize, to: usize, x: View, width: usize) -> Result<()> {
        let len = y.len();
        let mut params = [
            y.view().part(to, len - to).into(),
            (row as i32).into(),
            x.into(),
            (width as i32).into(),
            (width as i32).into(),
            x.len().into(),
        ];
        // SAFETY: every row has the columns.
        unsafe { self.over(("columns", suffix(x.dtype())), x.len(), &mut params) }
    }

    /// table[ids[n]], rows of `width`.
    pub(crate) fn gather(&self, table: View, ids: &[u32], width: usize) -> Result<Values> {
        let y = self.new_values(ids.len() * width, table.dtype())?;
        let ids_on = self.uploaded(ids)?;
        let mut params = [y.view().into(), table.into(), self.address(&ids_on).into(), (width as i32).into()];
        // SAFETY: a block per row; the ids were checked against the table.
        unsafe { self.launch(("gather", suffix(table.dtype())), ((ids.len() as u32, 1), THREADS), 0, &mut params)? };
        Ok(y)
    }

    /// `count` rows of `width` that are zeros, but for those of x at `rows`.
    pub(crate) fn scatter(&self, x: View, rows: &[u32], count: usize, width: usize) -> Result<Values> {
        let y = self.zeros(count * width, x.dtype())?;
        let rows_on = self.uploaded(rows)?;
        let mut params = [y.view().into(), x.into(), self.address(&rows_on).into(), (width as i32).into()];
        // SAFETY: a block per row; the rows were checked against the count.
        unsafe { self.launch(("scatter", suffix(x.dtype())), ((rows.len() as u32, 1), THREADS), 0, &mut params)? };
        Ok(y)
    }

    /// Dropout of x (rows, ...): as a new value, or added to `onto`.
    pub(crate) fn dropout(&self, x: View, mask: &Mask, onto: Option<&mut Values>) -> Result<Option<Values>> {
        let row_width = x.len() / mask.rows.max(1);
        let (fresh, to, add) = match onto {
            None => {
                let fresh = self.new_values(x.len(), x.dtype())?;
                let at = fresh.view().at();
                (Some(fresh), at, 0)
            }
            Some(onto) => (None, onto.view().at(), 1),
        };
        let blocks = (row_width.div_ceil(8 * THREADS as usize) as u32).clamp(1, BLOCKS);
        let mut params = [
            to.into(),
            x.into(),
            mask.stream.key.into(),
            mask.stream.lane.into(),
            mask.stream.purpose.into(),
            mask.first_row.into(),
            mask.threshold.into(),
            mask.scale.into(),
            add.into(),
            row_width.into(),
        ];
        let grid = (blocks, mask.rows as u32);
        // SAFETY: both have x's length, which is a whole number of rows.
        unsafe { self.launch(("dropout", suffix(x.dtype())), (grid, THREADS), 0, &mut params)? };
        Ok(fresh)
    }

    /// Each row of f32 logits' negative log-likelihood; with `grads` the logits become their gradients in that number type, each row at
    /// its own place.
    pub(crate) fn cross_entropy(
        &self,
        logits: &mut Values,
        targets: &[u32],
        nll: View,
        cap: Option<f32>,
        grads: Option<DType>,
    ) -> Result<()> {
        let v = logits.len() / targets.len().max(1);
        let targets_on = self.uploaded(targets)?;
        let mut params = [
            logits.view().into(),
            self.address(&targets_on).into(),
            nll.into(),
            cap.unwrap_or(0.0).into(),
            i32::from(grads.is_some()).into(),
            (v as i32).into(),
        ];
        let kernel = ("cross_entropy", suffix(grads.unwrap_or(DType::F32)));
        // SAFETY: a block per row; targets were checked against the vocabulary.
        unsafe { self.launch(kernel, ((targets.len() as u32, 1), 1024), 0, &mut params) }
    }

    /// AdamW's step of f32 tensors (values, gradient, mean, square, what decay leaves), the gradients times `by`.
    pub(crate) fn adamw(&self, all: &[(&Tensor, &Tensor, &Tensor, &Tensor, f32)], by: f32, s: Scalars) -> Result<()> {
        let mut table: Vec<u32> = Vec::with_capacity(12 * all.len());
        let mut most = 0;
        for (values, gradient, mean, square, keep) in all {
            let n = values.elem_count();
            most = most.max(n);
            for tensor in [values, gradient, mean, square] {
                if tensor.elem_count() != n || tensor.dtype() != DType::F32 {
                    return Err(Error::Msg("AdamW on a GPU takes f32 tensors of one size".into()));
                }
                let (guard, layout) = tensor.storage_and_layout();
                table.extend(halves(View::of_storage(self, &guard, layout)?.at()));
            }
            table.extend(halves(n as u64));
            table.extend([keep.to_bits(), 0]);
        }
        let table = self.uploaded(&table)?;
        let mut params = [
            self.address(&table).into(),
            by.into(),
            s.one_minus_beta1.into(),
            s.beta2.into(),
            s.one_minus_beta2.into(),
            s.step_size.into(),
            s.root_correction.into(),
            s.eps.into(),
        ];
        let blocks = (most.div_ceil(THREADS as usize) as u32).clamp(1, 64);
        // SAFETY: the table names tensors that live until the call returns, and memory is given back in the order of the stream.
        unsafe { self.launch(("adamw", ""), ((blocks, all.len() as u32), THREADS), 0, &mut params) }
    }

    /// The sum of squares of each f32 tensor, in f64.
    pub(crate) fn square_sums(&self, all: &[&Tensor]) -> Result<Vec<f64>> {
        let mut table: Vec<u32> = Vec::with_capacity(4 * all.len());
        for tensor in all {
            let (guard, layout) = tensor.storage_and_layout();
            let view = View::of_storage(self, &guard, layout)?;
            table.extend(halves(view.at()).into_iter().chain(halves(view.len() as u64)));
        }
        let table = self.uploaded(&table)?;
        // SAFETY: a block per tensor writes its one number.
        unsafe {
            let out = self.device.alloc::<f64>(all.len())?;
            let mut params = [self.address(&out).into(), self.address(&table).into()];
            self.launch(("square_sums", ""), ((all.len() as u32, 1), 1024), 0, &mut params)?;
            self.device.clone_dtoh(&out)
        }
    }

    /// The sum of f32 values, in f64 in a fixed order, as one f32 number.
    pub(crate) fn sum(&self, values: View) -> Result<Values> {
        let out = self.new_values(1, DType::F32)?;
        // SAFETY: one block of 1,024 threads.
        unsafe {
            let mut params = [out.view().into(), values.into(), values.len().into()];
            self.launch(("sum_all", ""), ((1, 1), 1024), 0, &mut params)?;
        }
        Ok(out)
    }
}

/// A word of 64 bits as two of 32, the low one first.
fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

fn gelu(activation: Activation) -> i32 {
    match activation {
        Activation::Silu => 0,
        Activation::GeluTanh => 1,
    }
}

/// Threads for a row: whole warps, at most 512.
fn norm_threads(width: usize) -> u32 {
    (width.div_ceil(8).next_multiple_of(32)).clamp(32, 512) as u32
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
