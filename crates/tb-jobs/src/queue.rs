//! The queue: new jobs, their order, and which one is next. Giving a job its device and its worker is `supervisor`'s.

use std::{path::Path, sync::Arc};

use tb_core::{
    event::EventBody,
    ids::{DatasetId, JobId, ModelId},
    job::{Job, JobKind, JobStatus},
    recipe::Hyperparameters,
    run_folder::{RunSpec, SCHEMA, Task},
};
use tb_data::files::RunFolder;
use tb_db::Tx;
use uuid::Uuid;

use crate::{
    core::Core,
    error::{Error, Result},
    workers,
};

/// The folder of run folders in the home folder.
pub const RUNS: &str = "runs";

/// A job to be queued. Paths in the task must be absolute: the worker may be started later, by another program.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// A name for people.
    pub name: String,
    /// What it does.
    pub kind: JobKind,
    /// The kind of rewriting it teaches, such as `tone_adjustment`.
    pub model_type: String,
    /// Folder of the base model.
    pub base_model: String,
    /// The dataset version it reads; none if it reads plain files.
    pub dataset_id: Option<DatasetId>,
    /// The model an evaluation measures, or the one a training continues from.
    pub model_id: Option<ModelId>,
    /// The hyperparameters; the defaults for jobs that train nothing.
    pub hyperparameters: Hyperparameters,
    /// The work.
    pub task: Task,
    /// The device, such as `cpu` or `cuda:0`; the best that the workers have if none.
    pub device: Option<String>,
}

/// Writes the run folder and stores the job at the end of the queue.
pub(crate) async fn submit(core: &Arc<Core>, new: NewJob) -> Result<Job> {
    new.hyperparameters.validate()?;
    let device = device(core, new.device.as_deref())?;
    let id = JobId::from_uuid(Uuid::now_v7());
    let spec = RunSpec { schema: SCHEMA, run_id: id.to_string(), device: device.clone(), task: new.task };
    let run_dir = core.home.join(RUNS).join(id.as_str());
    let config = serde_json::to_value(&spec)
        .map_err(|e| Error::File { path: run_dir.join(tb_core::run_folder::names::SPEC), source: e.into() })?;
    let folder = run_dir.clone();
    blocking(move || RunFolder::create(&folder, &spec).map(drop).map_err(Error::from)).await?;
    let job = Job {
        id,
        kind: new.kind,
        name: new.name,
        model_type: new.model_type,
        base_model: new.base_model,
        dataset_id: new.dataset_id,
        model_id: new.model_id,
        status: JobStatus::Pending,
        config,
        hyperparameters: new.hyperparameters,
        progress: 0.0,
        metrics: serde_json::Map::new(),
        error_message: None,
        device: Some(device),
        run_dir: run_dir.to_string_lossy().into_owned(),
        queue_rank: 0,
        version: 0,
        created_at_ms: core.clock.now_ms(),
        started_at_ms: None,
        completed_at_ms: None,
    };
    match insert(core, job).await {
        Ok(job) => {
            core.told();
            Ok(job)
        }
        Err(error) => {
            discard(&run_dir);
            Err(error)
        }
    }
}

async fn insert(core: &Core, mut job: Job) -> Result<Job> {
    let mut tx = core.db.begin().await?;
    send_to_end(&mut tx, &mut job).await?;
    tb_db::jobs::insert(&mut tx, &job).await?;
    tb_db::events::append(&mut tx, core.clock.now_ms(), &EventBody::Job { job: Box::new(job.clone()) }).await?;
    tx.commit().await?;
    Ok(job)
}

fn discard(run_dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(run_dir) {
        tracing::warn!(path = %run_dir.display(), %error, "the run folder of a job that was not queued is left behind");
    }
}

fn device(core: &Core, wanted: Option<&str>) -> Result<String> {
    let existing = || -> Vec<String> {
        core.workers.iter().flat_map(|w| w.description.devices.iter().map(|d| d.id.clone())).collect()
    };
    match wanted {
        Some(device) if workers::for_device(&core.workers, device).is_some() => Ok(device.to_owned()),
        Some(device) => Err(Error::NoDevice { device: device.to_owned(), existing: existing() }),
        None => workers::best_device(&core.workers)
            .ok_or_else(|| Error::NoDevice { device: "any".into(), existing: Vec::new() }),
    }
}

/// The waiting jobs, the next one first.
pub(crate) async fn waiting(core: &Core) -> Result<Vec<Job>> {
    Ok(tb_db::jobs::pending(&core.db).await?)
}

/// Puts a job that is going to wait (again) behind all that wait; what `tx` goes on to store.
pub(crate) async fn send_to_end(tx: &mut Tx, job: &mut Job) -> Result<()> {
    let last = tb_db::jobs::pending(&mut *tx).await?.iter().map(|j| j.queue_rank).max();
    job.queue_rank = last.map_or(0, |rank| rank.saturating_add(1));
    if job.status != JobStatus::Pending {
        job.status = job.status.next(tb_core::job::JobAction::Resume)?;
    }
    job.completed_at_ms = None;
    job.error_message = None;
    Ok(())
}

/// Moves a waiting job to `place` in the queue, 0 being the next to run; the others keep their order.
pub(crate) async fn move_to(core: &Core, id: &JobId, place: i64) -> Result<Job> {
    let mut tx = core.db.begin().await?;
    let job = core.job_in(&mut tx, id).await?;
    if job.status != JobStatus::Pending {
        return Err(Error::NotWaiting { id: id.clone(), status: job.status });
    }
    let mut queue = tb_db::jobs::pending(&mut tx).await?;
    queue.retain(|j| j.id != *id);
    let place = usize::try_from(place).unwrap_or(0).min(queue.len());
    queue.insert(place, job.clone());
    let mut moved = job;
    for (rank, mut job) in (0_i64..).zip(queue) {
        if job.queue_rank != rank {
            job.queue_rank = rank;
            let stored = core.store_job(&mut tx, &job).await?;
            if stored.id == *id {
                moved = stored;
            }
        }
    }
    tx.commit().await?;
    core.told();
    Ok(moved)
}

/// Runs file work away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work is only cancelled when the runtime ends, and then nobody waits for it.
            Err(_) => std::future::pending().await,
        },
    }
}
