//! What an adapter is, in PEFT's terms: the values of `LoraConfig`. Its text form is in `lora/peft.rs`, which modules it means in
//! `adapter.rs`; no tensors and no files.
//!
//! Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022: y = W x + s B A dropout(x), with A (r, I), B (O, r),
//! s = alpha / r, or alpha / sqrt(r) when rank-stabilised (Kalajdzievski, 2023).

mod peft;

use std::fmt;
use std::str::FromStr;

use crate::adapter::TargetModules;
use crate::decoder_config::{BadConfig, refuse};
use crate::quantization::Quantization;
use crate::text_enum::text_enum;

type Result<T> = std::result::Result<T, BadConfig>;

/// Highest rank that is read.
const MOST_RANK: usize = 1 << 20;

/// What PEFT's `LoraConfig` says, as far as it is supported.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Rank, at least 1.
    pub r: usize,
    /// Numerator of the scaling.
    pub lora_alpha: f64,
    /// Probability in [0, 1) of dropping an input of A while training.
    pub lora_dropout: f64,
    /// Which modules are adapted.
    pub target_modules: TargetModules,
    /// Which of them are not, after all.
    pub exclude_modules: Option<ModuleNames>,
    /// Only these layers, by number; empty for all.
    pub layers_to_transform: Vec<u64>,
    /// Names of the list that the numbers count; empty for any.
    pub layers_pattern: Vec<String>,
    /// Rank of modules that a pattern fits, in place of `r`; the first that fits counts.
    pub rank_pattern: Vec<(String, usize)>,
    /// Alpha of modules that a pattern fits, in place of `lora_alpha`; the first that fits counts.
    pub alpha_pattern: Vec<(String, f64)>,
    /// How alpha and r make the scaling.
    pub scaling_rule: ScalingRule,
    /// Plain or weight-decomposed.
    pub form: LoraForm,
    /// Which biases of the base train along.
    pub bias: TrainedBias,
    /// Modules that train in full along with the adapter.
    pub modules_to_save: Vec<String>,
    /// First values of A and B.
    pub init: LoraInit,
    /// A and B began as LoftQ's: they belong to the base as it was quantised, in this form, for answering and for merging
    /// (`loftq_config`).
    pub loftq: Option<Quantization>,
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
            exclude_modules: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            scaling_rule: ScalingRule::AlphaOverR,
            form: LoraForm::Plain,
            bias: TrainedBias::None,
            modules_to_save: Vec::new(),
            init: LoraInit::KaimingUniform,
            loftq: None,
            base_model_name_or_path: None,
            unknown_keys: Vec::new(),
        }
    }
}

/// Names of modules, or a pattern that a whole path must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleNames {
    /// A module whose path is one of these or ends in `.` and one of these.
    List(Vec<String>),
    /// A module whose whole path this pattern matches.
    Regex(String),
}

/// The rule for s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingRule {
    /// s = alpha / r.
    AlphaOverR,
    /// s = alpha / sqrt(r): `use_rslora`.
    RankStabilised,
}

/// What A and B change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoraForm {
    /// The weight: W + s B A.
    Plain,
    /// The weight, and the bias by s times a trained vector: `lora_bias`.
    WithBias,
    /// The direction of the weight's rows, whose lengths m train too: m (W + s B A) / ||W + s B A||, the norm held constant in the
    /// backward pass: `use_dora` (Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024).
    WeightDecomposed,
}

text_enum! {
    /// Which biases of the base model train along (`bias`).
    TrainedBias, "bias" {
        /// None.
        None = "none",
        /// All.
        All = "all",
        /// Those of adapted modules.
        LoraOnly = "lora_only",
    }
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
    /// `"pissa"`: s B A is the part of W with the r largest singular values, and only the rest of W stays frozen
    /// (Meng et al., "PiSSA: Principal Singular Values and Singular Vectors Adaptation", NeurIPS 2024).
    Pissa,
    /// `"pissa_niter_N"`: as [`Self::Pissa`], from a randomised decomposition with N subspace iterations.
    PissaIterated(u32),
    /// `"olora"`: B and A are the first r columns of Q and rows of R of W = Q R, and the rest of W stays frozen
    /// (Büyükakyüz, "OLoRA: Orthonormal Low-Rank Adaptation", 2024).
    Olora,
    /// `"loftq"`: s B A is the part with the r largest singular values of what quantising the base lost, W - Q(W)
    /// (Li et al., "LoftQ: LoRA-Fine-Tuning-Aware Quantization", ICLR 2024, algorithm 1 with T = 1). PEFT leaves s out, which is the same
    /// where alpha is r.
    Loftq,
}

impl LoraInit {
    /// Whether B A starts as a part of the base weight, which then holds only the rest.
    #[must_use]
    pub fn takes_from_base(self) -> bool {
        match self {
            Self::Pissa | Self::PissaIterated(_) | Self::Olora => true,
            Self::KaimingUniform | Self::Gaussian | Self::Random | Self::Loftq => false,
        }
    }
}

impl LoraInit {
    /// Whether a fresh adapter starts so on a quantised base. What PiSSA leaves of W is to be quantised in W's place (QPiSSA), which needs W
    /// as it was, and PEFT refuses it too. OLoRA takes from the dequantised weight in PEFT as here.
    #[must_use]
    pub fn starts_on_quantised(self) -> bool {
        match self {
            Self::KaimingUniform | Self::Gaussian | Self::Random | Self::Olora | Self::Loftq => true,
            Self::Pissa | Self::PissaIterated(_) => false,
        }
    }
}

impl fmt::Display for LoraInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KaimingUniform => f.write_str("true"),
            Self::Gaussian => f.write_str("gaussian"),
            Self::Random => f.write_str("false"),
            Self::Pissa => f.write_str("pissa"),
            Self::PissaIterated(n) => write!(f, "pissa_niter_{n}"),
            Self::Olora => f.write_str("olora"),
            Self::Loftq => f.write_str("loftq"),
        }
    }
}

impl FromStr for LoraInit {
    type Err = BadConfig;

    fn from_str(text: &str) -> Result<Self> {
        let iterations = text.strip_prefix("pissa_niter_").and_then(|n| n.parse().ok()).filter(|n| *n <= 64);
        Ok(match (text, iterations) {
            ("true", _) => Self::KaimingUniform,
            ("false", _) => Self::Random,
            ("gaussian", _) => Self::Gaussian,
            ("pissa", _) => Self::Pissa,
            ("olora", _) => Self::Olora,
            ("loftq", _) => Self::Loftq,
            (_, Some(n)) => Self::PissaIterated(n),
            (_, None) => {
                return Err(refuse(
                    "init_lora_weights",
                    format!(
                        "{text:?} is not supported: only true, false, gaussian, pissa, pissa_niter_N (N up to 64), olora and loftq"
                    ),
                ));
            }
        })
    }
}

impl LoraConfig {
    /// s of the formula for a module of this rank and alpha.
    #[must_use]
    pub fn scaling(&self, r: usize, alpha: f64) -> f64 {
        match self.scaling_rule {
            ScalingRule::AlphaOverR => alpha / r as f64,
            ScalingRule::RankStabilised => alpha / (r as f64).sqrt(),
        }
    }

    /// Whether the adapter belongs to the base as it was quantised, a fresh one or one that was saved.
    #[must_use]
    pub fn fits_quantised_only(&self) -> bool {
        self.loftq.is_some() || self.init == LoraInit::Loftq
    }

    /// The configuration as it is saved: LoftQ's first values fit the base only in the form in which it is held; a fresh start from the
    /// saved one makes no new ones.
    #[must_use]
    pub fn settled(mut self, held: Option<Quantization>) -> Self {
        if self.init == LoraInit::Loftq {
            self.init = LoraInit::KaimingUniform;
            self.loftq = held;
        }
        self
    }

    /// The configuration of an adapter of twice the rank with the same scalings: B A - B0 A0 as one product, on the unchanged base.
    #[must_use]
    pub fn doubled(mut self) -> Self {
        let factor = match self.scaling_rule {
            ScalingRule::AlphaOverR => 2.0,
            ScalingRule::RankStabilised => std::f64::consts::SQRT_2,
        };
        self.r *= 2;
        self.lora_alpha *= factor;
        self.rank_pattern.iter_mut().for_each(|(_, r)| *r *= 2);
        self.alpha_pattern.iter_mut().for_each(|(_, alpha)| *alpha *= factor);
        // A pattern of one kind alone meets a default of the other, which has changed by the same factor.
        self.init = LoraInit::KaimingUniform;
        self
    }

    /// Refuses values outside their range and combinations that PEFT refuses, by PEFT's name of the field.
    ///
    /// # Errors
    /// The first such field.
    pub fn check(&self) -> Result<()> {
        let rank = |field: &str, r: usize| match r {
            1..=MOST_RANK => Ok(()),
            _ => Err(refuse(field, format!("{r} must be at least 1"))),
        };
        let alpha = |field: &str, alpha: f64| match alpha.is_finite() && alpha > 0.0 {
            true => Ok(()),
            false => Err(refuse(field, format!("{alpha} must be a positive number"))),
        };
        rank("r", self.r)?;
        self.rank_pattern.iter().try_for_each(|(_, r)| rank("rank_pattern", *r))?;
        alpha("lora_alpha", self.lora_alpha)?;
        self.alpha_pattern.iter().try_for_each(|(_, a)| alpha("alpha_pattern", *a))?;
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(refuse("lora_dropout", format!("{} must be from 0 to below 1", self.lora_dropout)));
        }
        if let TargetModules::Regex(_) = self.target_modules {
            for (field, set) in [
                ("layers_to_transform", !self.layers_to_transform.is_empty()),
                ("layers_pattern", !self.layers_pattern.is_empty()),
            ] {
                if set {
                    return Err(refuse(field, "needs target_modules as a list: a pattern names the layers itself"));
                }
            }
        }
        if !self.layers_pattern.is_empty() && self.layers_to_transform.is_empty() {
            return Err(refuse("layers_pattern", "needs layers_to_transform beside it"));
        }
        match (self.form, self.init) {
            (LoraForm::WithBias, LoraInit::KaimingUniform | LoraInit::Random) => Ok(()),
            (LoraForm::WithBias, init) => {
                Err(refuse("lora_bias", format!("works with init_lora_weights true or false, not {init}")))
            }
            (LoraForm::Plain | LoraForm::WeightDecomposed, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_peft_s() {
        let config = |scaling_rule| LoraConfig { scaling_rule, ..LoraConfig::default() };
        assert_eq!(config(ScalingRule::AlphaOverR).scaling(4, 6.0), 1.5);
        assert_eq!(config(ScalingRule::RankStabilised).scaling(4, 6.0), 3.0);
    }

    #[test]
    fn twice_the_rank_keeps_every_scaling() {
        for scaling_rule in [ScalingRule::AlphaOverR, ScalingRule::RankStabilised] {
            let one = LoraConfig {
                scaling_rule,
                rank_pattern: vec![("a".into(), 3)],
                alpha_pattern: vec![("b".into(), 5.0)],
                ..LoraConfig::default()
            };
            let two = one.clone().doubled();
            let pairs = [
                ((one.r, one.lora_alpha), (two.r, two.lora_alpha)),
                ((3, one.lora_alpha), (two.rank_pattern[0].1, two.lora_alpha)),
                ((one.r, 5.0), (two.r, two.alpha_pattern[0].1)),
            ];
            for ((r, alpha), (r2, alpha2)) in pairs {
                assert_eq!(r2, 2 * r);
                assert!((one.scaling(r, alpha) - two.scaling(r2, alpha2)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn first_values_have_peft_s_names() {
        for text in ["true", "false", "gaussian", "pissa", "pissa_niter_16", "olora", "loftq"] {
            assert_eq!(text.parse::<LoraInit>().unwrap().to_string(), text);
        }
        for text in ["pissa_niter_", "pissa_niter_x", "pissa_niter_99999", "eva", ""] {
            assert!(text.parse::<LoraInit>().unwrap_err().to_string().contains("init_lora_weights"));
        }
    }

    #[test]
    fn what_peft_refuses_is_refused_by_name() {
        let bad = |change: fn(&mut LoraConfig)| {
            let mut config = LoraConfig::default();
            change(&mut config);
            config.check().unwrap_err().field
        };
        assert_eq!(bad(|c| c.r = 0), "r");
        assert_eq!(bad(|c| c.rank_pattern = vec![("q".into(), 0)]), "rank_pattern");
        assert_eq!(bad(|c| c.alpha_pattern = vec![("q".into(), -1.0)]), "alpha_pattern");
        assert_eq!(bad(|c| c.layers_pattern = vec!["h".into()]), "layers_pattern");
        assert_eq!(
            bad(|c| {
                c.target_modules = TargetModules::Regex("q".into());
                c.layers_to_transform = vec![1];
            }),
            "layers_to_transform"
        );
        assert_eq!(
            bad(|c| {
                c.form = LoraForm::WithBias;
                c.init = LoraInit::Pissa;
            }),
            "lora_bias"
        );
    }
}
