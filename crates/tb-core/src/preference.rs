//! Preference pairs: what a person's judgement says about two answers.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{feedback::Feedback, ids::FeedbackId, text_enum::text_enum};

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
        /// The decision of the item says otherwise.
        Overruled = "overruled",
        /// An earlier row says the same.
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
    /// Least number of reviewers behind a row.
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

/// A pair to learn from, with the feedback row that it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct PreferencePair {
    /// What the model was given.
    pub prompt: String,
    /// The better answer.
    pub chosen: String,
    /// The worse answer.
    pub rejected: String,
    /// The row that says so.
    pub feedback_id: FeedbackId,
}

/// A correction is better than the answer it corrects. No correction, an empty one, or one that changes nothing makes no pair.
#[must_use]
pub fn pair_from_correction(feedback: &Feedback) -> Option<PreferencePair> {
    let corrected = feedback.judgement.corrected_text.as_deref()?.trim();
    if corrected.is_empty() || corrected == feedback.judgement.output_text.trim() {
        return None;
    }
    Some(PreferencePair {
        prompt: feedback.judgement.input_text.clone(),
        chosen: corrected.to_owned(),
        rejected: feedback.judgement.output_text.clone(),
        feedback_id: feedback.id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feedback::{FeedbackSource, FeedbackType, Judgement},
        ids::FeedbackId,
    };

    fn feedback(corrected: Option<&str>) -> Feedback {
        let judgement = Judgement {
            input_text: "in".into(),
            output_text: "out".into(),
            corrected_text: corrected.map(String::from),
            ..Judgement::default()
        };
        Feedback {
            id: FeedbackId::from_uuid(uuid::Uuid::from_u128(1)),
            user_id: None,
            feedback_type: FeedbackType::Correction,
            source: FeedbackSource::Api,
            project_id: None,
            item_id: None,
            judgement,
            correction_distance: None,
            idempotency_key: None,
            created_at_ms: 0,
            withdrawn_at_ms: None,
            withdrawn_reason: None,
        }
    }

    #[test]
    fn a_correction_beats_the_answer_and_no_change_is_not_a_pair() {
        assert_eq!(pair_from_correction(&feedback(Some("better"))).unwrap().chosen, "better");
        assert!(pair_from_correction(&feedback(Some(" out "))).is_none());
        assert!(pair_from_correction(&feedback(Some("  "))).is_none());
        assert!(pair_from_correction(&feedback(None)).is_none());
    }
}
