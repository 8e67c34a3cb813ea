//! Preference pairs: what a person's judgement says about two answers.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{feedback::Feedback, ids::FeedbackId};

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
    let corrected = feedback.corrected_text.as_deref()?.trim();
    if corrected.is_empty() || corrected == feedback.output_text.trim() {
        return None;
    }
    Some(PreferencePair {
        prompt: feedback.input_text.clone(),
        chosen: corrected.to_owned(),
        rejected: feedback.output_text.clone(),
        feedback_id: feedback.id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        feedback::FeedbackType,
        ids::{FeedbackId, ModelId},
    };

    fn feedback(corrected: Option<&str>) -> Feedback {
        Feedback {
            id: FeedbackId::from_uuid(uuid::Uuid::from_u128(1)),
            user_id: None,
            session_id: "s".into(),
            model_id: ModelId::from_uuid(uuid::Uuid::from_u128(2)),
            input_text: "in".into(),
            output_text: "out".into(),
            corrected_text: corrected.map(String::from),
            transformation_type: "casual_to_polite".into(),
            rating: None,
            feedback_type: FeedbackType::Correction,
            created_at_ms: 0,
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
