//! Memory and disk: the process's peak, what is free, and whether the disk is full. What a run needs is `tb_core::footprint`'s.

pub mod limit;

use std::io::Write;
use std::path::Path;

use tb_core::ErrorCode;

use crate::error::Failure;

/// What to do when the disk is full.
pub const DISK_HINT: &str = "Free some space, then resume the run.";

const PIECE_BYTES: u64 = 64 * 1024;

/// The highest resident memory of this process so far; 0 where the system does not tell.
#[must_use]
pub fn peak_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| peak_of(&status)).unwrap_or(0)
}

fn peak_of(status: &str) -> Option<u64> {
    field(status, "VmHWM:")
}

/// A size in /proc/self/status, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes of host memory that are free now; `None` where the system does not tell.
#[must_use]
pub fn free_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.available_memory()).filter(|bytes| *bytes > 0)
}

/// Bytes that this process may have in all, and who says so: the memory that is free, or a ceiling over it; none where nobody tells.
#[must_use]
pub fn room_bytes() -> Option<(u64, &'static str)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = field(&status, "RssAnon:").unwrap_or(0);
    let free = free_bytes().map(|bytes| (bytes + resident, "the memory that is free"));
    let ceiling = limit::ceiling().map(|c| (c.bytes, c.who));
    [free, ceiling].into_iter().flatten().min_by_key(|(bytes, _)| *bytes)
}

/// Whether the disk has no room for so many more bytes in `folder`: tried by writing them.
#[must_use]
pub fn disk_is_full(folder: &Path, bytes: u64) -> bool {
    let probe = folder.join(".space-probe");
    let written = std::fs::File::create(&probe).and_then(|mut file| {
        let piece = vec![0x55; PIECE_BYTES as usize];
        for _ in 0..bytes.div_ceil(PIECE_BYTES) {
            file.write_all(&piece)?;
        }
        file.sync_all()
    });
    let _ = std::fs::remove_file(&probe);
    matches!(&written, Err(e) if matches!(e.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded))
}

/// The same failure, with the disk named as its cause if that has no room for the `bytes` that were to be written to `folder`.
#[must_use]
pub fn blame_disk(mut failure: Failure, folder: &Path, bytes: u64) -> Failure {
    if failure.0.code != ErrorCode::NotFinite && disk_is_full(folder, bytes) {
        failure.0.code = ErrorCode::DiskFull;
        failure.0.hint = DISK_HINT.to_owned();
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_status_file() {
        assert_eq!(peak_of("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t   1234 kB\n"), Some(1234 * 1024));
        assert_eq!(peak_of("VmHWM:\tmany kB\n"), None);
    }

    #[test]
    fn a_folder_with_space_is_not_full() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!disk_is_full(dir.path(), 200_000));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
