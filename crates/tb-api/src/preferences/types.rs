//! What the commands that make training data of feedback take and give.

use serde::{Deserialize, Serialize};
use tb_core::{
    dataset::{Example, SplitName},
    ids::{FeedbackId, LabelProjectId, ModelId},
    preference::{BuildRules, LeftOut, TrainingKind},
};
use tb_stats::diff::Piece;
use ts_rs::TS;

/// Arguments of `preference_preview` and `preference_build`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct BuildData {
    /// A name for the dataset; versions of one dataset share it.
    pub name: String,
    /// What is to be trained on it.
    pub kind: TrainingKind,
    /// Only answers of these versions, and choices in which one of them gave the second answer; none takes all.
    #[serde(default)]
    pub model_ids: Vec<ModelId>,
    /// Only from these labelling projects; none takes all feedback.
    #[serde(default)]
    pub project_ids: Vec<LabelProjectId>,
    /// Only these kinds of rewriting; none takes all.
    #[serde(default)]
    pub transformation_types: Vec<String>,
    /// From this moment on, milliseconds since 1970 UTC.
    #[serde(default)]
    #[ts(optional, type = "number")]
    pub since_ms: Option<i64>,
    /// Before this moment.
    #[serde(default)]
    #[ts(optional, type = "number")]
    pub until_ms: Option<i64>,
    /// What makes a row.
    #[serde(default)]
    pub rules: BuildRules,
    /// Share of the prompts held out to watch the loss on, 0 to 0.9.
    #[serde(default = "crate::datasets::five_percent")]
    pub validation_share: f64,
    /// Share of the prompts held out to measure on, 0 to 0.9.
    #[serde(default = "crate::datasets::five_percent")]
    pub test_share: f64,
    /// Seed of the splits.
    #[serde(default = "crate::datasets::forty_two")]
    #[ts(type = "number")]
    pub seed: u64,
    /// The prompt as a text with `{input}` and `{transformation_type}`; `{{` and `}}` stand for braces, and a paragraph whose
    /// columns are all empty is left out. None takes the input as it is.
    #[serde(default)]
    pub template: Option<String>,
    /// What it is about.
    #[serde(default)]
    pub description: String,
}

/// What a build would make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct BuildPreview {
    /// Feedback rows that were looked at.
    #[ts(type = "number")]
    pub feedback_rows: u64,
    /// Rows in each split.
    pub splits: Vec<SplitRows>,
    /// What made no row, and why.
    pub left_out: Vec<LeftOutCount>,
    /// The first rows.
    pub examples: Vec<BuiltExample>,
}

/// Rows of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SplitRows {
    /// The split.
    pub split: SplitName,
    /// Its rows.
    #[ts(type = "number")]
    pub rows: u64,
}

/// How many feedback rows made no row for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LeftOutCount {
    /// The reason.
    pub reason: LeftOut,
    /// Feedback rows.
    #[ts(type = "number")]
    pub rows: u64,
    /// Some of them.
    pub examples: Vec<FeedbackId>,
}

/// A row that would be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct BuiltExample {
    /// Its split.
    pub split: SplitName,
    /// The row.
    pub example: Example,
    /// From the rejected answer to the chosen one, in pieces; empty for a row without two, and for texts too long to compare.
    pub changes: Vec<Piece>,
    /// The feedback rows that say so.
    pub feedback: Vec<FeedbackId>,
}

/// Where a dataset version or a model comes from, in feedback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Provenance {
    /// Feedback rows that it learned from.
    #[ts(type = "number")]
    pub feedback_rows: u64,
    /// Those of them that were withdrawn since.
    #[ts(type = "number")]
    pub withdrawn: u64,
    /// Dataset versions made of feedback that stand between a model and the rows; none for a dataset.
    pub datasets: Vec<crate::feedback::types::Named>,
    /// Some of the rows, the newest first, at most 200.
    pub rows: Vec<FeedbackId>,
}

/// Arguments of `provenance`: the id of a dataset version or of a model.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ProvenanceOf {
    /// `dts_…` or `mdl_…`.
    pub id: String,
}

/// A dataset version or a model that learned from rows which were withdrawn since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Mark {
    /// `dts_…` or `mdl_…`.
    pub id: String,
    /// Withdrawn rows.
    #[ts(type = "number")]
    pub withdrawn: u64,
}
