//! LoRA as PEFT defines it: the configuration and one adapted layer. Matching is in `tb_core::adapter`, files in `lora/adapter_file.rs`, the product in `ops::linear`.
//!
//! Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; rank-stabilised scaling: Kalajdzievski, 2023.
//! y = W x + s * B A dropout(x), with A (r, I), B (O, r), s = alpha / r, or alpha / sqrt(r) when rank-stabilised.

mod adapter_file;

pub(crate) use adapter_file::{read_adapter, write_adapter};
pub use tb_core::adapter::TargetModules;

use crate::decoder::param::Parameter;
use crate::{Error, Result, random};
use candle_core::{DType, Device, Tensor, Var};
use tb_core::random::{Purpose, Stream, name_key};

/// What PEFT's `LoraConfig` says, as far as it is supported.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank, at least 1.
    pub r: usize,
    /// Numerator of the scaling.
    pub lora_alpha: f64,
    /// Probability in [0, 1) of dropping an input of A while training.
    pub lora_dropout: f64,
    /// Which linears are adapted.
    pub target_modules: TargetModules,
    /// How alpha and r make the scaling.
    pub scaling_rule: ScalingRule,
    /// First values of A and B.
    pub init: LoraInit,
    /// Hub name or folder of the base model, as `adapter_config.json` names it.
    pub base_model_name_or_path: Option<String>,
    /// Unknown keys that reading passed over, as PEFT does; for a warning.
    pub unknown_keys: Vec<String>,
}

impl Default for LoraConfig {
    /// PEFT's defaults, with its targets for Llama and Qwen2 (`q_proj`, `v_proj`).
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: TargetModules::default(),
            scaling_rule: ScalingRule::AlphaOverR,
            init: LoraInit::KaimingUniform,
            base_model_name_or_path: None,
            unknown_keys: Vec::new(),
        }
    }
}

/// The rule for s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingRule {
    /// s = alpha / r.
    AlphaOverR,
    /// s = alpha / sqrt(r): `use_rslora`.
    RankStabilised,
}

/// First values of the adapter (`init_lora_weights`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoraInit {
    /// `true`: A uniform in +-1/sqrt(I), B zero, so that training starts at the base model.
    KaimingUniform,
    /// `"gaussian"`: A normal with standard deviation 1/r, B zero.
    Gaussian,
    /// `false`: A uniform in +-1/sqrt(I), B uniform in +-1/sqrt(r): a random adapter, for tests.
    Random,
}

impl LoraConfig {
    /// s of the formula.
    #[must_use]
    pub fn scaling(&self) -> f64 {
        match self.scaling_rule {
            ScalingRule::AlphaOverR => self.lora_alpha / self.r as f64,
            ScalingRule::RankStabilised => self.lora_alpha / (self.r as f64).sqrt(),
        }
    }

    /// Refuses values outside their range, by PEFT's name of the field.
    pub fn check(&self) -> Result<()> {
        if self.r == 0 || self.r > 1 << 20 {
            return Err(Error::config("r", format!("{} must be at least 1", self.r)));
        }
        if !self.lora_alpha.is_finite() || self.lora_alpha <= 0.0 {
            return Err(Error::config("lora_alpha", format!("{} must be a positive number", self.lora_alpha)));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(Error::config("lora_dropout", format!("{} must be from 0 to below 1", self.lora_dropout)));
        }
        Ok(())
    }
}

/// The two matrices of one adapted linear.
#[derive(Clone, Debug)]
pub(crate) struct LoraLayer {
    /// (r, I) f32.
    pub(crate) a: Parameter,
    /// (O, r) f32.
    pub(crate) b: Parameter,
    pub(crate) scaling: f64,
    pub(crate) dropout: f64,
}

impl LoraLayer {
    /// First values for the module at `path` with a weight of (outputs, inputs). Keyed by the weights' names, so the order of layers does not matter.
    pub(crate) fn init(
        config: &LoraConfig,
        path: &str,
        (outputs, inputs): (usize, usize),
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let stream = |matrix| Stream::new(seed, 0, Purpose::Init, name_key(&peft_name(path, matrix)));
        let (shape_a, shape_b) = ((config.r, inputs), (outputs, config.r));
        let bound = 1.0 / (inputs as f64).sqrt();
        let uniform = |shape: (usize, usize), bound: f64, stream| random::uniform(shape, -bound, bound, stream);
        let zeros = || Tensor::zeros(shape_b, DType::F32, device);
        let (a, b) = match config.init {
            LoraInit::KaimingUniform => (uniform(shape_a, bound, stream(Matrix::A))?, zeros()?),
            LoraInit::Gaussian => (random::normal(shape_a, 1.0 / config.r as f64, stream(Matrix::A))?, zeros()?),
            LoraInit::Random => (
                uniform(shape_a, bound, stream(Matrix::A))?,
                uniform(shape_b, 1.0 / (config.r as f64).sqrt(), stream(Matrix::B))?,
            ),
        };
        Ok(Self {
            a: Parameter::Trained(Var::from_tensor(&a.to_device(device)?)?),
            b: Parameter::Trained(Var::from_tensor(&b.to_device(device)?)?),
            scaling: config.scaling(),
            dropout: config.lora_dropout,
        })
    }

    /// s * B A, (O, I) f32.
    pub(crate) fn delta(&self) -> Result<Tensor> {
        let (a, b) = (self.a.tensor().detach(), self.b.tensor().detach());
        Ok((b.matmul(&a)? * self.scaling)?)
    }
}

/// One of the two matrices of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matrix {
    A,
    B,
}

/// PEFT's key of a matrix: `base_model.model.<path>.lora_A.weight`.
pub(crate) fn peft_name(path: &str, matrix: Matrix) -> String {
    let which = match matrix {
        Matrix::A => "lora_A",
        Matrix::B => "lora_B",
    };
    format!("base_model.model.{path}.{which}.weight")
}
