//! One weight of the decoder, frozen or trained, and where weights come from. No names of layers here.

use crate::ops::WeightGrad;
use crate::weights::Weights;
use crate::{Result, random};
use candle_core::{DType, Device, Tensor, Var};
use tb_core::decoder_config::NormWeight;
use tb_core::random::{Purpose, Stream, name_key};

/// A weight that the loss may or may not reach.
#[derive(Clone, Debug)]
pub(crate) enum Parameter {
    /// Never changes; no gradient is formed.
    Frozen(Tensor),
    /// An optimiser's variable.
    Trained(Var),
}

impl Parameter {
    pub(crate) fn tensor(&self) -> &Tensor {
        match self {
            Self::Frozen(t) => t,
            Self::Trained(v) => v.as_tensor(),
        }
    }

    /// The values in f32, outside any graph.
    pub(crate) fn dense(&self) -> Result<Tensor> {
        Ok(self.tensor().detach().to_dtype(DType::F32)?)
    }

    pub(crate) fn grad(&self) -> WeightGrad {
        match self {
            Self::Frozen(_) => WeightGrad::Frozen,
            Self::Trained(_) => WeightGrad::Trained,
        }
    }

    pub(crate) fn var(&self) -> Option<&Var> {
        match self {
            Self::Frozen(_) => None,
            Self::Trained(v) => Some(v),
        }
    }
}

/// Where the decoder's weights come from.
pub(crate) enum Source<'a> {
    /// Frozen, from files.
    Checkpoint(&'a Weights),
    /// Trained, drawn from N(0, std) keyed by each weight's name; norms a factor of 1, biases 0.
    Random { seed: u64, std: f64 },
}

/// Hands out weights by their checkpoint names.
pub(crate) struct Builder<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
}

impl Builder<'_> {
    /// A matrix (rows, columns).
    pub(crate) fn matrix(&self, name: &str, shape: (usize, usize)) -> Result<Parameter> {
        match &self.source {
            Source::Checkpoint(weights) => {
                Ok(Parameter::Frozen(weights.tensor(name, shape, self.dtype, self.device)?))
            }
            Source::Random { seed, std } => {
                let stream = Stream::new(*seed, 0, Purpose::Init, name_key(name));
                let values = random::normal(shape, *std, stream)?;
                self.variable(&values)
            }
        }
    }

    /// The weight of a norm, (n), at first a factor of 1.
    pub(crate) fn norm(&self, name: &str, n: usize, kind: NormWeight) -> Result<Parameter> {
        match &self.source {
            Source::Checkpoint(weights) => Ok(Parameter::Frozen(weights.tensor(name, n, self.dtype, self.device)?)),
            Source::Random { .. } => match kind {
                NormWeight::Plain => self.variable(&Tensor::ones(n, DType::F32, self.device)?),
                NormWeight::OnePlus => self.variable(&Tensor::zeros(n, DType::F32, self.device)?),
            },
        }
    }

    /// A bias, (n).
    pub(crate) fn bias(&self, name: &str, n: usize) -> Result<Parameter> {
        match &self.source {
            Source::Checkpoint(weights) => Ok(Parameter::Frozen(weights.tensor(name, n, self.dtype, self.device)?)),
            Source::Random { .. } => self.variable(&Tensor::zeros(n, DType::F32, self.device)?),
        }
    }

    fn variable(&self, values: &Tensor) -> Result<Parameter> {
        Ok(Parameter::Trained(Var::from_tensor(&values.to_device(self.device)?.to_dtype(self.dtype)?)?))
    }
}
