//! One file from the hub: into a part file, on from where it was cut, checked against git's object id, then renamed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use futures_util::TryStreamExt;
use hf_hub::repository::{HFRepository, RepoTypeModel};
use sha1::{Digest, Sha1};
use tokio::time::timeout;

use super::{HubOptions, Listed, Place, Storage, hub_error, transfer_error};
use crate::{
    error::{Error, Result},
    files::{sha256_file, sync_dir},
};

/// Tries that bring nothing new before a transfer is given up.
const IDLE_TRIES: u32 = 3;

/// Where a file comes from.
pub(super) struct Source<'a> {
    pub repo: &'a HFRepository<RepoTypeModel>,
    pub commit: &'a str,
    pub place: &'a Place,
    pub options: &'a HubOptions,
}

/// How one stream ended.
enum Ended {
    /// All bytes are here.
    Whole,
    /// It broke off.
    Cut(String),
    /// More came than the file has: the server began at the beginning again.
    TooMuch,
}

fn part_path(folder: &Path, file: &Listed) -> PathBuf {
    folder.join(format!(".{}.part", file.name))
}

/// Bytes of a file that an earlier try has left.
pub(super) fn kept_bytes(folder: &Path, file: &Listed) -> u64 {
    let of = |path: PathBuf| fs::metadata(path).ok().map(|m| m.len());
    of(folder.join(&file.name)).or_else(|| of(part_path(folder, file))).unwrap_or(0).min(file.size_bytes)
}

/// Brings one file into `folder`, unless it is there; `report` hears how many of its bytes are here, and how many just came.
pub(super) async fn fetch(
    from: &Source<'_>,
    file: &Listed,
    folder: &Path,
    report: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<()> {
    let whole = folder.join(&file.name);
    if whole.is_file() && check(&whole, file)?.is_none() {
        report(file.size_bytes, 0);
        return Ok(());
    }
    let part = part_path(folder, file);
    let mut idle = 0;
    let mut restarts = 0;
    loop {
        let here = fs::metadata(&part).map_or(0, |m| m.len());
        let ended =
            if here > file.size_bytes { Ended::TooMuch } else { stream(from, file, &part, here, report).await? };
        match ended {
            Ended::Whole => break,
            Ended::TooMuch if restarts == 0 => {
                restarts = 1;
                fs::remove_file(&part).map_err(Error::io("delete", &part))?;
            }
            Ended::TooMuch => {
                fs::remove_file(&part).map_err(Error::io("delete", &part))?;
                return Err(damaged(from, file, format!("more than its {} bytes came", file.size_bytes)));
            }
            Ended::Cut(reason) => {
                let kept = fs::metadata(&part).map_or(0, |m| m.len());
                idle = if kept > here { 0 } else { idle + 1 };
                if idle == IDLE_TRIES {
                    return Err(transfer_error(from.place, from.options, &file.name, kept, reason));
                }
            }
        }
    }
    if let Some(reason) = check(&part, file)? {
        fs::remove_file(&part).map_err(Error::io("delete", &part))?;
        return Err(damaged(from, file, reason));
    }
    File::open(&part).and_then(|f| f.sync_all()).map_err(Error::io("flush", &part))?;
    fs::rename(&part, &whole).map_err(Error::io("write", &whole))?;
    sync_dir(folder)
}

/// Appends what is missing of a file to its part file.
async fn stream(
    from: &Source<'_>,
    file: &Listed,
    part: &Path,
    here: u64,
    report: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Ended> {
    let mut out = OpenOptions::new().create(true).append(true).open(part).map_err(Error::io("write", part))?;
    if here == file.size_bytes {
        return Ok(Ended::Whole);
    }
    let request = from.repo.download_file_stream().filename(file.name.as_str()).revision(from.commit);
    let silence = from.options.silence;
    let answer = if here == 0 {
        timeout(silence, request.send()).await
    } else {
        timeout(silence, request.range(here..file.size_bytes).send()).await
    };
    let mut bytes = match answer {
        Err(_) => return Ok(Ended::Cut(format!("no answer for {} s", silence.as_secs()))),
        Ok(Ok((_, bytes))) => bytes,
        Ok(Err(e)) => {
            return match hub_error(from.place, from.options, &file.name, e) {
                Error::HubTransfer { reason, .. } => Ok(Ended::Cut(reason)),
                other => Err(other),
            };
        }
    };
    let mut have = here;
    report(have, 0);
    loop {
        let Ok(next) = timeout(silence, bytes.try_next()).await else {
            return Ok(Ended::Cut(format!("nothing came for {} s", silence.as_secs())));
        };
        match next {
            Ok(Some(chunk)) => {
                out.write_all(&chunk).map_err(Error::io("write", part))?;
                have += chunk.len() as u64;
                if have > file.size_bytes {
                    return Ok(Ended::TooMuch);
                }
                report(have, chunk.len() as u64);
            }
            Ok(None) if have == file.size_bytes => return Ok(Ended::Whole),
            Ok(None) => return Ok(Ended::Cut(format!("it ended after {have} of {} bytes", file.size_bytes))),
            Err(e) => return Ok(Ended::Cut(e.to_string())),
        }
    }
}

/// What is wrong with a file, if anything. Git names a blob by SHA-1 of `blob <size>\0<bytes>`; of a large file the blob is the
/// pointer, whose text holds the file's SHA-256 and size and nothing else that varies.
fn check(path: &Path, file: &Listed) -> Result<Option<String>> {
    let size_bytes = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size_bytes != file.size_bytes {
        return Ok(Some(format!("{size_bytes} bytes instead of {}", file.size_bytes)));
    }
    let oid = match file.storage {
        Storage::Git => {
            let opened = File::open(path).map_err(Error::io("open", path))?;
            blob_id(size_bytes, opened).map_err(Error::io("read", path))?
        }
        Storage::Lfs => {
            let pointer = lfs_pointer(&sha256_file(path)?, size_bytes);
            blob_id(pointer.len() as u64, pointer.as_bytes()).map_err(Error::io("read", path))?
        }
    };
    Ok((oid != file.oid).then(|| "its SHA-256 is not the hub's".to_owned()))
}

/// The text of a pointer of git's large-file storage.
pub(super) fn lfs_pointer(sha256: &str, size_bytes: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n")
}

/// Git's id of a blob, by which a hub names a file: SHA-1 of `blob <size>\0<bytes>`.
///
/// # Errors
/// Bytes that cannot be read.
pub fn blob_id(size_bytes: u64, mut bytes: impl Read) -> io::Result<String> {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {size_bytes}\0"));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = bytes.read(&mut buffer)?;
        if n == 0 {
            return Ok(crate::files::hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

fn damaged(from: &Source<'_>, file: &Listed, reason: String) -> Error {
    let what = format!("{} of {}", file.name, from.place.repo);
    Error::HubDamaged { endpoint: from.options.endpoint.clone(), what, reason }
}
