//! What the rules look at: a feedback row without all that no rule reads, and the decision of its item.

use std::{collections::HashSet, sync::Arc};

use crate::{
    feedback::{Feedback, Preferred, Rating, Thumbs},
    ids::{FeedbackId, LabelItemId},
    labelling::{Answer, Answers, Question, QuestionKind},
};

/// A feedback row that counts. Texts are shared: many rows judge the same answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The row.
    pub id: FeedbackId,
    /// Who judged.
    pub reviewer: Reviewer,
    /// What the model was given.
    pub input_text: Arc<str>,
    /// The kind of rewriting.
    pub transformation_type: Arc<str>,
    /// What it answered.
    pub output_text: Arc<str>,
    /// A better text.
    pub corrected_text: Option<Arc<str>>,
    /// A rating.
    pub rating: Option<Rating>,
    /// Good or bad.
    pub thumbs: Option<Thumbs>,
    /// Which is better, this answer (A) or another (B), and the other.
    pub choice: Option<(Preferred, Arc<str>)>,
    /// When.
    pub created_at_ms: i64,
    /// What was decided of its item.
    pub decision: Option<Arc<Decision>>,
}

/// Who judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reviewer {
    /// A user, by id.
    User(Arc<str>),
    /// Somebody outside, by session.
    Session(Arc<str>),
    /// Nobody knows; each such row is a person of its own.
    Unknown,
}

impl Reviewer {
    /// The reviewer of a row with this user and session.
    #[must_use]
    pub fn of(user_id: Option<&str>, session_id: &str) -> Self {
        match user_id {
            Some(user) => Self::User(user.into()),
            None if session_id.is_empty() => Self::Unknown,
            None => Self::Session(session_id.into()),
        }
    }
}

/// What was decided of an item on which reviewers differed, as far as training can learn from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The item.
    pub item_id: LabelItemId,
    /// Its answer (A).
    pub output_text: Arc<str>,
    /// Its second answer (B), if there are two.
    pub other_text: Option<Arc<str>>,
    /// Which is better.
    pub preferred: Option<Preferred>,
    /// A better text.
    pub corrected_text: Option<Arc<str>>,
    /// A rating.
    pub rating: Option<Rating>,
}

impl Decision {
    /// What answers to a project's questions decide; none if they hold no choice, correction or rating.
    #[must_use]
    pub fn of(
        item_id: LabelItemId,
        output_text: Arc<str>,
        other_text: Option<Arc<str>>,
        questions: &[Question],
        answers: &Answers,
    ) -> Option<Self> {
        let (mut preferred, mut corrected_text, mut rating) = (None, None, None);
        for question in questions {
            match (&question.kind, answers.get(&question.name)) {
                (QuestionKind::Rating { .. }, Some(Answer::Number(stars))) => rating = Rating::try_from(*stars).ok(),
                (QuestionKind::Choice, Some(Answer::Text(word))) if other_text.is_some() => {
                    preferred = word.parse().ok();
                }
                // A correction that changes nothing lets the answer stand.
                (QuestionKind::Correction, Some(Answer::Text(text))) if *text != *output_text => {
                    corrected_text = Some(text.as_str().into());
                }
                (
                    QuestionKind::Rating { .. }
                    | QuestionKind::Choice
                    | QuestionKind::Correction
                    | QuestionKind::Label { .. }
                    | QuestionKind::Labels { .. }
                    | QuestionKind::Text,
                    None | Some(Answer::Number(_) | Answer::Text(_) | Answer::Many(_)),
                ) => {}
            }
        }
        if preferred.is_none() && corrected_text.is_none() && rating.is_none() {
            return None;
        }
        Some(Self { item_id, output_text, other_text, preferred, corrected_text, rating })
    }
}

impl Evidence {
    /// A row as evidence; none if it was withdrawn.
    #[must_use]
    pub fn of(row: Feedback, decision: Option<Arc<Decision>>) -> Option<Self> {
        if row.withdrawn_at_ms.is_some() {
            return None;
        }
        let judgement = row.judgement;
        Some(Self {
            id: row.id,
            reviewer: Reviewer::of(row.user_id.as_ref().map(|u| u.as_str()), &judgement.session_id),
            input_text: judgement.input_text.into(),
            transformation_type: judgement.transformation_type.into(),
            output_text: judgement.output_text.into(),
            corrected_text: judgement.corrected_text.map(Into::into),
            rating: judgement.rating,
            thumbs: judgement.thumbs,
            choice: judgement.choice.map(|c| (c.preferred, c.other_text.into())),
            created_at_ms: row.created_at_ms,
            decision,
        })
    }

    /// The same evidence with texts that others have too held once.
    #[must_use]
    pub fn shared(mut self, texts: &mut Texts) -> Self {
        texts.share(&mut self.input_text);
        texts.share(&mut self.transformation_type);
        texts.share(&mut self.output_text);
        if let Some(text) = &mut self.corrected_text {
            texts.share(text);
        }
        if let Some((_, text)) = &mut self.choice {
            texts.share(text);
        }
        match &mut self.reviewer {
            Reviewer::User(name) | Reviewer::Session(name) => texts.share(name),
            Reviewer::Unknown => {}
        }
        self
    }
}

/// Texts that are held once.
#[derive(Debug, Default)]
pub struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn share(&mut self, text: &mut Arc<str>) {
        match self.0.get(text) {
            Some(held) => *text = Arc::clone(held),
            None => {
                self.0.insert(Arc::clone(text));
            }
        }
    }
}

/// Whether a text says nothing.
pub(super) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
