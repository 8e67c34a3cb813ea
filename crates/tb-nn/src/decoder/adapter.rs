//! The decoder's adapter and its saved forms: adding, loading, switching, merging, and what is trainable. PEFT's rules are in `lora.rs`.

use super::Decoder;
use super::param::Parameter;
use crate::checkpoint::{write_json, write_model};
use crate::lora::{LoraConfig, LoraLayer, Matrix, TargetModules, peft_name, read_adapter, write_adapter};
use crate::weights::Weights;
use crate::{Error, Result};
use candle_core::{DType, Tensor, Var};
use serde_json::{Map, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tb_core::adapter::{Unmatched, select, suffixes};
use tb_core::decoder_config::{EMBEDDING, HEAD};

/// Whether passes go through the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterSwitch {
    /// The tuned model.
    On,
    /// The base model, from the same weights.
    Off,
}

/// What a loaded adapter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterUse {
    /// It is only applied.
    Frozen,
    /// Training goes on from it.
    Trained,
}

/// An adapter in memory that is not, or not only, on a model: many can share one base, one at a time.
#[derive(Clone, Debug)]
pub struct Adapter {
    config: LoraConfig,
    layers: BTreeMap<String, LoraLayer>,
}

impl Adapter {
    /// What PEFT's `adapter_config.json` says of it.
    #[must_use]
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Memory that its matrices take.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let bytes = |p: &Parameter| p.tensor().elem_count() * p.tensor().dtype().size_in_bytes();
        self.layers.values().map(|layer| bytes(&layer.a) + bytes(&layer.b)).sum()
    }
}

/// Numbers of scalar weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterCounts {
    /// Those that training changes.
    pub trainable: u64,
    /// All, the adapter's included; a tied head counts once.
    pub total: u64,
}

impl ParameterCounts {
    /// Trainable share in percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        100.0 * self.trainable as f64 / self.total.max(1) as f64
    }
}

impl Decoder {
    /// Paths of the linears that can carry an adapter, in layer order.
    #[must_use]
    pub fn lora_targets(&self) -> Vec<String> {
        self.model.linears().map(|l| l.path.clone()).collect()
    }

    /// The adapter's configuration, if there is one.
    #[must_use]
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// Adds a fresh adapter in f32 whose first values depend on `seed` and each weight's name only.
    ///
    /// Errors: a value out of range, a target that names no module (the available ones are listed), a second adapter, a model trained in full.
    pub fn add_lora(&mut self, config: &LoraConfig, seed: u64) -> Result<()> {
        config.check()?;
        let device = self.device.clone();
        self.adapt(config, Unmatched::Refused, |path, shape| LoraLayer::init(config, path, shape, seed, &device))
    }

    /// Loads an adapter in PEFT's files from `dir` and returns its configuration.
    ///
    /// Errors name the file, and the field or tensor that is missing, unsupported, of the wrong shape or left over.
    pub fn load_adapter(&mut self, dir: &Path, usage: AdapterUse) -> Result<LoraConfig> {
        self.check_bare()?;
        let Adapter { config, layers } = self.read(dir, usage)?;
        self.attach(&config, layers);
        Ok(config)
    }

    /// Reads an adapter for this model without putting it on; it is only applied. Errors as [`Self::load_adapter`].
    pub fn read_adapter(&self, dir: &Path) -> Result<Adapter> {
        self.read(dir, AdapterUse::Frozen)
    }

    /// Puts on an adapter that [`Self::read_adapter`] of this model gave, in place of the present one; none leaves the base alone,
    /// as it was loaded. No weight is copied: all adapters share one base.
    pub fn wear(&mut self, adapter: Option<&Adapter>) {
        match adapter {
            Some(adapter) => self.attach(&adapter.config, adapter.layers.clone()),
            None => {
                for block in &mut self.model.blocks {
                    Arc::make_mut(block).linears_mut().for_each(|linear| linear.lora = None);
                }
                self.lora = None;
            }
        }
    }

    fn read(&self, dir: &Path, usage: AdapterUse) -> Result<Adapter> {
        let (config, weights) = read_adapter(dir)?;
        let device = self.device.clone();
        let mut used = BTreeSet::new();
        let mut read = |path: &str, matrix, shape: (usize, usize)| -> Result<Parameter> {
            let name = peft_name(path, matrix);
            let tensor = adapter_tensor(&weights, &name, shape, &device)?;
            used.insert(name);
            Ok(match usage {
                AdapterUse::Frozen => Parameter::Frozen(tensor),
                AdapterUse::Trained => Parameter::Trained(Var::from_tensor(&tensor)?),
            })
        };
        let layers = self.layers(&config, Unmatched::Tolerated, |path, (outputs, inputs)| {
            Ok(LoraLayer {
                a: read(path, Matrix::A, (config.r, inputs))?,
                b: read(path, Matrix::B, (outputs, config.r))?,
                scaling: config.scaling(),
                dropout: config.lora_dropout,
            })
        })?;
        if let Some(left) = weights.names().find(|n| !used.contains(*n)) {
            return Err(Error::file(
                weights.origin(),
                format!("tensor `{left}` belongs to no module that adapter_config.json adapts in this model"),
            ));
        }
        Ok(Adapter { config, layers })
    }

    /// Writes the adapter as PEFT does: `adapter_config.json` and `adapter_model.safetensors` (f32, kept exactly).
    pub fn save_adapter(&self, dir: &Path, base_model_name: &str) -> Result<()> {
        let config = self.lora.as_ref().ok_or_else(|| Error::value("save_adapter", "the model has no adapter"))?;
        let mut config = config.clone();
        config.base_model_name_or_path = Some(base_model_name.to_owned());
        config.target_modules = match config.target_modules {
            TargetModules::AllLinear => {
                let adapted: Vec<&str> =
                    self.model.linears().filter(|l| l.lora.is_some()).map(|l| l.path.as_str()).collect();
                TargetModules::List(suffixes(&adapted))
            }
            TargetModules::List(names) => {
                TargetModules::List(names.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
            }
            TargetModules::Regex(pattern) => TargetModules::Regex(pattern),
        };
        let tensors: Vec<(String, Tensor)> = self
            .model
            .linears()
            .flat_map(|l| l.adapter_parameters().map(|(name, p)| (name, p.tensor().detach())).collect::<Vec<_>>())
            .collect();
        write_adapter(dir, &config, &tensors)
    }

    /// Sends passes through the adapter or past it; without an adapter there is no difference.
    pub fn set_adapter(&mut self, switch: AdapterSwitch) {
        self.adapter = switch;
    }

    /// The variables that training changes, in layer order: PEFT's keys for an adapter, checkpoint names for a whole model.
    #[must_use]
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let base = self.model.parameters().into_iter();
        let adapter = self.model.linears().flat_map(|l| l.adapter_parameters().collect::<Vec<_>>());
        base.chain(adapter).filter_map(|(name, p)| p.var().map(|v| (name, v.clone()))).collect()
    }

    /// How many weights there are and how many train.
    #[must_use]
    pub fn parameter_counts(&self) -> ParameterCounts {
        let adapter: usize = self
            .model
            .linears()
            .flat_map(|l| l.adapter_parameters().map(|(_, p)| p.tensor().elem_count()).collect::<Vec<_>>())
            .sum();
        ParameterCounts {
            trainable: self.trainable().iter().map(|(_, v)| v.elem_count() as u64).sum(),
            total: self.config.parameter_count() + adapter as u64,
        }
    }

    /// Adds s B A to the base weights in f32 and drops the adapter. Errors if there is none.
    pub fn merge_adapter(&mut self) -> Result<()> {
        if self.lora.take().is_none() {
            return Err(Error::value("merge_adapter", "the model has no adapter"));
        }
        for block in &mut self.model.blocks {
            for linear in Arc::make_mut(block).linears_mut() {
                if linear.lora.is_some() {
                    linear.weight = Parameter::Frozen(linear.merged()?.to_dtype(self.dtype)?);
                    linear.lora = None;
                }
            }
        }
        Ok(())
    }

    /// Writes the base model as `config.json`, `generation_config.json` and `model.safetensors` in `dtype` (f32, bf16 or f16).
    pub fn save_full(&self, dir: &Path, dtype: DType) -> Result<()> {
        let tensors: Vec<(String, Tensor)> =
            self.model.parameters().into_iter().map(|(name, p)| (name, p.tensor().detach())).collect();
        self.save(dir, &tensors, dtype, u64::MAX)
    }

    /// As [`Self::save_full`], with s B A added to the adapted weights in f32 before they are rounded to `dtype`.
    pub fn save_merged(&self, dir: &Path, dtype: DType) -> Result<()> {
        self.save_merged_in_shards(dir, dtype, u64::MAX)
    }

    /// As [`Self::save_merged`], in files of at most `shard_bytes` of weights (or of one tensor) with an index, as transformers writes
    /// them; in one file without an index if that is enough.
    pub fn save_merged_in_shards(&self, dir: &Path, dtype: DType, shard_bytes: u64) -> Result<()> {
        let merged: BTreeMap<String, Tensor> = self
            .model
            .linears()
            .filter(|l| l.lora.is_some())
            .map(|l| Ok((format!("{}.weight", l.path), l.merged()?)))
            .collect::<Result<_>>()?;
        let tensors: Vec<(String, Tensor)> = self
            .model
            .parameters()
            .into_iter()
            .map(|(name, p)| {
                let tensor = merged.get(&name).cloned().unwrap_or_else(|| p.tensor().detach());
                (name, tensor)
            })
            .collect();
        self.save(dir, &tensors, dtype, shard_bytes)
    }

    fn save(&self, dir: &Path, tensors: &[(String, Tensor)], dtype: DType, shard_bytes: u64) -> Result<()> {
        let name = match dtype {
            DType::F32 => "float32",
            DType::BF16 => "bfloat16",
            DType::F16 => "float16",
            other => {
                return Err(Error::value("save", format!("models are written in f32, bf16 or f16, not {other:?}")));
            }
        };
        let mut config = self.config.to_json();
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

    /// Refuses a second adapter, and one on a model that is trained in full.
    fn check_bare(&self) -> Result<()> {
        if self.lora.is_some() {
            return Err(Error::value(
                "lora",
                "the model already has an adapter: merge it or load the base model again",
            ));
        }
        if self.model.embedding.var().is_some() {
            return Err(Error::value(
                "lora",
                "the model is being trained in full: save it and load it to add an adapter",
            ));
        }
        Ok(())
    }

    fn adapt(
        &mut self,
        config: &LoraConfig,
        unmatched: Unmatched,
        make: impl FnMut(&str, (usize, usize)) -> Result<LoraLayer>,
    ) -> Result<()> {
        self.check_bare()?;
        let layers = self.layers(config, unmatched, make)?;
        self.attach(config, layers);
        Ok(())
    }

    /// One layer for every selected path; the model is not touched.
    fn layers(
        &self,
        config: &LoraConfig,
        unmatched: Unmatched,
        mut make: impl FnMut(&str, (usize, usize)) -> Result<LoraLayer>,
    ) -> Result<BTreeMap<String, LoraLayer>> {
        let linears: Vec<&str> = self.model.linears().map(|l| l.path.as_str()).collect();
        let others = [EMBEDDING, HEAD];
        let selected: BTreeSet<&str> =
            select(&config.target_modules, &linears, &others, unmatched)?.into_iter().collect();
        self.model
            .linears()
            .filter(|l| selected.contains(l.path.as_str()))
            .map(|l| Ok((l.path.clone(), make(&l.path, l.weight.tensor().dims2()?)?)))
            .collect()
    }

    fn attach(&mut self, config: &LoraConfig, mut layers: BTreeMap<String, LoraLayer>) {
        for block in &mut self.model.blocks {
            for linear in Arc::make_mut(block).linears_mut() {
                linear.lora = layers.remove(&linear.path);
            }
        }
        self.lora = Some(config.clone());
        self.adapter = AdapterSwitch::On;
    }
}

/// One matrix of an adapter in f32.
fn adapter_tensor(
    weights: &Weights,
    name: &str,
    (rows, columns): (usize, usize),
    device: &candle_core::Device,
) -> Result<Tensor> {
    match weights.shape_of(name) {
        Some(shape) if shape != [rows, columns] => Err(Error::file(
            weights.origin(),
            format!(
                "tensor `{name}` has shape {shape:?}, but this model and adapter_config.json need [{rows}, {columns}]"
            ),
        )),
        Some(_) | None => weights.tensor(name, (rows, columns), DType::F32, device),
    }
}
