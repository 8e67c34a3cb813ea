//! Rows from files to tokens: import, validation, splits, chat templates, tokenizers, the hub and the built-in sample.
//! No database and no tensors.

pub mod sample;
