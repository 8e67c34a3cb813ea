//! How ToneBridge measures: text metrics, intervals, agreement of raters and nearest-row retrieval, as pure functions.
//! No I/O, no clock, no random source of its own (callers pass one), and no type of another ToneBridge crate.

pub mod agreement;
pub mod bootstrap;
pub mod diff;
pub mod means;
pub mod metrics;
pub mod proportions;
pub mod quantile;
pub mod retrieval;
pub mod reviewers;
pub mod special;

mod chars;
mod error;
#[cfg(test)]
mod testing;

use serde::{Deserialize, Serialize};

pub use error::StatsError;

/// A two-sided interval around a point estimate, in the unit of the estimate; `low <= high`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}
