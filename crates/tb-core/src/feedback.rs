//! Feedback: what a person thought of an answer, with what they were shown. The rules that make training data of it are in
//! `preference`; how reviewers are given answers to judge is in `labelling`.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    ids::{FeedbackId, LabelItemId, LabelProjectId, ModelId, UserId},
    labelling::Answers,
    text_enum::text_enum,
};

/// Longest text that a row holds, in bytes: 4 MiB.
pub const LONGEST_TEXT_BYTES: usize = 4 << 20;
/// Longest name (session, transformation type, flag, idempotency key), in bytes.
pub const LONGEST_NAME_BYTES: usize = 200;
/// Most flags on one row.
pub const MOST_FLAGS: usize = 32;

text_enum! {
    /// What kind of judgement a row holds; of a row that holds several, the first of this order that it has:
    /// choice, correction, rating, thumbs, critique, flag.
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

text_enum! {
    /// Good or bad.
    Thumbs, "thumb" {
        /// Good.
        Up = "up",
        /// Bad.
        Down = "down",
    }
}

text_enum! {
    /// Which of two answers is better.
    Preferred, "choice" {
        /// The first: the answer of the row.
        A = "a",
        /// The second: the other answer.
        B = "b",
        /// Both are as good.
        Tie = "tie",
        /// Neither can be used.
        BothBad = "both_bad",
    }
}

impl Preferred {
    /// The same judgement with the sides exchanged.
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
            Self::Tie => Self::Tie,
            Self::BothBad => Self::BothBad,
        }
    }
}

text_enum! {
    /// Which answer stood first (left, or above) when the person chose.
    ShownOrder, "shown order" {
        /// The answer of the row, then the other.
        AFirst = "a_first",
        /// The other answer, then that of the row.
        BFirst = "b_first",
    }
}

text_enum! {
    /// Where a row came from.
    FeedbackSource, "feedback source" {
        /// A labelling project.
        Labelling = "labelling",
        /// The window or the command line.
        Workbench = "workbench",
        /// `POST /feedback`: another program, for its users.
        Api = "api",
        /// A file.
        Import = "import",
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

/// A choice between the answer of the row (A) and another (B).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Which is better.
    pub preferred: Preferred,
    /// The other answer.
    pub other_text: String,
    /// The version that gave the other answer, if it is in the registry.
    #[serde(default)]
    pub other_model_id: Option<ModelId>,
    /// Which stood first.
    #[serde(default = "a_first")]
    pub shown: ShownOrder,
}

fn a_first() -> ShownOrder {
    ShownOrder::AFirst
}

/// What a person says of an answer: everything of a row but its id, its time and who sent it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// The session it came from; empty if there is none.
    #[serde(default)]
    pub session_id: String,
    /// The version that answered; none for an answer from elsewhere.
    #[serde(default)]
    pub model_id: Option<ModelId>,
    /// What the model was given.
    pub input_text: String,
    /// What it answered.
    pub output_text: String,
    /// The better text, if the person wrote one.
    #[serde(default)]
    pub corrected_text: Option<String>,
    /// The kind of rewriting, such as `casual_to_polite`.
    #[serde(default)]
    pub transformation_type: String,
    /// The rating, if one was given.
    #[serde(default)]
    pub rating: Option<Rating>,
    /// Good or bad, if that was said.
    #[serde(default)]
    pub thumbs: Option<Thumbs>,
    /// The choice between this answer and another, if one was made.
    #[serde(default)]
    pub choice: Option<Choice>,
    /// What the person wrote about the answer.
    #[serde(default)]
    pub critique: Option<String>,
    /// What to look at, in words of the team.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Answers to the questions of a labelling project, by the question's name.
    #[serde(default)]
    pub answers: Answers,
    /// How long the person took, in milliseconds.
    #[serde(default)]
    #[ts(type = "number | null")]
    pub duration_ms: Option<i64>,
}

/// Why a judgement is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJudgement {
    /// It says nothing.
    #[error("it holds no judgement: give a rating, thumbs, a choice, a corrected text, a critique or a flag")]
    Nothing,
    /// A text that must not be empty is.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A text is too long.
    #[error("{field} has {bytes} bytes: {most} at most")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest.
        most: usize,
    },
    /// Too many flags.
    #[error("it has {0} flags: 32 at most")]
    TooManyFlags(usize),
    /// A time that runs backwards.
    #[error("duration_ms is {0}: it counts from 0")]
    Duration(i64),
}

impl Judgement {
    /// What kind of judgement it is; none if it says nothing.
    #[must_use]
    pub fn kind(&self) -> Option<FeedbackType> {
        if self.choice.is_some() {
            Some(FeedbackType::Choice)
        } else if self.corrected_text.is_some() {
            Some(FeedbackType::Correction)
        } else if self.rating.is_some() {
            Some(FeedbackType::Rating)
        } else if self.thumbs.is_some() {
            Some(FeedbackType::Thumbs)
        } else if self.critique.is_some() || !self.answers.is_empty() {
            Some(FeedbackType::Critique)
        } else if !self.flags.is_empty() {
            Some(FeedbackType::Flag)
        } else {
            None
        }
    }

    /// Checks it; texts are kept as they are, to the byte.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<FeedbackType, BadJudgement> {
        let texts = [
            ("input_text", Some(self.input_text.as_str()), LONGEST_TEXT_BYTES),
            ("output_text", Some(self.output_text.as_str()), LONGEST_TEXT_BYTES),
            ("corrected_text", self.corrected_text.as_deref(), LONGEST_TEXT_BYTES),
            ("critique", self.critique.as_deref(), LONGEST_TEXT_BYTES),
            ("other_text", self.choice.as_ref().map(|c| c.other_text.as_str()), LONGEST_TEXT_BYTES),
            ("session_id", Some(self.session_id.as_str()), LONGEST_NAME_BYTES),
            ("transformation_type", Some(self.transformation_type.as_str()), LONGEST_NAME_BYTES),
        ];
        let flags = self.flags.iter().map(|flag| ("flags", Some(flag.as_str()), LONGEST_NAME_BYTES));
        for (field, text, most) in texts.into_iter().chain(flags) {
            let bytes = text.map_or(0, str::len);
            if bytes > most {
                return Err(BadJudgement::TooLong { field, bytes, most });
            }
        }
        if self.input_text.is_empty() {
            return Err(BadJudgement::Empty("input_text"));
        }
        if self.flags.len() > MOST_FLAGS {
            return Err(BadJudgement::TooManyFlags(self.flags.len()));
        }
        if let Some(ms) = self.duration_ms.filter(|ms| *ms < 0) {
            return Err(BadJudgement::Duration(ms));
        }
        self.kind().ok_or(BadJudgement::Nothing)
    }
}

/// A feedback row as stored. Rows are added and may be withdrawn; nothing else of them changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Feedback {
    /// Its id.
    pub id: FeedbackId,
    /// Who judged; none for an outside user known only by session.
    pub user_id: Option<UserId>,
    /// What kind of judgement it is.
    pub feedback_type: FeedbackType,
    /// Where it came from.
    pub source: FeedbackSource,
    /// The labelling project that asked, if one did.
    pub project_id: Option<LabelProjectId>,
    /// The item of that project.
    pub item_id: Option<LabelItemId>,
    /// What was said.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// How far the correction is from the answer: words changed over words of the longer text, 0 to 1; none without a correction.
    pub correction_distance: Option<f64>,
    /// The key under which its sender may send it again.
    pub idempotency_key: Option<String>,
    /// When.
    #[ts(type = "number")]
    pub created_at_ms: i64,
    /// When it was taken back; none if it counts.
    #[ts(type = "number | null")]
    pub withdrawn_at_ms: Option<i64>,
    /// Why it was taken back.
    pub withdrawn_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement() -> Judgement {
        Judgement { input_text: "in".into(), output_text: "out".into(), ..Judgement::default() }
    }

    #[test]
    fn ratings_outside_one_to_five_are_refused() {
        assert!(serde_json::from_str::<Rating>("0").is_err());
        assert!(serde_json::from_str::<Rating>("6").is_err());
        assert_eq!(serde_json::from_str::<Rating>("5").unwrap(), Rating(5));
    }

    #[test]
    fn a_row_that_says_nothing_is_refused_and_the_strongest_word_names_its_kind() {
        assert_eq!(judgement().check(), Err(BadJudgement::Nothing));
        let rated = Judgement { rating: Some(Rating(4)), flags: vec!["tone".into()], ..judgement() };
        assert_eq!(rated.check(), Ok(FeedbackType::Rating));
        let corrected = Judgement { corrected_text: Some("better".into()), ..rated };
        assert_eq!(corrected.check(), Ok(FeedbackType::Correction));
        let none = Judgement { input_text: String::new(), ..corrected };
        assert_eq!(none.check(), Err(BadJudgement::Empty("input_text")));
    }

    #[test]
    fn what_is_too_long_is_refused_by_name() {
        let long =
            Judgement { rating: Some(Rating(1)), output_text: "x".repeat(LONGEST_TEXT_BYTES + 1), ..judgement() };
        assert!(matches!(long.check(), Err(BadJudgement::TooLong { field: "output_text", .. })));
        let named = Judgement { rating: Some(Rating(1)), session_id: "x".repeat(201), ..judgement() };
        assert!(matches!(named.check(), Err(BadJudgement::TooLong { field: "session_id", .. })));
    }

    #[test]
    fn a_stored_row_reads_back_with_its_judgement_flat() {
        let json = serde_json::json!({
            "id": "fbk_00000000-0000-0000-0000-000000000001", "user_id": null, "feedback_type": "rating", "source": "api",
            "project_id": null, "item_id": null, "session_id": "s", "model_id": null, "input_text": "in", "output_text": "out",
            "corrected_text": null, "transformation_type": "t", "rating": 3, "thumbs": null, "choice": null, "critique": null,
            "flags": [], "answers": {}, "duration_ms": null, "correction_distance": null, "idempotency_key": null,
            "created_at_ms": 5, "withdrawn_at_ms": null, "withdrawn_reason": null,
        });
        let row: Feedback = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&row).unwrap(), json);
    }
}
