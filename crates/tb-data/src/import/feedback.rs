//! Feedback rows in a file: columns named as the fields of a row, or the layouts of public preference sets. Every row is read to
//! the byte. Whether its model and user exist is for the caller to find out.

mod cells;
mod preference;

use std::path::Path;

use serde_json::Value;
use tb_core::{
    dataset::{RowProblem, RowProblemKind},
    feedback::{
        BadJudgement, Choice, FeedbackSource, FeedbackType, Judgement, LONGEST_NAME_BYTES, Preferred, ShownOrder,
    },
    ids::{FeedbackId, LabelItemId, LabelProjectId, ModelId, UserId},
};

use self::{cells::Cells, preference::Public};
use super::{Flow, Manner, Record, format_of, problem};
use crate::error::Result;

type Bad = (RowProblemKind, String);
type Mapped<T> = std::result::Result<T, Bad>;

/// What rows get that do not say it themselves.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The version that answered.
    pub model_id: Option<ModelId>,
    /// The kind of rewriting.
    pub transformation_type: Option<String>,
}

/// A feedback row as a file gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Line in the file from 1 (jsonl, csv), or number of the element from 1 (json, parquet).
    pub line: u64,
    /// Its id, if it is one of this program's: the row was exported. Any other `id` is not looked at.
    pub id: Option<FeedbackId>,
    /// Who judged.
    pub user_id: Option<UserId>,
    /// Where it came from, in a row that was exported.
    pub source: Option<FeedbackSource>,
    /// Its labelling project, in a row that was exported.
    pub project_id: Option<LabelProjectId>,
    /// Its item there.
    pub item_id: Option<LabelItemId>,
    /// What was said.
    pub judgement: Judgement,
    /// What kind of judgement that is.
    pub feedback_type: FeedbackType,
    /// The key under which it was sent.
    pub idempotency_key: Option<String>,
    /// When, in milliseconds since 1970 UTC.
    pub created_at_ms: Option<i64>,
    /// When it was taken back, and why.
    pub withdrawn: Option<(i64, String)>,
}

/// Reads a file row by row; a row that cannot be used is a problem with its line.
///
/// # Errors
/// [`Error::UnknownFormat`](crate::Error::UnknownFormat), [`Error::Io`](crate::Error::Io), and
/// [`Error::BadFile`](crate::Error::BadFile) if the file as a whole cannot be read.
pub fn read(
    path: &Path,
    defaults: &Defaults,
    sink: &mut dyn FnMut(std::result::Result<Given, RowProblem>) -> Flow,
) -> Result<()> {
    super::read(path, format_of(path)?, Manner::Exact, &mut |line, record| {
        sink(record.and_then(|record| given(line, record, defaults)))
    })
}

fn given(line: u64, record: Record, defaults: &Defaults) -> std::result::Result<Given, RowProblem> {
    fields(line, &record, defaults)
        .map_err(|(kind, reason)| problem(line, kind, reason, &Value::Object(record).to_string()))
}

fn fields(line: u64, record: &Record, defaults: &Defaults) -> Mapped<Given> {
    let cells = Cells(record);
    // Public sets have columns of these names with other contents; only in a row of ours do they mean what they say.
    let id: Option<FeedbackId> = cells.own_word("id");
    let ours = id.is_some();
    // Elsewhere an empty text often stands for none.
    let text = |column| Ok::<_, Bad>(cells.text(column)?.filter(|text| ours || !text.is_empty()));
    let model_id = cells.word("model_id")?.or_else(|| defaults.model_id.clone());
    let transformation_type = cells.name("transformation_type")?;
    let transformation_type = transformation_type.or_else(|| defaults.transformation_type.clone()).unwrap_or_default();
    let common = Judgement {
        session_id: cells.name("session_id")?.unwrap_or_default(),
        model_id,
        transformation_type,
        ..Judgement::default()
    };
    let judgement = match preference::find(record)? {
        Some(Public::Labelled { prompt, completion, thumbs }) => {
            Judgement { input_text: prompt, output_text: completion, thumbs: Some(thumbs), ..common }
        }
        Some(Public::Pair { prompt, chosen, rejected }) => Judgement {
            input_text: prompt,
            output_text: chosen,
            choice: Some(Choice {
                preferred: Preferred::A,
                other_text: rejected,
                other_model_id: cells.word("other_model_id")?,
                shown: ShownOrder::AFirst,
            }),
            ..common
        },
        None => Judgement {
            input_text: cells.required_text("input_text")?,
            output_text: cells.required_text("output_text")?,
            corrected_text: text("corrected_text")?,
            rating: cells.rating()?,
            thumbs: cells.thumbs()?,
            choice: cells.choice()?,
            critique: text("critique")?,
            flags: cells.flags()?,
            answers: cells.answers()?,
            duration_ms: cells.int("duration_ms")?,
            ..common
        },
    };
    let feedback_type = judgement.check().map_err(refused)?;
    agrees(&cells, &judgement)?;
    let idempotency_key = cells.name("idempotency_key")?.filter(|key| !key.is_empty());
    if let Some(bytes) = idempotency_key.as_ref().map(String::len).filter(|bytes| *bytes > LONGEST_NAME_BYTES) {
        let reason = format!("idempotency_key has {bytes} bytes: {LONGEST_NAME_BYTES} at most");
        return Err((RowProblemKind::TooLong, reason));
    }
    let withdrawn = match cells.moment("withdrawn_at_ms")?.filter(|_| ours) {
        Some(at_ms) => Some((at_ms, cells.text("withdrawn_reason")?.unwrap_or_default())),
        None => None,
    };
    Ok(Given {
        line,
        user_id: cells.word("user_id")?,
        source: cells.own_word("source").filter(|_| ours),
        project_id: cells.own_word("project_id").filter(|_| ours),
        item_id: cells.own_word("item_id").filter(|_| ours),
        id,
        judgement,
        feedback_type,
        idempotency_key,
        created_at_ms: cells.created_at()?,
        withdrawn,
    })
}

/// A kind that the row names must be one that it has; the stored kind is found from the row. Kinds that are not ours say nothing.
fn agrees(cells: &Cells<'_>, judgement: &Judgement) -> Mapped<()> {
    let Some(said) = cells.own_word::<FeedbackType>("feedback_type") else { return Ok(()) };
    let (has, column) = match said {
        FeedbackType::Rating => (judgement.rating.is_some(), "rating"),
        FeedbackType::Correction => (judgement.corrected_text.is_some(), "corrected_text"),
        FeedbackType::Thumbs => (judgement.thumbs.is_some(), "thumbs"),
        FeedbackType::Choice => (judgement.choice.is_some(), "preferred"),
        FeedbackType::Critique => (judgement.critique.is_some() || !judgement.answers.is_empty(), "critique"),
        FeedbackType::Flag => (!judgement.flags.is_empty(), "flags"),
    };
    if has {
        return Ok(());
    }
    Err((RowProblemKind::MissingColumn, format!("its feedback_type is {said}, but '{column}' is missing")))
}

fn refused(bad: BadJudgement) -> Bad {
    let kind = match bad {
        BadJudgement::Nothing => RowProblemKind::MissingColumn,
        BadJudgement::Empty(_) => RowProblemKind::Empty,
        BadJudgement::TooLong { .. } | BadJudgement::TooManyFlags(_) => RowProblemKind::TooLong,
        BadJudgement::Duration(_) => RowProblemKind::WrongType,
    };
    (kind, bad.to_string())
}

#[cfg(test)]
mod tests;
