//! Deleting a dataset version that nothing refers to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::Dataset,
    ids::{DatasetId, ModelId},
    job::Job,
};
use tb_db::{Page, jobs::JobFilter, lineage::Parent};
use ts_rs::TS;

use crate::{ById, Ctx, found};

/// What was deleted.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct DatasetDeleted {
    /// The version that is gone.
    pub id: DatasetId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
}

pub(crate) async fn remove(ctx: &Ctx, args: ById) -> Result<DatasetDeleted, ApiError> {
    let id: DatasetId = args.parse()?;
    let mut tx = ctx.db().begin().await?;
    let dataset = found::dataset(&mut tx, &id).await?;
    let filter = JobFilter { dataset_id: Some(id.clone()), ..JobFilter::default() };
    let users = tb_db::jobs::list(&mut tx, &filter, &Page::first(100)).await?;
    if let Some(job) = users.first() {
        return Err(in_use(&dataset, job, users.len()));
    }
    let models = tb_db::lineage::children(&mut tx, &Parent::Dataset(id.clone())).await?;
    if let Some(model) = models.first() {
        return Err(learnt(&dataset, model, models.len()));
    }
    // Nothing has learnt from it, so no model's way back to feedback leads through it: the list of its rows goes with it.
    tb_db::dataset_feedback::delete(&mut tx, &id).await?;
    tb_db::datasets::delete(&mut tx, &id).await?;
    tx.commit().await?;
    // The row is gone: a folder that stays is only space, and `storage` counts it.
    let folder = PathBuf::from(&dataset.file_path);
    if folder.starts_with(ctx.home())
        && let Err(error) = std::fs::remove_dir_all(&folder)
    {
        tracing::warn!(path = %folder.display(), %error, "the folder of a deleted dataset is left behind");
    }
    Ok(DatasetDeleted { id, name: dataset.name, version: dataset.version })
}

/// A model's way back to the feedback that it learnt from must not break.
fn learnt(dataset: &Dataset, model: &ModelId, models: usize) -> ApiError {
    let others = if models > 1 { format!(" and {} other versions", models - 1) } else { String::new() };
    ApiError::new(
        ErrorCode::Conflict,
        format!(
            "Nothing was deleted: {} version {} is what {model}{others} learnt from.",
            dataset.name, dataset.version
        ),
    )
    .hint("A dataset stays as long as a model refers to it, so that it can be told what the model learnt from.")
}

/// A run must be able to say for ever what it learnt from.
fn in_use(dataset: &Dataset, job: &Job, jobs: usize) -> ApiError {
    let others = if jobs > 1 { format!(" and {} other jobs", jobs - 1) } else { String::new() };
    ApiError::new(
        ErrorCode::Conflict,
        format!(
            "Nothing was deleted: {} version {} is used by the job '{}' ({}){others}.",
            dataset.name, dataset.version, job.name, job.id
        ),
    )
    .hint("A dataset stays as long as a job refers to it, so that results can be explained.")
}
