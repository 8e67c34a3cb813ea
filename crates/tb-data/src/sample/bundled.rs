//! The sample inside the program: the held-out rows and the base model as bytes, the training rows from their seed, and writing them to a folder.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{SEED, rows, types::SampleRow};

/// One file of the sample.
#[derive(Clone, Debug)]
pub struct BundledFile {
    /// Where it belongs, relative to the sample's folder, with `/` between folders.
    pub path: &'static str,
    /// Its bytes: committed ones, or for the training rows those that the seed makes.
    pub bytes: Cow<'static, [u8]>,
}

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        [$(BundledFile {
            path: $path,
            bytes: Cow::Borrowed(include_bytes!(concat!("../../assets/sample/", $path))),
        }),*]
    };
}

const TRAIN: &str = "train.jsonl";
const HELDOUT: &str = "heldout.jsonl";

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

/// Every file of the sample. The training rows are made from the seed: the grammar is shorter than what it writes.
#[must_use]
pub fn bundled() -> Vec<BundledFile> {
    let train = BundledFile { path: TRAIN, bytes: Cow::Owned(to_jsonl(&rows(SEED).train).into_bytes()) };
    let committed = files![
        "heldout.jsonl",
        "base/config.json",
        "base/generation_config.json",
        "base/model.safetensors",
        "base/tokenizer.json",
        "base/tokenizer_config.json",
    ];
    std::iter::once(train).chain(committed).collect()
}

/// Rows as JSON lines, as the committed files hold them.
#[must_use]
pub fn to_jsonl(rows: &[SampleRow]) -> String {
    rows.iter().map(|row| serde_json::to_string(row).expect("strings and enums always serialise") + "\n").collect()
}

/// Writes the sample into `dir`; a file that is already there with the same bytes is left alone.
///
/// # Errors
/// When a folder or a file cannot be written; the error names it.
pub fn write_bundled(dir: &Path) -> io::Result<BundledPaths> {
    for file in bundled() {
        let path: PathBuf = file.path.split('/').fold(dir.to_path_buf(), |p, s| p.join(s));
        if fs::read(&path).is_ok_and(|there| there == *file.bytes) {
            continue;
        }
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(named)?;
        }
        fs::write(&path, &file.bytes).map_err(named)?;
    }
    Ok(BundledPaths { train: dir.join(TRAIN), heldout: dir.join(HELDOUT), base: dir.join("base") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tokenizer_files;

    #[test]
    fn the_committed_rows_are_the_ones_the_seed_makes() {
        let file = bundled().into_iter().find(|f| f.path == HELDOUT).unwrap();
        assert!(*file.bytes == *to_jsonl(&rows(SEED).heldout).as_bytes(), "{HELDOUT} is stale");
    }

    #[test]
    fn the_committed_tokenizer_is_the_one_the_seed_makes_every_time() {
        let first = tokenizer_files(SEED).unwrap();
        assert_eq!(first, tokenizer_files(SEED).unwrap());
        for (name, text) in first {
            let path = format!("base/{name}");
            let file = bundled().into_iter().find(|f| f.path == path).unwrap();
            assert!(*file.bytes == *text.as_bytes(), "{path} is stale");
        }
    }

    #[test]
    fn the_base_model_stays_within_eight_megabytes() {
        let files = bundled();
        let base = files.iter().filter(|f| f.path.starts_with("base/"));
        assert!(base.map(|f| f.bytes.len()).sum::<usize>() <= 8 << 20);
    }

    #[test]
    fn the_base_model_is_there_in_full() {
        let files = bundled();
        let file = |path: &str| files.iter().find(|f| f.path == path).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&file("base/config.json").bytes).unwrap();
        assert_eq!(config["vocab_size"], crate::sample::VOCABULARY);
        assert_eq!(config["max_position_embeddings"], crate::sample::CONTEXT);
        // 3.8 million weights of two bytes.
        let weights = file("base/model.safetensors").bytes.len();
        assert!((7_600_000..8_000_000).contains(&weights), "{weights} bytes");
        let generation: serde_json::Value = serde_json::from_slice(&file("base/generation_config.json").bytes).unwrap();
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
