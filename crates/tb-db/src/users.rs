//! Table `users`: who may do what.

use tb_core::{
    ids::UserId,
    user::{Role, User},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "users";
const SELECT: &str = "SELECT id, name, role, created_at_ms, disabled_at_ms, last_seen_at_ms FROM users WHERE 1 = 1";

fn read(row: &dyn Columns) -> Result<User> {
    let r = Reader::new(TABLE, row, "id");
    Ok(User {
        id: r.parse("id")?,
        name: r.text("name")?,
        role: r.parse("role")?,
        created_at_ms: r.int("created_at_ms")?,
        disabled_at_ms: r.opt_int("disabled_at_ms")?,
        last_seen_at_ms: r.opt_int("last_seen_at_ms")?,
    })
}

/// Stores a new user.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id or the name exists.
pub async fn insert(tx: &mut Tx, user: &User) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO users (id, name, role, created_at_ms, disabled_at_ms, last_seen_at_ms) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .about(&user.id)
    .bind(user.id.as_str())
    .bind(user.name.as_str())
    .bind(user.role.as_str())
    .bind(user.created_at_ms)
    .bind(user.disabled_at_ms)
    .bind(user.last_seen_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Gives a user another role, if it is still `was`.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if the role was changed meanwhile or there is no such user.
pub async fn set_role(tx: &mut Tx, id: &UserId, was: Role, role: Role) -> Result<()> {
    let statement = Statement::new(TABLE, "UPDATE users SET role = $1 WHERE id = $2 AND role = $3")
        .about(id)
        .bind(role.as_str())
        .bind(id.as_str())
        .bind(was.as_str());
    tx.run_on_seen(statement).await
}

/// Gives a user another name.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if another has it, [`Error::Stale`](crate::Error::Stale) if there is no such user.
pub async fn rename(tx: &mut Tx, id: &UserId, name: &str) -> Result<()> {
    let statement =
        Statement::new(TABLE, "UPDATE users SET name = $1 WHERE id = $2").about(id).bind(name).bind(id.as_str());
    tx.run_on_seen(statement).await
}

/// Shuts a user out from `at_ms` on, or lets them in again.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if there is no such user.
pub async fn set_disabled(tx: &mut Tx, id: &UserId, at_ms: Option<i64>) -> Result<()> {
    let statement = Statement::new(TABLE, "UPDATE users SET disabled_at_ms = $1 WHERE id = $2")
        .about(id)
        .bind(at_ms)
        .bind(id.as_str());
    tx.run_on_seen(statement).await
}

/// Notes that a user was there.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if there is no such user.
pub async fn set_seen(tx: &mut Tx, id: &UserId, at_ms: i64) -> Result<()> {
    let statement = Statement::new(TABLE, "UPDATE users SET last_seen_at_ms = $1 WHERE id = $2")
        .about(id)
        .bind(at_ms)
        .bind(id.as_str());
    tx.run_on_seen(statement).await
}

/// A user by their id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &UserId) -> Result<Option<User>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// A user by their name.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn by_name(from: impl Into<Source<'_>>, name: &str) -> Result<Option<User>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND name = ", Some(name)), read).await
}

/// Every user, in order of names.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>) -> Result<Vec<User>> {
    from.into().all(Statement::new(TABLE, SELECT).then(" ORDER BY name"), read).await
}
