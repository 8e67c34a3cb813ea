//! How far raters agree, with intervals: Krippendorff's alpha, Cohen's and Fleiss' kappa, and plain shares. About one
//! rater (bias, gold items, weights) see `reviewers`.
//!
//! Every statistic here is a number or a [`StatsError`], never NaN. Intervals resample units (not ratings, which within
//! a unit are not independent), and leave out the resamples on which the statistic has no value: those in which every
//! rating is one value. They are counted in [`AgreementEstimate::undefined`].

mod alpha;
mod cohen;
mod fleiss;
mod patterns;
mod ratings;
mod shares;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use alpha::{alpha, alpha_interval};
pub use cohen::{KappaWeights, cohen_kappa, cohen_kappa_interval};
pub use fleiss::{fleiss_kappa, fleiss_kappa_interval};
pub use ratings::{Rating, Ratings};
pub use shares::{AgreementShares, SharesEstimate, rater_shares, rater_shares_interval, shares, shares_interval};

use crate::Interval;
#[cfg(doc)]
use crate::StatsError;

/// Stevens' level of measurement: what a difference between two ratings means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Values are names: two are the same or not.
    Nominal,
    /// Values have an order, but steps have no size: "good" is above "fair".
    Ordinal,
    /// Differences have a size: 5 is as far from 4 as 2 from 1.
    Interval,
}

/// A measure of agreement with its bootstrap interval and what stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AgreementEstimate {
    /// The statistic on the ratings as they are; 1 is full agreement, 0 what chance gives.
    pub value: f64,
    /// Where the resampled statistics lie.
    pub interval: Interval,
    /// Units with ratings to compare: those that were resampled.
    pub units: usize,
    /// Resamples that were left out of the interval because the statistic has no value on them.
    pub undefined: u32,
}
