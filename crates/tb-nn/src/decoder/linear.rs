//! One linear layer of the decoder: base weight, optional bias, optional adapter. The products are in `ops::linear`.

use super::param::{Builder, Parameter};
use super::{AdapterSwitch, Pass};
use crate::Result;
use crate::lora::{LoraLayer, Matrix, peft_name};
use crate::ops::inputs::Inputs;
use crate::ops::linear::{Dropout, frozen_linear, full_linear, lora_linear};
use crate::ops::projection::{Adapter, Projection};
use candle_core::{DType, Tensor, Var};
use tb_core::decoder_config::Bias;
use tb_core::random::{Purpose, Stream, name_key};

/// What a forward pass needs to know besides its input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) pass: Pass,
    pub(crate) adapter: AdapterSwitch,
    /// Size of the noise on embedded tokens, in training.
    pub(crate) noise_alpha: f64,
}

/// y = W x + b, plus the adapter's part while it is switched on.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// Module path, such as `model.layers.0.self_attn.q_proj`.
    pub(crate) path: String,
    pub(crate) weight: Parameter,
    pub(crate) bias: Option<Parameter>,
    pub(crate) lora: Option<LoraLayer>,
}

impl Linear {
    /// `<path>.weight` (outputs, inputs) and, if present, `<path>.bias` (outputs).
    pub(crate) fn build(b: &Builder<'_>, path: String, (outputs, inputs): (usize, usize), bias: Bias) -> Result<Self> {
        let weight = b.matrix(&format!("{path}.weight"), (outputs, inputs))?;
        let bias = match bias {
            Bias::Present => Some(b.bias(&format!("{path}.bias"), outputs)?),
            Bias::Absent => None,
        };
        Ok(Self { path, weight, bias, lora: None })
    }

    /// x (..., I) to (..., O).
    pub(crate) fn forward(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Parameter::tensor);
        match (&self.lora, ctx.adapter, &self.weight) {
            (Some(lora), AdapterSwitch::On, weight) => lora_linear(
                x,
                weight.tensor(),
                bias,
                lora.a.tensor(),
                lora.b.tensor(),
                lora.scaling,
                self.dropout(lora, ctx.pass),
            ),
            (_, _, Parameter::Frozen(weight)) => frozen_linear(x, weight, bias),
            (_, _, Parameter::Trained(weight)) => full_linear(x, weight.as_tensor(), bias),
        }
    }

    /// This layer as a part of a fused block; its base weight must be frozen.
    pub(crate) fn projection(&self, ctx: Context) -> Projection<'_> {
        let adapter = match (&self.lora, ctx.adapter) {
            (Some(lora), AdapterSwitch::On) => Some(Adapter {
                a: lora.a.tensor(),
                b: lora.b.tensor(),
                scaling: lora.scaling,
                dropout: self.dropout(lora, ctx.pass),
            }),
            (Some(_), AdapterSwitch::Off) | (None, _) => None,
        };
        Projection { weight: self.weight.tensor(), bias: self.bias.as_ref().map(Parameter::tensor), adapter }
    }

    /// A mask of its own for every layer, step and row.
    fn dropout(&self, lora: &LoraLayer, pass: Pass) -> Option<Dropout> {
        match pass {
            Pass::Train { seed, step, first_row } if lora.dropout > 0.0 => {
                let stream = Stream::new(seed, step, Purpose::Dropout, name_key(&self.path));
                Some(Dropout { p: lora.dropout as f32, stream, first_row })
            }
            Pass::Train { .. } | Pass::Eval => None,
        }
    }

    /// W + s B A in f32, or W where there is no adapter.
    pub(crate) fn merged(&self) -> Result<Tensor> {
        let weight = self.weight.tensor().detach();
        match &self.lora {
            None => Ok(weight),
            Some(lora) => Ok((weight.to_dtype(DType::F32)? + lora.delta()?)?),
        }
    }

    /// (checkpoint name, parameter) of weight and bias.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (String, &Parameter)> {
        let weight = (format!("{}.weight", self.path), &self.weight);
        std::iter::once(weight).chain(self.bias.as_ref().map(|b| (format!("{}.bias", self.path), b)))
    }

    /// (PEFT key, parameter) of A and B.
    pub(crate) fn adapter_parameters(&self) -> impl Iterator<Item = (String, &Parameter)> {
        self.lora
            .iter()
            .flat_map(|l| [(peft_name(&self.path, Matrix::A), &l.a), (peft_name(&self.path, Matrix::B), &l.b)])
    }

    /// Every variable, for gradient checkpointing.
    pub(crate) fn vars(&self) -> impl Iterator<Item = &Var> {
        [Some(&self.weight), self.bias.as_ref(), self.lora.as_ref().map(|l| &l.a), self.lora.as_ref().map(|l| &l.b)]
            .into_iter()
            .flatten()
            .filter_map(Parameter::var)
    }
}

/// N linears of the same input, which a family keeps apart or stores as one matrix.
#[derive(Clone, Debug)]
pub(crate) enum InputLinears<const N: usize> {
    /// Each a module of its own.
    Separate([Linear; N]),
    /// One module; its result is cut into N of these widths.
    Joined(Linear, [usize; N]),
}

impl<const N: usize> InputLinears<N> {
    /// The N results of x (..., I), each (..., O).
    pub(crate) fn forward(&self, x: &Tensor, ctx: Context) -> Result<[Tensor; N]> {
        let all: Vec<Tensor> = match self {
            Self::Separate(linears) => linears.iter().map(|l| l.forward(x, ctx)).collect::<Result<_>>()?,
            Self::Joined(linear, widths) => {
                let joined = linear.forward(x, ctx)?; // (..., sum of O)
                let last = joined.rank() - 1;
                let mut at = 0;
                let part = |width: &usize| {
                    at += width;
                    Ok(joined.narrow(last, at - width, *width)?.contiguous()?) // (..., O)
                };
                widths.iter().map(part).collect::<Result<_>>()?
            }
        };
        Ok(all.try_into().unwrap_or_else(|_| unreachable!("one result was made for each of N")))
    }

    /// As a part of a fused block; the base weights must be frozen.
    pub(crate) fn projections(&self, ctx: Context) -> Inputs<'_, N> {
        match self {
            Self::Separate(linears) => Inputs::Separate(linears.each_ref().map(|l| l.projection(ctx))),
            Self::Joined(linear, _) => Inputs::Joined(linear.projection(ctx)),
        }
    }

    pub(crate) fn linears(&self) -> &[Linear] {
        match self {
            Self::Separate(linears) => linears,
            Self::Joined(linear, _) => std::slice::from_ref(linear),
        }
    }

    pub(crate) fn linears_mut(&mut self) -> &mut [Linear] {
        match self {
            Self::Separate(linears) => linears,
            Self::Joined(linear, _) => std::slice::from_mut(linear),
        }
    }
}
