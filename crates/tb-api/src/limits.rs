//! What of a training form can be chosen with this base, device, data and the other fields, and why not the rest. A choice is refused here
//! for the reason for which its run would be refused: each is tried on the check that a start makes; what that check cannot know
//! (the base, the device, what a run continues) is in the rules below.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tb_core::{
    ApiError,
    dataset::SplitName,
    decoder_config::DecoderConfig,
    recipe::{
        BadHyperparameter, FIELDS, Hyperparameters, Method,
        fields::{Field, Kind},
    },
    run_folder::DeviceDescription,
};
use tb_data::model_folder;
use ts_rs::TS;

use crate::{Ctx, StartJob, bases, bases::BaseModule, ctx::blocking, estimate, found, training};

/// Fields that describe an adapter; in training without one, or on from one, they have no say.
const ADAPTER: [&str; 15] = [
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "bias",
    "init_lora_weights",
    "finetuning_type",
];
/// Fields about how a frozen base is held.
const QUANTISED: [&str; 2] = ["load_in_8bit", "load_in_4bit"];
/// Fields that need held-out rows.
const HELD_OUT: [&str; 6] = [
    "eval_steps",
    "eval_samples",
    "per_device_eval_batch_size",
    "load_best_model_at_end",
    "early_stopping_patience",
    "early_stopping_threshold",
];
/// (field, the switch that it needs): without it the field has no effect.
const NEEDS: [(&str, &str); 4] = [
    ("bnb_4bit_quant_type", "load_in_4bit"),
    ("bnb_4bit_use_double_quant", "load_in_4bit"),
    ("bnb_4bit_compute_dtype", "load_in_4bit"),
    ("packing_strategy", "packing"),
];

/// The first values of an adapter that the form offers; `pissa_niter_N` stands for its numbers.
const FIRST_VALUES: [&str; 6] = ["true", "false", "gaussian", "pissa", "olora", "loftq"];

/// What a form can and cannot choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct FormLimits {
    /// The device that the run would use.
    pub device: String,
    /// The base's modules, as `target_modules` names them; empty while no base that can be read is chosen.
    pub modules: Vec<BaseModule>,
    /// Limits, in order of the fields; a field without one is free.
    pub fields: Vec<FieldLimit>,
}

/// A limit of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct FieldLimit {
    /// The field.
    pub key: String,
    /// What cannot be chosen.
    pub limit: Limit,
    /// Why, for the UI's words: `device`, `context`, `from_random`, `from_adapter`, `full`, `held_out`, `needs`, `cpu_only`, `together`, `lacks`.
    pub code: String,
    /// What the reason is about: a device, a length, the other field.
    pub about: String,
    /// Why, in words.
    pub message: String,
}

/// What of a field cannot be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Limit {
    /// Nothing can: the field has no effect in this run.
    Off,
    /// These choices.
    Choices {
        /// The choices, as text.
        choices: Vec<String>,
    },
    /// More than this.
    Most {
        /// The largest value.
        most: f64,
    },
}

/// What the rules look at.
struct Seen {
    /// The hyperparameters as far as they can be accepted.
    h: Hyperparameters,
    method: Method,
    config: Option<DecoderConfig>,
    device: DeviceDescription,
    /// Whether the run goes on from an adapter.
    continues: bool,
    /// Whether rows are held out; none while no data is chosen.
    held_out: Option<bool>,
}

pub(crate) async fn of_form(ctx: &Ctx, form: StartJob) -> Result<FormLimits, ApiError> {
    let device = estimate::device(ctx, form.device.as_deref())?;
    let (base, adapter) = match &form.model_id {
        Some(id) => {
            let source = found::model(ctx.db(), id).await?.source();
            (Some(source.base), source.adapter)
        }
        None => (form.base_model.clone(), form.adapter.clone()),
    };
    let held_out = match (&form.dataset_id, &form.data) {
        (Some(id), _) => {
            let dataset = found::dataset(ctx.db(), id).await?;
            Some(dataset.splits.iter().any(|s| s.name == SplitName::Validation && s.rows > 0))
        }
        (None, Some(_)) => Some(form.eval_data.is_some()),
        (None, None) => None,
    };
    // A base that cannot be read is the estimate's to name.
    let config = match base {
        Some(path) => blocking(move || Ok(model_folder::read_config(&path).ok())).await?,
        None => None,
    };
    let seen = Seen {
        h: accepted(ctx.settings().hyperparameters(), &form.hyperparameters),
        method: form.method.unwrap_or(Method::Sft),
        device,
        continues: adapter.is_some(),
        held_out,
        config,
    };
    Ok(FormLimits {
        device: seen.device.id.clone(),
        modules: seen.config.as_ref().map(bases::modules).unwrap_or_default(),
        fields: all(&seen),
    })
}

/// The form's values that can be accepted; what is wrong with the others is said elsewhere.
fn accepted(mut h: Hyperparameters, changes: &Map<String, Value>) -> Hyperparameters {
    for (key, value) in changes {
        h.set(key, &training::as_text(value)).ok();
    }
    h
}

/// Every limit, in order of the fields. Of several of one field the first rule's stands.
fn all(seen: &Seen) -> Vec<FieldLimit> {
    let values = serde_json::to_value(&seen.h).unwrap_or_default();
    FIELDS.iter().filter_map(|field| off(seen, &values, field).or_else(|| bounded(seen, field))).collect()
}

fn limit(field: &Field, limit: Limit, code: &str, about: &str, message: String) -> FieldLimit {
    FieldLimit { key: field.key.to_owned(), limit, code: code.into(), about: about.into(), message }
}

/// Whether a field has no effect at all.
fn off(seen: &Seen, values: &Value, field: &Field) -> Option<FieldLimit> {
    let off = |code: &str, about: &str, message: String| Some(limit(field, Limit::Off, code, about, message));
    let is = |key: &str, value: &Value| values.get(key) == Some(value);
    let key = field.key;
    let of_adapter = ADAPTER.contains(&key);
    match seen.method {
        Method::Pretrain if of_adapter || QUANTISED.contains(&key) => {
            return off(
                "from_random",
                "",
                "Training from random weights trains every weight, without an adapter.".into(),
            );
        }
        Method::Pretrain | Method::Sft => {}
    }
    if (of_adapter && key != "finetuning_type" || QUANTISED.contains(&key)) && is("finetuning_type", &"full".into()) {
        return off(
            "full",
            "finetuning_type",
            "Every weight is trained: there is no adapter, and no frozen base.".into(),
        );
    }
    if of_adapter && key != "finetuning_type" && seen.continues {
        return off("from_adapter", "", "The run goes on from an adapter, which has its own value.".into());
    }
    if HELD_OUT.contains(&key) && seen.held_out == Some(false) {
        return off("held_out", "", "The data has no held-out rows: nothing is evaluated.".into());
    }
    if key == "num_threads" && seen.device.id != "cpu" {
        return off("cpu_only", &seen.device.id, format!("The run computes on {}.", seen.device.id));
    }
    let (_, needed) = NEEDS.iter().find(|(k, _)| *k == key)?;
    is(needed, &false.into()).then(|| off("needs", needed, format!("It has an effect only with {needed}.")))?
}

/// What part of a field cannot be chosen.
fn bounded(seen: &Seen, field: &Field) -> Option<FieldLimit> {
    if field.key == "max_length" {
        let context = seen.config.as_ref()?.max_position_embeddings;
        let message = format!("The base was made for texts of up to {context} tokens.");
        return Some(limit(field, Limit::Most { most: context as f64 }, "context", &context.to_string(), message));
    }
    // Everything else is text, or a number with a range of its own.
    let choices: Vec<String> = if let Kind::Words(words) = field.kind {
        words.iter().map(|word| (*word).to_owned()).collect()
    } else if matches!(field.kind, Kind::Switch) {
        vec!["true".into(), "false".into()]
    } else if matches!(field.kind, Kind::FirstValues) {
        FIRST_VALUES.map(Into::into).into()
    } else {
        return None;
    };
    let device = &seen.device;
    if field.key == "dtype" || field.key == "bnb_4bit_compute_dtype" {
        let known: Vec<String> = device.dtypes.iter().map(ToString::to_string).collect();
        let refused: Vec<String> =
            choices.iter().filter(|c| *c != "auto" && !known.is_empty() && !known.contains(c)).cloned().collect();
        if !refused.is_empty() {
            let message = format!("{} does not compute with {}.", device.name, refused.join(", "));
            return Some(limit(field, Limit::Choices { choices: refused }, "device", &device.name, message));
        }
    }
    let mut why = None;
    let refused: Vec<String> = choices
        .into_iter()
        .filter(|choice| {
            let error = refusal(&seen.h, field.key, choice);
            let is_refused = error.is_some();
            why = why.take().or(error);
            is_refused
        })
        .collect();
    let why = why?;
    let (code, about) = match &why {
        BadHyperparameter::Needs { other, .. } => ("lacks", *other),
        BadHyperparameter::Both { one, other } => ("together", if one.starts_with(field.key) { *other } else { *one }),
        _ => ("together", ""),
    };
    Some(limit(field, Limit::Choices { choices: refused }, code, about, format!("{why}.")))
}

/// Why a start would refuse this choice beside the form's other values; not what is wrong with those alone.
fn refusal(h: &Hyperparameters, key: &str, choice: &str) -> Option<BadHyperparameter> {
    let mut h = h.clone();
    let lacks = |error: &BadHyperparameter| match error {
        BadHyperparameter::Needs { one, .. } => one.starts_with(key),
        _ => false,
    };
    h.set(key, choice).err().or_else(|| h.validate().err().filter(lacks))
}

#[cfg(test)]
mod tests {
    use tb_core::recipe::Dtype;

    use super::*;

    fn seen() -> Seen {
        let dir = tempfile::tempdir().unwrap();
        let base = tb_data::sample::write_bundled(dir.path()).unwrap().base;
        Seen {
            h: Hyperparameters::default(),
            method: Method::Sft,
            config: Some(model_folder::read_config(&base).unwrap()),
            device: DeviceDescription {
                id: "cpu".into(),
                name: "A processor".into(),
                memory_bytes: 1,
                free_bytes: 1,
                units: 2,
                dtypes: vec![Dtype::F32, Dtype::Bf16],
                features: vec![],
            },
            continues: false,
            held_out: Some(true),
        }
    }

    fn of(seen: &Seen, key: &str) -> Option<FieldLimit> {
        all(seen).into_iter().find(|limit| limit.key == key)
    }

    #[test]
    fn a_plain_run_is_limited_by_its_context_and_by_nothing_of_its_adapter() {
        let seen = seen();
        let context = seen.config.as_ref().unwrap().max_position_embeddings as f64;
        assert_eq!(of(&seen, "max_length").unwrap().limit, Limit::Most { most: context });
        for key in ["lora_r", "target_modules", "use_rslora", "dtype", "eval_steps", "num_threads"] {
            assert_eq!(of(&seen, key), None, "{key}");
        }
        // Without a base nothing is known of its length.
        assert_eq!(of(&Seen { config: None, ..seen }, "max_length"), None);
    }

    #[test]
    fn what_has_no_effect_is_off_with_its_reason() {
        let code = |seen: &Seen, key: &str| {
            of(seen, key).filter(|l| l.limit == Limit::Off).map(|l| l.code).unwrap_or_default()
        };
        let continued = Seen { continues: true, ..seen() };
        assert_eq!(
            (code(&continued, "lora_r"), code(&continued, "learning_rate")),
            ("from_adapter".into(), String::new())
        );
        // Every weight can train on from an adapter, which is merged first.
        assert_eq!(code(&continued, "finetuning_type"), "");
        let mut full = seen();
        full.h.set("finetuning_type", "full").unwrap();
        assert_eq!((code(&full, "lora_r"), code(&full, "finetuning_type")), ("full".into(), String::new()));
        let random = Seen { method: Method::Pretrain, ..seen() };
        assert_eq!(
            (code(&random, "target_modules"), code(&random, "max_length")),
            ("from_random".into(), String::new())
        );
        let alone = Seen { held_out: Some(false), ..seen() };
        assert_eq!((code(&alone, "eval_steps"), code(&alone, "save_steps")), ("held_out".into(), String::new()));
        assert_eq!(code(&Seen { held_out: None, ..seen() }, "eval_steps"), "");
        let mut card = seen();
        card.device.id = "cuda:0".into();
        assert_eq!(code(&card, "num_threads"), "cpu_only");
    }

    #[test]
    fn numbers_that_the_device_does_not_compute_with_cannot_be_chosen() {
        let mut old = seen();
        old.device.dtypes = vec![Dtype::F32];
        let limit = of(&old, "dtype").unwrap();
        assert_eq!(limit.limit, Limit::Choices { choices: vec!["bfloat16".into()] });
        assert!(limit.message.contains("A processor"), "{}", limit.message);
        // A device that does not say is not held against anyone.
        old.device.dtypes.clear();
        assert_eq!(of(&old, "dtype"), None);
    }

    #[test]
    fn first_values_are_offered_as_the_base_is_held() {
        let mut form = seen();
        let limit = of(&form, "init_lora_weights").unwrap();
        assert_eq!(limit.limit, Limit::Choices { choices: vec!["loftq".into()] });
        assert_eq!((limit.code.as_str(), limit.about.as_str()), ("lacks", "load_in_4bit or load_in_8bit"));
        form.h.set("load_in_4bit", "true").unwrap();
        let limit = of(&form, "init_lora_weights").unwrap();
        assert_eq!(limit.limit, Limit::Choices { choices: vec!["pissa".into()] });
        assert_eq!((limit.code.as_str(), limit.about.as_str()), ("together", "load_in_4bit"));
        // The other way round: with pissa the base is not held in fewer bits.
        let mut form = seen();
        form.h.set("init_lora_weights", "pissa").unwrap();
        assert_eq!(of(&form, "load_in_4bit").unwrap().limit, Limit::Choices { choices: vec!["true".into()] });
    }

    #[test]
    fn every_named_field_that_exists_is_a_field_and_values_that_clash_are_refused_as_a_start_would() {
        for field in FIELDS {
            for limit in all(&seen()).iter().filter(|l| l.key == field.key) {
                // Each refused choice is one that a start refuses too, or one that the device cannot compute with.
                if let Limit::Choices { choices } = &limit.limit {
                    for choice in choices {
                        assert!(
                            limit.code == "device" || refusal(&Hyperparameters::default(), field.key, choice).is_some(),
                            "{} {choice}",
                            field.key
                        );
                    }
                }
            }
        }
        let mut values = Map::new();
        values.insert("lora_r".into(), 4.into());
        values.insert("no_field".into(), 4.into());
        values.insert("max_length".into(), "many".into());
        let h = accepted(Hyperparameters::default(), &values);
        assert_eq!((h.lora_r, h.max_length), (4, Hyperparameters::default().max_length));
    }
}
