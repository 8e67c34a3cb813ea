//! Long tests: the suite's own, with larger numbers, and those that run the real programs on other people's data or kill them.

mod feedback;
mod http;
mod import;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{cargo, engine, root, run, step_with};

/// `soak kills N`: N kills at random moments across several fine-tuning runs (the suite does twenty). `soak feedback [ROWS
/// [SEED]]`: kills of the server while feedback comes in. `soak import FILE...`: public preference sets go through whole.
pub fn soak(args: &[String]) -> Result<()> {
    const USAGE: &str = "usage: cargo xtask soak kills N | feedback [ROWS [SEED]] | import FILE...";
    match args {
        [what, number] if what == "kills" && number.parse::<u32>().is_ok() => {
            engine("test", &["--test", "kill", "random_kills", "--", "--nocapture"], &[("TONEBRIDGE_KILLS", number)])
        }
        [what, rest @ ..] if what == "feedback" => feedback::soak(rest),
        [what, files @ ..] if what == "import" && !files.is_empty() => import::soak(files),
        _ => bail!(USAGE),
    }
}

/// Runs `test` with the program and a new home folder, which stays if the test fails.
fn in_new_home(name: &str, test: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<()> {
    let program = program()?;
    let home = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    fs::create_dir(&home).with_context(|| format!("{} cannot be made", home.display()))?;
    let result = test(&program, &home);
    if result.is_ok() {
        fs::remove_dir_all(&home)?;
    } else {
        eprintln!("The home folder is kept: {}", home.display());
    }
    result
}

/// The program: the one named in `TONEBRIDGE_PROGRAM`, else that of this workspace, built.
fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TONEBRIDGE_PROGRAM") {
        return Ok(named.into());
    }
    // Without a package named, so that what tests and daily work have built is used.
    step_with(&cargo(), &["build", "--locked", "--bin", "tonebridge"], &root(), &[])?;
    Ok(run::binary("tonebridge"))
}

/// Runs a command of the program and gives what it prints. `doctor` may miss a worker, which nothing here needs.
fn tonebridge(program: &Path, home: &Path, words: &[&str]) -> Result<Value> {
    let output = Command::new(program).arg("--home").arg(home).arg("--json").args(words).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    serde_json::from_str(first).with_context(|| {
        format!("`tonebridge {}` printed no JSON: {}", words.join(" "), String::from_utf8_lossy(&output.stderr))
    })
}
