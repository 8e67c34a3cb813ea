//! NVIDIA GPUs as devices: which there are, how a process opens one, and what memory it has taken there. The operations are in `ops::gpu`.

use candle_core::Device;
use cudarc::driver::{CudaContext, result, sys};

use crate::{Error, Result};

/// The oldest compute capability that the kernels are compiled for.
pub const OLDEST: (i32, i32) = (8, 0);

/// A GPU of this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Its number among those that are visible.
    pub ordinal: usize,
    /// What its maker calls it.
    pub name: String,
    /// Compute capability: major, minor.
    pub capability: (i32, i32),
    /// Streaming multiprocessors.
    pub units: u32,
    /// Memory in all.
    pub memory_bytes: u64,
    /// Of it, what nobody holds.
    pub free_bytes: u64,
}

fn failed(what: &str, e: impl std::fmt::Debug) -> Error {
    Error::Candle(candle_core::Error::Msg(format!("{what}: {e:?}")))
}

/// The GPUs that this process may use and the kernels run on; none where there is no driver.
#[must_use]
pub fn gpus() -> Vec<Gpu> {
    let count = CudaContext::device_count().unwrap_or(0);
    let look = |ordinal: usize| -> std::result::Result<Gpu, cudarc::driver::DriverError> {
        let context = CudaContext::new(ordinal)?;
        let (free, total) = context.mem_get_info()?;
        let units = context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(Gpu {
            ordinal,
            name: context.name()?,
            capability: context.compute_capability()?,
            units: units as u32,
            memory_bytes: total as u64,
            free_bytes: free as u64,
        })
    };
    (0..count as usize).filter_map(|ordinal| look(ordinal).ok()).filter(|gpu| gpu.capability >= OLDEST).collect()
}

/// Opens a GPU for this process: all work goes to one stream of its own.
///
/// # Errors
/// There is no such GPU, or it is older than [`OLDEST`].
pub fn open(ordinal: usize) -> Result<Device> {
    let context = CudaContext::new(ordinal).map_err(|e| failed(&format!("GPU {ordinal} cannot be opened"), e))?;
    let capability = context.compute_capability().map_err(|e| failed("the GPU's capability", e))?;
    if capability < OLDEST {
        let (major, minor) = capability;
        return Err(Error::value(
            "cuda",
            format!(
                "GPU {ordinal} has compute capability {major}.{minor}: at least {}.{} is needed",
                OLDEST.0, OLDEST.1
            ),
        ));
    }
    let device = Device::new_cuda_with_stream(ordinal)?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: every call of this process goes to this one stream, in order.
        unsafe { cuda.disable_event_tracking() };
    }
    Ok(device)
}

/// The most memory that values have taken on a GPU since it was opened, in bytes; 0 on any other device.
///
/// # Errors
/// The driver's.
pub fn peak_bytes(device: &Device) -> Result<u64> {
    pool(device, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

/// Memory of a GPU that this process keeps for values, in use or not; 0 on any other device.
///
/// # Errors
/// The driver's.
pub fn held_bytes(device: &Device) -> Result<u64> {
    pool(device, sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)
}

/// Memory of a GPU that nobody holds; 0 on any other device.
///
/// # Errors
/// The driver's.
pub fn free_bytes(device: &Device) -> Result<u64> {
    let Device::Cuda(cuda) = device else { return Ok(0) };
    let (free, _) = cuda.cuda_stream().context().mem_get_info().map_err(|e| failed("the GPU's memory", e))?;
    Ok(free as u64)
}

fn pool(device: &Device, attribute: sys::CUmemPool_attribute) -> Result<u64> {
    let Device::Cuda(cuda) = device else { return Ok(0) };
    let mut bytes = 0u64;
    // SAFETY: the pool is the device's own, and the attribute is a number of 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(cuda.cuda_stream().context().cu_device())
            .map_err(|e| failed("memory pool", e))?;
        result::mem_pool::get_attribute(pool, attribute, std::ptr::from_mut(&mut bytes).cast())
            .map_err(|e| failed("memory pool", e))?;
    }
    Ok(bytes)
}
