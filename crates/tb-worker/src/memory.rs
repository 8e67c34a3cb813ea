//! Memory and disk: the process's peak, what a run is likely to need, and whether the disk is full. No policy.

use std::io::Write;
use std::path::Path;

use tb_core::ErrorCode;
use tb_nn::decoder::DecoderConfig;

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
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes of host memory that are free now; `None` where the system does not tell.
#[must_use]
pub fn free_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.available_memory()).filter(|bytes| *bytes > 0)
}

/// How a run is laid out in memory.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows in a micro-batch.
    pub rows: usize,
    /// Tokens of the longest row.
    pub width: usize,
    /// Bytes of one base weight.
    pub weight_bytes: usize,
    /// Weights that train.
    pub trainable: u64,
    /// Weights in all.
    pub total: u64,
    /// Whether each block's activations are kept or computed again.
    pub keeps_activations: tb_nn::decoder::Checkpointing,
}

/// A rough estimate of the bytes that training needs: weights, gradients with two moments, and f32 activations.
#[must_use]
pub fn estimate_bytes(config: &DecoderConfig, shape: &Shape) -> u64 {
    let tokens = (shape.rows * shape.width) as u64;
    let (hidden, inner) = (config.hidden_size as u64, config.intermediate_size as u64);
    let heads = (config.num_attention_heads * config.head_dim) as u64;
    let layers = config.num_hidden_layers as u64;
    // Per token and block: the residual stream and its norms, q, k, v and their gradients, gate, up and their product.
    let block = 6 * hidden + 6 * heads + 4 * inner;
    let kept = match shape.keeps_activations {
        tb_nn::decoder::Checkpointing::Off => layers * block,
        tb_nn::decoder::Checkpointing::PerBlock => layers * hidden + 2 * block,
    };
    shape.total * shape.weight_bytes as u64 + shape.trainable * 16 + tokens * kept * 4
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
