//! The registry: versions, their stages, their page.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::Dataset,
    eval::Evaluation,
    export::Export,
    ids::ModelId,
    job::Job,
    model::{Model, ModelAction, ModelStatus},
    run_folder::{FileHash, ModelSource},
};
use tb_db::{Page, evaluations::EvaluationFilter, exports::ExportFilter, models::ModelFilter};
use ts_rs::TS;

use crate::{
    ById, Ctx, found, reports,
    training::{base_model, folder},
};

/// Arguments of `model_list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub struct ListModels {
    /// Only versions of this name.
    pub name: Option<String>,
    /// Only versions in this stage.
    pub status: Option<ModelStatus>,
}

/// A model version with all that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct ModelPage {
    /// The version.
    pub model: Model,
    /// Its evaluations, newest first.
    pub evaluations: Vec<Evaluation>,
    /// Its exports with their certificates, newest first.
    pub exports: Vec<Export>,
    /// Its card, in Markdown.
    pub card: String,
    /// Its files with sizes and hashes, relative to the run folder.
    pub files: Vec<FileHash>,
    /// The job that made it.
    pub job: Option<Job>,
    /// The dataset that it learnt from.
    pub dataset: Option<Dataset>,
}

pub(crate) async fn list(ctx: &Ctx, args: ListModels) -> Result<Vec<Model>, ApiError> {
    let filter = ModelFilter { name: args.name, status: args.status, ..ModelFilter::default() };
    Ok(tb_db::models::list(ctx.db(), &filter, &Page::first(1000)).await?)
}

pub(crate) async fn get(ctx: &Ctx, args: ById) -> Result<ModelPage, ApiError> {
    let id: ModelId = args.parse()?;
    let model = found::model(ctx.db(), &id).await?;
    let filter = EvaluationFilter { model_id: Some(id), ..EvaluationFilter::default() };
    let evaluations = tb_db::evaluations::list(ctx.db(), &filter, &Page::first(100)).await?;
    let exports = ExportFilter { model_id: Some(model.id.clone()) };
    let exports = tb_db::exports::list(ctx.db(), &exports, &Page::first(100)).await?;
    let job = match &model.training_job_id {
        Some(id) => tb_db::jobs::get(ctx.db(), id).await?,
        None => None,
    };
    let dataset = match &model.lineage.dataset_id {
        Some(id) => tb_db::datasets::get(ctx.db(), id).await?,
        None => None,
    };
    let card = reports::card(&model, job.as_ref(), dataset.as_ref(), &evaluations);
    Ok(ModelPage { evaluations, exports, card, files: model.files.clone(), job, dataset, model })
}

pub(crate) async fn stage(ctx: &Ctx, args: ById) -> Result<Model, ApiError> {
    act(ctx, &args, ModelAction::Stage).await
}

pub(crate) async fn archive(ctx: &Ctx, args: ById) -> Result<Model, ApiError> {
    act(ctx, &args, ModelAction::Archive).await
}

pub(crate) async fn restore(ctx: &Ctx, args: ById) -> Result<Model, ApiError> {
    act(ctx, &args, ModelAction::Restore).await
}

/// The files of the model that arguments name, and its name for people: a registered version, or a base with or without an adapter.
pub(crate) async fn source(
    ctx: &Ctx,
    model_id: Option<&ModelId>,
    base: Option<&Path>,
    adapter: Option<&Path>,
) -> Result<(ModelSource, String), ApiError> {
    match (model_id, base, adapter) {
        (Some(id), None, None) => {
            let model = found::model(ctx.db(), id).await?;
            let found = model.source();
            let source = ModelSource {
                base: base_model(&found.base)?,
                adapter: found.adapter.map(|adapter| folder(&adapter, "adapter_config.json")).transpose()?,
            };
            Ok((source, format!("{} v{}", model.name, model.version)))
        }
        (None, Some(base), adapter) => {
            let adapter = adapter.map(|a| folder(a, "adapter_config.json")).transpose()?;
            let shown = adapter.as_deref().unwrap_or(base);
            let name = shown.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned());
            Ok((ModelSource { base: base_model(base)?, adapter }, name))
        }
        (Some(_), _, _) | (None, None, _) => Err(ApiError::new(
            ErrorCode::InvalidArgument,
            "Nothing was started: name either a registered model or the folder of a base model.",
        )),
    }
}

async fn act(ctx: &Ctx, args: &ById, action: ModelAction) -> Result<Model, ApiError> {
    let id: ModelId = args.parse()?;
    let mut tx = ctx.db().begin().await?;
    let mut model = found::model(&mut tx, &id).await?;
    model.status = model.status.next(action)?;
    let model = tb_db::models::update(&mut tx, &model).await?;
    tx.commit().await?;
    Ok(model)
}
