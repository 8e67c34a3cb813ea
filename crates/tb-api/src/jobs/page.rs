//! Everything that a run's page shows at once: the job with its plan, checkpoints, samples and the story of what happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError,
    ids::{JobId, ModelId},
    job::{Job, JobStatus},
    run_folder::{Certificate, EvalPoint, IncidentKind, Outcome, Plan, RunEvent, RunEventBody, Sample},
};
use tb_data::files::RunFolder;
use tb_db::{Page, audit::AuditFilter, models::ModelFilter};
use ts_rs::TS;

use super::command_line::{command_line, form_of};
use crate::{ById, Ctx, StartJob, ctx::blocking, found};

/// A job with all that is known of it, besides its curves.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct JobPage {
    /// The job.
    pub job: Job,
    /// What it was going to do, once its worker has said so.
    pub plan: Option<Plan>,
    /// Its gradient certificate.
    pub certificate: Option<Certificate>,
    /// Its whole checkpoints, in order of steps.
    pub checkpoints: Vec<PageCheckpoint>,
    /// What happened, in order of time.
    pub timeline: Vec<TimelineEntry>,
    /// What it wrote for held-out rows, in order of steps and rows.
    pub samples: Vec<Sample>,
    /// The model version that it made.
    pub registered_model: Option<ModelId>,
    /// The line that starts the same run in a shell; empty for a job that trains nothing.
    pub command_line: String,
    /// The form that starts the same run; none for a job that trains nothing.
    pub spec: Option<StartJob>,
    /// Its place in the queue, 0 being the next; none if it does not wait.
    pub queue_position: Option<u32>,
}

/// A checkpoint as a page shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct PageCheckpoint {
    /// Steps finished.
    #[ts(type = "number")]
    pub step: u64,
    /// Its folder, relative to the run folder.
    pub path: String,
    /// Its size.
    #[ts(type = "number")]
    pub size_bytes: u64,
    /// The evaluation loss at its step, if it was measured there.
    pub eval_loss: Option<f64>,
    /// Whether it has the lowest evaluation loss.
    pub is_best: bool,
    /// When it was written.
    #[ts(type = "number")]
    pub at_ms: i64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct TimelineEntry {
    /// When.
    #[ts(type = "number")]
    pub at_ms: i64,
    /// After which step, where that is known.
    #[ts(type = "number | null")]
    pub step: Option<u64>,
    /// How much it matters.
    pub level: TimelineLevel,
    /// What, for programs: `queued`, `started`, `resumed`, `plan`, `certificate`, `problems`, `note`, `out_of_memory`, `not_finite`,
    /// `evaluated`, `checkpoint`, `asked`, `paused`, `trouble`, `interrupted`, `stopped`, `early_stopped`, `completed` or `failed`.
    pub code: String,
    /// What, in words.
    pub message: String,
}

/// How much an entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum TimelineLevel {
    /// For the record.
    Info,
    /// It went well.
    Good,
    /// Worth a look.
    Warn,
    /// It ended the run.
    Error,
}

pub(crate) async fn get(ctx: &Ctx, args: ById) -> Result<JobPage, ApiError> {
    let id: JobId = args.parse()?;
    let job = found::job(ctx.db(), &id).await?;
    let lines = lines(ctx, &job).await?;
    let evals = tb_db::metric_points::list_eval(ctx.db(), &id).await?;
    let checkpoints = tb_db::checkpoints::list(ctx.db(), &id).await?;
    let filter = ModelFilter { training_job_id: Some(id.clone()), ..ModelFilter::default() };
    let made = tb_db::models::list(ctx.db(), &filter, &Page::first(1)).await?;
    let queue_position = match job.status {
        JobStatus::Pending => tb_db::jobs::pending(ctx.db()).await?.iter().position(|j| j.id == id).map(|at| at as u32),
        JobStatus::Running
        | JobStatus::Paused
        | JobStatus::Stopped
        | JobStatus::Interrupted
        | JobStatus::Completed
        | JobStatus::Failed => None,
    };
    let mut timeline = timeline(&job, &lines, &evals);
    timeline.extend(asked(ctx, &id).await?);
    timeline.sort_by_key(|entry| entry.at_ms);
    let spec = form_of(&job);
    let defaults = ctx.settings().hyperparameters();
    Ok(JobPage {
        plan: last(&lines, |body| if let RunEventBody::Plan(plan) = body { Some(plan.clone()) } else { None }),
        certificate: last(&lines, |body| if let RunEventBody::Certificate(c) = body { Some(c.clone()) } else { None }),
        checkpoints: checkpoints
            .into_iter()
            .map(|c| PageCheckpoint {
                eval_loss: evals.iter().find(|e| e.step == c.step).map(|e| e.eval_loss),
                step: c.step,
                path: c.path,
                size_bytes: c.size_bytes,
                is_best: c.is_best,
                at_ms: c.created_at_ms,
            })
            .collect(),
        timeline,
        samples: samples(&lines),
        registered_model: made.into_iter().next().map(|m| m.id),
        command_line: spec.as_ref().map(|form| command_line(form, &defaults)).unwrap_or_default(),
        spec,
        queue_position,
        job,
    })
}

/// The lines that tell the run's story. A run that was taken in before they were stored has them in its folder.
async fn lines(ctx: &Ctx, job: &Job) -> Result<Vec<RunEvent>, ApiError> {
    let stored = tb_db::run_lines::list(ctx.db(), &job.id).await?;
    if !stored.is_empty() || job.started_at_ms.is_none() {
        return Ok(stored);
    }
    let folder = std::path::PathBuf::from(&job.run_dir);
    blocking(move || {
        let read = RunFolder::open(&folder).and_then(|run| run.events_after(0));
        Ok(read.unwrap_or_default().into_iter().filter(|line| tb_jobs::tells_story(&line.body)).collect())
    })
    .await
}

fn last<T>(lines: &[RunEvent], of: impl Fn(&RunEventBody) -> Option<T>) -> Option<T> {
    lines.iter().rev().find_map(|line| of(&line.body))
}

/// The last writing of each row at each step: a resumed run may have written it again.
fn samples(lines: &[RunEvent]) -> Vec<Sample> {
    let mut by_place = BTreeMap::new();
    for line in lines {
        if let RunEventBody::Sample(sample) = &line.body {
            by_place.insert((sample.step, sample.index), sample.clone());
        }
    }
    by_place.into_values().collect()
}

/// What users asked of the job, from the audit log.
async fn asked(ctx: &Ctx, id: &JobId) -> Result<Vec<TimelineEntry>, ApiError> {
    let filter = AuditFilter { subject: Some(id.to_string()), ..AuditFilter::default() };
    let lines = tb_db::audit::list(ctx.db(), &filter, &Page::first(200)).await?;
    let entry = |line: tb_db::audit::AuditLine| {
        let what = match line.entry.command.as_str() {
            "job_pause" => "Pause",
            "job_resume" => "Resume",
            "job_stop" => "Stop",
            "job_move" => "Another place in the queue",
            _ => return None,
        };
        let by = if line.entry.actor == "local" { String::new() } else { format!(" by {}", line.entry.actor) };
        let message = format!("{what} was asked for{by}.");
        Some(TimelineEntry {
            at_ms: line.entry.at_ms,
            step: None,
            level: TimelineLevel::Info,
            code: "asked".into(),
            message,
        })
    };
    Ok(lines.into_iter().filter_map(entry).collect())
}

fn timeline(job: &Job, lines: &[RunEvent], evals: &[EvalPoint]) -> Vec<TimelineEntry> {
    let mut all = vec![TimelineEntry {
        at_ms: job.created_at_ms,
        step: None,
        level: TimelineLevel::Info,
        code: "queued".into(),
        message: "The run was put into the queue.".into(),
    }];
    all.extend(lines.iter().filter_map(|line| {
        let (step, level, code, message) = told(&line.body, evals)?;
        Some(TimelineEntry { at_ms: line.at_ms, step, level, code: code.into(), message })
    }));
    let lost = job.status == JobStatus::Interrupted
        || (job.status == JobStatus::Stopped && job.error_message.is_some())
        || (job.status == JobStatus::Failed && !all.iter().any(|e| e.code == "failed"));
    if let (true, Some(at_ms), Some(message)) = (lost, job.completed_at_ms, &job.error_message) {
        let code = if job.status == JobStatus::Failed { "failed" } else { "interrupted" };
        all.push(TimelineEntry {
            at_ms,
            step: None,
            level: TimelineLevel::Error,
            code: code.into(),
            message: message.clone(),
        });
    }
    all
}

type Told = (Option<u64>, TimelineLevel, &'static str, String);

/// A line as an entry; none for what a page shows elsewhere.
fn told(body: &RunEventBody, evals: &[EvalPoint]) -> Option<Told> {
    use TimelineLevel::{Error, Good, Info, Warn};
    Some(match body {
        RunEventBody::Started { worker_version, device, resumed_from_step: None, .. } => {
            (Some(0), Info, "started", format!("Worker {worker_version} took the run on {device}."))
        }
        RunEventBody::Started { worker_version, device, resumed_from_step: Some(step), .. } => (
            Some(*step),
            Info,
            "resumed",
            format!("Worker {worker_version} goes on from the checkpoint of step {step} on {device}."),
        ),
        RunEventBody::Plan(plan) => (
            None,
            Info,
            "plan",
            format!(
                "{} rows, {} steps; {} of {} weights learn.",
                plan.rows, plan.total_steps, plan.trainable_parameters, plan.total_parameters
            ),
        ),
        RunEventBody::Certificate(c) => (
            Some(0),
            Good,
            "certificate",
            format!(
                "Gradient certificate: {} tensors learn from step 1, {} from step 2; no frozen one does.",
                c.with_gradient, c.after_one_step
            ),
        ),
        RunEventBody::Checkpoint { step, .. } => {
            let loss = evals.iter().find(|e| e.step == *step).map(|e| format!(", held-out loss {:.4}", e.eval_loss));
            (Some(*step), Info, "checkpoint", format!("Checkpoint of step {step}{}.", loss.unwrap_or_default()))
        }
        RunEventBody::Problems { path, count, problems } => {
            let first = problems.first().map(|p| format!(" First, line {}: {}.", p.line, p.reason)).unwrap_or_default();
            (None, Warn, "problems", format!("{count} rows of {path} cannot be used.{first}"))
        }
        RunEventBody::Note { level, message } => {
            let level = match level {
                tb_core::run_folder::Level::Info => Info,
                tb_core::run_folder::Level::Warn => Warn,
            };
            (None, level, "note", message.clone())
        }
        RunEventBody::Incident(incident) => {
            let code = match incident.kind {
                IncidentKind::OutOfMemory => "out_of_memory",
                IncidentKind::NotFinite => "not_finite",
            };
            (Some(incident.step), Warn, code, incident.message.clone())
        }
        RunEventBody::Paused { step, trouble: None } => {
            (Some(*step), Info, "paused", format!("Paused after step {step}."))
        }
        RunEventBody::Paused { step, trouble: Some(error) } => (Some(*step), Error, "trouble", error.to_string()),
        RunEventBody::Done(done) => {
            let step = done.step;
            match done.outcome {
                Outcome::Completed => (Some(step), Good, "completed", format!("Completed after step {step}.")),
                Outcome::Stopped => {
                    (Some(step), Info, "stopped", format!("Stopped after step {step}; the result so far is kept."))
                }
                Outcome::EarlyStopped => (
                    Some(step),
                    Good,
                    "early_stopped",
                    format!("Ended after step {step}: the held-out loss did not fall any more."),
                ),
            }
        }
        RunEventBody::Failed { message, hint, .. } => {
            (None, Error, "failed", format!("{message} {hint}").trim().to_owned())
        }
        RunEventBody::CheckpointDeleted { .. }
        | RunEventBody::Sample(_)
        | RunEventBody::Step(_)
        | RunEventBody::Eval(_)
        | RunEventBody::Progress { .. }
        | RunEventBody::Generated { .. }
        | RunEventBody::Evaluated(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u64, body: RunEventBody) -> RunEvent {
        RunEvent { n, at_ms: n as i64 * 10, body }
    }

    fn sample(step: u64, index: u32, output: &str) -> RunEventBody {
        RunEventBody::Sample(Sample { step, index, prompt: "p".into(), reference: "r".into(), output: output.into() })
    }

    #[test]
    fn a_sample_written_again_takes_the_place_of_the_first() {
        let lines = [
            line(1, sample(0, 0, "a")),
            line(2, sample(10, 0, "b")),
            line(3, sample(10, 1, "c")),
            line(4, sample(10, 0, "d")),
        ];
        let got: Vec<(u64, u32, String)> = samples(&lines).into_iter().map(|s| (s.step, s.index, s.output)).collect();
        assert_eq!(got, [(0, 0, "a".into()), (10, 0, "d".into()), (10, 1, "c".into())]);
    }

    #[test]
    fn the_story_has_checkpoints_with_their_loss_and_the_end() {
        let eval = EvalPoint { step: 5, epoch: 1.0, eval_loss: 0.25, mean_token_accuracy: None, is_best: true };
        let told: Vec<Told> = [
            RunEventBody::Checkpoint { step: 5, path: "checkpoints/step-000005".into(), size_bytes: 1, is_best: true },
            RunEventBody::Done(tb_core::run_folder::Done {
                outcome: Outcome::EarlyStopped,
                step: 5,
                metrics: serde_json::Map::new(),
                files: Vec::new(),
            }),
        ]
        .iter()
        .filter_map(|body| told(body, std::slice::from_ref(&eval)))
        .collect();
        assert_eq!(told[0].3, "Checkpoint of step 5, held-out loss 0.2500.");
        assert_eq!((told[1].0, told[1].2), (Some(5), "early_stopped"));
    }
}
