//! Opens the program on the home folder and the settings that the command line names.

use tb_api::{Actor, Ctx};
use tb_core::{ApiError, ErrorCode};

use crate::args::Args;

/// Opens the program for the owner of this shell.
pub async fn open(args: &Args) -> Result<Ctx, ApiError> {
    let home = tb_api::home::folder(args.home.as_deref())?;
    let overrides = args.setting.iter().map(|pair| key_value(pair)).collect::<Result<Vec<_>, _>>()?;
    tb_api::open(&home, &overrides, Actor::local()).await
}

/// Splits `key=value`.
pub fn key_value(pair: &str) -> Result<(String, String), ApiError> {
    pair.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.to_owned())).ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was done: '{pair}' is not of the form key=value."))
    })
}
