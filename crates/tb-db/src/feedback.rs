//! Table `feedback`: judgements of answers. Rows are added, never changed.

use serde::{Deserialize, Serialize};
use tb_core::{
    feedback::{Feedback, FeedbackType, Rating},
    ids::{FeedbackId, ModelId, UserId},
};
use ts_rs::TS;

use crate::{
    error::{Error, Result},
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::{Page, Statement},
};

const TABLE: &str = "feedback";
const SELECT: &str = "SELECT id, user_id, session_id, model_id, input_text, output_text, corrected_text, transformation_type, rating, \
    feedback_type, created_at_ms FROM feedback WHERE 1 = 1";

/// Which feedback to list or count; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedbackFilter {
    /// About answers of this version.
    pub model_id: Option<ModelId>,
    /// By this user.
    pub user_id: Option<UserId>,
    /// Of this kind.
    pub feedback_type: Option<FeedbackType>,
    /// Of this kind of rewriting.
    pub transformation_type: Option<String>,
}

/// What feedback says in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct FeedbackStats {
    /// Rows.
    #[ts(type = "number")]
    pub total: u64,
    /// Rows with each rating, from 1 to 5.
    #[ts(type = "[number, number, number, number, number]")]
    pub by_rating: [u64; 5],
    /// Mean of the ratings; none if there are none.
    pub mean_rating: Option<f64>,
    /// Rows with a corrected text.
    #[ts(type = "number")]
    pub corrections: u64,
    /// Rows of each kind that occurs.
    pub by_type: Vec<FeedbackTypeCount>,
}

/// How many rows of a kind there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FeedbackTypeCount {
    /// The kind.
    pub feedback_type: FeedbackType,
    /// Rows.
    #[ts(type = "number")]
    pub rows: u64,
}

/// Whether a row was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is stored now.
    New,
    /// The same row was stored before.
    Before,
}

fn read(row: &dyn Columns) -> Result<Feedback> {
    let r = Reader::new(TABLE, row, "id");
    let rating = match r.opt_int("rating")? {
        Some(_) => Some(r.checked("rating", Rating::try_from(r.count::<u8>("rating")?))?),
        None => None,
    };
    Ok(Feedback {
        id: r.parse("id")?,
        user_id: r.opt_parse("user_id")?,
        session_id: r.text("session_id")?,
        model_id: r.parse("model_id")?,
        input_text: r.text("input_text")?,
        output_text: r.text("output_text")?,
        corrected_text: r.opt_text("corrected_text")?,
        transformation_type: r.text("transformation_type")?,
        rating,
        feedback_type: r.parse("feedback_type")?,
        created_at_ms: r.int("created_at_ms")?,
    })
}

/// Stores feedback; the same row sent again (its time aside) is stored once.
///
/// # Errors
/// [`Error::Taken`] if the id exists with other contents; [`Error::MissingReference`] if its model or user does not exist.
pub async fn insert(tx: &mut Tx, feedback: &Feedback) -> Result<Inserted> {
    let statement = Statement::new(
        TABLE,
        "INSERT INTO feedback (id, user_id, session_id, model_id, input_text, output_text, corrected_text, transformation_type, \
         rating, feedback_type, created_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING",
    )
    .about(&feedback.id)
    .bind(feedback.id.as_str())
    .bind(feedback.user_id.as_ref().map(UserId::as_str))
    .bind(feedback.session_id.as_str())
    .bind(feedback.model_id.as_str())
    .bind(feedback.input_text.as_str())
    .bind(feedback.output_text.as_str())
    .bind(feedback.corrected_text.as_deref())
    .bind(feedback.transformation_type.as_str())
    .bind(feedback.rating.map(|r| i64::from(u8::from(r))))
    .bind(feedback.feedback_type.as_str())
    .bind(feedback.created_at_ms);
    if tx.run(statement).await? == 1 {
        return Ok(Inserted::New);
    }
    match get(&mut *tx, &feedback.id).await? {
        Some(stored) if stored == (Feedback { created_at_ms: stored.created_at_ms, ..feedback.clone() }) => {
            Ok(Inserted::Before)
        }
        Some(_) | None => Err(Error::Taken {
            table: TABLE,
            id: feedback.id.to_string(),
            detail: "other feedback was stored under this id".into(),
        }),
    }
}

/// A feedback row by its id.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn get(from: impl Into<Source<'_>>, id: &FeedbackId) -> Result<Option<Feedback>> {
    from.into().one(Statement::new(TABLE, SELECT).then_if(" AND id = ", Some(id.as_str())), read).await
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

/// Numbers over the feedback rows that the filter names, all as of one moment.
///
/// # Errors
/// [`Error::BadRow`] or the driver's.
pub async fn stats(from: impl Into<Source<'_>>, filter: &FeedbackFilter) -> Result<FeedbackStats> {
    let statement = Statement::new(
        TABLE,
        "SELECT feedback_type, COALESCE(rating, 0) AS stars, COUNT(*) AS num, COUNT(corrected_text) AS corrections \
         FROM feedback WHERE 1 = 1",
    );
    let statement = restricted(statement, filter)
        .then(" GROUP BY feedback_type, COALESCE(rating, 0) ORDER BY feedback_type, COALESCE(rating, 0)");
    let cells = from.into().all(statement, |row| {
        let r = Reader::new(TABLE, row, "feedback_type");
        let kind: FeedbackType = r.parse("feedback_type")?;
        Ok((kind, r.count::<usize>("stars")?, r.count::<u64>("num")?, r.count::<u64>("corrections")?))
    });
    let mut stats =
        FeedbackStats { total: 0, by_rating: [0; 5], mean_rating: None, corrections: 0, by_type: Vec::new() };
    for (feedback_type, stars, rows, corrections) in cells.await? {
        stats.total += rows;
        stats.corrections += corrections;
        if let Some(of_rating) = stars.checked_sub(1).and_then(|i| stats.by_rating.get_mut(i)) {
            *of_rating += rows;
        }
        match stats.by_type.last_mut() {
            Some(last) if last.feedback_type == feedback_type => last.rows += rows,
            Some(_) | None => stats.by_type.push(FeedbackTypeCount { feedback_type, rows }),
        }
    }
    let rated: u64 = stats.by_rating.iter().sum();
    if rated > 0 {
        let sum: u64 = (1..).zip(stats.by_rating).map(|(stars, rows): (u64, u64)| stars * rows).sum();
        stats.mean_rating = Some(sum as f64 / rated as f64);
    }
    Ok(stats)
}

fn restricted(statement: Statement, filter: &FeedbackFilter) -> Statement {
    statement
        .then_if(" AND model_id = ", filter.model_id.as_ref().map(ModelId::as_str))
        .then_if(" AND user_id = ", filter.user_id.as_ref().map(UserId::as_str))
        .then_if(" AND feedback_type = ", filter.feedback_type.map(FeedbackType::as_str))
        .then_if(" AND transformation_type = ", filter.transformation_type.as_deref())
}
