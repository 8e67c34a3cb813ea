//! Units grouped by what was rated: the same values make one pattern with a weight. A resample is then another set of
//! weights, and a statistic is summed over patterns instead of units.

use std::collections::HashMap;

use super::AgreementEstimate;
use crate::StatsError;
use crate::bootstrap::Bootstrap;

/// Lists of value positions, each once, and which of them every unit has.
pub(crate) struct Patterns {
    /// The lists one after another.
    values: Vec<u32>,
    /// Where each list begins, and last where they end.
    starts: Vec<usize>,
    /// The pattern of each unit.
    of_unit: Vec<u32>,
    /// How many units have each pattern.
    weights: Vec<u32>,
}

impl Patterns {
    /// The patterns of units, numbered in order of first appearance.
    pub fn new(units: impl Iterator<Item = Vec<u32>>) -> Self {
        let mut found: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut patterns = Self { values: Vec::new(), starts: vec![0], of_unit: Vec::new(), weights: Vec::new() };
        for unit in units {
            let next = patterns.weights.len() as u32;
            let pattern = *found.entry(unit).or_insert_with_key(|unit| {
                patterns.values.extend(unit);
                patterns.starts.push(patterns.values.len());
                patterns.weights.push(0);
                next
            });
            patterns.weights[pattern as usize] += 1;
            patterns.of_unit.push(pattern);
        }
        patterns
    }

    /// How many units there are.
    pub fn units(&self) -> usize {
        self.of_unit.len()
    }

    /// How many units have each pattern.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Every pattern's values, in order.
    pub fn lists(&self) -> impl Iterator<Item = &[u32]> {
        self.starts.windows(2).map(|ends| &self.values[ends[0]..ends[1]])
    }

    /// Every pattern that occurs under `weights`: its number, its values, how often.
    pub fn weighted<'a>(&'a self, weights: &'a [u32]) -> impl Iterator<Item = (usize, &'a [u32], f64)> {
        self.lists()
            .zip(weights)
            .enumerate()
            .filter(|(_, (_, weight))| **weight > 0)
            .map(|(pattern, (values, weight))| (pattern, values, f64::from(*weight)))
    }

    /// The statistic with its interval over resampled units; it receives the weights of the patterns, and has no value
    /// where all ratings are one: [`StatsError::NoVariation`] if that holds for the units as they are.
    pub fn interval(
        &self,
        bootstrap: &Bootstrap,
        uniform: &mut impl FnMut() -> f64,
        mut statistic: impl FnMut(&[u32]) -> Option<f64>,
    ) -> Result<AgreementEstimate, StatsError> {
        let mut weights = vec![0; self.weights.len()];
        let got = bootstrap.estimate_where_defined(self.units(), uniform, |units| {
            weights.fill(0);
            for unit in units {
                weights[self.of_unit[*unit] as usize] += 1;
            }
            statistic(&weights)
        });
        let got = got.map_err(|error| if error == StatsError::Undefined { StatsError::NoVariation } else { error })?;
        let estimate = got.estimate;
        Ok(AgreementEstimate {
            value: estimate.value,
            interval: estimate.interval,
            units: estimate.rows,
            undefined: got.undefined,
        })
    }
}

/// Values as scores from 0 to 1, so that no square of a score overflows; measures that compare differences with
/// differences do not change. One value is 0.
pub(crate) fn unit_scores(values: &[f64]) -> Vec<f64> {
    let (Some(low), Some(high)) = (values.first(), values.last()) else { return Vec::new() };
    // Halved only where the range itself would overflow: the half of the smallest numbers is 0.
    let half = if (high - low).is_finite() { 1.0 } else { 0.5 };
    let range = high * half - low * half;
    values.iter().map(|value| if range > 0.0 { (value * half - low * half) / range } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Patterns, unit_scores};

    #[test]
    fn the_same_values_are_one_pattern() {
        let patterns = Patterns::new([vec![0, 1], vec![2], vec![0, 1], vec![1, 0]].into_iter());
        assert_eq!((patterns.units(), patterns.weights()), (4, &[2, 1, 1][..]));
        let lists: Vec<&[u32]> = patterns.lists().collect();
        assert_eq!(lists, [&[0, 1][..], &[2], &[1, 0]]);
        let seen: Vec<_> = patterns.weighted(&[0, 3, 0]).collect();
        assert_eq!(seen, [(1, &[2][..], 3.0)]);
    }

    #[test]
    fn scores_lie_between_0_and_1_for_any_range() {
        assert_eq!(unit_scores(&[1.0, 2.0, 5.0]), [0.0, 0.25, 1.0]);
        assert_eq!(unit_scores(&[-f64::MAX, 0.0, f64::MAX]), [0.0, 0.5, 1.0]);
        assert_eq!(unit_scores(&[0.0, 5e-324]), [0.0, 1.0]);
        assert_eq!(unit_scores(&[7.0]), [0.0]);
        assert!(unit_scores(&[]).is_empty());
    }
}
