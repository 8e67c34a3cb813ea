//! Table `events`: the numbered stream of changes that everything follows.

use tb_core::{
    event::{Event, EventBody},
    ids::JobId,
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "events";
const SELECT: &str = "SELECT seq, at_ms, body FROM events WHERE 1 = 1";

fn read(row: &dyn Columns) -> Result<Event> {
    let r = Reader::new(TABLE, row, "seq");
    Ok(Event { seq: r.int("seq")?, at_ms: r.int("at_ms")?, body: r.json("body")? })
}

fn read_number(row: &dyn Columns) -> Result<i64> {
    Reader::new(TABLE, row, "seq").int("seq")
}

/// The job that an event is about.
fn job_of(body: &EventBody) -> Option<&JobId> {
    match body {
        EventBody::Job { job } => Some(&job.id),
        EventBody::Points { job_id, .. } | EventBody::EvalPoint { job_id, .. } | EventBody::Run { job_id, .. } => {
            Some(job_id)
        }
        EventBody::Deployment { .. } | EventBody::Experiment { .. } | EventBody::Stale { .. } => None,
    }
}

/// Adds an event; its number follows the last one's without a gap, in the order of commits.
///
/// # Errors
/// [`Error::Unstorable`](crate::Error::Unstorable) if it holds a number that is not finite.
pub async fn append(tx: &mut Tx, at_ms: i64, body: &EventBody) -> Result<Event> {
    let seq = tx.next_number(TABLE).await?;
    let statement = Statement::new(TABLE, "INSERT INTO events (seq, at_ms, job_id, body) VALUES ($1, $2, $3, $4)")
        .about(seq)
        .bind(seq)
        .bind(at_ms)
        .bind(job_of(body).map(JobId::as_str))
        .bind_json("body", body)?;
    tx.run(statement).await?;
    Ok(Event { seq, at_ms, body: body.clone() })
}

/// The events after number `seq`, oldest first, at most `limit`.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn after(from: impl Into<Source<'_>>, seq: i64, limit: u32) -> Result<Vec<Event>> {
    let statement =
        Statement::new(TABLE, SELECT).then_if(" AND seq > ", Some(seq)).then_if(" ORDER BY seq LIMIT ", Some(limit));
    from.into().all(statement, read).await
}

/// The events of one job after number `seq`, oldest first, at most `limit`.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn of_job(from: impl Into<Source<'_>>, job: &JobId, seq: i64, limit: u32) -> Result<Vec<Event>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND job_id = ", Some(job.as_str()))
        .then_if(" AND seq > ", Some(seq))
        .then_if(" ORDER BY seq LIMIT ", Some(limit));
    from.into().all(statement, read).await
}

/// The number of the last event, 0 before the first.
///
/// # Errors
/// The driver's.
pub async fn last_seq(from: impl Into<Source<'_>>) -> Result<i64> {
    let statement = Statement::new(TABLE, "SELECT value AS seq FROM counters WHERE name = 'events'");
    Ok(from.into().one(statement, read_number).await?.unwrap_or(0))
}

/// The number of the oldest event that is kept; none if none is. Who followed up to an earlier one must read anew.
///
/// # Errors
/// The driver's.
pub async fn first_seq(from: impl Into<Source<'_>>) -> Result<Option<i64>> {
    let statement = Statement::new(TABLE, "SELECT seq FROM events ORDER BY seq LIMIT 1");
    from.into().one(statement, read_number).await
}

/// Deletes the events with numbers below `seq`; numbers are never used again. Gives how many.
///
/// # Errors
/// The driver's.
pub async fn forget_before(tx: &mut Tx, seq: i64) -> Result<u64> {
    tx.run(Statement::new(TABLE, "DELETE FROM events WHERE seq < $1").bind(seq)).await
}
