//! Data in, frozen rows out; tokenizers and chat templates; run folders on disk; the hub. No clock, no database, no tensors.

pub mod chat_template;
pub mod dedup;
pub mod error;
pub mod feedback_file;
pub mod files;
pub mod frozen;
pub mod gguf;
mod guard;
#[cfg(feature = "hub")]
pub mod hub;
pub mod import;
#[cfg(test)]
mod memory_meter;
pub mod model_folder;
pub mod sample;
pub mod split;
pub mod tokenize;

pub use error::{Error, Result};
