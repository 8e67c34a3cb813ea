//! `home/host.lock`: of all processes that opened one home, the holder supervises its jobs. The system frees the lock of a dead holder.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name of the lock file in the home folder.
pub const NAME: &str = "host.lock";

/// Who supervises a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostHolder {
    /// Process id.
    pub pid: u32,
    /// When it took the lock, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// The held lock; dropping it lets another process supervise.
pub struct HostLock {
    file: File,
}

impl HostLock {
    /// Tries to take the lock of `home`; none if another process (or another opener in this one) holds it.
    ///
    /// # Errors
    /// The lock file cannot be made, locked or written.
    pub fn try_take(home: &Path, now_ms: i64) -> Result<Option<Self>> {
        let path = home.join(NAME);
        let fail = |source| Error::File { path: path.clone(), source };
        let mut file =
            OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        let holder = HostHolder { pid: std::process::id(), at_ms: now_ms };
        let text = serde_json::to_vec(&holder).map_err(|e| fail(e.into()))?;
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&text))
            .map_err(fail)?;
        Ok(Some(Self { file }))
    }

    /// What the lock file of `home` says about the last holder; none if it says nothing.
    #[must_use]
    pub fn last_holder(home: &Path) -> Option<HostHolder> {
        let mut text = String::new();
        File::open(path(home)).ok()?.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Drop for HostLock {
    fn drop(&mut self) {
        // Closing the file frees the lock anyway; this frees it even while a child just being spawned still shares the file.
        let _ = self.file.unlock();
    }
}

fn path(home: &Path) -> PathBuf {
    home.join(NAME)
}

/// The name of this machine, as run locks carry it.
#[must_use]
pub fn host_name() -> String {
    #[cfg(unix)]
    return rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_opener_gets_nothing_until_the_first_lets_go() {
        let home = tempfile::tempdir().unwrap();
        let first = HostLock::try_take(home.path(), 5).unwrap().unwrap();
        assert!(HostLock::try_take(home.path(), 6).unwrap().is_none());
        assert_eq!(HostLock::last_holder(home.path()), Some(HostHolder { pid: std::process::id(), at_ms: 5 }));
        drop(first);
        assert!(HostLock::try_take(home.path(), 7).unwrap().is_some());
    }
}
