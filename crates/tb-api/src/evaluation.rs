//! Evaluation: measure a model on held-out rows.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::{ColumnMapping, SplitName},
    eval::Evaluation,
    ids::{DatasetId, ModelId},
    job::{Job, JobKind},
    recipe::Dtype,
    run_folder::{DataSource, Decoding, EvaluateTask, KeepItems, Task},
};
use tb_db::{Page, evaluations::EvaluationFilter};
use tb_jobs::NewJob;
use ts_rs::TS;

use crate::{Ctx, commands::Nothing, datasets, found, models, training::file};

/// Arguments of `eval_start`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct StartEval {
    /// A registered model version; or name a base model.
    #[serde(default)]
    pub model_id: Option<ModelId>,
    /// Folder of a base model.
    #[serde(default)]
    pub base_model: Option<PathBuf>,
    /// Folder of an adapter on it.
    #[serde(default)]
    pub adapter: Option<PathBuf>,
    /// The dataset version whose test rows are used (its validation rows if it has no test rows).
    #[serde(default)]
    pub dataset_id: Option<DatasetId>,
    /// A plain file instead.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// How its columns are read; found from the rows if none.
    #[serde(default)]
    pub mapping: Option<ColumnMapping>,
    /// Metrics by name; empty takes all that the rows allow.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Rows to measure at most; 0 takes all.
    #[serde(default)]
    pub limit: u32,
    /// Rows generated at once.
    #[serde(default)]
    pub batch_size: Option<u32>,
    /// How to decode.
    #[serde(default)]
    pub decoding: Decoding,
    /// The device; the first that is there if none.
    #[serde(default)]
    pub device: Option<String>,
}

/// The names that `metrics` accepts.
const METRICS: &[&str] = &["chrf", "bleu", "rouge_l", "exact_match", "edit", "slot_accuracy", "perplexity"];

/// The task of an evaluation, checked: for the queue, and for one-shot use by the command line.
///
/// # Errors
/// Missing or double sources, folders or files that are not there, unknown metrics.
pub async fn task(ctx: &Ctx, args: &StartEval) -> Result<(EvaluateTask, String), ApiError> {
    if let Some(unknown) = args.metrics.iter().find(|m| !METRICS.contains(&m.as_str())) {
        return Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!("Nothing was measured: there is no metric '{unknown}'."),
        )
        .hint(format!("Use some of {}.", METRICS.join(", "))));
    }
    let (model, name) =
        models::source(ctx, args.model_id.as_ref(), args.base_model.as_deref(), args.adapter.as_deref()).await?;
    let data = match (&args.dataset_id, &args.data) {
        (Some(id), None) => {
            let dataset = found::dataset(ctx.db(), id).await?;
            let path = datasets::split_file(&dataset, SplitName::Test)
                .or_else(|_| datasets::split_file(&dataset, SplitName::Validation))?;
            DataSource { path, mapping: None }
        }
        (None, Some(path)) => DataSource { path: file(path)?, mapping: args.mapping.clone() },
        (Some(_), Some(_)) | (None, None) => {
            return Err(ApiError::new(
                ErrorCode::InvalidArgument,
                "Nothing was measured: name either a dataset or a file.",
            ));
        }
    };
    let task = EvaluateTask {
        model,
        data,
        metrics: args.metrics.clone(),
        limit: args.limit,
        decoding: args.decoding.clone(),
        batch_size: args.batch_size.unwrap_or(16),
        dtype: if ctx.settings().fp16_training { Dtype::Auto } else { Dtype::F32 },
        keep_items: KeepItems::Yes,
    };
    Ok((task, name))
}

pub(crate) async fn start(ctx: &Ctx, args: StartEval) -> Result<Job, ApiError> {
    let (task, name) = task(ctx, &args).await?;
    Ok(ctx
        .jobs()
        .submit(NewJob {
            name: format!("evaluate {name}"),
            kind: JobKind::Evaluate,
            model_type: "evaluation".into(),
            base_model: task.model.base.to_string_lossy().into_owned(),
            dataset_id: args.dataset_id,
            model_id: args.model_id,
            hyperparameters: ctx.settings().hyperparameters(),
            task: Task::Evaluate(task),
            device: args.device,
        })
        .await?)
}

pub(crate) async fn list(ctx: &Ctx, _: Nothing) -> Result<Vec<Evaluation>, ApiError> {
    Ok(tb_db::evaluations::list(ctx.db(), &EvaluationFilter::default(), &Page::first(1000)).await?)
}
