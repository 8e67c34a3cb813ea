//! Table `access_tokens`: keys of users for their scripts. Of what a holder shows only the digest is stored.

use tb_core::{
    ids::{TokenId, UserId},
    user::AccessToken,
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "access_tokens";
const SELECT: &str =
    "SELECT id, user_id, name, created_at_ms, last_used_at_ms, expires_at_ms FROM access_tokens WHERE 1 = 1";

fn read(row: &dyn Columns) -> Result<AccessToken> {
    let r = Reader::new(TABLE, row, "id");
    Ok(AccessToken {
        id: r.parse("id")?,
        user_id: r.parse("user_id")?,
        name: r.text("name")?,
        created_at_ms: r.int("created_at_ms")?,
        last_used_at_ms: r.opt_int("last_used_at_ms")?,
        expires_at_ms: r.opt_int("expires_at_ms")?,
    })
}

/// Stores a new token with the digest of what its holder will show.
///
/// # Errors
/// [`Error::MissingReference`](crate::Error::MissingReference) if there is no such user,
/// [`Error::Taken`](crate::Error::Taken) if the id or the digest exists.
pub async fn insert(tx: &mut Tx, token: &AccessToken, digest: &str) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO access_tokens (id, user_id, name, digest, created_at_ms, last_used_at_ms, expires_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .about(&token.id)
    .bind(token.id.as_str())
    .bind(token.user_id.as_str())
    .bind(token.name.as_str())
    .bind(digest)
    .bind(token.created_at_ms)
    .bind(token.last_used_at_ms)
    .bind(token.expires_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Notes that a token was used; one that is gone is no error.
///
/// # Errors
/// The driver's.
pub async fn set_used(tx: &mut Tx, id: &TokenId, at_ms: i64) -> Result<()> {
    let statement = Statement::new(TABLE, "UPDATE access_tokens SET last_used_at_ms = $1 WHERE id = $2")
        .about(id)
        .bind(at_ms)
        .bind(id.as_str());
    tx.run(statement).await?;
    Ok(())
}

/// Deletes a token.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if it is gone already.
pub async fn delete(tx: &mut Tx, id: &TokenId) -> Result<()> {
    tx.run_on_seen(Statement::new(TABLE, "DELETE FROM access_tokens WHERE id = $1").about(id).bind(id.as_str())).await
}

/// Deletes every token of a user.
///
/// # Errors
/// The driver's.
pub async fn delete_of(tx: &mut Tx, user_id: &UserId) -> Result<()> {
    let statement =
        Statement::new(TABLE, "DELETE FROM access_tokens WHERE user_id = $1").about(user_id).bind(user_id.as_str());
    tx.run(statement).await?;
    Ok(())
}

/// A token by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &TokenId) -> Result<Option<AccessToken>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// A token by the digest of what was shown.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn by_digest(from: impl Into<Source<'_>>, digest: &str) -> Result<Option<AccessToken>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND digest = ", Some(digest)), read).await
}

/// The tokens of a user, or of all, oldest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, user_id: Option<&UserId>) -> Result<Vec<AccessToken>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND user_id = ", user_id.map(UserId::as_str))
        .then(" ORDER BY created_at_ms, id");
    from.into().all(statement, read).await
}
