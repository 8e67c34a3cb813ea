//! The committed sample inside the program: the rows and the base model as bytes, and writing them to a folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::types::{SampleRow, SampleSet};

/// One committed file.
#[derive(Clone, Copy, Debug)]
pub struct BundledFile {
    /// Where it belongs, relative to the sample's folder, with `/` between folders.
    pub path: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
}

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(BundledFile {
            path: $path,
            bytes: include_bytes!(concat!("../../assets/sample/", $path)),
        }),*]
    };
}

const FILES: &[BundledFile] = files![
    "train.jsonl",
    "heldout.jsonl",
    "base/config.json",
    "base/generation_config.json",
    "base/model.safetensors",
    "base/tokenizer.json",
    "base/tokenizer_config.json",
];

/// Where [`write_bundled`] put things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundledPaths {
    /// Rows to train on.
    pub train: PathBuf,
    /// Rows to measure on.
    pub heldout: PathBuf,
    /// The base model's folder, in the layout of a hub download.
    pub base: PathBuf,
}

/// The committed files.
#[must_use]
pub fn bundled() -> &'static [BundledFile] {
    FILES
}

/// The committed rows.
///
/// # Errors
/// When a committed line is not a row, which a test rules out.
pub fn bundled_rows() -> serde_json::Result<SampleSet> {
    Ok(SampleSet { train: read_rows("train.jsonl")?, heldout: read_rows("heldout.jsonl")? })
}

fn read_rows(path: &str) -> serde_json::Result<Vec<SampleRow>> {
    let file = FILES.iter().find(|f| f.path == path).expect("both row files are in the list above");
    serde_json::Deserializer::from_slice(file.bytes).into_iter().collect()
}

/// Rows as JSON lines, as the committed files hold them.
#[must_use]
pub fn to_jsonl(rows: &[SampleRow]) -> String {
    rows.iter().map(|row| serde_json::to_string(row).expect("strings and enums always serialise") + "\n").collect()
}

/// Writes the committed sample into `dir`; a file that is already there with the same bytes is left alone.
///
/// # Errors
/// When a folder or a file cannot be written; the error names it.
pub fn write_bundled(dir: &Path) -> io::Result<BundledPaths> {
    for file in FILES {
        let path: PathBuf = file.path.split('/').fold(dir.to_path_buf(), |p, s| p.join(s));
        if fs::read(&path).is_ok_and(|there| there == file.bytes) {
            continue;
        }
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(named)?;
        }
        fs::write(&path, file.bytes).map_err(named)?;
    }
    Ok(BundledPaths { train: dir.join("train.jsonl"), heldout: dir.join("heldout.jsonl"), base: dir.join("base") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{SEED, rows, tokenizer_files};

    #[test]
    fn the_committed_rows_are_the_ones_the_seed_makes() {
        let set = rows(SEED);
        for (path, rows) in [("train.jsonl", &set.train), ("heldout.jsonl", &set.heldout)] {
            let file = bundled().iter().find(|f| f.path == path).unwrap();
            assert!(file.bytes == to_jsonl(rows).as_bytes(), "{path} is stale");
        }
        assert_eq!(bundled_rows().unwrap(), set);
    }

    #[test]
    fn the_committed_tokenizer_is_the_one_the_seed_makes_every_time() {
        let first = tokenizer_files(SEED).unwrap();
        assert_eq!(first, tokenizer_files(SEED).unwrap());
        for (name, text) in first {
            let path = format!("base/{name}");
            let file = bundled().iter().find(|f| f.path == path).unwrap();
            assert!(file.bytes == text.as_bytes(), "{path} is stale");
        }
    }

    #[test]
    fn the_sample_stays_within_eight_megabytes() {
        let bytes: usize = bundled().iter().map(|f| f.bytes.len()).sum();
        let base = bundled().iter().filter(|f| f.path.starts_with("base/"));
        assert!(base.map(|f| f.bytes.len()).sum::<usize>() <= 8 << 20);
        assert!(bytes <= 11 << 20, "{bytes}");
    }

    #[test]
    fn the_base_model_is_there_in_full() {
        let file = |path: &str| bundled().iter().find(|f| f.path == path).unwrap();
        let config: serde_json::Value = serde_json::from_slice(file("base/config.json").bytes).unwrap();
        assert_eq!(config["vocab_size"], crate::sample::VOCABULARY);
        assert_eq!(config["max_position_embeddings"], crate::sample::CONTEXT);
        // 3.8 million weights of two bytes.
        let weights = file("base/model.safetensors").bytes.len();
        assert!((7_600_000..8_000_000).contains(&weights), "{weights} bytes");
        let generation: serde_json::Value = serde_json::from_slice(file("base/generation_config.json").bytes).unwrap();
        assert_eq!(generation["eos_token_id"], 2);
    }

    #[test]
    fn writing_twice_writes_once() {
        let dir = std::env::temp_dir().join(format!("tb-sample-{}", std::process::id()));
        let paths = write_bundled(&dir).unwrap();
        let before = fs::metadata(&paths.train).unwrap().modified().unwrap();
        assert_eq!(write_bundled(&dir).unwrap(), paths);
        assert_eq!(fs::metadata(&paths.train).unwrap().modified().unwrap(), before);
        fs::remove_dir_all(&dir).unwrap();
    }
}
