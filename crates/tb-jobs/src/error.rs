//! What can go wrong around jobs, with the data of each case; `From<Error> for ApiError` gives code, words and hint.

use std::{io, path::PathBuf};

use tb_core::{ApiError, ErrorCode, Refusal, ids::JobId, job::JobStatus, recipe::BadHyperparameter};

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error around jobs and their workers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused.
    #[error(transparent)]
    Db(#[from] tb_db::Error),
    /// A run folder could not be read or written.
    #[error(transparent)]
    Data(#[from] tb_data::Error),
    /// The job's state does not allow the action.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A hyperparameter out of range.
    #[error(transparent)]
    Hyperparameter(#[from] BadHyperparameter),
    /// A file of the home folder could not be made, locked or written.
    #[error("{} cannot be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program that is no working worker.
    #[error("{} is no worker that can be used: {reason}", path.display())]
    BadWorker {
        /// The program.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A worker could not be started on a run.
    #[error("the worker {} cannot be started: {source}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No worker of this machine has the device.
    #[error("no worker of this machine can use the device '{device}'")]
    NoDevice {
        /// The device.
        device: String,
        /// Those that exist.
        existing: Vec<String>,
    },
    /// The job changed at every try to change it.
    #[error("the job {id} is being changed by someone else")]
    Contended {
        /// The job.
        id: JobId,
    },
    /// A wish that only a running job can fulfil.
    #[error("the job {id} is {status}, not running")]
    NotRunning {
        /// The job.
        id: JobId,
        /// Its state.
        status: JobStatus,
    },
    /// Only a waiting job has a place in the queue.
    #[error("the job {id} is {status}, not waiting in the queue")]
    NotWaiting {
        /// The job.
        id: JobId,
        /// Its state.
        status: JobStatus,
    },
    /// The worker runs on another machine, or its process cannot be reached.
    #[error("the worker of {id} cannot be ended from here: {reason}")]
    Unreachable {
        /// The job.
        id: JobId,
        /// Why.
        reason: String,
    },
    /// The job does not exist.
    #[error("there is no job {id}")]
    NotFound {
        /// The id.
        id: JobId,
    },
    /// The layer above could not register the result of a job.
    #[error("the result of {id} cannot be registered: {error}")]
    Hook {
        /// The job.
        id: JobId,
        /// Why.
        error: Box<ApiError>,
    },
}

impl Error {
    /// What programs act on.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Db(error) => error.code(),
            Self::Data(error) => error.code(),
            Self::Refused(_) | Self::Contended { .. } | Self::NotRunning { .. } | Self::NotWaiting { .. } => {
                ErrorCode::Conflict
            }
            Self::Hyperparameter(_) => ErrorCode::InvalidArgument,
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
                _ => ErrorCode::Unavailable,
            },
            Self::BadWorker { .. } | Self::Spawn { .. } | Self::NoDevice { .. } | Self::Unreachable { .. } => {
                ErrorCode::Unavailable
            }
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Hook { error, .. } => error.code,
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::Db(_) | Error::Data(_) | Error::Refused(_) | Error::Hyperparameter(_) => String::new(),
            Error::File { .. } => "Check that the folder exists, may be written to and has space.".into(),
            Error::BadWorker { .. } | Error::Spawn { .. } => {
                "Install the worker again, or name a working one in TONEBRIDGE_WORKER.".into()
            }
            Error::NoDevice { existing, .. } if existing.is_empty() => {
                "No worker was found: put tonebridge-worker beside this program, or name it in TONEBRIDGE_WORKER."
                    .into()
            }
            Error::NoDevice { existing, .. } => format!("Use one of {}.", existing.join(", ")),
            Error::Contended { .. } => "Try again.".into(),
            Error::NotRunning { .. } => "Only a running job can do this.".into(),
            Error::NotWaiting { .. } => "Only a waiting job has a place in the queue.".into(),
            Error::Unreachable { .. } => {
                "Stop it, and it ends at its next step; or end the process where it runs.".into()
            }
            Error::NotFound { .. } => "`tonebridge job list` shows the jobs that exist.".into(),
            Error::Hook { error, .. } => error.hint.clone(),
        };
        match error {
            Error::Db(error) => error.into(),
            Error::Data(error) => error.into(),
            Error::Refused(refusal) => refusal.into(),
            Error::Hyperparameter(bad) => Self::new(ErrorCode::InvalidArgument, format!("Nothing was started: {bad}.")),
            error @ (Error::File { .. }
            | Error::BadWorker { .. }
            | Error::Spawn { .. }
            | Error::NoDevice { .. }
            | Error::Contended { .. }
            | Error::NotRunning { .. }
            | Error::NotWaiting { .. }
            | Error::Unreachable { .. }
            | Error::NotFound { .. }
            | Error::Hook { .. }) => Self::new(error.code(), format!("Nothing was changed: {error}.")).hint(hint),
        }
    }
}
