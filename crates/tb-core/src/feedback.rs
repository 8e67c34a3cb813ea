//! Feedback: what a person thought of an answer.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    ids::{FeedbackId, ModelId, UserId},
    text_enum::text_enum,
};

text_enum! {
    /// What kind of judgement a row holds.
    FeedbackType, "feedback type" {
        /// A rating of 1 to 5.
        Rating = "rating",
        /// A better text.
        Correction = "correction",
        /// Good or bad.
        Thumbs = "thumbs",
        /// One of two answers.
        Choice = "choice",
        /// Words.
        Critique = "critique",
        /// Something to look at.
        Flag = "flag",
    }
}

/// A rating: 1 (bad) to 5 (good).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(try_from = "u8", into = "u8")]
#[ts(type = "1 | 2 | 3 | 4 | 5")]
pub struct Rating(u8);

/// A number that is no rating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no rating: use 1 to 5")]
pub struct BadRating(pub u8);

impl TryFrom<u8> for Rating {
    type Error = BadRating;
    fn try_from(stars: u8) -> Result<Self, BadRating> {
        if (1..=5).contains(&stars) { Ok(Self(stars)) } else { Err(BadRating(stars)) }
    }
}

impl From<Rating> for u8 {
    fn from(rating: Rating) -> u8 {
        rating.0
    }
}

/// A feedback row as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Feedback {
    /// Its id.
    pub id: FeedbackId,
    /// Who judged; none for an outside user known only by session.
    pub user_id: Option<UserId>,
    /// The session it came from.
    pub session_id: String,
    /// The version that answered.
    pub model_id: ModelId,
    /// What the model was given.
    pub input_text: String,
    /// What it answered.
    pub output_text: String,
    /// The better text, if the person wrote one.
    pub corrected_text: Option<String>,
    /// The kind of rewriting, such as `casual_to_polite`.
    pub transformation_type: String,
    /// The rating, if one was given.
    pub rating: Option<Rating>,
    /// What kind of judgement it is.
    pub feedback_type: FeedbackType,
    /// When.
    #[ts(type = "number")]
    pub created_at_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_outside_one_to_five_are_refused() {
        assert!(serde_json::from_str::<Rating>("0").is_err());
        assert!(serde_json::from_str::<Rating>("6").is_err());
        assert_eq!(serde_json::from_str::<Rating>("5").unwrap(), Rating(5));
    }
}
