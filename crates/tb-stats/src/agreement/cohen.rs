//! Cohen's kappa of two raters, plain and weighted.

use serde::{Deserialize, Serialize};

use super::patterns::{Patterns, unit_scores};
use super::{AgreementEstimate, Ratings};
use crate::StatsError;
use crate::bootstrap::Bootstrap;

/// How much a disagreement counts by the distance `d` of its two values.
///
/// Distances are those of the values, not of their ranks among the values given: on a scale from 1 to 5 on which nobody
/// gave 3, 4 is still two steps from 2. On evenly spaced scales this is what scikit-learn computes when told all labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KappaWeights {
    /// Any disagreement counts 1: Cohen's own kappa, for names.
    Unweighted,
    /// `d`: Cicchetti and Allison.
    Linear,
    /// `d²`: Fleiss and Cohen; close to an intraclass correlation.
    Quadratic,
}

/// Cohen's kappa of two raters over the units that both rated: 1 is full agreement, 0 what chance gives each with the
/// answers that they tend to, below 0 less than that.
///
/// With `w` the weight of a disagreement, `p(c, k)` the share of units with `c` from the first and `k` from the second,
/// and `p(c)`, `q(k)` the shares of each rater's values:
///
/// ```text
/// kappa = 1 - Σ p(c, k) w(c, k) / Σ p(c) q(k) w(c, k)
/// ```
///
/// (Cohen, Educational and Psychological Measurement 20, 1960; weighted: Psychological Bulletin 70, 1968.) It is the
/// same with the raters exchanged. Errors: [`StatsError::SameRater`]; [`StatsError::NothingToCompare`] where no unit was
/// rated by both; [`StatsError::NoVariation`] where both gave one and the same value throughout (0 / 0; scikit-learn
/// warns and gives NaN).
pub fn cohen_kappa(ratings: &Ratings, raters: (usize, usize), weights: KappaWeights) -> Result<f64, StatsError> {
    let patterns = both_rated(ratings, raters)?;
    Terms::new(&patterns, ratings.values(), weights).kappa(patterns.weights()).ok_or(StatsError::NoVariation)
}

/// [`cohen_kappa`] with its percentile interval over resampled units (those that both rated).
///
/// `uniform` yields numbers in [0, 1), one per unit and resample. Errors as [`cohen_kappa`], and on a bad [`Bootstrap`].
pub fn cohen_kappa_interval(
    ratings: &Ratings,
    raters: (usize, usize),
    weights: KappaWeights,
    bootstrap: &Bootstrap,
    uniform: &mut impl FnMut() -> f64,
) -> Result<AgreementEstimate, StatsError> {
    let patterns = both_rated(ratings, raters)?;
    let mut terms = Terms::new(&patterns, ratings.values(), weights);
    patterns.interval(bootstrap, uniform, |weights| terms.kappa(weights))
}

/// The two raters' values, first's then second's, of every unit that both rated.
fn both_rated(ratings: &Ratings, (first, second): (usize, usize)) -> Result<Patterns, StatsError> {
    if first == second {
        return Err(StatsError::SameRater { rater: first });
    }
    let position = |rater| ratings.rater_position(rater).ok_or(StatsError::NothingToCompare);
    let (first, second) = (position(first)?, position(second)?);
    let patterns = Patterns::new(ratings.by_unit().filter_map(|cells| {
        let of = |rater| cells.iter().find(|cell| cell.rater == rater).map(|cell| cell.value);
        Some(vec![of(first)?, of(second)?])
    }));
    if patterns.units() == 0 { Err(StatsError::NothingToCompare) } else { Ok(patterns) }
}

struct Terms<'a> {
    patterns: &'a Patterns,
    weights: KappaWeights,
    scores: Vec<f64>,
    /// Units by value of the first rater, then of the second.
    margins: [Vec<f64>; 2],
}

impl<'a> Terms<'a> {
    fn new(patterns: &'a Patterns, values: &[f64], weights: KappaWeights) -> Self {
        let margins = [vec![0.0; values.len()], vec![0.0; values.len()]];
        Self { patterns, weights, scores: unit_scores(values), margins }
    }

    /// Kappa under the weights of the patterns; `None` where both raters gave one value throughout.
    fn kappa(&mut self, unit_weights: &[u32]) -> Option<f64> {
        let (mut observed, mut total) = (0.0, 0.0);
        self.margins.iter_mut().for_each(|margin| margin.fill(0.0));
        for (_, list, weight) in self.patterns.weighted(unit_weights) {
            let (first, second) = (list[0] as usize, list[1] as usize);
            self.margins[0][first] += weight;
            self.margins[1][second] += weight;
            total += weight;
            let distance = (self.scores[first] - self.scores[second]).abs();
            observed += weight
                * match self.weights {
                    KappaWeights::Unweighted => f64::from(first != second),
                    KappaWeights::Linear => distance,
                    KappaWeights::Quadratic => distance * distance,
                };
        }
        let used = |value: &usize| self.margins[0][*value] + self.margins[1][*value] > 0.0;
        // A second value that occurs, or there is no variation.
        (0..self.scores.len()).filter(used).nth(1)?;
        let expected = match self.weights {
            KappaWeights::Unweighted => self.expected_unweighted(total),
            KappaWeights::Linear => self.expected_linear(total),
            KappaWeights::Quadratic => self.expected_quadratic(total),
        };
        let kappa = 1.0 - observed / expected;
        (expected > 0.0 && kappa.is_finite()).then_some(kappa)
    }

    /// `n (1 - Σ p(c) q(c))`.
    fn expected_unweighted(&self, total: f64) -> f64 {
        let same: f64 = self.margins[0].iter().zip(&self.margins[1]).map(|(first, second)| first * second).sum();
        (total * total - same) / total
    }

    /// `n Σ p(c) q(k) |c - k|`, a gap between neighbouring values at a time: it is crossed by the pairs with one value
    /// on either side.
    fn expected_linear(&self, total: f64) -> f64 {
        let (mut first, mut second, mut sum) = (0.0, 0.0, 0.0);
        for value in 1..self.scores.len() {
            first += self.margins[0][value - 1];
            second += self.margins[1][value - 1];
            let gap = self.scores[value] - self.scores[value - 1];
            sum += gap * (first * (total - second) + second * (total - first));
        }
        sum / total
    }

    /// `n Σ p(c) q(k) (c - k)² = n (variance of the first + variance of the second + (difference of means)²)`.
    fn expected_quadratic(&self, total: f64) -> f64 {
        let mean = |margin: &[f64]| margin.iter().zip(&self.scores).map(|(n, score)| n * score).sum::<f64>() / total;
        let means = [mean(&self.margins[0]), mean(&self.margins[1])];
        let spread = |margin: &[f64], mean: f64| -> f64 {
            margin.iter().zip(&self.scores).map(|(n, score)| n * (score - mean) * (score - mean)).sum()
        };
        let [first, second] = [0, 1].map(|side| spread(&self.margins[side], means[side]));
        first + second + total * (means[0] - means[1]).powi(2)
    }
}
