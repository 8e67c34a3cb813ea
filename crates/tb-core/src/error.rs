//! What every layer above turns its errors into: a code that programs act on, a message and a hint that people read.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Why something was refused or failed. The UI and scripts act on the code, never on the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A value, file or option that cannot be accepted as it is.
    InvalidArgument,
    /// Data or a model file that is damaged or of an unsupported kind.
    DataInvalid,
    /// The thing named does not exist.
    NotFound,
    /// The thing changed meanwhile, or its state does not allow the action.
    Conflict,
    /// The caller's role does not allow the action.
    Forbidden,
    /// The caller did not say who they are.
    Unauthenticated,
    /// Host or device memory ran out.
    OutOfMemory,
    /// The disk is full.
    DiskFull,
    /// Loss or gradients became NaN or infinite.
    NotFinite,
    /// The worker process ended without a result.
    WorkerLost,
    /// A device, a file lock or a remote service is not to be had now.
    Unavailable,
    /// The user asked for it to stop.
    Cancelled,
    /// A fault of the program.
    Internal,
}

/// An error as it leaves the service layer or a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[error("{message}{}", if hint.is_empty() { String::new() } else { format!(" {hint}") })]
pub struct ApiError {
    /// What programs act on.
    pub code: ErrorCode,
    /// What happened, and what was kept.
    pub message: String,
    /// What to do next; empty if there is nothing to say.
    pub hint: String,
}

impl ApiError {
    /// An error with a message and no hint.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new() }
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The exit code of the command line: 2 if the arguments are wrong, 1 if the work failed.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self.code {
            ErrorCode::InvalidArgument => 2,
            ErrorCode::DataInvalid
            | ErrorCode::NotFound
            | ErrorCode::Conflict
            | ErrorCode::Forbidden
            | ErrorCode::Unauthenticated
            | ErrorCode::OutOfMemory
            | ErrorCode::DiskFull
            | ErrorCode::NotFinite
            | ErrorCode::WorkerLost
            | ErrorCode::Unavailable
            | ErrorCode::Cancelled
            | ErrorCode::Internal => 1,
        }
    }
}

/// A state machine's answer to an action that its state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action} a {entity} that is {state}")]
pub struct Refusal {
    /// The kind of thing, such as `job`.
    pub entity: &'static str,
    /// Its state.
    pub state: String,
    /// What was asked.
    pub action: String,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorCode::Conflict, format!("Nothing was changed: {refusal}."))
    }
}
