//! The differentiable operations, one per file, each with its backward.
//!
//! An operation is a Candle custom op whose CPU path works on slices (rayon over rows, the `gemm` crate for products). With the
//! feature `cuda` it has a path on NVIDIA GPUs too, written with what is in `gpu`; the few that have none go through the host's memory. Sums are f32 in a fixed order that depends on shapes only, never on the
//! number of threads, so results are the same bits on any number of cores. A frozen weight lives inside the op, not in
//! Candle's graph, so no gradient of it is ever formed.

pub mod attention;
pub mod attention_block;
pub mod constant;
pub mod cross_entropy;
pub mod decode_attention;
pub mod decode_block;
pub mod embedding;
pub mod gated;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub mod inputs;
pub mod linear;
pub mod mlp_block;
pub mod projection;
pub mod rms_norm;
pub mod rope;
pub mod rows;

#[cfg(test)]
pub(crate) mod gradient_check;
pub(crate) mod lanes;
pub(crate) mod matmul;
pub(crate) mod slices;

/// Whether an operation forms the gradient of its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightGrad {
    /// The weight is a constant; no gradient of it is formed or kept.
    Frozen,
    /// The weight is a variable of the graph and receives its gradient.
    Trained,
}
