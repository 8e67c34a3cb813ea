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
    /// A statistic has no value on the rows as they are, so there is nothing to put an interval around.
    #[error("the statistic has no value on these rows")]
    Undefined,
    /// A statistic has a value on the rows, but on none of the resamples.
    #[error("the statistic has no value on any of {resamples} resamples; there are too few rows for an interval")]
    NoDefinedResample {
        /// Resamples drawn.
        resamples: u32,
    },
    /// No unit was rated twice, so no rating can be compared with another.
    #[error("no unit has two ratings to compare; let a second rater rate some of the same units")]
    NothingToCompare,
    /// Every compared rating is the same value: agreement beyond chance is 0 / 0.
    #[error("every rating that could be compared is the same, so agreement beyond chance cannot be measured")]
    NoVariation,
    /// One rater rated one unit twice.
    #[error("rater {rater} rated unit {unit} twice; keep one of the two ratings")]
    DuplicateRating {
        /// The caller's number of the unit.
        unit: usize,
        /// The caller's number of the rater.
        rater: usize,
    },
    /// Units differ in how many ratings they have, where a statistic needs the same number for each.
    #[error("unit {unit} has {ratings} ratings where the others have {expected}; keep the units with one number")]
    UnequalRatings {
        /// The caller's number of the first such unit.
        unit: usize,
        /// Its ratings.
        ratings: usize,
        /// The ratings of the units before it.
        expected: usize,
    },
    /// A rater cannot be compared with themselves.
    #[error("rater {rater} cannot be compared with themselves; name two raters")]
    SameRater {
        /// The caller's number of the rater.
        rater: usize,
    },
    /// A unit has two gold answers.
    #[error("unit {unit} has two gold answers; keep one")]
    DuplicateGold {
        /// The caller's number of the unit.
        unit: usize,
    },
    /// A distance within which two ratings count as near is negative, NaN or infinite.
    #[error("ratings are near within a distance of 0 or more, not {given}; 1 is usual")]
    Distance {
        /// What was given.
        given: f64,
    },
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
    /// A smoothing prior must be of positive finite counts.
    #[error("smoothing counts are above 0, not {right} and {wrong}; 2 and 1 are usual")]
    Smoothing {
        /// Prior right answers given.
        right: f64,
        /// Prior wrong answers given.
        wrong: f64,
    },
    /// Too many categories for a matrix of each with each per rater.
    #[error("{given} different answers are too many for a table of each with each; at most {most}")]
    TooManyCategories {
        /// Different answers in the ratings.
        given: usize,
        /// The most that are taken.
        most: usize,
    },
}
