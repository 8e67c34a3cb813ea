//! Linear layers: frozen, trained, and frozen with a low-rank adapter. y = x W' + b; x (..., I), W (O, I), y (..., O).

mod dora;
mod dropout;
mod frozen;
mod full;
mod lora;

use candle_core::Tensor;

use crate::error::{Error, Result};

pub use dora::{Decomposed, column_norms, dora_linear, gain, row_norms};
pub(crate) use dropout::row_width;
pub use dropout::{Dropout, dropped};
pub use frozen::frozen_linear;
pub use full::full_linear;
pub use lora::lora_linear;
pub(crate) use lora::{Hidden, LowRank};

/// The rows N of x (..., I) after checking x, W (O, I) and b (O) against each other: (N, O, I).
fn dims(op: &'static str, x: &Tensor, weight: &[usize], bias: Option<&Tensor>) -> Result<(usize, usize, usize)> {
    let &[o, i] = weight else {
        return Err(Error::shape(op, "weight", "(O, I)", weight));
    };
    if x.dims().last() != Some(&i) {
        return Err(Error::shape(op, "x", format!("(..., {i})"), x.dims()));
    }
    if let Some(b) = bias
        && b.dims() != [o]
    {
        return Err(Error::shape(op, "bias", format!("({o})"), b.dims()));
    }
    let rows = x.dims()[..x.rank() - 1].iter().product();
    Ok((rows, o, i))
}

/// The shape of y: x's with the last size replaced.
fn with_last(x: &[usize], last: usize) -> Vec<usize> {
    let mut dims = x.to_vec();
    if let Some(d) = dims.last_mut() {
        *d = last;
    }
    dims
}

/// Adds the bias to each row.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
    use rayon::prelude::*;
    if bias.is_empty() {
        return;
    }
    y.par_chunks_mut(bias.len()).with_min_len(16).for_each(|row| {
        for (v, b) in row.iter_mut().zip(bias) {
            *v += b;
        }
    });
}

#[cfg(test)]
mod tests;
