//! Tensors in, tensors out: the decoder, LoRA, the differentiable operations, optimisers and generation.
//!
//! No files of ours (run folders, data sets) and no clock: those belong to tb-worker and tb-data. Randomness comes
//! from `tb_core::random`, so every result is a function of its arguments.

pub mod checkpoint;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod decoder;
pub mod error;
pub mod generate;
mod gguf;
pub mod lora;
pub mod ops;
pub mod optim;
pub mod pressure;
pub mod profile;
pub mod quant;
pub mod random;
pub mod threads;
mod weights;

pub use checkpoint::DEFAULT_SHARD_BYTES;
pub use decoder::{
    AdapterSwitch, AdapterUse, Batch, Checkpointing, Decoder, DecoderConfig, ParameterCounts, Pass, Row,
};
pub use error::{Error, Result};
pub use generate::{Finish, Flow, Generated, GenerationConfig, generate};
pub use gguf::GgufFormat;
pub use lora::{
    LoraConfig, LoraForm, LoraInit, ModuleNames, ScalingRule, TargetModules, TrainedBias, read_adapter_config,
};
