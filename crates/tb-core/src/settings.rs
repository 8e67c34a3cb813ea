//! Settings under the service's names: built-in defaults < settings.toml < environment < command line.
//! Reading files and the environment is the caller's; this checks, merges and names what is wrong.

use std::fmt;

use config::{Config, FileFormat};
use serde::{Deserialize, Serialize, Serializer};
use ts_rs::TS;

use crate::recipe::{Dtype, Hyperparameters, TargetModules};

/// A secret: never printed, never sent to a window, never stored outside the system's keyring, a file that only its owner reads, or
/// the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// Reads a text, and a number as its text: no error quotes what was given.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Secret, E> {
                Ok(Secret(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Secret, E> {
                Ok(Secret(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Secret, E> {
                Ok(Secret(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Secret, E> {
                Ok(Secret(value.to_string()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl Secret {
    /// The secret itself, for the one place that uses it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(set)")
    }
}

/// Every setting. The name in the environment is the name here in capitals; in settings.toml it is as here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// PostgreSQL server; none keeps the embedded SQLite.
    pub postgres_host: Option<String>,
    /// Its port.
    pub postgres_port: u16,
    /// Its user.
    pub postgres_user: Option<String>,
    /// Its password.
    #[ts(type = "string | null")]
    pub postgres_password: Option<Secret>,
    /// Its database.
    pub postgres_db: Option<String>,
    /// Redis server; none keeps cache and events in the process.
    pub redis_host: Option<String>,
    /// Its port.
    pub redis_port: u16,
    /// MLflow server to report runs to.
    pub mlflow_tracking_uri: Option<String>,
    /// Experiment there.
    pub mlflow_experiment_name: String,
    /// Weights & Biases key.
    #[ts(type = "string | null")]
    pub wandb_api_key: Option<Secret>,
    /// Project there.
    pub wandb_project: Option<String>,
    /// Team there.
    pub wandb_entity: Option<String>,
    /// Key of OpenAI.
    #[ts(type = "string | null")]
    pub openai_api_key: Option<Secret>,
    /// Key of Anthropic.
    #[ts(type = "string | null")]
    pub anthropic_api_key: Option<Secret>,
    /// Key of Google.
    #[ts(type = "string | null")]
    pub google_api_key: Option<Secret>,
    /// Token of the Hugging Face hub; `HF_TOKEN` is read as well.
    #[ts(type = "string | null")]
    pub huggingface_token: Option<Secret>,
    /// Address of the hub; `HF_ENDPOINT` is read as well.
    pub hf_endpoint: Option<String>,
    /// Never go to the network; `HF_HUB_OFFLINE` is read as well.
    pub offline: bool,
    /// Rows in a micro-batch.
    pub default_batch_size: u32,
    /// Peak learning rate.
    pub default_learning_rate: f64,
    /// Passes over the data.
    pub default_epochs: f64,
    /// Compute in 16 bits where the device does so natively.
    pub fp16_training: bool,
    /// Recompute activations to save memory.
    pub gradient_checkpointing: bool,
    /// Rank of LoRA.
    pub lora_r: u32,
    /// Scale of LoRA.
    pub lora_alpha: f64,
    /// Dropout of LoRA.
    pub lora_dropout: f64,
    /// Layers that get an adapter, by name.
    pub lora_target_modules: Vec<String>,
    /// PPO: answers per step.
    pub ppo_batch_size: u32,
    /// PPO: answers per micro-batch.
    pub ppo_mini_batch_size: u32,
    /// PPO: learning rate.
    pub ppo_learning_rate: f64,
    /// PPO: weight of the divergence from the reference model.
    pub ppo_kl_penalty: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            postgres_host: None,
            postgres_port: 5432,
            postgres_user: None,
            postgres_password: None,
            postgres_db: None,
            redis_host: None,
            redis_port: 6379,
            mlflow_tracking_uri: None,
            mlflow_experiment_name: "tonebridge-training".into(),
            wandb_api_key: None,
            wandb_project: None,
            wandb_entity: None,
            openai_api_key: None,
            anthropic_api_key: None,
            google_api_key: None,
            huggingface_token: None,
            hf_endpoint: None,
            offline: false,
            default_batch_size: 8,
            default_learning_rate: 5e-5,
            default_epochs: 3.0,
            fp16_training: true,
            gradient_checkpointing: true,
            lora_r: 8,
            lora_alpha: 32.0,
            lora_dropout: 0.1,
            lora_target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"].map(String::from).to_vec(),
            ppo_batch_size: 128,
            ppo_mini_batch_size: 4,
            ppo_learning_rate: 1e-5,
            ppo_kl_penalty: 0.1,
        }
    }
}

/// Names in the environment besides the settings' own, and what they stand for.
const ALIASES: &[(&str, &str)] =
    &[("HF_TOKEN", "huggingface_token"), ("HF_ENDPOINT", "hf_endpoint"), ("HF_HUB_OFFLINE", "offline")];

/// A setting that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// A name that is no setting.
    #[error("{origin}: there is no setting '{name}'; did you mean '{nearest}'?")]
    Unknown {
        /// Where it stands.
        origin: String,
        /// The name.
        name: String,
        /// The nearest that exists.
        nearest: String,
    },
    /// A value of the wrong kind or out of range.
    #[error("{origin}: {name} = '{text}' cannot be used: {reason}")]
    BadValue {
        /// Where it stands.
        origin: String,
        /// The name.
        name: String,
        /// The value; secrets are not shown.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A settings.toml that is not TOML.
    #[error("{origin} cannot be read: {reason}")]
    NotToml {
        /// Where it stands.
        origin: String,
        /// Why not.
        reason: String,
    },
}

impl Settings {
    /// Merges the sources, the later over the earlier. `file` is the path and text of settings.toml, `secrets` names and values
    /// from the file of secrets, `environment` all variables of the process (others than ours are passed over), `overrides` pairs
    /// from the command line.
    ///
    /// # Errors
    /// The first name or value that cannot be accepted, with where it stands.
    pub fn load(
        file: Option<(&str, &str)>,
        secrets: &[(String, String)],
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self, BadSetting> {
        let mut settings = Self::default();
        if let Some((path, text)) = file {
            settings.merge_file(path, text)?;
        }
        for (name, text) in secrets {
            settings.set("secrets", name, name, text)?;
        }
        for (name, text) in environment {
            if let Some(key) = Self::named_by(&name).filter(|_| !text.is_empty()) {
                settings.set("environment", &key, &name, &text)?;
            }
        }
        for (name, text) in overrides {
            settings.set("command line", name, name, text)?;
        }
        Ok(settings)
    }

    /// Names of all settings, as in settings.toml.
    #[must_use]
    pub fn names() -> Vec<String> {
        match serde_json::to_value(Self::default()) {
            Ok(serde_json::Value::Object(map)) => map.keys().cloned().collect(),
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    /// The setting that a variable of the environment sets, if it is one of ours.
    #[must_use]
    pub fn named_by(variable: &str) -> Option<String> {
        match ALIASES.iter().find(|(alias, _)| *alias == variable) {
            Some((_, key)) => Some((*key).to_owned()),
            None => Self::names().into_iter().find(|key| key.to_uppercase() == variable),
        }
    }

    /// Whether the setting of this name is a secret.
    #[must_use]
    pub fn is_secret(name: &str) -> bool {
        ["_key", "_token", "_password"].iter().any(|end| name.ends_with(end))
    }

    /// The secret of this name, if it is set and there is one of the name.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        match name {
            "postgres_password" => self.postgres_password.as_ref(),
            "wandb_api_key" => self.wandb_api_key.as_ref(),
            "openai_api_key" => self.openai_api_key.as_ref(),
            "anthropic_api_key" => self.anthropic_api_key.as_ref(),
            "google_api_key" => self.google_api_key.as_ref(),
            "huggingface_token" => self.huggingface_token.as_ref(),
            _ => None,
        }
    }

    /// The hyperparameters with which a form opens: the library's defaults with these settings over them.
    #[must_use]
    pub fn hyperparameters(&self) -> Hyperparameters {
        Hyperparameters {
            per_device_train_batch_size: self.default_batch_size,
            learning_rate: self.default_learning_rate,
            num_train_epochs: self.default_epochs,
            dtype: if self.fp16_training { Dtype::Auto } else { Dtype::F32 },
            gradient_checkpointing: self.gradient_checkpointing,
            lora_r: self.lora_r,
            lora_alpha: self.lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules: TargetModules::Suffixes(self.lora_target_modules.clone()),
            ..Hyperparameters::default()
        }
    }

    fn merge_file(&mut self, path: &str, text: &str) -> Result<(), BadSetting> {
        let parsed = Config::builder()
            .add_source(config::File::from_str(text, FileFormat::Toml))
            .build()
            .map_err(|e| BadSetting::NotToml { origin: path.to_owned(), reason: without_quotes(&e.to_string()) })?;
        let table: std::collections::BTreeMap<String, config::Value> = parsed
            .try_deserialize()
            .map_err(|e| BadSetting::NotToml { origin: path.to_owned(), reason: e.to_string() })?;
        for (name, value) in table {
            let text = match value.kind {
                config::ValueKind::Array(items) => {
                    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
                }
                kind => kind.to_string(),
            };
            self.set(path, &name, &name, &text)?;
        }
        Ok(())
    }

    /// Sets one value; `shown` is the name as the user wrote it.
    fn set(&mut self, origin: &str, name: &str, shown: &str, text: &str) -> Result<(), BadSetting> {
        let names = Self::names();
        if !names.iter().any(|n| n == name) {
            let nearest = names
                .into_iter()
                .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
                .unwrap_or_default();
            return Err(BadSetting::Unknown { origin: origin.to_owned(), name: shown.to_owned(), nearest });
        }
        let secret = Self::is_secret(name);
        let refuse = |reason: String| BadSetting::BadValue {
            origin: origin.to_owned(),
            name: shown.to_owned(),
            text: if secret { "(hidden)".into() } else { text.to_owned() },
            reason,
        };
        // The config crate turns text into the field's kind ("8" into a number, "1" or "yes" into true).
        let builder = match name {
            "lora_target_modules" => {
                Config::builder().set_override(name, text.split(',').map(|s| s.trim().to_owned()).collect::<Vec<_>>())
            }
            _ => Config::builder().set_override(name, text),
        };
        let reason = |e: config::ConfigError| e.to_string().split(" for key").next().unwrap_or_default().to_owned();
        let one: Self =
            builder.and_then(|b| b.build()).and_then(Config::try_deserialize).map_err(|e| refuse(reason(e)))?;
        let changed = self.clone().with(name, one);
        changed.check().map_err(refuse)?;
        *self = changed;
        Ok(())
    }

    /// These settings with the one called `name` taken from `other`.
    fn with(self, name: &str, other: Self) -> Self {
        macro_rules! take {
            ($($field:ident),+ $(,)?) => { Self { $($field: if name == stringify!($field) { other.$field } else { self.$field }),+ } };
        }
        take!(
            postgres_host,
            postgres_port,
            postgres_user,
            postgres_password,
            postgres_db,
            redis_host,
            redis_port,
            mlflow_tracking_uri,
            mlflow_experiment_name,
            wandb_api_key,
            wandb_project,
            wandb_entity,
            openai_api_key,
            anthropic_api_key,
            google_api_key,
            huggingface_token,
            hf_endpoint,
            offline,
            default_batch_size,
            default_learning_rate,
            default_epochs,
            fp16_training,
            gradient_checkpointing,
            lora_r,
            lora_alpha,
            lora_dropout,
            lora_target_modules,
            ppo_batch_size,
            ppo_mini_batch_size,
            ppo_learning_rate,
            ppo_kl_penalty,
        )
    }

    fn check(&self) -> Result<(), String> {
        self.hyperparameters().validate().map_err(|e| e.to_string())?;
        let ppo_ok = self.ppo_learning_rate.is_finite()
            && self.ppo_learning_rate > 0.0
            && self.ppo_kl_penalty.is_finite()
            && self.ppo_kl_penalty >= 0.0
            && self.ppo_batch_size > 0
            && self.ppo_mini_batch_size > 0
            && self.ppo_mini_batch_size <= self.ppo_batch_size;
        if !ppo_ok {
            return Err("PPO needs sizes above 0 (mini-batch up to batch), a rate above 0 and a penalty from 0".into());
        }
        Ok(())
    }
}

/// A parser's message without the lines that quote the file: one of them may hold a secret.
fn without_quotes(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty() && !l.contains('|')).collect();
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn later_sources_win() {
        let file = Some(("settings.toml", "default_batch_size = 4\nlora_r = 16\nlora_target_modules = [\"q_proj\"]"));
        let all = Settings::load(
            file,
            &[],
            env(&[("DEFAULT_BATCH_SIZE", "2"), ("PATH", "/bin"), ("FP16_TRAINING", "false")]),
            &env(&[("lora_alpha", "64")]),
        )
        .unwrap();
        assert_eq!((all.default_batch_size, all.lora_r, all.lora_alpha, all.lora_dropout), (2, 16, 64.0, 0.1));
        assert_eq!(all.lora_target_modules, ["q_proj"]);
        assert_eq!(all.hyperparameters().dtype, Dtype::F32);
    }

    #[test]
    fn wrong_values_are_refused_by_name_and_place() {
        let error = Settings::load(None, &[], env(&[("LORA_R", "many")]), &[]).unwrap_err().to_string();
        assert!(error.contains("environment") && error.contains("LORA_R") && error.contains("many"), "{error}");
        let error = Settings::load(None, &[], env(&[("LORA_DROPOUT", "1.5")]), &[]).unwrap_err().to_string();
        assert!(error.contains("LORA_DROPOUT") && error.contains("range"), "{error}");
        let error = Settings::load(Some(("settings.toml", "lora_rank = 3")), &[], [], &[]).unwrap_err().to_string();
        assert!(error.contains("settings.toml") && error.contains("lora_r'"), "{error}");
        let damaged = Settings::load(Some(("s", "openai_api_key = = canary")), &[], [], &[]).unwrap_err();
        assert!(matches!(damaged, BadSetting::NotToml { .. }));
        assert!(damaged.to_string().contains("line 1") && !damaged.to_string().contains("canary"), "{damaged}");
        assert!(Settings::load(None, &[], env(&[("POSTGRES_PORT", "70000")]), &[]).is_err());
    }

    #[test]
    fn secrets_are_never_shown() {
        let all =
            Settings::load(None, &[], env(&[("HF_TOKEN", "hf_canary"), ("OPENAI_API_KEY", "canary2")]), &[]).unwrap();
        assert_eq!(all.huggingface_token.as_ref().unwrap().reveal(), "hf_canary");
        for name in Settings::names().iter().filter(|n| Settings::is_secret(n)) {
            let one = [(name.clone(), "canary4".to_owned())];
            assert!(Settings::load(None, &one, [], &[]).unwrap().secret(name).is_some(), "{name}");
        }
        let stored = [("google_api_key".to_owned(), "canary3".to_owned())];
        let all = Settings { google_api_key: Settings::load(None, &stored, [], &[]).unwrap().google_api_key, ..all };
        assert_eq!(all.google_api_key.as_ref().unwrap().reveal(), "canary3");
        let shown = format!("{all:?}{}", serde_json::to_string(&all).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
        // Of the wrong kind it is not quoted either; a number is a text like another.
        assert_eq!(serde_json::from_str::<Secret>("12345").unwrap().reveal(), "12345");
        let error = serde_json::from_str::<Secret>(r#"["canary"]"#).unwrap_err().to_string();
        assert!(error.contains("a text") && !error.contains("canary"), "{error}");
    }
}
