//! SHA-256 of bytes, files and models, in hexadecimal.

use std::{fmt::Write, fs::File, io::Read, path::Path};

use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Result},
    gguf::is_gguf,
};

/// SHA-256 of bytes: 64 lower-case hexadecimal digits.
#[must_use]
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, read in pieces.
///
/// # Errors
/// [`Error::Io`].
pub fn sha256_file(path: &Path) -> Result<String> {
    Ok(hash_and_size(path)?.0)
}

/// SHA-256 over the weight files (`*.safetensors`) of a model folder: of the lines `<name> <sha256>\n`, sorted by name. Of a GGUF file,
/// its own.
///
/// # Errors
/// [`Error::Io`], or [`Error::BadFile`] if the folder has no weight file.
pub fn model_sha256(dir: &Path) -> Result<String> {
    if is_gguf(dir) {
        return sha256_file(dir);
    }
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let name = entry.map_err(Error::io("list", dir))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(Error::bad_file(dir, "the folder has no .safetensors file"));
    }
    names.sort();
    let mut lines = String::new();
    for name in names {
        let hash = sha256_file(&dir.join(&name))?;
        let _ = writeln!(lines, "{name} {hash}");
    }
    Ok(sha256_bytes(lines.as_bytes()))
}

/// SHA-256 and size of a file, both of the bytes that were read.
pub(crate) fn hash_and_size(path: &Path) -> Result<(String, u64)> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    let mut size_bytes = 0;
    loop {
        let n = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if n == 0 {
            return Ok((hex(&hasher.finalize()), size_bytes));
        }
        hasher.update(&buffer[..n]);
        size_bytes += n as u64;
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_fips_180() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_bytes(b"abc"), abc);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"abc").unwrap();
        assert_eq!(hash_and_size(&dir.path().join("f")).unwrap(), (abc.to_owned(), 3));
    }

    #[test]
    fn the_hash_of_a_model_follows_its_weights_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(model_sha256(dir.path()), Err(Error::BadFile { .. })));
        std::fs::write(dir.path().join("b.safetensors"), b"1").unwrap();
        std::fs::write(dir.path().join("a.safetensors"), b"2").unwrap();
        let first = model_sha256(dir.path()).unwrap();
        std::fs::write(dir.path().join("config.json"), b"{}").unwrap();
        assert_eq!(model_sha256(dir.path()).unwrap(), first);
        std::fs::write(dir.path().join("a.safetensors"), b"3").unwrap();
        assert_ne!(model_sha256(dir.path()).unwrap(), first);
    }
}
