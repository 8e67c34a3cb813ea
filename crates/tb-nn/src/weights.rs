//! Weights of a model: single or sharded safetensors, memory-mapped, each tensor copied once and cast on the way. Names and shapes are
//! the decoder's. A GGUF file is a source of weights too; what is special in it is in `gguf.rs`.

use crate::checkpoint::{INDEX, SINGLE, read_json, read_problem};
use crate::gguf::GgufWeights;
use crate::quant::{Arena, Q8_0};
use crate::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor};
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors, tensor::Metadata, tensor::TensorInfo};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The mapped files of one checkpoint; nothing is copied until a tensor is asked for.
pub(crate) struct Weights {
    files: Vec<MappedFile>,
    /// Name of each tensor to the file that holds it.
    place: BTreeMap<String, usize>,
    /// In place of the above: a GGUF file.
    gguf: Option<GgufWeights>,
    /// Where a missing tensor was looked for.
    origin: PathBuf,
}

struct MappedFile {
    path: PathBuf,
    map: Mmap,
    data_start: usize,
    metadata: Metadata,
}

impl Weights {
    /// Opens a model folder, or a GGUF file.
    pub(crate) fn open(model: &Path) -> Result<Self> {
        if crate::decoder::is_gguf(model) { Self::open_gguf(model) } else { Self::open_dir(model) }
    }

    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, in `dir`.
    pub(crate) fn open_dir(dir: &Path) -> Result<Self> {
        let single = dir.join(SINGLE);
        let index = dir.join(INDEX);
        if single.is_file() {
            Self::open_file(&single)
        } else if index.is_file() {
            Self::open_sharded(dir, &index)
        } else {
            Err(no_weights(dir))
        }
    }

    /// Opens one safetensors file.
    pub(crate) fn open_file(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let place = file.metadata.offset_keys().into_iter().map(|name| (name, 0)).collect();
        Ok(Self { files: vec![file], place, gguf: None, origin: path.to_owned() })
    }

    /// Opens a GGUF file.
    pub(crate) fn open_gguf(path: &Path) -> Result<Self> {
        let gguf = Some(GgufWeights::open(path)?);
        Ok(Self { files: Vec::new(), place: BTreeMap::new(), gguf, origin: path.to_owned() })
    }

    fn open_sharded(dir: &Path, index: &Path) -> Result<Self> {
        let value = read_json(index)?;
        let map = value
            .get("weight_map")
            .and_then(|m| m.as_object())
            .ok_or_else(|| Error::file(index, "has no table `weight_map`"))?;
        let mut wanted = BTreeMap::new();
        for (tensor, file) in map {
            let name =
                file.as_str().filter(|f| Path::new(f).file_name().is_some_and(|n| n == *f)).ok_or_else(|| {
                    Error::file(index, format!("tensor `{tensor}`: {file} is not a file name in this folder"))
                })?;
            wanted.insert(tensor.clone(), name.to_owned());
        }
        let names: BTreeSet<&String> = wanted.values().collect();
        let names: Vec<&String> = names.into_iter().collect();
        let files = names
            .iter()
            .map(|name| {
                let path = dir.join(name);
                if path.is_file() {
                    MappedFile::open(&path)
                } else {
                    Err(Error::file(path, format!("is missing, but {INDEX} names it: download the model again")))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let mut place = BTreeMap::new();
        for (tensor, name) in &wanted {
            let at = names.binary_search(&name).expect("every shard is in the list made from the same table");
            if files[at].metadata.info(tensor).is_none() {
                return Err(Error::file(
                    &files[at].path,
                    format!("tensor `{tensor}` is missing, but {INDEX} says it is here"),
                ));
            }
            place.insert(tensor.clone(), at);
        }
        Ok(Self { files, place, gguf: None, origin: index.to_owned() })
    }

    /// All tensor names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str).chain(self.gguf.iter().flat_map(GgufWeights::names))
    }

    /// Where the tensors came from, for messages.
    pub(crate) fn origin(&self) -> &Path {
        &self.origin
    }

    /// The tensor `name`, checked against `shape` and cast to `dtype` (f32 or bf16) while it is copied.
    pub(crate) fn tensor(&self, name: &str, shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        if let Some(gguf) = &self.gguf {
            return gguf.tensor(name, shape, dtype, device);
        }
        let (file, info) = self.find(name)?;
        if info.shape != shape.dims() {
            return Err(Error::file(
                &file.path,
                format!(
                    "tensor `{name}` has shape {:?}, but config.json asks for {:?}: the files do not belong together",
                    info.shape,
                    shape.dims()
                ),
            ));
        }
        let values = file.bytes(info);
        // NaN and infinity are numbers of every one of these formats; no weight of a working model is one.
        let finite = |found: Option<usize>| match found {
            None => Ok(()),
            Some(at) => Err(Error::file(
                &file.path,
                format!(
                    "tensor `{name}` is damaged: element {at} is not a finite number; download or copy the model again"
                ),
            )),
        };
        let whole = |values: Vec<f32>| {
            finite(values.par_iter().position_first(|v| !v.is_finite()))?;
            Ok::<_, Error>(Tensor::from_vec(values, shape.clone(), device))
        };
        let half = |values: Vec<bf16>| {
            finite(values.par_iter().position_first(|v| !v.is_finite()))?;
            Ok::<_, Error>(Tensor::from_vec(values, shape.clone(), device))
        };
        let tensor = match (info.dtype, dtype) {
            (Dtype::F32, DType::F32) => whole(decode(values, f32::from_le_bytes))?,
            (Dtype::BF16, DType::F32) => whole(decode(values, |b| bf16::from_le_bytes(b).to_f32()))?,
            (Dtype::F16, DType::F32) => whole(decode(values, |b| f16::from_le_bytes(b).to_f32()))?,
            (Dtype::F32, DType::BF16) => half(decode(values, |b| bf16::from_f32(f32::from_le_bytes(b))))?,
            (Dtype::BF16, DType::BF16) => half(decode(values, bf16::from_le_bytes))?,
            (Dtype::F16, DType::BF16) => half(decode(values, |b| bf16::from_f32(f16::from_le_bytes(b).to_f32())))?,
            (Dtype::F32 | Dtype::BF16 | Dtype::F16, other) => {
                return Err(Error::value("load", format!("weights are computed in f32 or bf16, not {other:?}")));
            }
            (other, _) => {
                return Err(Error::file(
                    &file.path,
                    format!("tensor `{name}` is {other:?}; only F32, BF16 and F16 weights are supported"),
                ));
            }
        };
        file.release(info);
        Ok(tensor?)
    }

    /// The matrix `name` in q8_0, if a GGUF file holds it so.
    pub(crate) fn q8_0(&self, name: &str, shape: (usize, usize), arena: &Arena) -> Result<Option<Q8_0>> {
        self.gguf.as_ref().map_or(Ok(None), |gguf| gguf.q8_0(name, shape, arena))
    }

    /// The tensor `name` in the dtype and shape of its safetensors file.
    pub(crate) fn tensor_as_stored(&self, name: &str, device: &Device) -> Result<Tensor> {
        let (file, info) = self.find(name)?;
        let (values, shape) = (file.bytes(info), info.shape.as_slice());
        let tensor = match info.dtype {
            Dtype::F32 => Tensor::from_vec(decode(values, f32::from_le_bytes), shape, device),
            Dtype::BF16 => Tensor::from_vec(decode(values, bf16::from_le_bytes), shape, device),
            Dtype::F16 => Tensor::from_vec(decode(values, f16::from_le_bytes), shape, device),
            Dtype::U32 => Tensor::from_vec(decode(values, u32::from_le_bytes), shape, device),
            Dtype::I64 => Tensor::from_vec(decode(values, i64::from_le_bytes), shape, device),
            // Candle has no signed bytes: the reader knows which ones they are.
            Dtype::U8 | Dtype::I8 => Tensor::from_vec(values.to_vec(), shape, device),
            other => {
                return Err(Error::file(&file.path, format!("tensor `{name}` is {other:?}, which cannot be read")));
            }
        };
        Ok(tensor?)
    }

    /// The shape of `name` as stored, if it exists.
    pub(crate) fn shape_of(&self, name: &str) -> Option<&[usize]> {
        if let Some(gguf) = &self.gguf {
            return gguf.shape_of(name);
        }
        let file = &self.files[*self.place.get(name)?];
        file.metadata.info(name).map(|i| i.shape.as_slice())
    }

    /// A text model that was saved within one that also sees images has its names behind a prefix.
    fn find(&self, name: &str) -> Result<(&MappedFile, &TensorInfo)> {
        let get = |name: &str| {
            let file = &self.files[*self.place.get(name)?];
            file.metadata.info(name).map(|info| (file, info))
        };
        let found = get(name).or_else(|| get(&format!("language_model.{name}"))).or_else(|| {
            let rest = name.strip_prefix("model.")?;
            get(&format!("model.language_model.{rest}"))
        });
        found.ok_or_else(|| Error::file(&self.origin, format!("tensor `{name}` is missing")))
    }
}

impl MappedFile {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::file(path, read_problem(&e)))?;
        let is_file = file.metadata().map_err(|e| Error::file(path, read_problem(&e)))?.is_file();
        if !is_file {
            return Err(Error::file(path, "is not a file"));
        }
        // SAFETY: the map is only read. A file cut by another process while it is read would fault: the same holds for
        // every program that maps its weights, and no checkpoint of ours is ever rewritten in place (see checkpoint.rs).
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::file(path, read_problem(&e)))?;
        let (header_bytes, metadata) = SafeTensors::read_metadata(&map).map_err(|e| {
            Error::file(
                path,
                format!("is damaged or incomplete, or not a safetensors file ({e}): download or copy it again"),
            )
        })?;
        if let Some(name) = repeated_name(&map[8..8 + header_bytes]) {
            return Err(Error::file(
                path,
                format!("is damaged: it names tensor `{name}` twice; download or copy it again"),
            ));
        }
        Ok(Self { path: path.to_owned(), data_start: 8 + header_bytes, map, metadata })
    }

    fn bytes(&self, info: &TensorInfo) -> &[u8] {
        // Within the map: `read_metadata` has checked the offsets against the file's size.
        &self.map[self.data_start + info.data_offsets.0..self.data_start + info.data_offsets.1]
    }

    /// Gives back the memory of a tensor that was copied: loading then needs no more than the weights themselves. Read again, it would
    /// come from the file once more.
    fn release(&self, info: &TensorInfo) {
        #[cfg(unix)]
        {
            let (from, to) = info.data_offsets;
            // SAFETY: the map is of a file and only read, so dropped pages come back as they were. Refused advice changes nothing.
            let _ = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, self.data_start + from, to - from)
            };
        }
        #[cfg(not(unix))]
        let _ = info;
    }
}

/// A name that a header gives to two tensors: the parser would keep the last without a word.
fn repeated_name(header: &[u8]) -> Option<String> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Option<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a table of tensors")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
            let (mut seen, mut repeated) = (BTreeSet::new(), None);
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if seen.contains(&name) {
                    repeated = Some(name);
                } else {
                    seen.insert(name);
                }
            }
            Ok(repeated)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(header);
    // The header has been parsed before: it is a table.
    json.deserialize_map(Names).ok().flatten()
}

/// Little-endian values of N bytes each, converted in parallel into their only copy.
fn decode<const N: usize, T: Send>(bytes: &[u8], one: impl Fn([u8; N]) -> T + Sync) -> Vec<T> {
    bytes
        .par_chunks_exact(N)
        .with_min_len(1 << 16)
        .map(|b| one(b.try_into().expect("par_chunks_exact gives chunks of N bytes")))
        .collect()
}

fn no_weights(dir: &Path) -> Error {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => return Error::file(dir, read_problem(&e)),
    };
    let pickle = entries
        .filter_map(|e| e.ok().map(|e| e.file_name().to_string_lossy().into_owned()))
        .filter(|n| [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| n.ends_with(end)))
        .min();
    match pickle {
        Some(name) => Error::file(
            dir.join(name),
            "is a pickle file, which can run any program when it is opened, so it is not read: convert the model to safetensors",
        ),
        None => Error::file(dir, format!("holds neither {SINGLE} nor {INDEX}")),
    }
}
