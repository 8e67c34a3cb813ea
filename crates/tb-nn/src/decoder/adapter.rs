//! The decoder's adapter: adding, loading, saving, switching, and what is trainable. PEFT's rules are in tb-core's `adapter`, what one
//! module computes in `lora.rs`, merging in `merge.rs`.

use super::param::Parameter;
use super::{Decoder, WeightsKey};
use crate::checkpoint::write_json;
use crate::lora::{
    Factor, LoraConfig, LoraInit, LoraLayer, Magnitude, PREFIX, TargetModules, extra, part_of, peft_name, read_adapter,
    write_adapter,
};
use crate::ops::constant::{ConstantRef, StoredRef, Taken};
use crate::weights::Weights;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use tb_core::adapter::{Adapted, AdapterPlan, Role, Saved, Unmatched, plan, suffixes};
use tb_core::decoder_config::{EMBEDDING, HEAD};
use tb_core::quantization;
use tb_core::recipe::Dtype;

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
    worn: Worn,
    /// By module path.
    layers: BTreeMap<String, LoraLayer>,
    /// Trained copies of base weights, by checkpoint name.
    saved: BTreeMap<String, Parameter>,
}

/// What the adapter on a model is.
#[derive(Clone, Debug)]
pub(crate) struct Worn {
    config: LoraConfig,
    plan: AdapterPlan,
    pub(super) key: WeightsKey,
}

impl Adapter {
    /// What PEFT's `adapter_config.json` says of it.
    #[must_use]
    pub fn config(&self) -> &LoraConfig {
        &self.worn.config
    }

    /// Memory that its tensors take.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let bytes = |p: &Parameter| p.tensor().elem_count() * p.tensor().dtype().size_in_bytes();
        let layers = self.layers.values().flat_map(LoraLayer::parameters).map(|(_, p)| bytes(p)).sum::<usize>();
        layers + self.saved.values().map(bytes).sum::<usize>()
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
    /// Paths of the linears of all blocks, in layer order.
    #[must_use]
    pub fn lora_targets(&self) -> Vec<String> {
        self.model.linears().map(|l| l.path.clone()).collect()
    }

    /// The adapter's configuration, if there is one.
    #[must_use]
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.lora.as_ref().map(|worn| &worn.config)
    }

    /// What the adapter puts on the model, if there is one.
    #[must_use]
    pub fn adapter_plan(&self) -> Option<&AdapterPlan> {
        self.lora.as_ref().map(|worn| &worn.plan)
    }

    /// Adds a fresh adapter in f32 whose first values depend on `seed`, each weight's name and, where they are taken from it, the base.
    ///
    /// Errors: a value out of range, a name that means no module (the available ones are listed), a second adapter, a model trained in full,
    /// first values that a quantised base cannot give.
    pub fn add_lora(&mut self, config: &LoraConfig, seed: u64) -> Result<()> {
        self.check_not_to_answer("add_lora")?;
        self.check_bare()?;
        if self.quantization.is_some() && !config.init.starts_on_quantised() {
            let problem = format!("{} needs a base that is not quantised: choose true, gaussian or olora", config.init);
            return Err(Error::config("init_lora_weights", problem));
        }
        let plan = plan(&self.config, config, Unmatched::Refused)?;
        let base = self.base();
        let files = match (config.init, &self.unquantised) {
            (LoraInit::Loftq, Some(files)) => Some(Weights::open(files)?),
            (LoraInit::Loftq, None) => {
                let problem = "loftq needs a base that is quantised as it is loaded: set load_in_4bit or load_in_8bit";
                return Err(Error::config("init_lora_weights", problem));
            }
            _ => None,
        };
        let made: Vec<LoraLayer> = plan
            .modules
            .par_iter()
            .map(|module| {
                let weight = base.weight_of(module)?;
                let lost = files.as_ref().map(|files| lost(files, module, weight)).transpose()?.flatten();
                LoraLayer::init(config, module, weight, lost.as_ref(), seed, &self.device)
            })
            .collect::<Result<_>>()?;
        let layers = plan.modules.iter().map(|m| m.path.clone()).zip(made).collect();
        let saved = plan
            .saved
            .iter()
            .map(|s| Ok((s.name.clone(), Parameter::Trained(Var::from_tensor(&self.original(&base, s)?)?))))
            .collect::<Result<_>>()?;
        self.attach(&Adapter { worn: Worn { config: config.clone(), plan, key: WeightsKey::next() }, layers, saved });
        Ok(())
    }

    /// Loads an adapter in PEFT's files from `dir` and returns its configuration.
    ///
    /// Errors name the file, and the field or tensor that is missing, unsupported, of the wrong shape or left over.
    pub fn load_adapter(&mut self, dir: &Path, usage: AdapterUse) -> Result<LoraConfig> {
        match usage {
            AdapterUse::Frozen => {}
            AdapterUse::Trained => self.check_not_to_answer("load_adapter")?,
        }
        self.check_bare()?;
        let adapter = self.read(dir, usage)?;
        self.attach(&adapter);
        Ok(adapter.worn.config)
    }

    /// Reads an adapter for this model without putting it on; it is only applied. Errors as [`Self::load_adapter`].
    pub fn read_adapter(&self, dir: &Path) -> Result<Adapter> {
        self.read(dir, AdapterUse::Frozen)
    }

    /// Puts on an adapter that [`Self::read_adapter`] of this model gave, in place of the present one; none leaves the base alone,
    /// as it was loaded. No weight is copied: all adapters share one base.
    pub fn wear(&mut self, adapter: Option<&Adapter>) {
        match adapter {
            Some(adapter) => self.attach(adapter),
            None => self.detach(),
        }
    }

    fn read(&self, dir: &Path, usage: AdapterUse) -> Result<Adapter> {
        let (config, weights) = read_adapter(dir)?;
        let named = |e: Error| match e {
            Error::Config { .. } => Error::file(dir.join("adapter_config.json"), e),
            other => other,
        };
        if config.loftq.is_some() && self.quantization.is_none() {
            let problem = format!(
                "the adapter belongs to the base as it was quantised, in the form of {} if that is there: load it so",
                quantization::FILE
            );
            return Err(named(Error::config("loftq_config", problem)));
        }
        let plan = plan(&self.config, &config, Unmatched::Tolerated).map_err(|e| named(e.into()))?;
        let mut used = BTreeSet::new();
        let mut read = |name: String, shape: &[usize]| -> Result<Parameter> {
            let tensor = self.adapter_tensor(&weights, &name, shape)?;
            used.insert(name);
            Ok(match usage {
                AdapterUse::Frozen => Parameter::Frozen(tensor),
                AdapterUse::Trained => Parameter::Trained(Var::from_tensor(&tensor)?),
            })
        };
        let mut layers = BTreeMap::new();
        for module in &plan.modules {
            let mut factor = |factor: Factor| read(peft_name(&module.path, module.role, factor), &factor.shape(module));
            let (a, b) = (factor(Factor::A)?, factor(Factor::B)?);
            let more = extra(config.form).map(|kind| Ok::<_, Error>((kind, factor(kind)?))).transpose()?;
            let (mut bias, mut magnitude) = (None, None);
            match more {
                Some((Factor::Bias, p)) => bias = Some(p),
                Some((_, p)) => magnitude = Some(Magnitude::new(p)),
                None => {}
            }
            let taken = self.taken(&config, module).map_err(named)?;
            let (role, scaling, dropout) = (module.role, module.scaling, config.lora_dropout);
            layers.insert(module.path.clone(), LoraLayer { a, b, bias, magnitude, taken, role, scaling, dropout });
        }
        let mut saved = BTreeMap::new();
        for Saved { name, stored, shape } in &plan.saved {
            saved.insert(name.clone(), read(format!("{PREFIX}{stored}"), shape)?);
        }
        for module in plan.modules.iter().filter(|m| m.role != Role::Linear) {
            let name = format!("{PREFIX}{}.base_layer.weight", module.path);
            if weights.shape_of(&name).is_some() {
                self.check_base_layer(&weights, &name, module)?;
                used.insert(name);
            }
        }
        if let Some(left) = weights.names().find(|n| !used.contains(*n)) {
            return Err(Error::file(
                weights.origin(),
                format!("tensor `{left}` belongs to no module that adapter_config.json adapts in this model"),
            ));
        }
        Ok(Adapter { worn: Worn { config, plan, key: WeightsKey::next() }, layers, saved })
    }

    /// What an adapter that PEFT saved as it was trained has taken from the base weight: its first values, which PEFT computes again too.
    fn taken(&self, config: &LoraConfig, module: &Adapted) -> Result<Option<Box<Taken>>> {
        let refused = |why: &str| {
            let problem = format!(
                "{} changed the base when training began, {why}: save it in PEFT with \
                 path_initial_model_for_weight_conversion, or merge it there",
                config.init
            );
            Err(Error::config("init_lora_weights", problem))
        };
        match (config.init, module.role) {
            (LoraInit::PissaIterated(_), _) => refused("by random numbers that are not in the file"),
            (LoraInit::Pissa | LoraInit::Olora, Role::Linear) if self.quantization.is_some() => {
                refused("and rounded what it left of it")
            }
            (LoraInit::Pissa | LoraInit::Olora, Role::Linear | Role::Head) => {
                let (a, b) = part_of(config.init, module, &self.base().weight_of(module)?.dense()?, 0)?;
                let (a, b) = (a.to_device(&self.device)?, b.to_device(&self.device)?);
                Ok(Some(Box::new(Taken { a, b, scaling: module.scaling })))
            }
            (LoraInit::Pissa | LoraInit::Olora, Role::Embedding)
            | (LoraInit::KaimingUniform | LoraInit::Gaussian | LoraInit::Random | LoraInit::Loftq, _) => Ok(None),
        }
    }

    /// PEFT saves the base weight of an adapted embedding or output layer beside the adapter. It must be this base's.
    fn check_base_layer(&self, weights: &Weights, name: &str, module: &Adapted) -> Result<()> {
        let rows_first = match module.role {
            Role::Embedding => [module.inputs, module.outputs],
            Role::Linear | Role::Head => [module.outputs, module.inputs],
        };
        let theirs = self.adapter_tensor(weights, name, &rows_first)?;
        // Either side may have been narrowed to bf16: then compare the rounded values.
        let gap = |dtype: DType| -> Result<f32> {
            let round = |t: &Tensor| t.to_dtype(dtype)?.to_dtype(DType::F32);
            let ours = self.base().weight_of(module)?.dense()?;
            Ok((round(&ours)? - round(&theirs)?)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?)
        };
        if gap(DType::F32)? == 0.0 || gap(DType::BF16)? == 0.0 {
            return Ok(());
        }
        Err(Error::file(
            weights.origin(),
            format!(
                "tensor `{name}` is not this base model's: the adapter was trained on another, or with a changed vocabulary"
            ),
        ))
    }

    /// Writes the adapter as PEFT does: `adapter_config.json` and `adapter_model.safetensors` (f32, kept exactly), to be loaded onto the
    /// unchanged base. What was taken from the base (`init_lora_weights` pissa and olora) is written as an adapter of twice the rank, as
    /// PEFT's `path_initial_model_for_weight_conversion` does. The base weights of adapted embeddings are left out (PEFT's
    /// `save_embedding_layers=False`). On a quantised base there is transformers' `quantization_config.json` too, since the adapter
    /// answers as it learned only on a base in that form.
    pub fn save_adapter(&self, dir: &Path, base_model_name: &str) -> Result<()> {
        let Some(Worn { config, plan, key: _ }) = &self.lora else {
            return Err(Error::value("save_adapter", "the model has no adapter"));
        };
        let mut config = if self.adapter_is_converted() {
            config.clone().doubled()
        } else {
            config.clone().settled(self.quantization)
        };
        config.base_model_name_or_path = Some(base_model_name.to_owned());
        config.target_modules = match config.target_modules {
            TargetModules::AllLinear => {
                let adapted: Vec<&str> = plan.modules.iter().map(|m| m.path.as_str()).collect();
                TargetModules::List(suffixes(&adapted))
            }
            TargetModules::List(names) => {
                TargetModules::List(names.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
            }
            TargetModules::Regex(pattern) => TargetModules::Regex(pattern),
        };
        let mut tensors = Vec::new();
        for (module, layer) in self.adapted() {
            for (factor, tensor) in layer.saved()? {
                tensors.push((peft_name(&module.path, module.role, factor), tensor));
            }
        }
        tensors.extend(self.tuned().map(|(s, p)| (format!("{PREFIX}{}", s.stored), p.tensor().detach())));
        write_adapter(dir, &config, &tensors)?;
        let form = dir.join(quantization::FILE);
        match self.quantization {
            Some(quantization) => write_json(&form, &quantization.to_json(self.computed())),
            // What an adapter that lay here before had been trained on is not true of this one.
            None if form.is_file() => std::fs::remove_file(&form).map_err(|e| Error::file(form, e)),
            None => Ok(()),
        }
    }

    /// The numbers of weights and activations, as a word.
    fn computed(&self) -> Dtype {
        if self.dtype == DType::BF16 { Dtype::Bf16 } else { Dtype::F32 }
    }

    /// Whether the adapter is saved in another form than it trains in.
    #[must_use]
    pub fn adapter_is_converted(&self) -> bool {
        self.adapted().any(|(_, layer)| layer.taken.is_some())
    }

    /// Sends passes through the adapter or past it; without an adapter there is no difference.
    pub fn set_adapter(&mut self, switch: AdapterSwitch) {
        self.adapter = switch;
    }

    /// The variables that training changes, in a fixed order: PEFT's keys for an adapter, checkpoint names for a whole model.
    #[must_use]
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let base = self.model.parameters().into_iter();
        base.chain(self.adapter_parameters()).filter_map(|(name, p)| p.var().map(|v| (name, v.clone()))).collect()
    }

    /// How many weights there are and how many train.
    #[must_use]
    pub fn parameter_counts(&self) -> ParameterCounts {
        let adapter: usize = self.adapter_parameters().map(|(_, p)| p.tensor().elem_count()).sum();
        ParameterCounts {
            trainable: self.trainable().iter().map(|(_, v)| v.elem_count() as u64).sum(),
            total: self.config.parameter_count() + adapter as u64,
        }
    }

    /// Refuses a second adapter, and one on a model that is trained in full.
    pub(super) fn check_bare(&self) -> Result<()> {
        if self.lora.is_some() {
            return Err(Error::value(
                "lora",
                "the model already has an adapter: merge it or load the base model again",
            ));
        }
        if self.model.embedding.parameter().is_some_and(|p| p.var().is_some()) {
            return Err(Error::value(
                "lora",
                "the model is being trained in full: save it and load it to add an adapter",
            ));
        }
        Ok(())
    }

    fn attach(&mut self, adapter: &Adapter) {
        let lora = |path: &str| adapter.layers.get(path).cloned();
        let saved = |name: &str| adapter.saved.get(name).cloned();
        for block in &mut self.model.blocks {
            let block = Arc::make_mut(block);
            for linear in block.linears_mut() {
                linear.lora = lora(&linear.path);
                linear.tuned_weight = saved(&format!("{}.weight", linear.path));
                linear.tuned_bias = saved(&format!("{}.bias", linear.path));
            }
        }
        for norm in self.model.norms_mut() {
            norm.tuned = saved(&norm.name);
        }
        self.model.ends.embedding_lora = lora(EMBEDDING);
        self.model.ends.embedding = saved(&format!("{EMBEDDING}.weight"));
        self.model.ends.head_lora = lora(HEAD);
        self.model.ends.head = saved(&format!("{HEAD}.weight"));
        self.lora = Some(adapter.worn.clone());
        self.adapter = AdapterSwitch::On;
    }

    pub(super) fn detach(&mut self) {
        let (config, plan) = (LoraConfig::default(), AdapterPlan::default());
        let nothing = Worn { config, plan, key: self.base_key };
        self.attach(&Adapter { worn: nothing, layers: BTreeMap::new(), saved: BTreeMap::new() });
        self.lora = None;
    }

    /// (PEFT key, parameter) of everything in the adapter, in a fixed order.
    fn adapter_parameters(&self) -> impl Iterator<Item = (String, &Parameter)> {
        let layers = self.adapted().flat_map(|(module, layer)| {
            layer.parameters().map(|(factor, p)| (peft_name(&module.path, module.role, factor), p))
        });
        layers.chain(self.tuned().map(|(saved, p)| (format!("{PREFIX}{}", saved.stored), p)))
    }

    /// Every adapted module with its layer, in the order of the plan.
    fn adapted(&self) -> impl Iterator<Item = (&Adapted, &LoraLayer)> {
        let ends = &self.model.ends;
        let at_ends = [(EMBEDDING, &ends.embedding_lora), (HEAD, &ends.head_lora)];
        let in_blocks = self.model.linears().map(|l| (l.path.as_str(), &l.lora));
        let all: HashMap<&str, &LoraLayer> =
            in_blocks.chain(at_ends).filter_map(|(path, lora)| Some((path, lora.as_ref()?))).collect();
        let modules = self.lora.iter().flat_map(|worn| &worn.plan.modules);
        modules.filter_map(move |module| Some((module, *all.get(module.path.as_str())?)))
    }

    /// Every trained copy of a base weight, in the order of the plan.
    fn tuned(&self) -> impl Iterator<Item = (&Saved, &Parameter)> {
        let mut all: HashMap<String, &Parameter> = HashMap::new();
        for linear in self.model.linears() {
            all.extend(linear.tuned_weight.as_ref().map(|p| (format!("{}.weight", linear.path), p)));
            all.extend(linear.tuned_bias.as_ref().map(|p| (format!("{}.bias", linear.path), p)));
        }
        all.extend(self.model.norms().filter_map(|n| Some((n.name.clone(), n.tuned.as_ref()?))));
        let ends = &self.model.ends;
        all.extend(ends.embedding.as_ref().map(|p| (format!("{EMBEDDING}.weight"), p)));
        all.extend(ends.head.as_ref().map(|p| (format!("{HEAD}.weight"), p)));
        let saved = self.lora.iter().flat_map(|worn| &worn.plan.saved);
        saved.filter_map(move |s| Some((s, *all.get(&s.name)?)))
    }

    fn base(&self) -> Base<'_> {
        let parameters = self.model.parameters().into_iter().map(|(name, p)| (name, p.tensor().into()));
        let linears = self.model.linears().map(|l| (format!("{}.weight", l.path), l.weight.constant()));
        let mut weights: HashMap<String, ConstantRef<'_>> = parameters.chain(linears).collect();
        weights.insert(format!("{EMBEDDING}.weight"), self.model.embedding.constant());
        weights.insert(format!("{HEAD}.weight"), self.model.base_head().constant());
        Base { weights }
    }

    /// What a copy that trains starts from, f32: of a weight that was quantised as it was read, what the files hold.
    fn original(&self, base: &Base<'_>, saved: &Saved) -> Result<Tensor> {
        let weight = base.weight(&saved.name)?;
        match (weight.stored, &self.unquantised) {
            (StoredRef::Quantised(_), Some(files)) => {
                Weights::open(files)?.tensor(&saved.name, saved.shape.as_slice(), DType::F32, &self.device)
            }
            (StoredRef::Quantised(_) | StoredRef::Dense(_), _) => weight.dense(),
        }
    }

    /// One tensor of an adapter in f32.
    fn adapter_tensor(&self, weights: &Weights, name: &str, shape: &[usize]) -> Result<Tensor> {
        match weights.shape_of(name) {
            Some(stored) if stored != shape => Err(Error::file(
                weights.origin(),
                format!("tensor `{name}` has shape {stored:?}, but this model and adapter_config.json need {shape:?}"),
            )),
            Some(_) | None => weights.tensor(name, shape, DType::F32, &self.device),
        }
    }
}

/// What quantising took from a module's weight, W - Q(W) in f32; none where it is not quantised.
fn lost(files: &Weights, module: &Adapted, weight: ConstantRef<'_>) -> Result<Option<Tensor>> {
    let StoredRef::Quantised(held) = weight.stored else { return Ok(None) };
    let name = format!("{}.weight", module.path);
    let full = files.tensor(&name, (module.outputs, module.inputs), DType::F32, &Device::Cpu)?;
    Ok(Some((full - held.dequantise()?)?))
}

/// The weights of the base by checkpoint name; a tied output layer has one too.
struct Base<'a> {
    weights: HashMap<String, ConstantRef<'a>>,
}

impl<'a> Base<'a> {
    fn weight(&self, name: &str) -> Result<ConstantRef<'a>> {
        let found = self.weights.get(name).copied();
        found.ok_or_else(|| Error::config("modules_to_save", format!("the model has no `{name}`")))
    }

    fn weight_of(&self, module: &Adapted) -> Result<ConstantRef<'a>> {
        self.weight(&format!("{}.weight", module.path))
    }
}
