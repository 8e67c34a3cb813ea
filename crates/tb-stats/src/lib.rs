//! How ToneBridge measures: text metrics, intervals and nearest-row retrieval, as pure functions.
//! No I/O, no clock, no random source of its own (callers pass one), and no type of another ToneBridge crate.

pub mod bootstrap;
pub mod metrics;
pub mod proportions;
pub mod quantile;
pub mod retrieval;
pub mod special;

mod chars;

use serde::{Deserialize, Serialize};

/// A two-sided interval around a point estimate, in the unit of the estimate; `low <= high`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Why a statistic could not be computed from its input.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// There is no row to measure.
    #[error("there are no rows to measure; give at least one")]
    NoRows,
    /// Paired samples must have one value per row on both sides.
    #[error("paired samples differ in length: {left} against {right}; measure both sides on the same rows")]
    Unpaired {
        /// Values on the left side.
        left: usize,
        /// Values on the right side.
        right: usize,
    },
    /// A value is NaN or infinite.
    #[error("value {index} is not a finite number")]
    NotFinite {
        /// Position of the first such value, from 0.
        index: usize,
    },
    /// The confidence level is outside (0, 1).
    #[error("a confidence level lies between 0 and 1, not {given}; 0.95 is usual")]
    Confidence {
        /// What was given.
        given: f64,
    },
    /// More successes than trials.
    #[error("{successes} successes out of {trials} trials is impossible")]
    Successes {
        /// Successes given.
        successes: u64,
        /// Trials given.
        trials: u64,
    },
    /// A resampling method was asked for no resamples.
    #[error("a bootstrap needs at least one resample; 2000 is usual")]
    NoResamples,
}
