//! Table `run_lines`: the story of a run as its worker told it, one row per line of `events.jsonl` that belongs to it.

use tb_core::{ids::JobId, run_folder::RunEvent};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "run_lines";

fn read(row: &dyn Columns) -> Result<RunEvent> {
    let r = Reader::new(TABLE, row, "job_id");
    Ok(RunEvent { n: r.count("n")?, at_ms: r.int("at_ms")?, body: r.json("body")? })
}

/// Stores a line; a line of the same number is replaced.
///
/// # Errors
/// [`Error::MissingReference`](crate::Error::MissingReference) if there is no such job;
/// [`Error::Unstorable`](crate::Error::Unstorable) if it holds a number that is not finite.
pub async fn put(tx: &mut Tx, job: &JobId, line: &RunEvent) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO run_lines (job_id, n, at_ms, body) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (job_id, n) DO UPDATE SET at_ms = excluded.at_ms, body = excluded.body",
    )
    .about(format_args!("{job} line {}", line.n))
    .bind(job.as_str())
    .bind_count("n", line.n)?
    .bind(line.at_ms)
    .bind_json("body", &line.body)?;
    tx.run(statement).await?;
    Ok(())
}

/// The lines of a run, in order.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, job: &JobId) -> Result<Vec<RunEvent>> {
    let statement = Statement::new(TABLE, "SELECT job_id, n, at_ms, body FROM run_lines WHERE job_id = $1 ORDER BY n")
        .bind(job.as_str());
    from.into().all(statement, read).await
}
