//! Plain agreement, not corrected for chance: "the same rating 68 %, within one 94 %".

use serde::{Deserialize, Serialize};

use super::Ratings;
use super::ratings::Cell;
use crate::StatsError;
use crate::bootstrap::{Bootstrap, Estimate};

/// How often two ratings of a unit are the same, and how often near.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AgreementShares {
    /// Share of the same value, 0 to 1.
    pub same: f64,
    /// Share within the asked distance, from `same` to 1.
    pub near: f64,
    /// Units compared.
    pub units: usize,
    /// Pairs of ratings compared.
    pub pairs: u64,
}

/// [`AgreementShares`] with intervals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SharesEstimate {
    /// Share of the same value.
    pub same: Estimate,
    /// Share within the asked distance.
    pub near: Estimate,
    /// Pairs of ratings compared.
    pub pairs: u64,
}

/// How often one rater gives what the others give.
///
/// For each unit that the rater and someone else rated: the share of the others whose value is the same, and whose value
/// is at most `distance` away. The results are means over those units, so that each unit counts once, however many
/// rated it: take one of the rater's units and one of the others who rated it by chance; how likely do they agree?
///
/// Distances are compared with a slack of one part in a billion of `distance`, so that 0.4 is within 0.1 of 0.3.
/// Errors: [`StatsError::Distance`] if negative or not finite; [`StatsError::NothingToCompare`] if no such unit.
pub fn rater_shares(ratings: &Ratings, rater: usize, distance: f64) -> Result<AgreementShares, StatsError> {
    Ok(compare_rater(ratings, rater, distance)?.shares())
}

/// [`rater_shares`] with percentile intervals over resampled units, which the two shares draw one after the other.
/// Errors also on a bad [`Bootstrap`].
pub fn rater_shares_interval(
    ratings: &Ratings,
    rater: usize,
    distance: f64,
    bootstrap: &Bootstrap,
    uniform: &mut impl FnMut() -> f64,
) -> Result<SharesEstimate, StatsError> {
    compare_rater(ratings, rater, distance)?.estimate(bootstrap, uniform)
}

/// How often two raters agree, over all of them: per unit the share of its pairs of ratings with the same value, and at
/// most `distance` apart; then the mean over the units with a pair. Errors as [`rater_shares`].
pub fn shares(ratings: &Ratings, distance: f64) -> Result<AgreementShares, StatsError> {
    Ok(compare_all(ratings, distance)?.shares())
}

/// [`shares`] with intervals as those of [`rater_shares_interval`].
pub fn shares_interval(
    ratings: &Ratings,
    distance: f64,
    bootstrap: &Bootstrap,
    uniform: &mut impl FnMut() -> f64,
) -> Result<SharesEstimate, StatsError> {
    compare_all(ratings, distance)?.estimate(bootstrap, uniform)
}

fn compare_all(ratings: &Ratings, distance: f64) -> Result<Compared, StatsError> {
    let near = reach(distance)?;
    let mut compared = Compared::default();
    let mut values = Vec::new();
    for cells in ratings.by_unit().filter(|cells| cells.len() >= 2) {
        values.clear();
        values.extend(cells.iter().map(|cell| cell.value));
        values.sort_unstable();
        let (mut pairs, mut same_pairs, mut near_pairs) = (0_u64, 0_u64, 0_u64);
        let (mut same_from, mut near_from) = (0, 0);
        for (at, value) in values.iter().enumerate() {
            // Sorted: whoever is the same or near lies in a window that ends here.
            let of = |index: usize| ratings.values()[values[index] as usize];
            while values[same_from] != *value {
                same_from += 1;
            }
            while of(at) - of(near_from) > near {
                near_from += 1;
            }
            pairs += at as u64;
            same_pairs += (at - same_from) as u64;
            near_pairs += (at - near_from) as u64;
        }
        compared.push(pairs, same_pairs, near_pairs);
    }
    if compared.same.is_empty() { Err(StatsError::NothingToCompare) } else { Ok(compared) }
}

/// The shares of each unit.
#[derive(Default)]
struct Compared {
    same: Vec<f64>,
    near: Vec<f64>,
    pairs: u64,
}

impl Compared {
    fn push(&mut self, pairs: u64, same: u64, near: u64) {
        self.same.push(same as f64 / pairs as f64);
        self.near.push(near as f64 / pairs as f64);
        self.pairs += pairs;
    }

    /// The means; there is at least one unit.
    fn shares(&self) -> AgreementShares {
        let units = self.same.len();
        let mean = |shares: &[f64]| shares.iter().sum::<f64>() / units as f64;
        AgreementShares { same: mean(&self.same), near: mean(&self.near), units, pairs: self.pairs }
    }

    fn estimate(&self, bootstrap: &Bootstrap, uniform: &mut impl FnMut() -> f64) -> Result<SharesEstimate, StatsError> {
        Ok(SharesEstimate {
            same: bootstrap.mean(&self.same, uniform)?,
            near: bootstrap.mean(&self.near, uniform)?,
            pairs: self.pairs,
        })
    }
}

fn compare_rater(ratings: &Ratings, rater: usize, distance: f64) -> Result<Compared, StatsError> {
    let near = reach(distance)?;
    let rater = ratings.rater_position(rater).ok_or(StatsError::NothingToCompare)?;
    let mut compared = Compared::default();
    for cells in ratings.by_unit().filter(|cells| cells.len() >= 2) {
        let Some(own) = cells.iter().find(|cell| cell.rater == rater) else { continue };
        let others = || cells.iter().filter(|cell| cell.rater != rater);
        let value = |cell: &Cell| ratings.values()[cell.value as usize];
        let same = others().filter(|cell| cell.value == own.value).count();
        let near = others().filter(|cell| (value(cell) - value(own)).abs() <= near).count();
        compared.push(cells.len() as u64 - 1, same as u64, near as u64);
    }
    if compared.same.is_empty() { Err(StatsError::NothingToCompare) } else { Ok(compared) }
}

/// The distance with its slack.
fn reach(distance: f64) -> Result<f64, StatsError> {
    if distance.is_finite() && distance >= 0.0 {
        Ok(distance * (1.0 + 1e-9))
    } else {
        Err(StatsError::Distance { given: distance })
    }
}
