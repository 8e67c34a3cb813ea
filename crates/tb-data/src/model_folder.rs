//! What a model folder, or a GGUF file, says of itself without its weights being read: configuration, the tensors that its files list, and
//! its licence.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use tb_core::quantization::{self, Quantization};
use tb_core::{decoder_config::DecoderConfig, gguf::config as gguf_config, lora::LoraConfig};

use crate::{
    error::{Error, Result},
    gguf,
};

/// Weights in one file.
const SINGLE: &str = "model.safetensors";
/// Weights in several files: which tensor is in which.
const INDEX: &str = "model.safetensors.index.json";
/// Longest header that is read, as in the reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Longest text file that is read.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// The weight files of a folder, by their headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredWeights {
    /// Size of the files.
    pub size_bytes: u64,
    /// Scalars in them.
    pub parameters: u64,
    /// The number type of most scalars, as the files name it (`F16`, `BF16`, `F32` …; of GGUF also `Q4_K` …).
    pub dtype: String,
    /// Shape of each tensor.
    pub shapes: BTreeMap<String, Vec<usize>>,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
}

/// Reads `config.json`, or the metadata of a GGUF file.
///
/// # Errors
/// [`Error::Io`], or [`Error::BadFile`] with the field that this program would compute differently.
pub fn read_config(dir: &Path) -> Result<DecoderConfig> {
    if gguf::is_gguf(dir) {
        return gguf::read_config(dir);
    }
    let path = dir.join("config.json");
    DecoderConfig::from_json(&read_json(&path)?).map_err(|e| Error::bad_file(path, e.to_string()))
}

/// Reads the headers of the weight files, or of a GGUF file; its tensors under their Hugging Face names.
///
/// # Errors
/// [`Error::Io`], or [`Error::BadFile`] if there is no weight file or a header is damaged.
pub fn stored_weights(dir: &Path) -> Result<StoredWeights> {
    let mut stored = StoredWeights::default();
    let mut by_dtype: BTreeMap<String, u64> = BTreeMap::new();
    if gguf::is_gguf(dir) {
        let (header, _) = gguf::read_header(dir)?;
        let arch = gguf_config::arch(&header).map_err(|e| Error::bad_file(dir, e.to_string()))?;
        stored.size_bytes = header.file_bytes;
        for (name, info) in &header.tensors {
            let Some(name) = arch.hf_name(name) else { continue };
            let scalars: u64 = info.shape.iter().map(|n| *n as u64).product();
            stored.parameters += scalars;
            *by_dtype.entry(info.kind.name().to_owned()).or_default() += scalars;
            stored.shapes.insert(name, info.shape.clone());
        }
    }
    let files = if gguf::is_gguf(dir) { Vec::new() } else { weight_files(dir)? };
    for path in files {
        let (size_bytes, tensors) = header(&path)?;
        stored.size_bytes += size_bytes;
        for (name, tensor) in tensors {
            let scalars: u64 = tensor.shape.iter().map(|n| *n as u64).product();
            stored.parameters += scalars;
            *by_dtype.entry(tensor.dtype).or_default() += scalars;
            stored.shapes.insert(name, tensor.shape);
        }
    }
    stored.dtype = by_dtype.into_iter().max_by_key(|(_, n)| *n).map(|(name, _)| name).unwrap_or_default();
    Ok(stored)
}

/// Checks that the files hold every weight that the configuration asks for, in its shape.
///
/// # Errors
/// [`Error::BadFile`] with the first tensor that is missing or of another shape.
pub fn check_weights(dir: &Path, config: &DecoderConfig, stored: &StoredWeights) -> Result<()> {
    for (name, shape) in config.weights() {
        match stored.shapes.get(&name) {
            Some(found) if *found == shape || is_packed(config, stored, &name, found, &shape) => {}
            Some(found) => {
                let reason = format!("tensor `{name}` has shape {found:?}, but its configuration asks for {shape:?}");
                return Err(Error::bad_file(dir, reason));
            }
            None => return Err(Error::bad_file(dir, format!("tensor `{name}` is missing from its weight files"))),
        }
    }
    Ok(())
}

/// Whether a tensor holds the weight in 4 bits: two values a byte, with scales beside it.
fn is_packed(config: &DecoderConfig, stored: &StoredWeights, name: &str, found: &[usize], shape: &[usize]) -> bool {
    let scalars: usize = shape.iter().product();
    config.stored_quantization().is_some()
        && found == [scalars.div_ceil(2), 1]
        && stored.shapes.contains_key(&format!("{name}.absmax"))
}

/// How the base was held while the adapter in `dir` was trained, if in fewer bits: answers are only the adapter's own on a base in that form.
///
/// # Errors
/// [`Error::Io`], or [`Error::BadFile`] with the field that cannot be used.
pub fn adapter_quantization(dir: &Path) -> Result<Option<Quantization>> {
    let path = dir.join(quantization::FILE);
    if !path.is_file() {
        // An adapter that PEFT's LoftQ began says so itself.
        let path = dir.join("adapter_config.json");
        if !path.is_file() {
            return Ok(None);
        }
        let config = LoraConfig::from_json(&read_json(&path)?).map_err(|e| Error::bad_file(path, e.to_string()))?;
        return Ok(config.loftq);
    }
    let found = Quantization::from_json(&read_json(&path)?).map_err(|e| Error::bad_file(path, e.to_string()))?;
    Ok(Some(found))
}

/// Scalars in an adapter's file, by its header.
///
/// # Errors
/// [`Error::Io`], [`Error::BadFile`].
pub fn adapter_parameters(dir: &Path) -> Result<u64> {
    let (_, tensors) = header(&dir.join("adapter_model.safetensors"))?;
    Ok(tensors.values().map(|t| t.shape.iter().map(|n| *n as u64).product::<u64>()).sum())
}

/// The licence that the folder's README names in its front matter, or a GGUF file in its metadata, if it does.
#[must_use]
pub fn licence(dir: &Path) -> Option<String> {
    if gguf::is_gguf(dir) {
        return gguf::read_header(dir).ok()?.0.text("general.license").ok()?.map(str::to_owned);
    }
    let text = read_text(&dir.join("README.md")).ok()?;
    let front = text.strip_prefix("---")?.split("\n---").next()?;
    let line = front.lines().find_map(|line| line.strip_prefix("license:"))?;
    let name = line.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// Reads a JSON file of a model folder.
///
/// # Errors
/// [`Error::Io`], [`Error::BadFile`].
pub fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_str(&read_text(path)?).map_err(|e| Error::bad_file(path, format!("it is not JSON: {e}")))
}

fn read_text(path: &Path) -> Result<String> {
    let size = fs::metadata(path).map_err(Error::io("open", path))?.len();
    if size > MAX_TEXT_BYTES {
        return Err(Error::bad_file(path, format!("it is larger than {MAX_TEXT_BYTES} bytes")));
    }
    fs::read_to_string(path).map_err(Error::io("read", path))
}

fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let index = dir.join(INDEX);
    if index.is_file() {
        let value = read_json(&index)?;
        let map = value.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| Error::bad_file(&index, "it has no weight_map"))?;
        let mut names: Vec<&str> = map.values().filter_map(Value::as_str).collect();
        names.sort_unstable();
        names.dedup();
        if let Some(odd) = names.iter().find(|n| n.contains(['/', '\\']) || n.starts_with('.')) {
            return Err(Error::bad_file(&index, format!("'{odd}' is no file name of this folder")));
        }
        return Ok(names.into_iter().map(|n| dir.join(n)).collect());
    }
    let single = dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    Err(Error::bad_file(dir, format!("it holds neither {SINGLE} nor {INDEX}")))
}

/// Size of a safetensors file and what its header lists: eight bytes of length, then JSON.
fn header(path: &Path) -> Result<(u64, BTreeMap<String, Tensor>)> {
    let bad = |reason: &str| Error::bad_file(path, format!("{reason}: download or copy it again"));
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    let mut length = [0_u8; 8];
    let cut = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => bad("it is cut off"),
        _ => Error::io("read", path)(e),
    };
    file.read_exact(&mut length).map_err(cut)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length + 8 > size {
        return Err(bad("it is cut off, or no safetensors file"));
    }
    let mut text = vec![0_u8; length as usize];
    file.read_exact(&mut text).map_err(cut)?;
    let mut entries: BTreeMap<String, Value> =
        serde_json::from_slice(&text).map_err(|_| bad("its header is damaged"))?;
    entries.remove("__metadata__");
    let mut tensors = BTreeMap::new();
    for (name, entry) in entries {
        let end = entry.get("data_offsets").and_then(|o| o.get(1)).and_then(Value::as_u64);
        if end.is_none_or(|end| end > size - 8 - length) {
            return Err(bad("it is cut off"));
        }
        let tensor = serde_json::from_value(entry).map_err(|_| bad("its header is damaged"))?;
        tensors.insert(name, tensor);
    }
    Ok((size, tensors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_sample_base_is_whole_and_a_cut_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let base = sample::write_bundled(dir.path()).unwrap().base;
        let config = read_config(&base).unwrap();
        let stored = stored_weights(&base).unwrap();
        check_weights(&base, &config, &stored).unwrap();
        assert_eq!((stored.parameters, stored.dtype.as_str()), (config.parameter_count(), "F16"));
        assert_eq!(licence(&base), None);

        let file = base.join(SINGLE);
        let whole = fs::read(&file).unwrap();
        for cut in [0, 7, 100, whole.len() - 1] {
            fs::write(&file, &whole[..cut]).unwrap();
            let error = stored_weights(&base).unwrap_err().to_string();
            assert!(error.contains(SINGLE), "{cut}: {error}");
        }
        fs::remove_file(&file).unwrap();
        assert!(stored_weights(&base).unwrap_err().to_string().contains("neither"));
    }

    #[test]
    fn shards_come_from_the_index_and_never_from_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(INDEX), r#"{"weight_map": {"a": "../secret.safetensors"}}"#).unwrap();
        assert!(stored_weights(dir.path()).unwrap_err().to_string().contains("no file name"));
        fs::write(dir.path().join(INDEX), r#"{"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}"#)
            .unwrap();
        let header = br#"{"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0; 12]);
        fs::write(dir.path().join("one.safetensors"), bytes).unwrap();
        let stored = stored_weights(dir.path()).unwrap();
        assert_eq!((stored.parameters, stored.dtype.as_str()), (6, "BF16"));
    }

    #[test]
    fn a_licence_is_read_from_the_front_matter() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("README.md"), "---\nlanguage: ja\nlicense: apache-2.0\n---\n# Model\n").unwrap();
        assert_eq!(licence(dir.path()).as_deref(), Some("apache-2.0"));
        fs::write(dir.path().join("README.md"), "license: mit\n").unwrap();
        assert_eq!(licence(dir.path()), None);
    }
}
