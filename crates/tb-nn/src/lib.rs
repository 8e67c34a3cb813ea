//! Tensors in, tensors out: the decoder, LoRA, the differentiable operations, optimisers and generation.
//!
//! No files of ours (run folders, data sets) and no clock: those belong to tb-worker and tb-data. Randomness comes
//! from `tb_core::random`, so every result is a function of its arguments.

pub mod error;
pub mod ops;
pub mod optim;
pub mod random;

pub use error::{Error, Result};
