//! The queue: handing items to reviewers, keeping drafts, storing answers as feedback, passing on, taking back.
//!
//! A reviewer holds a few items at once, so that the next one is on the screen before the answer to the last is stored. What is
//! held counts towards the number of reviewers per item; what rests too long in somebody's hand goes to whoever asks next.

use serde_json::json;
use tb_core::{
    ApiError, ErrorCode,
    feedback::{Feedback, FeedbackSource, ShownOrder},
    ids::{FeedbackId, LabelItemId, UserId},
    labelling::{Answers, Assignment, AssignmentState, LabelItem, LabelProject, ProjectStatus, judgement, stored},
    random::{Purpose, Stream, name_key},
    tag::Tag,
};
use tb_db::{
    Tx,
    feedback::sums::Sums,
    labelling::{assignments, items, projects},
};
use uuid::Uuid;

use super::{
    median_seconds, refused,
    types::{
        DoneItem, DoneItems, DraftLabels, Hand, MarkItem, OfProject, Progress, SubmitLabels, Submitted, TakeItems, Task,
    },
};
use crate::{
    Ctx,
    commands::Nothing,
    ctx::{now_ms, tell},
    feedback::{correction_distance, rewritten, short_pieces},
    found, people,
};

/// How long an item may rest in somebody's hand before others are given it: half an hour.
const LEASE_MS: i64 = 30 * 60 * 1000;
/// Resting items that one call gives to others at most.
const RELEASED_AT_ONCE: u32 = 50;
/// Items that a reviewer holds, and at most.
const HELD: u32 = 10;
const MOST_HELD: u32 = 50;
/// Items whose times make the pace of a reviewer.
const PACE_OF: u32 = 50;
/// The flag on the feedback of an item that the reviewer flagged.
const FLAGGED: &str = "flagged";

pub(crate) async fn take(ctx: &Ctx, args: TakeItems) -> Result<Hand, ApiError> {
    super::fill::prepare(ctx, &args.project_id).await?;
    let mut tx = ctx.db().begin().await?;
    let user = people::in_database(&mut tx, ctx.actor()).await?;
    let project = found::project(&mut tx, &args.project_id).await?;
    let hand = refill(&mut tx, &project, &user, args.hold).await?;
    tx.commit().await?;
    Ok(hand)
}

pub(crate) async fn draft(ctx: &Ctx, args: DraftLabels) -> Result<Nothing, ApiError> {
    let mut tx = ctx.db().begin().await?;
    let user = people::in_database(&mut tx, ctx.actor()).await?;
    let (project, held) = in_hand(&mut tx, &args.item_id, &user).await?;
    project.check_some(&args.answers).map_err(|e| refused("The draft was not kept", e))?;
    assignments::update(&mut tx, &Assignment { draft: Some(args.answers), changed_at_ms: now_ms(), ..held }).await?;
    tx.commit().await?;
    Ok(Nothing {})
}

pub(crate) async fn submit(ctx: &Ctx, args: SubmitLabels) -> Result<Submitted, ApiError> {
    let mut tx = ctx.db().begin().await?;
    let user = people::in_database(&mut tx, ctx.actor()).await?;
    let item = found::item(&mut tx, &args.item_id).await?;
    let project = found::project(&mut tx, &item.project_id).await?;
    project.check_answers(&args.answers).map_err(|e| refused("The answers were not stored", e))?;
    let hold = args.hold.unwrap_or(HELD);
    let held = match assignments::get(&mut tx, &item.id, &user).await? {
        Some(before) if before.state == AssignmentState::Submitted => {
            return answered_before(&mut tx, &project, &before, &args.answers, hold).await;
        }
        Some(held) if held.state == AssignmentState::Taken => held,
        // It rested too long and went to others, or was passed on; the work is done now and is not thrown away.
        Some(passed) => take_back(&mut tx, &project, passed).await?,
        None => give(&mut tx, &project, &item, &user).await?,
    };
    let now = now_ms();
    let mut said = judgement(&project, &item, &args.answers, held.shown);
    said.duration_ms = args.duration_ms;
    if held.flagged && !said.flags.iter().any(|flag| flag == FLAGGED) {
        said.flags.push(FLAGGED.into());
    }
    let row = Feedback {
        id: FeedbackId::from_uuid(Uuid::now_v7()),
        user_id: Some(user.clone()),
        feedback_type: said.check().map_err(|e| refused("The answers were not stored", e))?,
        source: FeedbackSource::Labelling,
        project_id: Some(project.id.clone()),
        item_id: Some(item.id.clone()),
        correction_distance: correction_distance(&said.output_text, said.corrected_text.as_deref()),
        judgement: said,
        idempotency_key: None,
        created_at_ms: now,
        withdrawn_at_ms: None,
        withdrawn_reason: None,
    };
    let mut sums = Sums::default();
    tb_db::feedback::insert(&mut tx, &row, &mut sums).await?;
    sums.write(&mut tx).await?;
    let answered = Assignment {
        state: AssignmentState::Submitted,
        draft: None,
        feedback_id: Some(row.id.clone()),
        changed_at_ms: now,
        ..held
    };
    assignments::update(&mut tx, &answered).await?;
    let change = items::ItemChange { submitted: 1, ..items::ItemChange::default() };
    items::change(&mut tx, &item.id, change, project.overlap).await?;
    let is_done = item.submitted + 1 == project.overlap;
    projects::count(&mut tx, &project.id, 1, i64::from(is_done)).await?;
    assignments::count(&mut tx, &project.id, &user, 1, 0).await?;
    tell(&mut tx, ctx.actor().name(), "label_submit", row.id.as_str(), json!({ "item_id": item.id }), &[Tag::Feedback])
        .await?;
    let project = found::project(&mut tx, &project.id).await?;
    let hand = refill(&mut tx, &project, &user, hold).await?;
    tx.commit().await?;
    ctx.jobs().wake();
    Ok(Submitted { feedback_id: row.id, hand })
}

/// An answer that comes a second time, because the first reply was lost, is stored once.
async fn answered_before(
    tx: &mut Tx,
    project: &LabelProject,
    before: &Assignment,
    answers: &Answers,
    hold: u32,
) -> Result<Submitted, ApiError> {
    let row = match &before.feedback_id {
        Some(id) => tb_db::feedback::get(&mut *tx, id).await?,
        None => None,
    };
    match row {
        Some(row) if row.judgement.answers == stored(project, answers, before.shown) => {
            let hand = look(tx, project, &before.user_id, hold).await?;
            Ok(Submitted { feedback_id: row.id, hand })
        }
        Some(_) | None => {
            Err(ApiError::new(ErrorCode::Conflict, "The answers were not stored: you have judged this item.")
                .hint("Take your answer back with undo, then judge it again."))
        }
    }
}

pub(crate) async fn skip(ctx: &Ctx, args: MarkItem) -> Result<Hand, ApiError> {
    let mut tx = ctx.db().begin().await?;
    let user = people::in_database(&mut tx, ctx.actor()).await?;
    let (project, held) = in_hand(&mut tx, &args.item_id, &user).await?;
    let passed = Assignment {
        state: AssignmentState::Skipped,
        note: args.note.or(held.note.clone()),
        changed_at_ms: now_ms(),
        ..held
    };
    assignments::update(&mut tx, &passed).await?;
    hand_back(&mut tx, &project, &args.item_id).await?;
    assignments::count(&mut tx, &project.id, &user, 0, 1).await?;
    let hand = refill(&mut tx, &project, &user, HELD).await?;
    tx.commit().await?;
    Ok(hand)
}

pub(crate) async fn flag(ctx: &Ctx, args: MarkItem) -> Result<Nothing, ApiError> {
    let mut tx = ctx.db().begin().await?;
    let user = people::in_database(&mut tx, ctx.actor()).await?;
    let (project, held) = in_hand(&mut tx, &args.item_id, &user).await?;
    let flagged = !args.clear;
    if held.flagged != flagged {
        let change = items::ItemChange { flagged: if flagged { 1 } else { -1 }, ..items::ItemChange::default() };
        items::change(&mut tx, &args.item_id, change, project.overlap).await?;
    }
    let marked = Assignment { flagged, note: args.note.or(held.note.clone()), changed_at_ms: now_ms(), ..held };
    assignments::update(&mut tx, &marked).await?;
    tell(
        &mut tx,
        ctx.actor().name(),
        "label_flag",
        args.item_id.as_str(),
        json!({ "flagged": flagged }),
        &[Tag::Feedback],
    )
    .await?;
    tx.commit().await?;
    ctx.jobs().wake();
    Ok(Nothing {})
}

pub(crate) async fn undo(ctx: &Ctx, args: OfProject) -> Result<Hand, ApiError> {
    let mut tx = ctx.db().begin().await?;
    let user = people::in_database(&mut tx, ctx.actor()).await?;
    let project = found::project(&mut tx, &args.project_id).await?;
    let last = assignments::submitted(&mut tx, &project.id, &user, 1).await?.pop().ok_or_else(|| {
        ApiError::new(ErrorCode::Conflict, "Nothing was taken back: you have judged nothing in this project.")
    })?;
    let item = found::item(&mut tx, &last.item_id).await?;
    if item.resolution.is_some() {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            "Nothing was taken back: what is right for this item was decided meanwhile.",
        ));
    }
    let now = now_ms();
    let mut draft = None;
    if let Some(id) = &last.feedback_id {
        let row = tb_db::feedback::withdraw(&mut tx, id, now, "taken back by the reviewer").await?;
        draft = Some(stored(&project, &row.judgement.answers, last.shown));
        tell(&mut tx, ctx.actor().name(), "label_undo", id.as_str(), json!({ "item_id": item.id }), &[Tag::Feedback])
            .await?;
    }
    let again =
        Assignment { state: AssignmentState::Taken, draft, feedback_id: None, changed_at_ms: now, ..last.clone() };
    assignments::update(&mut tx, &again).await?;
    let change = items::ItemChange { submitted: -1, ..items::ItemChange::default() };
    items::change(&mut tx, &item.id, change, project.overlap).await?;
    let was_done = item.submitted == project.overlap;
    projects::count(&mut tx, &project.id, -1, -i64::from(was_done)).await?;
    assignments::count(&mut tx, &project.id, &user, -1, 0).await?;
    let project = found::project(&mut tx, &project.id).await?;
    let mut hand = look(&mut tx, &project, &user, MOST_HELD).await?;
    if let Some(at) = hand.tasks.iter().position(|task| task.item_id == item.id) {
        hand.tasks[..=at].rotate_right(1);
    }
    tx.commit().await?;
    ctx.jobs().wake();
    Ok(hand)
}

pub(crate) async fn done(ctx: &Ctx, args: DoneItems) -> Result<Vec<DoneItem>, ApiError> {
    let user = people::user_id(ctx.actor());
    let project = found::project(ctx.db(), &args.project_id).await?;
    let mut done = Vec::new();
    for last in assignments::submitted(ctx.db(), &project.id, &user, args.limit.min(200)).await? {
        let Some(id) = &last.feedback_id else { continue };
        let Some(row) = tb_db::feedback::get(ctx.db(), id).await? else { continue };
        let item = found::item(ctx.db(), &last.item_id).await?;
        let source = item.source_text.unwrap_or(item.input_text);
        done.push(DoneItem {
            item_id: item.id,
            input_start: source.chars().take(200).collect(),
            answers: stored(&project, &row.judgement.answers, last.shown),
            at_ms: last.changed_at_ms,
        });
    }
    Ok(done)
}

/// The project of an item that the reviewer holds.
async fn in_hand(tx: &mut Tx, item: &LabelItemId, user: &UserId) -> Result<(LabelProject, Assignment), ApiError> {
    let held = assignments::get(&mut *tx, item, user).await?.filter(|held| held.state == AssignmentState::Taken);
    let held = held.ok_or_else(|| {
        ApiError::new(ErrorCode::Conflict, "Nothing was changed: the item is not in your hand any more.")
            .hint("It was given to others because it rested for half an hour, or you have judged it.")
    })?;
    Ok((found::project(&mut *tx, &held.project_id).await?, held))
}

/// Which side a reviewer sees first: drawn once for each, the same whenever it is asked.
fn shown(project: &LabelProject, item: &LabelItem, user: &UserId) -> ShownOrder {
    if item.other_text.is_none() {
        return ShownOrder::AFirst;
    }
    let lane = name_key(item.id.as_str());
    match Stream::new(project.seed, name_key(user.as_str()), Purpose::Shuffle, lane).below(2) {
        0 => ShownOrder::AFirst,
        _ => ShownOrder::BFirst,
    }
}

async fn give(tx: &mut Tx, project: &LabelProject, item: &LabelItem, user: &UserId) -> Result<Assignment, ApiError> {
    let now = now_ms();
    let given = Assignment {
        item_id: item.id.clone(),
        project_id: project.id.clone(),
        user_id: user.clone(),
        state: AssignmentState::Taken,
        shown: shown(project, item, user),
        draft: None,
        feedback_id: None,
        flagged: false,
        note: None,
        taken_at_ms: now,
        changed_at_ms: now,
    };
    assignments::insert(tx, &given).await?;
    let change = items::ItemChange { held: 1, ..items::ItemChange::default() };
    items::change(tx, &item.id, change, project.overlap).await?;
    Ok(given)
}

/// An item that the reviewer passed on, in their hand again.
async fn take_back(tx: &mut Tx, project: &LabelProject, passed: Assignment) -> Result<Assignment, ApiError> {
    let change = items::ItemChange { held: 1, ..items::ItemChange::default() };
    items::change(tx, &passed.item_id, change, project.overlap).await?;
    assignments::count(tx, &project.id, &passed.user_id, 0, -1).await?;
    Ok(Assignment { state: AssignmentState::Taken, ..passed })
}

/// An item that one reviewer less holds: others may find it.
async fn hand_back(tx: &mut Tx, project: &LabelProject, id: &LabelItemId) -> Result<(), ApiError> {
    let change = items::ItemChange { held: -1, ..items::ItemChange::default() };
    items::change(tx, id, change, project.overlap).await?;
    let item = found::item(&mut *tx, id).await?;
    Ok(assignments::step_back(tx, &project.id, item.place).await?)
}

/// Fills a reviewer's hand up to `hold` items.
async fn refill(tx: &mut Tx, project: &LabelProject, user: &UserId, hold: u32) -> Result<Hand, ApiError> {
    let hold = hold.clamp(1, MOST_HELD);
    if project.status != ProjectStatus::Active {
        return Ok(Hand { tasks: Vec::new(), progress: progress(tx, project, user).await? });
    }
    for resting in assignments::resting(&mut *tx, &project.id, now_ms() - LEASE_MS, RELEASED_AT_ONCE).await? {
        if resting.user_id != *user {
            assignments::release(tx, &resting.item_id, &resting.user_id).await?;
            hand_back(tx, project, &resting.item_id).await?;
        }
    }
    let held = assignments::held(&mut *tx, &project.id, user).await?.len();
    let wanted = (hold as usize).saturating_sub(held);
    if wanted > 0 {
        let after = assignments::standing(&mut *tx, &project.id, user).await?.place;
        let next = items::next_open(&mut *tx, &project.id, user, after, wanted as u32).await?;
        for item in &next {
            give(tx, project, item, user).await?;
        }
        if let Some(last) = next.last() {
            assignments::set_cursor(tx, &project.id, user, last.place).await?;
        }
    }
    look(tx, project, user, hold).await
}

/// What a reviewer holds.
async fn look(tx: &mut Tx, project: &LabelProject, user: &UserId, hold: u32) -> Result<Hand, ApiError> {
    let mut tasks = Vec::new();
    for held in assignments::held(&mut *tx, &project.id, user).await?.into_iter().take(hold as usize) {
        let item = found::item(&mut *tx, &held.item_id).await?;
        tasks.push(task(held, item));
    }
    Ok(Hand { tasks, progress: progress(tx, project, user).await? })
}

/// An item as its reviewer sees it.
fn task(held: Assignment, item: LabelItem) -> Task {
    let mut outputs = vec![item.output_text];
    outputs.extend(item.other_text);
    match held.shown {
        ShownOrder::AFirst => {}
        ShownOrder::BFirst => outputs.reverse(),
    }
    let source = rewritten(&item.input_text, item.source_text.as_deref());
    Task {
        item_id: item.id,
        diffs: outputs.iter().map(|output| short_pieces(source, output)).collect(),
        outputs,
        input_text: item.input_text,
        source_text: item.source_text,
        transformation_type: item.transformation_type,
        draft: held.draft,
        flagged: held.flagged,
        submitted: item.submitted,
    }
}

/// How far a reviewer is.
pub(super) async fn progress(
    from: impl Into<tb_db::Source<'_>>,
    project: &LabelProject,
    user: &UserId,
) -> Result<Progress, ApiError> {
    let mut from = from.into();
    let standing = assignments::standing(from.again(), &project.id, user).await?;
    let took = assignments::last_durations(from, &project.id, user, PACE_OF).await?;
    let places = (project.num_items * u64::from(project.overlap)).saturating_sub(project.num_answers);
    Ok(Progress {
        items: project.num_items,
        done: project.num_done,
        mine: standing.judged,
        left: project.num_items.saturating_sub(standing.judged + standing.passed).min(places),
        seconds_each: median_seconds(took),
    })
}
