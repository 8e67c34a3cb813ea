//! PEFT's two files, `adapter_config.json` and `adapter_model.safetensors`, both ways. Nothing here computes.

use super::{LoraConfig, LoraInit, ScalingRule, TargetModules};
use crate::checkpoint::{read_json, write_json, write_tensors};
use crate::weights::Weights;
use crate::{Error, Result};
use candle_core::Tensor;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";

/// The file format that is written: PEFT 0.21.
const PEFT_VERSION: &str = "0.21.2";

/// Fields of PEFT that change what is computed and are not supported, each with the values that switch it off (null always does).
const MUST_BE_OFF: [(&str, &str); 25] = [
    ("alora_invocation_tokens", "[]"),
    ("alpha_pattern", "{}"),
    ("arrow_config", "{}"),
    ("bias", "\"none\""),
    ("corda_config", "{}"),
    ("ensure_weight_tying", "false"),
    ("eva_config", "{}"),
    ("exclude_modules", "[]"),
    ("fan_in_fan_out", "false"),
    ("kasa_config", "{}"),
    ("layer_replication", "[]"),
    ("layers_pattern", "[]"),
    ("layers_to_transform", "[]"),
    ("loftq_config", "{}"),
    ("lora_bias", "false"),
    ("lora_ga_config", "{}"),
    ("megatron_config", "{}"),
    ("modules_to_save", "[]"),
    ("monteclora_config", "{}"),
    ("rank_pattern", "{}"),
    ("target_parameters", "[]"),
    ("trainable_token_indices", "[]"),
    ("use_bdlora", "false"),
    ("use_dora", "false"),
    ("use_qalora", "false"),
];

/// Fields that are read, or that change nothing.
const KNOWN: [&str; 17] = [
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
    "velora_config",
];

impl LoraConfig {
    /// Reads PEFT's `adapter_config.json` value. Unknown keys are kept aside; an unsupported feature is refused by its name.
    pub fn from_json(value: &Value) -> Result<Self> {
        let fields = value.as_object().ok_or_else(|| Error::config("(whole file)", "is not a JSON object"))?;
        match fields.get("peft_type") {
            Some(Value::String(kind)) if kind == "LORA" => {}
            None => return Err(Error::config("peft_type", "is missing")),
            Some(other) => return Err(Error::config("peft_type", format!("{other} is not supported: only \"LORA\""))),
        }
        for (name, off) in MUST_BE_OFF {
            refuse_unless_off(fields, name, off)?;
        }
        if let Some(velora) = fields.get("velora_config").filter(|v| !v.is_null()) {
            return Err(Error::config("velora_config", format!("{velora} is not supported")));
        }
        let default = Self::default();
        let config = Self {
            r: match present(fields, "r") {
                None => default.r,
                Some(v) => v
                    .as_u64()
                    .and_then(|n| usize::try_from(n).ok())
                    .ok_or_else(|| Error::config("r", format!("{v} must be a whole number")))?,
            },
            lora_alpha: number(fields, "lora_alpha")?.unwrap_or(default.lora_alpha),
            lora_dropout: number(fields, "lora_dropout")?.unwrap_or(default.lora_dropout),
            target_modules: target_modules(fields)?,
            scaling_rule: match present(fields, "use_rslora") {
                None | Some(Value::Bool(false)) => ScalingRule::AlphaOverR,
                Some(Value::Bool(true)) => ScalingRule::RankStabilised,
                Some(v) => return Err(Error::config("use_rslora", format!("{v} must be true or false"))),
            },
            init: match present(fields, "init_lora_weights") {
                None | Some(Value::Bool(true)) => LoraInit::KaimingUniform,
                Some(Value::Bool(false)) => LoraInit::Random,
                Some(Value::String(s)) if s == "gaussian" => LoraInit::Gaussian,
                Some(v) => {
                    return Err(Error::config(
                        "init_lora_weights",
                        format!("{v} is not supported: only true, false and \"gaussian\""),
                    ));
                }
            },
            base_model_name_or_path: present(fields, "base_model_name_or_path")
                .and_then(Value::as_str)
                .map(str::to_owned),
            unknown_keys: fields.keys().filter(|k| !is_known(k)).cloned().collect(),
        };
        config.check()?;
        Ok(config)
    }

    /// The value of `adapter_config.json` with every field that PEFT 0.21 writes, keys sorted.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all: BTreeMap<&str, Value> = MUST_BE_OFF.iter().map(|(name, _)| (*name, Value::Null)).collect();
        for (name, value) in [
            ("alpha_pattern", json!({})),
            ("auto_mapping", Value::Null),
            ("base_model_name_or_path", json!(self.base_model_name_or_path)),
            ("bias", json!("none")),
            ("ensure_weight_tying", json!(false)),
            ("fan_in_fan_out", json!(false)),
            ("inference_mode", json!(true)),
            (
                "init_lora_weights",
                match self.init {
                    LoraInit::KaimingUniform => json!(true),
                    LoraInit::Random => json!(false),
                    LoraInit::Gaussian => json!("gaussian"),
                },
            ),
            ("loftq_config", json!({})),
            ("lora_alpha", whole_if_exact(self.lora_alpha)),
            ("lora_bias", json!(false)),
            ("lora_dropout", json!(self.lora_dropout)),
            ("megatron_core", json!("megatron.core")),
            ("peft_type", json!("LORA")),
            ("peft_version", json!(PEFT_VERSION)),
            ("qalora_group_size", json!(16)),
            ("r", json!(self.r)),
            ("rank_pattern", json!({})),
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
            ("use_dora", json!(false)),
            ("use_qalora", json!(false)),
            ("use_rslora", json!(self.scaling_rule == ScalingRule::RankStabilised)),
            ("velora_config", Value::Null),
        ] {
            all.insert(name, value);
        }
        Value::Object(all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }
}

/// Reads the configuration and maps the weights of the adapter in `dir`.
pub(crate) fn read_adapter(dir: &Path) -> Result<(LoraConfig, Weights)> {
    let path = dir.join(CONFIG);
    let config = LoraConfig::from_json(&read_json(&path)?).map_err(|e| match e {
        Error::Config { .. } => Error::file(&path, e),
        other => other,
    })?;
    let model = dir.join(MODEL);
    if !model.is_file() {
        let pickle = dir.join("adapter_model.bin");
        if pickle.is_file() {
            return Err(Error::file(
                pickle,
                "is a pickle file, which can run any program when it is opened, so it is not read: save the adapter as safetensors",
            ));
        }
    }
    Ok((config, Weights::open_file(&model)?))
}

/// Writes both files; the configuration last, so that a folder with one is complete.
pub(crate) fn write_adapter(dir: &Path, config: &LoraConfig, tensors: &[(String, Tensor)]) -> Result<()> {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_tensors(&dir.join(MODEL), tensors, &metadata)?;
    write_json(&dir.join(CONFIG), &config.to_json())
}

fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|v| !v.is_null())
}

fn number(fields: &Map<String, Value>, name: &str) -> Result<Option<f64>> {
    match present(fields, name) {
        None => Ok(None),
        Some(v) => v.as_f64().map(Some).ok_or_else(|| Error::config(name, format!("{v} must be a number"))),
    }
}

fn refuse_unless_off(fields: &Map<String, Value>, name: &str, off: &str) -> Result<()> {
    match present(fields, name) {
        Some(v) if *v != Value::Bool(false) && serde_json::from_str(off).ok().as_ref() != Some(v) => {
            Err(Error::config(name, format!("{v} is not supported: only {off} or null")))
        }
        Some(_) | None => Ok(()),
    }
}

fn target_modules(fields: &Map<String, Value>) -> Result<TargetModules> {
    match present(fields, "target_modules") {
        None => Ok(TargetModules::default()),
        Some(Value::String(s)) if s.eq_ignore_ascii_case("all-linear") => Ok(TargetModules::AllLinear),
        Some(Value::String(s)) => Ok(TargetModules::Regex(s.clone())),
        Some(Value::Array(items)) => items
            .iter()
            .map(|v| v.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(TargetModules::List)
            .ok_or_else(|| Error::config("target_modules", "must be a list of names or one pattern")),
        Some(v) => Err(Error::config("target_modules", format!("{v} must be a list of names or one pattern"))),
    }
}

fn is_known(key: &str) -> bool {
    KNOWN.contains(&key) || MUST_BE_OFF.iter().any(|(name, _)| *name == key)
}

/// PEFT's `lora_alpha` is a whole number in nearly every file; keep it so.
fn whole_if_exact(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

#[cfg(test)]
mod tests;
