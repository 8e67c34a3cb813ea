//! Table `dataset_feedback`: which feedback rows a dataset version was made of, and, through `lineage`, who learnt from them.

use tb_core::ids::{DatasetId, FeedbackId, ModelId};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "dataset_feedback";
/// Rows of one statement: far below what SQLite (32766) and PostgreSQL (65535) take in values.
const AT_ONCE: usize = 1000;

/// A dataset or model version by id and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version<I> {
    /// Its id.
    pub id: I,
    /// Its name.
    pub name: String,
    /// Its version of the name.
    pub version: u32,
}

/// Something that learnt from rows that were withdrawn since, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// A dataset's or model's id.
    pub id: String,
    /// Withdrawn rows.
    pub withdrawn: u64,
}

/// How many rows, and how many of them are withdrawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Rows.
    pub rows: u64,
    /// Withdrawn ones.
    pub withdrawn: u64,
}

fn read_version<I: std::str::FromStr<Err: std::fmt::Display>>(row: &dyn Columns) -> Result<Version<I>> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Version { id: r.parse("id")?, name: r.text("name")?, version: r.count("version")? })
}

fn read_mark(row: &dyn Columns) -> Result<Marked> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Marked { id: r.text("id")?, withdrawn: r.count("withdrawn")? })
}

/// Stores that a dataset version was made of these rows, each named once.
///
/// # Errors
/// [`Error::MissingReference`](crate::Error::MissingReference) if the dataset or a row does not exist,
/// [`Error::Taken`](crate::Error::Taken) if one is named twice.
pub async fn insert(tx: &mut Tx, dataset: &DatasetId, rows: &[FeedbackId]) -> Result<()> {
    for some in rows.chunks(AT_ONCE) {
        let statement = Statement::new(TABLE, "INSERT INTO dataset_feedback (dataset_id, feedback_id)")
            .about(dataset)
            .then_values(dataset.as_str(), some.iter().map(FeedbackId::as_str));
        tx.run(statement).await?;
    }
    Ok(())
}

/// Forgets what a dataset version was made of; to be called before the version itself is deleted, when nothing has learnt from it.
///
/// # Errors
/// The driver's.
pub async fn delete(tx: &mut Tx, dataset: &DatasetId) -> Result<()> {
    let statement = Statement::new(TABLE, "DELETE FROM dataset_feedback WHERE dataset_id = $1");
    tx.run(statement.about(dataset).bind(dataset.as_str())).await?;
    Ok(())
}

/// Dataset versions made of feedback that a model version learnt from, itself or any version that it continues from; in order of
/// ids.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn datasets_of_model(from: impl Into<Source<'_>>, model: &ModelId) -> Result<Vec<Version<DatasetId>>> {
    let statement = Statement::new(
        TABLE,
        "WITH RECURSIVE origin (id) AS (SELECT id FROM models WHERE id = $1 \
         UNION SELECT l.parent_id FROM lineage l JOIN origin o ON l.child_id = o.id WHERE l.parent_kind = 'model') \
         SELECT DISTINCT d.id, d.name, d.version FROM origin o JOIN lineage l ON l.child_id = o.id AND l.parent_kind = 'dataset' \
         JOIN datasets d ON d.id = l.parent_id \
         WHERE EXISTS (SELECT 1 FROM dataset_feedback f WHERE f.dataset_id = d.id) ORDER BY d.id",
    );
    from.into().all(statement.bind(model.as_str()), read_version).await
}

/// Dataset versions that hold a row; in order of ids.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn datasets_with(from: impl Into<Source<'_>>, row: &FeedbackId) -> Result<Vec<Version<DatasetId>>> {
    let statement = Statement::new(
        TABLE,
        "SELECT d.id, d.name, d.version FROM dataset_feedback f JOIN datasets d ON d.id = f.dataset_id WHERE f.feedback_id = $1 \
         ORDER BY d.id",
    );
    from.into().all(statement.bind(row.as_str()), read_version).await
}

/// Model versions that learnt from a row: trained on a dataset version that holds it, or continued from one that was; in order of ids.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn models_with(from: impl Into<Source<'_>>, row: &FeedbackId) -> Result<Vec<Version<ModelId>>> {
    let statement = Statement::new(
        TABLE,
        "WITH RECURSIVE learnt (id) AS (SELECT l.child_id FROM dataset_feedback f \
         JOIN lineage l ON l.parent_kind = 'dataset' AND l.parent_id = f.dataset_id WHERE f.feedback_id = $1 \
         UNION SELECT l.child_id FROM lineage l JOIN learnt t ON l.parent_id = t.id WHERE l.parent_kind = 'model') \
         SELECT m.id, m.name, m.version FROM learnt t JOIN models m ON m.id = t.id ORDER BY m.id",
    );
    from.into().all(statement.bind(row.as_str()), read_version).await
}

/// How many rows these dataset versions were made of; one that several hold counts once.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn count(from: impl Into<Source<'_>>, datasets: &[DatasetId]) -> Result<RowCounts> {
    if datasets.is_empty() {
        return Ok(RowCounts::default());
    }
    let statement = Statement::new(
        TABLE,
        "SELECT COUNT(*) AS num, COUNT(r.withdrawn_at_ms) AS withdrawn FROM feedback r WHERE r.id IN \
         (SELECT f.feedback_id FROM dataset_feedback f WHERE",
    )
    .then_in(" f.dataset_id IN ", datasets.iter().map(DatasetId::as_str))
    .then(")");
    let counts = from.into().one(statement, |row| {
        let r = Reader::new(TABLE, row, "num");
        Ok(RowCounts { rows: r.count("num")?, withdrawn: r.count("withdrawn")? })
    });
    Ok(counts.await?.unwrap_or_default())
}

/// The newest rows that these dataset versions were made of.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn newest(from: impl Into<Source<'_>>, datasets: &[DatasetId], limit: u32) -> Result<Vec<FeedbackId>> {
    if datasets.is_empty() {
        return Ok(Vec::new());
    }
    let statement = Statement::new(
        TABLE,
        "SELECT r.id FROM feedback r WHERE r.id IN (SELECT f.feedback_id FROM dataset_feedback f WHERE",
    )
    .then_in(" f.dataset_id IN ", datasets.iter().map(DatasetId::as_str))
    .then_if(") ORDER BY r.created_at_ms DESC, r.id DESC LIMIT ", Some(limit));
    from.into().all(statement, |row| Reader::new(TABLE, row, "id").parse("id")).await
}

/// Dataset versions that hold withdrawn rows, in order of ids.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn marked_datasets(from: impl Into<Source<'_>>) -> Result<Vec<Marked>> {
    let statement = Statement::new(
        TABLE,
        "SELECT f.dataset_id AS id, COUNT(*) AS withdrawn FROM feedback r JOIN dataset_feedback f ON f.feedback_id = r.id \
         WHERE r.withdrawn_at_ms IS NOT NULL GROUP BY f.dataset_id ORDER BY f.dataset_id",
    );
    from.into().all(statement, read_mark).await
}

/// Model versions that learnt from withdrawn rows, themselves or through a version that they continue from, in order of ids; a row
/// that reached a model on several ways counts once.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn marked_models(from: impl Into<Source<'_>>) -> Result<Vec<Marked>> {
    // Datasets reach models first, rows last: there are few of the former and may be many of the latter.
    let statement = Statement::new(
        TABLE,
        "WITH RECURSIVE learnt (dataset_id, id) AS (SELECT l.parent_id, l.child_id FROM lineage l \
         WHERE l.parent_kind = 'dataset' AND l.parent_id IN (SELECT f.dataset_id FROM feedback r \
         JOIN dataset_feedback f ON f.feedback_id = r.id WHERE r.withdrawn_at_ms IS NOT NULL) \
         UNION SELECT t.dataset_id, l.child_id FROM lineage l JOIN learnt t ON l.parent_id = t.id WHERE l.parent_kind = 'model') \
         SELECT t.id, COUNT(DISTINCT f.feedback_id) AS withdrawn FROM feedback r \
         JOIN dataset_feedback f ON f.feedback_id = r.id JOIN learnt t ON t.dataset_id = f.dataset_id \
         WHERE r.withdrawn_at_ms IS NOT NULL GROUP BY t.id ORDER BY t.id",
    );
    from.into().all(statement, read_mark).await
}
