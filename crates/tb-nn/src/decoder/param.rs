//! One weight of the decoder, frozen or trained, and where weights come from. No names of layers here.

use crate::ops::WeightGrad;
use crate::ops::constant::ConstantRef;
use crate::ops::slices::read;
use crate::quant::{Arena, Quantised, Rounding, read_stored};
use crate::weights::Weights;
use crate::{Error, Result, random};
use candle_core::{DType, Device, Tensor, Var};
use std::sync::Arc;
use tb_core::decoder_config::NormWeight;
use tb_core::quantization::Quantization;
use tb_core::random::{Purpose, Stream, name_key};
use tb_core::recipe::Dtype;

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

/// The weight (O, I) of a linear layer, or of the embedding (V, C).
#[derive(Clone, Debug)]
pub(crate) enum LinearWeight {
    /// A parameter like another.
    Dense(Parameter),
    /// In fewer bits; never changes.
    Quantised(Arc<Quantised>),
}

impl LinearWeight {
    /// (O, I).
    pub(crate) fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Dense(p) => Ok(p.tensor().dims2()?),
            Self::Quantised(q) => Ok(q.dims()),
        }
    }

    /// The numbers of the model, if this is its embedding.
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Dense(p) => p.tensor().dtype(),
            Self::Quantised(q) => match q.rounding() {
                Rounding::F32 => DType::F32,
                Rounding::Bf16 => DType::BF16,
            },
        }
    }

    /// As a product takes it that forms no gradient of it.
    pub(crate) fn constant(&self) -> ConstantRef<'_> {
        match self {
            Self::Dense(p) => p.tensor().into(),
            Self::Quantised(q) => q.into(),
        }
    }

    /// The values as a tensor outside any graph: dequantised to f32 where they are quantised, else as they are.
    pub(crate) fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Dense(p) => Ok(p.tensor().detach()),
            Self::Quantised(q) => q.dequantise(),
        }
    }

    /// The parameter, unless it is quantised.
    pub(crate) fn parameter(&self) -> Option<&Parameter> {
        match self {
            Self::Dense(p) => Some(p),
            Self::Quantised(_) => None,
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

/// The form of linear layers, and who brings them into it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// The loader, of plain numbers in the files.
    Quantise(Quantization),
    /// The files hold it; a matrix that they hold in plain numbers stays so.
    Stored(Quantization),
}

impl Form {
    pub(crate) fn quantization(self) -> Quantization {
        match self {
            Self::Quantise(quantization) | Self::Stored(quantization) => quantization,
        }
    }
}

/// Hands out weights by their checkpoint names.
pub(crate) struct Builder<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
    /// The form of linear layers, if in fewer bits.
    pub(crate) quantization: Option<Form>,
    /// Where matrices that a GGUF file holds in q8_0 stay so; none where they are expanded to the model's numbers.
    pub(crate) kept: Option<Arena>,
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

    /// A matrix (rows, columns) that is looked up or multiplied: in the blocks of its file, where these are to be kept.
    pub(crate) fn weight(&self, name: &str, shape: (usize, usize)) -> Result<LinearWeight> {
        let kept = match (&self.source, &self.kept) {
            (Source::Checkpoint(weights), Some(arena)) if self.device.is_cpu() => weights.q8_0(name, shape, arena)?,
            (Source::Checkpoint(_) | Source::Random { .. }, Some(_) | None) => None,
        };
        let Some(blocks) = kept else { return self.matrix(name, shape).map(LinearWeight::Dense) };
        let rounding = if self.dtype == DType::BF16 { Rounding::Bf16 } else { Rounding::F32 };
        Ok(LinearWeight::Quantised(Arc::new(Quantised::from_q8_0(blocks, shape, rounding))))
    }

    /// The weight of a linear layer: quantised as it is read where that is wanted, so that no more than one is ever held in full.
    pub(crate) fn linear(&self, name: &str, shape: (usize, usize)) -> Result<LinearWeight> {
        let (Some(form), Source::Checkpoint(weights)) = (self.quantization, &self.source) else {
            return self.weight(name, shape);
        };
        let quantization = form.quantization();
        let rounding = rounding(quantization, self.dtype);
        if let Form::Stored(_) = form {
            return match read_stored(weights, name, shape, rounding)? {
                Some(stored) => Ok(LinearWeight::Quantised(Arc::new(stored))),
                None => self.matrix(name, shape).map(LinearWeight::Dense),
            };
        }
        // bitsandbytes quantises what the model's numbers have made of the file's.
        let full = weights.tensor(name, shape, self.dtype, &Device::Cpu)?;
        read!(values = full);
        let quantised = Quantised::new(&values, shape, quantization, rounding)
            .map_err(|e| Error::file(weights.origin(), format!("tensor `{name}`: {e}")))?;
        Ok(LinearWeight::Quantised(Arc::new(quantised)))
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

/// To what a dequantised weight is rounded: bitsandbytes gives it in the numbers that the model had, then in those of the product.
fn rounding(quantization: Quantization, dtype: DType) -> Rounding {
    let narrow = match quantization {
        Quantization::EightBit => false,
        Quantization::FourBit { compute, .. } => compute == Dtype::Bf16,
    };
    if narrow || dtype == DType::BF16 { Rounding::Bf16 } else { Rounding::F32 }
}
