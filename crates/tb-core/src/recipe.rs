//! What a training run does: its method and its hyperparameters, under PEFT's, TRL's and transformers' names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;

use crate::lora::{LoraConfig, LoraForm, LoraInit, ModuleNames, ScalingRule, TrainedBias};
use crate::quantization::{FourBitType, Quantization, Scales};
use crate::run_folder::names;
use crate::text_enum::text_enum;

pub mod fields;
pub use fields::{FIELDS, Field};

text_enum! {
    /// How a model is taught.
    Method, "method" {
        /// Supervised fine-tuning on completions.
        Sft = "sft",
        /// Training of all weights on plain documents, from random weights.
        Pretrain = "pretrain",
    }
}

text_enum! {
    /// Which weights of a loaded model train.
    #[derive(Default)]
    FinetuningType, "finetuning type" {
        /// An adapter beside the base, which stays as it is.
        #[default]
        Lora = "lora",
        /// Every weight, in f32; the result is a model of its own.
        Full = "full",
    }
}

impl FinetuningType {
    /// The folder of the result, inside the run folder.
    #[must_use]
    pub const fn result_folder(self) -> &'static str {
        match self {
            Self::Lora => names::ADAPTER,
            Self::Full => names::MODEL,
        }
    }
}

text_enum! {
    /// The numbers in which the base weights are held and multiplied.
    Dtype, "dtype" {
        /// f32 on a CPU; bf16 where the device multiplies it natively.
        Auto = "auto",
        /// 32-bit floats.
        F32 = "float32",
        /// bfloat16 weights; sums and adapters stay f32.
        Bf16 = "bfloat16",
    }
}

text_enum! {
    /// The optimiser, under transformers' names.
    Optim, "optimiser" {
        /// AdamW with f32 moments.
        AdamwTorch = "adamw_torch",
        /// AdamW with moments in 8 bits (bitsandbytes).
        Adamw8bit = "adamw_8bit",
    }
}

text_enum! {
    /// How the learning rate moves after the warm-up.
    SchedulerType, "learning-rate schedule" {
        /// Falls in a straight line to 0.
        Linear = "linear",
        /// Falls along half a cosine to 0.
        Cosine = "cosine",
        /// Stays, without any warm-up.
        Constant = "constant",
        /// Stays after the warm-up.
        ConstantWithWarmup = "constant_with_warmup",
    }
}

text_enum! {
    /// Which tokens carry loss.
    LossOn, "loss_on" {
        /// The completion where the row has one, otherwise every token (TRL's default).
        Auto = "auto",
        /// Completion tokens only.
        Completion = "completion",
        /// What the assistant says, in every turn.
        Assistant = "assistant",
        /// Every token.
        All = "all",
    }
}

text_enum! {
    /// How short rows are packed into long ones.
    PackingStrategy, "packing strategy" {
        /// Best fit, the longest first; no row is split.
        Bfd = "bfd",
    }
}

/// Target modules of LoRA: a list of name suffixes, one regular expression, or `all-linear`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(untagged)]
pub enum TargetModules {
    /// `all-linear`, or a regular expression that must match a module's whole path.
    Pattern(String),
    /// Names that a module's path must end with.
    Suffixes(Vec<String>),
}

/// Everything about a training run that is a number or a switch. Defaults are the service's where it names one, else transformers'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperparameters {
    /// An adapter, or every weight.
    pub finetuning_type: FinetuningType,
    /// Rank of the LoRA matrices.
    pub lora_r: u32,
    /// LoRA's scale: the update is multiplied by `lora_alpha / lora_r`.
    pub lora_alpha: f64,
    /// Dropout on the input of LoRA, in training.
    pub lora_dropout: f64,
    /// The linear layers that get an adapter.
    pub target_modules: TargetModules,
    /// Modules among them that get none, by the ends of their names.
    pub exclude_modules: Vec<String>,
    /// Only these layers get an adapter, by number; empty for all.
    pub layers_to_transform: Vec<u32>,
    /// Ranks of modules whose names end like a key (a regular expression), in place of `lora_r`.
    pub rank_pattern: BTreeMap<String, u32>,
    /// Alphas of modules whose names end like a key (a regular expression), in place of `lora_alpha`.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Modules that train in full along with the adapter, by the ends of their names.
    pub modules_to_save: Vec<String>,
    /// Scale by `lora_alpha / sqrt(lora_r)` instead.
    pub use_rslora: bool,
    /// DoRA: the lengths of the weights' rows train apart from their directions.
    pub use_dora: bool,
    /// The adapter has a bias too.
    pub lora_bias: bool,
    /// Biases of the base that train along.
    pub bias: TrainedBias,
    /// First values of the adapter: `true`, `false`, `gaussian`, `pissa`, `pissa_niter_N` or `olora`.
    pub init_lora_weights: String,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Passes over the data; a fraction is allowed.
    pub num_train_epochs: f64,
    /// Optimiser steps; -1 leaves it to the epochs.
    pub max_steps: i64,
    /// Rows in a micro-batch.
    pub per_device_train_batch_size: u32,
    /// Rows in a batch of evaluation.
    pub per_device_eval_batch_size: u32,
    /// Micro-batches per optimiser step.
    pub gradient_accumulation_steps: u32,
    /// Longest row in tokens; longer rows are cut at the end and counted.
    pub max_length: u32,
    /// Seed of everything random.
    #[ts(type = "number")]
    pub seed: u64,
    /// How the learning rate moves.
    pub lr_scheduler_type: SchedulerType,
    /// Share of the steps in which the learning rate rises from 0.
    pub warmup_ratio: f64,
    /// Steps of warm-up; 0 leaves it to `warmup_ratio`.
    pub warmup_steps: u32,
    /// The optimiser.
    pub optim: Optim,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    pub adam_beta1: f64,
    /// AdamW's decay of the second moment.
    pub adam_beta2: f64,
    /// AdamW's guard against division by 0.
    pub adam_epsilon: f64,
    /// The gradient's global norm is cut to this; 0 leaves it as it is.
    pub max_grad_norm: f64,
    /// Recompute each block in the backward pass instead of keeping its activations.
    pub gradient_checkpointing: bool,
    /// Numbers of the base weights.
    pub dtype: Dtype,
    /// Hold the base's linear layers in 8 bits (LLM.int8()'s weights).
    pub load_in_8bit: bool,
    /// Hold the base's linear layers in 4 bits (QLoRA).
    pub load_in_4bit: bool,
    /// The levels of a 4-bit weight. The default is QLoRA's; transformers' own is fp4.
    pub bnb_4bit_quant_type: FourBitType,
    /// Keep the scales of 4-bit blocks in 8 bits. The default is QLoRA's; transformers' own is false.
    pub bnb_4bit_use_double_quant: bool,
    /// The numbers to which a 4-bit weight is dequantised; `auto` takes `dtype`.
    pub bnb_4bit_compute_dtype: Dtype,
    /// Draw a new order of rows in each epoch.
    pub shuffle: bool,
    /// Put rows of like length into one micro-batch.
    pub group_by_length: bool,
    /// Pack several rows into one of `max_length`; they do not see each other.
    pub packing: bool,
    /// How they are packed.
    pub packing_strategy: PackingStrategy,
    /// Which tokens carry loss.
    pub loss_on: LossOn,
    /// NEFTune: size of the noise on embedded tokens in training; 0 adds none.
    pub neftune_noise_alpha: f64,
    /// A step is logged every so many steps.
    pub logging_steps: u32,
    /// A checkpoint is written every so many steps; 0 writes none but the last.
    pub save_steps: u32,
    /// Checkpoints to keep, besides the best; 0 keeps all.
    pub save_total_limit: u32,
    /// Keep the checkpoint with the lowest evaluation loss and give its adapter as the result.
    pub load_best_model_at_end: bool,
    /// Evaluation on held-out rows every so many steps; 0 evaluates at the end of each epoch.
    pub eval_steps: u32,
    /// Held-out rows that the model rewrites before the first step and at each evaluation, to be looked at; 0 for none.
    pub eval_samples: u32,
    /// Stop after so many evaluations without a better loss; 0 never stops early.
    pub early_stopping_patience: u32,
    /// By how much the evaluation loss must fall to count as better.
    pub early_stopping_threshold: f64,
    /// Threads of the CPU; 0 takes all.
    pub num_threads: u32,
}

impl Default for Hyperparameters {
    fn default() -> Self {
        Self {
            finetuning_type: FinetuningType::Lora,
            lora_r: 8,
            lora_alpha: 32.0,
            lora_dropout: 0.1,
            target_modules: TargetModules::Suffixes(
                ["q_proj", "k_proj", "v_proj", "o_proj"].map(String::from).to_vec(),
            ),
            exclude_modules: Vec::new(),
            layers_to_transform: Vec::new(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            modules_to_save: Vec::new(),
            use_rslora: false,
            use_dora: false,
            lora_bias: false,
            bias: TrainedBias::None,
            init_lora_weights: "true".into(),
            learning_rate: 5e-5,
            num_train_epochs: 3.0,
            max_steps: -1,
            per_device_train_batch_size: 8,
            per_device_eval_batch_size: 8,
            gradient_accumulation_steps: 1,
            max_length: 1024,
            seed: 42,
            lr_scheduler_type: SchedulerType::Linear,
            warmup_ratio: 0.0,
            warmup_steps: 0,
            optim: Optim::AdamwTorch,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            gradient_checkpointing: true,
            dtype: Dtype::Auto,
            load_in_8bit: false,
            load_in_4bit: false,
            bnb_4bit_quant_type: FourBitType::Nf4,
            bnb_4bit_use_double_quant: true,
            bnb_4bit_compute_dtype: Dtype::Auto,
            shuffle: true,
            group_by_length: false,
            packing: false,
            packing_strategy: PackingStrategy::Bfd,
            loss_on: LossOn::Auto,
            neftune_noise_alpha: 0.0,
            logging_steps: 1,
            save_steps: 500,
            save_total_limit: 3,
            load_best_model_at_end: false,
            eval_steps: 0,
            eval_samples: 4,
            early_stopping_patience: 0,
            early_stopping_threshold: 0.0,
            num_threads: 0,
        }
    }
}

/// A hyperparameter that cannot be accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadHyperparameter {
    /// No such key.
    #[error("there is no setting '{key}'; did you mean '{nearest}'?")]
    UnknownKey {
        /// What was given.
        key: String,
        /// The nearest key that exists.
        nearest: &'static str,
    },
    /// A text that is no value of this key.
    #[error("'{text}' is no value for {key}: {wanted}")]
    BadValue {
        /// The key.
        key: String,
        /// What was given.
        text: String,
        /// What would be accepted.
        wanted: String,
    },
    /// A value outside its range.
    #[error("{key} = {value} is outside its range: {range}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would be accepted.
        range: String,
    },
    /// Two values that exclude each other.
    #[error("{one} and {other} are both set: choose one")]
    Both {
        /// The one key.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A value that has a meaning only beside another.
    #[error("{one} needs {other}: set that too, or choose another value")]
    Needs {
        /// The key and value.
        one: &'static str,
        /// What it needs.
        other: &'static str,
    },
}

impl Hyperparameters {
    /// Sets one value from `key=value` text, as `--set` gives it. `target_modules` takes names separated by commas, a
    /// regular expression, or `all-linear`.
    ///
    /// # Errors
    /// An unknown key (with the nearest one), a text of the wrong kind, or a value out of range.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), BadHyperparameter> {
        let field = fields::find(key)
            .ok_or_else(|| BadHyperparameter::UnknownKey { key: key.to_owned(), nearest: fields::nearest(key) })?;
        let bad = || BadHyperparameter::BadValue { key: key.to_owned(), text: text.to_owned(), wanted: field.wanted() };
        let value = field.parse(text).ok_or_else(bad)?;
        let mut all = serde_json::to_value(&*self).map_err(|_| bad())?;
        if let Value::Object(map) = &mut all {
            map.insert(field.key.to_owned(), value);
        }
        let changed: Self = serde_json::from_value(all).map_err(|_| bad())?;
        match changed.validate() {
            // It may be set next; who starts the run validates once more.
            Ok(()) | Err(BadHyperparameter::Needs { .. }) => {}
            Err(bad) => return Err(bad),
        }
        *self = changed;
        Ok(())
    }

    /// Checks every value against its range.
    ///
    /// # Errors
    /// The first value out of range, by name.
    pub fn validate(&self) -> Result<(), BadHyperparameter> {
        let all = serde_json::to_value(self).unwrap_or(Value::Null);
        for field in FIELDS {
            let value = all.get(field.key).cloned().unwrap_or(Value::Null);
            if !field.in_range(&value) {
                return Err(BadHyperparameter::OutOfRange {
                    key: field.key,
                    // serde writes NaN and infinity as null.
                    value: if value.is_null() { "not a finite number".into() } else { value.to_string() },
                    range: field.wanted(),
                });
            }
        }
        let full = self.finetuning_type == FinetuningType::Full;
        let init = self.init_lora_weights.parse().unwrap_or(LoraInit::KaimingUniform);
        let held = if self.load_in_8bit { "load_in_8bit" } else { "load_in_4bit" };
        let quantised = self.load_in_8bit || self.load_in_4bit;
        for (one, other, both) in [
            ("load_in_8bit", "load_in_4bit", self.load_in_8bit && self.load_in_4bit),
            ("use_dora", "lora_bias", self.use_dora && self.lora_bias),
            ("finetuning_type full", "dtype bfloat16", full && self.dtype == Dtype::Bf16),
            // A quantised weight cannot train.
            ("finetuning_type full", held, full && quantised),
            ("init_lora_weights pissa", held, quantised && !full && !init.starts_on_quantised()),
        ] {
            if both {
                return Err(BadHyperparameter::Both { one, other });
            }
        }
        if init == LoraInit::Loftq && !quantised && !full {
            return Err(BadHyperparameter::Needs {
                one: "init_lora_weights loftq",
                other: "load_in_4bit or load_in_8bit",
            });
        }
        Ok(())
    }

    /// How the frozen base is held; `None` in the numbers of `dtype`.
    #[must_use]
    pub fn quantization(&self) -> Option<Quantization> {
        match (self.load_in_8bit, self.load_in_4bit) {
            (false, false) => None,
            (true, _) => Some(Quantization::EightBit),
            (false, true) => Some(Quantization::FourBit {
                kind: self.bnb_4bit_quant_type,
                scales: if self.bnb_4bit_use_double_quant { Scales::Double } else { Scales::Plain },
                compute: self.bnb_4bit_compute_dtype,
            }),
        }
    }

    /// The adapter that these values describe.
    #[must_use]
    pub fn lora_config(&self) -> LoraConfig {
        LoraConfig {
            r: self.lora_r as usize,
            lora_alpha: self.lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules: (&self.target_modules).into(),
            exclude_modules: (!self.exclude_modules.is_empty())
                .then(|| ModuleNames::List(self.exclude_modules.clone())),
            layers_to_transform: self.layers_to_transform.iter().map(|n| u64::from(*n)).collect(),
            rank_pattern: self.rank_pattern.iter().map(|(key, r)| (key.clone(), *r as usize)).collect(),
            alpha_pattern: self.alpha_pattern.iter().map(|(key, alpha)| (key.clone(), *alpha)).collect(),
            scaling_rule: if self.use_rslora { ScalingRule::RankStabilised } else { ScalingRule::AlphaOverR },
            form: match (self.use_dora, self.lora_bias) {
                (true, _) => LoraForm::WeightDecomposed,
                (false, true) => LoraForm::WithBias,
                (false, false) => LoraForm::Plain,
            },
            bias: self.bias,
            modules_to_save: self.modules_to_save.clone(),
            // `validate` has read it.
            init: self.init_lora_weights.parse().unwrap_or(LoraInit::KaimingUniform),
            ..LoraConfig::default()
        }
    }

    /// Optimiser steps of a run over `rows` rows: transformers' rule (a last, smaller accumulation counts as a step).
    #[must_use]
    pub fn total_steps(&self, rows: usize) -> u64 {
        if self.max_steps > 0 {
            return self.max_steps as u64;
        }
        (self.num_train_epochs * self.steps_per_epoch(rows) as f64).ceil() as u64
    }

    /// Optimiser steps in one pass over `rows` rows.
    #[must_use]
    pub fn steps_per_epoch(&self, rows: usize) -> u64 {
        let micro = (rows as u64).div_ceil(u64::from(self.per_device_train_batch_size.max(1)));
        micro.div_ceil(u64::from(self.gradient_accumulation_steps.max(1)))
    }

    /// Steps of warm-up in a run of `total` steps (transformers: `ceil(total * warmup_ratio)` unless `warmup_steps` is given).
    #[must_use]
    pub fn warmup(&self, total: u64) -> u64 {
        if self.warmup_steps > 0 {
            u64::from(self.warmup_steps)
        } else {
            (total as f64 * self.warmup_ratio).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_defaults_stand() {
        let h = Hyperparameters::default();
        assert_eq!((h.lora_r, h.lora_alpha, h.lora_dropout), (8, 32.0, 0.1));
        assert_eq!((h.per_device_train_batch_size, h.learning_rate, h.num_train_epochs), (8, 5e-5, 3.0));
        assert!(h.gradient_checkpointing);
        h.validate().unwrap();
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = Hyperparameters::default().set("lora_rank", "4").unwrap_err();
        assert_eq!(error.to_string(), "there is no setting 'lora_rank'; did you mean 'lora_r'?");
        let error = Hyperparameters::default().set("learning_rat", "4").unwrap_err();
        assert!(error.to_string().contains("'learning_rate'"));
    }

    #[test]
    fn values_are_read_by_kind_and_refused_out_of_range() {
        let mut h = Hyperparameters::default();
        h.set("lora_r", "16").unwrap();
        h.set("target_modules", "all-linear").unwrap();
        assert_eq!(h.target_modules, TargetModules::Pattern("all-linear".into()));
        h.set("target_modules", "q_proj, v_proj").unwrap();
        assert_eq!(h.target_modules, TargetModules::Suffixes(vec!["q_proj".into(), "v_proj".into()]));
        h.set("lr_scheduler_type", "cosine").unwrap();
        h.set("shuffle", "false").unwrap();
        let before = h.clone();
        for (key, text) in [
            ("lora_r", "0"),
            ("lora_r", "-3"),
            ("lora_r", "x"),
            ("lora_dropout", "1"),
            ("learning_rate", "NaN"),
            ("learning_rate", "inf"),
            ("dtype", "fp64"),
            ("shuffle", "perhaps"),
            ("seed", "-1"),
            ("max_length", "1e99"),
            ("optim", "paged_adamw_8bit"),
            ("bnb_4bit_quant_type", "int4"),
        ] {
            assert!(h.set(key, text).is_err(), "{key}={text}");
        }
        assert_eq!(h, before);
    }

    #[test]
    fn the_two_quantised_forms_exclude_each_other() {
        let mut h = Hyperparameters::default();
        assert_eq!(h.quantization(), None);
        h.set("load_in_4bit", "true").unwrap();
        assert!(matches!(h.quantization(), Some(Quantization::FourBit { scales: Scales::Double, .. })));
        let error = h.set("load_in_8bit", "true").unwrap_err().to_string();
        assert!(error.contains("load_in_8bit") && error.contains("load_in_4bit"), "{error}");
        h.set("load_in_4bit", "false").unwrap();
        h.set("load_in_8bit", "true").unwrap();
        assert_eq!(h.quantization(), Some(Quantization::EightBit));
    }

    #[test]
    fn what_corrects_quantising_needs_a_quantised_base() {
        let mut h = Hyperparameters::default();
        h.set("init_lora_weights", "loftq").unwrap();
        let error = h.validate().unwrap_err().to_string();
        assert!(error.contains("loftq") && error.contains("load_in_4bit"), "{error}");
        h.set("load_in_4bit", "true").unwrap();
        h.validate().unwrap();
    }

    #[test]
    fn a_quantised_base_takes_no_training_that_needs_its_weights() {
        for key in ["load_in_4bit", "load_in_8bit"] {
            let mut h = Hyperparameters::default();
            h.set(key, "true").unwrap();
            for (other, value) in
                [("finetuning_type", "full"), ("init_lora_weights", "pissa"), ("init_lora_weights", "pissa_niter_4")]
            {
                let error = h.set(other, value).unwrap_err().to_string();
                assert!(error.contains(key) && error.contains(other), "{error}");
            }
            for (other, value) in [
                ("init_lora_weights", "olora"),
                ("init_lora_weights", "loftq"),
                ("use_dora", "true"),
                ("bias", "all"),
                ("modules_to_save", "lm_head, q_proj"),
                ("optim", "adamw_8bit"),
            ] {
                h.set(other, value).unwrap();
            }
        }
    }

    #[test]
    fn an_adapter_is_described_in_words() {
        let mut h = Hyperparameters::default();
        for (key, text) in [
            ("rank_pattern", "q_proj=4, 0.mlp.up_proj=2"),
            ("alpha_pattern", r#"{"q_proj": 7.5}"#),
            ("layers_to_transform", "0, 2-4"),
            ("exclude_modules", "k_proj"),
            ("modules_to_save", "lm_head, norm"),
            ("use_dora", "true"),
            ("bias", "lora_only"),
            ("init_lora_weights", "pissa_niter_16"),
        ] {
            h.set(key, text).unwrap();
        }
        let lora = h.lora_config();
        assert_eq!(lora.rank_pattern, [("0.mlp.up_proj".to_owned(), 2), ("q_proj".to_owned(), 4)]);
        assert_eq!(lora.alpha_pattern, [("q_proj".to_owned(), 7.5)]);
        assert_eq!(lora.layers_to_transform, [0, 2, 3, 4]);
        assert_eq!((lora.form, lora.init), (LoraForm::WeightDecomposed, LoraInit::PissaIterated(16)));
        assert_eq!(lora.modules_to_save, ["lm_head", "norm"]);
        let before = h.clone();
        for (key, text) in [
            ("rank_pattern", "q_proj"),
            ("rank_pattern", "q_proj=0"),
            ("rank_pattern", "q_proj=1.5"),
            ("alpha_pattern", "q_proj=-1"),
            ("layers_to_transform", "4-2"),
            ("layers_to_transform", "0-4000000000"),
            ("init_lora_weights", "eva"),
            ("lora_bias", "true"),
            ("bias", "some"),
        ] {
            assert!(h.set(key, text).is_err(), "{key}={text}");
        }
        assert_eq!(h, before);
        for key in ["rank_pattern", "layers_to_transform", "modules_to_save"] {
            h.set(key, "").unwrap();
        }
        assert!(h.lora_config().rank_pattern.is_empty() && h.modules_to_save.is_empty());
        h.set("finetuning_type", "full").unwrap();
        assert!(h.set("dtype", "bfloat16").is_err(), "full training is in float32");
    }

    #[test]
    fn every_field_has_an_entry_and_every_entry_a_field() {
        let Value::Object(all) = serde_json::to_value(Hyperparameters::default()).unwrap() else { unreachable!() };
        let keys: Vec<&str> = FIELDS.iter().map(|f| f.key).collect();
        assert_eq!(keys, all.keys().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn steps_follow_transformers() {
        let mut h =
            Hyperparameters { num_train_epochs: 2.0, gradient_accumulation_steps: 4, ..Hyperparameters::default() };
        assert_eq!(h.steps_per_epoch(100), 4); // 13 micro-batches
        assert_eq!(h.total_steps(100), 8);
        h.max_steps = 5;
        assert_eq!(h.total_steps(100), 5);
        h.warmup_ratio = 0.03;
        assert_eq!(h.warmup(100), 3);
    }
}
