//! Every domain type, state machine, event and error code of ToneBridge. No I/O, no clock, no async.

pub mod adapter;
pub mod audit;
pub mod dataset;
pub mod decoder_config;
pub mod deploy;
pub mod error;
pub mod eval;
pub mod event;
pub mod experiment;
pub mod export;
pub mod feedback;
pub mod footprint;
pub mod gguf;
pub mod ids;
pub mod job;
pub mod labelling;
pub mod lora;
pub mod model;
pub mod packing;
pub mod preference;
pub mod quantization;
pub mod random;
pub mod recipe;
pub mod run_folder;
pub mod serving;
pub mod settings;
pub mod tag;
mod text_enum;
pub mod user;

pub use error::{ApiError, ErrorCode, Refusal};
pub use text_enum::UnknownWord;
