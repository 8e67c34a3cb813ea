//! The lock of a run folder: an OS file lock, which the operating system frees when its holder dies, however it dies.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    thread,
    time::Duration,
};

use tb_core::run_folder::LockHolder;

use crate::error::{Error, Result};

/// How often a taken lock is tried again: whoever asks for the holder holds a shared lock for a moment.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// A held lock; dropping it frees it.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl RunLock {
    /// Takes the lock at `path` for `holder`.
    ///
    /// # Errors
    /// [`Error::Busy`] with the holder, or [`Error::Io`].
    pub fn take(path: &Path, holder: &LockHolder) -> Result<Self> {
        let mut file = open(path)?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Busy { path: path.to_path_buf(), holder: read_holder(&mut file) });
                }
                Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
            }
        }
        let text = serde_json::to_vec(holder).expect("a lock holder is plain data and always becomes JSON");
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&text))
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", path))?;
        Ok(Self { file })
    }

    /// The holder of the lock at `path`, if it is held now; a record left by a dead holder does not count.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn holder(path: &Path) -> Result<Option<LockHolder>> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open", path)(e)),
        };
        // Shared, so that two who ask at once do not take each other for a holder.
        match file.try_lock_shared() {
            Ok(()) => {
                file.unlock().map_err(Error::io("unlock", path))?;
                Ok(None)
            }
            Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
            Err(TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // The lock itself goes when the file closes; the record is emptied for people who look at the file.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(Error::io("open", path))
}

/// The record in a held lock file; a holder that has not written it yet is process 0.
fn read_holder(file: &mut File) -> LockHolder {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(1 << 16).read_to_string(&mut text));
    read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_else(|| LockHolder {
        pid: 0,
        host: "an unknown machine".into(),
        at_ms: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> LockHolder {
        LockHolder { pid: 7, host: "here".into(), at_ms: 1 }
    }

    #[test]
    fn held_then_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(RunLock::holder(&path).unwrap(), None);
        let lock = RunLock::take(&path, &me()).unwrap();
        assert_eq!(RunLock::holder(&path).unwrap(), Some(me()));
        let Err(Error::Busy { holder, .. }) = RunLock::take(&path, &LockHolder { pid: 8, ..me() }) else {
            panic!("a held lock was taken")
        };
        assert_eq!(holder, me());
        drop(lock);
        assert_eq!(RunLock::holder(&path).unwrap(), None);
        RunLock::take(&path, &LockHolder { pid: 8, ..me() }).unwrap();
    }

    #[test]
    fn a_record_of_a_dead_holder_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, serde_json::to_vec(&me()).unwrap()).unwrap();
        assert_eq!(RunLock::holder(&path).unwrap(), None);
        let _lock = RunLock::take(&path, &LockHolder { pid: 9, ..me() }).unwrap();
        assert_eq!(RunLock::holder(&path).unwrap().unwrap().pid, 9);
    }

    #[test]
    fn a_damaged_record_of_a_live_holder_still_counts_as_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _lock = RunLock::take(&path, &me()).unwrap();
        std::fs::write(&path, b"{\xff").unwrap();
        assert_eq!(RunLock::holder(&path).unwrap().unwrap().pid, 0);
    }

    #[test]
    fn asking_for_the_holder_never_makes_taking_fail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        drop(RunLock::take(&path, &me()).unwrap());
        let asked = path.clone();
        thread::scope(|scope| {
            scope.spawn(move || (0..2000).for_each(|_| drop(RunLock::holder(&asked).unwrap())));
            for _ in 0..200 {
                drop(RunLock::take(&path, &me()).unwrap());
            }
        });
    }
}
