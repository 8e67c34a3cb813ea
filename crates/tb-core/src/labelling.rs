//! Labelling projects: which answers are to be judged, by how many people, with which questions; and what an answer to a
//! question may be. How items are handed out is tb-db's and tb-api's; what agreement is, tb-stats'.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    dataset::SplitName,
    feedback::{Choice, Judgement, Preferred, Rating, ShownOrder},
    ids::{DatasetId, FeedbackId, LabelItemId, LabelProjectId, ModelId, UserId},
    text_enum::text_enum,
};

mod check;

pub use check::{BadAnswers, BadProject, agrees_with_gold};

text_enum! {
    /// The state of a labelling project.
    ProjectStatus, "project status" {
        /// Its items are being made: a model is still writing its outputs.
        Preparing = "preparing",
        /// Reviewers are given items.
        Active = "active",
        /// Nobody is given items; what was answered stays.
        Paused = "paused",
        /// Ended by hand.
        Completed = "completed",
        /// Its items could not be made.
        Failed = "failed",
    }
}

text_enum! {
    /// In which order items are handed out.
    ItemOrder, "item order" {
        /// Drawn from the project's seed.
        Random = "random",
        /// As they came.
        Oldest = "oldest",
        /// Where the two answers differ most first (with one answer: where it differs most from its source).
        Disagreement = "disagreement",
    }
}

/// Where a project's items come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ItemSource {
    /// The rows of a dataset: a prompt with its completion, or with both answers of a preference row.
    Dataset {
        /// The dataset.
        dataset_id: DatasetId,
        /// Its split.
        split: SplitName,
    },
    /// What a model answers to a dataset's prompts.
    Outputs {
        /// The dataset.
        dataset_id: DatasetId,
        /// Its split.
        split: SplitName,
        /// The model version.
        model_id: ModelId,
    },
    /// What two models answer to a dataset's prompts; reviewers see neither name, and the sides are shuffled for each.
    Pair {
        /// The dataset.
        dataset_id: DatasetId,
        /// Its split.
        split: SplitName,
        /// The first model version (A).
        model_a_id: ModelId,
        /// The second (B).
        model_b_id: ModelId,
    },
    /// Answers from production that other programs reported by `POST /feedback`.
    Traffic {
        /// Only of this model version.
        #[serde(default)]
        model_id: Option<ModelId>,
        /// Only of this kind of rewriting.
        #[serde(default)]
        transformation_type: Option<String>,
        /// Only since then.
        #[serde(default)]
        #[ts(type = "number")]
        since_ms: i64,
    },
}

/// A question that a reviewer answers about each item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Question {
    /// Its name in files and statistics: lower-case letters, digits and `_`.
    pub name: String,
    /// What is asked.
    pub title: String,
    /// Whether an item can be submitted without it.
    pub required: bool,
    /// What kind of answer it takes.
    #[serde(flatten)]
    pub kind: QuestionKind,
}

/// What kind of answer a question takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QuestionKind {
    /// 1 to 5; at most one per project. It becomes the row's rating.
    Rating {
        /// A word for each of 1 to 5, or none.
        labels: Vec<String>,
    },
    /// Which of two answers is better, a tie, or both bad; at most one per project. It becomes the row's choice.
    Choice,
    /// A better text, beginning from the answer; at most one per project. It becomes the row's corrected text.
    Correction,
    /// One of some options.
    Label {
        /// The options, in order.
        options: Vec<LabelOption>,
    },
    /// Any of some options. The ones named in `flags` of a row are these.
    Labels {
        /// The options, in order.
        options: Vec<LabelOption>,
    },
    /// Words. The first becomes the row's critique.
    Text,
}

/// One option of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LabelOption {
    /// Its name in files and statistics.
    pub value: String,
    /// What the reviewer reads.
    pub title: String,
}

/// An answer to a question: a rating, a word or text, or several words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(untagged)]
pub enum Answer {
    /// A rating, 1 to 5.
    Number(u8),
    /// An option, `a`/`b`/`tie`/`both_bad`, or a text.
    Text(String),
    /// Several options.
    Many(Vec<String>),
}

/// Answers by the question's name.
pub type Answers = BTreeMap<String, Answer>;

/// A labelling project as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LabelProject {
    /// Its id.
    pub id: LabelProjectId,
    /// A name for people.
    pub name: String,
    /// What reviewers should know, as Markdown.
    pub guidelines: String,
    /// Where its items come from.
    pub source: ItemSource,
    /// What is asked of each item.
    pub questions: Vec<Question>,
    /// How many reviewers judge each item.
    pub overlap: u32,
    /// In which order items are handed out.
    pub order: ItemOrder,
    /// Seed of the order and of the sides.
    #[ts(type = "number")]
    pub seed: u64,
    /// Its state.
    pub status: ProjectStatus,
    /// The kind of rewriting, where the items do not say their own.
    pub transformation_type: String,
    /// Items at most.
    pub max_items: u32,
    /// Items.
    #[ts(type = "number")]
    pub num_items: u64,
    /// Items that enough reviewers have judged.
    #[ts(type = "number")]
    pub num_done: u64,
    /// Answers of reviewers to items.
    #[ts(type = "number")]
    pub num_answers: u64,
    /// What is wrong, or what is waited for.
    pub message: Option<String>,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// Grows with every change.
    #[ts(type = "number")]
    pub revision: i64,
    /// When it was made.
    #[ts(type = "number")]
    pub created_at_ms: i64,
}

impl LabelProject {
    /// Checks a reviewer's answers.
    ///
    /// # Errors
    /// A required question that is open, a question that is not asked, an answer that does not fit.
    pub fn check_answers(&self, answers: &Answers) -> Result<(), BadAnswers> {
        check::check_answers(self, answers)
    }

    /// Checks answers that need not be whole: a draft, or what is right for some questions.
    ///
    /// # Errors
    /// A question that is not asked, an answer that does not fit.
    pub fn check_some(&self, answers: &Answers) -> Result<(), BadAnswers> {
        check::check_some(self, answers)
    }
}

/// An item as stored: an input with one answer, or with two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct LabelItem {
    /// Its id.
    pub id: LabelItemId,
    /// Its project.
    pub project_id: LabelProjectId,
    /// Its place in the order of handing out, from 1.
    #[ts(type = "number")]
    pub place: i64,
    /// What the model was given.
    pub input_text: String,
    /// The part of it that is to be rewritten, where it holds more: an instruction, a template. Stands in it to the letter.
    pub source_text: Option<String>,
    /// What it answered (A).
    pub output_text: String,
    /// The version that answered, if it is known.
    pub model_id: Option<ModelId>,
    /// The second answer (B), if there are two.
    pub other_text: Option<String>,
    /// The version that gave it, if it is known.
    pub other_model_id: Option<ModelId>,
    /// The kind of rewriting.
    pub transformation_type: String,
    /// How far the two answers are from each other (with one: the answer from its source), 0 to 1.
    pub disagreement: f64,
    /// The right answers, if this item measures reviewers.
    pub gold: Option<Answers>,
    /// What was decided where reviewers disagreed.
    pub resolution: Option<Answers>,
    /// Who decided.
    pub resolved_by: Option<UserId>,
    /// When.
    #[ts(type = "number | null")]
    pub resolved_at_ms: Option<i64>,
    /// Reviewers who hold it or have judged it.
    pub held: u32,
    /// Reviewers who have judged it.
    pub submitted: u32,
    /// Reviewers who flagged it.
    pub flagged: u32,
}

text_enum! {
    /// What a reviewer has done with an item.
    AssignmentState, "assignment state" {
        /// Given to them, not judged yet.
        Taken = "taken",
        /// Judged.
        Submitted = "submitted",
        /// Passed on to others.
        Skipped = "skipped",
    }
}

/// An item in a reviewer's hand, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Assignment {
    /// The item.
    pub item_id: LabelItemId,
    /// Its project.
    pub project_id: LabelProjectId,
    /// The reviewer.
    pub user_id: UserId,
    /// What they have done with it.
    pub state: AssignmentState,
    /// Which answer they see first.
    pub shown: ShownOrder,
    /// What they have answered so far, as they see the sides.
    pub draft: Option<Answers>,
    /// The feedback row that their answer became.
    pub feedback_id: Option<FeedbackId>,
    /// Whether they flagged it: something is wrong with the item itself.
    pub flagged: bool,
    /// Why it was skipped or flagged.
    pub note: Option<String>,
    /// When they were given it.
    #[ts(type = "number")]
    pub taken_at_ms: i64,
    /// When that last changed.
    #[ts(type = "number")]
    pub changed_at_ms: i64,
}

/// The judgement that a reviewer's answers make, as stored: sides are those of the item, whatever order was shown.
#[must_use]
pub fn judgement(project: &LabelProject, item: &LabelItem, answers: &Answers, shown: ShownOrder) -> Judgement {
    let mut made = Judgement {
        model_id: item.model_id.clone(),
        input_text: item.input_text.clone(),
        output_text: item.output_text.clone(),
        transformation_type: item.transformation_type.clone(),
        ..Judgement::default()
    };
    for question in &project.questions {
        let Some(answer) = answers.get(&question.name) else { continue };
        match (&question.kind, answer) {
            (QuestionKind::Rating { .. }, Answer::Number(stars)) => made.rating = Rating::try_from(*stars).ok(),
            (QuestionKind::Choice, Answer::Text(word)) => {
                made.choice = word.parse::<Preferred>().ok().map(|seen| Choice {
                    preferred: match shown {
                        ShownOrder::AFirst => seen,
                        ShownOrder::BFirst => seen.swapped(),
                    },
                    other_text: item.other_text.clone().unwrap_or_default(),
                    other_model_id: item.other_model_id.clone(),
                    shown,
                });
            }
            (QuestionKind::Correction, Answer::Text(text)) => {
                // A correction that changes nothing says that an answer stands as it is: no better text.
                if *text != item.output_text && item.other_text.as_ref() != Some(text) {
                    made.corrected_text = Some(text.clone());
                }
            }
            (QuestionKind::Text, Answer::Text(text)) => {
                if made.critique.is_none() && !text.trim().is_empty() {
                    made.critique = Some(text.clone());
                }
            }
            (QuestionKind::Labels { .. }, Answer::Many(values)) => made.flags.extend(values.iter().cloned()),
            (
                QuestionKind::Rating { .. }
                | QuestionKind::Choice
                | QuestionKind::Correction
                | QuestionKind::Label { .. }
                | QuestionKind::Labels { .. }
                | QuestionKind::Text,
                Answer::Number(_) | Answer::Text(_) | Answer::Many(_),
            ) => {}
        }
    }
    made.answers = stored(project, answers, shown);
    made
}

/// Answers with the sides of the item.
#[must_use]
pub fn stored(project: &LabelProject, answers: &Answers, shown: ShownOrder) -> Answers {
    let mut answers = answers.clone();
    if shown == ShownOrder::BFirst {
        for question in project.questions.iter().filter(|q| q.kind == QuestionKind::Choice) {
            if let Some(Answer::Text(word)) = answers.get_mut(&question.name)
                && let Ok(seen) = word.parse::<Preferred>()
            {
                *word = seen.swapped().as_str().to_owned();
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests;
