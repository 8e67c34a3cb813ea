//! The fused half-block against the same formula from the single ops, and against finite differences.

use tb_core::random::{Purpose, Stream};

use super::*;
use crate::ops::WeightGrad;
use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};
use crate::ops::linear::{Dropout, frozen_linear, lora_linear};
use crate::ops::projection::Adapter;
use crate::ops::rms_norm::rms_norm;

const C: usize = 12;
const F: usize = 20;

struct Parts {
    norm: Tensor,
    weights: [Tensor; 3],
    bias: Tensor,
}

fn parts() -> Result<Parts> {
    let weights = [noise(&[F, C], 1)?, noise(&[F, C], 2)?, noise(&[C, F], 3)?];
    Ok(Parts { norm: noise(&[C], 4)?, weights, bias: noise(&[F], 5)? })
}

fn plain(w: &Tensor) -> Projection<'_> {
    Projection { weight: w, bias: None, adapter: None }
}

fn dropout() -> Dropout {
    Dropout { p: 0.2, stream: Stream::new(3, 1, Purpose::Dropout, 4), first_row: 2 }
}

/// Adapters on up and down: t is x, then A and B of each.
fn adapted(t: &[Tensor], p: &Parts) -> Result<Tensor> {
    let adapter = |a: usize| Some(Adapter { a: &t[a], b: &t[a + 1], scaling: 1.5, dropout: Some(dropout()) });
    let block = MlpBlock {
        norm: &p.norm,
        eps: 1e-5,
        gate: Projection { bias: Some(&p.bias), ..plain(&p.weights[0]) },
        up: Projection { adapter: adapter(1), ..plain(&p.weights[1]) },
        down: Projection { adapter: adapter(3), ..plain(&p.weights[2]) },
    };
    mlp_block(&t[0], &block)
}

/// The same from the single ops.
fn composed(t: &[Tensor], p: &Parts) -> Result<Tensor> {
    let n = rms_norm(&t[0], &p.norm, 1e-5, WeightGrad::Frozen)?;
    let gate = frozen_linear(&n, &p.weights[0], Some(&p.bias))?;
    let up = lora_linear(&n, &p.weights[1], None, &t[1], &t[2], 1.5, Some(dropout()))?;
    let act = swiglu::swiglu(&gate, &up)?;
    Ok((&t[0] + lora_linear(&act, &p.weights[2], None, &t[3], &t[4], 1.5, Some(dropout()))?)?)
}

fn inputs() -> Result<Vec<Tensor>> {
    let shapes: [&[usize]; 5] = [&[2, 5, C], &[3, C], &[F, 3], &[2, F], &[C, 2]];
    shapes.iter().enumerate().map(|(i, s)| noise(s, 10 + i as u64)).collect()
}

#[test]
fn equals_the_single_ops_and_finite_differences() -> Result<()> {
    let (p, t) = (parts()?, inputs()?);
    assert_close(&adapted(&t, &p)?, &composed(&t, &p)?, 1e-5);
    check(&t, |t| adapted(t, &p));
    same_bits_on_any_threads(&t, |t| adapted(t, &p));
    Ok(())
}

#[test]
fn without_adapters_only_x_has_a_gradient() -> Result<()> {
    let p = parts()?;
    let [gate, up, down] = p.weights.each_ref().map(plain);
    let block = MlpBlock { norm: &p.norm, eps: 1e-5, gate, up, down };
    check(&[noise(&[7, C], 1)?], |t| mlp_block(&t[0], &block));
    assert!(!mlp_block(&noise(&[7, C], 1)?, &block)?.track_op());
    Ok(())
}

#[test]
fn a_weight_that_does_not_fit_is_named() -> Result<()> {
    let p = parts()?;
    let [gate, _, down] = p.weights.each_ref().map(plain);
    let block = MlpBlock { norm: &p.norm, eps: 1e-5, gate, up: down, down };
    let error = mlp_block(&noise(&[7, C], 1)?, &block).unwrap_err();
    assert!(matches!(error, Error::Shape { operand: "up", .. }));
    Ok(())
}
