//! Table `base_folders`: base models that were named by hand. What they are is read from their files each time.

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "base_folders";

fn read(row: &dyn Columns) -> Result<String> {
    Reader::new(TABLE, row, "path").text("path")
}

/// Keeps a folder or GGUF file; one that is kept already stays as it is.
///
/// # Errors
/// The driver's.
pub async fn put(tx: &mut Tx, path: &str, added_at_ms: i64) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO base_folders (path, added_at_ms) VALUES ($1, $2) ON CONFLICT (path) DO NOTHING",
    )
    .about(path)
    .bind(path)
    .bind(added_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Forgets a folder or file; one that is not kept is no error.
///
/// # Errors
/// The driver's.
pub async fn delete(tx: &mut Tx, path: &str) -> Result<()> {
    tx.run(Statement::new(TABLE, "DELETE FROM base_folders WHERE path = $1").about(path).bind(path)).await?;
    Ok(())
}

/// All of them, in the order in which they were named.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>) -> Result<Vec<String>> {
    let statement = Statement::new(TABLE, "SELECT path FROM base_folders ORDER BY added_at_ms, path");
    from.into().all(statement, read).await
}
