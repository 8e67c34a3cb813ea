//! Builds the programs and runs them. One profile for demo, tests and daily work: Candle is compiled once.

use std::{env, path::PathBuf};

use anyhow::Result;

use crate::{cargo, root, setup, step, step_with, ui};

/// Builds `tonebridge` and its worker.
pub fn build() -> Result<()> {
    step(&cargo(), &["build", "--locked", "-p", "tb-cli", "-p", "tb-worker"])
}

/// Builds the window too, with the front end in it. All in one call, as the tests are built: a call for each program would
/// compile what they share in several variants.
pub fn build_all() -> Result<()> {
    setup::window()?;
    ui::build()?;
    step(&cargo(), &["build", "--locked", "-p", "tb-cli", "-p", "tb-worker", "-p", "tonebridge-workbench"])
}

/// Opens the window; with no display for one, serves the same to a browser and prints the address.
pub fn open() -> Result<()> {
    if !has_display() {
        eprintln!("There is no display, so the interface is served for a browser.");
        ui::build()?;
        return tonebridge(&["serve".to_owned()]);
    }
    build_all()?;
    step_with(&binary("tonebridge-workbench").to_string_lossy(), &[], &env::current_dir()?, &[])
}

/// Whether the system can show a window.
pub fn has_display() -> bool {
    let named = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || named("DISPLAY") || named("WAYLAND_DISPLAY")
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
    target().join("debug").join(format!("{name}{}", env::consts::EXE_SUFFIX))
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
