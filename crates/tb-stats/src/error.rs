//! Why a statistic has no value. What a caller does about it is not here.

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
    /// Too few values for a spread.
    #[error("{given} values are too few; an interval for a mean needs at least {needed}")]
    TooFewValues {
        /// Values given.
        given: u64,
        /// Values needed.
        needed: u64,
    },
    /// No list of numbers has this count, sum and sum of squares.
    #[error("{count} numbers with sum {sum} and sum of squares {sum_of_squares} do not exist")]
    Moments {
        /// Count given.
        count: u64,
        /// Sum given.
        sum: f64,
        /// Sum of squares given.
        sum_of_squares: f64,
    },
}
