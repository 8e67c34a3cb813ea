//! The built-in sample: a tone-rewriting data set in English and Japanese, the text its base model is pretrained on,
//! its tokenizer, and the committed copies of all of them. Everything here is a function of a seed.

mod base;
mod bundled;
mod compose;
mod corpus;
mod english;
pub mod frame;
mod japanese;
mod pack;
mod rows;
mod tokenizer;
mod types;

pub use base::base_config;
pub use bundled::{BundledFile, BundledPaths, bundled, to_jsonl, write_bundled};
pub use corpus::{PretrainDoc, Run, Segment, corpus};
pub use pack::{PackedRow, packed_rows};
pub use rows::{HELDOUT_PER_GROUP, TRAIN_PER_GROUP, rows};
pub use tokenizer::{
    CONTEXT, TokenizerError, VOCABULARY, tokenizer, tokenizer_config, tokenizer_files, train_tokenizer,
};
pub use types::{Direction, Language, Register, SampleRow, SampleSet};

/// The seed of the committed sample, tokenizer and base model.
pub const SEED: u64 = 20_260_801;
