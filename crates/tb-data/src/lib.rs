//! Data in, frozen rows out; tokenizers and chat templates; run folders on disk; the hub. No clock, no database, no tensors.

pub mod error;
pub mod files;
pub mod sample;

pub use error::{Error, Result};
