//! Table `deployments`: production's history, one line for each version that was to answer.

use tb_core::{
    deploy::{DeployStatus, Deployment},
    ids::{DeploymentId, ModelId},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "deployments";
const SELECT: &str = "SELECT id, name, model_id, status, previous_id, reason, created_at_ms, live_at_ms, ended_at_ms \
    FROM deployments WHERE 1 = 1";

/// Which deployments to list; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentFilter {
    /// For this model name.
    pub name: Option<String>,
    /// Of this version.
    pub model_id: Option<ModelId>,
    /// In this state.
    pub status: Option<DeployStatus>,
}

fn read(row: &dyn Columns) -> Result<Deployment> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Deployment {
        id: r.parse("id")?,
        name: r.text("name")?,
        model_id: r.parse("model_id")?,
        status: r.parse("status")?,
        previous: r.opt_parse("previous_id")?,
        reason: r.text("reason")?,
        created_at_ms: r.int("created_at_ms")?,
        live_at_ms: r.opt_int("live_at_ms")?,
        ended_at_ms: r.opt_int("ended_at_ms")?,
    })
}

/// Stores a new deployment as it is.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id exists or the name has a live one and this one claims to be;
/// [`Error::MissingReference`](crate::Error::MissingReference) if its model or the one before does not exist.
pub async fn insert(tx: &mut Tx, deployment: &Deployment) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO deployments (id, name, model_id, status, previous_id, reason, created_at_ms, live_at_ms, ended_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .about(&deployment.id)
    .bind(deployment.id.as_str())
    .bind(deployment.name.as_str())
    .bind(deployment.model_id.as_str())
    .bind(deployment.status.as_str())
    .bind(deployment.previous.as_ref().map(DeploymentId::as_str))
    .bind(deployment.reason.as_str())
    .bind(deployment.created_at_ms)
    .bind(deployment.live_at_ms)
    .bind(deployment.ended_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Stores a changed deployment, if the stored state is still `was`. Name, version and time of creation are not written.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if its state is another or it does not exist; [`Error::Taken`](crate::Error::Taken) if it
/// goes live while another one of the name is: end that one first, in the same transaction.
pub async fn update(tx: &mut Tx, deployment: &Deployment, was: DeployStatus) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "UPDATE deployments SET status = $1, previous_id = $2, reason = $3, live_at_ms = $4, ended_at_ms = $5 \
         WHERE id = $6 AND status = $7",
    )
    .about(&deployment.id)
    .bind(deployment.status.as_str())
    .bind(deployment.previous.as_ref().map(DeploymentId::as_str))
    .bind(deployment.reason.as_str())
    .bind(deployment.live_at_ms)
    .bind(deployment.ended_at_ms)
    .bind(deployment.id.as_str())
    .bind(was.as_str());
    tx.run_on_seen(statement).await
}

/// A deployment by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &DeploymentId) -> Result<Option<Deployment>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// The live deployment of a model name.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn live(from: impl Into<Source<'_>>, name: &str) -> Result<Option<Deployment>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND name = ", Some(name))
        .then_if(" AND status = ", Some(DeployStatus::Live.as_str()));
    from.into().one(statement, read).await
}

/// Deployments, newest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(
    from: impl Into<Source<'_>>,
    filter: &DeploymentFilter,
    page: &Page<DeploymentId>,
) -> Result<Vec<Deployment>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND name = ", filter.name.as_deref())
        .then_if(" AND model_id = ", filter.model_id.as_ref().map(ModelId::as_str))
        .then_if(" AND status = ", filter.status.map(DeployStatus::as_str))
        .newest_first(page.after.as_ref().map(DeploymentId::as_str), page.limit);
    from.into().all(statement, read).await
}
