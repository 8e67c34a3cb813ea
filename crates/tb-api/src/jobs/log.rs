//! The end of a run's `worker.log`, a piece at a time, backwards.

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::Path,
};

use serde::{Deserialize, Serialize};
use tb_core::{ApiError, ErrorCode, ids::JobId, run_folder::names};
use ts_rs::TS;

use crate::{Ctx, ctx::blocking, found};

/// Bytes given where the caller names no limit, and at most.
const USUAL: u64 = 64 << 10;
const MOST: u64 = 1 << 20;

/// Arguments of `job_log`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct LogOf {
    /// The job.
    pub id: JobId,
    /// Only what stands before this byte; the end of the file if none.
    #[serde(default)]
    #[ts(type = "number | null")]
    pub before: Option<u64>,
    /// Bytes to give at most; 0 gives 64 KiB, and 1 MiB is the most.
    #[serde(default)]
    pub limit: u32,
}

/// A piece of a log: whole lines, unless one line is longer than the piece.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LogPiece {
    /// The text; bytes that are no UTF-8 are replaced.
    pub text: String,
    /// Where it begins: the `before` of the piece above.
    #[ts(type = "number")]
    pub start: u64,
    /// Where it ends.
    #[ts(type = "number")]
    pub end: u64,
    /// Size of the file now.
    #[ts(type = "number")]
    pub size: u64,
}

pub(crate) async fn get(ctx: &Ctx, args: LogOf) -> Result<LogPiece, ApiError> {
    let job = found::job(ctx.db(), &args.id).await?;
    let limit = if args.limit == 0 { USUAL } else { u64::from(args.limit).min(MOST) };
    blocking(move || {
        let path = Path::new(&job.run_dir).join(names::LOG);
        read(&path, args.before, limit)
            .map_err(|e| ApiError::new(ErrorCode::Unavailable, format!("{} cannot be read: {e}.", path.display())))
    })
    .await
}

fn read(path: &Path, before: Option<u64>, limit: u64) -> std::io::Result<LogPiece> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // The worker has not begun.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(LogPiece::default()),
        Err(e) => return Err(e),
    };
    let size = file.metadata()?.len();
    let end = before.unwrap_or(size).min(size);
    let from = end.saturating_sub(limit);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(end - from).read_to_end(&mut bytes)?;
    // A piece that begins within a line gives that line to the piece above.
    let skip = match bytes.iter().position(|b| *b == b'\n') {
        Some(at) if from > 0 && at + 1 < bytes.len() => at + 1,
        Some(_) | None => 0,
    };
    let text = String::from_utf8_lossy(&bytes[skip..]).into_owned();
    Ok(LogPiece { text, start: from + skip as u64, end: from + bytes.len() as u64, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_joined_give_the_whole_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker.log");
        assert_eq!(read(&path, None, 10).unwrap(), LogPiece::default());
        let whole: String = (0..100).map(|n| format!("line {n} 進捗\n")).collect();
        std::fs::write(&path, &whole).unwrap();
        for limit in [20, 64, 333, 10_000] {
            let (mut before, mut joined) = (None, String::new());
            loop {
                let piece = read(&path, before, limit).unwrap();
                assert!(piece.text.is_empty() || piece.text.ends_with('\n'));
                joined = piece.text + &joined;
                if piece.start == 0 {
                    break;
                }
                before = Some(piece.start);
            }
            assert_eq!(joined, whole, "{limit}");
        }
    }

    #[test]
    fn a_line_longer_than_the_piece_is_given_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker.log");
        std::fs::write(&path, "x".repeat(100)).unwrap();
        let piece = read(&path, None, 30).unwrap();
        assert_eq!((piece.text.len(), piece.start, piece.end, piece.size), (30, 70, 100, 100));
    }
}
