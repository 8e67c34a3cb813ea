//! Table `browser_sessions`: the browsers in which users are signed in. Of a browser's cookie only the digest is stored.

use tb_core::{
    ids::{SessionId, UserId},
    user::Session,
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "browser_sessions";
const SELECT: &str =
    "SELECT id, user_id, user_agent, created_at_ms, last_used_at_ms, expires_at_ms FROM browser_sessions WHERE 1 = 1";

fn read(row: &dyn Columns) -> Result<Session> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Session {
        id: r.parse("id")?,
        user_id: r.parse("user_id")?,
        user_agent: r.text("user_agent")?,
        created_at_ms: r.int("created_at_ms")?,
        last_used_at_ms: r.int("last_used_at_ms")?,
        expires_at_ms: r.int("expires_at_ms")?,
    })
}

/// Stores a new session with the digest of its cookie.
///
/// # Errors
/// [`Error::MissingReference`](crate::Error::MissingReference) if there is no such user,
/// [`Error::Taken`](crate::Error::Taken) if the id or the digest exists.
pub async fn insert(tx: &mut Tx, session: &Session, digest: &str) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO browser_sessions (id, user_id, digest, user_agent, created_at_ms, last_used_at_ms, expires_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .about(&session.id)
    .bind(session.id.as_str())
    .bind(session.user_id.as_str())
    .bind(digest)
    .bind(session.user_agent.as_str())
    .bind(session.created_at_ms)
    .bind(session.last_used_at_ms)
    .bind(session.expires_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Notes that a session was used, and when it now ends; one that is gone is no error.
///
/// # Errors
/// The driver's.
pub async fn set_used(tx: &mut Tx, id: &SessionId, at_ms: i64, expires_at_ms: i64) -> Result<()> {
    let statement =
        Statement::new(TABLE, "UPDATE browser_sessions SET last_used_at_ms = $1, expires_at_ms = $2 WHERE id = $3")
            .about(id)
            .bind(at_ms)
            .bind(expires_at_ms)
            .bind(id.as_str());
    tx.run(statement).await?;
    Ok(())
}

/// Deletes a session.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if it is gone already.
pub async fn delete(tx: &mut Tx, id: &SessionId) -> Result<()> {
    tx.run_on_seen(Statement::new(TABLE, "DELETE FROM browser_sessions WHERE id = $1").about(id).bind(id.as_str()))
        .await
}

/// Deletes the sessions of a user; `but` stays.
///
/// # Errors
/// The driver's.
pub async fn delete_of(tx: &mut Tx, user_id: &UserId, but: Option<&SessionId>) -> Result<()> {
    let statement = Statement::new(TABLE, "DELETE FROM browser_sessions WHERE user_id = $1")
        .about(user_id)
        .bind(user_id.as_str())
        .then_if(" AND id <> ", but.map(SessionId::as_str));
    tx.run(statement).await?;
    Ok(())
}

/// Deletes what has ended by itself.
///
/// # Errors
/// The driver's.
pub async fn delete_expired(tx: &mut Tx, now_ms: i64) -> Result<()> {
    tx.run(Statement::new(TABLE, "DELETE FROM browser_sessions WHERE expires_at_ms <= $1").bind(now_ms)).await?;
    Ok(())
}

/// A session by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &SessionId) -> Result<Option<Session>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// A session by the digest of its cookie.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn by_digest(from: impl Into<Source<'_>>, digest: &str) -> Result<Option<Session>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND digest = ", Some(digest)), read).await
}

/// The sessions of a user, or of all, newest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, user_id: Option<&UserId>) -> Result<Vec<Session>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND user_id = ", user_id.map(UserId::as_str))
        .then(" ORDER BY created_at_ms DESC, id DESC");
    from.into().all(statement, read).await
}
