//! Finds the home folder and opens the program on it.

use std::path::PathBuf;

use tb_api::{Actor, Ctx};
use tb_core::{ApiError, ErrorCode};

use crate::args::Args;

/// Opens the program for the owner of this shell.
pub async fn open(args: &Args) -> Result<Ctx, ApiError> {
    let home = folder(args)?;
    let mut overrides = Vec::new();
    for pair in &args.setting {
        overrides.push(key_value(pair)?);
    }
    tb_api::open(&home, &overrides, Actor::local()).await
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
