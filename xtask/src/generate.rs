//! The generated part of ui/: TypeScript of every type and command, and the series colours.

use std::{collections::BTreeMap, env, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{cargo, root, step};

/// What to do with the generated files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write them.
    Write,
    /// Fail if they differ from what is committed.
    Compare,
}

/// Folders and files under ui/src that are generated, whole.
const GENERATED: &[&str] = &["lib/api/generated", "styles/series.css"];

/// Writes or compares the generated files.
pub fn generate(mode: Mode) -> Result<()> {
    let committed = root().join("ui/src");
    let fresh = env::temp_dir().join(format!("tonebridge-gen-{}", std::process::id()));
    let out = fresh.to_string_lossy().into_owned();
    step(&cargo(), &["run", "--quiet", "--locked", "-p", "tb-api", "--example", "generate", "--", &out])?;
    let result = match mode {
        Mode::Write => write(&fresh, &committed),
        Mode::Compare => compare(&fresh, &committed),
    };
    fs::remove_dir_all(&fresh).ok();
    result
}

fn write(fresh: &Path, committed: &Path) -> Result<()> {
    for path in GENERATED {
        let target = committed.join(path);
        if target.is_dir() {
            fs::remove_dir_all(&target).with_context(|| format!("{} cannot be replaced", target.display()))?;
        }
        for (name, bytes) in files(&fresh.join(path))? {
            let file = if name.is_empty() { target.clone() } else { target.join(name) };
            fs::create_dir_all(file.parent().unwrap_or(&target))?;
            fs::write(&file, bytes).with_context(|| format!("{} cannot be written", file.display()))?;
        }
    }
    Ok(())
}

fn compare(fresh: &Path, committed: &Path) -> Result<()> {
    for path in GENERATED {
        let (new, old) = (files(&fresh.join(path))?, files(&committed.join(path))?);
        let changed: Vec<&String> =
            new.keys().chain(old.keys()).filter(|name| new.get(*name) != old.get(*name)).collect();
        ensure!(changed.is_empty(), "ui/src/{path} is out of date ({changed:?}). Run `cargo xtask gen` and commit");
    }
    Ok(())
}

/// Every file under `path` by relative name; `path` itself, if a file, under the empty name.
fn files(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    if path.is_file() {
        found.insert(String::new(), fs::read(path)?);
    } else if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            for (below, bytes) in files(&entry.path())? {
                found.insert(if below.is_empty() { name.clone() } else { format!("{name}/{below}") }, bytes);
            }
        }
    }
    Ok(found)
}
