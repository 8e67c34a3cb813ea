//! Krippendorff's alpha for nominal, ordinal and interval values, with missing ratings.

use super::patterns::{Patterns, unit_scores};
use super::{AgreementEstimate, Level, Ratings};
use crate::StatsError;
use crate::bootstrap::Bootstrap;

/// Krippendorff's alpha: 1 is full agreement, 0 what chance gives, below 0 raters who contradict each other.
///
/// From the matrix of coincidences `o(c, k) = Σ over units of (ordered pairs with values c and k) / (m - 1)`, `m` the
/// ratings of the unit, with margins `n(c)` and sum `n`:
///
/// ```text
/// alpha = 1 - observed / expected
/// observed = Σ o(c, k) δ(c, k)
/// expected = Σ n(c) n(k) δ(c, k) / (n - 1)
/// δ nominal   0 if c = k, else 1
///   interval  (c - k)²
///   ordinal   (n(c)/2 + n(values between) + n(k)/2)², which is the squared difference of mid-ranks
/// ```
///
/// (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011; Content Analysis, 4th edition, chapter 12.) Both
/// sums are taken from moments of scores, so that the cost is one pass over the ratings; the matrix is never formed.
///
/// Units with fewer than two ratings have no pair and count nowhere. Errors: [`StatsError::NothingToCompare`] without
/// any pair; [`StatsError::NoVariation`] where all paired ratings are one value, since `expected` is then 0: raters
/// who only ever say one thing show no reliability. The reference implementation (PyPI `krippendorff` 0.9) raises an
/// error where one value was ever given, and gives NaN where one value is left among the pairs.
pub fn alpha(ratings: &Ratings, level: Level) -> Result<f64, StatsError> {
    let patterns = pairable(ratings)?;
    let mut terms = Terms::new(&patterns, ratings.values(), level);
    terms.alpha(patterns.weights()).ok_or(StatsError::NoVariation)
}

/// [`alpha`] with its percentile interval over resampled units (those with two ratings or more).
///
/// Each resample is alpha of the units drawn, its expected disagreement and mid-ranks too. `uniform` yields numbers in
/// [0, 1), one per unit and resample. Errors as [`alpha`], and on a bad [`Bootstrap`].
pub fn alpha_interval(
    ratings: &Ratings,
    level: Level,
    bootstrap: &Bootstrap,
    uniform: &mut impl FnMut() -> f64,
) -> Result<AgreementEstimate, StatsError> {
    let patterns = pairable(ratings)?;
    let mut terms = Terms::new(&patterns, ratings.values(), level);
    patterns.interval(bootstrap, uniform, |weights| terms.alpha(weights))
}

/// What was rated in the units that have a pair, order of raters aside.
fn pairable(ratings: &Ratings) -> Result<Patterns, StatsError> {
    let patterns = Patterns::new(ratings.by_unit().filter(|cells| cells.len() >= 2).map(|cells| {
        let mut values: Vec<u32> = cells.iter().map(|cell| cell.value).collect();
        values.sort_unstable();
        values
    }));
    if patterns.units() == 0 { Err(StatsError::NothingToCompare) } else { Ok(patterns) }
}

/// What the sums of alpha are made of, and the room to make them in.
struct Terms<'a> {
    patterns: &'a Patterns,
    level: Level,
    /// The score of each value: fixed for interval, the mid-rank under the weights for ordinal, unused for nominal.
    scores: Vec<f64>,
    /// A unit's part of the observed disagreement by pattern; empty for ordinal, where it depends on the weights.
    observed: Vec<f64>,
    /// How many paired ratings have each value.
    margins: Vec<f64>,
}

impl<'a> Terms<'a> {
    fn new(patterns: &'a Patterns, values: &[f64], level: Level) -> Self {
        let scores = unit_scores(values);
        let observed = match level {
            Level::Nominal => patterns.lists().map(nominal_disagreement).collect(),
            Level::Ordinal => Vec::new(),
            Level::Interval => patterns.lists().map(|list| squared_disagreement(list, &scores)).collect(),
        };
        Self { patterns, level, scores, observed, margins: vec![0.0; values.len()] }
    }

    /// Alpha under the weights of the patterns; `None` where all ratings are one value.
    fn alpha(&mut self, weights: &[u32]) -> Option<f64> {
        self.margins.fill(0.0);
        for (_, list, weight) in self.patterns.weighted(weights) {
            for value in list {
                self.margins[*value as usize] += weight;
            }
        }
        // A second value that occurs, or there is no variation.
        self.margins.iter().filter(|margin| **margin > 0.0).nth(1)?;
        let total: f64 = self.margins.iter().sum();
        let observed_by_pattern = || self.patterns.weighted(weights).map(|(p, _, weight)| weight * self.observed[p]);
        let (observed, expected) = match self.level {
            Level::Nominal => {
                let same: f64 = self.margins.iter().map(|margin| margin * margin).sum();
                (observed_by_pattern().sum::<f64>(), (total * total - same) / (total - 1.0))
            }
            Level::Ordinal => {
                let mut below = 0.0;
                for (score, margin) in self.scores.iter_mut().zip(&self.margins) {
                    // As a share of all ratings, so that the squares stay small.
                    *score = (below + margin / 2.0) / total;
                    below += margin;
                }
                let scored =
                    |(_, list, weight): (usize, &[u32], f64)| weight * squared_disagreement(list, &self.scores);
                (self.patterns.weighted(weights).map(scored).sum(), self.expected_of_squares(total))
            }
            Level::Interval => (observed_by_pattern().sum(), self.expected_of_squares(total)),
        };
        let alpha = 1.0 - observed / expected;
        // Values within a hair of each other beside one that is far off may leave squares of 0.
        (expected > 0.0 && alpha.is_finite()).then_some(alpha)
    }

    /// `Σ n(c) n(k) (s(c) - s(k))² / (n - 1) = 2 n Σ n(c) (s(c) - mean)² / (n - 1)`.
    fn expected_of_squares(&self, total: f64) -> f64 {
        let pairs = || self.scores.iter().zip(&self.margins);
        let mean = pairs().map(|(score, margin)| score * margin).sum::<f64>() / total;
        let spread: f64 = pairs().map(|(score, margin)| margin * (score - mean) * (score - mean)).sum();
        2.0 * total * spread / (total - 1.0)
    }
}

/// `Σ over ordered pairs of δ / (m - 1)` of one unit, nominal: `(m² - Σ n(c)²) / (m - 1)`; its values are sorted.
fn nominal_disagreement(list: &[u32]) -> f64 {
    let m = list.len() as f64;
    let same: f64 = list.chunk_by(|a, b| a == b).map(|chunk| (chunk.len() * chunk.len()) as f64).sum();
    (m * m - same) / (m - 1.0)
}

/// The same for squared differences of scores: `2 m Σ (s - mean)² / (m - 1)`.
fn squared_disagreement(list: &[u32], scores: &[f64]) -> f64 {
    let m = list.len() as f64;
    let score = |value: &u32| scores[*value as usize];
    let mean = list.iter().map(score).sum::<f64>() / m;
    let spread: f64 = list.iter().map(|value| (score(value) - mean).powi(2)).sum();
    2.0 * m * spread / (m - 1.0)
}
