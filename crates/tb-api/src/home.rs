//! Where everything lives. The window, the server and the command line find it in the same way.

use std::path::{Path, PathBuf};

use tb_core::{ApiError, ErrorCode};

/// The variable that names the home folder.
pub const VARIABLE: &str = "TONEBRIDGE_HOME";

/// The home folder as an absolute path: the one that is named, else the platform's data folder for this program.
///
/// # Errors
/// A system that names no data folder, or a path that cannot be made absolute.
pub fn folder(named: Option<&Path>) -> Result<PathBuf, ApiError> {
    let bad = |message: String| ApiError::new(ErrorCode::InvalidArgument, message);
    let home = match named {
        Some(home) => home.to_owned(),
        None => dirs::data_dir().map(|data| data.join("tonebridge")).ok_or_else(|| {
            bad("Nothing was done: this system names no data folder.".to_owned())
                .hint(format!("Set {VARIABLE} to a folder."))
        })?,
    };
    std::path::absolute(&home).map_err(|e| bad(format!("Nothing was done: {} is no folder: {e}.", home.display())))
}
