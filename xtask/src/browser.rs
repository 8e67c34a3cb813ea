//! What runs in a real browser against the real server: the trips and rules of `ui/e2e`, and the pictures of every page.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{root, run, setup, step_with, ui};

/// The main trip and what every page must hold to; the trip of feedback; texts that attack.
const TESTS: [&str; 3] = ["e2e/workbench.e2e.ts", "e2e/feedback.e2e.ts", "e2e/hostile.e2e.ts"];

/// The pictures.
const SCREENSHOTS: &str = "e2e/screenshots.e2e.ts";

/// Pictures that stand in the README, as they are named there: all in English.
const IN_README: [&str; 5] = ["run.light.en", "run.dark.en", "model.light.en", "new-run.light.en", "home.dark.en"];

/// Builds everything and tries it in a browser.
pub fn test() -> Result<()> {
    run::build_all()?;
    try_in_browser()
}

/// [`test`], of what is built already.
pub fn try_in_browser() -> Result<()> {
    vitest(&TESTS, &[])
}

/// `screenshots [FOLDER]`: pictures of every page in both themes and languages, of a home folder in which the sample has run.
/// Without a folder they are made under the target folder, and those of the README are put into .github/screens.
pub fn screenshots(args: &[String]) -> Result<()> {
    run::build_all()?;
    let (folder, is_ours) = match args {
        [] => (run::target().join("screenshots"), true),
        [folder] => (PathBuf::from(folder), false),
        _ => bail!("usage: cargo xtask screenshots [FOLDER]"),
    };
    let folder = std::path::absolute(folder)?;
    // Some pictures show its path: it is the same on every machine.
    let home = std::env::temp_dir().join("tonebridge-screens");
    if !home.join("demo-is-done").is_file() {
        let at_home = [("TONEBRIDGE_HOME", &*home.to_string_lossy())];
        step_with(&run::binary("tonebridge").to_string_lossy(), &["demo"], &root(), &at_home)?;
        std::fs::write(home.join("demo-is-done"), "")?;
    }
    vitest(
        &[SCREENSHOTS],
        &[("TONEBRIDGE_HOME", &home.to_string_lossy()), ("TONEBRIDGE_SCREENSHOTS", &folder.to_string_lossy())],
    )?;
    if is_ours {
        let screens = root().join(".github/screens");
        std::fs::create_dir_all(&screens)?;
        for name in IN_README {
            copy(&folder.join(format!("{name}.png")), &screens.join(format!("{name}.png")))?;
        }
    }
    eprintln!("The pictures are in {}.", folder.display());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("{} cannot be copied", from.display()))?;
    Ok(())
}

/// Runs files of ui/e2e.
fn vitest(files: &[&str], envs: &[(&str, &str)]) -> Result<()> {
    setup::browser()?;
    ui::build()?;
    let program = run::binary("tonebridge").to_string_lossy().into_owned();
    let envs = [&[("TONEBRIDGE", program.as_str())], envs].concat();
    let args = [&["node_modules/vitest/vitest.mjs", "run", "--config", "vitest.e2e.config.ts"], files].concat();
    step_with("node", &args, &root().join("ui"), &envs)
}
