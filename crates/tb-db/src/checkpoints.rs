//! Table `checkpoints`: which checkpoints of a job are whole on disk. The files are tb-data's.

use serde::{Deserialize, Serialize};
use tb_core::ids::JobId;
use ts_rs::TS;

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "checkpoints";

/// A checkpoint of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Checkpoint {
    /// The job.
    pub job_id: JobId,
    /// Steps finished.
    #[ts(type = "number")]
    pub step: u64,
    /// Its folder, relative to the run folder.
    pub path: String,
    /// Its size.
    #[ts(type = "number")]
    pub size_bytes: u64,
    /// Whether it has the job's lowest evaluation loss.
    pub is_best: bool,
    /// When it was written.
    #[ts(type = "number")]
    pub created_at_ms: i64,
}

fn read(row: &dyn Columns) -> Result<Checkpoint> {
    let r = Reader::new(TABLE, row, "job_id");
    Ok(Checkpoint {
        job_id: r.parse("job_id")?,
        step: r.count("step")?,
        path: r.text("path")?,
        size_bytes: r.count("size_bytes")?,
        is_best: r.flag("is_best")?,
        created_at_ms: r.int("created_at_ms")?,
    })
}

/// Stores a checkpoint; one of the same step is replaced, and a best one takes that mark from the others.
///
/// # Errors
/// [`Error::MissingReference`](crate::Error::MissingReference) if there is no such job.
pub async fn put(tx: &mut Tx, checkpoint: &Checkpoint) -> Result<()> {
    let job = &checkpoint.job_id;
    if checkpoint.is_best {
        let others = Statement::new(TABLE, "UPDATE checkpoints SET is_best = $1 WHERE job_id = $2 AND is_best = $3")
            .about(job)
            .bind(false)
            .bind(job.as_str())
            .bind(true);
        tx.run(others).await?;
    }
    let statement = Statement::new(
        TABLE,
        "INSERT INTO checkpoints (job_id, step, path, size_bytes, is_best, created_at_ms) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (job_id, step) DO UPDATE SET path = excluded.path, size_bytes = excluded.size_bytes, \
         is_best = excluded.is_best, created_at_ms = excluded.created_at_ms",
    )
    .about(format_args!("{job} step {}", checkpoint.step))
    .bind(job.as_str())
    .bind_count("step", checkpoint.step)?
    .bind(checkpoint.path.as_str())
    .bind_count("size_bytes", checkpoint.size_bytes)?
    .bind(checkpoint.is_best)
    .bind(checkpoint.created_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Forgets a checkpoint that was deleted from disk; one that is not stored is no error.
///
/// # Errors
/// The driver's.
pub async fn delete(tx: &mut Tx, job: &JobId, step: u64) -> Result<()> {
    let statement = Statement::new(TABLE, "DELETE FROM checkpoints WHERE job_id = $1 AND step = $2")
        .about(format_args!("{job} step {step}"))
        .bind(job.as_str())
        .bind_count("step", step)?;
    tx.run(statement).await?;
    Ok(())
}

/// The checkpoints of a job, in order of steps.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, job: &JobId) -> Result<Vec<Checkpoint>> {
    let statement = Statement::new(
        TABLE,
        "SELECT job_id, step, path, size_bytes, is_best, created_at_ms FROM checkpoints WHERE job_id = $1 ORDER BY step",
    )
    .bind(job.as_str());
    from.into().all(statement, read).await
}
