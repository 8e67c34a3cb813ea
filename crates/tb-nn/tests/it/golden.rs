//! The golden files and small comparisons that the tests share.

use candle_core::{DType, Device, Tensor, Var};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tb_nn::checkpoint::{read_json, read_tensors};
use tb_nn::{Batch, Decoder, Row};

pub const MODELS: [&str; 3] = ["llama_tied", "llama_scaled", "qwen2"];

/// One small model of each family, in `tests/golden/nn/families/`.
pub const FAMILIES: [&str; 14] = [
    "llama",
    "llama_3",
    "llama_yarn",
    "llama_dynamic",
    "llama_longrope",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3_window",
    "smollm3",
    "olmo2",
];

/// The repository where it was built, or where it lies now (`TONEBRIDGE_ROOT`): a GPU machine is given the tests already built.
pub fn folder(name: &str) -> PathBuf {
    let root = std::env::var_os("TONEBRIDGE_ROOT").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."));
    root.join("tests/golden/nn").join(name)
}

/// Where the decoders of these tests compute: the CPU, or the first GPU where `TONEBRIDGE_TEST_DEVICE` is `cuda`.
pub fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| match std::env::var("TONEBRIDGE_TEST_DEVICE").as_deref() {
        #[cfg(feature = "cuda")]
        Ok("cuda") => tb_nn::cuda::open(0).unwrap(),
        Ok(other) => panic!("these tests were not built for the device {other}"),
        Err(_) => Device::Cpu,
    })
}

pub fn decoder(name: &str) -> Decoder {
    Decoder::load(&folder(name), DType::F32, device()).unwrap()
}

pub fn tensors(name: &str) -> HashMap<String, Tensor> {
    read_tensors(&folder(name).join("golden.safetensors"), &Device::Cpu).unwrap()
}

pub fn json(name: &str, file: &str) -> Value {
    read_json(&folder(name).join(file)).unwrap()
}

pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

/// The batch that `golden.safetensors` holds; without stored labels nothing is supervised.
pub fn batch(golden: &HashMap<String, Tensor>) -> Batch {
    let (rows, width) = golden["ids"].dims2().unwrap();
    let whole = |name: &str| golden[name].flatten_all().unwrap().to_vec1::<i64>().unwrap();
    let ids: Vec<u32> = whole("ids").into_iter().map(|v| v as u32).collect();
    let labels = match golden.get("labels") {
        Some(_) => whole("labels").into_iter().map(|v| v as i32).collect(),
        None => vec![-100; ids.len()],
    };
    let lengths: Vec<usize> = whole("lengths").into_iter().map(|v| v as usize).collect();
    let samples = lengths.iter().map(|n| vec![*n]).collect();
    Batch { ids, labels, lengths, samples, rows, width }
}

pub fn floats(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest absolute difference over the real positions of (B, T, V) logits.
pub fn logit_difference(ours: &Tensor, theirs: &Tensor, lengths: &[usize]) -> f32 {
    assert_eq!(ours.dims(), theirs.dims());
    let (_, t, v) = ours.dims3().unwrap();
    let (a, b) = (floats(ours), floats(theirs));
    let real = |i: usize| i / v % t < lengths[i / v / t];
    (0..a.len()).filter(|i| real(*i)).map(|i| (a[i] - b[i]).abs()).fold(0.0, nan_max)
}

pub fn max_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    floats(a).iter().zip(floats(b)).map(|(x, y)| (x - y).abs()).fold(0.0, nan_max)
}

/// As `max`, but a NaN stays.
pub fn nan_max(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

/// The slope of a loss along a gradient's own direction, by central differences, and the gradient's length: they are to be equal.
pub fn slope_and_length(var: &Var, grad: &Tensor, loss: impl Fn() -> f64) -> (f64, f64) {
    let size = floats(grad).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let start = var.as_tensor().copy().unwrap();
    // A steep loss bends within a long step.
    let step = 0.04_f64.min(0.5 / size);
    let at = |times: f64| {
        var.set(&(&start + (grad * (times * step / size)).unwrap()).unwrap()).unwrap();
        loss()
    };
    let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * step);
    var.set(&start).unwrap();
    (slope, size)
}

pub fn rows(value: &Value) -> Vec<Row> {
    let one = |v: &Value| Row {
        ids: ids(&v["ids"]),
        labels: v["labels"].as_array().unwrap().iter().map(|l| l.as_i64().unwrap() as i32).collect(),
    };
    value.as_array().unwrap().iter().map(one).collect()
}

/// A folder of its own that goes when the value does. Not the `tempfile` crate: as a development dependency it switches
/// on features that make Candle build a second time.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tb-nn-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
