//! Finds the home folder and the settings, and opens the program on them.

use std::path::PathBuf;

use tb_api::{Actor, Ctx};
use tb_core::{ApiError, ErrorCode, settings::Settings};

use crate::args::Args;

/// Opens the program for the owner of this shell.
pub async fn open(args: &Args) -> Result<Ctx, ApiError> {
    let home = folder(args)?;
    let file = home.join("settings.toml");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(bad(format!("Nothing was done: {} cannot be read: {error}.", file.display()))),
    };
    let path = file.to_string_lossy();
    let mut overrides = Vec::new();
    for pair in &args.setting {
        overrides.push(key_value(pair)?);
    }
    let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let settings = Settings::load(text.as_deref().map(|text| (path.as_ref(), text)), environment, &overrides)
        .map_err(|e| bad(format!("Nothing was done: {e}.")))?;
    tb_api::open(&home, settings, Actor::local()).await
}

/// Splits `key=value`.
pub fn key_value(pair: &str) -> Result<(String, String), ApiError> {
    pair.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| bad(format!("Nothing was done: '{pair}' is not of the form key=value.")))
}

fn folder(args: &Args) -> Result<PathBuf, ApiError> {
    let home = match &args.home {
        Some(home) => home.clone(),
        None => dirs::data_dir().map(|data| data.join("tonebridge")).ok_or_else(|| {
            bad("Nothing was done: this system names no data folder.").hint("Set TONEBRIDGE_HOME to a folder.")
        })?,
    };
    std::path::absolute(&home).map_err(|e| bad(format!("Nothing was done: {} is no folder: {e}.", home.display())))
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message)
}
