//! GGUF files as the source of a decoder's weights: mapped, and each tensor expanded once (or taken as it is, if it is
//! in q8_0 and wanted so), under its Hugging Face name and in that layout. The file's head is read by `tb_core::gguf`; the block formats are in `gguf/dequantise.rs`, writing is in `gguf/write.rs`.

mod dequantise;
mod quantise;
mod write;

pub use write::GgufFormat;

use crate::quant::{Arena, Q8_0};
use crate::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor};
use half::bf16;
use memmap2::Mmap;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use tb_core::decoder_config::DecoderConfig;
use tb_core::gguf::names::{Arch, Stored, interleaved_row};
use tb_core::gguf::{GgufError, Header, TensorInfo, TensorType, config};

/// Values that one task expands: whole blocks of every format.
const CHUNK_VALUES: usize = 1 << 14;

/// A mapped GGUF file.
pub(crate) struct GgufWeights {
    path: PathBuf,
    map: Mmap,
    header: Header,
    config: DecoderConfig,
    /// Hugging Face name of each tensor that has one, to its GGUF name and layout.
    names: BTreeMap<String, (String, Stored)>,
}

/// Reads the configuration that the metadata of a GGUF file describe. The error names the file and what is wrong in it.
pub(crate) fn read_config(path: &Path) -> Result<DecoderConfig> {
    open(path).map(|(_, _, _, config)| config)
}

/// Bytes of a file's weights where q8_0 stays as it is and every other weight takes `weight_bytes`.
pub(crate) fn kept_bytes(path: &Path, weight_bytes: u64) -> Result<u64> {
    let (_, header, _, _) = open(path)?;
    let bytes = |info: &TensorInfo| {
        let expanded = info.shape.iter().product::<usize>() as u64 * weight_bytes;
        if info.kind == TensorType::Q8_0 { info.size_bytes } else { expanded }
    };
    Ok(header.tensors.values().map(bytes).sum())
}

fn open(path: &Path) -> Result<(File, Header, Arch, DecoderConfig)> {
    let refused = |e: GgufError| Error::file(path, e);
    let mut file = File::open(path).map_err(|e| Error::file(path, crate::checkpoint::read_problem(&e)))?;
    let header = Header::read(&mut file).map_err(refused)?;
    let arch = config::arch(&header).map_err(refused)?;
    let json = config::config_json(&header, &mut file).map_err(refused)?;
    let config = DecoderConfig::from_json(&json).map_err(|e| Error::file(path, e))?;
    Ok((file, header, arch, config))
}

impl GgufWeights {
    /// Opens a file; nothing of its tensors is read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (file, header, arch, config) = open(path)?;
        // SAFETY: as in weights.rs: the map is only read, and no file of ours is ever rewritten in place.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::file(path, crate::checkpoint::read_problem(&e)))?;
        if (map.len() as u64) < header.file_bytes {
            return Err(Error::file(path, "was cut while it was read"));
        }
        let named = header.tensors.keys().filter_map(|name| {
            let hf = arch.hf_name(name)?;
            let (_, stored) = arch.gguf_name(&hf)?;
            Some((hf, (name.clone(), stored)))
        });
        let names = named.collect();
        Ok(Self { path: path.to_owned(), map, header, config, names })
    }

    /// Hugging Face names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    pub(crate) fn shape_of(&self, name: &str) -> Option<&[usize]> {
        self.find(name).ok().map(|(_, _, info)| info.shape.as_slice())
    }

    /// The tensor `name`, checked against `shape`, in f32 or bf16.
    pub(crate) fn tensor(&self, name: &str, shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        let (gguf, stored, info) = self.find(name)?;
        self.check_shape(gguf, info, shape.dims())?;
        let values = self.values(gguf, stored, info)?;
        Ok(match dtype {
            DType::F32 => Tensor::from_vec(values, shape, device)?,
            DType::BF16 => {
                let narrow: Vec<bf16> = values.par_iter().with_min_len(1 << 16).map(|x| bf16::from_f32(*x)).collect();
                Tensor::from_vec(narrow, shape, device)?
            }
            other => return Err(Error::value("load", format!("weights are computed in f32 or bf16, not {other:?}"))),
        })
    }

    /// The matrix `name`, checked against `shape`, in the blocks that the file holds; none where these are not q8_0.
    pub(crate) fn q8_0(&self, name: &str, shape: (usize, usize), arena: &Arena) -> Result<Option<Q8_0>> {
        let (gguf, stored, info) = self.find(name)?;
        if info.kind != TensorType::Q8_0 {
            return Ok(None);
        }
        self.check_shape(gguf, info, &[shape.0, shape.1])?;
        let bytes = self.bytes(info);
        let row_bytes = bytes.len() / shape.0.max(1);
        let row = |row: usize| &bytes[row * row_bytes..(row + 1) * row_bytes];
        let found = match stored {
            Stored::Same => Q8_0::from_stored(arena, shape, row),
            Stored::QueryRows | Stored::KeyRows => {
                let mut from = vec![0; shape.0];
                for at in 0..shape.0 {
                    from[self.row_of(gguf, info, at)?] = at;
                }
                Q8_0::from_stored(arena, shape, |at| row(from[at]))
            }
            Stored::PlusOne => return Ok(None),
        };
        found?.map(Some).ok_or_else(|| self.not_finite(gguf))
    }

    fn find(&self, name: &str) -> Result<(&str, Stored, &TensorInfo)> {
        let found = self
            .names
            .get(name)
            .and_then(|(gguf, stored)| self.header.tensors.get(gguf).map(|info| (gguf.as_str(), *stored, info)));
        found.ok_or_else(|| Error::file(&self.path, format!("tensor `{name}` is missing")))
    }

    fn check_shape(&self, gguf: &str, info: &TensorInfo, shape: &[usize]) -> Result<()> {
        if info.shape == shape {
            return Ok(());
        }
        let problem = format!("tensor `{gguf}` has shape {:?}, but its metadata ask for {shape:?}", info.shape);
        Err(Error::file(&self.path, problem))
    }

    fn not_finite(&self, gguf: &str) -> Error {
        Error::file(&self.path, format!("tensor `{gguf}` holds values that are not finite"))
    }

    fn bytes(&self, info: &TensorInfo) -> &[u8] {
        let start = (self.header.data_start + info.offset) as usize;
        // Within the map: `Header::read` has checked every offset against the file's size.
        &self.map[start..start + info.size_bytes as usize]
    }

    /// Where a row of queries or keys belongs in the Hugging Face layout.
    fn row_of(&self, gguf: &str, info: &TensorInfo, row: usize) -> Result<usize> {
        let (rows, head_dim) = (info.shape[0], self.config.head_dim);
        if rows % head_dim != 0 {
            return Err(Error::file(&self.path, format!("tensor `{gguf}` has {rows} rows, no whole heads")));
        }
        Ok(interleaved_row(row, head_dim))
    }

    /// Expanded values in the Hugging Face layout; all of them finite.
    fn values(&self, gguf: &str, stored: Stored, info: &TensorInfo) -> Result<Vec<f32>> {
        let bytes = self.bytes(info);
        let kind = info.kind;
        let mut values = vec![0_f32; info.shape.iter().product()];
        let chunk_bytes = CHUNK_VALUES / kind.block_values() * kind.block_bytes();
        let finite = values
            .par_chunks_mut(CHUNK_VALUES)
            .zip(bytes.par_chunks(chunk_bytes))
            .map(|(out, bytes)| {
                dequantise::dequantise(kind, bytes, out);
                out.iter().all(|x| x.is_finite())
            })
            .reduce(|| true, |a, b| a && b);
        if !finite {
            return Err(self.not_finite(gguf));
        }
        match stored {
            Stored::Same => {}
            Stored::PlusOne => values.iter_mut().for_each(|x| *x -= 1.0),
            Stored::QueryRows | Stored::KeyRows => {
                let columns = values.len() / info.shape[0];
                let mut sorted = vec![0_f32; values.len()];
                for (row, from) in values.chunks_exact(columns).enumerate() {
                    let to = self.row_of(gguf, info, row)? * columns;
                    sorted[to..to + columns].copy_from_slice(from);
                }
                values = sorted;
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
