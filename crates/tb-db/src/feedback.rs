//! Table `feedback`: judgements of answers. Rows are added and may be withdrawn; nothing else of them changes. Every change of
//! the table goes through [`insert`] and [`withdraw`], which keep the sums of `feedback_sums` true.

use serde::{Deserialize, Serialize};
use tb_core::{
    feedback::{Choice, Feedback, FeedbackSource, FeedbackType, Judgement, Rating, Thumbs},
    ids::{FeedbackId, LabelItemId, LabelProjectId, ModelId, UserId},
    labelling::Answers,
};
use ts_rs::TS;

use crate::{
    error::{Error, Result},
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

pub mod sums;

const TABLE: &str = "feedback";
const SELECT: &str = "SELECT id, user_id, session_id, model_id, input_text, output_text, corrected_text, transformation_type, rating, \
    feedback_type, source, project_id, item_id, thumbs, preferred, other_text, other_model_id, shown, critique, flags, answers, \
    duration_ms, correction_distance, idempotency_key, created_at_ms, withdrawn_at_ms, withdrawn_reason FROM feedback WHERE 1 = 1";

/// Which feedback rows; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct FeedbackFilter {
    /// About answers of this version.
    #[serde(default)]
    pub model_id: Option<ModelId>,
    /// By this user.
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// Of this kind.
    #[serde(default)]
    pub feedback_type: Option<FeedbackType>,
    /// Of this kind of rewriting.
    #[serde(default)]
    pub transformation_type: Option<String>,
    /// From this labelling project.
    #[serde(default)]
    pub project_id: Option<LabelProjectId>,
    /// About this item of a labelling project.
    #[serde(default)]
    pub item_id: Option<LabelItemId>,
    /// That came this way.
    #[serde(default)]
    pub source: Option<FeedbackSource>,
    /// With this rating.
    #[serde(default)]
    pub rating: Option<Rating>,
    /// From this moment on, milliseconds since 1970 UTC.
    #[serde(default)]
    #[ts(type = "number")]
    pub since_ms: Option<i64>,
    /// Before this moment.
    #[serde(default)]
    #[ts(type = "number")]
    pub until_ms: Option<i64>,
    /// Only those that were withdrawn (true) or only those that count (false).
    #[serde(default)]
    pub withdrawn: Option<bool>,
}

/// Whether a row was new.
#[derive(Clone, Debug, PartialEq)]
pub enum Inserted {
    /// It is stored now.
    New,
    /// The same row was stored before, under this id and at its own time.
    Before(Box<Feedback>),
}

fn read(row: &dyn Columns) -> Result<Feedback> {
    let r = Reader::new(TABLE, row, "id");
    let rating = match r.opt_int("rating")? {
        Some(_) => Some(r.checked("rating", Rating::try_from(r.count::<u8>("rating")?))?),
        None => None,
    };
    let choice = match r.opt_parse("preferred")? {
        Some(preferred) => Some(Choice {
            preferred,
            other_text: r.text("other_text")?,
            other_model_id: r.opt_parse("other_model_id")?,
            shown: r.parse("shown")?,
        }),
        None => None,
    };
    Ok(Feedback {
        id: r.parse("id")?,
        user_id: r.opt_parse("user_id")?,
        feedback_type: r.parse("feedback_type")?,
        source: r.parse("source")?,
        project_id: r.opt_parse("project_id")?,
        item_id: r.opt_parse("item_id")?,
        judgement: Judgement {
            session_id: r.text("session_id")?,
            model_id: r.opt_parse("model_id")?,
            input_text: r.text("input_text")?,
            output_text: r.text("output_text")?,
            corrected_text: r.opt_text("corrected_text")?,
            transformation_type: r.text("transformation_type")?,
            rating,
            thumbs: r.opt_parse("thumbs")?,
            choice,
            critique: r.opt_text("critique")?,
            flags: r.json("flags")?,
            answers: r.json("answers")?,
            duration_ms: r.opt_int("duration_ms")?,
        },
        correction_distance: r.opt_float("correction_distance")?,
        idempotency_key: r.opt_text("idempotency_key")?,
        created_at_ms: r.int("created_at_ms")?,
        withdrawn_at_ms: r.opt_int("withdrawn_at_ms")?,
        withdrawn_reason: r.opt_text("withdrawn_reason")?,
    })
}

/// Stores a row and adds it to `sums`, which the caller writes once, before it commits. The same row sent again under its id or
/// its idempotency key is stored once.
///
/// # Errors
/// [`Error::Taken`] if the id or key exists with other contents; [`Error::MissingReference`] if its model or user does not exist.
pub async fn insert(tx: &mut Tx, row: &Feedback, sums: &mut sums::Sums) -> Result<Inserted> {
    let judgement = &row.judgement;
    let choice = judgement.choice.as_ref();
    let statement = Statement::new(
        TABLE,
        "INSERT INTO feedback (id, user_id, session_id, model_id, input_text, output_text, corrected_text, transformation_type, \
         rating, feedback_type, source, project_id, item_id, thumbs, preferred, other_text, other_model_id, shown, critique, flags, \
         answers, duration_ms, correction_distance, idempotency_key, created_at_ms, withdrawn_at_ms, withdrawn_reason) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, \
         $25, $26, $27) ON CONFLICT DO NOTHING",
    )
    .about(&row.id)
    .bind(row.id.as_str())
    .bind(row.user_id.as_ref().map(UserId::as_str))
    .bind(judgement.session_id.as_str())
    .bind(judgement.model_id.as_ref().map(ModelId::as_str))
    .bind(judgement.input_text.as_str())
    .bind(judgement.output_text.as_str())
    .bind(judgement.corrected_text.as_deref())
    .bind(judgement.transformation_type.as_str())
    .bind(judgement.rating.map(|r| i64::from(u8::from(r))))
    .bind(row.feedback_type.as_str())
    .bind(row.source.as_str())
    .bind(row.project_id.as_ref().map(LabelProjectId::as_str))
    .bind(row.item_id.as_ref().map(LabelItemId::as_str))
    .bind(judgement.thumbs.map(Thumbs::as_str))
    .bind(choice.map(|c| c.preferred.as_str()))
    .bind(choice.map(|c| c.other_text.as_str()))
    .bind(choice.and_then(|c| c.other_model_id.as_ref()).map(ModelId::as_str))
    .bind(choice.map(|c| c.shown.as_str()))
    .bind(judgement.critique.as_deref())
    .bind_json("flags", &judgement.flags)?
    .bind_json("answers", &judgement.answers)?
    .bind(judgement.duration_ms)
    .bind_opt_finite("correction_distance", row.correction_distance)?
    .bind(row.idempotency_key.as_deref())
    .bind(row.created_at_ms)
    .bind(row.withdrawn_at_ms)
    .bind(row.withdrawn_reason.as_deref());
    if tx.run(statement).await? == 1 {
        sums.add(row);
        return Ok(Inserted::New);
    }
    let stored = match row.idempotency_key.as_deref() {
        Some(key) => by_key(&mut *tx, key).await?,
        None => get(&mut *tx, &row.id).await?,
    };
    match stored {
        Some(stored) if says_the_same(&stored, row) => Ok(Inserted::Before(Box::new(stored))),
        Some(_) | None => Err(Error::Taken {
            table: TABLE,
            id: row.idempotency_key.clone().unwrap_or_else(|| row.id.to_string()),
            detail: "other feedback was stored under this id or key".into(),
        }),
    }
}

/// Ids, times and what became of the row aside.
fn says_the_same(stored: &Feedback, sent: &Feedback) -> bool {
    *stored
        == Feedback {
            id: stored.id.clone(),
            created_at_ms: stored.created_at_ms,
            withdrawn_at_ms: stored.withdrawn_at_ms,
            withdrawn_reason: stored.withdrawn_reason.clone(),
            ..sent.clone()
        }
}

/// Takes a row back, if it counts; gives it as it is now. Its sums are written in the same transaction.
///
/// # Errors
/// [`Error::Stale`] if there is no such row.
pub async fn withdraw(tx: &mut Tx, id: &FeedbackId, at_ms: i64, reason: &str) -> Result<Feedback> {
    let stale = || Error::Stale { table: TABLE, id: id.to_string() };
    let row = get(&mut *tx, id).await?.ok_or_else(stale)?;
    if row.withdrawn_at_ms.is_some() {
        return Ok(row);
    }
    let statement = Statement::new(
        TABLE,
        "UPDATE feedback SET withdrawn_at_ms = $1, withdrawn_reason = $2 WHERE id = $3 AND withdrawn_at_ms IS NULL",
    )
    .about(id)
    .bind(at_ms)
    .bind(reason)
    .bind(id.as_str());
    tx.run_on_seen(statement).await?;
    let mut sums = sums::Sums::default();
    sums.remove(&row);
    sums.write(tx).await?;
    Ok(Feedback { withdrawn_at_ms: Some(at_ms), withdrawn_reason: Some(reason.to_owned()), ..row })
}

/// A feedback row by its id.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &FeedbackId) -> Result<Option<Feedback>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
}

/// A feedback row by its idempotency key.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn by_key(from: impl Into<Source<'_>>, key: &str) -> Result<Option<Feedback>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND idempotency_key = ", Some(key)), read).await
}

/// Feedback rows, newest first.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn list(
    from: impl Into<Source<'_>>,
    filter: &FeedbackFilter,
    page: &Page<FeedbackId>,
) -> Result<Vec<Feedback>> {
    let statement = restricted(Statement::new(TABLE, SELECT), filter)
        .newest_first(page.after.as_ref().map(FeedbackId::as_str), page.limit);
    from.into().all(statement, read).await
}

/// What a reviewer said of an item, for measures of agreement.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// The item.
    pub item_id: LabelItemId,
    /// The reviewer.
    pub user_id: UserId,
    /// Their answers, with the sides of the item.
    pub answers: Answers,
    /// How long they took.
    pub duration_ms: Option<i64>,
}

const VOTES: &str = "SELECT f.item_id, f.user_id, f.answers, f.duration_ms FROM feedback f WHERE f.item_id IS NOT NULL \
    AND f.user_id IS NOT NULL AND f.withdrawn_at_ms IS NULL";

fn read_vote(row: &dyn Columns) -> Result<Vote> {
    let r = Reader::new(TABLE, row, "item_id");
    Ok(Vote {
        item_id: r.parse("item_id")?,
        user_id: r.parse("user_id")?,
        answers: r.json("answers")?,
        duration_ms: r.opt_int("duration_ms")?,
    })
}

/// What reviewers said of the items of a project, and counts; the newest first.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn votes(from: impl Into<Source<'_>>, project: &LabelProjectId, limit: u32) -> Result<Vec<Vote>> {
    let statement = Statement::new(TABLE, VOTES)
        .then_if(" AND f.project_id = ", Some(project.as_str()))
        .then_if(" ORDER BY f.created_at_ms DESC, f.id DESC LIMIT ", Some(limit));
    from.into().all(statement, read_vote).await
}

/// What everybody said of the last items that one reviewer has judged.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn votes_beside(
    from: impl Into<Source<'_>>,
    project: &LabelProjectId,
    user: &UserId,
    items: u32,
) -> Result<Vec<Vote>> {
    let statement = Statement::new(TABLE, VOTES)
        .then_if(
            " AND f.item_id IN (SELECT item_id FROM (SELECT a.item_id, a.changed_at_ms FROM label_assignments a WHERE a.project_id = ",
            Some(project.as_str()),
        )
        .then_if(" AND a.user_id = ", Some(user.as_str()))
        .then(" AND a.state = 'submitted'")
        .then_if(" ORDER BY a.changed_at_ms DESC LIMIT ", Some(items))
        .then(") mine) ORDER BY f.item_id, f.user_id");
    from.into().all(statement, read_vote).await
}

/// Rows that count about an item, the first first.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn of_item(from: impl Into<Source<'_>>, item: &LabelItemId) -> Result<Vec<Feedback>> {
    let statement = Statement::new(TABLE, SELECT)
        .then_if(" AND item_id = ", Some(item.as_str()))
        .then(" AND withdrawn_at_ms IS NULL ORDER BY created_at_ms, id");
    from.into().all(statement, read).await
}

fn restricted(statement: Statement, filter: &FeedbackFilter) -> Statement {
    let statement = statement
        .then_if(" AND model_id = ", filter.model_id.as_ref().map(ModelId::as_str))
        .then_if(" AND user_id = ", filter.user_id.as_ref().map(UserId::as_str))
        .then_if(" AND feedback_type = ", filter.feedback_type.map(FeedbackType::as_str))
        .then_if(" AND transformation_type = ", filter.transformation_type.as_deref())
        .then_if(" AND project_id = ", filter.project_id.as_ref().map(LabelProjectId::as_str))
        .then_if(" AND item_id = ", filter.item_id.as_ref().map(LabelItemId::as_str))
        .then_if(" AND source = ", filter.source.map(FeedbackSource::as_str))
        .then_if(" AND rating = ", filter.rating.map(|r| i64::from(u8::from(r))))
        .then_if(" AND created_at_ms >= ", filter.since_ms)
        .then_if(" AND created_at_ms < ", filter.until_ms);
    match filter.withdrawn {
        Some(true) => statement.then(" AND withdrawn_at_ms IS NOT NULL"),
        Some(false) => statement.then(" AND withdrawn_at_ms IS NULL"),
        None => statement,
    }
}
