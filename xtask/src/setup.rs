//! Installs what is missing, says what it does, and does nothing twice.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{root, step, step_with};

/// Debian packages that the build needs: a C compiler for SQLite, the tokenizer's regular expressions and zstd.
const PACKAGES: &[&str] = &["build-essential", "pkg-config"];

/// A C tool chain: through apt-get on Debian and its kin; elsewhere only checked.
pub fn build_tools() -> Result<()> {
    if works("cc", "--version") && works("make", "--version") {
        return Ok(());
    }
    if !works("apt-get", "--version") {
        bail!(
            "no C compiler was found. Install one (the packages of Debian are {}), then run this again",
            PACKAGES.join(", ")
        );
    }
    eprintln!("Missing Debian packages: {}. They are installed now.", PACKAGES.join(" "));
    let as_root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    let mut update = vec!["apt-get", "update"];
    let mut install = vec!["apt-get", "install", "-y", "--no-install-recommends"];
    install.extend(PACKAGES);
    if !as_root {
        if !works("sudo", "--version") {
            bail!("this needs root. Run: {}", install.join(" "));
        }
        update.insert(0, "sudo");
        install.insert(0, "sudo");
    }
    step(update[0], &update[1..])?;
    step(install[0], &install[1..])
}

/// The front end's packages, as package-lock.json pins them.
pub fn npm() -> Result<()> {
    let ui = root().join("ui");
    let lock = fs::read(ui.join("package-lock.json")).context("ui/package-lock.json cannot be read")?;
    let mark = ui.join("node_modules/.installed-from-lock");
    if fs::read(&mark).is_ok_and(|seen| seen == lock) {
        return Ok(());
    }
    if !works("npm", "--version") {
        bail!("npm was not found. Install Node 20 or newer, then run this again");
    }
    eprintln!("Installing the front end's packages (npm ci).");
    step_with("npm", &["ci", "--no-fund", "--no-audit"], &ui, &[])?;
    fs::write(&mark, lock).context("node_modules cannot be marked as installed")
}

fn works(program: impl AsRef<Path>, flag: &str) -> bool {
    Command::new(program.as_ref()).arg(flag).output().is_ok_and(|o| o.status.success())
}
