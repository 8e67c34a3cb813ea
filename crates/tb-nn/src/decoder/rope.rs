//! The table of rotary angles: inverse frequencies as transformers computes them, cosines and sines on demand. The rotation is `ops::rope`.

use crate::Result;
use candle_core::{Device, Tensor};
use std::sync::RwLock;
use tb_core::decoder_config::{DecoderConfig, RopeScaling};

/// Cosines and sines of position * frequency, grown to the longest position asked for.
#[derive(Debug)]
pub(crate) struct RopeTable {
    inverse_frequencies: Vec<f32>,
    device: Device,
    table: RwLock<(usize, Tensor, Tensor)>,
}

/// Inverse frequencies, D/2 values: `theta^(-2i/D)`, changed by the scaling. All steps in f32, as in transformers.
#[must_use]
pub(crate) fn inverse_frequencies(config: &DecoderConfig) -> Vec<f32> {
    let d = config.head_dim;
    (0..d)
        .step_by(2)
        .map(|i| {
            let exponent = i as f32 / d as f32;
            let base = 1.0 / config.rope_theta.powf(f64::from(exponent)) as f32;
            scale(base, &config.rope_scaling)
        })
        .collect()
}

fn scale(frequency: f32, scaling: &RopeScaling) -> f32 {
    match *scaling {
        RopeScaling::Default => frequency,
        RopeScaling::Linear { factor } => frequency / factor as f32,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: original,
        } => {
            let wavelength = 2.0 * std::f32::consts::PI / frequency;
            if wavelength > (original / low_freq_factor) as f32 {
                return frequency / factor as f32;
            }
            if wavelength < (original / high_freq_factor) as f32 {
                return frequency;
            }
            let smooth =
                (original as f32 / wavelength - low_freq_factor as f32) / (high_freq_factor - low_freq_factor) as f32;
            (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
        }
    }
}

impl RopeTable {
    pub(crate) fn new(config: &DecoderConfig, device: &Device) -> Result<Self> {
        let inverse_frequencies = inverse_frequencies(config);
        let (cos, sin) = angles(&inverse_frequencies, 0, device)?;
        Ok(Self { inverse_frequencies, device: device.clone(), table: RwLock::new((0, cos, sin)) })
    }

    /// Cosines and sines for positions 0..P with P >= `positions`; both (P, D/2) f32.
    pub(crate) fn upto(&self, positions: usize) -> Result<(Tensor, Tensor)> {
        {
            let held = self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            if held.0 >= positions {
                return Ok((held.1.clone(), held.2.clone()));
            }
        }
        let size = positions.next_power_of_two().max(256);
        let (cos, sin) = angles(&self.inverse_frequencies, size, &self.device)?;
        let mut held = self.table.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        *held = (size, cos.clone(), sin.clone());
        Ok((cos, sin))
    }
}

fn angles(frequencies: &[f32], positions: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    // The product is rounded to f32 before the cosine is taken, as in transformers.
    let angle = |i: usize| f64::from((i / frequencies.len()) as f32 * frequencies[i % frequencies.len()]);
    let n = positions * frequencies.len();
    let table = |f: fn(f64) -> f64| -> Result<Tensor> {
        let values: Vec<f32> = (0..n).map(|i| f(angle(i)) as f32).collect();
        Ok(Tensor::from_vec(values, (positions, frequencies.len()), device)?)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_linear_scaling_divides_every_frequency() {
        let config = DecoderConfig::from_json(&json!({
            "model_type": "llama", "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 4.0},
        }));
        // 500^(-2i/8) / 4
        let expected = [0.25, 0.25 / 500f32.powf(0.25), 0.25 / 500f32.sqrt(), 0.25 / 500f32.powf(0.75)];
        for (got, want) in inverse_frequencies(&config.unwrap()).iter().zip(expected) {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
    }
}
