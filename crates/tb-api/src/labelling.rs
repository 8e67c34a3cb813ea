//! Labelling: projects, the queue that hands items to reviewers, decisions where they differ, and how far they agree.

pub(crate) mod agreement;
pub(crate) mod decide;
mod fill;
pub(crate) mod projects;
pub(crate) mod queue;
pub mod types;

use tb_core::{ApiError, ErrorCode};

/// An answer or a project that is refused.
fn refused(what: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, format!("{what}: {why}."))
}
