//! Dawid and Skene's model: true answers and raters' errors estimated together, from answers alone.

use serde::{Deserialize, Serialize};

use crate::StatsError;
use crate::agreement::Ratings;

/// The most different answers: a table of each with each is held per rater.
const MOST_CATEGORIES: usize = 200;

/// How the model is fitted.
///
/// Each unit has one true category `j`, with prevalence `p(j)`; rater `r` answers `l` there with probability
/// `π_r(j, l)`, independently of the other raters. Expectation-maximisation (Dawid and Skene, Applied Statistics 28,
/// 1979) begins with each unit's shares of answers and repeats, until no posterior moves by more than `tolerance`:
///
/// ```text
/// p(j)      = mean over units of T(i, j)
/// π_r(j, l) = (Σ over r's answers l of T(i, j) + prior(j, l)) / (the same summed over l)
/// T(i, j)   ∝ p(j) Π over answers l of unit i by rater r of π_r(j, l)
/// prior(j, l) = right_answers if j = l, else wrong_answers / (categories - 1)
/// ```
///
/// The prior is a few made-up answers of every rater in every category: it keeps a rater with three answers from
/// being called perfect or hopeless, and makes the categories keep their names. Nothing is drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DawidSkene {
    /// Prior right answers of each rater in each category, above 0.
    pub right_answers: f64,
    /// Prior wrong answers of each rater in each category, all other categories together, above 0.
    pub wrong_answers: f64,
    /// The most rounds.
    pub max_iterations: u32,
    /// A posterior change (0 to 1) under which the fit has converged.
    pub tolerance: f64,
}

impl Default for DawidSkene {
    /// Two right answers and one wrong, 500 rounds, a change of 1e-6.
    fn default() -> Self {
        Self { right_answers: 2.0, wrong_answers: 1.0, max_iterations: 500, tolerance: 1e-6 }
    }
}

/// How reliable a rater is, by all answers together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RaterAccuracy {
    /// The caller's number of the rater.
    pub rater: usize,
    /// Answers given.
    pub answers: usize,
    /// `Σ p(j) π(j, j)`: the probability, in (0, 1), that the rater is right on a unit taken by chance.
    pub accuracy: f64,
    /// The weight of the rater's vote: `ln(accuracy (K - 1) / (1 - accuracy))` for `K` categories, 0 for one who
    /// guesses, below 0 for one who is wrong more often (Nitzan and Paroush, International Economic Review 23, 1982).
    pub weight: f64,
    /// `π(j, l)`: by true category `j` (outer) the probability of answering `l`, in the order of the categories.
    pub confusion: Vec<Vec<f64>>,
}

/// What the model finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthEstimate {
    /// The categories: the different values given, ascending ([`Ratings::values`]).
    pub categories: Vec<f64>,
    /// `p(j)`: the share of units of each category; sums to 1.
    pub prevalence: Vec<f64>,
    /// The units' numbers, ascending ([`Ratings::units`]).
    pub units: Vec<usize>,
    /// `T(i, j)`: per unit the probability of each category; sums to 1.
    pub posteriors: Vec<Vec<f64>>,
    /// Every rater, in the order of [`Ratings::raters`].
    pub raters: Vec<RaterAccuracy>,
    /// Rounds done.
    pub iterations: u32,
    /// Whether the last round moved no posterior by more than the tolerance.
    pub converged: bool,
}

impl TruthEstimate {
    /// The most probable category of the unit at this position of `units`, with its probability; the lowest of equals.
    pub fn most_probable(&self, position: usize) -> Option<(f64, f64)> {
        let posterior = self.posteriors.get(position)?;
        let best = |best: usize, at: usize| if posterior[at] > posterior[best] { at } else { best };
        let at = (0..posterior.len()).fold(0, best);
        Some((self.categories[at], posterior[at]))
    }
}

impl DawidSkene {
    /// Fits the model to ratings whose values are names. A round takes time in proportion to ratings times categories.
    ///
    /// Raters without any unit in common with others get what the prior and the shares of answers say. Errors:
    /// [`StatsError::NoRows`] without ratings, [`StatsError::NoVariation`] with one category,
    /// [`StatsError::TooManyCategories`] above 200, [`StatsError::Smoothing`] for a prior not above 0.
    pub fn fit(&self, ratings: &Ratings) -> Result<TruthEstimate, StatsError> {
        let categories = ratings.values().len();
        let usable = |count: f64| count.is_finite() && count > 0.0;
        if !usable(self.right_answers) || !usable(self.wrong_answers) {
            return Err(StatsError::Smoothing { right: self.right_answers, wrong: self.wrong_answers });
        }
        match categories {
            0 => return Err(StatsError::NoRows),
            1 => return Err(StatsError::NoVariation),
            2..=MOST_CATEGORIES => {}
            _ => return Err(StatsError::TooManyCategories { given: categories, most: MOST_CATEGORIES }),
        }
        let mut posteriors = shares_of_answers(ratings);
        let mut model = Model::of(ratings, &posteriors, self);
        let (mut iterations, mut converged) = (0, false);
        while iterations < self.max_iterations && !converged {
            let change = model.expect(ratings, &mut posteriors);
            model = Model::of(ratings, &posteriors, self);
            iterations += 1;
            converged = change <= self.tolerance;
        }
        Ok(model.into_estimate(ratings, &posteriors, iterations, converged))
    }
}

/// Per unit (K categories each) the share of its ratings with each value.
fn shares_of_answers(ratings: &Ratings) -> Vec<f64> {
    let categories = ratings.values().len();
    let mut shares = vec![0.0; ratings.units().len() * categories];
    for (of_unit, cells) in shares.chunks_exact_mut(categories).zip(ratings.by_unit()) {
        for cell in cells {
            of_unit[cell.value as usize] += 1.0 / cells.len() as f64;
        }
    }
    shares
}

/// Prevalences and confusions.
struct Model {
    categories: usize,
    prevalence: Vec<f64>,
    /// `π_r(j, l)` at `(r K + l) K + j`: what a rating is multiplied by lies together.
    confusions: Vec<f64>,
}

impl Model {
    /// The maximisation step.
    fn of(ratings: &Ratings, posteriors: &[f64], prior: &DawidSkene) -> Self {
        let categories = ratings.values().len();
        let mut prevalence = vec![0.0; categories];
        let wrong = prior.wrong_answers / (categories - 1) as f64;
        let mut confusions: Vec<f64> = (0..ratings.raters().len() * categories * categories)
            .map(|at| if at / categories % categories == at % categories { prior.right_answers } else { wrong })
            .collect();
        for (posterior, cells) in posteriors.chunks_exact(categories).zip(ratings.by_unit()) {
            prevalence.iter_mut().zip(posterior).for_each(|(sum, share)| *sum += share);
            for cell in cells {
                let from = (cell.rater as usize * categories + cell.value as usize) * categories;
                let counts = &mut confusions[from..from + categories];
                counts.iter_mut().zip(posterior).for_each(|(sum, share)| *sum += share);
            }
        }
        let units = ratings.units().len() as f64;
        prevalence.iter_mut().for_each(|share| *share /= units);
        for of_rater in confusions.chunks_exact_mut(categories * categories) {
            for truth in 0..categories {
                let sum: f64 = of_rater.iter().skip(truth).step_by(categories).sum();
                of_rater.iter_mut().skip(truth).step_by(categories).for_each(|count| *count /= sum);
            }
        }
        Self { categories, prevalence, confusions }
    }

    /// The expectation step, in logarithms; returns the largest change of a posterior.
    fn expect(&self, ratings: &Ratings, posteriors: &mut [f64]) -> f64 {
        let log = |values: &[f64]| -> Vec<f64> { values.iter().map(|value| value.ln()).collect() };
        // A category that has died out is ln 0 = -infinity, and stays at 0; at least one has not.
        let (prevalence, confusions) = (log(&self.prevalence), log(&self.confusions));
        let mut likelihood = vec![0.0; self.categories];
        let mut change: f64 = 0.0;
        for (posterior, cells) in posteriors.chunks_exact_mut(self.categories).zip(ratings.by_unit()) {
            likelihood.copy_from_slice(&prevalence);
            for cell in cells {
                let from = (cell.rater as usize * self.categories + cell.value as usize) * self.categories;
                let of_answer = &confusions[from..from + self.categories];
                likelihood.iter_mut().zip(of_answer).for_each(|(sum, log)| *sum += log);
            }
            let most = likelihood.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            likelihood.iter_mut().for_each(|log| *log = (*log - most).exp());
            let sum: f64 = likelihood.iter().sum();
            for (old, new) in posterior.iter_mut().zip(&likelihood) {
                change = change.max((new / sum - *old).abs());
                *old = new / sum;
            }
        }
        change
    }

    fn into_estimate(self, ratings: &Ratings, posteriors: &[f64], iterations: u32, converged: bool) -> TruthEstimate {
        let categories = self.categories;
        let mut answers = vec![0; ratings.raters().len()];
        ratings.by_unit().flatten().for_each(|cell| answers[cell.rater as usize] += 1);
        let of_rater = |((rater, answers), table): ((&usize, usize), &[f64])| {
            let confusion: Vec<Vec<f64>> =
                (0..categories).map(|truth| table.iter().skip(truth).step_by(categories).copied().collect()).collect();
            let (mut right, mut wrong) = (0.0, 0.0);
            for (truth, (row, prevalence)) in confusion.iter().zip(&self.prevalence).enumerate() {
                right += prevalence * row[truth];
                // Summed, not 1 - right: the odds of a very good rater keep their digits.
                wrong += prevalence * row.iter().enumerate().filter(|(l, _)| *l != truth).map(|(_, p)| p).sum::<f64>();
            }
            let weight = (right * (categories - 1) as f64 / wrong).ln();
            RaterAccuracy { rater: *rater, answers, accuracy: right, weight, confusion }
        };
        TruthEstimate {
            categories: ratings.values().to_vec(),
            units: ratings.units().to_vec(),
            posteriors: posteriors.chunks_exact(categories).map(<[f64]>::to_vec).collect(),
            raters: ratings
                .raters()
                .iter()
                .zip(answers)
                .zip(self.confusions.chunks_exact(categories * categories))
                .map(of_rater)
                .collect(),
            prevalence: self.prevalence,
            iterations,
            converged,
        }
    }
}
