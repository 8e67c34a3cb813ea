//! What the labelling commands take and give.

use serde::{Deserialize, Serialize};
use tb_core::{
    feedback::ShownOrder,
    ids::{FeedbackId, LabelItemId, LabelProjectId, UserId},
    labelling::{Answers, AssignmentState, ItemOrder, ItemSource, LabelItem, LabelProject, ProjectStatus, Question},
};
use tb_stats::diff::Piece;
use ts_rs::TS;

use crate::feedback::report::MeanFigure;

/// Arguments of `label_project_create`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct CreateProject {
    /// A name for people.
    pub name: String,
    /// What reviewers should know, as Markdown.
    #[serde(default)]
    pub guidelines: String,
    /// Where the items come from.
    pub source: ItemSource,
    /// What is asked; none takes the usual questions: a choice for two answers, a rating for one, each with a correction.
    #[serde(default)]
    pub questions: Option<Vec<Question>>,
    /// How many reviewers judge each item; 1 if none.
    #[serde(default)]
    pub overlap: Option<u32>,
    /// In which order items are handed out; random if none.
    #[serde(default)]
    pub order: Option<ItemOrder>,
    /// Seed of the order and of the sides; 42 if none.
    #[serde(default)]
    #[ts(type = "number")]
    pub seed: Option<u64>,
    /// The kind of rewriting, where the items do not say their own.
    #[serde(default)]
    pub transformation_type: String,
    /// Items at most; 1000 if none.
    #[serde(default)]
    pub max_items: Option<u32>,
}

/// Arguments of `label_project_update`; what is none stays.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct UpdateProject {
    /// The project.
    pub id: LabelProjectId,
    /// The revision that the change was made from; a project that was changed since is then left as it is. None: whatever it is now.
    #[serde(default)]
    #[ts(optional, type = "number")]
    pub revision: Option<i64>,
    /// A new name.
    #[serde(default)]
    pub name: Option<String>,
    /// New guidelines.
    #[serde(default)]
    pub guidelines: Option<String>,
    /// Another number of reviewers per item.
    #[serde(default)]
    pub overlap: Option<u32>,
    /// Active, paused or completed.
    #[serde(default)]
    pub status: Option<ProjectStatus>,
}

/// A project with what the person who asks has done in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ProjectSummary {
    /// The project.
    pub project: LabelProject,
    /// What is theirs.
    pub progress: Progress,
    /// What its items come from, in words: a dataset's name, models' names.
    pub source_names: Vec<String>,
}

/// How far a reviewer is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Progress {
    /// Items of the project.
    #[ts(type = "number")]
    pub items: u64,
    /// Items that enough reviewers have judged.
    #[ts(type = "number")]
    pub done: u64,
    /// Items that this reviewer has judged.
    #[ts(type = "number")]
    pub mine: u64,
    /// Items that this reviewer may still be given.
    #[ts(type = "number")]
    pub left: u64,
    /// Median seconds that this reviewer took for the last fifty; none before the first.
    pub seconds_each: Option<f64>,
}

/// Arguments of `label_take`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct TakeItems {
    /// The project.
    pub project_id: LabelProjectId,
    /// How many items to hold at once, 1 to 50.
    #[serde(default = "ten")]
    pub hold: u32,
}

fn ten() -> u32 {
    10
}

/// The items that a reviewer holds, in the order to judge them, and how far they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Hand {
    /// The items.
    pub tasks: Vec<Task>,
    /// How far they are.
    pub progress: Progress,
}

/// An item as a reviewer sees it: no model's name, and the sides in the order that was drawn for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Task {
    /// The item.
    pub item_id: LabelItemId,
    /// What the model was given.
    pub input_text: String,
    /// The part of it that is to be rewritten, where it holds more.
    pub source_text: Option<String>,
    /// One answer, or two in the order to show them.
    pub outputs: Vec<String>,
    /// From what is to be rewritten to each answer, in pieces; empty for a text too long to compare.
    pub diffs: Vec<Vec<Piece>>,
    /// The kind of rewriting.
    pub transformation_type: String,
    /// What they have answered so far.
    pub draft: Option<Answers>,
    /// Whether they flagged it.
    pub flagged: bool,
    /// Reviewers who have judged it: at least one makes this a second opinion.
    pub submitted: u32,
}

/// Arguments of `label_submit`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct SubmitLabels {
    /// The item.
    pub item_id: LabelItemId,
    /// The answers, with sides as shown.
    pub answers: Answers,
    /// How long the reviewer looked at it, in milliseconds.
    #[serde(default)]
    #[ts(optional, type = "number")]
    pub duration_ms: Option<i64>,
    /// How many items to hold from now on; 10 if none.
    #[serde(default)]
    pub hold: Option<u32>,
}

/// What a submission left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Submitted {
    /// The feedback row that the answers became.
    pub feedback_id: FeedbackId,
    /// What the reviewer holds now.
    pub hand: Hand,
}

/// Arguments of `label_draft`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct DraftLabels {
    /// The item.
    pub item_id: LabelItemId,
    /// The answers so far.
    pub answers: Answers,
}

/// Arguments of `label_flag` and `label_skip`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct MarkItem {
    /// The item.
    pub item_id: LabelItemId,
    /// Why.
    #[serde(default)]
    pub note: Option<String>,
    /// For `label_flag`: takes the flag away.
    #[serde(default)]
    pub clear: bool,
}

/// Arguments of commands about one project.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct OfProject {
    /// The project.
    pub project_id: LabelProjectId,
}

/// Arguments of `label_done`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct DoneItems {
    /// The project.
    pub project_id: LabelProjectId,
    /// How many of the last ones, at most 200.
    #[serde(default = "fifty")]
    pub limit: u32,
}

fn fifty() -> u32 {
    50
}

/// An item that a reviewer has judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct DoneItem {
    /// The item.
    pub item_id: LabelItemId,
    /// The beginning of what was to be rewritten.
    pub input_start: String,
    /// Their answers, with sides as they were shown.
    pub answers: Answers,
    /// When.
    #[ts(type = "number")]
    pub at_ms: i64,
}

/// Arguments of `label_items`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ListItems {
    /// The project.
    pub project_id: LabelProjectId,
    /// Which items.
    #[serde(default)]
    pub show: ShowItems,
    /// Only those after this place.
    #[serde(default)]
    #[ts(optional, type = "number")]
    pub after: Option<i64>,
    /// Items to give, at most 200; 50 if none.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// Which items of a project to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ShowItems {
    /// All.
    #[default]
    All,
    /// Those on which reviewers disagree and nobody has decided.
    Disagreed,
    /// Those that were flagged.
    Flagged,
    /// Those that measure reviewers.
    Gold,
    /// Those that were decided.
    Resolved,
}

/// An item with what every reviewer said, for the person who decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ItemWithAnswers {
    /// The item.
    pub item: LabelItem,
    /// What was said of it.
    pub answers: Vec<AnswersOf>,
    /// The questions on which they differ.
    pub differs: Vec<String>,
}

/// What a reviewer said of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct AnswersOf {
    /// The reviewer.
    pub user_id: UserId,
    /// Their name.
    pub user_name: String,
    /// What they have done with it.
    pub state: AssignmentState,
    /// Their answers, with the sides of the item.
    pub answers: Answers,
    /// From the answer to their correction, in pieces; empty without one, for a text too long to compare, and where they changed nothing.
    pub corrected: Vec<Piece>,
    /// The feedback row.
    pub feedback_id: Option<FeedbackId>,
    /// Which side they saw first.
    pub shown: ShownOrder,
    /// Whether they flagged it.
    pub flagged: bool,
    /// Why they flagged or skipped it.
    pub note: Option<String>,
}

/// Arguments of `label_adjudicate` and `label_gold`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct DecideItem {
    /// The item.
    pub item_id: LabelItemId,
    /// The right answers, with the sides of the item; none takes an earlier decision back.
    #[serde(default)]
    pub answers: Option<Answers>,
}

/// Arguments of `label_clear_flags`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct OfItem {
    /// The item.
    pub item_id: LabelItemId,
}

/// How far reviewers agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct AgreementReport {
    /// Per question that can be compared.
    pub questions: Vec<QuestionAgreement>,
    /// Per reviewer.
    pub reviewers: Vec<ReviewerReport>,
    /// Items that at least two reviewers have judged.
    #[ts(type = "number")]
    pub overlapped: u64,
    /// Items on which they differ and nobody has decided.
    #[ts(type = "number")]
    pub disagreed: u64,
    /// Items that somebody flags.
    #[ts(type = "number")]
    pub flagged: u64,
}

/// An agreement figure with its bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct AgreementFigure {
    /// The coefficient: 1 is perfect, 0 is chance.
    pub value: f64,
    /// Lower end of the 95 % interval over items.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Items behind it.
    #[ts(type = "number")]
    pub items: u64,
}

/// How far reviewers agree on one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct QuestionAgreement {
    /// The question's name.
    pub question: String,
    /// What it asks.
    pub title: String,
    /// Krippendorff's alpha, with the metric that fits the question's scale.
    pub alpha: Option<AgreementFigure>,
    /// The metric of alpha: `ordinal` for ratings, `nominal` for the others.
    pub metric: String,
    /// Krippendorff's alpha with the interval metric; for ratings.
    pub alpha_interval: Option<AgreementFigure>,
    /// Cohen's kappa, where exactly two reviewers share items.
    pub cohen_kappa: Option<AgreementFigure>,
    /// Fleiss' kappa over the items that the most common number of reviewers has judged.
    pub fleiss_kappa: Option<AgreementFigure>,
    /// Share of pairs of answers that are the same.
    pub same: Option<MeanFigure>,
    /// Why alpha is missing.
    pub no_alpha: Option<NoAlpha>,
}

/// Why agreement beyond chance has no figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum NoAlpha {
    /// No item was judged by two reviewers yet.
    NothingToCompare,
    /// Every compared answer is the same: agreement beyond chance is 0 / 0.
    NoVariation,
    /// Too few items for an interval.
    TooFewItems,
}

/// How one reviewer judges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ReviewerReport {
    /// The reviewer.
    pub user_id: UserId,
    /// Their name.
    pub name: String,
    /// Items judged.
    #[ts(type = "number")]
    pub items: u64,
    /// Mean of their ratings less the mean of the others' on the same items.
    pub bias: Option<MeanFigure>,
    /// Share of answers to the first question that are the same as another reviewer's.
    pub same: Option<MeanFigure>,
    /// Share of gold items that they answered right.
    pub gold: Option<MeanFigure>,
    /// Probability that their answer is the right one, by Dawid and Skene's model; what votes are weighed with.
    pub weight: Option<f64>,
    /// Median seconds per item.
    pub seconds_each: Option<f64>,
}

/// A reviewer's own agreement with the others, for the foot of the screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct OwnAgreement {
    /// Krippendorff's alpha between this reviewer and the others, on the first question that can be compared.
    pub alpha: Option<AgreementFigure>,
    /// Share of the others' answers that are the same, 0 to 1.
    pub same: Option<f64>,
    /// Share of the others' ratings that are at most one away.
    pub within_one: Option<f64>,
    /// Items that this reviewer and at least one other have judged.
    #[ts(type = "number")]
    pub items: u64,
}
