//! Which modules of a model an adapter sits on and how large it is there, by PEFT's rules. Pure text matching; no tensors.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{
    decoder_config::{BadConfig, Bias, DecoderConfig, EMBEDDING, HEAD, LinearShape, refuse},
    lora::{LoraConfig, LoraForm, ModuleNames, TrainedBias},
    recipe,
};

type Result<T> = std::result::Result<T, BadConfig>;

/// Which modules carry an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// A module whose path is one of these or ends in `.` and one of these.
    List(Vec<String>),
    /// A module whose whole path this pattern matches.
    Regex(String),
    /// Every linear but the output layer.
    AllLinear,
}

impl Default for TargetModules {
    fn default() -> Self {
        Self::List(vec!["q_proj".into(), "v_proj".into()])
    }
}

impl From<&recipe::TargetModules> for TargetModules {
    fn from(targets: &recipe::TargetModules) -> Self {
        match targets {
            recipe::TargetModules::Pattern(pattern) if pattern == "all-linear" => Self::AllLinear,
            recipe::TargetModules::Pattern(pattern) => Self::Regex(pattern.clone()),
            recipe::TargetModules::Suffixes(names) => Self::List(names.clone()),
        }
    }
}

/// What an adapted module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A linear of a block.
    Linear,
    /// The token embedding: A (r, V), B (C, r).
    Embedding,
    /// The output layer, its own or the embedding used a second time.
    Head,
}

/// One module with its adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapted {
    /// Module path.
    pub path: String,
    /// What it is.
    pub role: Role,
    /// Rows of B: outputs of a linear, C of the embedding.
    pub outputs: usize,
    /// Columns of A: inputs of a linear, V of the embedding.
    pub inputs: usize,
    /// Whether the module has a bias of its own.
    pub own_bias: Bias,
    /// The adapter's rank here.
    pub rank: usize,
    /// The factor s here.
    pub scaling: f64,
}

/// A weight of the base that trains along, or whose trained copy a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Name in the checkpoint, such as `model.norm.weight`; of a tied output layer `lm_head.weight`.
    pub name: String,
    /// Name in the adapter's file, without `base_model.model.`.
    pub stored: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Saved {
    fn parameters(&self) -> u64 {
        self.shape.iter().map(|n| *n as u64).product()
    }
}

/// Everything that an adapter puts on a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdapterPlan {
    /// The adapted modules: embedding, linears in layer order, output layer.
    pub modules: Vec<Adapted>,
    /// The weights that train in full: those of `modules_to_save` and the biases.
    pub saved: Vec<Saved>,
    /// What the adapter is on each module.
    pub form: Option<LoraForm>,
    /// Whether B A starts as a part of the base weight, whose factors are then held beside (PiSSA, OLoRA).
    pub takes_from_base: bool,
}

impl AdapterPlan {
    /// Numbers that train.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.tensors().sum()
    }

    /// Numbers of the factors that were taken from the base, which do not train. An embedding gives none.
    #[must_use]
    pub fn taken(&self) -> u64 {
        let of_module = |m: &Adapted| (m.rank * (m.inputs + m.outputs)) as u64;
        let given = self.modules.iter().filter(|m| self.takes_from_base && m.role != Role::Embedding);
        given.map(of_module).sum()
    }

    /// Numbers of each tensor that trains.
    pub fn tensors(&self) -> impl Iterator<Item = u64> {
        let extra = |m: &Adapted| match self.form {
            Some(LoraForm::WithBias | LoraForm::WeightDecomposed) => m.outputs as u64,
            Some(LoraForm::Plain) | None => 0,
        };
        let of_module = move |m: &Adapted| [(m.rank * m.inputs) as u64, (m.outputs * m.rank) as u64, extra(m)];
        let modules = self.modules.iter().flat_map(of_module).filter(|n| *n > 0);
        modules.chain(self.saved.iter().map(Saved::parameters))
    }

    /// Numbers of the weights that train in full.
    #[must_use]
    pub fn saved_parameters(&self) -> u64 {
        self.saved.iter().map(Saved::parameters).sum()
    }
}

/// What to do with an entry of a list that matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Name it and refuse: a new adapter.
    Refused,
    /// Pass over it as PEFT does, as long as another entry matches: a finished adapter.
    Tolerated,
}

/// The modules that an adapter of this configuration sits on.
///
/// # Errors
/// A name that means no module (the available ones are listed), a module that cannot carry an adapter, a pattern that is none.
pub fn plan(config: &DecoderConfig, lora: &LoraConfig, unmatched: Unmatched) -> Result<AdapterPlan> {
    lora.check()?;
    let modules = modules(config);
    let linears: Vec<&str> = modules.iter().filter(|m| m.role == Role::Linear).map(|m| m.path.as_str()).collect();
    let weights = weights(config);
    let norms = others(&weights, &modules);
    let saved = saved_modules(&weights, lora, unmatched)?;
    let targets = Targets::new(lora)?;
    if unmatched == Unmatched::Refused {
        let paths = modules.iter().map(|m| m.path.as_str()).chain(norms.iter().map(String::as_str)).collect::<Vec<_>>();
        check_names(config, lora, &paths, &linears)?;
    }
    if let Some(path) = norms.iter().find(|path| targets.fit(path, Role::Embedding)) {
        return Err(refuse("target_modules", format!("`{path}` cannot carry an adapter; {}", available(&linears))));
    }
    let (ranks, alphas) =
        (patterns("rank_pattern", &lora.rank_pattern)?, patterns("alpha_pattern", &lora.alpha_pattern)?);
    let mut adapted = Vec::new();
    for module in modules.iter().filter(|m| targets.fit(&m.path, m.role)) {
        if let Some(both) = saved.iter().find(|s| s.name.strip_prefix(&module.path).is_some_and(|r| r.starts_with('.')))
        {
            let problem = format!("`{}` is also a target module; name it in full, or leave it out", both.name);
            return Err(refuse("modules_to_save", problem));
        }
        let find = |patterns: &[Regex]| patterns.iter().position(|p| p.is_match(&module.path));
        let rank = find(&ranks).map_or(lora.r, |i| lora.rank_pattern[i].1);
        let alpha = find(&alphas).map_or(lora.lora_alpha, |i| lora.alpha_pattern[i].1);
        if module.role == Role::Embedding && lora.form == LoraForm::WithBias {
            return Err(refuse("lora_bias", format!("the embedding `{}` can have none", module.path)));
        }
        adapted.push(Adapted { rank, scaling: lora.scaling(rank, alpha), ..module.clone() });
    }
    if adapted.is_empty() {
        return Err(refuse("target_modules", format!("matches no module of this model; {}", available(&linears))));
    }
    let biases = biases(&weights, lora, &adapted, &saved)?;
    Ok(AdapterPlan {
        modules: adapted,
        saved: saved.into_iter().chain(biases).collect(),
        form: Some(lora.form),
        takes_from_base: lora.init.takes_from_base(),
    })
}

/// The distinct last parts of the paths, sorted.
#[must_use]
pub fn suffixes(paths: &[&str]) -> Vec<String> {
    let last = |p: &&str| p.rsplit('.').next().map(str::to_owned);
    paths.iter().filter_map(last).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Every module that can carry an adapter, without rank and scaling yet.
fn modules(config: &DecoderConfig) -> Vec<Adapted> {
    let (v, c) = (config.vocab_size, config.hidden_size);
    let module = |path: &str, role, outputs, inputs, own_bias| Adapted {
        path: path.to_owned(),
        role,
        outputs,
        inputs,
        own_bias,
        rank: 0,
        scaling: 0.0,
    };
    let linear = |l: &LinearShape| module(&l.path, Role::Linear, l.outputs, l.inputs, l.bias);
    std::iter::once(module(EMBEDDING, Role::Embedding, c, v, Bias::Absent))
        .chain(config.linears().iter().map(linear))
        .chain(std::iter::once(module(HEAD, Role::Head, v, c, Bias::Absent)))
        .collect()
}

/// Name and shape of every weight, with the output layer's where that is the embedding.
fn weights(config: &DecoderConfig) -> Vec<(String, Vec<usize>)> {
    let mut all = config.weights();
    let head = format!("{HEAD}.weight");
    if !all.iter().any(|(name, _)| *name == head) {
        all.push((head, vec![config.vocab_size, config.hidden_size]));
    }
    all
}

fn module_of(weight: &str) -> &str {
    weight.rsplit_once('.').map_or(weight, |(module, _)| module)
}

/// Modules with weights that cannot carry an adapter.
fn others(weights: &[(String, Vec<usize>)], modules: &[Adapted]) -> Vec<String> {
    let known: BTreeSet<&str> = modules.iter().map(|m| m.path.as_str()).collect();
    let all: BTreeSet<&str> = weights.iter().map(|(name, _)| module_of(name)).collect();
    all.into_iter().filter(|path| !known.contains(path)).map(str::to_owned).collect()
}

/// PEFT's `check_target_module_exists`.
struct Targets<'a> {
    lora: &'a LoraConfig,
    target: Option<Regex>,
    exclude: Option<Regex>,
    saved: Vec<Regex>,
    layers: Vec<Regex>,
}

impl<'a> Targets<'a> {
    fn new(lora: &'a LoraConfig) -> Result<Self> {
        let target = match &lora.target_modules {
            TargetModules::Regex(pattern) => Some(regex("target_modules", pattern, &format!(r"\A(?:{pattern})\z"))?),
            TargetModules::List(_) | TargetModules::AllLinear => None,
        };
        let exclude = match &lora.exclude_modules {
            Some(ModuleNames::Regex(pattern)) => {
                Some(regex("exclude_modules", pattern, &format!(r"\A(?:{pattern})\z"))?)
            }
            Some(ModuleNames::List(_)) | None => None,
        };
        let saved =
            lora.modules_to_save.iter().map(|m| regex("modules_to_save", m, &format!(r"\A(?:|.*\.){m}(?:\z|\..*)")));
        let layers = match lora.layers_pattern.as_slice() {
            [] => vec![regex("layers_pattern", "", r"\A.*?\.[^.]*\.(?P<idx>\d+)\.")?],
            names => names
                .iter()
                .map(|n| regex("layers_pattern", n, &format!(r"\A(?:|.*?\.){n}\.(?P<idx>\d+)\.")))
                .collect::<Result<_>>()?,
        };
        Ok(Self { lora, target, exclude, saved: saved.collect::<Result<_>>()?, layers })
    }

    fn fit(&self, path: &str, role: Role) -> bool {
        let excluded = match &self.lora.exclude_modules {
            Some(ModuleNames::List(names)) => names.iter().any(|n| fits(path, n)),
            Some(ModuleNames::Regex(_)) | None => self.exclude.as_ref().is_some_and(|r| r.is_match(path)),
        };
        if excluded || self.saved.iter().any(|r| r.is_match(path)) {
            return false;
        }
        match &self.lora.target_modules {
            TargetModules::Regex(_) => self.target.as_ref().is_some_and(|r| r.is_match(path)),
            TargetModules::AllLinear => role == Role::Linear && self.in_layers(path),
            TargetModules::List(names) => names.iter().any(|n| fits(path, n)) && self.in_layers(path),
        }
    }

    fn in_layers(&self, path: &str) -> bool {
        if self.lora.layers_to_transform.is_empty() {
            return true;
        }
        let index = self.layers.iter().find_map(|r| r.captures(path)?.name("idx")?.as_str().parse::<u64>().ok());
        index.is_some_and(|i| self.lora.layers_to_transform.contains(&i))
    }
}

/// Refuses names of a new adapter that mean nothing in this model.
fn check_names(config: &DecoderConfig, lora: &LoraConfig, paths: &[&str], linears: &[&str]) -> Result<()> {
    let check = |field: &str, names: &[String]| match names.iter().find(|n| !paths.iter().any(|path| fits(path, n))) {
        Some(name) => Err(refuse(field, format!("{name:?} names no module of this model; {}", available(linears)))),
        None => Ok(()),
    };
    if let TargetModules::List(names) = &lora.target_modules {
        check("target_modules", names)?;
    }
    if let Some(ModuleNames::List(names)) = &lora.exclude_modules {
        check("exclude_modules", names)?;
    }
    let layers = config.num_hidden_layers as u64;
    if let Some(n) = lora.layers_to_transform.iter().find(|n| **n >= layers) {
        return Err(refuse("layers_to_transform", format!("there is no layer {n}: the model has 0 to {}", layers - 1)));
    }
    let every = |field: &'static str, entries: Vec<&String>| {
        let regexes = entries.iter().map(|key| pattern(field, key)).collect::<Result<Vec<_>>>()?;
        match entries.iter().zip(&regexes).find(|(_, r)| !paths.iter().any(|path| r.is_match(path))) {
            Some((key, _)) => {
                Err(refuse(field, format!("{key:?} fits no module of this model; {}", available(linears))))
            }
            None => Ok(()),
        }
    };
    every("rank_pattern", lora.rank_pattern.iter().map(|(k, _)| k).collect())?;
    every("alpha_pattern", lora.alpha_pattern.iter().map(|(k, _)| k).collect())
}

/// PEFT's `get_pattern_key`.
fn pattern(field: &str, key: &str) -> Result<Regex> {
    regex(field, key, &format!(r"\A(?:.*\.)?(?:{key})\z"))
}

fn patterns<T>(field: &str, entries: &[(String, T)]) -> Result<Vec<Regex>> {
    entries.iter().map(|(key, _)| pattern(field, key)).collect()
}

fn regex(field: &str, written: &str, whole: &str) -> Result<Regex> {
    Regex::new(whole).map_err(|e| refuse(field, format!("{written:?} is not a pattern that can be used: {e}")))
}

/// The weights of `modules_to_save`: PEFT wraps each module whose path ends in one of the names, whatever stands before it.
fn saved_modules(weights: &[(String, Vec<usize>)], lora: &LoraConfig, unmatched: Unmatched) -> Result<Vec<Saved>> {
    let covers = |weight: &str, name: &str| {
        let module = module_of(weight);
        let ends = module.match_indices('.').map(|(i, _)| &module[..i]).chain([module]);
        ends.into_iter().any(|ancestor| ancestor.ends_with(name))
    };
    let names = &lora.modules_to_save;
    let unknown = names.iter().find(|n| n.is_empty() || !weights.iter().any(|(weight, _)| covers(weight, n)));
    if let Some(name) = unknown.filter(|_| unmatched == Unmatched::Refused) {
        let modules: Vec<&str> = weights.iter().map(|(weight, _)| module_of(weight)).collect();
        let problem = format!("{name:?} names no module of this model; available: {}", suffixes(&modules).join(", "));
        return Err(refuse("modules_to_save", problem));
    }
    let chosen = weights.iter().filter(|(weight, _)| names.iter().any(|n| !n.is_empty() && covers(weight, n)));
    Ok(chosen.map(|(w, shape)| Saved { name: w.clone(), stored: w.clone(), shape: shape.clone() }).collect())
}

/// The biases that `bias` lets train; PEFT stores those of adapted modules under `base_layer`.
fn biases(
    weights: &[(String, Vec<usize>)],
    lora: &LoraConfig,
    adapted: &[Adapted],
    saved: &[Saved],
) -> Result<Vec<Saved>> {
    let is_adapted = |name: &str| adapted.iter().any(|m| m.path == module_of(name));
    let chosen: Vec<&(String, Vec<usize>)> = weights
        .iter()
        .filter(|(name, _)| name.ends_with(".bias"))
        .filter(|(name, _)| match lora.bias {
            TrainedBias::None => false,
            TrainedBias::All => true,
            TrainedBias::LoraOnly => is_adapted(name),
        })
        .collect();
    if let Some((name, _)) = chosen.iter().find(|(name, _)| saved.iter().any(|s| s.name == *name)) {
        return Err(refuse("bias", format!("`{name}` trains already, by modules_to_save; set bias to none")));
    }
    Ok(chosen
        .into_iter()
        .map(|(name, shape)| Saved {
            name: name.clone(),
            stored: if is_adapted(name) { format!("{}.base_layer.bias", module_of(name)) } else { name.clone() },
            shape: shape.clone(),
        })
        .collect())
}

fn fits(path: &str, entry: &str) -> bool {
    path == entry || path.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.'))
}

fn available(linears: &[&str]) -> String {
    format!("available: {}, embed_tokens, lm_head or \"all-linear\"", suffixes(linears).join(", "))
}

#[cfg(test)]
mod tests;
