//! Table `training_jobs` (with `job_models`): jobs and their queue.

use tb_core::{
    ids::{DatasetId, JobId, ModelId},
    job::{Job, JobKind, JobStatus},
};

use crate::{
    error::{Error, Result},
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "training_jobs";
const SELECT: &str = "SELECT id, kind, name, model_type, base_model, dataset_id, job_models.model_id AS model_id, status, config, \
    hyperparameters, progress, metrics, error_message, device, run_dir, queue_rank, version, created_at_ms, started_at_ms, \
    completed_at_ms FROM training_jobs LEFT JOIN job_models ON job_models.job_id = training_jobs.id WHERE 1 = 1";
const IN_QUEUE_ORDER: &str = " ORDER BY queue_rank, created_at_ms, id";

/// Which jobs to list; what is empty or none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Any of these states.
    pub statuses: Vec<JobStatus>,
    /// This kind.
    pub kind: Option<JobKind>,
    /// That read this dataset.
    pub dataset_id: Option<DatasetId>,
    /// That measure this model or continue from it.
    pub model_id: Option<ModelId>,
}

fn read(row: &dyn Columns) -> Result<Job> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Job {
        id: r.parse("id")?,
        kind: r.parse("kind")?,
        name: r.text("name")?,
        model_type: r.text("model_type")?,
        base_model: r.text("base_model")?,
        dataset_id: r.opt_parse("dataset_id")?,
        model_id: r.opt_parse("model_id")?,
        status: r.parse("status")?,
        config: r.json("config")?,
        hyperparameters: r.json("hyperparameters")?,
        progress: r.float("progress")?,
        metrics: r.json("metrics")?,
        error_message: r.opt_text("error_message")?,
        device: r.opt_text("device")?,
        run_dir: r.text("run_dir")?,
        queue_rank: r.int("queue_rank")?,
        version: r.int("version")?,
        created_at_ms: r.int("created_at_ms")?,
        started_at_ms: r.opt_int("started_at_ms")?,
        completed_at_ms: r.opt_int("completed_at_ms")?,
    })
}

/// Stores a new job as it is.
///
/// # Errors
/// [`Error::Taken`] if the id exists; [`Error::MissingReference`] if its dataset or model does not.
pub async fn insert(tx: &mut Tx, job: &Job) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO training_jobs (id, kind, name, model_type, base_model, dataset_id, status, config, hyperparameters, progress, \
         metrics, error_message, device, run_dir, queue_rank, version, created_at_ms, started_at_ms, completed_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    )
    .about(&job.id)
    .bind(job.id.as_str())
    .bind(job.kind.as_str())
    .bind(job.name.as_str())
    .bind(job.model_type.as_str())
    .bind(job.base_model.as_str())
    .bind(job.dataset_id.as_ref().map(DatasetId::as_str))
    .bind(job.status.as_str())
    .bind_json("config", &job.config)?
    .bind_json("hyperparameters", &job.hyperparameters)?
    .bind_finite("progress", job.progress)?
    .bind_json("metrics", &job.metrics)?
    .bind(job.error_message.as_deref())
    .bind(job.device.as_deref())
    .bind(job.run_dir.as_str())
    .bind(job.queue_rank)
    .bind(job.version)
    .bind(job.created_at_ms)
    .bind(job.started_at_ms)
    .bind(job.completed_at_ms);
    tx.run(statement).await?;
    if let Some(model) = &job.model_id {
        let link = Statement::new(TABLE, "INSERT INTO job_models (job_id, model_id) VALUES ($1, $2)")
            .about(&job.id)
            .bind(job.id.as_str())
            .bind(model.as_str());
        tx.run(link).await?;
    }
    Ok(())
}

/// Stores a changed job, if the stored version is `job.version`; gives it back with the version after the change.
///
/// Id, kind, model type, base model, dataset, model and time of creation never change and are not written.
///
/// # Errors
/// [`Error::Stale`] if the job was changed meanwhile or does not exist.
pub async fn update(tx: &mut Tx, job: &Job) -> Result<Job> {
    let statement = Statement::new(
        TABLE,
        "UPDATE training_jobs SET name = $1, status = $2, config = $3, hyperparameters = $4, progress = $5, metrics = $6, \
         error_message = $7, device = $8, run_dir = $9, queue_rank = $10, started_at_ms = $11, completed_at_ms = $12, \
         version = version + 1 WHERE id = $13 AND version = $14",
    )
    .about(&job.id)
    .bind(job.name.as_str())
    .bind(job.status.as_str())
    .bind_json("config", &job.config)?
    .bind_json("hyperparameters", &job.hyperparameters)?
    .bind_finite("progress", job.progress)?
    .bind_json("metrics", &job.metrics)?
    .bind(job.error_message.as_deref())
    .bind(job.device.as_deref())
    .bind(job.run_dir.as_str())
    .bind(job.queue_rank)
    .bind(job.started_at_ms)
    .bind(job.completed_at_ms)
    .bind(job.id.as_str())
    .bind(job.version);
    tx.run_on_seen(statement).await?;
    Ok(Job { version: job.version + 1, ..job.clone() })
}

/// A job by its id.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &JobId) -> Result<Option<Job>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// Jobs, newest first.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn list(from: impl Into<Source<'_>>, filter: &JobFilter, page: &Page<JobId>) -> Result<Vec<Job>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_in(" AND status IN ", filter.statuses.iter().map(|s| s.as_str()))
        .then_if(" AND kind = ", filter.kind.map(JobKind::as_str))
        .then_if(" AND dataset_id = ", filter.dataset_id.as_ref().map(DatasetId::as_str))
        .then_if(" AND job_models.model_id = ", filter.model_id.as_ref().map(ModelId::as_str))
        .newest_first(page.after.as_ref().map(JobId::as_str), page.limit);
    from.into().all(statement, read).await
}

/// Every job in the queue, the next one first.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn pending(from: impl Into<Source<'_>>) -> Result<Vec<Job>> {
    let statement =
        Statement::new(TABLE, SELECT).then_if(" AND status = ", Some(JobStatus::Pending.as_str())).then(IN_QUEUE_ORDER);
    from.into().all(statement, read).await
}

/// The first job in the queue that may run on a device: one that names this device, or none.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn next_pending(from: impl Into<Source<'_>>, device: &str) -> Result<Option<Job>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND status = ", Some(JobStatus::Pending.as_str()))
        .then_if(" AND (device IS NULL OR device = ", Some(device))
        .then(")")
        .then(IN_QUEUE_ORDER)
        .then(" LIMIT 1");
    from.into().one(statement, read).await
}

/// Every job that a worker holds, in the order in which they were taken.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn running(from: impl Into<Source<'_>>) -> Result<Vec<Job>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND status = ", Some(JobStatus::Running.as_str()))
        .then(" ORDER BY started_at_ms, id");
    from.into().all(statement, read).await
}

/// The highest place in the queue, 0 if there is no job: a new one goes after it.
///
/// # Errors
/// The driver's.
pub async fn last_rank(from: impl Into<Source<'_>>) -> Result<i64> {
    let statement = Statement::new(TABLE, "SELECT COALESCE(MAX(queue_rank), 0) AS queue_rank FROM training_jobs");
    let rank = from.into().one(statement, |row| Reader::new(TABLE, row, "queue_rank").int("queue_rank")).await?;
    Ok(rank.unwrap_or(0))
}

/// A job that must exist and be at `version`, for the beginning of a change.
///
/// # Errors
/// [`Error::Stale`] if it is gone or was changed meanwhile.
pub async fn get_at(tx: &mut Tx, id: &JobId, version: i64) -> Result<Job> {
    match get(&mut *tx, id).await? {
        Some(job) if job.version == version => Ok(job),
        Some(_) | None => Err(Error::Stale { table: TABLE, id: id.to_string() }),
    }
}
