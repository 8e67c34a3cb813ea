//! First weights that already look back: two attention layers planted so that a repeated word is followed by what followed it before.
//! A small model that trains for minutes does not find this by itself; everything planted is trained on like any other weight.

use std::collections::HashMap;

use candle_core::{Device, Tensor, Var};
use tb_core::random::{Purpose, Stream, name_key};

use super::{Decoder, Family, HeadKind};
use crate::{Error, Result};

/// Weight of the constant that every embedding carries in its first dimension.
const CONSTANT: f64 = 1.0;
/// Sharpness of the look at the previous token.
const LOOK_BACK: f64 = 1.0;
/// Sharpness of the match between a token and the tokens that stood before others.
const MATCH: f64 = 8.0;
/// How loudly the found token is said.
const COPY: f64 = 16.0;
/// Frequencies of the rotation that place the look at the previous token.
const PLACING: usize = 12;
/// A frequency is slow if it turns by less than this (radians) over [`REACH`] tokens: it hardly sees positions.
const SLOW: f64 = 0.6;
/// Tokens over which a match must not depend on the distance.
const REACH: f64 = 150.0;

/// What became of the planting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planting {
    /// The heads are there.
    Done,
    /// The shape has no room for them (a Llama of two layers, two ungrouped heads, a tied head, enough width); nothing was changed.
    NoRoom,
}

impl Decoder {
    /// Plants two induction heads (Elhage et al., "A Mathematical Framework for Transformer Circuits", 2021) into a model made
    /// by [`Decoder::init`].
    ///
    /// Embeddings are split: dimension 0 a constant, then the token's identity, then a slot. Head 0 of layer 0 looks one token back
    /// (the constant, rotated by one position) and writes two projections of that token's identity into the slot. Heads 0 and 1 of layer 1
    /// compare the present identity with every slot in rotations too slow to see positions, and copy the identity they find.
    ///
    /// # Errors
    /// A model that is not in training as a whole.
    pub fn plant_induction_heads(&self, seed: u64) -> Result<Planting> {
        let c = self.config();
        let (width, d) = (c.hidden_size, c.head_dim);
        let half = d / 2;
        let theta = c.ropes.first().map_or(1.0, |rope| rope.theta);
        let frequency = |i: usize| theta.powf(-(i as f64) / half as f64);
        let slow: Vec<usize> = (0..half).filter(|i| frequency(*i) * REACH < SLOW).collect();
        // Match dimensions of one head: whole rotations, at most half a head, so that the slot holds both heads'.
        let pairs = slow.len().min(half / 2);
        let n = 2 * pairs;
        let slot = width.saturating_sub(2 * n);
        let fits = c.family == Family::Llama
            && c.num_hidden_layers >= 2
            && c.num_attention_heads >= 2
            && c.num_key_value_heads == c.num_attention_heads
            && c.head == HeadKind::Tied
            && pairs > 0
            && half >= PLACING
            && slot > 2 * d
            && slot > 2 * n;
        if !fits {
            return Ok(Planting::NoRoom);
        }
        let vars: HashMap<String, Var> = self.trainable().into_iter().collect();
        let identity = slot - 1;
        let rms = (width as f64).sqrt() / (1.0 + CONSTANT * CONSTANT).sqrt();
        let directions = orthonormal(identity, 2 * n, seed, "match");
        let copied = orthonormal(identity, 2 * d, seed, "copy");

        edit(&vars, "model.embed_tokens.weight", |m| {
            let scale = 1.0 / (identity as f64).sqrt();
            let mut stream = Stream::new(seed, 0, Purpose::Init, name_key("identity"));
            for row in m.values.chunks_mut(m.columns) {
                row[0] = CONSTANT as f32;
                row[1..slot].iter_mut().for_each(|v| *v = stream.normal_f32() * scale as f32);
                row[slot..].fill(0.0);
            }
        })?;

        let layer = |layer: usize, name: &str| format!("model.layers.{layer}.self_attn.{name}.weight");
        for name in ["q_proj", "k_proj", "v_proj"] {
            edit(&vars, &layer(0, name), |m| m.values[..d * m.columns].fill(0.0))?;
            edit(&vars, &layer(1, name), |m| m.values[..2 * d * m.columns].fill(0.0))?;
        }
        for (at, heads) in [(0, 1), (1, 2)] {
            edit(&vars, &layer(at, "o_proj"), |m| {
                let columns = m.columns;
                m.values.chunks_mut(columns).for_each(|row| row[..heads * d].fill(0.0));
            })?;
        }

        // Layer 0, head 0: q at t meets k at s with the cosine of (t - s - 1) turns.
        edit(&vars, &layer(0, "q_proj"), |m| (0..PLACING).for_each(|i| m.set(i, 0, LOOK_BACK)))?;
        edit(&vars, &layer(0, "k_proj"), |m| {
            for i in 0..PLACING {
                m.set(i, 0, LOOK_BACK * frequency(i).cos());
                m.set(i + half, 0, LOOK_BACK * frequency(i).sin());
            }
        })?;
        edit(&vars, &layer(0, "v_proj"), |m| directions.iter().enumerate().for_each(|(j, p)| m.set_row(j, 1, p, 1.0)))?;
        edit(&vars, &layer(0, "o_proj"), |m| (0..2 * n).for_each(|j| m.set(slot + j, j, 1.0 / rms)))?;

        // Layer 1, heads 0 and 1: match in the slowest rotations, copy what is found.
        let lanes: Vec<usize> = slow[slow.len() - pairs..].iter().flat_map(|i| [*i, *i + half]).collect();
        for head in 0..2 {
            let first = head * d;
            edit(&vars, &layer(1, "q_proj"), |m| {
                for (j, lane) in lanes.iter().enumerate() {
                    m.set_row(first + lane, 1, &directions[head * n + j], MATCH.sqrt());
                }
            })?;
            edit(&vars, &layer(1, "k_proj"), |m| {
                for (j, lane) in lanes.iter().enumerate() {
                    m.set(first + lane, slot + head * n + j, MATCH.sqrt());
                }
            })?;
            edit(&vars, &layer(1, "v_proj"), |m| {
                (0..d).for_each(|j| m.set_row(first + j, 1, &copied[first + j], 1.0));
            })?;
            edit(&vars, &layer(1, "o_proj"), |m| {
                for j in 0..d {
                    for (i, value) in copied[first + j].iter().enumerate() {
                        m.set(1 + i, first + j, value * COPY / rms);
                    }
                }
            })?;
        }
        Ok(Planting::Done)
    }
}

/// A weight as rows of numbers.
struct Matrix {
    values: Vec<f32>,
    columns: usize,
}

impl Matrix {
    fn set(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.columns + column] = value as f32;
    }

    fn set_row(&mut self, row: usize, from_column: usize, values: &[f64], factor: f64) {
        for (i, value) in values.iter().enumerate() {
            self.set(row, from_column + i, value * factor);
        }
    }
}

fn edit(vars: &HashMap<String, Var>, name: &str, change: impl FnOnce(&mut Matrix)) -> Result<()> {
    let var = vars.get(name).ok_or_else(|| Error::value("induction heads", format!("{name} is not in training")))?;
    let (rows, columns) = var.dims2()?;
    let mut matrix = Matrix { values: var.flatten_all()?.to_vec1::<f32>()?, columns };
    change(&mut matrix);
    let tensor = Tensor::from_vec(matrix.values, (rows, columns), &Device::Cpu)?;
    Ok(var.set(&tensor.to_device(var.device())?)?)
}

/// `count` orthonormal vectors of `dimension` (modified Gram–Schmidt on random ones); `count` must not exceed `dimension`.
fn orthonormal(dimension: usize, count: usize, seed: u64, name: &str) -> Vec<Vec<f64>> {
    let mut stream = Stream::new(seed, 0, Purpose::Init, name_key(name));
    let mut found: Vec<Vec<f64>> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut v: Vec<f64> = (0..dimension).map(|_| f64::from(stream.normal_f32())).collect();
        for other in &found {
            let along: f64 = v.iter().zip(other).map(|(a, b)| a * b).sum();
            v.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let norm = v.iter().map(|a| a * a).sum::<f64>().sqrt();
        v.iter_mut().for_each(|a| *a /= norm);
        found.push(v);
    }
    found
}

#[cfg(test)]
mod tests {
    use candle_core::D;

    use super::*;
    use crate::decoder::{Batch, DecoderConfig, Row};

    fn tiny() -> DecoderConfig {
        DecoderConfig::from_json(&serde_json::json!({
            "model_type": "llama", "vocab_size": 512, "hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 160, "rms_norm_eps": 1e-5,
            "rope_theta": 100000.0, "tie_word_embeddings": true, "hidden_act": "silu"
        }))
        .unwrap()
    }

    #[test]
    fn a_planted_model_copies_random_tokens_before_any_training() {
        let decoder = Decoder::init(tiny(), 3, 0.02, &Device::Cpu).unwrap();
        assert_eq!(decoder.plant_induction_heads(3).unwrap(), Planting::Done);
        let mut stream = Stream::new(9, 0, Purpose::Sampling, 0);
        let first: Vec<u32> = (0..40).map(|_| 8 + stream.below(500) as u32).collect();
        let ids: Vec<u32> = [&[1], &first[..], &[2], &first[..]].concat();
        let row = Row { labels: ids.iter().map(|i| *i as i32).collect(), ids };
        let batch = Batch::from_rows(std::slice::from_ref(&row), 0).unwrap();
        let said =
            decoder.logits(&batch).unwrap().argmax(D::Minus1).unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap();
        // From the second token of the copy on, the token before it has been seen.
        let right = (42..row.ids.len() - 1).filter(|t| said[*t] == row.ids[t + 1]).count();
        let asked = row.ids.len() - 1 - 42;
        assert!(right * 10 >= asked * 8, "{right} of {asked}");
    }

    #[test]
    fn a_shape_without_room_is_left_alone() {
        let mut config = tiny();
        config.num_hidden_layers = 1;
        let decoder = Decoder::init(config, 3, 0.02, &Device::Cpu).unwrap();
        assert_eq!(decoder.plant_induction_heads(3).unwrap(), Planting::NoRoom);
    }
}
