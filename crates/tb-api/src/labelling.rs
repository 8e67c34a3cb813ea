//! Labelling: projects, the queue that hands items to reviewers, decisions where they differ, and how far they agree.

pub(crate) mod agreement;
pub(crate) mod decide;
mod fill;
pub(crate) mod projects;
pub(crate) mod queue;
pub mod types;

use tb_core::{ApiError, ErrorCode};

/// The median of durations in milliseconds, in seconds; the later of the two in the middle. None of nothing.
fn median_seconds(mut ms: Vec<i64>) -> Option<f64> {
    ms.sort_unstable();
    ms.get(ms.len() / 2).map(|ms| *ms as f64 / 1000.0)
}

/// An answer or a project that is refused.
fn refused(what: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, format!("{what}: {why}."))
}
