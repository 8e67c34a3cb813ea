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
    Projection { weight: w.into(), bias: None, adapter: None }
}

fn dropout() -> Dropout {
    Dropout { p: 0.2, stream: Stream::new(3, 1, Purpose::Dropout, 4), first_row: 2 }
}

/// Adapters on up and down: t is x, then A and B of each.
fn adapted(t: &[Tensor], p: &Parts) -> Result<Tensor> {
    let adapter = |a: usize| Some(Adapter { a: &t[a], b: &t[a + 1], scaling: 1.5, dropout: Some(dropout()) });
    let block = MlpBlock {
        before: Some(FrozenNorm { weight: &p.norm, eps: 1e-5 }),
        inputs: Inputs::Separate([
            Projection { bias: Some(&p.bias), ..plain(&p.weights[0]) },
            Projection { adapter: adapter(1), ..plain(&p.weights[1]) },
        ]),
        activation: Activation::Silu,
        down: Projection { adapter: adapter(3), ..plain(&p.weights[2]) },
        after: None,
        joined: None,
        width: F,
    };
    mlp_block(&t[0], &block)
}

/// The same from the single ops.
fn composed(t: &[Tensor], p: &Parts) -> Result<Tensor> {
    let n = rms_norm(&t[0], &p.norm, 1e-5, WeightGrad::Frozen)?;
    let gate = frozen_linear(&n, &p.weights[0], Some(&p.bias))?;
    let up = lora_linear(&n, &p.weights[1], None, &t[1], &t[2], 1.5, Some(dropout()))?;
    let act = gated::gated(&gate, &up, Activation::Silu)?;
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

/// No norm before but one after, gate and up in one matrix with one adapter, gelu: t is x, then A and B of each.
fn joined(t: &[Tensor], p: &Parts, fused: Fused) -> Result<Tensor> {
    let weight = Tensor::cat(&[&p.weights[0], &p.weights[1]], 0)?;
    let after = FrozenNorm { weight: &p.norm, eps: 1e-5 };
    match fused {
        Fused::Yes => {
            let adapter = |a: usize| Some(Adapter { a: &t[a], b: &t[a + 1], scaling: 1.5, dropout: Some(dropout()) });
            let block = MlpBlock {
                before: None,
                inputs: Inputs::Joined(Projection { adapter: adapter(1), ..plain(&weight) }),
                activation: Activation::GeluTanh,
                down: Projection { adapter: adapter(3), ..plain(&p.weights[2]) },
                after: Some(after),
                joined: None,
                width: F,
            };
            mlp_block(&t[0], &block)
        }
        Fused::No => {
            let both = lora_linear(&t[0], &weight, None, &t[1], &t[2], 1.5, Some(dropout()))?;
            let (gate, up) = (both.narrow(2, 0, F)?, both.narrow(2, F, F)?);
            let act = gated::gated(&gate, &up, Activation::GeluTanh)?;
            let y = lora_linear(&act, &p.weights[2], None, &t[3], &t[4], 1.5, Some(dropout()))?;
            Ok((&t[0] + rms_norm(&y, after.weight, after.eps, WeightGrad::Frozen)?)?)
        }
    }
}

#[derive(Clone, Copy)]
enum Fused {
    Yes,
    No,
}

#[test]
fn a_joined_input_and_a_norm_after_equal_the_single_ops() -> Result<()> {
    let p = parts()?;
    let shapes: [&[usize]; 5] = [&[2, 5, C], &[3, C], &[2 * F, 3], &[2, F], &[C, 2]];
    let t: Vec<Tensor> = shapes.iter().enumerate().map(|(i, s)| noise(s, 30 + i as u64)).collect::<Result<_>>()?;
    assert_close(&joined(&t, &p, Fused::Yes)?, &joined(&t, &p, Fused::No)?, 1e-5);
    check(&t, |t| joined(t, &p, Fused::Yes));
    same_bits_on_any_threads(&t, |t| joined(t, &p, Fused::Yes));
    Ok(())
}

fn bare<'a>(norm: &'a Tensor, inputs: [Projection<'a>; 2], down: Projection<'a>) -> MlpBlock<'a> {
    MlpBlock {
        before: Some(FrozenNorm { weight: norm, eps: 1e-5 }),
        inputs: Inputs::Separate(inputs),
        activation: Activation::Silu,
        down,
        after: None,
        joined: None,
        width: F,
    }
}

#[test]
fn without_adapters_only_x_has_a_gradient() -> Result<()> {
    let p = parts()?;
    let [gate, up, down] = p.weights.each_ref().map(plain);
    let block = bare(&p.norm, [gate, up], down);
    check(&[noise(&[7, C], 1)?], |t| mlp_block(&t[0], &block));
    assert!(!mlp_block(&noise(&[7, C], 1)?, &block)?.track_op());
    Ok(())
}

#[test]
fn a_weight_that_does_not_fit_is_named() -> Result<()> {
    let p = parts()?;
    let [gate, _, down] = p.weights.each_ref().map(plain);
    let error = mlp_block(&noise(&[7, C], 1)?, &bare(&p.norm, [gate, down], down)).unwrap_err();
    assert!(matches!(error, Error::Shape { operand: "up", .. }));
    Ok(())
}
