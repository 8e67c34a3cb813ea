//! AdamW as torch.optim.AdamW computes it (Loshchilov and Hutter 2019, arXiv:1711.05101): f32 moments, decoupled decay.

use std::collections::HashMap;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result as CandleResult, Tensor, Var, bail};
use rayon::prelude::*;

use super::Gradients;
use crate::error::{Error, Result};
use crate::ops::lanes::vectorized;
use crate::ops::slices::{floats, read, store};

/// Elements per parallel piece.
const PIECE: usize = 1 << 13;

/// The constants of AdamW; the learning rate comes with each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay; not applied to biases and norms, as in transformers' Trainer.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

struct Parameter {
    name: String,
    var: Var,
    decays: bool,
    mean: Vec<f32>,
    square: Vec<f32>,
}

/// The optimiser: parameters with their two moments and the number of steps taken.
pub struct AdamW {
    parameters: Vec<Parameter>,
    config: AdamWConfig,
    step: u64,
}

/// Whether weight decay applies: transformers' Trainer leaves out biases and the weights of norms.
fn decays(name: &str) -> bool {
    let module = name.strip_suffix(".weight").unwrap_or(name);
    !name.ends_with("bias") && !module.rsplit('.').next().unwrap_or(module).contains("norm")
}

impl AdamW {
    /// An optimiser over named variables (f32 or bf16), with zero moments.
    #[must_use]
    pub fn new(parameters: Vec<(String, Var)>, config: AdamWConfig) -> Self {
        let parameters = parameters
            .into_iter()
            .map(|(name, var)| {
                let n = var.elem_count();
                Parameter { decays: decays(&name), name, var, mean: vec![0.0; n], square: vec![0.0; n] }
            })
            .collect();
        Self { parameters, config, step: 0 }
    }

    /// Steps taken.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// One step with learning rate `lr`:
    /// p -= lr wd p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps).
    ///
    /// The gradients must be those of this optimiser's parameters, in order.
    pub fn step(&mut self, gradients: &Gradients, lr: f64) -> Result<()> {
        let given: Vec<(&str, &[f32])> = gradients.iter().collect();
        let fits = given.len() == self.parameters.len()
            && given.iter().zip(&self.parameters).all(|((n, g), p)| *n == p.name && g.len() == p.mean.len());
        if !fits {
            return Err(Error::State { what: "the gradients are not those of the optimiser's parameters".into() });
        }
        self.step += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        let t = self.step as f64;
        for (p, (_, gradient)) in self.parameters.iter_mut().zip(given) {
            let update = Update {
                gradient,
                moments: std::sync::Mutex::new((&mut p.mean, &mut p.square)),
                scalars: Scalars {
                    keep: (1.0 - lr * if p.decays { weight_decay } else { 0.0 }) as f32,
                    beta2: beta2 as f32,
                    one_minus_beta1: (1.0 - beta1) as f32,
                    one_minus_beta2: (1.0 - beta2) as f32,
                    step_size: (lr / (1.0 - beta1.powf(t))) as f32,
                    root_correction: (1.0 - beta2.powf(t)).sqrt() as f32,
                    eps: eps as f32,
                },
            };
            p.var.inplace_op1(&update)?;
        }
        Ok(())
    }

    /// The moments as named tensors: `<parameter>.exp_avg` and `<parameter>.exp_avg_sq`, in the parameters' order.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::with_capacity(2 * self.parameters.len());
        for p in &self.parameters {
            for (kind, values) in [("exp_avg", &p.mean), ("exp_avg_sq", &p.square)] {
                all.push((format!("{}.{kind}", p.name), Tensor::from_slice(values, p.var.shape(), &Device::Cpu)?));
            }
        }
        Ok(all)
    }

    /// Takes over moments written by [`AdamW::state`] and the number of steps they belong to. Nothing changes when one is
    /// missing or has another shape.
    pub fn load_state(&mut self, state: &HashMap<String, Tensor>, step: u64) -> Result<()> {
        let take = |p: &Parameter, kind: &str| -> Result<Vec<f32>> {
            let name = format!("{}.{kind}", p.name);
            let Some(t) = state.get(&name) else {
                return Err(Error::State { what: format!("`{name}` is missing") });
            };
            if t.shape() != p.var.shape() {
                let what = format!("`{name}` has shape {:?}, the parameter has {:?}", t.dims(), p.var.dims());
                return Err(Error::State { what });
            }
            read!(values = t);
            Ok(values.into_owned())
        };
        let loaded = self
            .parameters
            .iter()
            .map(|p| Ok((take(p, "exp_avg")?, take(p, "exp_avg_sq")?)))
            .collect::<Result<Vec<_>>>()?;
        for (p, (mean, square)) in self.parameters.iter_mut().zip(loaded) {
            (p.mean, p.square) = (mean, square);
        }
        self.step = step;
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Scalars {
    keep: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

/// The in-place update of one variable.
struct Update<'a> {
    gradient: &'a [f32],
    moments: std::sync::Mutex<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
    scalars: Scalars,
}

vectorized! {
    fn update_piece(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], s: Scalars) {
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            *p *= s.keep;
            *m += (g - *m) * s.one_minus_beta1;
            *v = *v * s.beta2 + g * g * s.one_minus_beta2;
            *p -= s.step_size * (*m / (v.sqrt() / s.root_correction + s.eps));
        }
    }
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> CandleResult<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a trained variable must be contiguous");
        };
        let mut moments = self.moments.lock().expect("no other user of the lock can have panicked");
        let (mean, square) = &mut *moments;
        let mut run = |values: &mut [f32]| {
            values
                .par_chunks_mut(PIECE)
                .zip(self.gradient.par_chunks(PIECE))
                .zip(mean.par_chunks_mut(PIECE))
                .zip(square.par_chunks_mut(PIECE))
                .for_each(|(((p, g), m), v)| update_piece(p, g, m, v, self.scalars));
        };
        if let CpuStorage::F32(all) = storage {
            run(&mut all[start..end]);
            return Ok(());
        }
        if (start, end) != (0, layout.shape().elem_count()) {
            bail!("a trained variable must own its storage");
        }
        let mut wide = floats(storage, layout)?.into_owned();
        run(&mut wide);
        *storage = store(wide, storage.dtype())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
