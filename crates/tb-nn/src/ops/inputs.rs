//! The first linears of a half-block as a part of a fused block: N of their own (q, k and v; gate and up), or one whose result is cut
//! into N. Works on slices.

use candle_core::{DType, Result as CandleResult, Tensor};
use rayon::prelude::*;

use crate::error::Result;
use crate::ops::linear::Hidden;
use crate::ops::matmul::{Held, Weight};
use crate::ops::projection::{Joined, Layer, Projection, layers};

/// N linears of the same input.
#[derive(Clone, Copy)]
pub enum Inputs<'a, const N: usize> {
    /// Each with a weight of its own.
    Separate([Projection<'a>; N]),
    /// One weight, their rows one behind the other.
    Joined(Projection<'a>),
}

/// [`Inputs`] inside an op.
pub(crate) struct InputLayers<const N: usize> {
    pub(crate) layers: Vec<Layer>,
    pub(crate) widths: [usize; N],
    inputs: usize,
}

/// What a linear is called in messages, and its widths.
pub(crate) struct Named<const N: usize> {
    pub(crate) names: [&'static str; N],
    pub(crate) joined: &'static str,
    /// O of each.
    pub(crate) widths: [usize; N],
    /// I of all.
    pub(crate) inputs: usize,
}

/// The layers of a half-block on rows of so many tokens in these numbers, inputs and output, and their adapters as one flat tensor.
pub(crate) fn half<const N: usize>(
    op: &'static str,
    numbers: (usize, DType),
    joined: Option<&Joined>,
    inputs: &Inputs<N>,
    named: &Named<N>,
    output: (&'static str, &Projection, (usize, usize)),
) -> Result<(InputLayers<N>, Layer, Option<Tensor>)> {
    let width = named.inputs;
    let mut parts: Vec<_> = match inputs {
        Inputs::Separate(all) => all
            .iter()
            .zip(named.names)
            .zip(named.widths)
            .map(|((p, name), outputs)| (name, p, (outputs, width)))
            .collect(),
        Inputs::Joined(one) => vec![(named.joined, one, (named.widths.iter().sum(), width))],
    };
    parts.push(output);
    let (mut layers, flat) = layers(op, numbers, joined, &parts)?;
    let output = layers.pop().expect("the output is the last of the parts");
    Ok((InputLayers { layers, widths: named.widths, inputs: width }, output, flat))
}

impl<const N: usize> InputLayers<N> {
    /// Whether any of them has an adapter.
    pub(crate) fn is_adapted(&self) -> bool {
        self.layers.iter().any(Layer::is_adapted)
    }

    /// The N results of x, and what the adapters keep for the backward.
    pub(crate) fn forward(&self, x: &[f32], flat: &[f32]) -> CandleResult<([Vec<f32>; N], Vec<Hidden>)> {
        let (mut results, mut hidden) = (Vec::with_capacity(N), Vec::with_capacity(self.layers.len()));
        let held: Vec<(Held<'_>, usize)> = self.layers.iter().map(Layer::held).collect();
        let weights = held.iter().map(|(held, o)| Ok((held.weight()?, *o))).collect::<CandleResult<Vec<_>>>()?;
        let products = Weight::new_forwards(&weights, (x.len() / self.inputs.max(1), self.inputs), x);
        for (layer, y) in self.layers.iter().zip(products) {
            let (y, h) = layer.completed(y, x, flat)?;
            results.push(y);
            hidden.push(h);
        }
        let results = match <[Vec<f32>; N]>::try_from(results) {
            Ok(results) => results,
            Err(joined) => cut(&joined[0], self.widths),
        };
        Ok((results, hidden))
    }

    /// Adds the adapters' gradients to `dflat`, and the input's gradient to `dx` (or makes it, where `dx` is empty).
    pub(crate) fn backward(
        &self,
        (x, hidden): (&[f32], &[Hidden]),
        flat: &[f32],
        dys: [Vec<f32>; N],
        mut dx: Option<&mut Vec<f32>>,
        dflat: &mut [f32],
    ) -> CandleResult<()> {
        let dys = if self.layers.len() == N { Vec::from(dys) } else { vec![join(&dys, self.widths)] };
        for ((layer, h), dy) in self.layers.iter().zip(hidden).zip(&dys) {
            layer.backward((x, h), flat, dy, dx.as_deref_mut(), dflat)?;
        }
        Ok(())
    }
}

/// The columns of a row-major matrix in N matrices of these widths.
fn cut<const N: usize>(joined: &[f32], widths: [usize; N]) -> [Vec<f32>; N] {
    let width: usize = widths.iter().sum();
    let rows = joined.len() / width.max(1);
    let mut at = 0;
    widths.map(|w| {
        let from = at;
        at += w;
        let mut part = vec![0f32; rows * w];
        part.par_chunks_mut(w.max(1)).zip(joined.par_chunks(width.max(1))).with_min_len(16).for_each(|(part, row)| {
            part.copy_from_slice(&row[from..from + w]);
        });
        part
    })
}

/// The matrices side by side.
fn join<const N: usize>(parts: &[Vec<f32>; N], widths: [usize; N]) -> Vec<f32> {
    let width: usize = widths.iter().sum();
    let mut joined = vec![0f32; parts.iter().map(Vec::len).sum()];
    joined.par_chunks_mut(width.max(1)).with_min_len(16).enumerate().for_each(|(n, row)| {
        let mut at = 0;
        for (part, w) in parts.iter().zip(widths) {
            row[at..at + w].copy_from_slice(&part[n * w..(n + 1) * w]);
            at += w;
        }
    });
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_and_joining_are_inverse() {
        let joined: Vec<f32> = (0..21).map(|i| i as f32).collect();
        let parts = cut(&joined, [4, 1, 2]);
        assert_eq!(parts[1], [4.0, 11.0, 18.0]);
        assert_eq!(parts[2], [5.0, 6.0, 12.0, 13.0, 19.0, 20.0]);
        assert_eq!(join(&parts, [4, 1, 2]), joined);
    }
}
