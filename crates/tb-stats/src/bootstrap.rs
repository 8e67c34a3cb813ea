//! Percentile bootstrap intervals over rows. The random numbers come from the caller; nothing here is seeded.

use serde::{Deserialize, Serialize};

use crate::proportions::check_confidence;
use crate::quantile::quantile_of_sorted;
use crate::{Interval, StatsError};

/// A point estimate with its bootstrap interval and the rows behind it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The statistic on the rows as they are.
    pub value: f64,
    /// Where the resampled statistics lie.
    pub interval: Interval,
    /// How many rows were resampled.
    pub rows: usize,
}

/// An estimate of a statistic that has no value on some resamples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DefinedEstimate {
    /// The statistic, and where those resamples lie on which it has a value.
    pub estimate: Estimate,
    /// Resamples that were left out of the interval because the statistic has no value on them.
    pub undefined: u32,
}

/// How often to resample and how wide the interval is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples, at least 1; 2000 makes a 95 % interval steady to about a tenth of its width.
    pub resamples: u32,
    /// Confidence level in (0, 1).
    pub confidence: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 2000, confidence: 0.95 }
    }
}

impl Bootstrap {
    /// The interval of any statistic of rows: `statistic` receives row numbers (drawn with replacement) and must be finite.
    ///
    /// `uniform` yields numbers in [0, 1). For two models on the same rows, let the statistic be their difference:
    /// the rows are then paired. Errors on no rows, a bad confidence level, or a statistic that is not finite.
    pub fn estimate(
        &self,
        rows: usize,
        uniform: &mut impl FnMut() -> f64,
        mut statistic: impl FnMut(&[usize]) -> f64,
    ) -> Result<Estimate, StatsError> {
        Ok(self.estimate_where_defined(rows, uniform, |drawn| Some(statistic(drawn)))?.estimate)
    }

    /// As [`estimate`](Self::estimate), for a statistic without a value on some rows (`None`, such as agreement where
    /// all resampled ratings are one value).
    ///
    /// Resamples without a value are left out and counted; the interval is of those that have one. Where they are more
    /// than a few in a hundred, the interval says little. Errors as `estimate`, with [`StatsError::Undefined`] for
    /// rows that have no value as they are, and [`StatsError::NoDefinedResample`] where no resample has one.
    pub fn estimate_where_defined(
        &self,
        rows: usize,
        uniform: &mut impl FnMut() -> f64,
        mut statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Result<DefinedEstimate, StatsError> {
        check_confidence(self.confidence)?;
        if rows == 0 {
            return Err(StatsError::NoRows);
        }
        if self.resamples == 0 {
            return Err(StatsError::NoResamples);
        }
        let mut drawn: Vec<usize> = (0..rows).collect();
        let value = statistic(&drawn).ok_or(StatsError::Undefined)?;
        let mut values = Vec::with_capacity(self.resamples as usize);
        for _ in 0..self.resamples {
            for row in &mut drawn {
                // A float cast saturates, so even a broken source (1.0, NaN) stays inside the rows.
                *row = ((uniform() * rows as f64) as usize).min(rows - 1);
            }
            values.extend(statistic(&drawn));
        }
        if let Some(index) = std::iter::once(&value).chain(&values).position(|v| !v.is_finite()) {
            return Err(StatsError::NotFinite { index });
        }
        if values.is_empty() {
            return Err(StatsError::NoDefinedResample { resamples: self.resamples });
        }
        let undefined = self.resamples - values.len() as u32;
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        let at = |share| quantile_of_sorted(&values, share).expect("there is at least one finite resample");
        let estimate = Estimate { value, interval: Interval { low: at(tail), high: at(1.0 - tail) }, rows };
        Ok(DefinedEstimate { estimate, undefined })
    }

    /// The mean of per-row values with its interval.
    pub fn mean(&self, values: &[f64], uniform: &mut impl FnMut() -> f64) -> Result<Estimate, StatsError> {
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(StatsError::NotFinite { index });
        }
        self.estimate(values.len(), uniform, |rows| {
            rows.iter().map(|row| values[*row]).sum::<f64>() / rows.len() as f64
        })
    }

    /// The mean of `treatment - control` with its interval; value `i` of both sides must belong to the same row.
    pub fn mean_difference(
        &self,
        control: &[f64],
        treatment: &[f64],
        uniform: &mut impl FnMut() -> f64,
    ) -> Result<Estimate, StatsError> {
        if control.len() != treatment.len() {
            return Err(StatsError::Unpaired { left: control.len(), right: treatment.len() });
        }
        let differences: Vec<f64> = treatment.iter().zip(control).map(|(t, c)| t - c).collect();
        self.mean(&differences, uniform)
    }
}

#[cfg(test)]
mod tests {
    use super::Bootstrap;
    use crate::StatsError;
    use crate::testing::uniform;

    #[test]
    fn a_95_percent_interval_covers_the_truth_about_95_times_in_100() {
        let mut random = uniform(7);
        let bootstrap = Bootstrap { resamples: 400, confidence: 0.95 };
        let trials = 400;
        let mut covered = 0;
        for _ in 0..trials {
            // Paired rows: a shared difficulty plus an effect of 0.25 with uniform noise of spread 1.
            let control: Vec<f64> = (0..60).map(|_| 10.0 * random()).collect();
            let treatment: Vec<f64> = control.iter().map(|c| c + 0.25 + (random() - 0.5)).collect();
            let got = bootstrap.mean_difference(&control, &treatment, &mut random).unwrap();
            covered += u32::from(got.interval.low <= 0.25 && 0.25 <= got.interval.high);
        }
        // 95 % of 400 is 380; four standard errors of the simulation are about 17, and 60 rows cost about one point.
        assert!((360..=396).contains(&covered), "{covered} of {trials}");
    }

    #[test]
    fn the_interval_holds_the_estimate_and_the_same_numbers_give_the_same_interval() {
        let values = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
        let run = || Bootstrap::default().mean(&values, &mut uniform(3)).unwrap();
        let got = run();
        assert!((got.value - 5.0 / 7.0).abs() < 1e-12);
        assert!(got.interval.low < got.value && got.value < got.interval.high);
        assert_eq!(got.rows, 7);
        assert_eq!(got, run());
    }

    #[test]
    fn resamples_without_a_value_are_left_out_and_counted() {
        let bootstrap = Bootstrap { resamples: 200, confidence: 0.9 };
        // Two rows: a resample holds both with probability 1/2, and only then is the share of row 0 taken.
        let both = |rows: &[usize]| rows.contains(&0).then_some(()).and(rows.contains(&1).then_some(0.5));
        let got = bootstrap.estimate_where_defined(2, &mut uniform(5), both).unwrap();
        assert_eq!((got.estimate.value, got.estimate.interval.low, got.estimate.interval.high), (0.5, 0.5, 0.5));
        assert!((70..=130).contains(&got.undefined), "{}", got.undefined);
        assert_eq!(bootstrap.estimate_where_defined(2, &mut uniform(5), |_| None), Err(StatsError::Undefined));
        let mut first = true;
        let once = |_: &[usize]| std::mem::take(&mut first).then_some(1.0);
        let got = bootstrap.estimate_where_defined(2, &mut uniform(5), once);
        assert_eq!(got, Err(StatsError::NoDefinedResample { resamples: 200 }));
    }

    #[test]
    fn a_constant_has_a_point_interval() {
        let got = Bootstrap::default().mean(&[4.0; 9], &mut uniform(1)).unwrap();
        assert_eq!((got.interval.low, got.interval.high), (4.0, 4.0));
    }

    #[test]
    fn bad_input_is_refused_by_name() {
        let bootstrap = Bootstrap::default();
        assert_eq!(bootstrap.mean(&[], &mut uniform(1)), Err(StatsError::NoRows));
        assert_eq!(bootstrap.mean(&[1.0, f64::NAN], &mut uniform(1)), Err(StatsError::NotFinite { index: 1 }));
        let unpaired = bootstrap.mean_difference(&[1.0], &[1.0, 2.0], &mut uniform(1));
        assert_eq!(unpaired, Err(StatsError::Unpaired { left: 1, right: 2 }));
        let wide = Bootstrap { resamples: 10, confidence: 1.0 };
        assert_eq!(wide.mean(&[1.0], &mut uniform(1)), Err(StatsError::Confidence { given: 1.0 }));
        let none = Bootstrap { resamples: 0, confidence: 0.9 };
        assert_eq!(none.mean(&[1.0], &mut uniform(1)), Err(StatsError::NoResamples));
        // A source that leaves [0, 1) cannot leave the rows.
        assert!(bootstrap.mean(&[1.0, 2.0], &mut || 7.5).is_ok());
        assert!(bootstrap.mean(&[1.0, 2.0], &mut || f64::NAN).is_ok());
    }
}
