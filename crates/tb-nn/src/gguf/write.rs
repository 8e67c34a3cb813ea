//! A decoder as a GGUF file: merged weights under llama.cpp's names, in the number formats that its own tools would choose.
//! Which tokenizer goes with them is the caller's choice; the formats are in `quantise.rs`.

use super::quantise::quantise;
use crate::checkpoint::replace_file;
use crate::decoder::{Decoder, HeadKind, Merged};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::io::{self, Write};
use std::path::Path;
use tb_core::decoder_config::DecoderConfig;
use tb_core::gguf::metadata::model_metadata;
use tb_core::gguf::names::{Arch, Stored, interleaved_row};
use tb_core::gguf::{DEFAULT_ALIGNMENT, GgufError, TensorType, Value, head_bytes};

/// Number formats of a whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufFormat {
    /// Matrices in f32: nothing is rounded.
    F32,
    /// Matrices in f16.
    F16,
    /// Matrices in blocks of 32 with 8 bits.
    Q8_0,
    /// llama.cpp's mixture of 4 and 6 bits.
    Q4KM,
}

impl GgufFormat {
    /// `general.file_type`.
    const fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
        }
    }
}

/// What a tensor of the file is made of.
enum Part<'a> {
    Weight(Merged<'a>),
    Small(Vec<f32>),
}

struct Entry<'a> {
    name: String,
    kind: TensorType,
    shape: Vec<usize>,
    stored: Stored,
    part: Part<'a>,
}

impl Decoder {
    /// Writes the model with its adapter merged in as one GGUF file. `name` stands in it for people, `tokenizer` are its other keys.
    ///
    /// Errors: a family or setting that llama.cpp cannot express, or a weight that is not finite; it is named, and no file is left.
    pub fn save_gguf(&self, path: &Path, format: GgufFormat, name: &str, tokenizer: &[(String, Value)]) -> Result<()> {
        self.check_mergeable("save_gguf")?;
        let (config, weights) = self.merged_weights()?;
        let model_type = config.family.model_type();
        let Some(arch) = Arch::of_model_type(model_type) else {
            return Err(Error::config("model_type", format!("{model_type} has no counterpart in GGUF")));
        };
        let described = model_metadata(arch, &config).map_err(|e| match e {
            GgufError::Bad(what) => Error::config(format!("{model_type} as GGUF"), what),
            GgufError::Io(e) => Error::file(path, e),
        })?;
        let entries = self.entries((arch, format), &config, weights, described.tensors)?;
        let mut metadata = vec![
            ("general.architecture".to_owned(), Value::Text(arch.name().into())),
            ("general.type".to_owned(), Value::Text("model".into())),
            ("general.name".to_owned(), Value::Text(name.into())),
            ("general.file_type".to_owned(), Value::U32(format.code())),
            ("general.quantization_version".to_owned(), Value::U32(2)),
        ];
        metadata.extend(described.pairs);
        metadata.extend(tokenizer.iter().cloned());
        let listed: Vec<_> = entries.iter().map(|e| (e.name.clone(), e.kind, e.shape.clone())).collect();
        let (head, _) = head_bytes(&metadata, &listed);
        let mut failure = None;
        let written = replace_file(path, |out| {
            out.write_all(&head)?;
            for entry in &entries {
                let bytes = match entry.bytes(&config) {
                    Ok(bytes) => bytes,
                    Err(e) => {
                        failure = Some(e);
                        return Err(io::Error::other("a weight cannot be written"));
                    }
                };
                out.write_all(&bytes)?;
                let padding = bytes.len().next_multiple_of(DEFAULT_ALIGNMENT as usize) - bytes.len();
                out.write_all(&[0; DEFAULT_ALIGNMENT as usize][..padding])?;
            }
            Ok(())
        });
        failure.map_or(written, Err)
    }

    fn entries<'a>(
        &'a self,
        (arch, format): (Arch, GgufFormat),
        config: &DecoderConfig,
        weights: Vec<(String, Merged<'a>)>,
        small: Vec<(String, Vec<f32>)>,
    ) -> Result<Vec<Entry<'a>>> {
        let mut entries: Vec<Entry<'a>> = small
            .into_iter()
            .map(|(name, values)| Entry {
                name,
                kind: TensorType::F32,
                shape: vec![values.len()],
                stored: Stored::Same,
                part: Part::Small(values),
            })
            .collect();
        for (hf, weight) in weights {
            let Some((name, stored)) = arch.gguf_name(&hf) else {
                return Err(Error::config(hf, "has no counterpart in GGUF"));
            };
            let shape = weight.shape();
            let kind = kind(format, arch, config, &name, &shape);
            entries.push(Entry { name, kind, shape, stored, part: Part::Weight(weight) });
        }
        // llama.cpp knows this family with a head of its own alone.
        if arch == Arch::Olmo2
            && config.head == HeadKind::Tied
            && let Some(embedding) = self.model().embedding.parameter()
        {
            let name = "output.weight";
            let shape = embedding.tensor().dims().to_vec();
            let kind = kind(format, arch, config, name, &shape);
            let part = Part::Weight(Merged::Plain(embedding));
            entries.push(Entry { name: name.into(), kind, shape, stored: Stored::Same, part });
        }
        Ok(entries)
    }
}

impl Entry<'_> {
    /// The values in llama.cpp's layout and the entry's format.
    fn bytes(&self, config: &DecoderConfig) -> Result<Vec<u8>> {
        let tensor = match &self.part {
            Part::Weight(weight) => weight.tensor()?,
            Part::Small(values) => Tensor::from_slice(values, values.len(), &Device::Cpu)?,
        };
        let mut values: Vec<f32> = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        match self.stored {
            Stored::Same => {}
            Stored::PlusOne => values.iter_mut().for_each(|x| *x += 1.0),
            Stored::QueryRows | Stored::KeyRows => {
                let columns = values.len() / self.shape[0];
                let mut moved = vec![0.0; values.len()];
                for (row, to) in moved.chunks_exact_mut(columns).enumerate() {
                    let from = interleaved_row(row, config.head_dim) * columns;
                    to.copy_from_slice(&values[from..from + columns]);
                }
                values = moved;
            }
        }
        let limit = if self.kind == TensorType::F16 { half::f16::MAX.to_f32() } else { f32::MAX };
        // A NaN is not within the limit either.
        if !values.par_iter().with_min_len(1 << 16).all(|x| x.abs() <= limit) {
            let what = if self.kind == TensorType::F16 { "not finite in f16" } else { "not finite" };
            return Err(Error::value(
                "save_gguf",
                format!("the merged weight of `{}` holds values that are {what}", self.name),
            ));
        }
        let (block, size) = (self.kind.block_values(), self.kind.block_bytes());
        let mut bytes = vec![0_u8; values.len() / block * size];
        let chunk = (super::CHUNK_VALUES / block).max(1);
        bytes
            .par_chunks_mut(chunk * size)
            .zip(values.par_chunks(chunk * block))
            .for_each(|(out, values)| quantise(self.kind, values, out));
        Ok(bytes)
    }
}

/// The format of a tensor: llama.cpp's `llama_tensor_get_type`, with what it falls back to where rows are no multiple of a block.
fn kind(format: GgufFormat, arch: Arch, config: &DecoderConfig, name: &str, shape: &[usize]) -> TensorType {
    if shape.len() < 2 {
        return TensorType::F32;
    }
    let columns = shape[shape.len() - 1];
    let wanted = match format {
        GgufFormat::F32 => TensorType::F32,
        GgufFormat::F16 => TensorType::F16,
        GgufFormat::Q8_0 => TensorType::Q8_0,
        GgufFormat::Q4KM => mixture(arch, config, name, columns),
    };
    if columns.is_multiple_of(wanted.block_values()) {
        return wanted;
    }
    let smaller = match wanted {
        TensorType::Q4K => TensorType::Q5_0,
        TensorType::Q5K => TensorType::Q5_1,
        TensorType::Q6K => TensorType::Q8_0,
        other => other,
    };
    if columns.is_multiple_of(smaller.block_values()) { smaller } else { TensorType::F16 }
}

/// The formats of `Q4_K_M`: the output layer, and values and down projections of some layers, get 6 bits.
fn mixture(arch: Arch, config: &DecoderConfig, name: &str, columns: usize) -> TensorType {
    let layers = config.num_hidden_layers;
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    let more_bits = |layer: usize| {
        let eighth = layers / 8;
        layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
    };
    let part = name.rsplit('.').nth(1).unwrap_or_default();
    let is_output = part == "output" || (part == "token_embd" && config.head == HeadKind::Tied && arch != Arch::Olmo2);
    match (part, layer) {
        _ if is_output && !columns.is_multiple_of(256) => TensorType::Q8_0,
        _ if is_output => TensorType::Q6K,
        ("attn_v" | "attn_qkv", Some(layer)) => {
            let kind = if more_bits(layer) { TensorType::Q6K } else { TensorType::Q4K };
            // Models of 80 layers share one value head among many queries: more bits cost little.
            let shared = config.num_attention_heads != config.num_key_value_heads;
            let large = layers == 80 && (arch == Arch::Qwen2 || (arch == Arch::Llama && shared));
            if large && kind == TensorType::Q4K { TensorType::Q5K } else { kind }
        }
        ("ffn_down", Some(layer)) if more_bits(layer) => TensorType::Q6K,
        _ => TensorType::Q4K,
    }
}
