//! Settings: where they come from, those in force, changing them, and the fields of a training form. Secrets are in `secrets.rs`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tb_core::{
    ApiError, ErrorCode,
    recipe::{FIELDS, fields::Level},
    settings::Settings,
};
use tb_data::files::atomic_write;
use toml_edit::DocumentMut;
use ts_rs::TS;

use crate::{
    Ctx,
    commands::Nothing,
    ctx::blocking,
    secrets::{SecretState, Secrets, Vault},
};

/// Where settings come from: settings.toml of the home folder, the stored secrets, the environment, and names given on the command
/// line.
#[derive(Debug)]
pub(crate) struct Sources {
    file: PathBuf,
    overrides: Vec<(String, String)>,
    pub secrets: Secrets,
}

impl Sources {
    pub fn new(home: &Path, overrides: &[(String, String)]) -> Self {
        Self { file: home.join("settings.toml"), overrides: overrides.to_vec(), secrets: Secrets::new(home) }
    }

    /// Reads all of them. The system's keyring is not asked: see [`Ctx::secret`].
    ///
    /// # Errors
    /// A file that cannot be read; the first name or value that cannot be accepted, with where it stands.
    pub fn read(&self) -> Result<Settings, ApiError> {
        let text = self.text()?;
        let path = self.file.to_string_lossy();
        let secrets: Vec<(String, String)> = self.secrets.in_file()?.into_iter().collect();
        Settings::load(text.as_deref().map(|text| (path.as_ref(), text)), &secrets, environment(), &self.overrides)
            .map_err(|e| bad(format!("Nothing was done: {e}.")))
    }

    fn text(&self) -> Result<Option<String>, ApiError> {
        match std::fs::read_to_string(&self.file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(bad(format!("Nothing was done: {} cannot be read: {error}.", self.file.display()))),
        }
    }

    /// Where the value in force of each setting comes from.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn origins(&self) -> Result<BTreeMap<String, Origin>, ApiError> {
        let in_file: DocumentMut = self.text()?.unwrap_or_default().parse().unwrap_or_default();
        let stored = self.secrets.list()?;
        let variables: Vec<String> = environment()
            .filter(|(_, text)| !text.is_empty())
            .filter_map(|(name, _)| Settings::named_by(&name))
            .collect();
        let of = |name: &str| {
            if self.overrides.iter().any(|(key, _)| key == name) {
                Origin::CommandLine
            } else if variables.iter().any(|key| key == name) {
                Origin::Environment
            } else if let Some((_, vault)) = stored.iter().find(|(key, _)| key == name) {
                match vault {
                    Vault::Keyring => Origin::Keyring,
                    Vault::File => Origin::SecretsFile,
                }
            } else if in_file.contains_key(name) {
                Origin::File
            } else {
                Origin::Default
            }
        };
        Ok(Settings::names().into_iter().map(|name| (name.clone(), of(&name))).collect())
    }
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
}

fn bad(message: String) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message)
}

/// Where the value in force of a setting comes from; each wins over the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Built in.
    Default,
    /// settings.toml of the home folder.
    File,
    /// secrets.toml of the home folder, which only its owner may read.
    SecretsFile,
    /// The system's keyring.
    Keyring,
    /// A variable of the environment.
    Environment,
    /// The command line of this program.
    CommandLine,
}

/// The settings in force and where things are.
#[derive(Clone, Debug, Serialize, TS)]
pub struct SettingsView {
    /// The folder where everything lives.
    pub home: String,
    /// Every setting; a secret shows only that it is set.
    pub settings: Settings,
    /// Where each value comes from, by name.
    pub origins: BTreeMap<String, Origin>,
    /// Every secret: whether there is one, and where it is kept.
    pub secrets: Vec<SecretState>,
    /// Where a new secret would be kept.
    pub secret_store: Vault,
}

/// Arguments of `settings_set`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct SetSettings {
    /// New values by name; null goes back to the default.
    #[ts(type = "Record<string, unknown>")]
    pub changes: Map<String, Value>,
}

/// One field of a training form.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct FieldInfo {
    /// Its name.
    pub key: String,
    /// The value with which the form opens.
    #[ts(type = "unknown")]
    pub default: Value,
    /// What it accepts, in words.
    pub accepts: String,
    /// One line of help.
    pub help: String,
    /// Whether it stands among the first six.
    pub basic: bool,
}

pub(crate) async fn get(ctx: &Ctx, _: Nothing) -> Result<SettingsView, ApiError> {
    view(ctx).await
}

/// What is in force now.
pub(crate) async fn view(ctx: &Ctx) -> Result<SettingsView, ApiError> {
    let ctx = ctx.clone();
    blocking(move || {
        let origins = ctx.sources().origins()?;
        let secrets = origins.iter().filter(|(name, _)| Settings::is_secret(name));
        let secrets = secrets.map(|(name, origin)| SecretState { name: name.clone(), origin: *origin }).collect();
        Ok(SettingsView {
            home: ctx.home().to_string_lossy().into_owned(),
            settings: ctx.settings().as_ref().clone(),
            origins,
            secrets,
            secret_store: ctx.sources().secrets.vault(),
        })
    })
    .await
}

pub(crate) async fn set(ctx: &Ctx, args: SetSettings) -> Result<SettingsView, ApiError> {
    let this = ctx.clone();
    blocking(move || {
        let sources = this.sources();
        let old = sources.text()?.unwrap_or_default();
        let new = changed(&sources.file, &old, &args.changes)?;
        atomic_write(&sources.file, new.as_bytes())?;
        this.reload_settings()
    })
    .await?;
    view(ctx).await
}

/// The text of settings.toml after the changes; comments and order stay.
fn changed(file: &Path, old: &str, changes: &Map<String, Value>) -> Result<String, ApiError> {
    let refuse = |why: String| bad(format!("Nothing was changed: {why}."));
    let mut document: DocumentMut = old
        .parse()
        .map_err(|_| refuse(format!("{} is no TOML", file.display())).hint("Correct the file, or move it away."))?;
    if let Some(name) = changes.keys().find(|name| Settings::is_secret(name)) {
        return Err(refuse(format!("{name} is a secret"))
            .hint("Secrets have a place of their own: use `tonebridge secret set`, or the field in the settings."));
    }
    for (name, value) in changes {
        match value {
            Value::Null => {
                document.remove(name);
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                let item = item(value).ok_or_else(|| refuse(format!("{name} cannot be {value}")))?;
                // The item is replaced, not the entry: the comment above it stays.
                document[name.as_str()] = item;
            }
        }
    }
    // Names and values are checked as at the next start, and written as their own kind: "8" becomes 8.
    let text = document.to_string();
    let shown = file.to_string_lossy();
    let checked = Settings::load(Some((shown.as_ref(), &text)), &[], [], &[]).map_err(|e| refuse(e.to_string()))?;
    let checked = serde_json::to_value(&checked).unwrap_or(Value::Null);
    for (name, value) in changes {
        if let (false, Some(item)) = (value.is_null(), checked.get(name).and_then(item)) {
            document[name.as_str()] = item;
        }
    }
    // The blank line that parted a removed first entry from the next one goes with it.
    Ok(document.to_string().trim_start_matches('\n').to_owned())
}

/// A JSON value in TOML; none for an object, or a list of other than texts.
fn item(value: &Value) -> Option<toml_edit::Item> {
    Some(match value {
        Value::Bool(b) => toml_edit::value(*b),
        Value::Number(n) => match n.as_i64() {
            Some(whole) => toml_edit::value(whole),
            None => toml_edit::value(n.as_f64()?),
        },
        Value::String(text) => toml_edit::value(text.as_str()),
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            toml_edit::value(texts?.into_iter().collect::<toml_edit::Array>())
        }
        Value::Null | Value::Object(_) => return None,
    })
}

pub(crate) async fn training_fields(ctx: &Ctx, _: Nothing) -> Result<Vec<FieldInfo>, ApiError> {
    let defaults = serde_json::to_value(ctx.settings().hyperparameters()).unwrap_or(Value::Null);
    Ok(FIELDS
        .iter()
        .map(|field| FieldInfo {
            key: field.key.into(),
            default: defaults.get(field.key).cloned().unwrap_or(Value::Null),
            accepts: field.wanted(),
            help: field.help.into(),
            basic: field.level == Level::Basic,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(old: &str, changes: Value) -> Result<String, ApiError> {
        changed(Path::new("/home/settings.toml"), old, changes.as_object().unwrap())
    }

    #[test]
    fn comments_and_order_stay_and_values_get_their_kind() {
        let old = "# Our defaults\nlora_r = 8 # small\n\n# Faster\ndefault_batch_size = 4\n";
        let new =
            change(old, json!({"lora_r": "16", "offline": true, "lora_target_modules": ["q_proj", "v_proj"]})).unwrap();
        assert_eq!(
            new,
            "# Our defaults\nlora_r = 16\n\n# Faster\ndefault_batch_size = 4\noffline = true\nlora_target_modules = [\"q_proj\", \"v_proj\"]\n"
        );
        assert_eq!(
            change(&new, json!({"lora_r": null, "offline": null, "lora_target_modules": null})).unwrap(),
            "# Faster\ndefault_batch_size = 4\n"
        );
        assert_eq!(change("", json!({"default_learning_rate": 0.0002})).unwrap(), "default_learning_rate = 0.0002\n");
    }

    #[test]
    fn wrong_names_values_and_secrets_are_refused_by_name() {
        let refused = |changes| change("lora_r = 4\n", changes).unwrap_err();
        assert!(refused(json!({"lora_rank": 3})).message.contains("'lora_r'"));
        assert!(refused(json!({"lora_dropout": 1.5})).message.contains("lora_dropout"));
        assert!(refused(json!({"lora_r": {"a": 1}})).message.contains("lora_r"));
        let secret = refused(json!({"openai_api_key": "canary"}));
        assert!(secret.message.contains("openai_api_key") && !secret.to_string().contains("canary"), "{secret}");
        assert!(change("a = = 1", json!({"lora_r": 3})).unwrap_err().message.contains("settings.toml"));
    }
}
