//! Base models on this machine: the sample's, the folders under `models/`, and those that a job has used.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tb_core::{ApiError, ErrorCode, decoder_config::DecoderConfig};
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
    /// Training runs that started from it.
    pub runs: u32,
}

/// How a base model came to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum BaseSource {
    /// It came with the program.
    Sample,
    /// It lies in the folder of models.
    Folder,
    /// A job has used it.
    Used,
}

/// What the database knows of base folders.
struct Known {
    runs: BTreeMap<String, u32>,
    hashes: BTreeMap<String, String>,
}

async fn known(ctx: &Ctx) -> Result<Known, ApiError> {
    let mut runs = BTreeMap::new();
    for job in tb_db::jobs::list(ctx.db(), &JobFilter::default(), &Page::first(10_000)).await? {
        let counts = u32::from(job.kind == tb_core::job::JobKind::Train);
        *runs.entry(job.base_model).or_insert(0) += counts;
    }
    let models = tb_db::models::list(ctx.db(), &ModelFilter::default(), &Page::first(10_000)).await?;
    let hashes = models.into_iter().map(|m| (m.base_model, m.lineage.base_sha256)).filter(|(_, h)| !h.is_empty());
    Ok(Known { runs, hashes: hashes.collect() })
}

pub(crate) async fn list(ctx: &Ctx, _: Nothing) -> Result<Vec<BaseModel>, ApiError> {
    let known = known(ctx).await?;
    let home = ctx.home().to_owned();
    blocking(move || {
        let mut folders: BTreeMap<PathBuf, BaseSource> =
            known.runs.keys().map(|path| (PathBuf::from(path), BaseSource::Used)).collect();
        folders.extend(below(&home.join(MODELS)).into_iter().map(|path| (path, BaseSource::Folder)));
        folders.extend(hub::downloaded(&home.join(DOWNLOADS)).into_iter().map(|(_, path)| (path, BaseSource::Folder)));
        let sample = home.join("sample");
        folders.extend(below(&sample).into_iter().map(|path| (path.join("base"), BaseSource::Sample)));
        // What cannot be used any more is left out here; `base_inspect` says why.
        let mut bases: Vec<BaseModel> =
            folders.into_iter().filter_map(|(path, source)| look(&path, source, &known).ok()).collect();
        bases.sort_by(|a, b| b.runs.cmp(&a.runs).then_with(|| a.path.cmp(&b.path)));
        Ok(bases)
    })
    .await
}

pub(crate) async fn inspect(ctx: &Ctx, args: InspectBase) -> Result<BaseModel, ApiError> {
    let known = known(ctx).await?;
    let home = ctx.home().to_owned();
    blocking(move || {
        let path = std::path::absolute(&args.path).unwrap_or_else(|_| args.path.clone());
        if !path.exists() {
            return Err(ApiError::new(ErrorCode::NotFound, format!("{} does not exist.", args.path.display()))
                .hint("Name the folder of a model in the Hugging Face layout, or a GGUF file."));
        }
        let source = if path.starts_with(home.join("sample")) {
            BaseSource::Sample
        } else if path.starts_with(home.join(MODELS)) {
            BaseSource::Folder
        } else {
            BaseSource::Used
        };
        look(&path, source, &known)
    })
    .await
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
        BaseSource::Folder | BaseSource::Used => model_folder::licence(path),
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
        runs: known.runs.get(&shown).copied().unwrap_or(0),
        path: shown,
    })
}

/// The folder's name; of a snapshot in a hub cache (`[models--]owner--name/snapshots/<commit>`) the repository's.
fn name(path: &Path, source: BaseSource) -> String {
    if source == BaseSource::Sample {
        return "tone-base".into();
    }
    let part = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let in_cache = path.parent().is_some_and(|p| part(p) == "snapshots");
    let repository = path.ancestors().nth(2).filter(|_| in_cache).map(part);
    repository.map_or_else(|| part(path), |r| r.strip_prefix("models--").unwrap_or(&r).replacen("--", "/", 1))
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
    }
}
