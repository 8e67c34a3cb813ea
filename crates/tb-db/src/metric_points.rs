//! Tables `metric_points` and `eval_points`: the training curves of a job.

use tb_core::{
    ids::JobId,
    run_folder::{EvalPoint, StepPoint},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "metric_points";
const EVAL_TABLE: &str = "eval_points";

fn read(row: &dyn Columns) -> Result<StepPoint> {
    let r = Reader::new(TABLE, row, "job_id");
    Ok(StepPoint {
        step: r.count("step")?,
        epoch: r.float("epoch")?,
        loss: r.float("loss")?,
        grad_norm: r.float("grad_norm")?,
        learning_rate: r.float("learning_rate")?,
        tokens: r.count("tokens")?,
        num_tokens: r.count("num_tokens")?,
        tokens_per_s: r.float("tokens_per_s")?,
        peak_memory_bytes: r.count("peak_memory_bytes")?,
        eta_s: r.float("eta_s")?,
    })
}

fn read_eval(row: &dyn Columns) -> Result<EvalPoint> {
    let r = Reader::new(EVAL_TABLE, row, "job_id");
    Ok(EvalPoint {
        step: r.count("step")?,
        epoch: r.float("epoch")?,
        eval_loss: r.float("eval_loss")?,
        mean_token_accuracy: r.opt_float("mean_token_accuracy")?,
        is_best: r.flag("is_best")?,
    })
}

/// Stores points of a job; a point of a step that is stored already takes its place (a resumed run does steps again).
///
/// # Errors
/// [`Error::Unstorable`](crate::Error::Unstorable) for a number that is not finite;
/// [`Error::MissingReference`](crate::Error::MissingReference) if there is no such job.
pub async fn put(tx: &mut Tx, job: &JobId, points: &[StepPoint]) -> Result<()> {
    for point in points {
        let statement = Statement::new(
            TABLE,
            "INSERT INTO metric_points (job_id, step, epoch, loss, grad_norm, learning_rate, tokens, num_tokens, tokens_per_s, \
             peak_memory_bytes, eta_s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (job_id, step) DO UPDATE SET epoch = excluded.epoch, loss = excluded.loss, \
             grad_norm = excluded.grad_norm, learning_rate = excluded.learning_rate, tokens = excluded.tokens, \
             num_tokens = excluded.num_tokens, tokens_per_s = excluded.tokens_per_s, \
             peak_memory_bytes = excluded.peak_memory_bytes, eta_s = excluded.eta_s",
        )
        .about(format_args!("{job} step {}", point.step))
        .bind(job.as_str())
        .bind_count("step", point.step)?
        .bind_finite("epoch", point.epoch)?
        .bind_finite("loss", point.loss)?
        .bind_finite("grad_norm", point.grad_norm)?
        .bind_finite("learning_rate", point.learning_rate)?
        .bind_count("tokens", point.tokens)?
        .bind_count("num_tokens", point.num_tokens)?
        .bind_finite("tokens_per_s", point.tokens_per_s)?
        .bind_count("peak_memory_bytes", point.peak_memory_bytes)?
        .bind_finite("eta_s", point.eta_s)?;
        tx.run(statement).await?;
    }
    Ok(())
}

/// Stores an evaluation loss of a job; one of the same step is replaced, and a best one takes that mark from the others.
///
/// # Errors
/// As [`put`].
pub async fn put_eval(tx: &mut Tx, job: &JobId, point: &EvalPoint) -> Result<()> {
    if point.is_best {
        let others =
            Statement::new(EVAL_TABLE, "UPDATE eval_points SET is_best = $1 WHERE job_id = $2 AND is_best = $3")
                .about(job)
                .bind(false)
                .bind(job.as_str())
                .bind(true);
        tx.run(others).await?;
    }
    let mut statement = Statement::new(
        EVAL_TABLE,
        "INSERT INTO eval_points (job_id, step, epoch, eval_loss, mean_token_accuracy, is_best) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (job_id, step) DO UPDATE SET epoch = excluded.epoch, eval_loss = excluded.eval_loss, \
         mean_token_accuracy = excluded.mean_token_accuracy, is_best = excluded.is_best",
    )
    .about(format_args!("{job} step {}", point.step))
    .bind(job.as_str())
    .bind_count("step", point.step)?
    .bind_finite("epoch", point.epoch)?
    .bind_finite("eval_loss", point.eval_loss)?;
    statement = match point.mean_token_accuracy {
        Some(accuracy) => statement.bind_finite("mean_token_accuracy", accuracy)?,
        None => statement.bind(Option::<f64>::None),
    };
    tx.run(statement.bind(point.is_best)).await?;
    Ok(())
}

/// The points of a job from a step on, in order of steps: all of them if they are at most `max_points`, else the first, the last,
/// and from each stretch between them the points of lowest and highest loss, so that no spike is lost. 0 gives all.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, job: &JobId, from_step: u64, max_points: u32) -> Result<Vec<StepPoint>> {
    // With a stretch for each point, every point is the lowest of its stretch.
    let stretches =
        if max_points == 0 { i64::from(u32::MAX) } else { i64::from(max_points.saturating_sub(2) / 2).max(1) };
    let statement = Statement::new(
        TABLE,
        "WITH points AS (\
           SELECT job_id, step, epoch, loss, grad_norm, learning_rate, tokens, num_tokens, tokens_per_s, peak_memory_bytes, eta_s, \
           COUNT(*) OVER () AS number, ROW_NUMBER() OVER (ORDER BY step) AS place \
           FROM metric_points WHERE job_id = $1 AND step >= $2), \
         ranked AS (\
           SELECT job_id, step, epoch, loss, grad_norm, learning_rate, tokens, num_tokens, tokens_per_s, peak_memory_bytes, eta_s, \
           number, place, \
           ROW_NUMBER() OVER (PARTITION BY (place - 1) * $3 / number ORDER BY loss, step) AS low, \
           ROW_NUMBER() OVER (PARTITION BY (place - 1) * $3 / number ORDER BY loss DESC, step) AS high FROM points) \
         SELECT job_id, step, epoch, loss, grad_norm, learning_rate, tokens, num_tokens, tokens_per_s, peak_memory_bytes, eta_s \
         FROM ranked WHERE number <= $4 OR low = 1 OR high = 1 OR place = 1 OR place = number ORDER BY step",
    )
    .bind(job.as_str())
    .bind_count("step", from_step)?
    .bind(stretches)
    .bind(if max_points == 0 { i64::MAX } else { i64::from(max_points) });
    from.into().all(statement, read).await
}

/// The evaluation losses of a job, in order of steps.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list_eval(from: impl Into<Source<'_>>, job: &JobId) -> Result<Vec<EvalPoint>> {
    let statement = Statement::new(
        EVAL_TABLE,
        "SELECT job_id, step, epoch, eval_loss, mean_token_accuracy, is_best FROM eval_points WHERE job_id = $1 ORDER BY step",
    )
    .bind(job.as_str());
    from.into().all(statement, read_eval).await
}
