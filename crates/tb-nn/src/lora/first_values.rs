//! First values of a fresh adapter (`init_lora_weights`), keyed by the weights' names, so that the order of modules does not matter.

use super::decomposition::{qr, singular, singular_iterated};
use super::{Factor, LoraConfig, LoraForm, LoraInit, LoraLayer, Magnitude, peft_name};
use crate::decoder::param::Parameter;
use crate::ops::constant::{ConstantRef, Taken};
use crate::{Error, Result, random};
use candle_core::{DType, Device, Tensor, Var};
use tb_core::adapter::{Adapted, Role};
use tb_core::random::{Purpose, Stream, name_key};

impl LoraLayer {
    /// First values for a module whose weight is `weight` (O, I), of the embedding (V, C); it is dequantised only where they come from it.
    /// `lost` is what quantising took from it, which LoftQ needs.
    pub(crate) fn init(
        config: &LoraConfig,
        module: &Adapted,
        weight: ConstantRef<'_>,
        lost: Option<&Tensor>,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let (a, b) = match module.role {
            Role::Embedding => embedding(config, module, seed)?,
            Role::Linear | Role::Head => match config.init {
                LoraInit::KaimingUniform | LoraInit::Gaussian | LoraInit::Random => drawn(config, module, seed)?,
                LoraInit::Pissa | LoraInit::PissaIterated(_) | LoraInit::Olora => {
                    part_of(config.init, module, &weight.dense()?, seed)?
                }
                LoraInit::Loftq => {
                    let problem =
                        || format!("loftq is for what is quantised: leave `{}` out of target_modules", module.path);
                    let lost = lost.ok_or_else(|| Error::config("init_lora_weights", problem()))?;
                    part_of(config.init, module, lost, seed)?
                }
            },
        };
        let taken = match (config.init.takes_from_base(), module.role) {
            (true, Role::Linear | Role::Head) => {
                Some(Box::new(Taken { a: a.to_device(device)?, b: b.to_device(device)?, scaling: module.scaling }))
            }
            (true, Role::Embedding) | (false, _) => None,
        };
        let trained =
            |t: &Tensor| -> Result<Parameter> { Ok(Parameter::Trained(Var::from_tensor(&t.to_device(device)?)?)) };
        let mut layer = Self {
            a: trained(&a)?,
            b: trained(&b)?,
            bias: None,
            magnitude: None,
            taken,
            role: module.role,
            scaling: module.scaling,
            dropout: config.lora_dropout,
        };
        match config.form {
            LoraForm::Plain => {}
            LoraForm::WithBias => {
                let bias = match config.init {
                    LoraInit::Random => {
                        let bound = 1.0 / (module.rank as f64).sqrt();
                        random::uniform(module.outputs, -bound, bound, stream(module, Factor::Bias, seed))?
                    }
                    _ => Tensor::zeros(module.outputs, DType::F32, device)?,
                };
                layer.bias = Some(trained(&bias)?);
            }
            LoraForm::WeightDecomposed => {
                let lengths = layer.norms_of(weight)?;
                layer.magnitude = Some(Magnitude::new(trained(&lengths)?));
            }
        }
        Ok(layer)
    }
}

fn stream(module: &Adapted, factor: Factor, seed: u64) -> Stream {
    Stream::new(seed, 0, Purpose::Init, name_key(&peft_name(&module.path, module.role, factor)))
}

fn drawn(config: &LoraConfig, module: &Adapted, seed: u64) -> Result<(Tensor, Tensor)> {
    let (shape_a, shape_b) = ((module.rank, module.inputs), (module.outputs, module.rank));
    let bound = 1.0 / (module.inputs as f64).sqrt();
    let uniform =
        |shape: (usize, usize), bound: f64, factor| random::uniform(shape, -bound, bound, stream(module, factor, seed));
    let zeros = || Tensor::zeros(shape_b, DType::F32, &Device::Cpu);
    Ok(match config.init {
        LoraInit::Gaussian => {
            (random::normal(shape_a, 1.0 / module.rank as f64, stream(module, Factor::A, seed))?, zeros()?)
        }
        LoraInit::Random => {
            (uniform(shape_a, bound, Factor::A)?, uniform(shape_b, 1.0 / (module.rank as f64).sqrt(), Factor::B)?)
        }
        _ => (uniform(shape_a, bound, Factor::A)?, zeros()?),
    })
}

/// PEFT's values for an embedding: A zero and B normal, or both normal; there is no part of the base to take.
fn embedding(config: &LoraConfig, module: &Adapted, seed: u64) -> Result<(Tensor, Tensor)> {
    let (shape_a, shape_b) = ((module.rank, module.inputs), (module.outputs, module.rank));
    let normal = |shape: (usize, usize), factor| random::normal(shape, 1.0, stream(module, factor, seed));
    Ok(match config.init {
        LoraInit::KaimingUniform | LoraInit::Gaussian => {
            (Tensor::zeros(shape_a, DType::F32, &Device::Cpu)?, normal(shape_b, Factor::B)?)
        }
        LoraInit::Random => (normal(shape_a, Factor::A)?, normal(shape_b, Factor::B)?),
        LoraInit::Pissa | LoraInit::PissaIterated(_) | LoraInit::Olora | LoraInit::Loftq => {
            return Err(Error::config(
                "init_lora_weights",
                format!("{} is not for an embedding: leave `{}` out of target_modules", config.init, module.path),
            ));
        }
    })
}

/// A and B whose product, scaled, is a part of the matrix (O, I).
pub(crate) fn part_of(init: LoraInit, module: &Adapted, weight: &Tensor, seed: u64) -> Result<(Tensor, Tensor)> {
    let (o, i, r) = (module.outputs, module.inputs, module.rank);
    if r > o.min(i) {
        return Err(Error::config(
            "r",
            format!("{r} is more than `{}` ({o} x {i}) has to give with init_lora_weights {init}", module.path),
        ));
    }
    let values = weight.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let (b, a) = match init {
        LoraInit::Olora => qr(&values, (o, i), r),
        LoraInit::PissaIterated(n) => {
            singular_iterated(&values, (o, i), r, n, stream(module, Factor::A, seed))?.balanced(module.scaling)
        }
        _ => singular(&values, (o, i), r)?.balanced(module.scaling),
    };
    let made = |values: Vec<f64>, shape: (usize, usize)| -> Result<Tensor> {
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    };
    Ok((made(a, (r, i))?, made(b, (o, r))?))
}
