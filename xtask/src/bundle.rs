//! The installable package: the window with the front end in it, the command line and the worker beside it. Needs no network
//! once cargo's and npm's packages are there.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, root, run, setup, step, step_with, ui};

/// Programs that come with the window, as src-tauri/tauri.bundle.json names them.
const BESIDE: [&str; 2] = ["tonebridge", "tonebridge-worker"];

/// Builds the `.deb` and prints where it is.
pub fn bundle(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask bundle");
    }
    setup::bundle()?;
    ui::build()?;
    build_release()?;
    let triple = host_triple()?;
    let sidecars = root().join("src-tauri/binaries");
    fs::create_dir_all(&sidecars)?;
    for program in BESIDE {
        let from = run::target().join("release").join(program);
        let to = sidecars.join(format!("{program}-{triple}"));
        fs::copy(&from, &to).with_context(|| format!("{} cannot be copied", from.display()))?;
    }
    let tauri = root().join("ui/node_modules/@tauri-apps/cli/tauri.js");
    let args = ["bundle", "--ci", "--bundles", "deb", "--config", "src-tauri/tauri.bundle.json"];
    step("node", &[&[&*tauri.to_string_lossy()][..], &args].concat())?;
    let folder = run::target().join("release/bundle/deb");
    for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            println!("{} ({:.1} MB)", path.display(), megabytes(&path)?);
        }
    }
    Ok(())
}

/// Builds every program that ships, in one call so that they share their parts.
pub fn build_release() -> Result<()> {
    let programs = ["-p", "tb-cli", "-p", "tb-worker", "-p", "tonebridge-workbench"];
    step_with(&cargo(), &[&["build", "--locked", "--release"][..], &programs].concat(), &root(), &[])
}

/// The size of a file in millions of bytes.
pub fn megabytes(path: &Path) -> Result<f64> {
    Ok(fs::metadata(path)?.len() as f64 / 1e6)
}

/// The name of this platform, as sidecars carry it.
fn host_triple() -> Result<String> {
    let output = Command::new("rustc").args(["--print", "host-tuple"]).output().context("rustc cannot be started")?;
    ensure!(output.status.success(), "rustc does not name this platform");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
