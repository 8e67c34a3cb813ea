//! The decoder against transformers and PEFT (numbers in `tests/golden/nn/`), and against broken files.

// Helpers outside #[test] functions fail the test that calls them; differences are printed for `--nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod adapter_kinds;
mod adapters;
mod answering;
mod broken_files;
mod corpora;
mod families;
mod gguf;
mod golden;
mod gradients;
mod packed;
mod parity;
mod prefixes;
mod pretrain;
mod quantised;
mod to_answer;
mod training;
