//! Jobs: list, show, control, and their curves. Their page, their log and the line that repeats them are in `jobs/`.

pub(crate) mod command_line;
pub(crate) mod log;
pub(crate) mod page;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    event::Event,
    ids::JobId,
    job::{Job, JobKind, JobStatus},
    run_folder::{EvalPoint, StepPoint},
};
use tb_db::{Page, jobs::JobFilter};
use ts_rs::TS;

use crate::{Ctx, found};

/// Arguments of a command on one thing.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ById {
    /// Its id.
    pub id: String,
}

impl ById {
    /// The id as the kind that the command wants.
    ///
    /// # Errors
    /// `invalid_argument`, saying what an id of this kind looks like.
    pub(crate) fn parse<T: FromStr>(&self) -> Result<T, ApiError>
    where
        T::Err: std::fmt::Display,
    {
        self.id.parse().map_err(|e: T::Err| ApiError::new(ErrorCode::InvalidArgument, format!("{e}.")))
    }
}

/// Arguments of `job_list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub struct ListJobs {
    /// Only jobs in this state.
    pub status: Option<JobStatus>,
    /// Only jobs of this kind.
    pub kind: Option<JobKind>,
    /// Jobs to give at most; 0 gives 200.
    pub limit: u32,
    /// Only jobs older than this one.
    pub before: Option<JobId>,
}

/// Arguments of `job_move`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct MoveJob {
    /// The job.
    pub id: JobId,
    /// Its new place: lower runs first.
    #[ts(type = "number")]
    pub queue_rank: i64,
}

/// Arguments of `job_metrics`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct MetricsOf {
    /// The job.
    pub id: JobId,
    /// Only points after this step.
    #[serde(default)]
    #[ts(type = "number")]
    pub after_step: u64,
    /// Points to give at most; 0 gives all.
    #[serde(default)]
    pub max_points: u32,
}

/// The curves of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
pub struct JobCurves {
    /// Training points in order of steps.
    pub steps: Vec<StepPoint>,
    /// Evaluation losses in order of steps.
    pub evals: Vec<EvalPoint>,
}

/// Arguments of `events_after`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct EventsAfter {
    /// The last number seen.
    #[ts(type = "number")]
    pub seq: i64,
    /// Events to give at most; 0 gives 1000.
    #[serde(default)]
    pub limit: u32,
}

pub(crate) async fn list(ctx: &Ctx, args: ListJobs) -> Result<Vec<Job>, ApiError> {
    let filter = JobFilter { statuses: args.status.into_iter().collect(), kind: args.kind, ..JobFilter::default() };
    let page = Page { after: args.before, limit: if args.limit == 0 { 200 } else { args.limit } };
    Ok(tb_db::jobs::list(ctx.db(), &filter, &page).await?)
}

pub(crate) async fn get(ctx: &Ctx, args: ById) -> Result<Job, ApiError> {
    found::job(ctx.db(), &args.parse()?).await
}

pub(crate) async fn pause(ctx: &Ctx, args: ById) -> Result<Job, ApiError> {
    Ok(ctx.jobs().pause(&args.parse()?).await?)
}

pub(crate) async fn resume(ctx: &Ctx, args: ById) -> Result<Job, ApiError> {
    Ok(ctx.jobs().resume(&args.parse()?).await?)
}

pub(crate) async fn stop(ctx: &Ctx, args: ById) -> Result<Job, ApiError> {
    Ok(ctx.jobs().stop(&args.parse()?).await?)
}

pub(crate) async fn move_in_queue(ctx: &Ctx, args: MoveJob) -> Result<Job, ApiError> {
    Ok(ctx.jobs().move_in_queue(&args.id, args.queue_rank).await?)
}

pub(crate) async fn evaluate_now(ctx: &Ctx, args: ById) -> Result<Job, ApiError> {
    Ok(ctx.jobs().evaluate_now(&args.parse()?).await?)
}

pub(crate) async fn checkpoint_now(ctx: &Ctx, args: ById) -> Result<Job, ApiError> {
    Ok(ctx.jobs().checkpoint_now(&args.parse()?).await?)
}

pub(crate) async fn metrics(ctx: &Ctx, args: MetricsOf) -> Result<JobCurves, ApiError> {
    let max = if args.max_points == 0 { u32::MAX } else { args.max_points };
    let after = args.after_step;
    found::job(ctx.db(), &args.id).await?;
    Ok(JobCurves {
        steps: tb_db::metric_points::list(ctx.db(), &args.id, after + 1, max).await?,
        evals: tb_db::metric_points::list_eval(ctx.db(), &args.id)
            .await?
            .into_iter()
            .filter(|point| point.step > after)
            .collect(),
    })
}

pub(crate) async fn events_after(ctx: &Ctx, args: EventsAfter) -> Result<Vec<Event>, ApiError> {
    let limit = if args.limit == 0 { 1000 } else { args.limit };
    Ok(tb_db::events::after(ctx.db(), args.seq, limit).await?)
}
