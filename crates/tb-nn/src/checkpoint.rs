//! Writing tensors and JSON so that a crash leaves either the old file or the new one, and reading them back. Which tensors is the caller's choice.

use crate::{Error, Result, weights::Weights};
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes a safetensors file: to a neighbour first, synced, then renamed over `path`.
///
/// Values are stored in each tensor's own dtype (f32, bf16, f16, u32, i64, u8), bit for bit. The bytes depend on nothing but the arguments.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)], metadata: &BTreeMap<String, String>) -> Result<()> {
    let views: Vec<(&str, &Tensor, DType)> = tensors.iter().map(|(n, t)| (n.as_str(), t, t.dtype())).collect();
    write_tensors_as(path, &views, metadata)
}

/// As [`write_tensors`], each tensor in the dtype named beside it; converted one at a time.
pub(crate) fn write_tensors_as(
    path: &Path,
    tensors: &[(&str, &Tensor, DType)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    // Wider values first and then by name, the order of the reference implementation: every value is aligned.
    let mut order: Vec<&(&str, &Tensor, DType)> = tensors.iter().collect();
    order.sort_by(|a, b| b.2.size_in_bytes().cmp(&a.2.size_in_bytes()).then(a.0.cmp(b.0)));
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut offset = 0usize;
    for (name, tensor, dtype) in order.iter().map(|t| **t) {
        let end = offset + tensor.elem_count() * dtype.size_in_bytes();
        let entry = json!({"dtype": dtype_name(dtype, path)?, "shape": tensor.dims(), "data_offsets": [offset, end]});
        if header.insert(name.to_owned(), entry).is_some() {
            return Err(Error::file(path, format!("tensor `{name}` was given twice")));
        }
        offset = end;
    }
    let mut text = Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    replace_file(path, |out| {
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(text.as_bytes())?;
        for (_, tensor, dtype) in &order {
            out.write_all(&little_endian(tensor, *dtype).map_err(std::io::Error::other)?)?;
        }
        Ok(())
    })
}

/// Largest weight file of a merged model, unless another size is asked for.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;
/// Weight files of a model, by transformers' names.
pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Writes a model's weights into `dir`: `model.safetensors`, or, where they are more than `shard_bytes`, several files that are filled in
/// the order of `tensors`, and their index.
pub(crate) fn write_model(
    dir: &Path,
    tensors: &[(&str, &Tensor, DType)],
    metadata: &BTreeMap<String, String>,
    shard_bytes: u64,
) -> Result<()> {
    let size = |t: &(&str, &Tensor, DType)| (t.1.elem_count() * t.2.size_in_bytes()) as u64;
    let total: u64 = tensors.iter().map(size).sum();
    if total <= shard_bytes {
        return write_tensors_as(&dir.join(SINGLE), tensors, metadata);
    }
    let mut shards: Vec<&[(&str, &Tensor, DType)]> = Vec::new();
    let (mut start, mut filled) = (0, 0);
    for (at, tensor) in tensors.iter().enumerate() {
        if at > start && filled + size(tensor) > shard_bytes {
            shards.push(&tensors[start..at]);
            (start, filled) = (at, 0);
        }
        filled += size(tensor);
    }
    shards.push(&tensors[start..]);
    let mut map = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        write_tensors_as(&dir.join(&name), shard, metadata)?;
        map.extend(shard.iter().map(|(tensor, ..)| ((*tensor).to_owned(), name.clone())));
    }
    let parameters: u64 = tensors.iter().map(|(_, t, _)| t.elem_count() as u64).sum();
    let index = json!({"metadata": {"total_parameters": parameters, "total_size": total}, "weight_map": map});
    write_json(&dir.join(INDEX), &index)
}

/// Reads every tensor of a safetensors file in its own dtype. The error names the file and, where there is one, the tensor.
pub fn read_tensors(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let weights = Weights::open_file(path)?;
    weights.names().map(|name| Ok((name.to_owned(), weights.tensor_as_stored(name, device)?))).collect()
}

/// Writes JSON with an indent of two, synced and renamed into place.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::file(path, e))?;
    replace_file(path, |out| {
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")
    })
}

/// Largest JSON file that is read: several times an index of the largest models.
const LARGEST_JSON: u64 = 64 << 20;

/// Reads and parses a JSON file. The error names the file and, if it is not JSON, the line.
pub fn read_json(path: &Path) -> Result<Value> {
    let size = fs::metadata(path).map_err(|e| Error::file(path, read_problem(&e)))?.len();
    if size > LARGEST_JSON {
        return Err(Error::file(path, format!("has {size} bytes: a file of this kind has at most {LARGEST_JSON}")));
    }
    let bytes = fs::read(path).map_err(|e| Error::file(path, read_problem(&e)))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::file(path, format!("is not valid JSON ({e}); download or copy the file again")))
}

/// What an I/O error means for the user who named the file.
pub(crate) fn read_problem(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        _ => format!("cannot be read: {e}"),
    }
}

/// Writes a file beside its place, syncs it and renames it over `path`.
pub(crate) fn replace_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    let failed = |e: std::io::Error| Error::file(path, format!("cannot be written: {e}"));
    let dir = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(dir).map_err(failed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = dir.join(name);
    let written = (|| {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
        write(&mut out)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&partial, path)?;
        // The rename itself is only safe once the folder is synced; not every system lets a folder be opened.
        File::open(dir).and_then(|d| d.sync_all()).or(Ok(()))
    })();
    written.map_err(|e| {
        let _ = fs::remove_file(&partial);
        failed(e)
    })
}

fn dtype_name(dtype: DType, path: &Path) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("F32"),
        DType::BF16 => Ok("BF16"),
        DType::F16 => Ok("F16"),
        DType::U32 => Ok("U32"),
        DType::I64 => Ok("I64"),
        DType::U8 => Ok("U8"),
        other => Err(Error::file(path, format!("{other:?} tensors cannot be written"))),
    }
}

fn little_endian(tensor: &Tensor, dtype: DType) -> candle_core::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?.to_dtype(dtype)?;
    macro_rules! bytes {
        ($t:ty) => {
            flat.to_vec1::<$t>()?.iter().flat_map(|v| v.to_le_bytes()).collect()
        };
    }
    Ok(match dtype {
        DType::BF16 => bytes!(half::bf16),
        DType::F16 => bytes!(half::f16),
        DType::U32 => bytes!(u32),
        DType::I64 => bytes!(i64),
        DType::U8 => flat.to_vec1::<u8>()?,
        _ => bytes!(f32),
    })
}
