//! What is refused of a project and of answers, and why.

use super::{Answer, Answers, LabelItem, LabelOption, LabelProject, Question, QuestionKind};
use crate::feedback::{LONGEST_NAME_BYTES, LONGEST_TEXT_BYTES, Preferred};

/// Most questions of a project.
const MOST_QUESTIONS: usize = 20;
/// Most options of a question.
const MOST_OPTIONS: usize = 50;
/// Most reviewers of one item.
const MOST_OVERLAP: u32 = 50;

/// Why a project is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProject {
    /// It has no name, or one that is too long.
    #[error("its name is empty or longer than {LONGEST_NAME_BYTES} bytes")]
    Name,
    /// It asks nothing.
    #[error("it asks nothing: give at least one question that must be answered")]
    NoQuestion,
    /// Too many questions.
    #[error("it has {0} questions: {MOST_QUESTIONS} at most")]
    TooManyQuestions(usize),
    /// A question's name cannot be used.
    #[error("the question name '{0}' cannot be used: lower-case letters, digits and _, each name once")]
    QuestionName(String),
    /// Two questions of a kind of which there may be one.
    #[error("it has two questions of the kind {0}: one at most")]
    Twice(&'static str),
    /// A choice without a second answer.
    #[error("the question '{0}' asks for a choice, but its items have one answer")]
    NoSecondAnswer(String),
    /// A question whose options cannot be used.
    #[error("the options of '{0}' cannot be used: 2 to {MOST_OPTIONS}, each value once and not empty")]
    Options(String),
    /// Ratings with the wrong number of words.
    #[error("the rating '{0}' needs a word for each of 1 to 5, or none")]
    RatingLabels(String),
    /// Too few or too many reviewers.
    #[error("each item is judged by 1 to {MOST_OVERLAP} reviewers, not {0}")]
    Overlap(u32),
    /// Guidelines that are too long.
    #[error("the guidelines are longer than 4 MiB")]
    Guidelines,
}

/// Why answers are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswers {
    /// A required question is open.
    #[error("'{0}' is not answered")]
    Missing(String),
    /// A question that the project does not ask.
    #[error("the project does not ask '{0}'")]
    Unknown(String),
    /// An answer of the wrong kind.
    #[error("'{question}' takes {takes}")]
    Wrong {
        /// The question.
        question: String,
        /// What it takes.
        takes: String,
    },
}

impl LabelProject {
    /// Checks what a person has set. `pairs` says whether its items have two answers.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, pairs: bool) -> Result<(), BadProject> {
        if self.name.trim().is_empty() || self.name.len() > LONGEST_NAME_BYTES {
            return Err(BadProject::Name);
        }
        if self.guidelines.len() > LONGEST_TEXT_BYTES {
            return Err(BadProject::Guidelines);
        }
        if !(1..=MOST_OVERLAP).contains(&self.overlap) {
            return Err(BadProject::Overlap(self.overlap));
        }
        if self.questions.len() > MOST_QUESTIONS {
            return Err(BadProject::TooManyQuestions(self.questions.len()));
        }
        if !self.questions.iter().any(|q| q.required) {
            return Err(BadProject::NoQuestion);
        }
        for (i, question) in self.questions.iter().enumerate() {
            check_question(question, &self.questions[..i], pairs)?;
        }
        Ok(())
    }

    /// The project's question of a kind, if it has one.
    #[must_use]
    pub fn question(&self, is: impl Fn(&QuestionKind) -> bool) -> Option<&Question> {
        self.questions.iter().find(|q| is(&q.kind))
    }
}

fn check_question(question: &Question, before: &[Question], pairs: bool) -> Result<(), BadProject> {
    let name = &question.name;
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if name.is_empty() || name.len() > 60 || !plain || before.iter().any(|q| q.name == *name) {
        return Err(BadProject::QuestionName(name.clone()));
    }
    let once = |word: &'static str, is: fn(&QuestionKind) -> bool| {
        if before.iter().any(|q| is(&q.kind)) { Err(BadProject::Twice(word)) } else { Ok(()) }
    };
    match &question.kind {
        QuestionKind::Rating { labels } => {
            if !labels.is_empty() && labels.len() != 5 {
                return Err(BadProject::RatingLabels(name.clone()));
            }
            once("rating", |k| matches!(k, QuestionKind::Rating { .. }))
        }
        QuestionKind::Choice if !pairs => Err(BadProject::NoSecondAnswer(name.clone())),
        QuestionKind::Choice => once("choice", |k| matches!(k, QuestionKind::Choice)),
        QuestionKind::Correction => once("correction", |k| matches!(k, QuestionKind::Correction)),
        QuestionKind::Label { options } | QuestionKind::Labels { options } => check_options(name, options),
        QuestionKind::Text => Ok(()),
    }
}

fn check_options(name: &str, options: &[LabelOption]) -> Result<(), BadProject> {
    let good = (2..=MOST_OPTIONS).contains(&options.len())
        && options.iter().enumerate().all(|(i, option)| {
            !option.value.trim().is_empty()
                && option.value.len() <= LONGEST_NAME_BYTES
                && !options[..i].iter().any(|o| o.value == option.value)
        });
    if good { Ok(()) } else { Err(BadProject::Options(name.to_owned())) }
}

/// Whether every required question is answered; a correction that is empty is no answer.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_answers(project: &LabelProject, answers: &Answers) -> Result<(), BadAnswers> {
    if let Some(name) = answers.keys().find(|name| !project.questions.iter().any(|q| q.name == **name)) {
        return Err(BadAnswers::Unknown(name.clone()));
    }
    for question in &project.questions {
        match answers.get(&question.name) {
            Some(answer) => check_answer(question, answer)?,
            None if question.required => return Err(BadAnswers::Missing(question.title.clone())),
            None => {}
        }
    }
    Ok(())
}

/// As [`check_answers`], with questions left open.
pub(super) fn check_some(project: &LabelProject, answers: &Answers) -> Result<(), BadAnswers> {
    for (name, answer) in answers {
        let question = project.questions.iter().find(|q| q.name == *name);
        let question = question.ok_or_else(|| BadAnswers::Unknown(name.clone()))?;
        check_answer(&Question { required: false, ..question.clone() }, answer)?;
    }
    Ok(())
}

fn check_answer(question: &Question, answer: &Answer) -> Result<(), BadAnswers> {
    let wrong = |takes: String| Err(BadAnswers::Wrong { question: question.name.clone(), takes });
    let words = |options: &[LabelOption]| options.iter().map(|o| o.value.as_str()).collect::<Vec<_>>().join(", ");
    match (&question.kind, answer) {
        (QuestionKind::Rating { .. }, Answer::Number(1..=5)) => Ok(()),
        (QuestionKind::Rating { .. }, Answer::Number(_) | Answer::Text(_) | Answer::Many(_)) => {
            wrong("a number from 1 to 5".into())
        }
        (QuestionKind::Choice, Answer::Text(word)) if word.parse::<Preferred>().is_ok() => Ok(()),
        (QuestionKind::Choice, Answer::Number(_) | Answer::Text(_) | Answer::Many(_)) => {
            wrong("one of a, b, tie, both_bad".into())
        }
        (QuestionKind::Label { options }, Answer::Text(value)) if options.iter().any(|o| o.value == *value) => Ok(()),
        (QuestionKind::Label { options }, Answer::Number(_) | Answer::Text(_) | Answer::Many(_)) => {
            wrong(format!("one of {}", words(options)))
        }
        (QuestionKind::Labels { options }, Answer::Many(values))
            if values
                .iter()
                .enumerate()
                .all(|(i, value)| options.iter().any(|o| o.value == *value) && !values[..i].contains(value)) =>
        {
            if question.required && values.is_empty() {
                return Err(BadAnswers::Missing(question.title.clone()));
            }
            Ok(())
        }
        (QuestionKind::Labels { options }, Answer::Number(_) | Answer::Text(_) | Answer::Many(_)) => {
            wrong(format!("a list of {}", words(options)))
        }
        (QuestionKind::Correction | QuestionKind::Text, Answer::Text(text)) if text.len() <= LONGEST_TEXT_BYTES => {
            if question.required && text.trim().is_empty() {
                return Err(BadAnswers::Missing(question.title.clone()));
            }
            Ok(())
        }
        (QuestionKind::Correction | QuestionKind::Text, Answer::Number(_) | Answer::Text(_) | Answer::Many(_)) => {
            wrong("a text of at most 4 MiB".into())
        }
    }
}

/// Whether answers agree with the right ones, for each question that the right ones answer.
#[must_use]
pub fn agrees_with_gold(item: &LabelItem, answers: &Answers) -> Option<bool> {
    let gold = item.gold.as_ref()?;
    Some(gold.iter().all(|(name, right)| answers.get(name) == Some(right)))
}
