//! Builds the programs and runs them. One profile for demo, tests and daily work: Candle is compiled once.

use std::{env, path::PathBuf};

use anyhow::Result;

use crate::{cargo, root, step, step_with};

/// Builds `tonebridge` and its worker.
pub fn build() -> Result<()> {
    step(&cargo(), &["build", "--locked", "-p", "tb-cli", "-p", "tb-worker"])
}

/// Builds, then runs `tonebridge` with these arguments.
pub fn tonebridge(args: &[String]) -> Result<()> {
    build()?;
    let program = binary("tonebridge");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    step_with(&program.to_string_lossy(), &args, &env::current_dir()?, &[])
}

/// Makes the sample's data, tokenizer and base model again from the seed, into the assets or another folder.
pub fn make_base(args: &[String]) -> Result<()> {
    let default = root().join("crates/tb-data/assets/sample").to_string_lossy().into_owned();
    let out = args.first().cloned().unwrap_or(default);
    tonebridge(&["pretrain".to_owned(), "--out".to_owned(), out])
}

/// A program of this workspace in the development profile.
pub fn binary(name: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("debug").join(format!("{name}{}", env::consts::EXE_SUFFIX))
}
