//! What ends a job: one failure type, made from the errors of the crates below, with the code that programs act on.

use tb_core::{ApiError, ErrorCode};

/// A failure with its code, what happened, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub ApiError);

/// The result of everything in the worker that can fail.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ApiError::new(code, message))
    }

    /// The same failure with what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = hint.into();
        self
    }

    /// The same failure with its message put into a larger sentence.
    pub fn within(mut self, what: impl std::fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<tb_nn::Error> for Failure {
    fn from(error: tb_nn::Error) -> Self {
        use tb_nn::Error as E;
        let code = match &error {
            E::Candle(_) if error.is_out_of_memory() => ErrorCode::OutOfMemory,
            E::File { .. } | E::State { .. } => ErrorCode::DataInvalid,
            E::Config { .. } | E::Value { .. } => ErrorCode::InvalidArgument,
            E::Candle(_) | E::Shape { .. } | E::NoGradient { .. } => ErrorCode::Internal,
        };
        Self::new(code, sentence(&error.to_string()))
    }
}

impl From<tb_data::error::Error> for Failure {
    fn from(error: tb_data::error::Error) -> Self {
        Self::new(error.code(), sentence(&error.to_string()))
    }
}

impl From<candle_core::Error> for Failure {
    fn from(error: candle_core::Error) -> Self {
        tb_nn::Error::from(error).into()
    }
}

impl From<tb_stats::StatsError> for Failure {
    fn from(error: tb_stats::StatsError) -> Self {
        Self::new(ErrorCode::Internal, sentence(&error.to_string()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
            std::io::ErrorKind::OutOfMemory => ErrorCode::OutOfMemory,
            std::io::ErrorKind::NotFound => ErrorCode::NotFound,
            _ => ErrorCode::Internal,
        };
        Self::new(code, sentence(&error.to_string()))
    }
}

/// The text with a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_own_code() {
        let full = Failure::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(full.0.code, ErrorCode::DiskFull);
    }

    #[test]
    fn a_failure_reads_as_sentences() {
        let failure = Failure::new(ErrorCode::DataInvalid, "the file is cut off.").within("Training was not started");
        assert_eq!(
            failure.hint("Copy it again.").to_string(),
            "Training was not started: the file is cut off. Copy it again."
        );
    }
}
