//! Table `lineage`: which model versions came from which job, dataset or other version.

use serde::{Deserialize, Serialize};
use tb_core::ids::{DatasetId, JobId, ModelId};
use ts_rs::TS;

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "lineage";

/// What a model version was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Parent {
    /// It learnt from this dataset.
    Dataset(DatasetId),
    /// Training continued from this version.
    Model(ModelId),
    /// This job made it.
    Job(JobId),
}

impl Parent {
    fn kind(&self) -> &'static str {
        match self {
            Self::Dataset(_) => "dataset",
            Self::Model(_) => "model",
            Self::Job(_) => "job",
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Dataset(id) => id.as_str(),
            Self::Model(id) => id.as_str(),
            Self::Job(id) => id.as_str(),
        }
    }
}

fn read_parent(row: &dyn Columns) -> Result<Parent> {
    let r = Reader::new(TABLE, row, "child_id");
    match r.text("parent_kind")?.as_str() {
        "dataset" => Ok(Parent::Dataset(r.parse("parent_id")?)),
        "model" => Ok(Parent::Model(r.parse("parent_id")?)),
        "job" => Ok(Parent::Job(r.parse("parent_id")?)),
        other => r.checked("parent_kind", Err(format!("'{other}' is not dataset, model or job"))),
    }
}

/// Stores one origin of a model version.
pub(crate) async fn insert(tx: &mut Tx, child: &ModelId, parent: &Parent) -> Result<()> {
    let only = |kind| (parent.kind() == kind).then(|| parent.id());
    let statement = Statement::new(
        TABLE,
        "INSERT INTO lineage (child_id, parent_kind, parent_id, dataset_id, model_id, job_id) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .about(child)
    .bind(child.as_str())
    .bind(parent.kind())
    .bind(parent.id())
    .bind(only("dataset"))
    .bind(only("model"))
    .bind(only("job"));
    tx.run(statement).await?;
    Ok(())
}

/// What a model version was made from.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn parents(from: impl Into<Source<'_>>, child: &ModelId) -> Result<Vec<Parent>> {
    let statement = Statement::new(
        TABLE,
        "SELECT child_id, parent_kind, parent_id FROM lineage WHERE child_id = $1 ORDER BY parent_kind, parent_id",
    )
    .bind(child.as_str());
    from.into().all(statement, read_parent).await
}

/// The model versions made from something, in order of their ids.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn children(from: impl Into<Source<'_>>, parent: &Parent) -> Result<Vec<ModelId>> {
    let statement = Statement::new(
        TABLE,
        "SELECT child_id FROM lineage WHERE parent_kind = $1 AND parent_id = $2 ORDER BY child_id",
    )
    .bind(parent.kind())
    .bind(parent.id());
    from.into().all(statement, |row| Reader::new(TABLE, row, "child_id").parse("child_id")).await
}
