//! The jobs that are under way, followed by the event stream: what the tray says, who is told at the end, what closing must ask.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tauri::{AppHandle, Manager};
use tb_api::{Ctx, commands::dispatch};
use tb_core::{
    ApiError, ErrorCode,
    event::EventBody,
    ids::JobId,
    job::{Job, JobStatus},
};

use crate::{notices, tray};

/// Every job that waits or runs, in the order of their ids, which is that of their making.
#[derive(Default)]
pub struct LiveJobs {
    jobs: Mutex<BTreeMap<JobId, Job>>,
}

/// What is under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnderWay {
    /// The running jobs.
    pub running: Vec<Job>,
    /// How many wait.
    pub waiting: usize,
}

impl LiveJobs {
    /// Takes a job's new state; gives the job back if it came to rest just now.
    fn take(&self, job: &Job) -> Option<Job> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if job.status.is_at_rest() {
            return jobs.remove(&job.id).map(|_| job.clone());
        }
        // The list that was read at the start may be newer than an event of before.
        if jobs.get(&job.id).is_none_or(|known| known.version <= job.version) {
            jobs.insert(job.id.clone(), job.clone());
        }
        None
    }

    /// What is under way now.
    pub fn under_way(&self) -> UnderWay {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let running = jobs.values().filter(|job| job.status == JobStatus::Running).cloned().collect();
        let waiting = jobs.values().filter(|job| job.status == JobStatus::Pending).count();
        UnderWay { running, waiting }
    }
}

/// Follows the jobs of an open core until it closes.
pub fn follow(app: &AppHandle, ctx: Ctx) {
    let app = app.clone();
    // Owned by the core: its event stream ends when it closes.
    tauri::async_runtime::spawn(async move {
        if let Err(error) = follow_until_closed(&app, ctx).await {
            tracing::error!("the jobs cannot be followed: {error}");
        }
    });
}

async fn follow_until_closed(app: &AppHandle, ctx: Ctx) -> Result<(), ApiError> {
    let live = app.state::<LiveJobs>();
    // The number first: what changes after it arrives as an event.
    let mut events = ctx.jobs().subscribe(ctx.last_seq().await?).into_stream();
    for status in [JobStatus::Pending, JobStatus::Running] {
        for job in list(&ctx, status).await? {
            live.take(&job);
        }
    }
    tray::refresh(app);
    while let Some(event) = events.next().await {
        if let EventBody::Job { job } = &event.body {
            if let Some(ended) = live.take(job) {
                notices::job_ended(app, &ended);
            }
            tray::refresh(app);
        }
    }
    Ok(())
}

async fn list(ctx: &Ctx, status: JobStatus) -> Result<Vec<Job>, ApiError> {
    let jobs = dispatch(ctx, "job_list", json!({ "status": status, "limit": 1000 })).await?;
    serde_json::from_value(jobs).map_err(|e| ApiError::new(ErrorCode::Internal, format!("No list of jobs: {e}.")))
}

/// Seconds until the job ends, as its worker reckons.
pub fn eta_s(job: &Job) -> Option<f64> {
    job.metrics.get("eta_s").and_then(Value::as_f64).filter(|s| s.is_finite() && *s > 0.0)
}

#[cfg(test)]
pub mod tests {
    use tb_core::{job::JobKind, recipe::Hyperparameters};

    use super::*;

    /// A job for tests of the shell.
    pub fn job(number: u8, status: JobStatus, version: i64) -> Job {
        Job {
            id: format!("job_00000000-0000-7000-8000-0000000000{number:02x}").parse().unwrap(),
            kind: JobKind::Train,
            name: format!("polite-{number}"),
            model_type: "tone_adjustment".into(),
            base_model: "/models/base".into(),
            dataset_id: None,
            model_id: None,
            status,
            config: Value::Null,
            hyperparameters: Hyperparameters::default(),
            progress: 0.42,
            metrics: serde_json::Map::new(),
            error_message: None,
            device: None,
            run_dir: String::new(),
            queue_rank: 0,
            version,
            created_at_ms: 0,
            started_at_ms: None,
            completed_at_ms: None,
        }
    }

    #[test]
    fn a_job_ends_once_and_only_if_it_was_seen_alive() {
        let live = LiveJobs::default();
        assert!(live.take(&job(1, JobStatus::Completed, 9)).is_none(), "an old one");
        assert!(live.take(&job(2, JobStatus::Pending, 1)).is_none());
        assert!(live.take(&job(2, JobStatus::Running, 2)).is_none());
        assert!(live.take(&job(2, JobStatus::Pending, 1)).is_none(), "an event from before the list");
        assert_eq!(live.under_way(), UnderWay { running: vec![job(2, JobStatus::Running, 2)], waiting: 0 });
        assert_eq!(live.take(&job(2, JobStatus::Completed, 3)), Some(job(2, JobStatus::Completed, 3)));
        assert!(live.take(&job(2, JobStatus::Completed, 4)).is_none(), "told already");
        assert_eq!(live.under_way(), UnderWay::default());
    }
}
