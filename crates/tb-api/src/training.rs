//! Training: checks a form and puts the run into the queue.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tb_core::{
    ApiError, ErrorCode,
    dataset::{ColumnMapping, Dataset, RowShape, SplitName},
    ids::{DatasetId, ModelId},
    job::{Job, JobKind},
    recipe::{BadHyperparameter, Hyperparameters, Method},
    run_folder::{DataSource, ModelSource, Task, TrainTask},
};
use tb_data::gguf;
use tb_jobs::NewJob;
use ts_rs::TS;

use crate::{Ctx, datasets, found};

/// Arguments of `job_start`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct StartJob {
    /// A name for people; it also names the model. The data's name if none.
    #[serde(default)]
    pub name: Option<String>,
    /// How to teach.
    #[serde(default)]
    pub method: Option<Method>,
    /// The kind of rewriting, such as `tone_adjustment`.
    #[serde(default)]
    pub model_type: Option<String>,
    /// Folder of the base model; not needed with `model_id`.
    #[serde(default)]
    pub base_model: Option<PathBuf>,
    /// Folder of an adapter to continue from.
    #[serde(default)]
    pub adapter: Option<PathBuf>,
    /// A registered model version to continue from.
    #[serde(default)]
    pub model_id: Option<ModelId>,
    /// The dataset version to learn from.
    #[serde(default)]
    pub dataset_id: Option<DatasetId>,
    /// A plain file to learn from instead.
    #[serde(default)]
    pub data: Option<PathBuf>,
    /// A plain file of held-out rows, with `data`.
    #[serde(default)]
    pub eval_data: Option<PathBuf>,
    /// How the columns of the plain files are read; found from the rows if none.
    #[serde(default)]
    pub mapping: Option<ColumnMapping>,
    /// Hyperparameters that differ from the settings' defaults, by name; text or the value itself.
    #[serde(default)]
    #[ts(type = "Record<string, unknown>")]
    pub hyperparameters: Map<String, Value>,
    /// The device, such as `cpu`; the first that is there if none.
    #[serde(default)]
    pub device: Option<String>,
}

/// A form with everything looked up and checked: what a run would be.
pub(crate) struct Resolved {
    /// The task of the run folder.
    pub task: TrainTask,
    /// A name for people.
    pub name: String,
    /// The frozen dataset that the rows come from.
    pub dataset: Option<Dataset>,
}

/// Looks up and checks what a form names.
///
/// # Errors
/// What is missing, double, out of range or not there; nothing is started then.
pub(crate) async fn resolve(ctx: &Ctx, args: &StartJob) -> Result<Resolved, ApiError> {
    let hyperparameters = hyperparameters(ctx, &args.hyperparameters)?;
    let method = args.method.unwrap_or(Method::Sft);
    let (base, adapter) = match &args.model_id {
        Some(id) => {
            let model = found::model(ctx.db(), id).await?;
            let source = model.source();
            (source.base, source.adapter)
        }
        None => (args.base_model.clone().ok_or_else(|| missing("base model", "--model DIR"))?, args.adapter.clone()),
    };
    let model = ModelSource { base: base_model(&base)?, adapter: None };
    let model = match adapter {
        Some(path) => ModelSource { adapter: Some(folder(&path, "adapter_config.json")?), ..model },
        None => model,
    };
    let (data, eval_data, data_name, dataset) = match (&args.dataset_id, &args.data) {
        (Some(_), Some(_)) => {
            return Err(ApiError::new(
                ErrorCode::InvalidArgument,
                "No run was started: name a dataset or a file, not both.",
            ));
        }
        (Some(id), None) => {
            let dataset = found::dataset(ctx.db(), id).await?;
            fits(method, &dataset)?;
            let source = |name| Some(DataSource { path: datasets::split_file(&dataset, name).ok()?, mapping: None });
            let train = DataSource { path: datasets::split_file(&dataset, SplitName::Train)?, mapping: None };
            (train, source(SplitName::Validation), dataset.name.clone(), Some(dataset))
        }
        (None, Some(path)) => {
            let source = |path: &Path| -> Result<DataSource, ApiError> {
                Ok(DataSource { path: file(path)?, mapping: args.mapping.clone() })
            };
            let eval = args.eval_data.as_deref().map(source).transpose()?;
            let stem = path.file_stem().map_or_else(|| "data".into(), |s| s.to_string_lossy().into_owned());
            (source(path)?, eval, stem, None)
        }
        (None, None) => return Err(missing("data", "--data FILE")),
    };
    let task = TrainTask { method, model, data, eval_data, hyperparameters };
    Ok(Resolved { task, name: args.name.clone().unwrap_or(data_name), dataset })
}

pub(crate) async fn start(ctx: &Ctx, args: StartJob) -> Result<Job, ApiError> {
    let Resolved { task, name, .. } = resolve(ctx, &args).await?;
    Ok(ctx
        .jobs()
        .submit(NewJob {
            name,
            kind: JobKind::Train,
            model_type: args.model_type.unwrap_or_else(|| "tone_adjustment".into()),
            base_model: task.model.base.to_string_lossy().into_owned(),
            dataset_id: args.dataset_id,
            model_id: args.model_id,
            hyperparameters: task.hyperparameters.clone(),
            task: Task::Train(Box::new(task)),
            device: args.device,
        })
        .await?)
}

/// Whether a method can learn from a dataset's rows.
///
/// # Errors
/// Rows that need a method which this program does not have.
fn fits(method: Method, dataset: &Dataset) -> Result<(), ApiError> {
    let (rows, made_for) = match (method, dataset.shape) {
        (Method::Sft | Method::Pretrain, RowShape::Text | RowShape::Messages | RowShape::PromptCompletion) => {
            return Ok(());
        }
        (Method::Sft | Method::Pretrain, RowShape::Preference) => {
            ("a better and a worse answer", "preference optimisation (DPO, ORPO) or a reward model")
        }
        (Method::Sft | Method::Pretrain, RowShape::Unpaired) => ("an answer that is good or bad", "KTO"),
    };
    let Dataset { name, version, .. } = dataset;
    Err(ApiError::new(
        ErrorCode::InvalidArgument,
        format!(
            "No run was started: each row of {name} version {version} is a prompt with {rows}, made for {made_for}, and {method} \
             cannot learn from it."
        ),
    )
    .hint("Choose a dataset of prompts and completions; of feedback, build one for sft."))
}

fn hyperparameters(ctx: &Ctx, changes: &Map<String, Value>) -> Result<Hyperparameters, ApiError> {
    let mut all = ctx.settings().hyperparameters();
    for (key, value) in changes {
        all.set(key, &as_text(value)).map_err(refused)?;
    }
    Ok(all)
}

/// A value of a form as the command line writes it.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(|i| i.as_str().map_or_else(|| i.to_string(), String::from)).collect::<Vec<_>>().join(",")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn refused(error: BadHyperparameter) -> ApiError {
    let hint = match &error {
        BadHyperparameter::UnknownKey { .. } => "`tonebridge settings fields` lists every setting with its range.",
        BadHyperparameter::BadValue { .. }
        | BadHyperparameter::OutOfRange { .. }
        | BadHyperparameter::Both { .. }
        | BadHyperparameter::Needs { .. } => "",
    };
    ApiError::new(ErrorCode::InvalidArgument, format!("No run was started: {error}.")).hint(hint)
}

fn missing(what: &str, option: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, format!("No run was started: no {what} is named."))
        .hint(format!("Name it with {option}."))
}

/// A folder that holds `marker`, as an absolute path.
pub(crate) fn folder(path: &Path, marker: &str) -> Result<PathBuf, ApiError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if absolute.join(marker).is_file() {
        return Ok(absolute);
    }
    let why = if absolute.is_dir() { format!("has no {marker}") } else { "is no folder".to_owned() };
    Err(ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was started: {} {why}.", path.display()))
        .hint("Name the folder of a model in the Hugging Face layout."))
}

/// A base model, the folder of one or a GGUF file, as an absolute path.
///
/// # Errors
/// Neither.
pub(crate) fn base_model(path: &Path) -> Result<PathBuf, ApiError> {
    if gguf::is_gguf(path) {
        return Ok(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    }
    folder(path, "config.json")
        .map_err(|e| e.hint("Name the folder of a model in the Hugging Face layout, or a GGUF file."))
}

/// A file that exists, as an absolute path.
pub(crate) fn file(path: &Path) -> Result<PathBuf, ApiError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if absolute.is_file() {
        return Ok(absolute);
    }
    Err(ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was started: {} is no file.", path.display())))
}
