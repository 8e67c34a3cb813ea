//! The built-in sample: a tone-rewriting data set in English and Japanese, the text its base model is pretrained on,
//! its tokenizer, and the committed copies of all of them. Everything here is a function of a seed.

mod compose;
mod english;
pub mod frame;
mod japanese;
mod rows;
mod types;

pub use rows::{HELDOUT_PER_GROUP, TRAIN_PER_GROUP, rows};
pub use types::{Direction, Language, Register, SampleRow, SampleSet};
