//! What the feedback commands take and give.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::RowProblem,
    feedback::{Feedback, Judgement},
    ids::{FeedbackId, ModelId},
};
use tb_db::feedback::FeedbackFilter;
use ts_rs::TS;

/// Arguments of `feedback_submit`: a judgement, and the key under which it may be sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(try_from = "serde_json::Value")]
pub struct SubmitFeedback {
    /// What is said of which answer.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// A key of the sender's own: what is sent again under it is stored once.
    #[ts(optional)]
    pub idempotency_key: Option<String>,
}

/// `flatten` would let unknown fields pass in silence; here each is refused by name.
impl TryFrom<serde_json::Value> for SubmitFeedback {
    type Error = ApiError;
    fn try_from(mut value: serde_json::Value) -> Result<Self, ApiError> {
        let refuse = |e: serde_json::Error| ApiError::new(ErrorCode::InvalidArgument, e.to_string());
        let key = value.as_object_mut().and_then(|fields| fields.remove("idempotency_key"));
        let idempotency_key = serde_json::from_value(key.unwrap_or_default()).map_err(refuse)?;
        Ok(Self { judgement: serde_json::from_value(value).map_err(refuse)?, idempotency_key })
    }
}

/// Arguments of `feedback_list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ListFeedback {
    /// Which rows.
    #[serde(default)]
    pub selection: FeedbackFilter,
    /// The last row of the page before; none begins at the newest.
    #[serde(default)]
    pub after: Option<FeedbackId>,
    /// Rows to give, at most 500; 100 if none.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// One feedback row with what was made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct FeedbackPage {
    /// The row.
    pub feedback: Feedback,
    /// Who judged, by name.
    pub user_name: Option<String>,
    /// From the input to the answer, in pieces.
    pub output_diff: Vec<tb_stats::diff::Piece>,
    /// From the answer to the correction; none without one.
    pub correction_diff: Option<Vec<tb_stats::diff::Piece>>,
    /// Dataset versions that were made of it, and models that learned from these.
    pub learned: Learned,
}

/// Who learned from a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Learned {
    /// Dataset versions that hold it.
    pub datasets: Vec<Named>,
    /// Model versions that were trained on these, or that continue from one that was.
    pub models: Vec<Named>,
}

/// A version of something, by id and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
}

/// Arguments of `feedback_withdraw`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct WithdrawFeedback {
    /// The row.
    pub id: FeedbackId,
    /// Why, for those who find it later.
    #[serde(default)]
    pub reason: String,
}

/// What a withdrawal reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Withdrawn {
    /// The row.
    pub id: FeedbackId,
    /// Dataset versions and models that learned from it; they are marked, and stay as they are.
    pub learned: Learned,
}

/// Arguments of `feedback_import`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ImportFeedback {
    /// A jsonl or csv file. Columns are named as the fields of a row; `prompt`, `chosen` and `rejected` make a choice.
    pub path: PathBuf,
    /// The version that answered, where a row names none.
    #[serde(default)]
    pub model_id: Option<ModelId>,
    /// The kind of rewriting, where a row names none.
    #[serde(default)]
    pub transformation_type: Option<String>,
    /// Looks, and stores nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ImportedFeedback {
    /// Rows stored (or, with `dry_run`, that would be).
    #[ts(type = "number")]
    pub stored: u64,
    /// Rows that were stored before, by an earlier run of the same import.
    #[ts(type = "number")]
    pub known: u64,
    /// Rows that cannot be used.
    #[ts(type = "number")]
    pub num_problems: u64,
    /// Where all of them are listed, one JSON object a line; none if there are none.
    pub problems_path: Option<PathBuf>,
    /// The first hundred of them.
    pub problems: Vec<RowProblem>,
}

/// Arguments of `feedback_export`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ExportFeedback {
    /// The file to write: `.jsonl` or `.csv`. It must not exist.
    pub path: PathBuf,
    /// Which rows.
    #[serde(default)]
    pub selection: FeedbackFilter,
}

/// What an export wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ExportedFeedback {
    /// The file.
    pub path: PathBuf,
    /// Its rows.
    #[ts(type = "number")]
    pub rows: u64,
}

/// Arguments of `text_diff`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct CompareTexts {
    /// The old text.
    pub old: String,
    /// The new one.
    pub new: String,
}

/// What changed between two texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ComparedTexts {
    /// The pieces; without the added ones they are the old text, without the removed ones the new.
    pub pieces: Vec<tb_stats::diff::Piece>,
    /// Words changed over words of the longer text, 0 to 1.
    pub distance: f64,
}
