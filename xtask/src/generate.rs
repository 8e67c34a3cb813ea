//! The generated part of ui/: TypeScript of every type and command, and the series colours. A test of tb-api makes them.

use anyhow::Result;

use crate::{cargo, root, step_with};

/// What to do with the generated files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write them.
    Write,
    /// Fail if they differ from what is committed.
    Compare,
}

/// Writes or compares the generated files.
pub fn generate(mode: Mode) -> Result<()> {
    let mode = match mode {
        Mode::Write => "write",
        Mode::Compare => "compare",
    };
    // The whole workspace is named so that dependencies keep the features with which `test` has built them.
    let args = ["test", "--quiet", "--locked", "--workspace", "--test", "generated"];
    step_with(&cargo(), &args, &root(), &[("TONEBRIDGE_GENERATE", mode)])
}
