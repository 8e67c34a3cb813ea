//! What a GGUF file holds besides weights: configuration and tokenizer, as the files of a Hugging Face folder; and the way back, a
//! model folder's tokenizer as GGUF metadata. The file's head is read by `tb_core::gguf`, weights are tb-nn's.

mod from_gguf;
mod pre_tokenizers;
mod to_gguf;

use std::{fs::File, io, path::Path};

use serde_json::{Map, Value};
use tb_core::{
    decoder_config::DecoderConfig,
    gguf::{GgufError, Header, config},
};

use crate::error::{Error, Result};
pub use to_gguf::{GgufTokenizer, tokenizer_metadata};

/// The tokenizer of a GGUF file as the files of a Hugging Face folder.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Value,
    /// `tokenizer_config.json`, chat template included.
    pub config: Map<String, Value>,
}

/// Whether a model is a GGUF file instead of a folder: a file of any name, for what it holds is checked when it is read.
#[must_use]
pub fn is_gguf(model: &Path) -> bool {
    model.is_file()
}

/// Reads the head of a GGUF file.
///
/// # Errors
/// [`Error::Io`], or [`Error::BadFile`] with what is wrong in it.
pub fn read_header(path: &Path) -> Result<(Header, File)> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let header = Header::read(&mut file).map_err(refused(path))?;
    Ok((header, file))
}

/// The configuration that the metadata of a GGUF file describe.
///
/// # Errors
/// As [`read_header`], or a model that is not supported.
pub fn read_config(path: &Path) -> Result<DecoderConfig> {
    let (header, mut file) = read_header(path)?;
    let json = config::config_json(&header, &mut file).map_err(refused(path))?;
    DecoderConfig::from_json(&json).map_err(|e| Error::bad_file(path, e.to_string()))
}

/// The tokenizer of a GGUF file.
///
/// # Errors
/// As [`read_header`], or a tokenizer of a kind that is not supported.
pub fn read_tokenizer(path: &Path) -> Result<TokenizerFiles> {
    let (header, _) = read_header(path)?;
    from_gguf::tokenizer_files(&header).map_err(refused(path))
}

/// Writes the tokenizer of a GGUF file into a model folder.
///
/// # Errors
/// As [`read_tokenizer`], [`Error::Io`].
pub fn write_tokenizer(path: &Path, folder: &Path) -> Result<()> {
    let files = read_tokenizer(path)?;
    let config = Value::Object(files.config);
    for (name, value) in [("tokenizer.json", &files.tokenizer), ("tokenizer_config.json", &config)] {
        let target = folder.join(name);
        let text = serde_json::to_string_pretty(value).map_err(|e| Error::bad_file(&target, e.to_string()))?;
        std::fs::write(&target, text).map_err(Error::io("write", &target))?;
    }
    Ok(())
}

fn refused(path: &Path) -> impl Fn(GgufError) -> Error + '_ {
    move |error| match error {
        GgufError::Io(source) if source.kind() != io::ErrorKind::UnexpectedEof => Error::io("read", path)(source),
        other => Error::bad_file(path, other.to_string()),
    }
}

#[cfg(test)]
mod tests;
