//! A new file that is written piece by piece: it has its name only once all of it is on the disk, and it never takes the place of
//! another.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{atomic::temporary, sync_dir};
use crate::error::{Error, Result};

/// A file in the making; dropped before [`NewFile::finish`] it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
}

impl NewFile {
    /// Begins a file beside its place.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is something of that name, [`Error::BadName`], [`Error::Io`].
    pub fn create(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: path.to_owned() });
        }
        let temporary = temporary(path)?;
        let file = File::create_new(&temporary).map_err(Error::io("create", &temporary))?;
        Ok(Self { path: path.to_owned(), temporary, file: Some(BufWriter::with_capacity(1 << 18, file)) })
    }

    /// Writes what comes next.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let file = self.file.as_mut().expect("it is taken only where the file ends");
        file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    /// Waits until all of it is on the disk, and gives it its name.
    ///
    /// # Errors
    /// [`Error::Exists`] if something of that name was made meanwhile, and is left as it is; [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        let file = self.file.take().expect("it is taken only where the file ends");
        let file = file.into_inner().map_err(|e| Error::io("write", &self.path)(e.into_error()))?;
        file.sync_all().map_err(Error::io("flush", &self.path))?;
        // A link, unlike a renaming, never replaces; where a file system has none, the look before must do.
        match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { path: self.path.clone() });
            }
            Err(_) if self.path.symlink_metadata().is_ok() => return Err(Error::Exists { path: self.path.clone() }),
            Err(_) => fs::rename(&self.temporary, &self.path).map_err(Error::io("write", &self.path))?,
        }
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
            Some(_) | None => sync_dir(Path::new(".")),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After a renaming there is nothing left to remove.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_name_at_the_end_only_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"one").unwrap();
        assert!(!path.exists());
        let twin = NewFile::create(&path).unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(matches!(twin.finish(), Err(Error::Exists { .. })));
        assert!(matches!(NewFile::create(&path), Err(Error::Exists { .. })));
        drop(NewFile::create(&dir.path().join("b.csv")).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }
}
