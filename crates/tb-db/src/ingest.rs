//! Table `ingest_cursors`: how far the event lines of each run folder are stored.

use tb_core::ids::JobId;

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::Reader,
    statement::Statement,
};

const TABLE: &str = "ingest_cursors";

/// The number of the last stored event line of a job's run folder, 0 before the first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn cursor(from: impl Into<Source<'_>>, job: &JobId) -> Result<u64> {
    let statement =
        Statement::new(TABLE, "SELECT job_id, last_event FROM ingest_cursors WHERE job_id = $1").bind(job.as_str());
    let stored = from.into().one(statement, |row| Reader::new(TABLE, row, "job_id").count("last_event")).await?;
    Ok(stored.unwrap_or(0))
}

/// Moves the cursor on, in the transaction that stores the lines: so each line is stored once.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if it is at this line or beyond: someone else has stored it.
pub async fn set_cursor(tx: &mut Tx, job: &JobId, last_event: u64) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO ingest_cursors (job_id, last_event) VALUES ($1, $2) \
         ON CONFLICT (job_id) DO UPDATE SET last_event = excluded.last_event \
         WHERE ingest_cursors.last_event < excluded.last_event",
    )
    .about(job)
    .bind(job.as_str())
    .bind_count("last_event", last_event)?;
    tx.run_on_seen(statement).await
}
