//! Following one worker: its lines are taken as they come, and its end is noticed. Which jobs are followed is `supervisor`'s,
//! what a line means is `ingest`'s.

use std::{
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use tb_core::{
    ApiError, ErrorCode,
    ids::JobId,
    job::JobStatus,
    run_folder::{Control, RunEvent, Want, names},
};
use tb_data::files::{EventTail, RunFolder};
use tokio::process::Child;

use crate::{
    core::Core,
    error::{Error, Result},
    ingest::{self, GROUP, Ingest},
    process,
    queue::blocking,
};

/// How often a worker's lines are taken.
const INGEST_EVERY: Duration = Duration::from_millis(200);

/// How long a run's lock must be free before a worker that this process did not start counts as gone: an earlier host may
/// have died just as it started one. A worker that is slower still is safe: nobody else starts on a run that it holds.
const FREE_FOR: Duration = Duration::from_millis(600);

/// How long to wait after the database refused.
pub(crate) const AFTER_ERROR: Duration = Duration::from_millis(500);

/// The process that works on a run.
pub(crate) enum Process {
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
pub(crate) async fn follow(core: &Arc<Core>, id: &JobId, run: &RunFolder, mut process: Process) {
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
    .hint(format!("The report is {}.", run.path().join(names::EVENTS).display()));
    let stop = run.control().map(|control| Control { want: Want::Stop, ..control });
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

/// Stores that a job failed, unless it came to rest meanwhile.
pub(crate) async fn fail(core: &Core, id: &JobId, error: &ApiError) -> Result<()> {
    let now_ms = core.clock.now_ms();
    let result = core.change(id, |job| ingest::failed(job, error, now_ms)).await;
    match result {
        // It came to rest meanwhile.
        Ok(_) | Err(Error::Refused(_) | Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a live worker holds the run.
pub(crate) async fn holder_of(run: &RunFolder) -> Result<bool> {
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
