//! The tables of rotary angles: inverse frequencies as transformers computes them, cosines and sines on demand. The rotation is `ops::rope`.

use crate::Result;
use crate::ops::attention_block::Turning;
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, read_gpu};
use crate::ops::rope::{Positions, rope};
#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::{Device, Tensor};
use std::f64::consts::TAU;
use std::sync::{PoisonError, RwLock};
use tb_core::decoder_config::{LayerKind, Rope, RopeScaling};

/// Cosines and sines of position * frequency, grown to the longest position asked for.
#[derive(Debug)]
pub(crate) struct RopeTable {
    rope: Rope,
    device: Device,
    held: RwLock<Option<Held>>,
}

/// The table that was asked for last.
#[derive(Debug)]
struct Held {
    reach: usize,
    positions: usize,
    cos: Tensor,
    sin: Tensor,
}

/// Inverse frequencies, one for each pair, and the factor of cosines and sines, for texts of this reach (see [`RopeTable::reach`]).
/// All steps in f32, as in transformers.
fn inverse_frequencies(rope: &Rope, reach: usize) -> (Vec<f32>, f32) {
    let dim = rope.rotary_dim;
    let exponent = |i: usize| (2 * i) as f32 / dim as f32;
    let power = |base: f64, i: usize| base.powf(f64::from(exponent(i))) as f32;
    let plain = |i: usize| 1.0 / power(rope.theta, i);
    let pairs = 0..rope.pairs();
    match &rope.scaling {
        RopeScaling::Default => (pairs.map(plain).collect(), 1.0),
        RopeScaling::Linear { factor } => (pairs.map(|i| plain(i) / *factor as f32).collect(), 1.0),
        RopeScaling::Dynamic { factor, max_position_embeddings: max } => {
            let length = *factor as f32 * reach as f32 / *max as f32 - (factor - 1.0) as f32;
            let grown = f64::from(length).powf(f64::from((dim as f64 / (dim as f64 - 2.0)) as f32)) as f32;
            let base = f64::from(rope.theta as f32 * grown);
            (pairs.map(|i| 1.0 / power(base, i)).collect(), 1.0)
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: original,
        } => (pairs.map(|i| llama3(plain(i), *factor, (*low, *high), *original)).collect(), 1.0),
        RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            attention_factor,
            beta_fast,
            beta_slow,
            truncate,
        } => {
            // The dimension that turns so many times over the original context.
            let turning = |times: f64| dim as f64 * (original / (times * TAU)).ln() / (2.0 * rope.theta.ln());
            let (low, high) = (turning(*beta_fast), turning(*beta_slow));
            let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
            let (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
            let width = if low == high { 0.001 } else { high - low };
            let blended = |i: usize| {
                let kept = 1.0 - ((i as f32 - low as f32) / width as f32).clamp(0.0, 1.0);
                let power = power(rope.theta, i);
                1.0 / (*factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
            };
            (pairs.map(blended).collect(), *attention_factor as f32)
        }
        RopeScaling::LongRope { short_factor, long_factor, attention_factor, .. } => {
            let factors = if reach == LONG { long_factor } else { short_factor };
            let one = |i: usize| 1.0 / (factors[i] as f32 * power(rope.theta, i));
            (pairs.map(one).collect(), *attention_factor as f32)
        }
    }
}

fn llama3(frequency: f32, factor: f64, (low, high): (f64, f64), original: f64) -> f32 {
    let wavelength = 2.0 * std::f32::consts::PI / frequency;
    if wavelength > (original / low) as f32 {
        return frequency / factor as f32;
    }
    if wavelength < (original / high) as f32 {
        return frequency;
    }
    let smooth = (original as f32 / wavelength - low as f32) / (high - low) as f32;
    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
}

/// Reaches of a longrope.
const SHORT: usize = 0;
const LONG: usize = 1;

impl RopeTable {
    pub(crate) fn new(rope: &Rope, device: &Device) -> Self {
        Self { rope: rope.clone(), device: device.clone(), held: RwLock::new(None) }
    }

    /// Which frequencies a text of so many tokens turns by: equal reaches mean equal frequencies.
    pub(crate) fn reach(&self, tokens: usize) -> usize {
        match &self.rope.scaling {
            RopeScaling::Default
            | RopeScaling::Linear { .. }
            | RopeScaling::Yarn { .. }
            | RopeScaling::Llama3 { .. } => 0,
            RopeScaling::Dynamic { max_position_embeddings: max, .. } => tokens.max(*max as usize),
            RopeScaling::LongRope { original_max_position_embeddings: original, .. } => {
                if tokens as f64 > *original {
                    LONG
                } else {
                    SHORT
                }
            }
        }
    }

    /// Cosines and sines for positions 0..P with P >= `tokens`, of a text of so many tokens; both (P, R/2) f32.
    pub(crate) fn for_text(&self, tokens: usize) -> Result<(Tensor, Tensor)> {
        let reach = self.reach(tokens);
        {
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(held) = held.as_ref()
                && held.reach == reach
                && held.positions >= tokens
            {
                return Ok((held.cos.clone(), held.sin.clone()));
            }
        }
        let positions = tokens.next_power_of_two().max(256);
        let (cos, sin) = self.angles(reach, positions)?;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Held { reach, positions, cos: cos.clone(), sin: sin.clone() });
        Ok((cos, sin))
    }

    fn angles(&self, reach: usize, positions: usize) -> Result<(Tensor, Tensor)> {
        let (frequencies, factor) = inverse_frequencies(&self.rope, reach);
        let pairs = frequencies.len();
        // The product is rounded to f32 before the cosine is taken, as in transformers.
        let angle = |i: usize| f64::from((i / pairs) as f32 * frequencies[i % pairs]);
        let table = |f: fn(f64) -> f64| -> Result<Tensor> {
            let values: Vec<f32> = (0..positions * pairs).map(|i| f(angle(i)) as f32 * factor).collect();
            Ok(Tensor::from_vec(values, (positions, pairs), &self.device)?)
        };
        Ok((table(f64::cos)?, table(f64::sin)?))
    }
}

/// The angles of every rotary embedding of a model for the tokens of one pass.
#[derive(Clone, Debug)]
pub(crate) struct Angles {
    tables: Vec<(Tensor, Tensor)>,
    positions: Positions,
}

impl Angles {
    /// Those of a text of so many tokens, or of several of that reach.
    pub(crate) fn for_text(ropes: &[RopeTable], tokens: usize, positions: Positions) -> Result<Self> {
        Ok(Self { tables: ropes.iter().map(|r| r.for_text(tokens)).collect::<Result<_>>()?, positions })
    }

    /// Those of one token in each row, the last of so many.
    pub(crate) fn of_last(ropes: &[RopeTable], tokens: &[usize]) -> Result<Self> {
        let table = |rope: &RopeTable| -> Result<(Tensor, Tensor)> {
            let rows = tokens.iter().map(|n| {
                let (cos, sin) = rope.for_text(*n)?;
                Ok((cos.narrow(0, n - 1, 1)?, sin.narrow(0, n - 1, 1)?)) // (1, R/2)
            });
            let (cos, sin): (Vec<Tensor>, Vec<Tensor>) = rows.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            Ok((Tensor::cat(&cos, 0)?, Tensor::cat(&sin, 0)?)) // (B, R/2)
        };
        let rows = (0..tokens.len() as u32).collect();
        Ok(Self { tables: ropes.iter().map(table).collect::<Result<_>>()?, positions: Positions::Rows(rows) })
    }

    /// Room on a GPU for the angles of one token in each of so many rows, which [`Self::put`] fills.
    #[cfg(feature = "cuda")]
    pub(crate) fn places(ropes: &[RopeTable], rows: usize) -> Result<Self> {
        let room = |rope: &RopeTable| -> Result<(Tensor, Tensor)> {
            let empty = || Tensor::zeros((rows, rope.rope.pairs()), DType::F32, &rope.device);
            Ok((empty()?, empty()?))
        };
        let tables = ropes.iter().map(room).collect::<Result<_>>()?;
        Ok(Self { tables, positions: Positions::Rows((0..rows as u32).collect()) })
    }

    /// Writes the angles of the last of so many tokens of each row into the first places.
    #[cfg(feature = "cuda")]
    pub(crate) fn put(&self, ropes: &[RopeTable], tokens: &[usize]) -> Result<()> {
        let longest = tokens.iter().copied().max().unwrap_or(1);
        let last: Vec<u32> = tokens.iter().map(|n| n.saturating_sub(1) as u32).collect();
        for (rope, (to_cos, to_sin)) in ropes.iter().zip(&self.tables) {
            let gpu = Gpu::of_tensor(to_cos)?;
            let alike = tokens.iter().all(|n| rope.reach(*n) == rope.reach(longest));
            let ((cos, sin), places) = if alike {
                (rope.for_text(longest)?, last.clone())
            } else {
                let of_each = Self::of_last(std::slice::from_ref(rope), tokens)?.tables.remove(0);
                (of_each, (0..last.len() as u32).collect())
            };
            for (from, to) in [(cos, to_cos), (sin, to_sin)] {
                read_gpu!(gpu, from = from);
                read_gpu!(gpu, to = to);
                let picked = gpu.gather(from, &places, rope.rope.pairs())?;
                gpu.copy(to.part(0, picked.len()), picked.view())?;
            }
        }
        Ok(())
    }

    /// The rotation of a layer of this kind, if it has one.
    pub(crate) fn of(&self, kind: LayerKind) -> Option<Rotation<'_>> {
        let (cos, sin) = &self.tables[kind.rope?];
        Some(Rotation { cos, sin, positions: &self.positions })
    }
}

/// Angles and positions of the tokens of one layer.
#[derive(Clone, Copy)]
pub(crate) struct Rotation<'a> {
    cos: &'a Tensor,
    sin: &'a Tensor,
    positions: &'a Positions,
}

impl<'a> Rotation<'a> {
    /// x (B, T, H, D) rotated, or as it is where there is no rotation.
    pub(crate) fn turned(rotation: Option<Self>, x: &Tensor) -> Result<Tensor> {
        match rotation {
            None => Ok(x.clone()),
            Some(r) => rope(x, r.cos, r.sin, r.positions),
        }
    }

    /// As a part of a fused block.
    pub(crate) fn turning(self) -> Turning<'a> {
        Turning { cos: self.cos, sin: self.sin, positions: self.positions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope_of(scaling: RopeScaling) -> Rope {
        Rope { theta: 500.0, rotary_dim: 8, scaling }
    }

    #[test]
    fn a_linear_scaling_divides_every_frequency() {
        // 500^(-2i/8) / 4
        let expected = [0.25, 0.25 / 500f32.powf(0.25), 0.25 / 500f32.sqrt(), 0.25 / 500f32.powf(0.75)];
        let (got, factor) = inverse_frequencies(&rope_of(RopeScaling::Linear { factor: 4.0 }), 0);
        for (got, want) in got.iter().zip(expected) {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
        assert_eq!(factor, 1.0);
    }

    #[test]
    fn a_text_beyond_the_trained_length_turns_by_other_frequencies() {
        let table = |scaling| RopeTable::new(&rope_of(scaling), &Device::Cpu);
        let dynamic = table(RopeScaling::Dynamic { factor: 2.0, max_position_embeddings: 16.0 });
        assert_eq!((dynamic.reach(3), dynamic.reach(16), dynamic.reach(17)), (16, 16, 17));
        let (plain, _) = inverse_frequencies(&rope_of(RopeScaling::Default), 0);
        assert_eq!(inverse_frequencies(&dynamic.rope, 16).0, plain);
        // The base is 500 (2 * 32 / 16 - 1)^(8 / 6): the second frequency is its fourth root.
        let (long, _) = inverse_frequencies(&dynamic.rope, 32);
        assert!((long[1] - (500.0 * 3f32.powf(8.0 / 6.0)).powf(-0.25)).abs() < 1e-6);
        let longrope = table(RopeScaling::LongRope {
            short_factor: vec![1.0; 4],
            long_factor: vec![1.0, 2.0, 3.0, 4.0],
            original_max_position_embeddings: 16.0,
            attention_factor: 1.5,
        });
        assert_eq!((longrope.reach(16), longrope.reach(17)), (SHORT, LONG));
        let (long, factor) = inverse_frequencies(&longrope.rope, LONG);
        assert!(long.iter().zip(&plain).zip([1.0, 2.0, 3.0, 4.0]).all(|((l, p), f)| (l * f - p).abs() < 1e-6));
        assert_eq!(factor, 1.5);
        // The first angle of position 0: its cosine is the factor.
        let (cos, sin) = longrope.for_text(20).unwrap();
        assert_eq!((cos.dims(), cos.to_vec2::<f32>().unwrap()[0][0]), ([256, 4].as_slice(), 1.5));
        assert_eq!(sin.to_vec2::<f32>().unwrap()[0][0], 0.0);
    }
}
