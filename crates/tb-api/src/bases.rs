//! Base models on this machine: the sample's, the folders and GGUF files under `models/`, downloads of the hub, those that were named by
//! hand, and those that a job has used. What is wrong with one is in `bases/problems.rs`, adding and removing in `bases/keep.rs`.

pub(crate) mod keep;
pub(crate) mod problems;
pub(crate) mod template;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    adapter::{self, TargetModules, Unmatched},
    decoder_config::{DecoderConfig, EMBEDDING, HEAD},
    lora::LoraConfig,
};
use tb_data::{files::model_sha256, hub, model_folder, tokenize::TextTokenizer};
use tb_db::{Page, jobs::JobFilter, models::ModelFilter};
use ts_rs::TS;

use crate::{Ctx, commands::Nothing, ctx::blocking, hub::DOWNLOADS};

/// Folder of the user's base models in the home folder.
pub(crate) const MODELS: &str = "models";
/// Weights up to this size are hashed when they are looked at; larger ones only by a run.
const HASHED_BYTES: u64 = 64 << 20;

/// Arguments of `base_inspect`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct InspectBase {
    /// Folder of the base model, or a GGUF file.
    pub path: PathBuf,
}

/// A base model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct BaseModel {
    /// Its folder or GGUF file.
    pub path: String,
    /// Its name: of the folder, or of the hub repository.
    pub name: String,
    /// Its family: `llama`, `qwen2`.
    pub family: String,
    /// Scalar weights; a tied head counts once.
    #[ts(type = "number")]
    pub parameters: u64,
    /// Size of its weight files.
    #[ts(type = "number")]
    pub size_bytes: u64,
    /// Number type of its files: `F16`, `BF16`, `F32`; of GGUF files also `Q8_0`, `Q4_K` and others.
    pub dtype: String,
    /// Longest text that it was made for, in tokens.
    pub context: u32,
    /// Blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Rows of the embedding.
    pub vocabulary: u32,
    /// Whether conversations can be rendered.
    pub chat_template: bool,
    /// The licence that its README names.
    pub licence: Option<String>,
    /// SHA-256 over its weight files, where a run or its small size has made it known.
    pub sha256: Option<String>,
    /// How it came to be listed.
    pub source: BaseSource,
    /// The repository and commit of the hub that it came from.
    pub hub: Option<HubPlace>,
    /// The modules that an adapter can sit on, by the last part of their names, and those that cannot carry one.
    pub modules: Vec<BaseModule>,
    /// Training runs that started from it.
    pub runs: u32,
}

/// Where a model comes from on the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct HubPlace {
    /// `owner/name`.
    pub repo: String,
    /// The commit.
    pub commit: String,
}

/// A kind of module of a base model, as `target_modules` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BaseModule {
    /// The last part of its name: `q_proj`.
    pub name: String,
    /// How many of them the model has.
    pub count: u32,
    /// Why it cannot carry an adapter; none if it can.
    pub refusal: Option<String>,
}

/// How a base model came to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum BaseSource {
    /// It came with the program.
    Sample,
    /// It was downloaded from a hub.
    Hub,
    /// It lies in the folder of models.
    Folder,
    /// It was named by hand.
    Added,
    /// A job has used it.
    Used,
}

/// What the database knows of base models.
pub(crate) struct Known {
    runs: BTreeMap<String, u32>,
    hashes: BTreeMap<String, String>,
    added: Vec<String>,
}

pub(crate) async fn known(ctx: &Ctx) -> Result<Known, ApiError> {
    let mut runs = BTreeMap::new();
    for job in tb_db::jobs::list(ctx.db(), &JobFilter::default(), &Page::first(10_000)).await? {
        let counts = u32::from(job.kind == tb_core::job::JobKind::Train);
        *runs.entry(job.base_model).or_insert(0) += counts;
    }
    let models = tb_db::models::list(ctx.db(), &ModelFilter::default(), &Page::first(10_000)).await?;
    let hashes = models.into_iter().map(|m| (m.base_model, m.lineage.base_sha256)).filter(|(_, h)| !h.is_empty());
    Ok(Known { runs, hashes: hashes.collect(), added: tb_db::base_folders::list(ctx.db()).await? })
}

/// Every place where a base model is, or is said to be, and why it is looked at.
fn places(home: &Path, known: &Known) -> BTreeMap<PathBuf, BaseSource> {
    let mut places: BTreeMap<PathBuf, BaseSource> =
        known.runs.keys().map(|path| (PathBuf::from(path), BaseSource::Used)).collect();
    places.extend(known.added.iter().map(|path| (PathBuf::from(path), BaseSource::Added)));
    places.extend(below(&home.join(MODELS)).into_iter().map(|path| (path, BaseSource::Folder)));
    places.extend(hub::downloaded(&home.join(DOWNLOADS)).into_iter().map(|(_, path)| (path, BaseSource::Hub)));
    let sample = home.join("sample");
    places.extend(below(&sample).into_iter().map(|path| (path.join("base"), BaseSource::Sample)));
    places
}

/// Why a path is, or would be, among the base models.
fn source_of(home: &Path, path: &Path, known: &Known) -> BaseSource {
    let shown = path.to_string_lossy();
    if path.starts_with(home.join("sample")) {
        BaseSource::Sample
    } else if path.starts_with(home.join(DOWNLOADS)) {
        BaseSource::Hub
    } else if path.starts_with(home.join(MODELS)) {
        BaseSource::Folder
    } else if known.runs.contains_key(shown.as_ref()) && !known.added.iter().any(|added| *added == shown) {
        BaseSource::Used
    } else {
        BaseSource::Added
    }
}

/// The places that were named by hand or that jobs have used, in the home folder or not.
pub(crate) async fn listed(ctx: &Ctx) -> Result<Vec<PathBuf>, ApiError> {
    let known = known(ctx).await?;
    Ok(known.runs.into_keys().chain(known.added).filter(|path| !path.is_empty()).map(PathBuf::from).collect())
}

pub(crate) async fn list(ctx: &Ctx, _: Nothing) -> Result<Vec<BaseModel>, ApiError> {
    let known = known(ctx).await?;
    let home = ctx.home().to_owned();
    blocking(move || {
        // What cannot be used is left out here; `base_problems` says why.
        let places = places(&home, &known);
        let mut bases: Vec<BaseModel> =
            places.into_iter().filter_map(|(path, source)| look(&path, source, &known).ok()).collect();
        bases.sort_by(|a, b| b.runs.cmp(&a.runs).then_with(|| a.path.cmp(&b.path)));
        Ok(bases)
    })
    .await
}

pub(crate) async fn inspect(ctx: &Ctx, args: InspectBase) -> Result<BaseModel, ApiError> {
    let known = known(ctx).await?;
    let home = ctx.home().to_owned();
    blocking(move || {
        let path = existing(&args.path)?;
        look(&path, source_of(&home, &path, &known), &known)
    })
    .await
}

/// The path as it is kept: absolute, and there.
fn existing(path: &Path) -> Result<PathBuf, ApiError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if absolute.exists() {
        return Ok(absolute);
    }
    Err(ApiError::new(ErrorCode::NotFound, format!("{} does not exist.", path.display()))
        .hint("Name the folder of a model in the Hugging Face layout, or a GGUF file."))
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let is_base = |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|e| e == "gguf");
    entries.filter_map(|e| Some(e.ok()?.path())).filter(is_base).collect()
}

/// Everything that can be known of a base model without reading its weights.
fn look(path: &Path, source: BaseSource, known: &Known) -> Result<BaseModel, ApiError> {
    let config: DecoderConfig = model_folder::read_config(path)?;
    let stored = model_folder::stored_weights(path)?;
    model_folder::check_weights(path, &config, &stored)?;
    let tokenizer = TextTokenizer::load(path)?;
    let shown = path.to_string_lossy().into_owned();
    let sha256 = match known.hashes.get(&shown) {
        Some(hash) => Some(hash.clone()),
        None if stored.size_bytes <= HASHED_BYTES => Some(model_sha256(path)?),
        None => None,
    };
    let licence = match source {
        // The program's own licence.
        BaseSource::Sample => Some("Apache-2.0".to_owned()),
        BaseSource::Hub | BaseSource::Folder | BaseSource::Added | BaseSource::Used => {
            // Beside a downloaded GGUF file lies the repository's card.
            model_folder::licence(path).or_else(|| model_folder::licence(path.parent()?))
        }
    };
    Ok(BaseModel {
        name: name(path, source),
        family: config.family.model_type().into(),
        parameters: config.parameter_count(),
        size_bytes: stored.size_bytes,
        dtype: stored.dtype,
        context: config.max_position_embeddings as u32,
        layers: config.num_hidden_layers as u32,
        hidden_size: config.hidden_size as u32,
        vocabulary: config.vocab_size as u32,
        chat_template: tokenizer.has_chat_template(),
        licence,
        sha256,
        source,
        hub: hub_place(path),
        modules: modules(&config),
        runs: known.runs.get(&shown).copied().unwrap_or(0),
        path: shown,
    })
}

/// Every kind of module, and whether an adapter may sit on it: the answer of the check that a run begins with.
pub(crate) fn modules(config: &DecoderConfig) -> Vec<BaseModule> {
    let linears = config.linears();
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    let mut names: Vec<String> = Vec::new();
    for name in linears.iter().map(|l| l.path.as_str()).chain([EMBEDDING, HEAD]).map(last) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let count = |name: &str| linears.iter().filter(|l| last(&l.path) == name).count().max(1) as u32;
    let refusal = |name: &str| {
        let target_modules = TargetModules::List(vec![name.to_owned()]);
        let alone = LoraConfig { target_modules, ..LoraConfig::default() };
        let refused = adapter::plan(config, &alone, Unmatched::Refused).err()?;
        Some(refused.problem.split(';').next().unwrap_or_default().to_owned())
    };
    names.into_iter().map(|name| BaseModule { count: count(&name), refusal: refusal(&name), name }).collect()
}

/// Repository and commit of a snapshot in a hub cache, `[models--]owner--name/snapshots/<commit>[/<file>]`.
fn hub_place(path: &Path) -> Option<HubPlace> {
    let part = |p: &Path| Some(p.file_name()?.to_str()?.to_owned());
    let snapshot = path.ancestors().take(2).find(|p| p.parent().and_then(part).as_deref() == Some("snapshots"))?;
    let repository = part(snapshot.ancestors().nth(2)?)?;
    let repo = repository.strip_prefix("models--").unwrap_or(&repository).replacen("--", "/", 1);
    Some(HubPlace { repo, commit: part(snapshot)? })
}

/// The folder's or file's name; of a snapshot in a hub cache the repository's, with that of a single file.
fn name(path: &Path, source: BaseSource) -> String {
    if source == BaseSource::Sample {
        return "tone-base".into();
    }
    let is_file = path.extension().is_some_and(|e| e == "gguf");
    let part = |name: Option<&std::ffi::OsStr>| name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let own = if is_file { part(path.file_stem()) } else { part(path.file_name()) };
    match hub_place(path) {
        Some(HubPlace { repo, .. }) if is_file => format!("{repo} {own}"),
        Some(HubPlace { repo, .. }) => repo,
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_the_hub_is_named_by_its_repository() {
        let of = |path: &str| name(Path::new(path), BaseSource::Folder);
        assert_eq!(of("/x/hub/models--Qwen--Qwen2.5-0.5B/snapshots/abc"), "Qwen/Qwen2.5-0.5B");
        assert_eq!(of("/x/hub/HuggingFaceTB--SmolLM2-135M/snapshots/abc"), "HuggingFaceTB/SmolLM2-135M");
        assert_eq!(of("/x/models/SmolLM2-135M"), "SmolLM2-135M");
        assert_eq!(of("/x/models/Tiny-Q8_0.gguf"), "Tiny-Q8_0");
        assert_eq!(of("/x/hub/a--b/snapshots/abc/b-Q4_K_M.gguf"), "a/b b-Q4_K_M");
        let place = hub_place(Path::new("/x/hub/a--b/snapshots/abc/b-Q4_K_M.gguf")).unwrap();
        assert_eq!((place.repo.as_str(), place.commit.as_str()), ("a/b", "abc"));
        assert_eq!(hub_place(Path::new("/x/snapshots")), None);
    }

    #[test]
    fn modules_say_what_can_carry_an_adapter() {
        let dir = tempfile::tempdir().unwrap();
        let base = tb_data::sample::write_bundled(dir.path()).unwrap().base;
        let config = model_folder::read_config(&base).unwrap();
        let all = modules(&config);
        let q = all.iter().find(|m| m.name == "q_proj").unwrap();
        assert_eq!((q.count as usize, &q.refusal), (config.num_hidden_layers, &None));
        let names: Vec<&str> = all.iter().map(|m| m.name.as_str()).collect();
        assert!(names.ends_with(&["embed_tokens", "lm_head"]) && names.len() == 9, "{names:?}");
    }
}
