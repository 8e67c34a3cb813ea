//! What must be green before a commit, and every test.

use anyhow::Result;

use crate::{browser, cargo, floors, root, run, setup, step, step_with};

/// Every test: Rust's, among them those that drive the window, then the front end's. The trips in a browser are `e2e`'s.
pub fn test() -> Result<()> {
    let driver = setup::window_tests()?.unwrap_or_default();
    run::build_all()?;
    let worker = run::binary("tonebridge-worker");
    let program = run::binary("tonebridge");
    step_with(
        &cargo(),
        &["test", "--locked", "--workspace"],
        &root(),
        &[
            ("TONEBRIDGE_WORKER", &worker.to_string_lossy()),
            ("TONEBRIDGE", &program.to_string_lossy()),
            ("TAURI_DRIVER", &driver.to_string_lossy()),
        ],
    )?;
    floors::floors()?;
    step_with("npm", &["run", "--silent", "check"], &root().join("ui"), &[])
}

/// Format, lints, [`test`], and the trips in a browser.
pub fn check() -> Result<()> {
    step(&cargo(), &["fmt", "--all", "--check"])?;
    setup::window()?;
    step(&cargo(), &["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    test()?;
    browser::try_in_browser()
}
