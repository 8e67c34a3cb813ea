//! What every command works with: the database, the jobs, the settings, the home folder and the actor.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tb_core::{
    ApiError, ErrorCode,
    audit::AuditEntry,
    event::{Event, EventBody},
    feedback::FeedbackSource,
    ids::JobId,
    job::Job,
    settings::{Secret, Settings},
    tag::Tag,
};
use tb_db::{Db, Tx};
use tb_jobs::{Jobs, Serving, SystemClock, WorkerBinary, serving::Limits};

use crate::{
    Actor,
    access::{
        attempts::Attempts,
        identities::Identities,
        passwords::{PasswordCost, Passwords},
    },
    datasets::lengths::HeldLengths,
    feedback::intake::Intake,
    found,
    on_done::Registrar,
    settings::Sources,
    status::HomeSize,
};

/// The program's heart, cheap to clone: one per process, plus who asks.
#[derive(Clone)]
pub struct Ctx {
    inner: Arc<Inner>,
    actor: Actor,
    source: FeedbackSource,
}

struct Inner {
    home: PathBuf,
    sources: Sources,
    settings: RwLock<Arc<Settings>>,
    db: Db,
    jobs: Jobs,
    home_size: HomeSize,
    held_lengths: HeldLengths,
    serving: Serving,
    intake: Intake,
    identities: Identities,
    passwords: Passwords,
    attempts: Mutex<Attempts>,
}

/// Opens the home folder: settings, database, queue and workers. `overrides` are settings by name from the command line.
///
/// # Errors
/// A setting that cannot be accepted, a folder that cannot be written, a database that is damaged or newer than this program.
pub async fn open(home: &Path, overrides: &[(String, String)], actor: Actor) -> Result<Ctx, ApiError> {
    open_with_cost(home, overrides, actor, PasswordCost::default()).await
}

/// The same with another cost of hashing a password.
///
/// # Errors
/// As [`open`], and a cost that there is not.
pub async fn open_with_cost(
    home: &Path,
    overrides: &[(String, String)],
    actor: Actor,
    cost: PasswordCost,
) -> Result<Ctx, ApiError> {
    let passwords = Passwords::new(cost)?;
    for folder in ["runs", "datasets"] {
        let path = home.join(folder);
        std::fs::create_dir_all(&path).map_err(|e| {
            ApiError::new(ErrorCode::Unavailable, format!("The folder {} cannot be made: {e}.", path.display()))
                .hint("Set TONEBRIDGE_HOME to a folder that you may write to.")
        })?;
    }
    let sources = Sources::new(home, overrides);
    let settings = RwLock::new(Arc::new(sources.read()?));
    let db = Db::open(&home.join("tonebridge.db")).await?;
    let workers = tb_jobs::workers::find_all().await;
    let serving = Serving::new(workers.clone(), Arc::new(SystemClock), Limits::default());
    let jobs = Jobs::open(db.clone(), home, workers, Arc::new(Registrar)).await?;
    let inner = Inner {
        home: home.to_owned(),
        sources,
        settings,
        db,
        jobs,
        serving,
        home_size: HomeSize::default(),
        held_lengths: HeldLengths::default(),
        intake: Intake::default(),
        identities: Identities::default(),
        passwords,
        attempts: Mutex::default(),
    };
    Ok(Ctx { inner: Arc::new(inner), actor, source: FeedbackSource::Workbench })
}

impl Ctx {
    /// The same program for another actor.
    #[must_use]
    pub fn as_actor(&self, actor: Actor) -> Self {
        Self { inner: Arc::clone(&self.inner), actor, source: self.source }
    }

    /// The same program for requests that come another way.
    #[must_use]
    pub fn via(&self, source: FeedbackSource) -> Self {
        Self { source, ..self.clone() }
    }

    /// The way on which feedback comes.
    #[must_use]
    pub fn source(&self) -> FeedbackSource {
        self.source
    }

    /// Who asks.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The folder where everything lives.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.inner.home
    }

    /// The settings in force now.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.inner.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the settings again after a change.
    ///
    /// # Errors
    /// A setting that cannot be accepted; those in force stay.
    pub(crate) fn reload_settings(&self) -> Result<(), ApiError> {
        let settings = Arc::new(self.inner.sources.read()?);
        *self.inner.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
        Ok(())
    }

    /// A secret by its name among the settings, for the one place that uses it. Blocks while a keyring is asked.
    ///
    /// # Errors
    /// A keyring that does not give it.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, ApiError> {
        let given = match self.settings().secret(name) {
            Some(given) => Some(given.clone()),
            None => self.inner.sources.secrets.in_keyring(name)?,
        };
        Ok(given)
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.inner.sources
    }

    pub(crate) fn home_size(&self) -> &HomeSize {
        &self.inner.home_size
    }

    pub(crate) fn intake(&self) -> &Intake {
        &self.inner.intake
    }

    pub(crate) fn held_lengths(&self) -> &HeldLengths {
        &self.inner.held_lengths
    }

    pub(crate) fn identities(&self) -> &Identities {
        &self.inner.identities
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.inner.passwords
    }

    /// Counts a guess at the password of this name; false if there were too many.
    pub(crate) fn begin_attempt(&self, name: &str, now: Instant) -> bool {
        self.inner.attempts.lock().unwrap_or_else(PoisonError::into_inner).begin(name, now)
    }

    /// Takes a guess back.
    pub(crate) fn forgive_attempt(&self, name: &str) {
        self.inner.attempts.lock().unwrap_or_else(PoisonError::into_inner).forgive(name);
    }

    /// The queue, its workers and the event stream.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.inner.jobs
    }

    /// The models that are in memory to answer prompts.
    #[must_use]
    pub fn serving(&self) -> &Serving {
        &self.inner.serving
    }

    /// Ends in good order what dies with this program: serving workers and the supervision of jobs. Workers of jobs go on.
    pub async fn close(&self) {
        tokio::join!(self.serving().close(), self.jobs().close());
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    /// A worker for a one-shot task.
    ///
    /// # Errors
    /// `unavailable` if no worker program was found.
    pub fn worker(&self) -> Result<&WorkerBinary, ApiError> {
        self.jobs().workers().first().ok_or_else(no_worker)
    }

    /// For commands that end at once: if this process happens to run the queue and jobs are under way, gives it the time to
    /// catch up with what workers wrote while no host ran, to notice dead ones and to start what waits.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn settle(&self) -> Result<(), ApiError> {
        /// The supervisor's own bound for noticing a dead worker after a restart is about 1 s.
        const CATCH_UP: std::time::Duration = std::time::Duration::from_millis(1500);
        let under_way =
            !tb_db::jobs::running(self.db()).await?.is_empty() || !tb_db::jobs::pending(self.db()).await?.is_empty();
        if self.jobs().supervises() && under_way {
            tokio::time::sleep(CATCH_UP).await;
        }
        Ok(())
    }

    /// The number of the newest event: what a follower starts from.
    ///
    /// # Errors
    /// A database that cannot be read.
    pub async fn last_seq(&self) -> Result<i64, ApiError> {
        Ok(tb_db::events::last_seq(self.db()).await?)
    }

    /// Follows a job until it rests; every event of it after `seq` is shown once, in order.
    ///
    /// # Errors
    /// A job that does not exist, or a database that cannot be read.
    pub async fn follow(
        &self,
        id: &JobId,
        seq: i64,
        on_event: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<Job, ApiError> {
        let mut events = self.jobs().subscribe(seq);
        while let Some(event) = events.next().await {
            let of_job = match &event.body {
                EventBody::Job { job } => job.id == *id,
                EventBody::Points { job_id, .. }
                | EventBody::EvalPoint { job_id, .. }
                | EventBody::Run { job_id, .. } => job_id == id,
                EventBody::Deployment { .. } | EventBody::Experiment { .. } | EventBody::Stale { .. } => false,
            };
            if of_job {
                on_event(&event);
            }
            // The stored state decides: an event of an earlier rest may be far behind.
            if let EventBody::Job { job } = &event.body
                && job.id == *id
                && job.status.is_at_rest()
            {
                let now = found::job(self.db(), id).await?;
                if now.status.is_at_rest() && now.version <= job.version {
                    return Ok(now);
                }
            }
        }
        found::job(self.db(), id).await
    }

    /// After a command: one audit line and one event, if it changed anything.
    pub(crate) async fn changed(
        &self,
        command: &str,
        arguments: Value,
        out: &Value,
        stale: &[Tag],
    ) -> Result<(), ApiError> {
        if stale.is_empty() {
            return Ok(());
        }
        let subject = out.get("id").or_else(|| arguments.get("id")).and_then(Value::as_str).unwrap_or_default();
        let subject = subject.to_owned();
        let mut tx = self.db().begin().await?;
        tell(&mut tx, self.actor.name(), command, &subject, arguments, stale).await?;
        tx.commit().await?;
        self.jobs().wake();
        Ok(())
    }
}

/// Tells of a change, in its transaction: one audit line and one event.
///
/// # Errors
/// The database's.
pub(crate) async fn tell(
    tx: &mut Tx,
    actor: &str,
    command: &str,
    subject: &str,
    arguments: Value,
    stale: &[Tag],
) -> Result<(), ApiError> {
    let entry = AuditEntry {
        at_ms: now_ms(),
        actor: actor.to_owned(),
        command: command.to_owned(),
        subject: subject.to_owned(),
        arguments,
    };
    tb_db::audit::append(tx, &entry).await?;
    tb_db::events::append(tx, entry.at_ms, &EventBody::Stale { tags: stale.to_vec() }).await?;
    Ok(())
}

/// The system's clock, milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

pub(crate) fn no_worker() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "No worker program was found, so nothing can be computed.")
        .hint("Put tonebridge-worker beside tonebridge, or name it in TONEBRIDGE_WORKER.")
}

/// Runs blocking work away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(ApiError::new(ErrorCode::Internal, format!("The work was cut off: {e}."))))
}
