//! Intervals for one mean and for the difference of two, from sums alone: no row is read. Resampled means are in `bootstrap`.

use serde::{Deserialize, Serialize};

use crate::proportions::check_confidence;
use crate::special::{student_t_critical, student_t_two_sided};
use crate::{Interval, StatsError};

/// By how much of itself a sum of squares may fall short through rounding before the sums are called impossible.
const ROUNDING: f64 = 1e-6;

/// What a rollup keeps of a list of numbers: enough for mean and variance, and addable.
///
/// The variance is a difference of two sums: where the mean is a thousand times the standard deviation, six of sixteen
/// digits are lost. Subtract a constant near the mean from each number before summing where that matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// How many numbers.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub sum_of_squares: f64,
}

impl Moments {
    /// The moments of a list.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut moments = Self::default();
        for value in values {
            moments.count += 1;
            moments.sum += value;
            moments.sum_of_squares += value * value;
        }
        moments
    }

    /// The moments of both lists together.
    pub fn merge(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            sum_of_squares: self.sum_of_squares + other.sum_of_squares,
        }
    }

    /// `sum / count`. Errors on no values and on sums that no list has.
    pub fn mean(&self) -> Result<f64, StatsError> {
        if self.count == 0 {
            return Err(StatsError::NoRows);
        }
        self.spread()?;
        Ok(self.sum / self.count as f64)
    }

    /// The unbiased variance `(sum_of_squares - sum² / count) / (count - 1)`, at least 0.
    /// Errors on fewer than two values and on sums that no list has.
    pub fn variance(&self) -> Result<f64, StatsError> {
        if self.count < 2 {
            return Err(StatsError::TooFewValues { given: self.count, needed: 2 });
        }
        Ok(self.spread()? / (self.count - 1) as f64)
    }

    /// The sum of squared distances to the mean; rounding below 0 is 0.
    fn spread(&self) -> Result<f64, StatsError> {
        let impossible = StatsError::Moments { count: self.count, sum: self.sum, sum_of_squares: self.sum_of_squares };
        let spread = self.sum_of_squares - self.sum / self.count as f64 * self.sum;
        if !spread.is_finite() || spread < -ROUNDING * self.sum_of_squares.abs() {
            return Err(impossible);
        }
        Ok(spread.max(0.0))
    }
}

/// A mean with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanEstimate {
    /// The mean.
    pub mean: f64,
    /// The t interval around it.
    pub interval: Interval,
    /// The standard error of the mean: standard deviation / √count.
    pub standard_error: f64,
    /// How many values.
    pub count: u64,
}

/// The mean with Student's t interval: `mean ± t √(variance / n)`, `t` the quantile of `n - 1` degrees of freedom at
/// `(1 + confidence) / 2` (Student, Biometrika 6, 1908).
///
/// Exact for normal values, and good for others once there are some dozens. Values without spread give a point.
/// Errors on fewer than two values, a confidence outside (0, 1), or sums that no list of numbers has.
pub fn mean_interval(moments: &Moments, confidence: f64) -> Result<MeanEstimate, StatsError> {
    check_confidence(confidence)?;
    let standard_error = (moments.variance()? / moments.count as f64).sqrt();
    let mean = moments.mean()?;
    let half = student_t_critical(confidence, (moments.count - 1) as f64) * standard_error;
    Ok(MeanEstimate { mean, interval: around(mean, half), standard_error, count: moments.count })
}

/// How two means differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanDifference {
    /// Mean of the treatment minus mean of the control.
    pub difference: f64,
    /// The interval around it.
    pub interval: Interval,
    /// The standard error of the difference.
    pub standard_error: f64,
    /// Welch's degrees of freedom; between the smaller count minus 1 and both counts minus 2.
    pub degrees_of_freedom: f64,
    /// The two-sided p-value of "no difference", 0 to 1.
    pub p_value: f64,
}

/// The difference `treatment - control` of two independent means by Welch's method (Biometrika 34, 1947), which does
/// not assume equal variances.
///
/// With `a = variance / n` of each side: standard error `√(a1 + a2)`, degrees of freedom
/// `(a1 + a2)² / (a1² / (n1 - 1) + a2² / (n2 - 1))`. Where neither side has any spread, the interval is a point, the
/// degrees of freedom are `n1 + n2 - 2` and the p-value is 1 or 0.
/// Errors as [`mean_interval`], on either side. For the same rows on both sides, take the moments of their differences.
pub fn mean_difference(control: &Moments, treatment: &Moments, confidence: f64) -> Result<MeanDifference, StatsError> {
    check_confidence(confidence)?;
    let part = |side: &Moments| Ok::<f64, StatsError>(side.variance()? / side.count as f64);
    let (of_control, of_treatment) = (part(control)?, part(treatment)?);
    let difference = treatment.mean()? - control.mean()?;
    let both = of_control + of_treatment;
    let standard_error = both.sqrt();
    if standard_error == 0.0 {
        return Ok(MeanDifference {
            difference,
            interval: around(difference, 0.0),
            standard_error,
            degrees_of_freedom: (control.count - 1) as f64 + (treatment.count - 1) as f64,
            p_value: if difference == 0.0 { 1.0 } else { 0.0 },
        });
    }
    // As shares of the sum, so that squares of tiny variances do not vanish.
    let squares = |part: f64, side: &Moments| (part / both).powi(2) / (side.count - 1) as f64;
    let degrees_of_freedom = 1.0 / (squares(of_control, control) + squares(of_treatment, treatment));
    let half = student_t_critical(confidence, degrees_of_freedom) * standard_error;
    Ok(MeanDifference {
        difference,
        interval: around(difference, half),
        standard_error,
        degrees_of_freedom,
        p_value: student_t_two_sided(difference / standard_error, degrees_of_freedom),
    })
}

fn around(centre: f64, half: f64) -> Interval {
    Interval { low: centre - half, high: centre + half }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
