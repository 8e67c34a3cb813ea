//! What was decided of items of labelling projects, as far as training data is made of it: columns of `label_items` with the
//! questions of `label_projects`.

use tb_core::{
    ids::{LabelItemId, LabelProjectId},
    labelling::{Answers, Question},
    preference::Decision,
};

use crate::{
    error::Result,
    pool::Source,
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "label_items";
const SELECT: &str = "SELECT i.id, i.output_text, i.other_text, i.resolution, p.questions FROM label_items i \
    JOIN label_projects p ON p.id = i.project_id WHERE i.resolution IS NOT NULL";

/// A decided item; no decision if it holds nothing that can be learnt from.
type Decided = (LabelItemId, Option<Decision>);

fn read(row: &dyn Columns) -> Result<Decided> {
    let r = Reader::new(TABLE, row, "id");
    let id: LabelItemId = r.parse("id")?;
    let (questions, answers): (Vec<Question>, Answers) = (r.json("questions")?, r.json("resolution")?);
    let (output, other) = (r.text("output_text")?, r.opt_text("other_text")?);
    Ok((id.clone(), Decision::of(id, output.into(), other.map(Into::into), &questions, &answers)))
}

/// At most `limit` decided items of these projects (of all, if none is named) whose ids come after `after`, in order of ids.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn page(
    from: impl Into<Source<'_>>,
    projects: &[LabelProjectId],
    after: Option<&LabelItemId>,
    limit: u32,
) -> Result<Vec<Decided>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_in(" AND i.project_id IN ", projects.iter().map(LabelProjectId::as_str))
        .then_if(" AND i.id > ", after.map(LabelItemId::as_str))
        .then_if(" ORDER BY i.id LIMIT ", Some(limit));
    from.into().all(statement, read).await
}
