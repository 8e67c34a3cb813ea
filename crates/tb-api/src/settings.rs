//! Settings in force, and the fields of a training form.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tb_core::{
    ApiError,
    recipe::{FIELDS, fields::Level},
    settings::Settings,
};
use ts_rs::TS;

use crate::{Ctx, commands::Nothing};

/// The settings in force and where things are.
#[derive(Clone, Debug, Serialize, TS)]
pub struct SettingsView {
    /// The folder where everything lives.
    pub home: String,
    /// Every setting; a secret shows only that it is set.
    pub settings: Settings,
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
    Ok(SettingsView { home: ctx.home().to_string_lossy().into_owned(), settings: ctx.settings().clone() })
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
