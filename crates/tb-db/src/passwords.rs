//! Table `passwords`: the hash of each user's password, as a PHC string. Read only to compare; no other table's rows carry it.

use tb_core::ids::UserId;

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "passwords";

fn hash(row: &dyn Columns) -> Result<String> {
    Reader::new(TABLE, row, "user_id").text("hash")
}

fn user(row: &dyn Columns) -> Result<UserId> {
    Reader::new(TABLE, row, "user_id").parse("user_id")
}

/// Stores the hash of a user's password in place of the one before.
///
/// # Errors
/// [`Error::MissingReference`](crate::Error::MissingReference) if there is no such user.
pub async fn put(tx: &mut Tx, user_id: &UserId, hash: &str, at_ms: i64) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO passwords (user_id, hash, changed_at_ms) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at_ms = excluded.changed_at_ms",
    )
    .about(user_id)
    .bind(user_id.as_str())
    .bind(hash)
    .bind(at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// The hash of a user's password; none if they have no password.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, user_id: &UserId) -> Result<Option<String>> {
    let statement = Statement::new(TABLE, "SELECT user_id, hash FROM passwords WHERE 1 = 1")
        .then_if(" AND user_id = ", Some(user_id.as_str()));
    from.into().one(statement, hash).await
}

/// Who has a password.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn holders(from: impl Into<Source<'_>>) -> Result<Vec<UserId>> {
    from.into().all(Statement::new(TABLE, "SELECT user_id FROM passwords ORDER BY user_id"), user).await
}
