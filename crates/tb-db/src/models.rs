//! Table `models`: the registry of model versions. Their origins are stored twice: as JSON with the version, and in `lineage`.

use tb_core::{
    ids::{JobId, ModelId},
    model::{Model, ModelStatus},
};

use crate::{
    error::Result,
    lineage::{self, Parent},
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "models";
const SELECT: &str = "SELECT id, training_job_id, name, version, model_type, base_model, path, metrics, status, lineage, files, \
    revision, deployed_at_ms, created_at_ms FROM models WHERE 1 = 1";

/// Which model versions to list; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFilter {
    /// Versions of this name.
    pub name: Option<String>,
    /// In this stage.
    pub status: Option<ModelStatus>,
    /// Of this kind of rewriting.
    pub model_type: Option<String>,
    /// Made by this job.
    pub training_job_id: Option<JobId>,
}

fn read(row: &dyn Columns) -> Result<Model> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Model {
        id: r.parse("id")?,
        training_job_id: r.opt_parse("training_job_id")?,
        name: r.text("name")?,
        version: r.count("version")?,
        model_type: r.text("model_type")?,
        base_model: r.text("base_model")?,
        path: r.text("path")?,
        metrics: r.json("metrics")?,
        status: r.parse("status")?,
        lineage: r.json("lineage")?,
        files: r.json("files")?,
        revision: r.int("revision")?,
        deployed_at_ms: r.opt_int("deployed_at_ms")?,
        created_at_ms: r.int("created_at_ms")?,
    })
}

/// Stores a new model version as it is, and what it was made from.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id, or the name with this version, exists, or another version of the name is in
/// production and this one claims to be; [`Error::MissingReference`](crate::Error::MissingReference) if its job, dataset or
/// parent does not exist.
pub async fn insert(tx: &mut Tx, model: &Model) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO models (id, training_job_id, name, version, model_type, base_model, path, metrics, status, lineage, files, \
         revision, deployed_at_ms, created_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .about(&model.id)
    .bind(model.id.as_str())
    .bind(model.training_job_id.as_ref().map(JobId::as_str))
    .bind(model.name.as_str())
    .bind(model.version)
    .bind(model.model_type.as_str())
    .bind(model.base_model.as_str())
    .bind(model.path.as_str())
    .bind_json("metrics", &model.metrics)?
    .bind(model.status.as_str())
    .bind_json("lineage", &model.lineage)?
    .bind_json("files", &model.files)?
    .bind(model.revision)
    .bind(model.deployed_at_ms)
    .bind(model.created_at_ms);
    tx.run(statement).await?;
    let parents = [
        model.training_job_id.clone().map(Parent::Job),
        model.lineage.dataset_id.clone().map(Parent::Dataset),
        model.lineage.parent.clone().map(Parent::Model),
    ];
    for parent in parents.into_iter().flatten() {
        lineage::insert(tx, &model.id, &parent).await?;
    }
    Ok(())
}

/// Stores a changed version, if the stored revision is `model.revision`; gives it back with the revision after the change.
///
/// Only stage, metrics, path, files and time of deployment change; the rest is not written.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if it was changed meanwhile or does not exist; [`Error::Taken`](crate::Error::Taken) if
/// another version of the name is in production: retire that one first, in the same transaction.
pub async fn update(tx: &mut Tx, model: &Model) -> Result<Model> {
    let statement = Statement::new(
        TABLE,
        "UPDATE models SET path = $1, metrics = $2, status = $3, files = $4, deployed_at_ms = $5, revision = revision + 1 \
         WHERE id = $6 AND revision = $7",
    )
    .about(&model.id)
    .bind(model.path.as_str())
    .bind_json("metrics", &model.metrics)?
    .bind(model.status.as_str())
    .bind_json("files", &model.files)?
    .bind(model.deployed_at_ms)
    .bind(model.id.as_str())
    .bind(model.revision);
    tx.run_on_seen(statement).await?;
    Ok(Model { revision: model.revision + 1, ..model.clone() })
}

/// A model version by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &ModelId) -> Result<Option<Model>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// Model versions, newest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, filter: &ModelFilter, page: &Page<ModelId>) -> Result<Vec<Model>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND name = ", filter.name.as_deref())
        .then_if(" AND status = ", filter.status.map(ModelStatus::as_str))
        .then_if(" AND model_type = ", filter.model_type.as_deref())
        .then_if(" AND training_job_id = ", filter.training_job_id.as_ref().map(JobId::as_str))
        .newest_first(page.after.as_ref().map(ModelId::as_str), page.limit);
    from.into().all(statement, read).await
}

/// The version of a name that is in production.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn production(from: impl Into<Source<'_>>, name: &str) -> Result<Option<Model>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND name = ", Some(name))
        .then_if(" AND status = ", Some(ModelStatus::Production.as_str()));
    from.into().one(statement, read).await
}

/// The version that the next model of a name gets, from 1. Call it in the transaction that inserts.
///
/// # Errors
/// The driver's.
pub async fn next_version(tx: &mut Tx, name: &str) -> Result<u32> {
    let statement =
        Statement::new(TABLE, "SELECT COALESCE(MAX(version), 0) + 1 AS version FROM models WHERE name = $1").bind(name);
    let next = Source::Tx(tx).one(statement, |row| Reader::new(TABLE, row, "version").count("version")).await?;
    Ok(next.unwrap_or(1))
}
