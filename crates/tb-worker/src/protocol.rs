//! One session on a run folder: the lock, the event lines, the wishes of the host, and the last words. What the job does is elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tb_core::ErrorCode;
use tb_core::run_folder::{Control, Incident, Level, LockHolder, Outcome, RunEventBody, RunSpec, Task, names};
use tb_data::files::{EventWriter, RunFolder, RunLock};

use crate::error::{Failure, Result};
use crate::{device, memory};

/// Room that is set free when the disk is full, so that the last words still fit.
const RESERVE: &str = ".last-words";
const RESERVE_BYTES: usize = 64 * 1024;

/// A run folder that this process holds.
pub struct Session {
    run: RunFolder,
    events: EventWriter,
    earlier: Earlier,
    control: Control,
    control_seen: Option<Stamp>,
    kept: Option<u64>,
    _lock: RunLock,
}

/// What earlier workers left in the run folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// How the run ended, if it did.
    pub outcome: Option<Outcome>,
    /// The trouble that it dealt with.
    pub incidents: Vec<Incident>,
}

/// When and how large a file was.
type Stamp = (Option<SystemTime>, u64, u64);

/// Milliseconds since 1970 UTC.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

impl Session {
    /// Opens a run folder and takes its lock.
    ///
    /// # Errors
    /// The folder or its spec cannot be read, the spec is of another version, or another worker holds the lock.
    pub fn open(folder: &Path) -> Result<Self> {
        let run = RunFolder::open(folder)?;
        let holder = LockHolder { pid: std::process::id(), host: device::host_name(), at_ms: now_ms() };
        let lock = run.lock(&holder)?;
        let mut earlier = Earlier::default();
        for event in run.events_after(0)? {
            if let RunEventBody::Done(done) = &event.body {
                earlier.outcome = Some(done.outcome);
            } else if let RunEventBody::Started { .. } = &event.body {
                // Another worker went on after that.
                earlier.outcome = None;
            } else if let RunEventBody::Incident(incident) = event.body {
                earlier.incidents.push(incident);
            }
        }
        let events = run.event_writer()?;
        std::fs::write(run.path().join(RESERVE), vec![0x20; RESERVE_BYTES])?;
        let mut session =
            Self { run, events, earlier, control: Control::default(), control_seen: None, kept: None, _lock: lock };
        session.control();
        Ok(session)
    }

    /// The folder.
    #[must_use]
    pub fn run(&self) -> &RunFolder {
        &self.run
    }

    /// Its path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.run.path()
    }

    /// What to do.
    #[must_use]
    pub fn spec(&self) -> &RunSpec {
        self.run.spec()
    }

    /// What earlier workers left.
    #[must_use]
    pub fn earlier(&self) -> &Earlier {
        &self.earlier
    }

    /// Number of the last event line.
    #[must_use]
    pub fn last_event(&self) -> u64 {
        self.events.last_n()
    }

    /// Remembers that the checkpoint of a step is whole, for the last words.
    pub fn keeps(&mut self, step: u64) {
        self.kept = Some(step);
    }

    /// Appends one event line.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn emit(&mut self, body: RunEventBody) -> Result<()> {
        self.events.append(now_ms(), body)?;
        Ok(())
    }

    /// Says what trouble the run deals with, so that it survives a power cut: a resumed run deals with it in the same way.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn incident(&mut self, incident: Incident) -> Result<()> {
        self.emit(RunEventBody::Incident(incident))?;
        self.sync()
    }

    /// Appends a note.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn note(&mut self, level: Level, message: impl Into<String>) -> Result<()> {
        self.emit(RunEventBody::Note { level, message: message.into() })
    }

    /// Makes sure that the lines so far survive a power cut.
    ///
    /// # Errors
    /// The file cannot be synced.
    pub fn sync(&mut self) -> Result<()> {
        Ok(self.events.sync()?)
    }

    /// Says who works, and from which step.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn started(&mut self, resumed_from_step: Option<u64>) -> Result<()> {
        let device = self.spec().device.clone();
        self.emit(RunEventBody::Started {
            pid: std::process::id(),
            host: device::host_name(),
            worker_version: device::VERSION.to_owned(),
            device,
            resumed_from_step,
        })
    }

    /// What the host wants now. Only a changed file is read; a file that cannot be read changes nothing.
    pub fn control(&mut self) -> Control {
        let stamp = stamp(&self.run.path().join(names::CONTROL));
        if stamp != self.control_seen
            && let Ok(control) = self.run.control()
        {
            self.control = control;
            self.control_seen = stamp;
        }
        self.control
    }

    /// Writes why the run ended badly, even onto a disk that is full. A training that only lacks room on the disk is paused: it goes on
    /// from its last checkpoint when there is room.
    fn last_words(&mut self, failure: &Failure) {
        let mut error = failure.0.clone();
        if memory::disk_is_full(self.folder(), RESERVE_BYTES as u64) {
            error.code = ErrorCode::DiskFull;
        }
        if error.code == ErrorCode::DiskFull {
            error.hint = memory::DISK_HINT.to_owned();
        }
        let _ = std::fs::remove_file(self.folder().join(RESERVE));
        if let Some(step) = self.kept {
            error.message = format!("{} The checkpoint from step {step} is safe.", error.message);
        }
        let body = match (&self.spec().task, error.code) {
            (Task::Train(_), ErrorCode::DiskFull) => {
                RunEventBody::Paused { step: self.kept.unwrap_or(0), trouble: Some(error) }
            }
            (Task::Train(_) | Task::Evaluate(_) | Task::Score(_) | Task::Generate(_) | Task::Export(_), _) => {
                RunEventBody::Failed { code: error.code, message: error.message, hint: error.hint }
            }
        };
        if let Err(e) = self.emit(body).and_then(|()| self.sync()) {
            crate::log(format_args!("the last words could not be written: {e}"));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.run.path().join(RESERVE));
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let file = std::os::unix::fs::MetadataExt::ino(&meta);
    #[cfg(not(unix))]
    let file = 0;
    Some((meta.modified().ok(), meta.len(), file))
}

/// The message and place of the last panic.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Runs one job on a run folder. Whatever happens, the last event line says how it ended.
pub fn run(folder: &Path, work: impl FnOnce(&mut Session) -> Result<()>) -> ExitCode {
    let mut session = match Session::open(folder) {
        Ok(session) => session,
        Err(failure) => {
            crate::log(format_args!("{failure}"));
            return ExitCode::FAILURE;
        }
    };
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        *PANIC.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(info.to_string());
        default_hook(info);
    }));
    let failure = match catch_unwind(AssertUnwindSafe(|| work(&mut session))) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(failure)) => failure,
        Err(_) => {
            let what = PANIC.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            Failure::new(ErrorCode::Internal, format!("A fault of the program: {}.", what.unwrap_or_default()))
                .hint("Resume the run. If it happens again, please report it with the run folder's worker.log.")
        }
    };
    crate::log(format_args!("{failure}"));
    session.last_words(&failure);
    ExitCode::FAILURE
}
