//! Table `evaluations`: what evaluations found.

use tb_core::{
    eval::Evaluation,
    ids::{DatasetId, EvalId, JobId, ModelId},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "evaluations";
const SELECT: &str = "SELECT id, job_id, model_id, dataset_id, report, created_at_ms FROM evaluations WHERE 1 = 1";

/// Which evaluations to list; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvaluationFilter {
    /// Done by this job.
    pub job_id: Option<JobId>,
    /// Of this model version.
    pub model_id: Option<ModelId>,
    /// On this dataset.
    pub dataset_id: Option<DatasetId>,
}

fn read(row: &dyn Columns) -> Result<Evaluation> {
    let r = Reader::new(TABLE, row, "id");
    Ok(Evaluation {
        id: r.parse("id")?,
        job_id: r.parse("job_id")?,
        model_id: r.opt_parse("model_id")?,
        dataset_id: r.opt_parse("dataset_id")?,
        report: r.json("report")?,
        created_at_ms: r.int("created_at_ms")?,
    })
}

/// Stores an evaluation.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id exists; [`Error::MissingReference`](crate::Error::MissingReference) if its
/// job, model or dataset does not.
pub async fn insert(tx: &mut Tx, evaluation: &Evaluation) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO evaluations (id, job_id, model_id, dataset_id, report, created_at_ms) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .about(&evaluation.id)
    .bind(evaluation.id.as_str())
    .bind(evaluation.job_id.as_str())
    .bind(evaluation.model_id.as_ref().map(ModelId::as_str))
    .bind(evaluation.dataset_id.as_ref().map(DatasetId::as_str))
    .bind_json("report", &evaluation.report)?
    .bind(evaluation.created_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// An evaluation by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &EvalId) -> Result<Option<Evaluation>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// Evaluations, newest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(
    from: impl Into<Source<'_>>,
    filter: &EvaluationFilter,
    page: &Page<EvalId>,
) -> Result<Vec<Evaluation>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND job_id = ", filter.job_id.as_ref().map(JobId::as_str))
        .then_if(" AND model_id = ", filter.model_id.as_ref().map(ModelId::as_str))
        .then_if(" AND dataset_id = ", filter.dataset_id.as_ref().map(DatasetId::as_str))
        .newest_first(page.after.as_ref().map(EvalId::as_str), page.limit);
    from.into().all(statement, read).await
}
