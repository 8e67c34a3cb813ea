//! Table `exports`: what left the registry, each with its certificate.

use tb_core::{
    export::Export,
    ids::{ExportId, ModelId},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "exports";
const SELECT: &str = "SELECT id, model_id, path, certificate, created_at_ms FROM exports WHERE 1 = 1";

/// Which exports to list; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportFilter {
    /// Of this model version.
    pub model_id: Option<ModelId>,
}

fn read(row: &dyn Columns) -> Result<Export> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Export {
        id: r.parse("id")?,
        model_id: r.parse("model_id")?,
        path: r.text("path")?,
        certificate: r.json("certificate")?,
        created_at_ms: r.int("created_at_ms")?,
    })
}

/// Stores an export.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id exists; [`Error::MissingReference`](crate::Error::MissingReference) if its
/// model does not.
pub async fn insert(tx: &mut Tx, export: &Export) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO exports (id, model_id, path, certificate, created_at_ms) VALUES ($1, $2, $3, $4, $5)",
    )
    .about(&export.id)
    .bind(export.id.as_str())
    .bind(export.model_id.as_str())
    .bind(export.path.as_str())
    .bind_json("certificate", &export.certificate)?
    .bind(export.created_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Exports, newest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, filter: &ExportFilter, page: &Page<ExportId>) -> Result<Vec<Export>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND model_id = ", filter.model_id.as_ref().map(ModelId::as_str))
        .newest_first(page.after.as_ref().map(ExportId::as_str), page.limit);
    from.into().all(statement, read).await
}
