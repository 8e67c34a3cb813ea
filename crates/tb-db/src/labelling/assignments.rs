//! Tables `label_assignments` and `label_cursors`: who holds which item, what became of it, and from where each reviewer's
//! search for the next item begins.

use tb_core::{
    feedback::ShownOrder,
    ids::{FeedbackId, LabelItemId, LabelProjectId, UserId},
    labelling::{Assignment, AssignmentState},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "label_assignments";
const CURSORS: &str = "label_cursors";
const SELECT: &str = "SELECT a.item_id, a.project_id, a.user_id, a.state, a.shown, a.draft, a.feedback_id, a.is_flagged, a.note, \
    a.taken_at_ms, a.changed_at_ms FROM label_assignments a WHERE 1 = 1";

fn read(row: &dyn Columns) -> Result<Assignment> {
    let r = Reader::new(TABLE, row, "item_id");
    Ok(Assignment {
        item_id: r.parse("item_id")?,
        project_id: r.parse("project_id")?,
        user_id: r.parse("user_id")?,
        state: r.parse("state")?,
        shown: r.parse::<ShownOrder>("shown")?,
        draft: r.opt_json("draft")?,
        feedback_id: r.opt_parse("feedback_id")?,
        flagged: r.flag("is_flagged")?,
        note: r.opt_text("note")?,
        taken_at_ms: r.int("taken_at_ms")?,
        changed_at_ms: r.int("changed_at_ms")?,
    })
}

/// Gives an item to a reviewer.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken) if they were given it before.
pub async fn insert(tx: &mut Tx, assignment: &Assignment) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO label_assignments (item_id, project_id, user_id, state, shown, is_flagged, taken_at_ms, changed_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .about(&assignment.item_id)
    .bind(assignment.item_id.as_str())
    .bind(assignment.project_id.as_str())
    .bind(assignment.user_id.as_str())
    .bind(assignment.state.as_str())
    .bind(assignment.shown.as_str())
    .bind(assignment.flagged)
    .bind(assignment.taken_at_ms)
    .bind(assignment.changed_at_ms);
    tx.run(statement).await?;
    Ok(())
}

/// Stores a changed assignment: its state, draft, feedback row, flag, note and time.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if there is none.
pub async fn update(tx: &mut Tx, assignment: &Assignment) -> Result<()> {
    let statement = Statement::new(
        TABLE,
        "UPDATE label_assignments SET state = $1, draft = $2, feedback_id = $3, is_flagged = $4, \
        note = $5, changed_at_ms = $6 WHERE item_id = $7 AND user_id = $8",
    )
    .about(&assignment.item_id)
    .bind(assignment.state.as_str())
    .bind_opt_json("draft", assignment.draft.as_ref())?
    .bind(assignment.feedback_id.as_ref().map(FeedbackId::as_str))
    .bind(assignment.flagged)
    .bind(assignment.note.as_deref())
    .bind(assignment.changed_at_ms)
    .bind(assignment.item_id.as_str())
    .bind(assignment.user_id.as_str());
    tx.run_on_seen(statement).await
}

/// Takes everybody's flag off an item; their notes stay.
///
/// # Errors
/// The driver's.
pub async fn clear_flags(tx: &mut Tx, item: &LabelItemId) -> Result<()> {
    let statement = Statement::new(TABLE, "UPDATE label_assignments SET is_flagged = $1 WHERE item_id = $2")
        .about(item)
        .bind(false)
        .bind(item.as_str());
    tx.run(statement).await?;
    Ok(())
}

/// Takes an item that a reviewer holds out of their hand, as if they had never been given it.
///
/// # Errors
/// [`Error::Stale`](crate::Error::Stale) if they do not hold it.
pub async fn release(tx: &mut Tx, item: &LabelItemId, user: &UserId) -> Result<()> {
    let statement =
        Statement::new(TABLE, "DELETE FROM label_assignments WHERE item_id = $1 AND user_id = $2 AND state = $3")
            .about(item)
            .bind(item.as_str())
            .bind(user.as_str())
            .bind(AssignmentState::Taken.as_str());
    tx.run_on_seen(statement).await
}

/// What a reviewer has done with an item, if they were given it.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn get(from: impl Into<Source<'_>>, item: &LabelItemId, user: &UserId) -> Result<Option<Assignment>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND a.item_id = ", Some(item.as_str()))
        .then_if(" AND a.user_id = ", Some(user.as_str()));
    from.into().one(statement, read).await
}

/// Everybody's assignments of an item, in the order in which they were given.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn of_item(from: impl Into<Source<'_>>, item: &LabelItemId) -> Result<Vec<Assignment>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND a.item_id = ", Some(item.as_str()))
        .then(" ORDER BY a.taken_at_ms, a.user_id");
    from.into().all(statement, read).await
}

/// What a reviewer holds, in the order to judge it: what was given first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn held(from: impl Into<Source<'_>>, project: &LabelProjectId, user: &UserId) -> Result<Vec<Assignment>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND a.project_id = ", Some(project.as_str()))
        .then_if(" AND a.user_id = ", Some(user.as_str()))
        .then_if(" AND a.state = ", Some(AssignmentState::Taken.as_str()))
        .then(" ORDER BY a.taken_at_ms, a.item_id");
    from.into().all(statement, read).await
}

/// What a reviewer has judged, the last first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn submitted(
    from: impl Into<Source<'_>>,
    project: &LabelProjectId,
    user: &UserId,
    limit: u32,
) -> Result<Vec<Assignment>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND a.project_id = ", Some(project.as_str()))
        .then_if(" AND a.user_id = ", Some(user.as_str()))
        .then_if(" AND a.state = ", Some(AssignmentState::Submitted.as_str()))
        .then_if(" ORDER BY a.changed_at_ms DESC, a.item_id DESC LIMIT ", Some(limit));
    from.into().all(statement, read).await
}

/// What was given before `before_ms` and neither judged nor touched since, the oldest first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn resting(
    from: impl Into<Source<'_>>,
    project: &LabelProjectId,
    before_ms: i64,
    limit: u32,
) -> Result<Vec<Assignment>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND a.project_id = ", Some(project.as_str()))
        .then_if(" AND a.state = ", Some(AssignmentState::Taken.as_str()))
        .then_if(" AND a.changed_at_ms < ", Some(before_ms))
        .then_if(" ORDER BY a.changed_at_ms, a.item_id LIMIT ", Some(limit));
    from.into().all(statement, read).await
}

/// How long a reviewer took for the last items that they judged, in milliseconds, the last first.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn last_durations(
    from: impl Into<Source<'_>>,
    project: &LabelProjectId,
    user: &UserId,
    limit: u32,
) -> Result<Vec<i64>> {
    let statement = Statement::new(
        TABLE,
        "SELECT f.duration_ms AS duration_ms FROM label_assignments a JOIN feedback f ON f.id = a.feedback_id WHERE 1 = 1",
    )
    .then_if(" AND a.project_id = ", Some(project.as_str()))
    .then_if(" AND a.user_id = ", Some(user.as_str()))
    .then_if(" AND a.state = ", Some(AssignmentState::Submitted.as_str()))
    .then_if(" ORDER BY a.changed_at_ms DESC, a.item_id DESC LIMIT ", Some(limit));
    let all = from.into().all(statement, |row| Reader::new(TABLE, row, "duration_ms").opt_int("duration_ms"));
    Ok(all.await?.into_iter().flatten().collect())
}

/// Where a reviewer is in a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Every open item up to this place was given to them: their search for the next one begins after it.
    pub place: i64,
    /// Items that they have judged.
    pub judged: u64,
    /// Items that they passed on.
    pub passed: u64,
}

/// Where a reviewer is in a project; at its beginning, if they were given nothing yet.
///
/// # Errors
/// The driver's.
pub async fn standing(from: impl Into<Source<'_>>, project: &LabelProjectId, user: &UserId) -> Result<Standing> {
    let statement = Statement::new(
        CURSORS,
        "SELECT user_id, place, judged, passed FROM label_cursors WHERE project_id = $1 AND user_id = $2",
    )
    .bind(project.as_str())
    .bind(user.as_str());
    let found = from.into().one(statement, |row| {
        let r = Reader::new(CURSORS, row, "user_id");
        Ok(Standing { place: r.int("place")?, judged: r.count("judged")?, passed: r.count("passed")? })
    });
    Ok(found.await?.unwrap_or_default())
}

/// Adds to what a reviewer has judged and passed on.
///
/// # Errors
/// [`Error::Unstorable`](crate::Error::Unstorable) if a count would fall below 0.
pub async fn count(tx: &mut Tx, project: &LabelProjectId, user: &UserId, judged: i64, passed: i64) -> Result<()> {
    let add = Statement::new(
        CURSORS,
        "UPDATE label_cursors SET judged = judged + $1, passed = passed + $2 WHERE project_id = $3 AND user_id = $4",
    )
    .about(project)
    .bind(judged)
    .bind(passed)
    .bind(project.as_str())
    .bind(user.as_str());
    if tx.run(add).await? == 1 {
        return Ok(());
    }
    let first = Statement::new(
        CURSORS,
        "INSERT INTO label_cursors (project_id, user_id, place, judged, passed) VALUES ($1, $2, 0, $3, $4)",
    )
    .about(project)
    .bind(project.as_str())
    .bind(user.as_str())
    .bind(judged)
    .bind(passed);
    tx.run(first).await?;
    Ok(())
}

/// Lets a reviewer's search begin after a place.
///
/// # Errors
/// The driver's.
pub async fn set_cursor(tx: &mut Tx, project: &LabelProjectId, user: &UserId, place: i64) -> Result<()> {
    let statement = Statement::new(
        CURSORS,
        "INSERT INTO label_cursors (project_id, user_id, place, judged, passed) VALUES ($1, $2, $3, 0, 0) \
         ON CONFLICT (project_id, user_id) DO UPDATE SET place = excluded.place",
    )
    .about(project)
    .bind(project.as_str())
    .bind(user.as_str())
    .bind(place);
    tx.run(statement).await?;
    Ok(())
}

/// Lets everybody's search find an item that is open again: nobody's begins after its place.
///
/// # Errors
/// The driver's.
pub async fn step_back(tx: &mut Tx, project: &LabelProjectId, place: i64) -> Result<()> {
    let statement = Statement::new(CURSORS, "UPDATE label_cursors SET place = $1 WHERE project_id = $2 AND place > $1")
        .about(project)
        .bind(place - 1)
        .bind(project.as_str());
    tx.run(statement).await?;
    Ok(())
}

/// Reviewers with an assignment in a project, in order of ids.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn reviewers(from: impl Into<Source<'_>>, project: &LabelProjectId) -> Result<Vec<UserId>> {
    let statement =
        Statement::new(TABLE, "SELECT DISTINCT user_id FROM label_assignments WHERE project_id = $1 ORDER BY user_id")
            .bind(project.as_str());
    from.into().all(statement, |row| Reader::new(TABLE, row, "user_id").parse("user_id")).await
}
