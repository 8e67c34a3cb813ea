//! Table `ab_tests`: A/B tests and their latest results.

use tb_core::{
    experiment::{AbTest, AbTestStatus, Arm},
    ids::{AbTestId, ModelId},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "ab_tests";
const SELECT: &str = "SELECT id, name, model_a_id, model_b_id, traffic_split, success_metrics, status, winner, results, revision, \
    created_at_ms, completed_at_ms FROM ab_tests WHERE 1 = 1";

/// Which tests to list; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbTestFilter {
    /// In this state.
    pub status: Option<AbTestStatus>,
    /// With this version in either arm.
    pub model_id: Option<ModelId>,
}

fn read(row: &dyn Columns) -> Result<AbTest> {
    let r = Reader::new(TABLE, row, "id");
    Ok(AbTest {
        id: r.parse("id")?,
        name: r.text("name")?,
        model_a_id: r.parse("model_a_id")?,
        model_b_id: r.parse("model_b_id")?,
        traffic_split: r.float("traffic_split")?,
        success_metrics: r.json("success_metrics")?,
        status: r.parse("status")?,
        winner: r.opt_parse("winner")?,
        results: r.json("results")?,
        revision: r.int("revision")?,
        created_at_ms: r.int("created_at_ms")?,
        completed_at_ms: r.opt_int("completed_at_ms")?,
    })
}

/// Stores a new test as it is.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id exists; [`Error::MissingReference`](crate::Error::MissingReference) if a model
/// does not.
pub async fn insert(tx: &mut Tx, test: &AbTest) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO ab_tests (id, name, model_a_id, model_b_id, traffic_split, success_metrics, status, winner, results, \
         revision, created_at_ms, completed_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .about(&test.id)
    .bind(test.id.as_str())
    .bind(test.name.as_str())
    .bind(test.model_a_id.as_str())
    .bind(test.model_b_id.as_str())
    .bind_finite("traffic_split", test.traffic_split)?
    .bind_json("success_metrics", &test.success_metrics)?
    .bind(test.status.as_str())
    .bind(test.winner.map(Arm::as_str))
    .bind_json("results", &test.results)?
    .bind(test.revision)
    .bind(test.created_at_ms)
    .bind(test.completed_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Stores a changed test, if the stored revision is `test.revision`; gives it back with the revision after the change.
///
/// The models and the time of creation never change and are not written.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if it was changed meanwhile or does not exist.
pub async fn update(tx: &mut Tx, test: &AbTest) -> Result<AbTest> {
    let statement = Statement::new(
        TABLE,
        "UPDATE ab_tests SET name = $1, traffic_split = $2, success_metrics = $3, status = $4, winner = $5, results = $6, \
         completed_at_ms = $7, revision = revision + 1 WHERE id = $8 AND revision = $9",
    )
    .about(&test.id)
    .bind(test.name.as_str())
    .bind_finite("traffic_split", test.traffic_split)?
    .bind_json("success_metrics", &test.success_metrics)?
    .bind(test.status.as_str())
    .bind(test.winner.map(Arm::as_str))
    .bind_json("results", &test.results)?
    .bind(test.completed_at_ms)
    .bind(test.id.as_str())
    .bind(test.revision);
    tx.run_on_seen(statement).await?;
    Ok(AbTest { revision: test.revision + 1, ..test.clone() })
}

/// A test by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &AbTestId) -> Result<Option<AbTest>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// Tests, newest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, filter: &AbTestFilter, page: &Page<AbTestId>) -> Result<Vec<AbTest>> {
    let model = filter.model_id.as_ref().map(ModelId::as_str);
    let mut statement =
        Statement::new(TABLE, SELECT).then_if(" AND status = ", filter.status.map(AbTestStatus::as_str));
    if model.is_some() {
        statement = statement.then_if(" AND (model_a_id = ", model).then_if(" OR model_b_id = ", model).then(")");
    }
    from.into().all(statement.newest_first(page.after.as_ref().map(AbTestId::as_str), page.limit), read).await
}
