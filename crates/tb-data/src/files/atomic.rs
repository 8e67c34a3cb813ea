//! Replacing a file whole: a reader sees the old contents or the new, at any moment and after any crash.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::error::{Error, Result};

/// Writes `bytes` to `path` atomically: temporary file beside it, fsync, rename, fsync of the folder.
///
/// # Errors
/// [`Error::Io`]; the old contents are then untouched and the temporary file is gone.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, Readers::Anybody)
}

/// As [`atomic_write`], into a file that only its owner may read, from its first byte on.
///
/// # Errors
/// As [`atomic_write`].
pub fn atomic_write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes, Readers::Owner)
}

/// Who may read a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// Whoever the system's defaults allow.
    Anybody,
    /// Its owner (mode 0600; on Windows the folder of a user's profile is private already).
    Owner,
}

/// A name beside `path` that nobody else writes to.
pub(super) fn temporary(path: &Path) -> Result<PathBuf> {
    // The counter keeps threads of one process apart, the process id processes; it never reaches a result.
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name =
        path.file_name().ok_or_else(|| Error::BadName { text: path.display().to_string(), what: "file name" })?;
    Ok(path.with_file_name(format!(
        ".{}.{}-{}.tmp",
        name.to_string_lossy(),
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )))
}

fn replace(path: &Path, bytes: &[u8], readers: Readers) -> Result<()> {
    let temp = temporary(path)?;
    let written =
        write_as(&temp, bytes, readers).and_then(|()| fs::rename(&temp, path).map_err(Error::io("write", path)));
    if written.is_err() {
        // Best effort: the error that counts is the first one.
        let _ = fs::remove_file(&temp);
    }
    written?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        Some(_) | None => sync_dir(Path::new(".")),
    }
}

/// Writes a new file and waits until it is on the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    write_as(path, bytes, Readers::Anybody)
}

fn write_as(path: &Path, bytes: &[u8], readers: Readers) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if readers == Readers::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = readers;
    let mut file = options.open(path).map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("flush", path))
}

/// Waits until the names in a folder are on the disk; nothing to do on Windows, where folders cannot be flushed.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_dir(path: &Path) -> Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    let dir = File::open(path).map_err(Error::io("open", path))?;
    dir.sync_all().map_err(Error::io("flush", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        atomic_write(&path, b"old").unwrap();
        atomic_write(&path, b"newer").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.toml");
        fs::write(&path, "open to all").unwrap();
        atomic_write_private(&path, b"hidden").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"hidden");
    }

    #[test]
    fn a_failed_write_keeps_the_old_contents() {
        let dir = tempfile::tempdir().unwrap();
        // A folder of that name cannot be replaced by a file.
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kept"), b"x").unwrap();
        assert!(matches!(atomic_write(&path, b"new"), Err(Error::Io { .. })));
        assert_eq!(fs::read(path.join("kept")).unwrap(), b"x");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
