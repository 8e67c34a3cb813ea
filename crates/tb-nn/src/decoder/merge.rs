//! Whole models written as folders, and the adapter put into the base weights: in memory or on the way to the file.

use super::linear::{Linear, Tuned};
use super::param::{LinearWeight, Parameter};
use super::{Decoder, WeightsKey};
use crate::checkpoint::{write_json, write_model};
use crate::lora::{LoraConfig, LoraLayer};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::path::Path;
use tb_core::decoder_config::{DecoderConfig, EMBEDDING, HEAD, HeadKind};

/// A weight of the merged model, computed when it is asked for.
pub(crate) enum Merged<'a> {
    /// The base's own, or a trained copy.
    Plain(&'a Parameter),
    /// A linear's weight with its adapter.
    Linear(&'a Linear),
    /// A linear's bias with its adapter's.
    Bias(Tensor),
    /// Embedding or output layer with its adapter.
    End(&'a LinearWeight, &'a LoraLayer),
}

impl Merged<'_> {
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Plain(base) => base.tensor().dims().to_vec(),
            Self::End(base, _) => base.constant().dims(),
            Self::Linear(linear) => linear.weight.constant().dims(),
            Self::Bias(bias) => bias.dims().to_vec(),
        }
    }

    /// The values, outside any graph; f32 where an adapter is in them.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Plain(parameter) => Ok(parameter.tensor().detach()),
            Self::Linear(linear) => linear.merged(),
            Self::Bias(bias) => Ok(bias.clone()),
            Self::End(base, lora) => lora.merged(&base.dense()?),
        }
    }
}

/// What an adapter makes of one end of the model; none where it leaves it alone.
fn end<'a>(base: &'a LinearWeight, lora: &'a Option<LoraLayer>, tuned: &'a Tuned) -> Option<Merged<'a>> {
    match (lora, tuned) {
        (Some(lora), _) => Some(Merged::End(base, lora)),
        (None, tuned) => tuned.as_ref().map(Merged::Plain),
    }
}

impl Decoder {
    /// Puts the adapter into the base weights, computed in f32, and drops it. Where embedding and output layer were one tensor and the
    /// adapter changed either, they are two afterwards.
    ///
    /// Errors: the base is quantised or was loaded to answer, there is no adapter, it cannot be merged, or a merged weight is not finite; then nothing has changed.
    pub fn merge_adapter(&mut self) -> Result<()> {
        self.check_whole("merge_adapter")?;
        if self.lora.is_none() {
            return Err(Error::value("merge_adapter", "the model has no adapter"));
        }
        let dtype = self.dtype;
        let mut merged = self.merged()?;
        self.detach();
        self.base_key = WeightsKey::next();
        self.model.replace(&mut |name, _| {
            merged.remove(name).map(|tensor| Ok(Parameter::Frozen(tensor.to_dtype(dtype)?))).transpose()
        })?;
        if let Some(head) = merged.remove(&format!("{HEAD}.weight")) {
            self.model.head = Some(LinearWeight::Dense(Parameter::Frozen(head.to_dtype(dtype)?)));
            self.config.head = HeadKind::Untied;
        }
        Ok(())
    }

    /// Writes the base model as `config.json`, `generation_config.json` and `model.safetensors` in `dtype` (f32, bf16 or f16).
    /// Errors if it is quantised or was loaded to answer.
    pub fn save_full(&self, dir: &Path, dtype: DType) -> Result<()> {
        self.check_whole("save_full")?;
        let tensors: Vec<(String, Tensor)> =
            self.model.parameters().into_iter().map(|(name, p)| (name, p.tensor().detach())).collect();
        self.save(dir, &self.config, &tensors, dtype, u64::MAX)
    }

    /// As [`Self::save_full`], with the adapter put into the weights in f32 before they are rounded to `dtype`. Errors as
    /// [`Self::merge_adapter`].
    pub fn save_merged(&self, dir: &Path, dtype: DType) -> Result<()> {
        self.save_merged_in_shards(dir, dtype, u64::MAX)
    }

    /// As [`Self::save_merged`], in files of at most `shard_bytes` of weights (or of one tensor) with an index, as transformers writes
    /// them; in one file without an index if that is enough.
    pub fn save_merged_in_shards(&self, dir: &Path, dtype: DType, shard_bytes: u64) -> Result<()> {
        self.check_mergeable("save_merged")?;
        let mut merged = self.merged()?;
        let (config, weights) = self.merged_weights()?;
        let tensors: Vec<(String, Tensor)> = weights
            .into_iter()
            .map(|(name, weight)| {
                let tensor = merged.remove(&name).map_or_else(|| weight.tensor(), Ok)?;
                Ok((name, tensor))
            })
            .collect::<Result<_>>()?;
        self.save(dir, &config, &tensors, dtype, shard_bytes)
    }

    /// Refuses to write or merge into a quantised base: rounded again, it would forget a part of what was learned, and
    /// written as it is, it would pass for the original.
    fn check_whole(&self, op: &'static str) -> Result<()> {
        self.check_not_to_answer(op)?;
        match self.quantization {
            None => Ok(()),
            Some(_) => {
                Err(Error::value(op, "the base is quantised: load it unquantised, with the adapter, and merge that"))
            }
        }
    }

    /// As [`Self::check_whole`], of a merged model that is written: LoftQ's adapter belongs to the base as it was quantised.
    pub(crate) fn check_mergeable(&self, op: &'static str) -> Result<()> {
        self.check_not_to_answer(op)?;
        if self.lora().is_some_and(LoraConfig::fits_quantised_only) { Ok(()) } else { self.check_whole(op) }
    }

    /// The model with the adapter in its weights: its shape, and (checkpoint name, weight) of everything in a fixed order.
    pub(crate) fn merged_weights(&self) -> Result<(DecoderConfig, Vec<(String, Merged<'_>)>)> {
        let mut changed = self.changed()?;
        let mut config = self.config.clone();
        let mut all: Vec<(String, Merged<'_>)> = self
            .model
            .parameters()
            .into_iter()
            .map(|(name, p)| {
                let weight = changed.remove(&name).unwrap_or(Merged::Plain(p));
                (name, weight)
            })
            .collect();
        let head = changed.remove_entry(&format!("{HEAD}.weight"));
        if head.is_some() {
            config.head = HeadKind::Untied;
        }
        // What is left are weights that are quantised in the model.
        all.extend(changed.into_iter().chain(head));
        Ok((config, all))
    }

    /// What the adapter makes of the weights that it changes; they are finite.
    fn merged(&self) -> Result<BTreeMap<String, Tensor>> {
        let all = self.changed()?.into_iter().map(|(name, weight)| {
            let tensor = weight.tensor()?;
            // A sum of absolute values is finite exactly if each is, unless they are near the largest f32: then they are no use either.
            if tensor.to_dtype(DType::F32)?.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                return Ok((name, tensor));
            }
            Err(Error::value("merge", format!("`{name}` would not be finite: the adapter is broken")))
        });
        all.collect()
    }

    /// The weights that the adapter changes, or that are quantised, by checkpoint name; `lm_head.weight` too where a tied output layer must be its own.
    fn changed(&self) -> Result<BTreeMap<String, Merged<'_>>> {
        let mut all = BTreeMap::new();
        for linear in self.model.linears() {
            let quantised = linear.weight.parameter().is_none();
            if linear.lora.is_some() || linear.tuned_weight.is_some() || quantised {
                all.insert(format!("{}.weight", linear.path), Merged::Linear(linear));
            }
            if linear.lora.as_ref().is_some_and(|l| l.bias.is_some()) || linear.tuned_bias.is_some() {
                let bias = linear.merged_bias()?;
                all.extend(bias.map(|bias| (format!("{}.bias", linear.path), Merged::Bias(bias))));
            }
        }
        for norm in self.model.norms() {
            all.extend(norm.tuned.as_ref().map(|tuned| (norm.name.clone(), Merged::Plain(tuned))));
        }
        let ends = &self.model.ends;
        if ends.head_lora.as_ref().is_some_and(|lora| lora.bias.is_some()) {
            return Err(Error::config(
                "lora_bias",
                format!("cannot be merged: `{HEAD}` has no bias. Keep the adapter beside the base"),
            ));
        }
        let embedding = end(&self.model.embedding, &ends.embedding_lora, &ends.embedding);
        let mut head = end(self.model.base_head(), &ends.head_lora, &ends.head);
        if self.model.head.is_none() && embedding.is_some() && head.is_none() {
            head = self.model.embedding.parameter().map(Merged::Plain);
        }
        all.extend(embedding.map(|weight| (format!("{EMBEDDING}.weight"), weight)));
        all.extend(head.map(|weight| (format!("{HEAD}.weight"), weight)));
        Ok(all)
    }

    fn save(
        &self,
        dir: &Path,
        config: &DecoderConfig,
        tensors: &[(String, Tensor)],
        dtype: DType,
        shard_bytes: u64,
    ) -> Result<()> {
        let name = match dtype {
            DType::F32 => "float32",
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            other => {
                return Err(Error::value("save", format!("models are written in f32, bf16 or f16, not {other:?}")));
            }
        };
        let mut config = config.to_json();
        if let Some(fields) = config.as_object_mut() {
            // Transformers 5 reads `dtype`, transformers 4 `torch_dtype`.
            fields.insert("dtype".into(), json!(name));
            fields.insert("torch_dtype".into(), json!(name));
        }
        let mut generation = Map::new();
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            if let Some(id) = config.get(key).filter(|v| !v.is_null()) {
                generation.insert(key.into(), id.clone());
            }
        }
        let views: Vec<(&str, &Tensor, DType)> = tensors.iter().map(|(n, t)| (n.as_str(), t, dtype)).collect();
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write_model(dir, &views, &metadata, shard_bytes)?;
        write_json(&dir.join("generation_config.json"), &generation.into())?;
        write_json(&dir.join("config.json"), &config)
    }
}
