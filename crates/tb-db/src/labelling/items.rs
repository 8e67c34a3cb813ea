//! Table `label_items`: what is judged, in the order of handing out. An item is open while fewer reviewers hold or have judged
//! it than its project asks for.

use tb_core::{
    ids::{LabelItemId, LabelProjectId, ModelId, UserId},
    labelling::{Answers, LabelItem},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "label_items";
const SELECT: &str = "SELECT id, project_id, place, input_text, source_text, output_text, model_id, other_text, \
    other_model_id, transformation_type, disagreement, gold, resolution, resolved_by, resolved_at_ms, held, submitted, flagged \
    FROM label_items i WHERE 1 = 1";
const COUNT: &str = "SELECT COUNT(*) AS num FROM label_items WHERE project_id = $1";

pub(super) fn read(row: &dyn Columns) -> Result<LabelItem> {
    let r = Reader::new(TABLE, row, "id");
    Ok(LabelItem {
        id: r.parse("id")?,
        project_id: r.parse("project_id")?,
        place: r.int("place")?,
        input_text: r.text("input_text")?,
        source_text: r.opt_text("source_text")?,
        output_text: r.text("output_text")?,
        model_id: r.opt_parse("model_id")?,
        other_text: r.opt_text("other_text")?,
        other_model_id: r.opt_parse("other_model_id")?,
        transformation_type: r.text("transformation_type")?,
        disagreement: r.float("disagreement")?,
        gold: r.opt_json("gold")?,
        resolution: r.opt_json("resolution")?,
        resolved_by: r.opt_parse("resolved_by")?,
        resolved_at_ms: r.opt_int("resolved_at_ms")?,
        held: r.count("held")?,
        submitted: r.count("submitted")?,
        flagged: r.count("flagged")?,
    })
}

/// Stores a new item, open.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if the id or the place exists.
pub async fn insert(tx: &mut Tx, item: &LabelItem) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO label_items (id, project_id, place, input_text, source_text, output_text, model_id, other_text, \
         other_model_id, transformation_type, disagreement, gold, held, submitted, flagged, is_open) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, 0, $13)",
    )
    .about(&item.id)
    .bind(item.id.as_str())
    .bind(item.project_id.as_str())
    .bind(item.place)
    .bind(item.input_text.as_str())
    .bind(item.source_text.as_deref())
    .bind(item.output_text.as_str())
    .bind(item.model_id.as_ref().map(ModelId::as_str))
    .bind(item.other_text.as_deref())
    .bind(item.other_model_id.as_ref().map(ModelId::as_str))
    .bind(item.transformation_type.as_str())
    .bind_finite("disagreement", item.disagreement)?
    .bind_opt_json("gold", item.gold.as_ref())?
    .bind(true);
    tx.run(statement).await?;
    Ok(())
}

/// What is added to an item's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemChange {
    /// Reviewers who hold it or have judged it.
    pub held: i64,
    /// Reviewers who have judged it.
    pub submitted: i64,
    /// Reviewers who flagged it.
    pub flagged: i64,
}

/// Adds to an item's counts; it is open afterwards if fewer than `overlap` reviewers hold it.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if there is no such item; [`Error::Unstorable`](crate::Error::Unstorable) if a count
/// would fall below 0.
pub async fn change(tx: &mut Tx, id: &LabelItemId, change: ItemChange, overlap: u32) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "UPDATE label_items SET held = held + $1, submitted = submitted + $2, flagged = flagged + $3, \
         is_open = (held + $1 < $4) WHERE id = $5",
    )
    .about(id)
    .bind(change.held)
    .bind(change.submitted)
    .bind(change.flagged)
    .bind(overlap)
    .bind(id.as_str());
    tx.run_on_seen(statement).await
}

/// Opens and closes every item of a project for another number of reviewers.
///
/// # Errors
/// The driver's.
pub async fn set_overlap(tx: &mut Tx, project: &LabelProjectId, overlap: u32) -> Result<()> {
    let statement = Statement::new(TABLE, "UPDATE label_items SET is_open = (held < $1) WHERE project_id = $2")
        .about(project)
        .bind(overlap)
        .bind(project.as_str());
    tx.run(statement).await?;
    Ok(())
}

/// Items of a project that at least `overlap` reviewers have judged.
///
/// # Errors
/// The driver's.
pub async fn count_done(from: impl Into<Source<'_>>, project: &LabelProjectId, overlap: u32) -> Result<u64> {
    count(from, Statement::new(TABLE, COUNT).bind(project.as_str()).then_if(" AND submitted >= ", Some(overlap))).await
}

/// Items of a project that somebody flags.
///
/// # Errors
/// The driver's.
pub async fn count_flagged(from: impl Into<Source<'_>>, project: &LabelProjectId) -> Result<u64> {
    // A bound 0 would not be seen to fit the partial index.
    count(from, Statement::new(TABLE, COUNT).bind(project.as_str()).then(" AND flagged > 0")).await
}

async fn count(from: impl Into<Source<'_>>, statement: Statement) -> Result<u64> {
    Ok(from.into().one(statement, |row| Reader::new(TABLE, row, "num").count("num")).await?.unwrap_or(0))
}

/// Nobody flags an item any more.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if there is no such item.
pub async fn clear_flags(tx: &mut Tx, id: &LabelItemId) -> Result<()> {
    let statement =
        Statement::new(TABLE, "UPDATE label_items SET flagged = 0 WHERE id = $1").about(id).bind(id.as_str());
    tx.run_on_seen(statement).await
}

/// Writes what was decided for an item, or takes it back.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if there is no such item.
pub async fn resolve(
    tx: &mut Tx,
    id: &LabelItemId,
    answers: Option<&Answers>,
    by: Option<&UserId>,
    at_ms: Option<i64>,
) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "UPDATE label_items SET resolution = $1, resolved_by = $2, resolved_at_ms = $3 WHERE id = $4",
    )
    .about(id)
    .bind_opt_json("resolution", answers)?
    .bind(by.map(UserId::as_str))
    .bind(at_ms)
    .bind(id.as_str());
    tx.run_on_seen(statement).await
}

/// Says what is right for an item, or that it measures nobody.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if there is no such item.
pub async fn set_gold(tx: &mut Tx, id: &LabelItemId, answers: Option<&Answers>) -> Result<()> {
    let statement = Statement::new(TABLE, "UPDATE label_items SET gold = $1 WHERE id = $2")
        .about(id)
        .bind_opt_json("gold", answers)?
        .bind(id.as_str());
    tx.run_on_seen(statement).await
}

/// An item by its id.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &LabelItemId) -> Result<Option<LabelItem>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// Which items of a project to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemFilter {
    /// All.
    All,
    /// Those that at least two reviewers have judged.
    Overlapped,
    /// Those that were flagged.
    Flagged,
    /// Those with right answers.
    Gold,
    /// Those that were decided.
    Resolved,
}

/// Items of a project after a place, in order of places.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn list(
    from: impl Into<Source<'_>>,
    project: &LabelProjectId,
    filter: ItemFilter,
    after: i64,
    limit: u32,
) -> Result<Vec<LabelItem>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND project_id = ", Some(project.as_str()))
        .then_if(" AND place > ", Some(after))
        .then(match filter {
            ItemFilter::All => "",
            ItemFilter::Overlapped => " AND submitted >= 2",
            ItemFilter::Flagged => " AND flagged > 0",
            ItemFilter::Gold => " AND gold IS NOT NULL",
            ItemFilter::Resolved => " AND resolution IS NOT NULL",
        })
        .then_if(" ORDER BY place LIMIT ", Some(limit));
    from.into().all(statement, read).await
}

/// The first open items after a place that the reviewer was never given, in order of places.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn next_open(
    from: impl Into<Source<'_>>,
    project: &LabelProjectId,
    user: &UserId,
    after: i64,
    limit: u32,
) -> Result<Vec<LabelItem>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND project_id = ", Some(project.as_str()))
        .then_if(" AND is_open = ", Some(true))
        .then_if(" AND place > ", Some(after))
        .then_if(
            " AND NOT EXISTS (SELECT 1 FROM label_assignments a WHERE a.item_id = i.id AND a.user_id = ",
            Some(user.as_str()),
        )
        .then(")")
        .then_if(" ORDER BY place LIMIT ", Some(limit));
    from.into().all(statement, read).await
}
