//! Folders and files that a job leaves behind: written beside their place, synced, renamed, hashed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tb_core::run_folder::FileHash;
use tb_data::files::sha256_file;
use tb_data::gguf;

use crate::error::{Failure, Result};

/// What a model folder needs besides config and weights.
pub const TOKENIZER_FILES: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// Writes a folder whole or not at all: `fill` gets an empty neighbour, which then takes the place of `folder`.
/// Returns the files with their hashes, their paths beginning with `listed_as`.
///
/// # Errors
/// Whatever `fill` returns, or a disk that refuses; the folder that was there before is kept then.
pub fn write_folder(folder: &Path, listed_as: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Vec<FileHash>> {
    let (partial, old) = (neighbour(folder, "partial"), neighbour(folder, "old"));
    remove(&partial)?;
    // A crash between the two renames below leaves only the old folder under another name.
    remove(&old)?;
    fs::create_dir_all(&partial)?;
    let written = fill(&partial).and_then(|()| list(&partial, listed_as));
    let files = match written {
        Ok(files) => files,
        Err(failure) => {
            let _ = remove(&partial);
            return Err(failure);
        }
    };
    if folder.exists() {
        fs::rename(folder, &old)?;
    }
    fs::rename(&partial, folder)?;
    sync(folder.parent().unwrap_or(Path::new(".")))?;
    remove(&old)?;
    Ok(files)
}

/// Copies tokenizer and chat template of a model folder, as far as it has them, or writes those of a GGUF file.
///
/// # Errors
/// A file that cannot be copied.
pub fn copy_tokenizer(from: &Path, to: &Path) -> Result<()> {
    if gguf::is_gguf(from) {
        return Ok(gguf::write_tokenizer(from, to)?);
    }
    for name in TOKENIZER_FILES {
        copy_if_there(from, to, name)?;
    }
    Ok(())
}

/// Copies one file if it exists.
///
/// # Errors
/// A file that exists and cannot be copied.
pub fn copy_if_there(from: &Path, to: &Path, name: &str) -> Result<()> {
    let source = from.join(name);
    if source.is_file() {
        fs::copy(&source, to.join(name)).map_err(|e| Failure::from(e).within(source.display()))?;
    }
    Ok(())
}

fn list(folder: &Path, listed_as: &str) -> Result<Vec<FileHash>> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    names.sort();
    names
        .iter()
        .map(|path| {
            sync(path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            file_hash(path, format!("{listed_as}/{name}"))
        })
        .collect()
}

/// Size and hash of a file, listed under `path_listed`.
///
/// # Errors
/// A file that cannot be read.
pub fn file_hash(path: &Path, path_listed: String) -> Result<FileHash> {
    Ok(FileHash { path: path_listed, size_bytes: fs::metadata(path)?.len(), sha256: sha256_file(path)? })
}

fn neighbour(folder: &Path, suffix: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{suffix}"))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync(path: &Path) -> Result<()> {
    Ok(File::open(path)?.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tb_core::ErrorCode;

    #[test]
    fn a_failed_write_keeps_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("adapter");
        let first = write_folder(&folder, "adapter", |d| Ok(fs::write(d.join("a"), "one")?)).unwrap();
        assert_eq!((first[0].path.as_str(), first[0].size_bytes), ("adapter/a", 3));
        let failed = write_folder(&folder, "adapter", |d| {
            fs::write(d.join("a"), "two")?;
            Err(Failure::new(ErrorCode::DiskFull, "full"))
        });
        assert_eq!(failed.unwrap_err().0.code, ErrorCode::DiskFull);
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "one");
        write_folder(&folder, "adapter", |d| Ok(fs::write(d.join("b"), "three")?)).unwrap();
        assert!(!folder.join("a").exists() && folder.join("b").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
