//! A worker's lines become rows and events, in groups: each group is one transaction that also moves the cursor, so that
//! after any crash every line has been taken once. Who reads the lines and watches the process is `supervisor`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tb_core::{
    ApiError, Refusal,
    event::EventBody,
    ids::JobId,
    job::{Job, JobAction, JobKind},
    run_folder::{Done, EvalPoint, Outcome, Plan, RunEvent, RunEventBody, StepPoint, Want},
};
use tb_data::files::RunFolder;
use tb_db::Tx;

use crate::{
    core::Core,
    error::{Error, Result},
    process::LastWord,
};

/// Lines stored in one transaction at most.
pub(crate) const GROUP: usize = 1000;

/// How often progress alone is written to the job's row.
const ROW_EVERY: Duration = Duration::from_secs(1);

/// Names under which a job's row keeps figures that outlive the process.
mod keys {
    pub const TOTAL_STEPS: &str = "total_steps";
    pub const STEP: &str = "step";
    pub const CHECKPOINT: &str = "last_checkpoint_step";
}

/// Takes the lines of one job.
pub(crate) struct Ingest {
    core: Arc<Core>,
    run: RunFolder,
    id: JobId,
    cursor: u64,
    plan: Option<Plan>,
    last_word: Option<LastWord>,
    row_written: Option<Instant>,
    /// Changes of the job's row that are not written yet.
    waiting: RowChange,
}

/// What a group of lines changes in the job's row.
#[derive(Clone, Default)]
pub(crate) struct RowChange {
    figures: Map<String, Value>,
    progress: Option<f64>,
    urgent: bool,
}

/// A group of lines, sorted by where it is stored.
#[derive(Default)]
struct Sorted<'a> {
    points: Vec<StepPoint>,
    evals: Vec<EvalPoint>,
    bodies: Vec<EventBody>,
    checkpoints: Vec<&'a RunEvent>,
    lines: Vec<&'a RunEvent>,
    reports: Vec<&'a tb_core::eval::EvalReport>,
    last_word: Option<LastWord>,
    row: RowChange,
    plan: Option<Plan>,
}

impl Ingest {
    pub(crate) async fn open(core: Arc<Core>, run: RunFolder, id: JobId) -> Result<Self> {
        let cursor = tb_db::ingest::cursor(&core.db, &id).await?;
        Ok(Self {
            core,
            run,
            id,
            cursor,
            plan: None,
            last_word: None,
            row_written: None,
            waiting: RowChange::default(),
        })
    }

    /// Number of the last line that is stored.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// How the worker took its leave, if it did since it last started.
    pub(crate) fn last_word(&self) -> Option<&LastWord> {
        self.last_word.as_ref()
    }

    /// Changes of the job's row that wait for their turn.
    pub(crate) fn row_change(&self) -> RowChange {
        self.waiting.clone()
    }

    /// Stores a group of lines ([`GROUP`] at most); those stored before are passed over.
    ///
    /// # Errors
    /// Nothing of the group is stored then, and the same lines may be given again.
    pub(crate) async fn take(&mut self, lines: &[RunEvent]) -> Result<()> {
        match self.take_group(lines, None).await {
            // The result stands in the run folder, only its registration failed: the lines are kept, the job fails.
            Err(Error::Hook { id, error }) => {
                tracing::warn!(job = %id, %error, "the result of a job cannot be registered");
                let told = ApiError::new(
                    error.code,
                    format!("The work was done, but its result could not be registered: {}", error.message),
                )
                .hint(format!(
                    "The files are safe in {}. Resume the job to register them again.",
                    self.run.path().display()
                ));
                self.take_group(lines, Some(&told)).await
            }
            other => other,
        }
    }

    /// With `hook_error` the hook is not called and the job ends with this error.
    async fn take_group(&mut self, lines: &[RunEvent], hook_error: Option<&ApiError>) -> Result<()> {
        let fresh: Vec<&RunEvent> = lines.iter().filter(|l| l.n > self.cursor).collect();
        let Some(last) = fresh.last() else { return self.flush().await };
        let sorted = self.sort(&fresh);
        let instead = hook_error.map(|error| LastWord::Failed(error.clone()));
        let mut row = self.waiting.clone();
        row.add(sorted.row.clone());
        let write_row = row.urgent || sorted.last_word.is_some() || self.row_is_due();

        let mut tx = self.core.db.begin().await?;
        self.store(&mut tx, &sorted).await?;
        if write_row {
            self.write_row(&mut tx, &row, &sorted, instead.as_ref()).await?;
        }
        tb_db::ingest::set_cursor(&mut tx, &self.id, last.n).await?;
        tx.commit().await?;
        self.core.bus.wake();

        self.cursor = last.n;
        if fresh.iter().any(|l| matches!(l.body, RunEventBody::Started { .. })) {
            self.last_word = None;
        }
        if sorted.last_word.is_some() {
            self.last_word = sorted.last_word;
        }
        self.plan = sorted.plan.or_else(|| self.plan.take());
        if write_row {
            self.row_written = Some(Instant::now());
            self.waiting = RowChange::default();
        } else {
            self.waiting = row;
        }
        Ok(())
    }

    /// Writes progress that has waited for its turn.
    async fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() || !self.row_is_due() {
            return Ok(());
        }
        let row = self.waiting.clone();
        let mut tx = self.core.db.begin().await?;
        self.write_row(&mut tx, &row, &Sorted::default(), None).await?;
        tx.commit().await?;
        self.core.bus.wake();
        self.row_written = Some(Instant::now());
        self.waiting = RowChange::default();
        Ok(())
    }

    fn row_is_due(&self) -> bool {
        self.row_written.is_none_or(|at| at.elapsed() >= ROW_EVERY)
    }

    fn sort<'a>(&self, lines: &[&'a RunEvent]) -> Sorted<'a> {
        let mut sorted = Sorted::default();
        let mut open_points: Vec<StepPoint> = Vec::new();
        for line in lines {
            if let RunEventBody::Step(point) = &line.body {
                sorted.row.step(point);
                open_points.push(point.clone());
                continue;
            }
            close_points(&self.id, &mut open_points, &mut sorted);
            sorted.last_word = LastWord::of(&line.body).or_else(|| sorted.last_word.take());
            match &line.body {
                RunEventBody::Step(_) => {}
                RunEventBody::Eval(point) => {
                    sorted.row.set("eval_loss", point.eval_loss);
                    sorted.row.urgent = true;
                    sorted.evals.push(point.clone());
                    sorted.bodies.push(EventBody::EvalPoint { job_id: self.id.clone(), point: point.clone() });
                    continue;
                }
                RunEventBody::Progress { done, total } => {
                    sorted.row.progress = Some(share(*done, *total));
                    sorted.row.set("done", *done);
                    sorted.row.set("total", *total);
                    // The job's row tells it; a stored event each would only fill the database.
                    continue;
                }
                RunEventBody::Started { .. } => sorted.last_word = None,
                RunEventBody::Plan(plan) => {
                    sorted.row.set(keys::TOTAL_STEPS, plan.total_steps);
                    sorted.row.set("trainable_parameters", plan.trainable_parameters);
                    sorted.row.set("total_parameters", plan.total_parameters);
                    sorted.row.urgent = true;
                    sorted.plan = Some(plan.clone());
                }
                RunEventBody::Checkpoint { step, .. } => {
                    sorted.row.set(keys::CHECKPOINT, *step);
                    sorted.checkpoints.push(line);
                }
                RunEventBody::CheckpointDeleted { .. } => sorted.checkpoints.push(line),
                RunEventBody::Evaluated(report) => {
                    sorted.row.urgent = true;
                    sorted.reports.push(report);
                }
                RunEventBody::Certificate(_)
                | RunEventBody::Problems { .. }
                | RunEventBody::Generated { .. }
                | RunEventBody::Sample(_)
                | RunEventBody::Note { .. }
                | RunEventBody::Incident(_)
                | RunEventBody::Paused { .. }
                | RunEventBody::Done(_)
                | RunEventBody::Failed { .. } => {}
            }
            if tells_story(&line.body) {
                sorted.lines.push(line);
            }
            sorted.bodies.push(EventBody::Run { job_id: self.id.clone(), event: Box::new((*line).clone()) });
        }
        close_points(&self.id, &mut open_points, &mut sorted);
        sorted
    }

    async fn store(&self, tx: &mut Tx, sorted: &Sorted<'_>) -> Result<()> {
        if !sorted.points.is_empty() {
            tb_db::metric_points::put(tx, &self.id, &sorted.points).await?;
        }
        for point in &sorted.evals {
            tb_db::metric_points::put_eval(tx, &self.id, point).await?;
        }
        for line in &sorted.lines {
            tb_db::run_lines::put(tx, &self.id, line).await?;
        }
        for line in &sorted.checkpoints {
            if let RunEventBody::Checkpoint { step, path, size_bytes, is_best } = &line.body {
                let row = tb_db::checkpoints::Checkpoint {
                    job_id: self.id.clone(),
                    step: *step,
                    path: path.clone(),
                    size_bytes: *size_bytes,
                    is_best: *is_best,
                    created_at_ms: line.at_ms,
                };
                tb_db::checkpoints::put(tx, &row).await?;
            } else if let RunEventBody::CheckpointDeleted { step } = &line.body {
                tb_db::checkpoints::delete(tx, &self.id, *step).await?;
            }
        }
        let now_ms = self.core.clock.now_ms();
        for body in &sorted.bodies {
            tb_db::events::append(tx, now_ms, body).await?;
        }
        Ok(())
    }

    /// Changes the job's row: figures, progress, and the state if there was a last word.
    async fn write_row(
        &self,
        tx: &mut Tx,
        row: &RowChange,
        sorted: &Sorted<'_>,
        instead: Option<&LastWord>,
    ) -> Result<()> {
        let mut job = self.core.job_in(tx, &self.id).await?;
        row.apply(&mut job);
        for report in &sorted.reports {
            for metric in &report.metrics {
                job.metrics.insert(metric.name.clone(), Value::from(metric.value));
            }
        }
        // A last word counts for a running job only: a job that meanwhile was given up stays as it is.
        let running = job.status == tb_core::job::JobStatus::Running;
        let now_ms = self.core.clock.now_ms();
        if let Some(word) = instead.or(sorted.last_word.as_ref()).filter(|_| running) {
            let again = take_leave(&mut job, word, self.run.control()?.want, now_ms)?;
            let job = self.core.store_job(tx, &job).await?;
            if let Again::Yes = again {
                let mut job = job;
                crate::queue::send_to_end(tx, &mut job).await?;
                self.core.store_job(tx, &job).await?;
            }
        } else {
            self.core.store_job(tx, &job).await?;
        }
        if running && instead.is_none() {
            self.call_hook(tx, &job, sorted).await?;
        }
        Ok(())
    }

    async fn call_hook(&self, tx: &mut Tx, job: &Job, sorted: &Sorted<'_>) -> Result<()> {
        let failed = |error: tb_db::Error| Error::Hook { id: self.id.clone(), error: Box::new(error.into()) };
        for report in &sorted.reports {
            self.core.on_done.evaluated(tx, job, report).await.map_err(failed)?;
        }
        if let (JobKind::Train, Some(LastWord::Done(done))) = (job.kind, &sorted.last_word) {
            let plan = match sorted.plan.as_ref().or(self.plan.as_ref()) {
                Some(plan) => Some(plan.clone()),
                None => self.written_plan()?,
            };
            self.core.on_done.trained(tx, job, plan.as_ref(), done).await.map_err(failed)?;
        }
        Ok(())
    }

    /// The last plan in the run folder: it was taken by an earlier host.
    fn written_plan(&self) -> Result<Option<Plan>> {
        let events = self.run.events_after(0)?;
        Ok(events.into_iter().rev().find_map(|line| match line.body {
            RunEventBody::Plan(plan) => Some(plan),
            RunEventBody::Started { .. }
            | RunEventBody::Certificate(_)
            | RunEventBody::Step(_)
            | RunEventBody::Eval(_)
            | RunEventBody::Checkpoint { .. }
            | RunEventBody::CheckpointDeleted { .. }
            | RunEventBody::Problems { .. }
            | RunEventBody::Progress { .. }
            | RunEventBody::Generated { .. }
            | RunEventBody::Sample(_)
            | RunEventBody::Note { .. }
            | RunEventBody::Incident(_)
            | RunEventBody::Paused { .. }
            | RunEventBody::Evaluated(_)
            | RunEventBody::Done(_)
            | RunEventBody::Failed { .. } => None,
        }))
    }
}

impl RowChange {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    fn step(&mut self, point: &StepPoint) {
        self.set(keys::STEP, point.step);
        self.set("epoch", point.epoch);
        self.set("loss", point.loss);
        self.set("grad_norm", point.grad_norm);
        self.set("learning_rate", point.learning_rate);
        self.set("num_tokens", point.num_tokens);
        self.set("tokens_per_s", point.tokens_per_s);
        self.set("peak_memory_bytes", point.peak_memory_bytes);
        self.set("eta_s", point.eta_s);
    }

    fn add(&mut self, later: Self) {
        self.figures.extend(later.figures);
        self.progress = later.progress.or(self.progress);
        self.urgent |= later.urgent;
    }

    fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.progress.is_none()
    }

    /// Writes the change into the job.
    pub(crate) fn apply(&self, job: &mut Job) {
        job.metrics.extend(self.figures.clone());
        let step = job.metrics.get(keys::STEP).and_then(Value::as_u64);
        let total = job.metrics.get(keys::TOTAL_STEPS).and_then(Value::as_u64);
        let by_step = step.zip(total).map(|(step, total)| share(step, total));
        job.progress = self.progress.or(by_step).unwrap_or(job.progress);
    }
}

/// Whether a line belongs to the story of a run: what its page shows besides curves and results, which have tables of their own.
#[must_use]
pub fn tells_story(body: &RunEventBody) -> bool {
    match body {
        RunEventBody::Started { .. }
        | RunEventBody::Plan(_)
        | RunEventBody::Certificate(_)
        | RunEventBody::Checkpoint { .. }
        | RunEventBody::CheckpointDeleted { .. }
        | RunEventBody::Problems { .. }
        | RunEventBody::Sample(_)
        | RunEventBody::Note { .. }
        | RunEventBody::Incident(_)
        | RunEventBody::Paused { .. }
        | RunEventBody::Done(_)
        | RunEventBody::Failed { .. } => true,
        RunEventBody::Step(_)
        | RunEventBody::Eval(_)
        | RunEventBody::Progress { .. }
        | RunEventBody::Generated { .. }
        | RunEventBody::Evaluated(_) => false,
    }
}

/// Steps in a row are one event.
fn close_points(id: &JobId, open: &mut Vec<StepPoint>, sorted: &mut Sorted<'_>) {
    if open.is_empty() {
        return;
    }
    let points = std::mem::take(open);
    sorted.points.extend(points.iter().cloned());
    sorted.bodies.push(EventBody::Points { job_id: id.clone(), points });
}

fn share(done: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { (done as f64 / total as f64).clamp(0.0, 1.0) }
}

/// Whether a job goes back into the queue at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}

/// The job after its worker's last word. A worker that paused although the user has meanwhile let the job go on sends it
/// back into the queue.
fn take_leave(job: &mut Job, word: &LastWord, want: Want, now_ms: i64) -> std::result::Result<Again, Refusal> {
    let mut again = Again::No;
    match word {
        LastWord::Done(Done { outcome, metrics, .. }) => {
            job.metrics.extend(metrics.clone());
            job.status = match outcome {
                Outcome::Completed | Outcome::EarlyStopped => job.status.next(JobAction::Complete)?,
                Outcome::Stopped => job.status.next(JobAction::Stop)?,
            };
            if let Outcome::Completed | Outcome::EarlyStopped = outcome {
                job.progress = 1.0;
            }
            job.error_message = None;
        }
        LastWord::Failed(error) => fail(job, error)?,
        LastWord::Paused { trouble: None, .. } => {
            job.status = job.status.next(JobAction::Pause)?;
            if want == Want::Run {
                again = Again::Yes;
            }
        }
        // It would meet the same trouble again at once: the user lets it go on.
        LastWord::Paused { trouble: Some(error), .. } => {
            job.status = job.status.next(JobAction::Pause)?;
            job.error_message = Some(error.to_string());
        }
    }
    job.completed_at_ms = Some(now_ms);
    Ok(again)
}

fn fail(job: &mut Job, error: &ApiError) -> std::result::Result<(), Refusal> {
    job.status = job.status.next(JobAction::Fail)?;
    job.error_message = Some(error.to_string());
    Ok(())
}

/// The job as failed, with the error's words for the user.
pub(crate) fn failed(job: &mut Job, error: &ApiError, now_ms: i64) -> Result<()> {
    fail(job, error)?;
    job.completed_at_ms = Some(now_ms);
    Ok(())
}

/// The job whose worker is gone without a last word: interrupted, or stopped if that is what the user wanted.
pub(crate) fn lost(job: &mut Job, error: &ApiError, want: Want, now_ms: i64) -> Result<()> {
    let step = |key| job.metrics.get(key).and_then(Value::as_u64);
    let at = step(keys::STEP).map_or_else(|| "before its first step".to_owned(), |s| format!("at step {s}"));
    let kept = step(keys::CHECKPOINT).map_or_else(
        || "No checkpoint was written yet, so it would start from the beginning.".to_owned(),
        |s| format!("The checkpoint from step {s} is safe."),
    );
    let (action, next) = match want {
        Want::Run | Want::Pause => (JobAction::Lose, "Resume the job to go on from there."),
        Want::Stop => (JobAction::Stop, "Resume the job if its result is wanted after all."),
    };
    job.status = job.status.next(action)?;
    job.error_message = Some(format!("The job was interrupted {at}. {kept} {next} {error}"));
    job.completed_at_ms = Some(now_ms);
    Ok(())
}
