//! Builds the front end into ui/build, which window and server carry in them; only if it is older than its sources.

use std::{fs, path::Path, time::SystemTime};

use anyhow::{Context, Result};

use crate::{root, setup, step_with};

/// What the front end is made of.
const SOURCES: &[&str] =
    &["src", "static", "build-tools", "package-lock.json", "svelte.config.js", "vite.config.ts", "tsconfig.json"];

/// Builds what is out of date.
pub fn build() -> Result<()> {
    setup::npm()?;
    let ui = root().join("ui");
    let built = modified(&ui.join("build/index.html"));
    let mut newest = None;
    for source in SOURCES {
        newest = newest.max(newest_in(&ui.join(source))?);
    }
    if built.is_some() && built >= newest {
        return Ok(());
    }
    step_with("npm", &["run", "--silent", "build"], &ui, &[])
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// The time of the newest file in a folder, or of a file; none if it is not there.
fn newest_in(path: &Path) -> Result<Option<SystemTime>> {
    let mut newest = modified(path);
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))? {
            newest = newest.max(newest_in(&entry?.path())?);
        }
    }
    Ok(newest)
}
