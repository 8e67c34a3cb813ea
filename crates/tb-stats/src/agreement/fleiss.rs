//! Fleiss' kappa of any raters who gave every unit the same number of ratings.

use super::patterns::Patterns;
use super::{AgreementEstimate, Ratings};
use crate::StatsError;
use crate::bootstrap::Bootstrap;

/// Fleiss' kappa: 1 is full agreement, 0 what chance gives, below 0 less than that. Values are names.
///
/// With `m` ratings for each of `N` units, `n(i, c)` of them `c` for unit `i`, and `p(c)` the share of `c` overall:
///
/// ```text
/// kappa = (P - E) / (1 - E)
/// P = mean over units of (Σ n(i, c)² - m) / (m (m - 1))
/// E = Σ p(c)²
/// ```
///
/// (Fleiss, Psychological Bulletin 76, 1971.) Which rater gave which rating does not matter.
///
/// Every unit must have the same number of ratings: [`StatsError::UnequalRatings`] otherwise. To leave the others out,
/// pass `ratings.units_with(count)` with a count such as [`Ratings::usual_count`], and say how many units that dropped;
/// or take [`alpha`](super::alpha), which needs no such choice. Errors also: [`StatsError::NothingToCompare`] without
/// units or with one rating each; [`StatsError::NoVariation`] where all ratings are one value (0 / 0; statsmodels gives
/// NaN).
pub fn fleiss_kappa(ratings: &Ratings) -> Result<f64, StatsError> {
    let (patterns, count) = evenly_rated(ratings)?;
    Terms::new(&patterns, ratings.values().len(), count).kappa(patterns.weights()).ok_or(StatsError::NoVariation)
}

/// [`fleiss_kappa`] with its percentile interval over resampled units.
///
/// `uniform` yields numbers in [0, 1), one per unit and resample. Errors as [`fleiss_kappa`], and on a bad [`Bootstrap`].
pub fn fleiss_kappa_interval(
    ratings: &Ratings,
    bootstrap: &Bootstrap,
    uniform: &mut impl FnMut() -> f64,
) -> Result<AgreementEstimate, StatsError> {
    let (patterns, count) = evenly_rated(ratings)?;
    let mut terms = Terms::new(&patterns, ratings.values().len(), count);
    patterns.interval(bootstrap, uniform, |weights| terms.kappa(weights))
}

/// What was rated in each unit, sorted, and how many ratings each has.
fn evenly_rated(ratings: &Ratings) -> Result<(Patterns, usize), StatsError> {
    let expected = ratings.by_unit().next().map_or(0, <[_]>::len);
    if let Some((unit, cells)) = ratings.units().iter().zip(ratings.by_unit()).find(|(_, c)| c.len() != expected) {
        return Err(StatsError::UnequalRatings { unit: *unit, ratings: cells.len(), expected });
    }
    if expected < 2 {
        return Err(StatsError::NothingToCompare);
    }
    let patterns = Patterns::new(ratings.by_unit().map(|cells| {
        let mut values: Vec<u32> = cells.iter().map(|cell| cell.value).collect();
        values.sort_unstable();
        values
    }));
    Ok((patterns, expected))
}

struct Terms<'a> {
    patterns: &'a Patterns,
    /// Ratings of each unit.
    count: f64,
    /// The share of agreeing pairs by pattern.
    agreeing: Vec<f64>,
    /// How many ratings have each value.
    margins: Vec<f64>,
}

impl<'a> Terms<'a> {
    fn new(patterns: &'a Patterns, values: usize, count: usize) -> Self {
        let count = count as f64;
        let agreeing = |list: &[u32]| {
            let same: f64 = list.chunk_by(|a, b| a == b).map(|chunk| (chunk.len() * chunk.len()) as f64).sum();
            (same - count) / (count * (count - 1.0))
        };
        Self { patterns, count, agreeing: patterns.lists().map(agreeing).collect(), margins: vec![0.0; values] }
    }

    /// Kappa under the weights of the patterns; `None` where all ratings are one value.
    fn kappa(&mut self, weights: &[u32]) -> Option<f64> {
        self.margins.fill(0.0);
        let (mut agreeing, mut units) = (0.0, 0.0);
        for (pattern, list, weight) in self.patterns.weighted(weights) {
            for value in list {
                self.margins[*value as usize] += weight;
            }
            agreeing += weight * self.agreeing[pattern];
            units += weight;
        }
        // A second value that occurs, or there is no variation.
        self.margins.iter().filter(|margin| **margin > 0.0).nth(1)?;
        let total = units * self.count;
        let by_chance: f64 = self.margins.iter().map(|margin| (margin / total).powi(2)).sum();
        let kappa = (agreeing / units - by_chance) / (1.0 - by_chance);
        kappa.is_finite().then_some(kappa)
    }
}
