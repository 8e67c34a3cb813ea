//! What needs an NVIDIA GPU: built here, with or without one, and checked by `tests/gpu/check.sh` where one is. CUDA's compiler is found by
//! `CUDA_HOME`, else on the path.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{bundle::megabytes, cargo, root, run, step};

/// What the worker may weigh, so that it can be carried to where a GPU is.
const WORKER_MB: f64 = 64.0;

/// What a check is made with: its name in the folder, and how cargo builds it.
const PARTS: [(&str, &[&str]); 5] = [
    ("kernel-tests", &["test", "--no-run", "-p", "tb-nn", "--features", "cuda", "--lib"]),
    ("parity-tests", &["test", "--no-run", "-p", "tb-nn", "--features", "cuda", "--test", "it"]),
    ("bench_lora", &["build", "-p", "tb-nn", "--features", "cuda", "--example", "bench_lora"]),
    ("bench_decode", &["build", "-p", "tb-nn", "--features", "cuda", "--example", "bench_decode"]),
    ("tonebridge-worker-cuda", &["build", "-p", "tb-worker", "--features", "cuda", "--bin", "tonebridge-worker"]),
];

/// `gpu-check [PYTHON]`: builds the parts, and checks them if there is a GPU here. A Python with torch, transformers and peft is the peer.
pub fn check(args: &[String]) -> Result<()> {
    let python = match args {
        [] => None,
        [python] => Some(python.as_str()),
        _ => bail!("usage: cargo xtask gpu-check [PYTHON]"),
    };
    let folder = run::target().join("gpu-check");
    fs::create_dir_all(&folder)?;
    for (name, arguments) in PARTS {
        let built = build(arguments)?;
        let to = folder.join(name);
        fs::copy(&built, &to).with_context(|| format!("{} cannot be copied", built.display()))?;
        println!("{} ({:.1} MB)", to.display(), megabytes(&to)?);
    }
    let worker = megabytes(&folder.join("tonebridge-worker-cuda"))?;
    ensure!(worker < WORKER_MB, "the worker has {worker:.1} MB, its bound is {WORKER_MB}");
    let script = root().join("tests/gpu/check.sh").to_string_lossy().into_owned();
    let folder = folder.to_string_lossy().into_owned();
    if !has_gpu() {
        println!("There is no NVIDIA GPU here: all was built, nothing was measured.");
        println!(
            "Carry {folder} and the folder `tests` to a machine with one, and run there: tests/gpu/check.sh FOLDER [PYTHON]"
        );
        return Ok(());
    }
    step("bash", &[&[&*script, &*folder][..], python.as_slice()].concat())
}

/// The oldest architecture of Candle's own kernels, unless the caller names one; ours name theirs in tb-nn's build script.
const OLDEST: (&str, &str) = ("CUDA_COMPUTE_CAP", "80");

/// Builds one part for release; where its program is.
fn build(arguments: &[&str]) -> Result<PathBuf> {
    let (command, rest) = arguments.split_first().context("a part has a command")?;
    let arguments =
        [&[*command, "--locked", "--release", "--message-format=json-render-diagnostics"][..], rest].concat();
    eprintln!("$ cargo {}", arguments.join(" "));
    let output = Command::new(cargo())
        .args(arguments)
        .env(OLDEST.0, env::var(OLDEST.0).unwrap_or_else(|_| OLDEST.1.to_owned()))
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    ensure!(output.status.success(), "cargo ended with {}", output.status);
    let messages = output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    // What cargo links last is the program.
    let program = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    program.filter(|p| Path::new(p).exists()).context("cargo names no program")
}

fn has_gpu() -> bool {
    let listed = Command::new("nvidia-smi").arg("-L").stderr(Stdio::null()).output();
    listed.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"GPU"))
}
