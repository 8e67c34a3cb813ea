//! Feedback as evidence for training data: only rows that count, only the columns that the rules read, the oldest first.

use tb_core::{
    feedback::Rating,
    ids::{FeedbackId, LabelItemId, LabelProjectId, ModelId},
    preference::{Evidence, Reviewer},
};

use crate::{
    error::Result,
    pool::Source,
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "feedback";
const SELECT: &str = "SELECT id, user_id, session_id, item_id, input_text, transformation_type, output_text, corrected_text, rating, \
    thumbs, preferred, other_text, created_at_ms FROM feedback WHERE withdrawn_at_ms IS NULL";

/// Which feedback; what is empty or none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceFilter {
    /// About answers of these versions; a choice also if only its second answer is of one of them.
    pub model_ids: Vec<ModelId>,
    /// From these labelling projects.
    pub project_ids: Vec<LabelProjectId>,
    /// Of these kinds of rewriting.
    pub transformation_types: Vec<String>,
    /// From this moment on.
    pub since_ms: Option<i64>,
    /// Before this moment.
    pub until_ms: Option<i64>,
}

/// A row with its item, whose decision is not read here.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidenceRow {
    /// The row.
    pub evidence: Evidence,
    /// The item of a labelling project that it is about.
    pub item_id: Option<LabelItemId>,
}

fn read(row: &dyn Columns) -> Result<EvidenceRow> {
    let r = Reader::new(TABLE, row, "id");
    let rating = match r.opt_int("rating")? {
        Some(_) => Some(r.checked("rating", Rating::try_from(r.count::<u8>("rating")?))?),
        None => None,
    };
    let choice = match r.opt_parse("preferred")? {
        Some(preferred) => Some((preferred, r.text("other_text")?.into())),
        None => None,
    };
    Ok(EvidenceRow {
        evidence: Evidence {
            id: r.parse("id")?,
            reviewer: Reviewer::of(r.opt_text("user_id")?.as_deref(), &r.text("session_id")?),
            input_text: r.text("input_text")?.into(),
            transformation_type: r.text("transformation_type")?.into(),
            output_text: r.text("output_text")?.into(),
            corrected_text: r.opt_text("corrected_text")?.map(Into::into),
            rating,
            thumbs: r.opt_parse("thumbs")?,
            choice,
            created_at_ms: r.int("created_at_ms")?,
            decision: None,
        },
        item_id: r.opt_parse("item_id")?,
    })
}

/// At most `limit` rows after `after` (a row's time and id) in order of time.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn page(
    from: impl Into<Source<'_>>,
    filter: &EvidenceFilter,
    after: Option<(i64, &FeedbackId)>,
    limit: u32,
) -> Result<Vec<EvidenceRow>> {
    let mut statement = Statement::new(TABLE, SELECT)
        .then_in(" AND project_id IN ", filter.project_ids.iter().map(LabelProjectId::as_str))
        .then_in(" AND transformation_type IN ", filter.transformation_types.iter().map(String::as_str))
        .then_if(" AND created_at_ms >= ", filter.since_ms)
        .then_if(" AND created_at_ms < ", filter.until_ms);
    if !filter.model_ids.is_empty() {
        let ids = || filter.model_ids.iter().map(ModelId::as_str);
        statement = statement.then_in(" AND (model_id IN ", ids()).then_in(" OR other_model_id IN ", ids()).then(")");
    }
    if let Some((at_ms, id)) = after {
        statement =
            statement.then_if(" AND (created_at_ms, id) > (", Some(at_ms)).then_if(", ", Some(id.as_str())).then(")");
    }
    from.into().all(statement.then_if(" ORDER BY created_at_ms, id LIMIT ", Some(limit)), read).await
}
