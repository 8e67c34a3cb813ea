//! PEFT's `adapter_config.json` as a value, both ways. Files are read and written in tb-nn.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{LoraConfig, LoraForm, LoraInit, ModuleNames, Result, ScalingRule, TrainedBias};
use crate::adapter::TargetModules;
use crate::decoder_config::refuse;
use crate::quantization::{FourBitType, Quantization, Scales};
use crate::recipe::Dtype;

/// The file format that is written: PEFT 0.21.
const PEFT_VERSION: &str = "0.21.2";

/// Fields of PEFT that change what is computed and are not supported, each with the values that switch it off (null always does).
const MUST_BE_OFF: [(&str, &str); 15] = [
    ("alora_invocation_tokens", "[]"),
    ("arrow_config", "{}"),
    ("corda_config", "{}"),
    ("ensure_weight_tying", "false"),
    ("eva_config", "{}"),
    ("fan_in_fan_out", "false"),
    ("kasa_config", "{}"),
    ("layer_replication", "[]"),
    ("lora_ga_config", "{}"),
    ("megatron_config", "{}"),
    ("monteclora_config", "{}"),
    ("target_parameters", "[]"),
    ("trainable_token_indices", "[]"),
    ("use_bdlora", "false"),
    ("use_qalora", "false"),
];

/// Fields that are read, or that change nothing.
const KNOWN: [&str; 27] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
    "velora_config",
];

impl LoraConfig {
    /// Reads PEFT's `adapter_config.json` value. Unknown keys are kept aside; an unsupported feature is refused by its name.
    ///
    /// # Errors
    /// The field that cannot be used.
    pub fn from_json(value: &Value) -> Result<Self> {
        let fields = Fields(value.as_object().ok_or_else(|| refuse("(whole file)", "is not a JSON object"))?);
        match fields.0.get("peft_type") {
            Some(Value::String(kind)) if kind == "LORA" => {}
            None => return Err(refuse("peft_type", "is missing")),
            Some(other) => return Err(refuse("peft_type", format!("{other} is not supported: only \"LORA\""))),
        }
        for (name, off) in MUST_BE_OFF {
            fields.refuse_unless_off(name, off)?;
        }
        if let Some(velora) = fields.present("velora_config") {
            return Err(refuse("velora_config", format!("{velora} is not supported")));
        }
        let default = Self::default();
        let config = Self {
            r: match fields.present("r") {
                None => default.r,
                Some(v) => whole("r", v)?,
            },
            lora_alpha: fields.number("lora_alpha")?.unwrap_or(default.lora_alpha),
            lora_dropout: fields.number("lora_dropout")?.unwrap_or(default.lora_dropout),
            target_modules: match fields.names("target_modules")? {
                None => TargetModules::default(),
                Some(ModuleNames::Regex(word)) if word.eq_ignore_ascii_case("all-linear") => TargetModules::AllLinear,
                Some(ModuleNames::Regex(pattern)) => TargetModules::Regex(pattern),
                Some(ModuleNames::List(names)) => TargetModules::List(names),
            },
            exclude_modules: fields.names("exclude_modules")?.filter(|names| match names {
                ModuleNames::List(names) => !names.is_empty(),
                ModuleNames::Regex(pattern) => !pattern.is_empty(),
            }),
            layers_to_transform: match fields.present("layers_to_transform") {
                None => Vec::new(),
                Some(Value::Array(items)) => {
                    items.iter().map(|v| whole("layers_to_transform", v).map(|n| n as u64)).collect::<Result<_>>()?
                }
                Some(one) => vec![whole("layers_to_transform", one)? as u64],
            },
            layers_pattern: match fields.names("layers_pattern")? {
                None => Vec::new(),
                Some(ModuleNames::Regex(one)) if one.is_empty() => Vec::new(),
                Some(ModuleNames::Regex(one)) => vec![one],
                Some(ModuleNames::List(names)) => names,
            },
            rank_pattern: fields.pattern("rank_pattern", whole)?,
            alpha_pattern: fields.pattern("alpha_pattern", |name, v| {
                v.as_f64().ok_or_else(|| refuse(name, format!("{v} must be a number")))
            })?,
            scaling_rule: match fields.flag("use_rslora")? {
                false => ScalingRule::AlphaOverR,
                true => ScalingRule::RankStabilised,
            },
            form: match (fields.flag("use_dora")?, fields.flag("lora_bias")?) {
                (false, false) => LoraForm::Plain,
                (false, true) => LoraForm::WithBias,
                (true, false) => LoraForm::WeightDecomposed,
                (true, true) => return Err(refuse("lora_bias", "does not go together with use_dora")),
            },
            bias: match fields.present("bias") {
                None => TrainedBias::None,
                Some(Value::String(word)) => word.parse().map_err(|e| refuse("bias", e))?,
                Some(v) => return Err(refuse("bias", format!("{v} must be a word"))),
            },
            modules_to_save: match fields.names("modules_to_save")? {
                None => Vec::new(),
                Some(ModuleNames::List(names)) => names,
                Some(ModuleNames::Regex(text)) => {
                    return Err(refuse("modules_to_save", format!("{text:?} must be a list of names")));
                }
            },
            init: match fields.present("init_lora_weights") {
                None | Some(Value::Bool(true)) => LoraInit::KaimingUniform,
                Some(Value::Bool(false)) => LoraInit::Random,
                Some(Value::String(s)) if s != "true" && s != "false" => s.parse()?,
                Some(v) => return Err(refuse("init_lora_weights", format!("{v} is not supported"))),
            },
            loftq: None,
            base_model_name_or_path: fields
                .present("base_model_name_or_path")
                .and_then(Value::as_str)
                .map(str::to_owned),
            unknown_keys: fields.0.keys().filter(|k| !is_known(k)).cloned().collect(),
        };
        config.check()?;
        let made = fields.present("loftq_config").and_then(Value::as_object).filter(|set| !set.is_empty());
        let config = match made {
            None if config.init != LoraInit::Loftq => config,
            made => {
                let form = loftq_form(config.init, made)?;
                // PEFT quantises the base again when it loads such an adapter; its first values are in the file.
                let init = if config.init == LoraInit::Loftq { LoraInit::KaimingUniform } else { config.init };
                Self { loftq: form, init, ..config }
            }
        };
        Ok(config)
    }

    /// The value of `adapter_config.json` with every field that PEFT 0.21 writes, keys sorted.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all: BTreeMap<&str, Value> = MUST_BE_OFF.iter().map(|(name, _)| (*name, Value::Null)).collect();
        for (name, value) in [
            ("alpha_pattern", table(self.alpha_pattern.iter().map(|(k, v)| (k, whole_if_exact(*v))))),
            ("auto_mapping", Value::Null),
            ("base_model_name_or_path", json!(self.base_model_name_or_path)),
            ("bias", json!(self.bias)),
            ("ensure_weight_tying", json!(false)),
            (
                "exclude_modules",
                match &self.exclude_modules {
                    None => Value::Null,
                    Some(ModuleNames::List(names)) => json!(names),
                    Some(ModuleNames::Regex(pattern)) => json!(pattern),
                },
            ),
            ("fan_in_fan_out", json!(false)),
            ("inference_mode", json!(true)),
            (
                "init_lora_weights",
                match self.init {
                    LoraInit::KaimingUniform => json!(true),
                    LoraInit::Random => json!(false),
                    LoraInit::Gaussian
                    | LoraInit::Pissa
                    | LoraInit::PissaIterated(_)
                    | LoraInit::Olora
                    | LoraInit::Loftq => json!(self.init.to_string()),
                },
            ),
            ("layers_pattern", null_if_empty(&self.layers_pattern)),
            ("layers_to_transform", null_if_empty(&self.layers_to_transform)),
            (
                "loftq_config",
                match self.loftq {
                    None => json!({}),
                    Some(Quantization::EightBit) => json!({ "loftq_bits": 8, "loftq_iter": 1 }),
                    Some(Quantization::FourBit { .. }) => json!({ "loftq_bits": 4, "loftq_iter": 1 }),
                },
            ),
            ("lora_alpha", whole_if_exact(self.lora_alpha)),
            ("lora_bias", json!(self.form == LoraForm::WithBias)),
            ("lora_dropout", json!(self.lora_dropout)),
            ("megatron_core", json!("megatron.core")),
            ("modules_to_save", null_if_empty(&self.modules_to_save)),
            ("peft_type", json!("LORA")),
            ("peft_version", json!(PEFT_VERSION)),
            ("qalora_group_size", json!(16)),
            ("r", json!(self.r)),
            ("rank_pattern", table(self.rank_pattern.iter().map(|(k, v)| (k, json!(v))))),
            ("revision", Value::Null),
            (
                "target_modules",
                match &self.target_modules {
                    TargetModules::List(names) => json!(names),
                    TargetModules::Regex(pattern) => json!(pattern),
                    TargetModules::AllLinear => json!("all-linear"),
                },
            ),
            ("task_type", json!("CAUSAL_LM")),
            ("use_dora", json!(self.form == LoraForm::WeightDecomposed)),
            ("use_qalora", json!(false)),
            ("use_rslora", json!(self.scaling_rule == ScalingRule::RankStabilised)),
            ("velora_config", Value::Null),
        ] {
            all.insert(name, value);
        }
        Value::Object(all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }
}

struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn present(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.present(name) {
            None => Ok(None),
            Some(v) => v.as_f64().map(Some).ok_or_else(|| refuse(name, format!("{v} must be a number"))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.present(name) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(v) => Err(refuse(name, format!("{v} must be true or false"))),
        }
    }

    fn names(&self, name: &str) -> Result<Option<ModuleNames>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(ModuleNames::Regex(s.clone()))),
            Some(Value::Array(items)) => {
                let names: Option<Vec<String>> = items.iter().map(|v| v.as_str().map(str::to_owned)).collect();
                let names = names.ok_or_else(|| refuse(name, "must be a list of names or one pattern"))?;
                Ok(Some(ModuleNames::List(names)))
            }
            Some(v) => Err(refuse(name, format!("{v} must be a list of names or one pattern"))),
        }
    }

    fn pattern<T>(&self, name: &str, read: impl Fn(&str, &Value) -> Result<T>) -> Result<Vec<(String, T)>> {
        match self.present(name) {
            None => Ok(Vec::new()),
            Some(Value::Object(map)) => map.iter().map(|(k, v)| Ok((k.clone(), read(name, v)?))).collect(),
            Some(v) => Err(refuse(name, format!("{v} must be a table of module names"))),
        }
    }

    fn refuse_unless_off(&self, name: &str, off: &str) -> Result<()> {
        match self.present(name) {
            Some(v) if *v != Value::Bool(false) && serde_json::from_str(off).ok().as_ref() != Some(v) => {
                Err(refuse(name, format!("{v} is not supported: only {off} or null")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn whole(name: &str, v: &Value) -> Result<usize> {
    v.as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| refuse(name, format!("{v} must be a whole number from 0")))
}

fn is_known(key: &str) -> bool {
    KNOWN.contains(&key) || MUST_BE_OFF.iter().any(|(name, _)| *name == key)
}

/// PEFT's `lora_alpha` is a whole number in nearly every file; keep it so.
fn whole_if_exact(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

fn null_if_empty<T: serde::Serialize>(items: &[T]) -> Value {
    if items.is_empty() { Value::Null } else { json!(items) }
}

/// In the order given, not sorted as PEFT does: the first pattern that fits counts.
fn table<'a>(entries: impl Iterator<Item = (&'a String, Value)>) -> Value {
    Value::Object(entries.map(|(k, v)| (k.clone(), v)).collect())
}

/// The form in which LoftQ left the base (PEFT's `loftq_utils.py`: NF4 with plain scales, or LLM.int8's), by its `loftq_config`.
fn loftq_form(init: LoraInit, made: Option<&Map<String, Value>>) -> Result<Option<Quantization>> {
    let number = |name: &str, default: u64| match made.and_then(|made| made.get(name)) {
        None | Some(Value::Null) => Ok(default),
        Some(v) => v.as_u64().ok_or_else(|| refuse("loftq_config", format!("{name} {v} must be a whole number"))),
    };
    let (bits, rounds) = (number("loftq_bits", 4)?, number("loftq_iter", 1)?);
    if init == LoraInit::Loftq && rounds != 1 {
        let problem = format!(
            "loftq_iter {rounds} quantised what earlier rounds had left, which the file does not hold: save the base beside the \
             adapter in PEFT, with init_lora_weights true"
        );
        return Err(refuse("loftq_config", problem));
    }
    match bits {
        4 => Ok(Some(Quantization::FourBit { kind: FourBitType::Nf4, scales: Scales::Plain, compute: Dtype::Auto })),
        8 => Ok(Some(Quantization::EightBit)),
        other => Err(refuse("loftq_config", format!("loftq_bits {other} is not supported: only 4 and 8"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_survives_writing_and_reading() {
        let list = || TargetModules::List(vec!["q_proj".into()]);
        let plain = LoraConfig {
            r: 3,
            lora_alpha: 4.5,
            lora_dropout: 0.25,
            target_modules: list(),
            base_model_name_or_path: Some("a/b".into()),
            ..LoraConfig::default()
        };
        let all = [
            plain.clone(),
            LoraConfig {
                target_modules: TargetModules::AllLinear,
                scaling_rule: ScalingRule::RankStabilised,
                init: LoraInit::Gaussian,
                form: LoraForm::WeightDecomposed,
                bias: TrainedBias::All,
                exclude_modules: Some(ModuleNames::Regex(".*q".into())),
                ..plain.clone()
            },
            LoraConfig {
                target_modules: TargetModules::Regex(r".*\.[qv]_proj".into()),
                init: LoraInit::Random,
                form: LoraForm::WithBias,
                bias: TrainedBias::LoraOnly,
                modules_to_save: vec!["lm_head".into()],
                ..plain.clone()
            },
            LoraConfig {
                init: LoraInit::PissaIterated(4),
                rank_pattern: vec![("a".into(), 2), ("b".into(), 3)],
                alpha_pattern: vec![("a".into(), 2.5), ("b".into(), 3.0)],
                layers_to_transform: vec![0, 2],
                layers_pattern: vec!["layers".into()],
                exclude_modules: Some(ModuleNames::List(vec!["k_proj".into()])),
                ..plain.clone()
            },
            LoraConfig { init: LoraInit::Loftq, ..plain.clone() }.settled(Some(Quantization::EightBit)),
        ];
        for config in all {
            assert_eq!(LoraConfig::from_json(&config.to_json()).unwrap(), config);
        }
    }

    #[test]
    fn the_least_that_peft_reads_is_enough() {
        let config = LoraConfig::from_json(&json!({"peft_type": "LORA"})).unwrap();
        assert_eq!(config, LoraConfig::default());
        let config = LoraConfig::from_json(&json!({"peft_type": "LORA", "r": null, "eva_config": null})).unwrap();
        assert_eq!(config.r, 8);
        assert!(LoraConfig::from_json(&json!({})).unwrap_err().to_string().contains("peft_type"));
        assert!(LoraConfig::from_json(&json!([])).is_err());
        let one = LoraConfig::from_json(&json!({"peft_type": "LORA", "layers_to_transform": 1, "layers_pattern": "h"}));
        let one = one.unwrap();
        assert_eq!((one.layers_to_transform, one.layers_pattern), (vec![1], vec!["h".to_owned()]));
    }

    #[test]
    fn a_value_that_is_not_supported_is_refused_by_its_name() {
        for (key, value) in [
            ("bias", json!("some")),
            ("use_dora", json!("yes")),
            ("rank_pattern", json!({"q_proj": -1})),
            ("alpha_pattern", json!(["q_proj"])),
            ("modules_to_save", json!("lm_head")),
            ("layers_to_transform", json!([-1])),
            ("init_lora_weights", json!("eva")),
            ("ensure_weight_tying", json!(true)),
            ("kasa_config", json!({"a": 1})),
        ] {
            let error = LoraConfig::from_json(&json!({"peft_type": "LORA", key: value})).unwrap_err();
            assert_eq!(error.field, key);
        }
        let both = json!({"peft_type": "LORA", "use_dora": true, "lora_bias": true});
        assert_eq!(LoraConfig::from_json(&both).unwrap_err().field, "lora_bias");
    }

    #[test]
    fn loftq_of_peft_names_the_form_of_its_base() {
        let read = |init: Value, loftq: Value| {
            LoraConfig::from_json(&json!({"peft_type": "LORA", "target_modules": ["q_proj"], "init_lora_weights": init,
                "loftq_config": loftq}))
        };
        let nf4 = Quantization::FourBit { kind: FourBitType::Nf4, scales: Scales::Plain, compute: Dtype::Auto };
        for (init, loftq, form) in [
            (json!("loftq"), json!({"loftq_bits": 4, "loftq_iter": 1}), Some(nf4)),
            (json!("loftq"), json!({}), Some(nf4)),
            (json!(true), json!({"loftq_bits": 8, "loftq_iter": 5}), Some(Quantization::EightBit)),
            (json!(true), json!({}), None),
            (json!(true), Value::Null, None),
        ] {
            let config = read(init.clone(), loftq.clone()).unwrap();
            assert_eq!((config.init, config.loftq), (LoraInit::KaimingUniform, form), "{init} {loftq}");
        }
        for (loftq, named) in [(json!({"loftq_iter": 2}), "loftq_iter 2"), (json!({"loftq_bits": 2}), "loftq_bits 2")] {
            let error = read(json!("loftq"), loftq).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
