//! The fused half-block against the same formula from the single ops, and against finite differences.

use candle_core::{Device, Var};
use tb_core::random::{Purpose, Stream};

use super::*;
use crate::ops::WeightGrad;
use crate::ops::attention::{Spans, causal_attention};
use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};
use crate::ops::linear::{Dropout, frozen_linear, lora_linear};
use crate::ops::projection::Adapter;
use crate::ops::rms_norm::rms_norm;
use crate::ops::rope::rope;

const C: usize = 10;
const H: usize = 4;
const K: usize = 2;
const D: usize = 6;
const T: usize = 7;
const LENGTHS: [usize; 2] = [7, 4];

struct Parts {
    norm: Tensor,
    weights: [Tensor; 4],
    bias: Tensor,
    cos: Tensor,
    sin: Tensor,
}

fn parts() -> Result<Parts> {
    let weights = [noise(&[H * D, C], 1)?, noise(&[K * D, C], 2)?, noise(&[K * D, C], 3)?, noise(&[C, H * D], 4)?];
    let angles: Vec<f32> = (0..T * D / 2).map(|e| (e / (D / 2)) as f32 * 0.3 / (1 + e % (D / 2)) as f32).collect();
    let angles = Tensor::from_vec(angles, (T, D / 2), &Device::Cpu)?;
    Ok(Parts { norm: noise(&[C], 5)?, weights, bias: noise(&[H * D], 6)?, cos: angles.cos()?, sin: angles.sin()? })
}

fn dropout() -> Dropout {
    Dropout { p: 0.2, stream: Stream::new(3, 1, Purpose::Dropout, 4), first_row: 2 }
}

/// Adapters on q, k, o; a bias on q; t is x, then A and B of each.
fn fused(t: &[Tensor], p: &Parts) -> Result<Tensor> {
    let plain = |w: usize| Projection { weight: &p.weights[w], bias: None, adapter: None };
    let adapter = |a: usize, dropout| Some(Adapter { a: &t[a], b: &t[a + 1], scaling: 1.5, dropout });
    let block = AttentionBlock {
        norm: &p.norm,
        eps: 1e-5,
        q: Projection { bias: Some(&p.bias), adapter: adapter(1, Some(dropout())), ..plain(0) },
        k: Projection { adapter: adapter(3, None), ..plain(1) },
        v: plain(2),
        o: Projection { adapter: adapter(5, Some(dropout())), ..plain(3) },
        heads: H,
        kv_heads: K,
        cos: &p.cos,
        sin: &p.sin,
        positions: &Positions::From(0),
        sight: Sight::scaled(0.4),
        spans: Some(&Spans::from_lengths(&LENGTHS, T)?),
    };
    attention_block(&t[0], &block)
}

/// The same from the single ops.
fn composed(t: &[Tensor], p: &Parts) -> Result<Tensor> {
    let n = rms_norm(&t[0], &p.norm, 1e-5, WeightGrad::Frozen)?;
    let q = lora_linear(&n, &p.weights[0], Some(&p.bias), &t[1], &t[2], 1.5, Some(dropout()))?;
    let k = lora_linear(&n, &p.weights[1], None, &t[3], &t[4], 1.5, None)?;
    let v = frozen_linear(&n, &p.weights[2], None)?;
    let turn = |x: Tensor, heads| rope(&x.reshape((2, T, heads, D))?, &p.cos, &p.sin, &Positions::From(0));
    let y = causal_attention(
        &turn(q, H)?,
        &turn(k, K)?,
        &v.reshape((2, T, K, D))?,
        Sight::scaled(0.4),
        Some(&Spans::from_lengths(&LENGTHS, T)?),
    )?;
    let y = y.reshape((2, T, H * D))?;
    Ok((&t[0] + lora_linear(&y, &p.weights[3], None, &t[5], &t[6], 1.5, Some(dropout()))?)?)
}

fn inputs() -> Result<Vec<Tensor>> {
    let shapes: [&[usize]; 7] = [&[2, T, C], &[3, C], &[H * D, 3], &[1, C], &[K * D, 1], &[4, H * D], &[C, 4]];
    shapes.iter().enumerate().map(|(i, s)| noise(s, 10 + i as u64)).collect()
}

#[test]
fn equals_the_single_ops_and_finite_differences() -> Result<()> {
    let (p, t) = (parts()?, inputs()?);
    assert_close(&fused(&t, &p)?, &composed(&t, &p)?, 1e-5);
    check(&t, |t| fused(t, &p));
    same_bits_on_any_threads(&t, |t| fused(t, &p));
    Ok(())
}

#[test]
fn gradients_equal_those_of_the_single_ops() -> Result<()> {
    let p = parts()?;
    let vars: Vec<Var> = inputs()?.iter().map(Var::from_tensor).collect::<candle_core::Result<_>>()?;
    let t: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let (ours, want) = (fused(&t, &p)?.sqr()?.sum_all()?.backward()?, composed(&t, &p)?.sqr()?.sum_all()?.backward()?);
    // Sums of some hundred terms of either sign, added in another order: single elements cancel, so the whole is compared.
    for v in &vars {
        let (ours, want) = (ours.get(v).unwrap(), want.get(v).unwrap());
        let norm = |t: &Tensor| t.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>();
        let (off, size) = (norm(&(ours - want)?)?, norm(want)?);
        assert!(off <= 1e-5 * size, "{off} of {size}");
    }
    Ok(())
}

#[test]
fn heads_that_do_not_divide_are_refused() -> Result<()> {
    let (p, t) = (parts()?, inputs()?);
    let plain = |w: usize| Projection { weight: &p.weights[w], bias: None, adapter: None };
    let block = AttentionBlock {
        norm: &p.norm,
        eps: 1e-5,
        q: plain(0),
        k: plain(1),
        v: plain(2),
        o: plain(3),
        heads: H,
        kv_heads: 3,
        cos: &p.cos,
        sin: &p.sin,
        positions: &Positions::From(0),
        sight: Sight::scaled(0.4),
        spans: None,
    };
    assert!(matches!(attention_block(&t[0], &block), Err(Error::Value { .. })));
    Ok(())
}
