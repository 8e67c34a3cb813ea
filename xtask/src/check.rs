//! What must be green before a commit, and every test.

use anyhow::Result;

use crate::{cargo, floors, root, run, step, step_with};

/// Every test: Rust's, then the front end's types.
pub fn test() -> Result<()> {
    run::build()?;
    let worker = run::binary("tonebridge-worker");
    let program = run::binary("tonebridge");
    step_with(
        &cargo(),
        &["test", "--locked", "--workspace"],
        &root(),
        &[("TONEBRIDGE_WORKER", &worker.to_string_lossy()), ("TONEBRIDGE", &program.to_string_lossy())],
    )?;
    floors::floors()?;
    step_with("npm", &["run", "--silent", "check"], &root().join("ui"), &[])
}

/// Format, lints, and [`test`].
pub fn check() -> Result<()> {
    step(&cargo(), &["fmt", "--all", "--check"])?;
    step(&cargo(), &["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    test()
}
