//! Optimisation: gradients summed over micro-batches, clipping, AdamW, learning-rate schedules. No loop.

pub mod adamw;
pub mod clip;
pub mod gradients;
pub mod schedule;

#[cfg(feature = "cuda")]
pub(crate) use adamw::Scalars;
pub use gradients::Gradients;
