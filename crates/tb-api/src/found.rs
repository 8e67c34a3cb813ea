//! Looks things up by id and says so if they are not there.

use tb_core::{
    ApiError, ErrorCode,
    dataset::Dataset,
    ids::{DatasetId, JobId, LabelItemId, LabelProjectId, ModelId},
    job::Job,
    labelling::{LabelItem, LabelProject},
    model::Model,
};
use tb_db::Source;

fn or_missing<T>(found: Option<T>, kind: &str, id: &str, list: &str) -> Result<T, ApiError> {
    found.ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, format!("There is no {kind} {id}."))
            .hint(format!("`tonebridge {list} list` shows what there is."))
    })
}

/// A job.
pub(crate) async fn job(from: impl Into<Source<'_>>, id: &JobId) -> Result<Job, ApiError> {
    or_missing(tb_db::jobs::get(from, id).await?, "job", id.as_str(), "job")
}

/// A dataset version.
pub(crate) async fn dataset(from: impl Into<Source<'_>>, id: &DatasetId) -> Result<Dataset, ApiError> {
    or_missing(tb_db::datasets::get(from, id).await?, "dataset", id.as_str(), "data")
}

/// A model version.
pub(crate) async fn model(from: impl Into<Source<'_>>, id: &ModelId) -> Result<Model, ApiError> {
    or_missing(tb_db::models::get(from, id).await?, "model", id.as_str(), "model")
}

/// A labelling project.
pub(crate) async fn project(from: impl Into<Source<'_>>, id: &LabelProjectId) -> Result<LabelProject, ApiError> {
    let found = tb_db::labelling::projects::get(from, id).await?;
    or_missing(found, "labelling project", id.as_str(), "label project")
}

/// An item of a labelling project.
pub(crate) async fn item(from: impl Into<Source<'_>>, id: &LabelItemId) -> Result<LabelItem, ApiError> {
    or_missing(tb_db::labelling::items::get(from, id).await?, "labelling item", id.as_str(), "label project")
}
