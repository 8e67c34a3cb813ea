//! The owner of the host lock: takes up running jobs, and gives waiting ones a device and a worker. Each is then followed to
//! its end by `follow`.
//!
//! Nothing here must survive: the rows, the run folders and the workers do. A new supervisor finds the running jobs in the
//! database, takes the lines it missed from where the cursor stands, and goes on.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tb_core::{
    ApiError,
    ids::JobId,
    job::{Job, JobAction, JobStatus},
    run_folder::{Level, LockHolder, RunEventBody},
};
use tb_data::files::RunFolder;
use tokio::{process::Child, sync::watch, task::JoinSet};

use crate::{
    core::Core,
    error::{Error, Result},
    follow::{AFTER_ERROR, Process, fail, follow, holder_of},
    host_lock::{HostLock, host_name},
    lease::{Lease, Leases},
    process, queue,
    queue::blocking,
    workers,
};

/// How often the queue is looked at for jobs that other processes submitted.
const QUEUE_EVERY: Duration = Duration::from_millis(250);

/// How often a process without the host lock tries to take it.
const LOCK_EVERY: Duration = Duration::from_millis(500);

/// Waits for the host lock if need be, then supervises until `closing` says so.
pub(crate) async fn run(core: Arc<Core>, lock: Option<HostLock>, mut closing: watch::Receiver<bool>) {
    let lock = tokio::select! {
        lock = take_lock(&core, lock) => Arc::new(lock),
        _ = closing.wait_for(|c| *c) => return,
    };
    core.supervises.store(true, Ordering::Release);
    let mut supervisor =
        Supervisor { core, lock, leases: Leases::default(), follows: JoinSet::new(), followed: HashSet::new() };
    tokio::select! {
        () = supervisor.supervise() => {}
        _ = closing.wait_for(|c| *c) => {}
    }
    supervisor.core.supervises.store(false, Ordering::Release);
    supervisor.follows.shutdown().await;
}

async fn take_lock(core: &Core, lock: Option<HostLock>) -> HostLock {
    if let Some(lock) = lock {
        return lock;
    }
    loop {
        tokio::time::sleep(LOCK_EVERY).await;
        match HostLock::try_take(&core.home, core.clock.now_ms()) {
            Ok(Some(lock)) => return lock,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the host lock cannot be looked at"),
        }
    }
}

struct Supervisor {
    core: Arc<Core>,
    /// Shared with every follower: the lock is free only when the last of them has ended.
    lock: Arc<HostLock>,
    leases: Leases,
    follows: JoinSet<JobId>,
    followed: HashSet<JobId>,
}

impl Supervisor {
    async fn supervise(&mut self) {
        let mut attached = false;
        loop {
            if !attached {
                attached = self.told("running jobs cannot be listed", Self::attach_running).await;
            }
            if attached {
                self.told("the queue cannot be looked at", Self::start_waiting).await;
            }
            tokio::select! {
                () = self.core.queue_changed.notified() => {}
                () = tokio::time::sleep(QUEUE_EVERY) => {}
                Some(ended) = self.follows.join_next() => match ended {
                    Ok(id) => { self.followed.remove(&id); }
                    Err(error) => {
                        tracing::error!(%error, "a follower broke; its job is attached again");
                        self.followed.clear();
                        self.follows.shutdown().await;
                        attached = false;
                    }
                }
            }
        }
    }

    /// Runs one part of the round; whether it went well.
    async fn told(&mut self, what: &str, part: impl AsyncFnOnce(&mut Self) -> Result<()>) -> bool {
        match part(self).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "{what}; trying again");
                tokio::time::sleep(AFTER_ERROR).await;
                false
            }
        }
    }

    /// Takes up every job that the database calls running: its worker may be alive, or have ended meanwhile.
    async fn attach_running(&mut self) -> Result<()> {
        for job in tb_db::jobs::running(&self.core.db).await? {
            if self.followed.contains(&job.id) {
                continue;
            }
            let lease = self.leases.take(job.device.as_deref().unwrap_or_default(), &job.id);
            match open_run(&job).await {
                Ok(run) => self.follow(job.id, run, Process::Elsewhere { free_since: None }, lease),
                Err(error) => self.give_up(&job.id, error).await?,
            }
        }
        Ok(())
    }

    /// Starts the next job of every free device.
    async fn start_waiting(&mut self) -> Result<()> {
        for job in queue::waiting(&self.core).await? {
            // A job sent back into the queue waits until its old process has left.
            if self.followed.contains(&job.id) {
                continue;
            }
            let Some(lease) = self.leases.take(job.device.as_deref().unwrap_or_default(), &job.id) else { continue };
            match self.start(&job).await {
                Ok(Some((run, child))) => self.follow(job.id, run, Process::Mine(Box::new(child)), Some(lease)),
                // Not now; or someone has just taken the run.
                Ok(None) | Err(Error::Data(tb_data::Error::Busy { .. })) => {}
                Err(error @ Error::Db(_)) => return Err(error),
                Err(error) => self.give_up(&job.id, error).await?,
            }
        }
        Ok(())
    }

    /// Claims a job and starts its worker; none if it cannot start now.
    async fn start(&self, job: &Job) -> Result<Option<(RunFolder, Child)>> {
        let device = job.device.clone().unwrap_or_default();
        let worker = workers::for_device(&self.core.workers, &device).ok_or_else(|| Error::NoDevice {
            device: device.clone(),
            existing: self
                .core
                .workers
                .iter()
                .flat_map(|w| w.description.devices.iter().map(|d| d.id.clone()))
                .collect(),
        })?;
        let run = open_run(job).await?;
        if holder_of(&run).await? {
            // A worker that was given up for lost, or started by hand, still holds it.
            return Ok(None);
        }
        let cursor = tb_db::ingest::cursor(&self.core.db, &job.id).await?;
        if cursor > 0 {
            let (run, now_ms) = (run.clone(), self.core.clock.now_ms());
            blocking(move || fill_lost_lines(&run, cursor, now_ms)).await?;
        }
        if !self.claim(&job.id).await? {
            return Ok(None);
        }
        let child = process::spawn_detached(worker, &run)?;
        tracing::info!(job = %job.id, pid = child.id(), device, "worker started");
        Ok(Some((run, child)))
    }

    /// Marks a waiting job as running; false if it does not wait any more.
    async fn claim(&self, id: &JobId) -> Result<bool> {
        let mut tx = self.core.db.begin().await?;
        let mut job = self.core.job_in(&mut tx, id).await?;
        if job.status != JobStatus::Pending {
            return Ok(false);
        }
        job.status = job.status.next(JobAction::Start)?;
        job.started_at_ms = job.started_at_ms.or_else(|| Some(self.core.clock.now_ms()));
        self.core.store_job(&mut tx, &job).await?;
        tx.commit().await?;
        self.core.told();
        Ok(true)
    }

    fn follow(&mut self, id: JobId, run: RunFolder, process: Process, lease: Option<Lease>) {
        self.followed.insert(id.clone());
        let (core, lock) = (Arc::clone(&self.core), Arc::clone(&self.lock));
        self.follows.spawn(async move {
            follow(&core, &id, &run, process).await;
            core.queue_changed.notify_one();
            drop((lease, lock));
            id
        });
    }

    /// A job that cannot be started or read any more fails, with the reason.
    async fn give_up(&self, id: &JobId, error: Error) -> Result<()> {
        tracing::warn!(job = %id, %error, "the job is given up");
        let told = ApiError::from(error);
        fail(&self.core, id, &told).await
    }
}

async fn open_run(job: &Job) -> Result<RunFolder> {
    let path = PathBuf::from(&job.run_dir);
    Ok(blocking(move || RunFolder::open(&path)).await?)
}

/// A power failure may have taken lines that were stored already. Their numbers are filled, or the worker's next lines
/// would carry them and be taken for stored.
fn fill_lost_lines(run: &RunFolder, cursor: u64, now_ms: i64) -> Result<()> {
    let holder = LockHolder { pid: std::process::id(), host: host_name(), at_ms: now_ms };
    let _lock = run.lock(&holder)?;
    let mut writer = run.event_writer()?;
    while writer.last_n() < cursor {
        let message = "What stood in this line was lost with the machine; the database has it.".to_owned();
        writer.append(now_ms, RunEventBody::Note { level: Level::Info, message })?;
    }
    Ok(())
}
