//! Table `audit_log`: who changed what. Lines are added, never changed or deleted.

use serde::{Deserialize, Serialize};
use tb_core::audit::AuditEntry;
use ts_rs::TS;

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "audit_log";
const SELECT: &str = "SELECT seq, at_ms, actor, command, subject, arguments FROM audit_log WHERE 1 = 1";

/// A stored line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct AuditLine {
    /// Its number: grows by 1 without a gap.
    #[ts(type = "number")]
    pub seq: i64,
    /// What it says.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Which lines to list; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// What this actor did.
    pub actor: Option<String>,
    /// What was done to this thing, by its id.
    pub subject: Option<String>,
    /// What this command did.
    pub command: Option<String>,
}

fn read(row: &dyn Columns) -> Result<AuditLine> {
    let r = Reader::new(TABLE, row, "seq");
    Ok(AuditLine {
        seq: r.int("seq")?,
        entry: AuditEntry {
            at_ms: r.int("at_ms")?,
            actor: r.text("actor")?,
            command: r.text("command")?,
            subject: r.text("subject")?,
            arguments: r.json("arguments")?,
        },
    })
}

/// Adds a line, in the transaction of the change that it tells about.
///
/// # Errors
/// The driver's.
pub async fn append(tx: &mut Tx, entry: &AuditEntry) -> Result<AuditLine> {
    let seq = tx.next_number(TABLE).await?;
    let statement = Statement::new(
        TABLE,
        "INSERT INTO audit_log (seq, at_ms, actor, command, subject, arguments) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .about(seq)
    .bind(seq)
    .bind(entry.at_ms)
    .bind(entry.actor.as_str())
    .bind(entry.command.as_str())
    .bind(entry.subject.as_str())
    .bind_json("arguments", &entry.arguments)?;
    tx.run(statement).await?;
    Ok(AuditLine { seq, entry: entry.clone() })
}

/// Lines, newest first; a page goes on after a number.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, filter: &AuditFilter, page: &Page<i64>) -> Result<Vec<AuditLine>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND actor = ", filter.actor.as_deref())
        .then_if(" AND subject = ", filter.subject.as_deref())
        .then_if(" AND command = ", filter.command.as_deref())
        .then_if(" AND seq < ", page.after)
        .then_if(" ORDER BY seq DESC LIMIT ", Some(page.limit));
    from.into().all(statement, read).await
}
