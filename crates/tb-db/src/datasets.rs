//! Table `datasets`: dataset versions. A version is frozen: rows are added, never changed.

use tb_core::{dataset::Dataset, ids::DatasetId};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "datasets";
const SELECT: &str = "SELECT id, name, version, description, type, file_path, format, size_mb, num_samples, splits, num_problems, \
    shape, mapping, sha256, created_at_ms FROM datasets WHERE 1 = 1";

fn read(row: &dyn Columns) -> Result<Dataset> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Dataset {
        id: r.parse("id")?,
        name: r.text("name")?,
        version: r.count("version")?,
        description: r.text("description")?,
        dataset_type: r.parse("type")?,
        file_path: r.text("file_path")?,
        format: r.parse("format")?,
        size_mb: r.float("size_mb")?,
        num_samples: r.count("num_samples")?,
        splits: r.json("splits")?,
        num_problems: r.count("num_problems")?,
        shape: r.parse("shape")?,
        mapping: r.json("mapping")?,
        sha256: r.text("sha256")?,
        created_at_ms: r.int("created_at_ms")?,
    })
}

/// Stores a new dataset version.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id, or the name with this version, exists.
pub async fn insert(tx: &mut Tx, dataset: &Dataset) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO datasets (id, name, version, description, type, file_path, format, size_mb, num_samples, splits, \
         num_problems, shape, mapping, sha256, created_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .about(&dataset.id)
    .bind(dataset.id.as_str())
    .bind(dataset.name.as_str())
    .bind(dataset.version)
    .bind(dataset.description.as_str())
    .bind(dataset.dataset_type.as_str())
    .bind(dataset.file_path.as_str())
    .bind(dataset.format.as_str())
    .bind_finite("size_mb", dataset.size_mb)?
    .bind_count("num_samples", dataset.num_samples)?
    .bind_json("splits", &dataset.splits)?
    .bind_count("num_problems", dataset.num_problems)?
    .bind(dataset.shape.as_str())
    .bind_json("mapping", &dataset.mapping)?
    .bind(dataset.sha256.as_str())
    .bind(dataset.created_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// A dataset version by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &DatasetId) -> Result<Option<Dataset>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// Dataset versions, newest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, page: &Page<DatasetId>) -> Result<Vec<Dataset>> {
    let statement = Statement::new(TABLE, SELECT).newest_first(page.after.as_ref().map(DatasetId::as_str), page.limit);
    from.into().all(statement, read).await
}

/// Every version of a name, the latest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn by_name(from: impl Into<Source<'_>>, name: &str) -> Result<Vec<Dataset>> {
    let statement = Statement::new(TABLE, SELECT).then_if(" AND name = ", Some(name)).then(" ORDER BY version DESC");
    from.into().all(statement, read).await
}

/// The version with these contents, the latest if there are several: the same file imported again need not be stored again.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn by_sha256(from: impl Into<Source<'_>>, name: &str, sha256: &str) -> Result<Option<Dataset>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND sha256 = ", Some(sha256))
        .then_if(" AND name = ", Some(name))
        .then(" ORDER BY version DESC LIMIT 1");
    from.into().one(statement, read).await
}

/// The version that the next dataset of a name gets, from 1. Call it in the transaction that inserts.
///
/// # Errors
/// The driver's.
pub async fn next_version(tx: &mut Tx, name: &str) -> Result<u32> {
    let statement =
        Statement::new(TABLE, "SELECT COALESCE(MAX(version), 0) + 1 AS version FROM datasets WHERE name = $1")
            .bind(name);
    let next = Source::Tx(tx).one(statement, |row| Reader::new(TABLE, row, "version").count("version")).await?;
    Ok(next.unwrap_or(1))
}

/// Deletes a version; one that is not stored is no error.
///
/// # Errors
/// [`Error::MissingReference`](crate::Error::MissingReference) while a job, a model or an evaluation refers to it.
pub async fn delete(tx: &mut Tx, id: &DatasetId) -> Result<()> {
    let statement = Statement::new(TABLE, "DELETE FROM datasets WHERE id = $1").about(id).bind(id.as_str());
    tx.run(statement).await?;
    Ok(())
}
