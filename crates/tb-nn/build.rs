//! With the feature `cuda`: compiles the kernels of `src/ops/gpu/` for every architecture that we serve, to be embedded in the library.

use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: [&str; 6] = ["adapters", "elementwise", "few_rows", "cross_entropy", "attention", "attention_mma"];

/// Machine code for Ampere (8.0, which 8.6 and 8.9 run too) and Hopper, and instructions that the driver translates for later ones.
const ARCHITECTURES: [&str; 3] =
    ["arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90", "arch=compute_90,code=compute_90"];

/// Kernels with instructions that Hopper alone has, and what they are compiled for.
const HOPPER_KERNELS: [&str; 1] = ["attention_wgmma"];
const HOPPER: [&str; 1] = ["arch=compute_90a,code=sm_90a"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/ops/gpu");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let nvcc =
        std::env::var_os("CUDA_HOME").map_or_else(|| PathBuf::from("nvcc"), |home| Path::new(&home).join("bin/nvcc"));
    for kernel in KERNELS {
        compile(&nvcc, kernel, &ARCHITECTURES, &out);
    }
    for kernel in HOPPER_KERNELS {
        compile(&nvcc, kernel, &HOPPER, &out);
    }
}

fn compile(nvcc: &Path, kernel: &str, architectures: &[&str], out: &Path) {
    let mut command = Command::new(nvcc);
    command.args(["-std=c++17", "-O3", "--fatbin"]);
    for architecture in architectures {
        command.args(["-gencode", architecture]);
    }
    command.arg("-o").arg(out.join(format!("{kernel}.fatbin"))).arg(format!("src/ops/gpu/{kernel}.cu"));
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} failed on {kernel}.cu: {status}", nvcc.display()),
        Err(error) => panic!("{} cannot be run: {error}. Set CUDA_HOME to a CUDA toolkit", nvcc.display()),
    }
}
