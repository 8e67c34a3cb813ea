//! AdamW as torch.optim.AdamW computes it (Loshchilov and Hutter 2019, arXiv:1711.05101): f32 moments, decoupled decay.
//! Or with moments in 8 bits as bitsandbytes keeps them (Dettmers et al. 2022, arXiv:2110.02861).

mod moments;

use std::collections::HashMap;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result as CandleResult, Tensor, Var, bail};

use super::Gradients;
use super::gradients::Sum;
use crate::error::{Error, Result};
use crate::ops::lanes::vectorized;
use crate::ops::slices::{floats, store};
use crate::profile;
use moments::State;

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
    /// How the moments are held between steps.
    pub moments: Moments,
}

/// How AdamW's moments are held between steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Moments {
    /// Two f32 per weight.
    #[default]
    F32,
    /// Two bytes per weight and two scales per 256 of them; tensors below 4,096 values keep f32, as in bitsandbytes.
    EightBit,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, moments: Moments::F32 }
    }
}

struct Parameter {
    name: String,
    var: Var,
    decays: bool,
    state: State,
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
            .map(|(name, var)| Parameter { decays: decays(&name), name, state: State::zero(&var, config.moments), var })
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
        let given: Vec<(&str, &Sum)> = gradients.sums().collect();
        let fits = given.len() == self.parameters.len()
            && given.iter().zip(&self.parameters).all(|((n, g), p)| *n == p.name && g.len() == p.var.elem_count());
        if !fits {
            return Err(Error::State { what: "the gradients are not those of the optimiser's parameters".into() });
        }
        self.step += 1;
        let AdamWConfig { beta1, beta2, eps, weight_decay, moments: _ } = self.config;
        let t = self.step as f64;
        let scalars = |decays: bool| Scalars {
            keep: (1.0 - lr * if decays { weight_decay } else { 0.0 }) as f32,
            beta2: beta2 as f32,
            one_minus_beta1: (1.0 - beta1) as f32,
            one_minus_beta2: (1.0 - beta2) as f32,
            step_size: (lr / (1.0 - beta1.powf(t))) as f32,
            root_correction: (1.0 - beta2.powf(t)).sqrt() as f32,
            eps: eps as f32,
        };
        #[cfg(feature = "cuda")]
        if self.gpu_step(&given, [scalars(false), scalars(true)])? {
            return Ok(());
        }
        let _span = profile::span("adamw");
        for (p, (_, gradient)) in self.parameters.iter_mut().zip(given) {
            let gradient = gradient.values()?;
            let state = std::sync::Mutex::new(&mut p.state);
            p.var.inplace_op1(&Update { gradient: &gradient, state, scalars: scalars(p.decays) })?;
        }
        Ok(())
    }

    /// The moments as named tensors in the parameters' order: `<parameter>.exp_avg` and `<parameter>.exp_avg_sq`, or in 8 bits
    /// `<parameter>.state1`, `absmax1`, `state2` and `absmax2`.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::with_capacity(4 * self.parameters.len());
        for p in &self.parameters {
            all.extend(p.state.tensors(&p.name, p.var.shape())?);
        }
        Ok(all)
    }

    /// Takes over moments written by [`AdamW::state`] and the number of steps they belong to. Nothing changes when one is
    /// missing or has another shape.
    pub fn load_state(&mut self, state: &HashMap<String, Tensor>, step: u64) -> Result<()> {
        let loaded =
            self.parameters.iter().map(|p| p.state.read(&p.name, p.var.shape(), state)).collect::<Result<Vec<_>>>()?;
        for (p, state) in self.parameters.iter_mut().zip(loaded) {
            p.state = state;
        }
        self.step = step;
        Ok(())
    }
}

/// The constants of one step.
#[derive(Clone, Copy)]
pub(crate) struct Scalars {
    pub(crate) keep: f32,
    pub(crate) beta2: f32,
    pub(crate) one_minus_beta1: f32,
    pub(crate) one_minus_beta2: f32,
    pub(crate) step_size: f32,
    pub(crate) root_correction: f32,
    pub(crate) eps: f32,
}

/// The in-place update of one variable.
struct Update<'a> {
    gradient: &'a [f32],
    state: std::sync::Mutex<&'a mut State>,
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
        let mut state = self.state.lock().expect("no other user of the lock can have panicked");
        let mut run = |values: &mut [f32]| state.update(values, self.gradient, self.scalars);
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

    /// Where the moments are held in the host's memory (8 bits), the values are taken there and back.
    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, layout: &Layout) -> CandleResult<()> {
        use candle_core::backend::BackendDevice;
        let mut values = storage.to_cpu_storage()?;
        self.cpu_fwd(&mut values, layout)?;
        *storage = storage.device.storage_from_cpu_storage_owned(values)?;
        Ok(())
    }
}

#[cfg(feature = "cuda")]
impl AdamW {
    /// The step where all parameters and moments are f32 on one GPU, in one launch; whether they are.
    fn gpu_step(&mut self, given: &[(&str, &Sum)], [plain, decayed]: [Scalars; 2]) -> Result<bool> {
        let mut trained = Vec::with_capacity(given.len());
        let mut by = 1.0;
        for (p, (_, sum)) in self.parameters.iter().zip(given) {
            match (*sum, &p.state) {
                (Sum::Device(gradient, factor), State::Device { mean, square })
                    if p.var.dtype() == candle_core::DType::F32 =>
                {
                    by = *factor;
                    let keep = if p.decays { decayed.keep } else { plain.keep };
                    trained.push((p.var.as_tensor(), gradient, mean.as_tensor(), square.as_tensor(), keep));
                }
                _ => return Ok(false),
            }
        }
        let Some((first, ..)) = trained.first() else { return Ok(false) };
        crate::ops::gpu::Gpu::of_tensor(first)?.adamw(&trained, by as f32, plain)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
