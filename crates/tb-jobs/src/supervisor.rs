//! The owner of the host lock: gives waiting jobs a device and a worker, follows every worker's lines to their end, and
//! notices when one is gone. What a line means is `ingest`'s.
//!
//! Nothing here must survive: the rows, the run folders and the workers do. A new supervisor finds the running jobs in the
//! database, takes the lines it missed from where the cursor stands, and goes on.

use std::{
    collections::HashSet,
    path::PathBuf,
    process::ExitStatus,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tb_core::{
    ApiError, ErrorCode,
    ids::JobId,
    job::{Job, JobAction, JobStatus},
    run_folder::{Level, LockHolder, RunEvent, RunEventBody, Want},
};
use tb_data::files::{EventTail, RunFolder};
use tokio::{process::Child, sync::watch, task::JoinSet};

use crate::{
    core::Core,
    error::{Error, Result},
    host_lock::{HostLock, host_name},
    ingest::{self, GROUP, Ingest},
    lease::{Lease, Leases},
    process, queue,
    queue::blocking,
    workers,
};

/// How often a worker's lines are taken.
const INGEST_EVERY: Duration = Duration::from_millis(200);

/// How often the queue is looked at for jobs that other processes submitted.
const QUEUE_EVERY: Duration = Duration::from_millis(250);

/// How often a process without the host lock tries to take it.
const LOCK_EVERY: Duration = Duration::from_millis(500);

/// How long a run's lock must be free before a worker that this process did not start counts as gone: it may just be
/// starting, or its lock may just be being looked at.
const FREE_FOR: Duration = Duration::from_millis(1000);

/// How long to wait after the database refused.
const AFTER_ERROR: Duration = Duration::from_millis(500);

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
                Ok(None) => {}
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

/// Whether a live worker holds the run.
async fn holder_of(run: &RunFolder) -> Result<bool> {
    let run = run.clone();
    Ok(blocking(move || run.holder()).await?.is_some())
}

/// As [`holder_of`]; a lock that cannot be looked at counts as held until it can.
async fn is_held(run: &RunFolder) -> bool {
    match holder_of(run).await {
        Ok(held) => held,
        Err(error) => {
            tracing::warn!(%error, "a run's lock cannot be looked at");
            true
        }
    }
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

async fn fail(core: &Core, id: &JobId, error: &ApiError) -> Result<()> {
    let now_ms = core.clock.now_ms();
    let result = core.change(id, |job| ingest::failed(job, error, now_ms)).await;
    match result {
        // It came to rest meanwhile.
        Ok(_) | Err(Error::Refused(_) | Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The process that works on a run.
enum Process {
    /// Started by this host.
    Mine(Box<Child>),
    /// Started by an earlier host, or by someone else: only its lock tells of it.
    Elsewhere {
        /// Since when the lock was seen free.
        free_since: Option<Instant>,
    },
}

/// How a process was seen to be gone.
struct Gone {
    exit: Option<ExitStatus>,
}

impl Process {
    /// Waits for the next look; shorter if the process ends.
    async fn wait_a_little(&mut self) {
        match self {
            Self::Mine(child) => {
                // Its end is read with `try_wait` at the look.
                let _ = tokio::time::timeout(INGEST_EVERY, child.wait()).await;
            }
            Self::Elsewhere { .. } => tokio::time::sleep(INGEST_EVERY).await,
        }
    }

    async fn is_gone(&mut self, run: &RunFolder) -> Option<Gone> {
        match self {
            Self::Mine(child) => {
                let exit = match child.try_wait() {
                    Ok(None) => return None,
                    Ok(Some(exit)) => Some(exit),
                    Err(_) => None,
                };
                if is_held(run).await {
                    // The program handed the run on to another process.
                    *self = Self::Elsewhere { free_since: None };
                    return None;
                }
                Some(Gone { exit })
            }
            Self::Elsewhere { free_since } => {
                if is_held(run).await {
                    *free_since = None;
                    return None;
                }
                (free_since.get_or_insert_with(Instant::now).elapsed() >= FREE_FOR).then_some(Gone { exit: None })
            }
        }
    }
}

/// Takes the lines of one worker until it is gone.
async fn follow(core: &Arc<Core>, id: &JobId, run: &RunFolder, mut process: Process) {
    let mut ingest = loop {
        match Ingest::open(Arc::clone(core), run.clone(), id.clone()).await {
            Ok(ingest) => break ingest,
            Err(error) => {
                tracing::warn!(job = %id, %error, "a job's cursor cannot be read; trying again");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    };
    let mut lines = Lines { tail: Some(run.tail(ingest.cursor())), read: Vec::new() };
    let mut broken = false;
    loop {
        process.wait_a_little().await;
        // Looked at before the lines: what a worker wrote before it left is read for certain.
        let gone = process.is_gone(run).await;
        loop {
            if broken {
                break;
            }
            match lines.take(&mut ingest).await {
                Ok(()) => break,
                Err(error) if is_passing(&error) => {
                    tracing::warn!(job = %id, %error, "a worker's lines cannot be stored; trying again");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
                Err(error) => {
                    broken = true;
                    break_off(core, id, run, error).await;
                }
            }
        }
        if let Some(gone) = gone {
            if !broken && ingest.last_word().is_none() {
                mark_lost(core, id, run, &mut ingest, gone.exit).await;
            }
            return;
        }
    }
}

/// Whether trying again may help.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Db(error) => match error {
            tb_db::Error::Stale { .. }
            | tb_db::Error::Busy
            | tb_db::Error::DiskFull
            | tb_db::Error::Driver { .. }
            | tb_db::Error::CannotOpen { .. } => true,
            tb_db::Error::Taken { .. }
            | tb_db::Error::MissingReference { .. }
            | tb_db::Error::Unstorable { .. }
            | tb_db::Error::BadRow { .. }
            | tb_db::Error::NewerSchema { .. }
            | tb_db::Error::Migration { .. }
            | tb_db::Error::OldSqlite { .. }
            | tb_db::Error::Damaged(_) => false,
        },
        Error::Data(_)
        | Error::Refused(_)
        | Error::Hyperparameter(_)
        | Error::File { .. }
        | Error::BadWorker { .. }
        | Error::Spawn { .. }
        | Error::NoDevice { .. }
        | Error::Contended { .. }
        | Error::NotRunning { .. }
        | Error::NotWaiting { .. }
        | Error::Unreachable { .. }
        | Error::NotFound { .. }
        | Error::Hook { .. } => false,
    }
}

/// The lines of a worker that are read and not yet stored.
struct Lines {
    /// None only while it is being read.
    tail: Option<EventTail>,
    read: Vec<RunEvent>,
}

impl Lines {
    async fn take(&mut self, ingest: &mut Ingest) -> Result<()> {
        if self.read.is_empty() {
            let mut tail = self.tail.take().expect("a tail is put back after each reading");
            let (tail, lines) = blocking(move || {
                let lines = tail.poll();
                (tail, lines)
            })
            .await;
            self.tail = Some(tail);
            self.read = lines?;
        }
        while !self.read.is_empty() {
            let group = self.read.len().min(GROUP);
            ingest.take(&self.read[..group]).await?;
            self.read.drain(..group);
        }
        ingest.take(&[]).await
    }
}

/// A worker whose lines cannot be taken: the job fails, and the worker is asked to leave.
async fn break_off(core: &Core, id: &JobId, run: &RunFolder, error: Error) {
    tracing::error!(job = %id, %error, "a worker's lines cannot be taken");
    let told = ApiError::new(
        match error.code() {
            ErrorCode::InvalidArgument => ErrorCode::DataInvalid,
            code => code,
        },
        format!("The job was ended because its worker's report cannot be taken: {error}. Its checkpoints are kept."),
    )
    .hint(format!("The report is {}.", run.path().join(tb_core::run_folder::names::EVENTS).display()));
    let stop = run.control().map(|control| tb_core::run_folder::Control { want: Want::Stop, ..control });
    if let Err(error) = stop.and_then(|control| run.write_control(&control)) {
        tracing::warn!(job = %id, %error, "the worker cannot be asked to stop");
    }
    while let Err(error) = fail(core, id, &told).await {
        tracing::warn!(job = %id, %error, "a failed job cannot be stored; trying again");
        tokio::time::sleep(AFTER_ERROR).await;
    }
}

async fn mark_lost(core: &Core, id: &JobId, run: &RunFolder, ingest: &mut Ingest, exit: Option<ExitStatus>) {
    let error = process::lost(run.path(), exit);
    let want = run.control().map_or(Want::Run, |control| control.want);
    loop {
        let now_ms = core.clock.now_ms();
        let change = ingest.row_change();
        let result = core
            .change(id, |job| {
                if job.status != JobStatus::Running {
                    return Ok(());
                }
                change.apply(job);
                ingest::lost(job, &error, want, now_ms)
            })
            .await;
        match result {
            Ok(_) | Err(Error::Refused(_) | Error::NotFound { .. }) => return,
            Err(error) => {
                tracing::warn!(job = %id, %error, "a lost worker cannot be stored; trying again");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}
