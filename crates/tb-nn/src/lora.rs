//! One adapted module as PEFT computes it: first values, the factors of its product, what merging adds. The configuration and which
//! modules are adapted are tb-core's (`lora`, `adapter`), files are in `lora/adapter_file.rs`, products in `ops::linear`.

mod adapter_file;
mod decomposition;
mod first_values;

pub use adapter_file::read_adapter_config;
pub(crate) use adapter_file::{PREFIX, peft_name, read_adapter, write_adapter};
pub(crate) use first_values::part_of;
pub use tb_core::adapter::TargetModules;
pub use tb_core::lora::{LoraConfig, LoraForm, LoraInit, ModuleNames, ScalingRule, TrainedBias};

use crate::Result;
use crate::decoder::param::Parameter;
use crate::ops::constant::{ConstantRef, Taken};
use crate::ops::linear::{column_norms, row_norms};
use candle_core::{DType, Tensor};
use std::sync::{Arc, OnceLock};
use tb_core::adapter::{Adapted, Role};

/// The adapter of one module. Of the embedding A is (r, V) and B (C, r), elsewhere A is (r, I) and B (O, r); all f32.
#[derive(Clone, Debug)]
pub(crate) struct LoraLayer {
    pub(crate) a: Parameter,
    pub(crate) b: Parameter,
    /// (O): `lora_bias`; s times it is added.
    pub(crate) bias: Option<Parameter>,
    /// DoRA's lengths.
    pub(crate) magnitude: Option<Magnitude>,
    /// A and B at the start, where they were taken out of the base weight.
    pub(crate) taken: Option<Box<Taken>>,
    pub(crate) role: Role,
    pub(crate) scaling: f64,
    pub(crate) dropout: f64,
}

/// DoRA's trained lengths m (O), of the embedding (C).
#[derive(Clone, Debug)]
pub(crate) struct Magnitude {
    pub(crate) m: Parameter,
    /// ||W + s B A|| of an adapter that never changes.
    norms: Arc<OnceLock<Tensor>>,
}

impl Magnitude {
    pub(crate) fn new(m: Parameter) -> Self {
        Self { m, norms: Arc::new(OnceLock::new()) }
    }
}

impl LoraLayer {
    /// A and B of the whole change of the base, with what was taken from it subtracted, outside any graph: [A; A0] and [B, -B0].
    fn factors(&self) -> Result<(Tensor, Tensor)> {
        let (a, b) = (self.a.tensor().detach(), self.b.tensor().detach());
        match &self.taken {
            None => Ok((a, b)),
            Some(taken) => Ok((Tensor::cat(&[&a, &taken.a], 0)?, Tensor::cat(&[&b, &taken.b.neg()?], 1)?)),
        }
    }

    /// ||W + s B A|| for the weight W as it is stored, dequantised, outside any graph; computed once where nothing changes.
    pub(crate) fn norms<'w>(&self, magnitude: &Magnitude, weight: impl Into<ConstantRef<'w>>) -> Result<Tensor> {
        if let Some(norms) = magnitude.norms.get() {
            return Ok(norms.clone());
        }
        let norms = self.norms_of(weight.into())?;
        if [&self.a, &self.b].iter().all(|p| p.var().is_none()) {
            return Ok(magnitude.norms.get_or_init(|| norms).clone());
        }
        Ok(norms)
    }

    fn norms_of(&self, weight: ConstantRef<'_>) -> Result<Tensor> {
        let (a, b) = self.factors()?;
        match self.role {
            Role::Linear | Role::Head => row_norms(weight, &a, &b, self.scaling),
            Role::Embedding => column_norms(&weight.dense()?, &a, &b, self.scaling),
        }
    }

    /// The weight with the adapter in it, f32: W + s B A, of the embedding W + s (B A)', each row (column) stretched to its length.
    pub(crate) fn merged(&self, weight: &Tensor) -> Result<Tensor> {
        let weight = weight.detach().to_dtype(DType::F32)?;
        let (a, b) = self.factors()?;
        let delta = (b.matmul(&a)? * self.scaling)?;
        let sum = match self.role {
            Role::Linear | Role::Head => (&weight + delta)?,
            Role::Embedding => (&weight + delta.t()?)?,
        };
        let Some(magnitude) = &self.magnitude else { return Ok(sum) };
        let gains = (magnitude.m.tensor().detach() / self.norms_of((&weight).into())?)?;
        Ok(match self.role {
            Role::Linear | Role::Head => sum.broadcast_mul(&gains.unsqueeze(1)?)?,
            Role::Embedding => sum.broadcast_mul(&gains)?,
        })
    }

    /// What merging adds to the bias: s times the adapter's.
    pub(crate) fn bias_delta(&self) -> Result<Option<Tensor>> {
        self.bias.as_ref().map(|bias| Ok((bias.tensor().detach() * self.scaling)?)).transpose()
    }

    /// Everything stored, by its part of PEFT's name.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (Factor, &Parameter)> {
        [
            Some((Factor::A, &self.a)),
            Some((Factor::B, &self.b)),
            self.bias.as_ref().map(|p| (Factor::Bias, p)),
            self.magnitude.as_ref().map(|m| (Factor::Magnitude, &m.m)),
        ]
        .into_iter()
        .flatten()
    }

    /// What is saved: A and B of twice the rank where they were taken from the base, so that they fit the unchanged base.
    pub(crate) fn saved(&self) -> Result<Vec<(Factor, Tensor)>> {
        let (a, b) = self.factors()?;
        Ok(self
            .parameters()
            .map(|(factor, p)| {
                let tensor = match factor {
                    Factor::A => &a,
                    Factor::B => &b,
                    Factor::Bias | Factor::Magnitude => p.tensor(),
                };
                (factor, tensor.detach())
            })
            .collect())
    }
}

/// One trained tensor of an adapted module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    A,
    B,
    Bias,
    Magnitude,
}

impl Factor {
    /// Its shape on a module.
    pub(crate) fn shape(self, module: &Adapted) -> Vec<usize> {
        match self {
            Self::A => vec![module.rank, module.inputs],
            Self::B => vec![module.outputs, module.rank],
            Self::Bias | Self::Magnitude => vec![module.outputs],
        }
    }
}

/// The tensors of a module besides A and B.
pub(crate) fn extra(form: LoraForm) -> Option<Factor> {
    match form {
        LoraForm::Plain => None,
        LoraForm::WithBias => Some(Factor::Bias),
        LoraForm::WeightDecomposed => Some(Factor::Magnitude),
    }
}
