//! Table `label_projects`.

use tb_core::{
    ids::{LabelProjectId, UserId},
    labelling::LabelProject,
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "label_projects";
const SELECT: &str = "SELECT id, name, guidelines, source, questions, overlap, item_order, seed, status, transformation_type, \
    max_items, num_items, num_done, num_answers, message, created_by, revision, created_at_ms FROM label_projects WHERE 1 = 1";

fn read(row: &dyn Columns) -> Result<LabelProject> {
    let r = Reader::new(TABLE, row, "id");
    Ok(LabelProject {
        id: r.parse("id")?,
        name: r.text("name")?,
        guidelines: r.text("guidelines")?,
        source: r.json("source")?,
        questions: r.json("questions")?,
        overlap: r.count("overlap")?,
        order: r.parse("item_order")?,
        seed: r.int("seed")?.cast_unsigned(),
        status: r.parse("status")?,
        transformation_type: r.text("transformation_type")?,
        max_items: r.count("max_items")?,
        num_items: r.count("num_items")?,
        num_done: r.count("num_done")?,
        num_answers: r.count("num_answers")?,
        message: r.opt_text("message")?,
        created_by: r.opt_parse("created_by")?,
        revision: r.int("revision")?,
        created_at_ms: r.int("created_at_ms")?,
    })
}

/// Stores a new project.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id exists.
pub async fn insert(tx: &mut Tx, project: &LabelProject) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO label_projects (id, name, guidelines, source, questions, overlap, item_order, seed, status, \
         transformation_type, max_items, num_items, num_done, num_answers, message, created_by, revision, created_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .about(&project.id)
    .bind(project.id.as_str())
    .bind(project.name.as_str())
    .bind(project.guidelines.as_str())
    .bind_json("source", &project.source)?
    .bind_json("questions", &project.questions)?
    .bind(project.overlap)
    .bind(project.order.as_str())
    // Any 64 bits: the columns hold signed numbers.
    .bind(project.seed.cast_signed())
    .bind(project.status.as_str())
    .bind(project.transformation_type.as_str())
    .bind(project.max_items)
    .bind_count("num_items", project.num_items)?
    .bind_count("num_done", project.num_done)?
    .bind_count("num_answers", project.num_answers)?
    .bind(project.message.as_deref())
    .bind(project.created_by.as_ref().map(UserId::as_str))
    .bind(project.revision)
    .bind(project.created_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Stores a changed project, if the stored revision is `project.revision`; gives it back with the revision after the change.
/// Name, guidelines, overlap, state, message and number of items may change; the counts of answers have their own function.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if the project was changed meanwhile or does not exist.
pub async fn update(tx: &mut Tx, project: &LabelProject) -> Result<LabelProject> {
    let statement = Statement::new(
        TABLE,
        "UPDATE label_projects SET name = $1, guidelines = $2, overlap = $3, status = $4, message = $5, num_items = $6, \
         revision = revision + 1 WHERE id = $7 AND revision = $8",
    )
    .about(&project.id)
    .bind(project.name.as_str())
    .bind(project.guidelines.as_str())
    .bind(project.overlap)
    .bind(project.status.as_str())
    .bind(project.message.as_deref())
    .bind_count("num_items", project.num_items)?
    .bind(project.id.as_str())
    .bind(project.revision);
    tx.run_on_seen(statement).await?;
    Ok(LabelProject { revision: project.revision + 1, ..project.clone() })
}

/// Adds to the counts of answers and of items that are done. The revision stays: nobody's change is overtaken by a count.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if there is no such project.
pub async fn count(tx: &mut Tx, id: &LabelProjectId, answers: i64, done: i64) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "UPDATE label_projects SET num_answers = num_answers + $1, num_done = num_done + $2 WHERE id = $3",
    )
    .about(id)
    .bind(answers)
    .bind(done)
    .bind(id.as_str());
    tx.run_on_seen(statement).await
}

/// A project by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &LabelProjectId) -> Result<Option<LabelProject>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// Projects, newest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(from: impl Into<Source<'_>>, page: &Page<LabelProjectId>) -> Result<Vec<LabelProject>> {
    let statement =
        Statement::new(TABLE, SELECT).newest_first(page.after.as_ref().map(LabelProjectId::as_str), page.limit);
    from.into().all(statement, read).await
}
