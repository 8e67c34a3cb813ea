//! The devices of this machine that the worker can use, as `--describe` tells the host. Choosing one is the host's business.

use tb_core::ErrorCode;
use tb_core::recipe::Dtype;
use tb_core::run_folder::{DeviceDescription, SCHEMA, WorkerDescription};

use candle_core::Device;

use crate::error::{Failure, Result};
use crate::memory;

/// The worker's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The worker's code: its version, and a hash of the sources that decide what a run's result is.
pub const CODE: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("TB_SOURCES"));

/// What `--describe` prints.
#[must_use]
pub fn describe() -> WorkerDescription {
    WorkerDescription { version: VERSION.to_owned(), schema: SCHEMA, devices: devices() }
}

#[cfg(not(feature = "cuda"))]
fn devices() -> Vec<DeviceDescription> {
    vec![cpu()]
}

/// The GPUs first: what a job takes that names no device.
#[cfg(feature = "cuda")]
fn devices() -> Vec<DeviceDescription> {
    let gpu = |gpu: tb_nn::cuda::Gpu| DeviceDescription {
        id: format!("{CUDA}{}", gpu.ordinal),
        name: gpu.name,
        memory_bytes: gpu.memory_bytes,
        free_bytes: gpu.free_bytes,
        units: gpu.units,
        dtypes: vec![Dtype::F32, Dtype::Bf16],
        features: vec![format!("sm_{}{}", gpu.capability.0, gpu.capability.1)],
    };
    tb_nn::cuda::gpus().into_iter().map(gpu).chain([cpu()]).collect()
}

/// How the id of an NVIDIA GPU begins; its number follows.
#[cfg(feature = "cuda")]
const CUDA: &str = "cuda:";

/// The name of this machine; `localhost` where it has none.
#[must_use]
pub fn host_name() -> String {
    sysinfo::System::host_name().unwrap_or_else(|_| "localhost".to_owned())
}

/// Candle's device for a device id of a run spec.
///
/// # Errors
/// An id that this build of the worker does not know.
pub fn open(id: &str) -> Result<Device> {
    if id == "cpu" {
        return Ok(Device::Cpu);
    }
    #[cfg(feature = "cuda")]
    if let Some(ordinal) = id.strip_prefix(CUDA).and_then(|number| number.parse().ok()) {
        return tb_nn::cuda::open(ordinal).map_err(|error| {
            Failure::new(ErrorCode::Unavailable, format!("The device '{id}' cannot be used: {error}."))
                .hint("`nvidia-smi` lists the GPUs and what holds their memory; the device 'cpu' always works.")
        });
    }
    Err(Failure::new(ErrorCode::Unavailable, format!("this worker has no device '{id}': it computes on the CPU."))
        .hint("Choose the device 'cpu', or a worker built for this device."))
}

/// Candle's number type for a setting on a device: `auto` is f32 on a CPU and bf16 on a GPU.
#[must_use]
pub fn dtype(dtype: Dtype, device: &Device) -> candle_core::DType {
    match dtype {
        Dtype::Auto if device.is_cuda() => candle_core::DType::BF16,
        Dtype::Auto | Dtype::F32 => candle_core::DType::F32,
        Dtype::Bf16 => candle_core::DType::BF16,
    }
}

/// The most memory that a run has held so far where it computes: on its GPU, or of this process. 0 where the system does not tell.
#[must_use]
pub fn peak_bytes(device: &Device) -> u64 {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return tb_nn::cuda::peak_bytes(device).unwrap_or(0);
    }
    let Device::Cpu = device else { return 0 };
    memory::peak_bytes()
}

/// Bytes that are free where a model is to be held; none where nobody tells.
#[must_use]
pub fn free_bytes(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return tb_nn::cuda::free_bytes(device).ok();
    }
    let Device::Cpu = device else { return None };
    memory::free_bytes()
}

/// Bytes that a run may have in all where it computes, and who says so; none where nobody tells.
#[must_use]
pub fn room_bytes(device: &Device) -> Option<(u64, &'static str)> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        // What this process holds there already is part of what it may have.
        let (free, held) = (tb_nn::cuda::free_bytes(device).ok()?, tb_nn::cuda::held_bytes(device).ok()?);
        return Some((free + held, "the free memory of the GPU"));
    }
    let Device::Cpu = device else { return None };
    memory::room_bytes()
}

fn cpu() -> DeviceDescription {
    let mut found = DeviceDescription {
        id: "cpu".to_owned(),
        name: std::env::consts::ARCH.to_owned(),
        memory_bytes: 0,
        free_bytes: 0,
        units: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        dtypes: vec![Dtype::F32, Dtype::Bf16],
        features: features().into_iter().map(str::to_owned).collect(),
    };
    // A system that does not tell leaves the figures at 0.
    if let Ok(mut system) = sysinfo::System::new() {
        system.refresh_memory();
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        (found.memory_bytes, found.free_bytes) = (system.total_memory(), system.available_memory());
        if let Some(brand) = system.cpus().first().map(|cpu| cpu.brand().trim()).filter(|brand| !brand.is_empty()) {
            brand.clone_into(&mut found.name);
        }
    }
    found
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! look {
        ($($name:tt)*) => { $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })* };
    }
    look!("avx" "avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512vl" "avx512vnni" "avx512bf16");
    found
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! look {
        ($($name:tt)*) => { $(if std::arch::is_aarch64_feature_detected!($name) { found.push($name); })* };
    }
    look!("neon" "dotprod" "bf16" "i8mm" "sve");
    found
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_has_memory_and_threads() {
        let description = describe();
        let cpu = &description.devices[0];
        assert!(cpu.units > 0 && cpu.memory_bytes >= cpu.free_bytes && cpu.free_bytes > 0 && !cpu.name.is_empty());
    }

    #[test]
    fn an_unknown_device_is_refused_by_name() {
        assert!(open("cpu").is_ok());
        let failure = open("cuda:0").unwrap_err();
        assert!(failure.0.code == ErrorCode::Unavailable && failure.0.message.contains("cuda:0"));
    }
}
