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

/// Norm before, rotation, nothing else.
fn llama<'a>(p: &'a Parts, inputs: Inputs<'a, 3>, output: Projection<'a>) -> AttentionBlock<'a> {
    AttentionBlock {
        before: Some(FrozenNorm { weight: &p.norm, eps: 1e-5 }),
        inputs,
        query_key: None,
        rotation: Some(Turning { cos: &p.cos, sin: &p.sin, positions: &Positions::From(0) }),
        output,
        after: None,
        heads: H,
        kv_heads: K,
        size: D,
        sight: Sight::scaled(0.4),
        joined: None,
        spans: None,
    }
}

/// Adapters on q, k, o; a bias on q; t is x, then A and B of each.
fn fused(t: &[Tensor], p: &Parts) -> Result<Tensor> {
    let plain = |w: usize| Projection { weight: (&p.weights[w]).into(), bias: None, adapter: None };
    let adapter = |a: usize, dropout| Some(Adapter { a: &t[a], b: &t[a + 1], scaling: 1.5, dropout });
    let inputs = Inputs::Separate([
        Projection { bias: Some(&p.bias), adapter: adapter(1, Some(dropout())), ..plain(0) },
        Projection { adapter: adapter(3, None), ..plain(1) },
        plain(2),
    ]);
    let output = Projection { adapter: adapter(5, Some(dropout())), ..plain(3) };
    let spans = Spans::from_lengths(&LENGTHS, T)?;
    let block = AttentionBlock { spans: Some(&spans), ..llama(p, inputs, output) };
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

/// What the other families do: one matrix for q, k and v, norms of queries and keys (per head or whole), part of a head rotated or
/// nothing, a window and a cap, a norm after and one before or not.
#[derive(Clone, Copy)]
struct Variant {
    before: bool,
    whole: bool,
    rotated: usize,
    sight: Sight,
}

const VARIANTS: [Variant; 3] = [
    Variant { before: false, whole: true, rotated: D, sight: Sight::scaled(0.4) },
    Variant {
        before: true,
        whole: false,
        rotated: 4,
        sight: Sight { scale: 0.9, window: Some(3), soft_cap: Some(0.7) },
    },
    Variant { before: true, whole: false, rotated: 0, sight: Sight { scale: 0.4, window: Some(1), soft_cap: None } },
];

#[derive(Clone, Copy)]
enum Fused {
    Yes,
    No,
}

/// t is x, then A and B of the joined matrix and of o.
fn varied(t: &[Tensor], p: &Parts, v: Variant, fused: Fused) -> Result<Tensor> {
    let (cos, sin) = (p.cos.narrow(1, 0, v.rotated.max(2) / 2)?, p.sin.narrow(1, 0, v.rotated.max(2) / 2)?);
    let (cos, sin, positions) = (cos.contiguous()?, sin.contiguous()?, Positions::From(0));
    let weight = Tensor::cat(&p.weights[..3], 0)?;
    let (wide, narrow) = (H * D, K * D);
    let norms =
        if v.whole { [noise(&[wide], 21)?, noise(&[narrow], 22)?] } else { [noise(&[D], 21)?, noise(&[D], 22)?] };
    let after = noise(&[C], 23)?;
    let spans = Spans::from_lengths(&LENGTHS, T)?;
    match fused {
        Fused::Yes => {
            let adapter = |a: usize| Some(Adapter { a: &t[a], b: &t[a + 1], scaling: 1.5, dropout: Some(dropout()) });
            let norm = |weight| FrozenNorm { weight, eps: 1e-5 };
            let inputs = Inputs::Joined(Projection { weight: (&weight).into(), bias: None, adapter: adapter(1) });
            let output = Projection { weight: (&p.weights[3]).into(), bias: None, adapter: adapter(3) };
            let turning = Turning { cos: &cos, sin: &sin, positions: &positions };
            let block = AttentionBlock {
                before: v.before.then_some(norm(&p.norm)),
                query_key: Some([norm(&norms[0]), norm(&norms[1])]),
                rotation: (v.rotated > 0).then_some(turning),
                after: Some(norm(&after)),
                sight: v.sight,
                joined: None,
                spans: Some(&spans),
                ..llama(p, inputs, output)
            };
            attention_block(&t[0], &block)
        }
        Fused::No => {
            let n = if v.before { rms_norm(&t[0], &p.norm, 1e-5, WeightGrad::Frozen)? } else { t[0].clone() };
            let all = lora_linear(&n, &weight, None, &t[1], &t[2], 1.5, Some(dropout()))?;
            let part = |from, width: usize, norm: Option<&Tensor>| -> Result<Tensor> {
                let y = all.narrow(2, from, width)?.contiguous()?;
                let heads = |y: Tensor| y.reshape((2, T, width / D, D));
                Ok(match norm {
                    Some(w) if v.whole => heads(rms_norm(&y, w, 1e-5, WeightGrad::Frozen)?)?,
                    Some(w) => rms_norm(&heads(y)?, w, 1e-5, WeightGrad::Frozen)?,
                    None => heads(y)?,
                })
            };
            let turn = |x: Tensor| if v.rotated > 0 { rope(&x, &cos, &sin, &positions) } else { Ok(x) };
            let (q, k) = (turn(part(0, wide, Some(&norms[0]))?)?, turn(part(wide, narrow, Some(&norms[1]))?)?);
            let y = causal_attention(&q, &k, &part(wide + narrow, narrow, None)?, v.sight, Some(&spans))?;
            let y = lora_linear(&y.reshape((2, T, wide))?, &p.weights[3], None, &t[3], &t[4], 1.5, Some(dropout()))?;
            Ok((&t[0] + rms_norm(&y, &after, 1e-5, WeightGrad::Frozen)?)?)
        }
    }
}

#[test]
fn every_variant_equals_the_single_ops_and_finite_differences() -> Result<()> {
    let p = parts()?;
    let shapes: [&[usize]; 5] = [&[2, T, C], &[3, C], &[(H + 2 * K) * D, 3], &[4, H * D], &[C, 4]];
    for v in VARIANTS {
        let t: Vec<Tensor> = shapes.iter().enumerate().map(|(i, s)| noise(s, 40 + i as u64)).collect::<Result<_>>()?;
        assert_close(&varied(&t, &p, v, Fused::Yes)?, &varied(&t, &p, v, Fused::No)?, 1e-5);
        check(&t, |t| varied(t, &p, v, Fused::Yes));
        same_bits_on_any_threads(&t, |t| varied(t, &p, v, Fused::Yes));
    }
    Ok(())
}

#[test]
fn heads_that_do_not_divide_are_refused() -> Result<()> {
    let (p, t) = (parts()?, inputs()?);
    let plain = |w: usize| Projection { weight: (&p.weights[w]).into(), bias: None, adapter: None };
    let block = AttentionBlock { kv_heads: 3, ..llama(&p, Inputs::Separate([plain(0), plain(1), plain(2)]), plain(3)) };
    assert!(matches!(attention_block(&t[0], &block), Err(Error::Value { .. })));
    Ok(())
}
