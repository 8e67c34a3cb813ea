//! Files between the page and the system: native dialogs, saving what the page made, showing a file in the file manager.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tauri::{
    WebviewWindow,
    ipc::{InvokeBody, Request},
};
use tauri_plugin_dialog::{DialogExt, FilePath};
use tb_core::{ApiError, ErrorCode};
use tokio::sync::oneshot;

/// The header of `save_file` that carries the suggested name, percent-encoded.
const NAME_HEADER: &str = "x-suggested-name";

/// What to pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Files of rows.
    Dataset,
    /// The folder of an adapter.
    Adapter,
    /// The folder of a base model.
    ModelFolder,
    /// A base model in one file.
    Gguf,
    /// Any folder, to write into.
    Folder,
}

/// A file that the user picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PickedFile {
    /// Where it is.
    pub path: String,
    /// Its name.
    pub name: String,
    /// Its size; 0 for a folder.
    pub size_bytes: u64,
}

/// Kinds of files that hold rows.
const DATASET_EXTENSIONS: [&str; 6] = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet"];

/// Asks the user for files; none if they cancel.
///
/// # Errors
/// A dialog that cannot be shown.
#[tauri::command]
pub async fn pick_files(window: WebviewWindow, kind: Kind) -> Result<Vec<PickedFile>, ApiError> {
    let (told, heard) = oneshot::channel();
    let dialog = window.dialog().file().set_parent(&window);
    // A receiver that is gone belongs to a page that is gone.
    match kind {
        Kind::Dataset => dialog
            .add_filter(DATASET_EXTENSIONS.join(", "), &DATASET_EXTENSIONS)
            .pick_files(move |paths| drop(told.send(paths.unwrap_or_default()))),
        Kind::Gguf => {
            dialog.add_filter("GGUF", &["gguf"]).pick_file(move |path| drop(told.send(path.into_iter().collect())))
        }
        Kind::Folder => {
            dialog.set_can_create_directories(true).pick_folder(move |path| drop(told.send(path.into_iter().collect())))
        }
        Kind::Adapter | Kind::ModelFolder => {
            dialog.pick_folders(move |paths| drop(told.send(paths.unwrap_or_default())))
        }
    }
    let paths = heard.await.map_err(|_| no_dialog())?;
    Ok(paths.into_iter().filter_map(local).map(picked).collect())
}

/// Asks the user where to save the body of the call, and saves it there whole or not at all. False if the user cancels.
///
/// # Errors
/// A call without bytes, or a file that cannot be written.
#[tauri::command]
pub async fn save_file(window: WebviewWindow, request: Request<'_>) -> Result<bool, ApiError> {
    let bad = |what| ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was saved: {what}."));
    let InvokeBody::Raw(bytes) = request.body() else { return Err(bad("the call carries no bytes")) };
    let header = request.headers().get(NAME_HEADER).and_then(|value| value.to_str().ok());
    let name = file_name(header.unwrap_or_default());
    let mut dialog = window.dialog().file().set_parent(&window).set_file_name(&name);
    if let Some(extension) = Path::new(&name).extension().and_then(|e| e.to_str()) {
        dialog = dialog.add_filter(extension, &[extension]);
    }
    let (told, heard) = oneshot::channel();
    dialog.save_file(move |path| drop(told.send(path)));
    let Some(path) = heard.await.map_err(|_| no_dialog())?.and_then(local) else { return Ok(false) };
    let bytes = bytes.clone();
    let written = tauri::async_runtime::spawn_blocking(move || write_whole(&path, &bytes)).await;
    match written {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) => Err(ApiError::new(
            match error.kind() {
                std::io::ErrorKind::StorageFull => ErrorCode::DiskFull,
                _ => ErrorCode::Unavailable,
            },
            format!("Nothing was saved: {error}."),
        )
        .hint("Choose another folder.")),
        Err(error) => Err(ApiError::new(ErrorCode::Internal, format!("Nothing was saved: {error}."))),
    }
}

/// Shows a file or a folder in the file manager.
///
/// # Errors
/// A path that is not there, or a system without a file manager.
#[tauri::command]
pub async fn reveal(path: PathBuf) -> Result<(), ApiError> {
    let shown = path.display().to_string();
    if !path.is_absolute() || !path.exists() {
        return Err(ApiError::new(ErrorCode::NotFound, format!("There is no {shown}.")));
    }
    let fail = |error: String| {
        ApiError::new(ErrorCode::Unavailable, format!("No file manager shows {shown}: {error}."))
            .hint("Open the folder yourself.")
    };
    let revealed = tauri::async_runtime::spawn_blocking(move || tauri_plugin_opener::reveal_item_in_dir(path)).await;
    revealed.map_err(|error| fail(error.to_string()))?.map_err(|error| fail(error.to_string()))
}

fn no_dialog() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "The system showed no dialog for files.")
}

fn local(path: FilePath) -> Option<PathBuf> {
    path.into_path().ok()
}

fn picked(path: PathBuf) -> PickedFile {
    let size_bytes = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map_or(0, |data| data.len());
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    PickedFile { path: path.to_string_lossy().into_owned(), name, size_bytes }
}

/// The last part of a percent-encoded name, without what no file name may hold.
fn file_name(encoded: &str) -> String {
    let name = percent_decoded(encoded);
    let name: String = name
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control() && !r#"<>:"|?*"#.contains(*c))
        .collect();
    if name.trim_matches(['.', ' ']).is_empty() { "export".into() } else { name }
}

/// RFC 3986, section 2.1; what is no encoding stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes beside the target and renames: an existing file is replaced whole or stays.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As any program makes a file; a temporary one would be the user's alone. The system takes off what its mask forbids.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_name_is_one_file_name() {
        for (encoded, name) in [
            ("loss.png", "loss.png"),
            ("%E5%AE%9F%E8%A1%8C%201.csv", "実行 1.csv"),
            ("..%2F..%2Fetc%2Fpasswd", "passwd"),
            ("a%0Ab.svg", "ab.svg"),
            ("100%.csv", "100%.csv"),
            ("..", "export"),
            ("", "export"),
        ] {
            assert_eq!(file_name(encoded), name, "{encoded}");
        }
    }

    #[test]
    fn saving_replaces_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.svg");
        fs::write(&path, "a longer text of before").unwrap();
        write_whole(&path, b"<svg/>").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"<svg/>");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(write_whole(&folder.path().join("no/such/folder.svg"), b"x").is_err());
    }

    #[test]
    fn a_picked_file_says_its_name_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        fs::write(&path, "a,b").unwrap();
        assert_eq!(picked(path).size_bytes, 3);
        assert_eq!(picked(folder.path().to_owned()).size_bytes, 0);
    }
}
