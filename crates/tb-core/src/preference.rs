//! From feedback to training data: what people's judgements say about the answers to a prompt, as rows to learn from. Pure: the
//! same evidence makes the same rows, in whatever order it comes. Reading, splitting and freezing are tb-api's.
//!
//! Evidence is grouped by prompt and kind of rewriting; no rule looks beyond a group. The words used below:
//!
//! - A *reviewer* is a user; without one, a session; without either, each row is a person of its own.
//! - The *last word* of a reviewer about a text (or about a pair of texts) counts, once. Rows that say the same stand behind it
//!   together; what the reviewer had said before and took back this way is left out as `outranked`.
//! - A *decided item* counts as decided: if its decision holds a choice, a correction or a rating, that replaces all that its
//!   reviewers said of it. Rows that agree stand behind it, the others are `overruled`; if none agrees, all stand behind it, for it
//!   was made on them. A decision needs neither number nor agreement of reviewers.
//! - A *correction* makes its text better than the answer that it corrects, if as many reviewers as asked for corrected that answer.
//! - *Votes* on a pair of texts are won by the side that was said most often, if that is at least `min_agreement` of all voters (ties
//!   and "both bad" are voters) and there are `min_reviewers` voters. Who voted otherwise is `overruled`; ties are left out as such.
//! - A *mean rating* is that of all raters of a text, thumbs as 5 and 1 where a row has no rating. Of two texts with means far enough
//!   apart, raters *agree* who rate the better one above the midpoint of the two means, or the worse one below it. One text is *good*
//!   (*bad*) by its mean, if enough raters are above (below) the midpoint of `bad_rating` and `good_rating`; if nothing but thumbs
//!   was given, by their majority.
//! - Texts are kept to the byte. A blank text is never an answer.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{dataset::Example, dataset::Said, ids::FeedbackId, text_enum::text_enum};

mod accepted;
mod evidence;
mod judged;
mod labels;
mod pairs;

pub use evidence::{Decision, Evidence, Reviewer, Texts};

text_enum! {
    /// What is to be trained on rows made of feedback.
    TrainingKind, "kind of training data" {
        /// Supervised fine-tuning: a prompt and the accepted answer.
        Sft = "sft",
        /// Preference optimisation (DPO, ORPO): a prompt with a better and a worse answer.
        Preference = "preference",
        /// KTO: a prompt, an answer, and whether it is good.
        Kto = "kto",
        /// A reward model: as `preference`, with the margin by which the better answer is better.
        Reward = "reward",
    }
}

text_enum! {
    /// Why a feedback row made no training row.
    LeftOut, "reason" {
        /// It says nothing that this kind of training can learn from.
        NoSignal = "no_signal",
        /// A tie, or both answers bad.
        Tie = "tie",
        /// The correction is empty or the same as the answer.
        NoChange = "no_change",
        /// The rating is neither high nor low enough, or the gap is too small.
        SmallGap = "small_gap",
        /// Too few reviewers judged.
        FewReviewers = "few_reviewers",
        /// Reviewers do not agree enough.
        LowAgreement = "low_agreement",
        /// The decision of the item, or the majority of reviewers, says otherwise.
        Overruled = "overruled",
        /// The same reviewer said otherwise later, or a better answer to the prompt was taken.
        Outranked = "outranked",
        /// A row from elsewhere holds the same, to the byte.
        Duplicate = "duplicate",
    }
}

/// What makes a training row of feedback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub struct BuildRules {
    /// A correction is better than what it corrects.
    pub corrections: bool,
    /// Choices between two answers count.
    pub choices: bool,
    /// Ratings count: answers to the same prompt whose mean ratings lie far enough apart make a pair.
    pub ratings: bool,
    /// Thumbs count: as a rating of 5 or 1.
    pub thumbs: bool,
    /// Least difference of mean ratings that makes a pair, 1 to 4.
    pub min_rating_gap: f64,
    /// Least mean rating of an answer that is good enough to learn from as it is, 1 to 5.
    pub good_rating: f64,
    /// Highest mean rating of an answer that counts as bad, 1 to 5.
    pub bad_rating: f64,
    /// Least number of reviewers who judged what a row says.
    pub min_reviewers: u32,
    /// Least share of reviewers that must agree, 0 to 1; ties count as disagreement.
    pub min_agreement: f64,
    /// Where an item was decided, the decision counts alone.
    pub resolutions: bool,
}

impl Default for BuildRules {
    fn default() -> Self {
        Self {
            corrections: true,
            choices: true,
            ratings: true,
            thumbs: true,
            min_rating_gap: 2.0,
            good_rating: 4.0,
            bad_rating: 2.0,
            min_reviewers: 1,
            min_agreement: 0.6,
            resolutions: true,
        }
    }
}

/// Why rules are refused.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BadRules {
    /// A number outside its range.
    #[error("{name} is {value}: use {least} to {most}")]
    OutOfRange {
        /// The rule.
        name: &'static str,
        /// What was given.
        value: f64,
        /// The least.
        least: f64,
        /// The most.
        most: f64,
    },
    /// What is good would be bad too.
    #[error("bad_rating is {bad} and good_rating {good}: a good answer needs a higher rating than a bad one")]
    Crossed {
        /// Highest mean rating of a bad answer.
        bad: f64,
        /// Least mean rating of a good one.
        good: f64,
    },
    /// Nothing counts.
    #[error("nothing counts: let corrections, choices, ratings or thumbs count")]
    Nothing,
}

impl BuildRules {
    /// Checks what a person has set.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), BadRules> {
        for (name, value, least, most) in [
            ("min_rating_gap", self.min_rating_gap, 1.0, 4.0),
            ("good_rating", self.good_rating, 1.0, 5.0),
            ("bad_rating", self.bad_rating, 1.0, 5.0),
            ("min_reviewers", f64::from(self.min_reviewers), 1.0, 1000.0),
            ("min_agreement", self.min_agreement, 0.0, 1.0),
        ] {
            // A NaN is in no range.
            if !(least..=most).contains(&value) {
                return Err(BadRules::OutOfRange { name, value, least, most });
            }
        }
        if self.bad_rating >= self.good_rating {
            return Err(BadRules::Crossed { bad: self.bad_rating, good: self.good_rating });
        }
        if !(self.corrections || self.choices || self.ratings || self.thumbs) {
            return Err(BadRules::Nothing);
        }
        Ok(())
    }
}

/// What was built: rows in order of prompt, kind of rewriting and texts; and every other feedback row with its reason, in order of
/// ids. A feedback row is behind at least one row or left out, never both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Built<'e> {
    /// The rows.
    pub rows: Vec<BuiltRow<'e>>,
    /// What made no row.
    pub left_out: Vec<(&'e FeedbackId, LeftOut)>,
}

/// A row to learn from; its texts are those of the evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltRow<'e> {
    /// What the model is given.
    pub prompt: &'e str,
    /// The kind of rewriting.
    pub transformation_type: &'e str,
    /// What is learnt.
    pub lesson: Lesson<'e>,
    /// The feedback rows behind it, sorted; at least one.
    pub feedback: Vec<&'e FeedbackId>,
}

/// What a row teaches about its prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lesson<'e> {
    /// An answer to give.
    Accepted {
        /// The answer.
        completion: &'e str,
    },
    /// One answer is better than another.
    Pair {
        /// The better one.
        chosen: &'e str,
        /// The worse one.
        rejected: &'e str,
        /// By how much, over 0: 1.0 is what a correction, a decision or a vote without dissent says. Of votes it is (votes for - votes
        /// against) / voters; of ratings the gap of the means in stars, up to 4. Where several say the same, the largest.
        margin: f64,
    },
    /// An answer is good or bad.
    Judged {
        /// The answer.
        completion: &'e str,
        /// Whether it is good.
        label: bool,
    },
}

impl Lesson<'_> {
    /// The example with its prompt as the model is given it.
    #[must_use]
    pub fn example(&self, prompt: &str) -> Example {
        let said = |text: &str| Said::Text(text.to_owned());
        match *self {
            Self::Accepted { completion } => {
                Example::PromptCompletion { prompt: said(prompt), completion: said(completion) }
            }
            Self::Pair { chosen, rejected, margin: _ } => {
                Example::Preference { prompt: said(prompt), chosen: said(chosen), rejected: said(rejected) }
            }
            Self::Judged { completion, label } => {
                Example::Unpaired { prompt: said(prompt), completion: said(completion), label }
            }
        }
    }
}

/// Makes rows of feedback. `rules` are taken as they are: check them first.
#[must_use]
pub fn build<'e>(kind: TrainingKind, rules: &BuildRules, evidence: &'e [Evidence]) -> Built<'e> {
    let mut order: Vec<usize> = (0..evidence.len()).collect();
    let place = |i: usize| {
        let e = &evidence[i];
        (&*e.input_text, &*e.transformation_type, e.created_at_ms, &e.id)
    };
    order.sort_unstable_by(|a, b| place(*a).cmp(&place(*b)));
    let mut fates = judged::Fates::new(evidence.len());
    let mut rows = Vec::new();
    let same = |a: &usize, b: &usize| {
        let (a, b) = (&evidence[*a], &evidence[*b]);
        a.input_text == b.input_text && a.transformation_type == b.transformation_type
    };
    for group in order.chunk_by(same) {
        let first = &evidence[group[0]];
        if evidence::is_blank(&first.input_text) {
            continue;
        }
        let mut judged = judged::Judged::of(rules, evidence, group, &mut fates);
        let lessons = match kind {
            TrainingKind::Sft => accepted::lessons(rules, &mut judged, &mut fates),
            TrainingKind::Preference | TrainingKind::Reward => pairs::lessons(rules, &mut judged, &mut fates),
            TrainingKind::Kto => labels::lessons(rules, &mut judged, &mut fates),
        };
        for (lesson, behind) in lessons {
            fates.used(&behind);
            let mut feedback: Vec<&FeedbackId> = behind.iter().map(|i| &evidence[*i].id).collect();
            feedback.sort_unstable();
            feedback.dedup();
            let (prompt, transformation_type) = (&*first.input_text, &*first.transformation_type);
            rows.push(BuiltRow { prompt, transformation_type, lesson, feedback });
        }
    }
    let mut left_out: Vec<_> = (0..evidence.len()).filter_map(|i| Some((&evidence[i].id, fates.why(i)?))).collect();
    left_out.sort_unstable();
    Built { rows, left_out }
}

#[cfg(test)]
mod tests;
