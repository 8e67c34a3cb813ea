//! What can be said about one rater: bias against the others, right answers on gold items, and the accuracy that all
//! answers together suggest (Dawid and Skene). How far raters agree with each other is in `agreement`.

mod dawid_skene;

use serde::{Deserialize, Serialize};

pub use dawid_skene::{DawidSkene, RaterAccuracy, TruthEstimate};

use crate::agreement::Ratings;
use crate::means::{Moments, mean_interval};
use crate::proportions::{check_confidence, wilson};
use crate::{Interval, StatsError};

/// How much higher a rater rates than the others do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RaterBias {
    /// The caller's number of the rater.
    pub rater: usize,
    /// Units that the rater and someone else rated.
    pub units: usize,
    /// Mean of (own value - mean of the others' values) over those units; above 0 is milder. `None` without such a unit.
    pub bias: Option<f64>,
    /// The t interval around it; `None` for fewer than two such units.
    pub interval: Option<Interval>,
}

/// Every rater's bias, in the order of [`Ratings::raters`].
///
/// For each unit of a rater that others rated too: own value minus the mean of theirs; then mean and t interval over
/// the units, which are taken as independent (see [`mean_interval`]). It is relative: where all are too mild alike, no
/// one shows a bias, and one extreme rater gives the others a small opposite one. Values need a size
/// ([`Level::Interval`](crate::agreement::Level::Interval)). Errors on a confidence outside (0, 1).
pub fn rater_biases(ratings: &Ratings, confidence: f64) -> Result<Vec<RaterBias>, StatsError> {
    check_confidence(confidence)?;
    let mut of_raters = vec![Moments::default(); ratings.raters().len()];
    for cells in ratings.by_unit().filter(|cells| cells.len() >= 2) {
        let value = |cell: usize| ratings.values()[cells[cell].value as usize];
        // Summed as distances from one of them, so that large values lose no digits.
        let origin = value(0);
        let sum: f64 = (0..cells.len()).map(|cell| value(cell) - origin).sum();
        for (at, cell) in cells.iter().enumerate() {
            let own = value(at) - origin;
            let difference = own - (sum - own) / (cells.len() - 1) as f64;
            let moments = &mut of_raters[cell.rater as usize];
            *moments = moments.merge(Moments::of([difference]));
        }
    }
    let biases = ratings.raters().iter().zip(of_raters).map(|(rater, moments)| {
        let (bias, interval) = match moments.count {
            0 => (None, None),
            1 => (Some(moments.mean()?), None),
            _ => {
                let got = mean_interval(&moments, confidence)?;
                (Some(got.mean), Some(got.interval))
            }
        };
        Ok(RaterBias { rater: *rater, units: moments.count as usize, bias, interval })
    });
    biases.collect()
}

/// How often a rater is right on units whose answer is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GoldAccuracy {
    /// The caller's number of the rater.
    pub rater: usize,
    /// Gold units on which the rater's value is the gold value.
    pub right: u64,
    /// Gold units that the rater rated.
    pub answered: u64,
    /// The Wilson interval of `right / answered`; all of [0, 1] where no gold unit was rated.
    pub interval: Interval,
}

impl GoldAccuracy {
    /// `right / answered`, 0 to 1; `None` where no gold unit was rated.
    pub fn accuracy(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.right as f64 / self.answered as f64)
    }
}

/// Every rater's right answers on the gold units, in the order of [`Ratings::raters`].
///
/// `gold` holds (unit, value); units that nobody rated do no harm. Errors on a unit with two gold answers, on a gold
/// value that is not finite (its position), and on a confidence outside (0, 1).
pub fn gold_accuracies(
    ratings: &Ratings,
    gold: &[(usize, f64)],
    confidence: f64,
) -> Result<Vec<GoldAccuracy>, StatsError> {
    check_confidence(confidence)?;
    if let Some(index) = gold.iter().position(|(_, value)| !value.is_finite()) {
        return Err(StatsError::NotFinite { index });
    }
    let mut gold = gold.to_vec();
    gold.sort_by_key(|(unit, _)| *unit);
    if let Some(pair) = gold.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(StatsError::DuplicateGold { unit: pair[0].0 });
    }
    let mut counts = vec![(0, 0); ratings.raters().len()];
    for (unit, cells) in ratings.units().iter().zip(ratings.by_unit()) {
        let Ok(at) = gold.binary_search_by_key(unit, |(unit, _)| *unit) else { continue };
        for cell in cells {
            let (right, answered) = &mut counts[cell.rater as usize];
            *right += u64::from(ratings.values()[cell.value as usize] == gold[at].1);
            *answered += 1;
        }
    }
    let accuracy = |(rater, (right, answered)): (&usize, (u64, u64))| {
        Ok(GoldAccuracy { rater: *rater, right, answered, interval: wilson(right, answered, confidence)? })
    };
    ratings.raters().iter().zip(counts).map(accuracy).collect()
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
