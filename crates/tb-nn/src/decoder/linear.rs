//! One linear layer of the decoder: base weight, optional bias, optional adapter. The products are in `ops::linear`.

use super::param::{Builder, LinearWeight, Parameter};
use super::{AdapterSwitch, Pass};
use crate::Result;
use crate::lora::LoraLayer;
use crate::ops::constant::ConstantRef;
use crate::ops::inputs::Inputs;
use crate::ops::linear::{Decomposed, Dropout, dora_linear, frozen_linear, full_linear, gain, lora_linear};
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

/// Given a checkpoint name and what is there, what takes its place, if anything does.
pub(crate) type Replacement<'a> = dyn FnMut(&str, &Parameter) -> Result<Option<Parameter>> + 'a;

/// A trained copy in place of a parameter of the base while the adapter is on: `modules_to_save`, and the biases that train along.
pub(crate) type Tuned = Option<Parameter>;

/// The copy while the adapter is on, else the base's own.
pub(crate) fn worn<'a>(base: &'a Parameter, tuned: &'a Tuned, adapter: AdapterSwitch) -> &'a Parameter {
    match (tuned, adapter) {
        (Some(tuned), AdapterSwitch::On) => tuned,
        (Some(_), AdapterSwitch::Off) | (None, _) => base,
    }
}

/// y = W x + b, plus the adapter's part while it is switched on.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// Module path, such as `model.layers.0.self_attn.q_proj`.
    pub(crate) path: String,
    pub(crate) weight: LinearWeight,
    pub(crate) bias: Option<Parameter>,
    pub(crate) lora: Option<LoraLayer>,
    pub(crate) tuned_weight: Tuned,
    pub(crate) tuned_bias: Tuned,
}

impl Linear {
    /// `<path>.weight` (outputs, inputs) and, if present, `<path>.bias` (outputs).
    pub(crate) fn build(b: &Builder<'_>, path: String, (outputs, inputs): (usize, usize), bias: Bias) -> Result<Self> {
        let weight = b.linear(&format!("{path}.weight"), (outputs, inputs))?;
        let bias = match bias {
            Bias::Present => Some(b.bias(&format!("{path}.bias"), outputs)?),
            Bias::Absent => None,
        };
        Ok(Self::bare(path, weight, bias))
    }

    /// A layer without an adapter.
    pub(crate) fn bare(path: String, weight: LinearWeight, bias: Option<Parameter>) -> Self {
        Self { path, weight, bias, lora: None, tuned_weight: None, tuned_bias: None }
    }

    /// x (..., I) to (..., O).
    pub(crate) fn forward(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        let Some(lora) = self.worn_lora(ctx) else { return self.base(x, ctx) };
        let (weight, dropout) = (self.rest(ctx), self.dropout(lora, ctx.pass));
        let y = match &lora.magnitude {
            None => self.with_bias(ctx, |bias| one_product(x, weight, bias, lora, dropout))?,
            Some(magnitude) => {
                let norms = lora.norms(magnitude, self.constant_weight(ctx))?;
                let (a, b, magnitude) = (lora.a.tensor(), lora.b.tensor(), magnitude.m.tensor());
                let adapter = Decomposed { a, b, scaling: lora.scaling, magnitude, norms: &norms };
                self.with_bias(ctx, |bias| dora_linear(x, weight, bias, adapter, dropout))?
            }
        };
        with_lora_bias(y, lora)
    }

    /// As [`Self::forward`], where the adapter sees `dropped` in place of x: x itself with dropout applied; none where there is no dropout.
    pub(crate) fn forward_dropped(&self, x: &Tensor, dropped: Option<&Tensor>, ctx: Context) -> Result<Tensor> {
        let Some(lora) = self.worn_lora(ctx) else { return self.base(x, ctx) };
        let Some(dropped) = dropped else { return self.forward(x, Context { pass: Pass::Eval, ..ctx }) };
        let weight = self.rest(ctx);
        let base = self.with_bias(ctx, |bias| frozen_linear(x, weight, bias))?;
        let y = match &lora.magnitude {
            None => (base + low_rank(dropped, lora)?)?,
            Some(magnitude) => {
                // PEFT: the base of x as it is, and (m / n - 1) W x^ + m / n s B A x^ of the dropped x^.
                let norms = lora.norms(magnitude, self.constant_weight(ctx))?;
                let of_dropped = frozen_linear(dropped, weight, None)?;
                let all = (&of_dropped + low_rank(dropped, lora)?)?;
                ((base + gain(&all, magnitude.m.tensor(), &norms, None)?)? - of_dropped)?
            }
        };
        with_lora_bias(y, lora)
    }

    /// Whether this layer can be a part of a fused block: its base is frozen, and the adapter plain.
    pub(crate) fn fuses(&self, ctx: Context) -> bool {
        let frozen = |p: Option<&Parameter>| p.is_none_or(|p| p.var().is_none());
        let plain = |lora: &LoraLayer| lora.magnitude.is_none() && lora.bias.is_none();
        self.worn_lora(ctx).is_none_or(plain) && frozen(self.worn_weight(ctx)) && frozen(self.worn_bias(ctx))
    }

    /// This layer as a part of a fused block; it must fuse.
    pub(crate) fn projection(&self, ctx: Context) -> Projection<'_> {
        let adapter = self.worn_lora(ctx).map(|lora| Adapter {
            a: lora.a.tensor(),
            b: lora.b.tensor(),
            scaling: lora.scaling,
            dropout: self.dropout(lora, ctx.pass),
        });
        Projection { weight: self.rest(ctx), bias: self.worn_bias(ctx).map(Parameter::tensor), adapter }
    }

    /// A mask of its own for every layer, step and row.
    pub(crate) fn dropout(&self, lora: &LoraLayer, pass: Pass) -> Option<Dropout> {
        match pass {
            Pass::Train { seed, step, first_row } if lora.dropout > 0.0 => {
                let stream = Stream::new(seed, step, Purpose::Dropout, name_key(&self.path));
                Some(Dropout { p: lora.dropout as f32, stream, first_row })
            }
            Pass::Train { .. } | Pass::Eval => None,
        }
    }

    /// The weight with the adapter in it, f32; as it is where there is none.
    pub(crate) fn merged(&self) -> Result<Tensor> {
        match (&self.lora, &self.tuned_weight) {
            (None, None) => self.weight.dense(),
            (None, Some(tuned)) => Ok(tuned.tensor().detach()),
            // A quantised weight is dequantised in the host's memory.
            (Some(lora), _) => lora.merged(&self.weight.dense()?.to_device(lora.a.tensor().device())?),
        }
    }

    /// The bias with the adapter in it, or why that cannot be; none where there is no bias.
    pub(crate) fn merged_bias(&self) -> Result<Option<Tensor>> {
        let bias = self.tuned_bias.as_ref().or(self.bias.as_ref()).map(|p| p.tensor().detach());
        let delta = self.lora.as_ref().map_or(Ok(None), LoraLayer::bias_delta)?;
        match (bias, delta) {
            (bias, None) => Ok(bias),
            (Some(bias), Some(delta)) => Ok(Some((bias.to_dtype(DType::F32)? + delta)?)),
            (None, Some(_)) => Err(crate::Error::config(
                "lora_bias",
                format!(
                    "cannot be merged: `{}` of the base model has no bias. Keep the adapter beside the base",
                    self.path
                ),
            )),
        }
    }

    /// (checkpoint name, parameter) of weight and bias; a quantised weight is none.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = (String, &Parameter)> {
        let weight = self.weight.parameter().map(|p| (format!("{}.weight", self.path), p));
        weight.into_iter().chain(self.bias.as_ref().map(|b| (format!("{}.bias", self.path), b)))
    }

    pub(crate) fn replace(&mut self, make: &mut Replacement<'_>) -> Result<()> {
        if let LinearWeight::Dense(weight) = &self.weight
            && let Some(new) = make(&format!("{}.weight", self.path), weight)?
        {
            self.weight = LinearWeight::Dense(new);
        }
        if let Some(bias) = &self.bias
            && let Some(new) = make(&format!("{}.bias", self.path), bias)?
        {
            self.bias = Some(new);
        }
        Ok(())
    }

    /// Every variable, for gradient checkpointing.
    pub(crate) fn vars(&self) -> impl Iterator<Item = &Var> {
        let base = [self.weight.parameter(), self.bias.as_ref(), self.tuned_weight.as_ref(), self.tuned_bias.as_ref()];
        let adapter = self.lora.iter().flat_map(|l| l.parameters().map(|(_, p)| p));
        base.into_iter().flatten().chain(adapter).filter_map(Parameter::var)
    }

    fn worn_lora(&self, ctx: Context) -> Option<&LoraLayer> {
        self.lora.as_ref().filter(|_| ctx.adapter == AdapterSwitch::On)
    }

    /// The weight in use, unless that is quantised.
    fn worn_weight(&self, ctx: Context) -> Option<&Parameter> {
        match (&self.tuned_weight, ctx.adapter) {
            (Some(tuned), AdapterSwitch::On) => Some(tuned),
            (Some(_), AdapterSwitch::Off) | (None, _) => self.weight.parameter(),
        }
    }

    /// The weight in use, as a product takes it that forms no gradient of it.
    fn constant_weight(&self, ctx: Context) -> ConstantRef<'_> {
        self.worn_weight(ctx).map_or_else(|| self.weight.constant(), |p| p.tensor().into())
    }

    /// The same without what the adapter in use took out of it.
    fn rest(&self, ctx: Context) -> ConstantRef<'_> {
        self.constant_weight(ctx).without(self.worn_lora(ctx).and_then(|lora| lora.taken.as_deref()))
    }

    fn worn_bias(&self, ctx: Context) -> Option<&Parameter> {
        match (&self.tuned_bias, ctx.adapter) {
            (Some(tuned), AdapterSwitch::On) => Some(tuned),
            (Some(_), AdapterSwitch::Off) | (None, _) => self.bias.as_ref(),
        }
    }

    /// W x + b without a low-rank adapter; whatever of W and b trains takes its gradient.
    fn base(&self, x: &Tensor, ctx: Context) -> Result<Tensor> {
        match (self.worn_weight(ctx), self.worn_bias(ctx)) {
            (Some(Parameter::Trained(weight)), None) => full_linear(x, weight.as_tensor(), None),
            (Some(Parameter::Trained(weight)), Some(Parameter::Trained(bias))) => {
                full_linear(x, weight.as_tensor(), Some(bias.as_tensor()))
            }
            (Some(Parameter::Trained(weight)), Some(Parameter::Frozen(bias))) => {
                full_linear(x, weight.as_tensor(), None)?.broadcast_add(bias).map_err(Into::into)
            }
            (Some(Parameter::Frozen(_)) | None, _) => {
                self.with_bias(ctx, |bias| frozen_linear(x, self.constant_weight(ctx), bias))
            }
        }
    }

    /// `make` with the bias, as far as that is frozen; a bias that trains is added to the result.
    fn with_bias(&self, ctx: Context, make: impl FnOnce(Option<&Tensor>) -> Result<Tensor>) -> Result<Tensor> {
        match self.worn_bias(ctx) {
            None => make(None),
            Some(Parameter::Frozen(bias)) => make(Some(bias)),
            Some(Parameter::Trained(bias)) => add_row(&make(None)?, bias.as_tensor()),
        }
    }
}

/// W x + b + s B A drop(x).
fn one_product(
    x: &Tensor,
    weight: ConstantRef<'_>,
    bias: Option<&Tensor>,
    lora: &LoraLayer,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    lora_linear(x, weight, bias, lora.a.tensor(), lora.b.tensor(), lora.scaling, dropout)
}

/// y (..., O) and s times the adapter's own bias, where it has one.
fn with_lora_bias(y: Tensor, lora: &LoraLayer) -> Result<Tensor> {
    match &lora.bias {
        None => Ok(y),
        Some(bias) => add_row(&y, &(bias.tensor() * lora.scaling)?),
    }
}

/// s B A x.
fn low_rank(x: &Tensor, lora: &LoraLayer) -> Result<Tensor> {
    let hidden = full_linear(x, lora.a.tensor(), None)?; // (..., r)
    Ok((full_linear(&hidden, lora.b.tensor(), None)? * lora.scaling)?)
}

/// y (..., O) + b (O), in y's dtype.
fn add_row(y: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(y.broadcast_add(&bias.to_dtype(y.dtype())?)?)
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
