//! Table `feedback_sums`: feedback counted per day, so that statistics over millions of rows read thousands.
//! The grains and what they tell apart stand in the migration.

use std::collections::BTreeMap;

use tb_core::{
    feedback::{Choice, Feedback, Preferred, Thumbs},
    ids::{ModelId, UserId},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::{Columns, Reader},
    statement::Statement,
};

const TABLE: &str = "feedback_sums";
/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 3600 * 1000;
/// Days of a span: sums over long times read spans, and days only at their ends.
const SPAN_DAYS: i64 = 32;
/// What a grain does not tell apart.
const ANY: &str = "*";

/// Counts over some feedback rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Rows.
    pub num: i64,
    /// Rows with each rating, from 1 to 5.
    pub ratings: [i64; 5],
    /// Thumbs up and down.
    pub thumbs: [i64; 2],
    /// Choices that the model won, lost, tied, and where both were bad.
    pub choices: [i64; 4],
    /// Rows with a corrected text.
    pub corrections: i64,
    /// Rows with a distance, the sum of the distances and of their squares.
    pub distance: (i64, f64, f64),
    /// Rows with a flag.
    pub flagged: i64,
    /// Rows with a duration, and the sum of these in milliseconds.
    pub duration: (i64, i64),
}

impl Counts {
    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        let each = |mine: &mut [i64], theirs: &[i64]| mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        self.num += other.num;
        each(&mut self.ratings, &other.ratings);
        each(&mut self.thumbs, &other.thumbs);
        each(&mut self.choices, &other.choices);
        self.corrections += other.corrections;
        self.distance.0 += other.distance.0;
        self.distance.1 += other.distance.1;
        self.distance.2 += other.distance.2;
        self.flagged += other.flagged;
        self.duration.0 += other.duration.0;
        self.duration.1 += other.duration.1;
    }

    fn of(row: &Feedback, sign: i64) -> Self {
        let judgement = &row.judgement;
        let mut counts = Self { num: sign, ..Self::default() };
        if let Some(rating) = judgement.rating {
            counts.ratings[usize::from(u8::from(rating)) - 1] = sign;
        }
        match judgement.thumbs {
            Some(Thumbs::Up) => counts.thumbs[0] = sign,
            Some(Thumbs::Down) => counts.thumbs[1] = sign,
            None => {}
        }
        if let Some(choice) = &judgement.choice {
            counts.choices = outcome(choice.preferred, sign);
        }
        counts.corrections = if judgement.corrected_text.is_some() { sign } else { 0 };
        if let Some(distance) = row.correction_distance {
            counts.distance = (sign, sign as f64 * distance, sign as f64 * distance * distance);
        }
        counts.flagged = if judgement.flags.is_empty() { 0 } else { sign };
        if let Some(ms) = judgement.duration_ms {
            counts.duration = (sign, sign * ms);
        }
        counts
    }
}

/// Won, lost, tied, both bad, as the first answer's model sees it.
fn outcome(preferred: Preferred, sign: i64) -> [i64; 4] {
    match preferred {
        Preferred::A => [sign, 0, 0, 0],
        Preferred::B => [0, sign, 0, 0],
        Preferred::Tie => [0, 0, sign, 0],
        Preferred::BothBad => [0, 0, 0, sign],
    }
}

/// Grain, reviewer, model, transformation type, day.
type Key = (&'static str, String, String, String, i64);

/// Changes of the sums, gathered over the rows of a transaction.
#[derive(Debug, Default)]
pub struct Sums {
    changes: BTreeMap<Key, Counts>,
}

impl Sums {
    /// A row that was stored; one that is withdrawn already does not count.
    pub fn add(&mut self, row: &Feedback) {
        if row.withdrawn_at_ms.is_none() {
            self.change(row, 1);
        }
    }

    /// A row that was taken back.
    pub(super) fn remove(&mut self, row: &Feedback) {
        self.change(row, -1);
    }

    fn change(&mut self, row: &Feedback, sign: i64) {
        let judgement = &row.judgement;
        let user = row.user_id.as_ref().map_or("", UserId::as_str);
        let model = judgement.model_id.as_ref().map_or("", ModelId::as_str);
        let kind = judgement.transformation_type.as_str();
        let day = row.created_at_ms.div_euclid(DAY_MS);
        let span = day.div_euclid(SPAN_DAYS);
        let counts = Counts::of(row, sign);
        self.count("model", ANY, model, ANY, day, &counts);
        self.count("type", ANY, ANY, kind, day, &counts);
        self.count("model_type", ANY, model, kind, day, &counts);
        self.count("reviewer", user, ANY, ANY, day, &counts);
        self.count("reviewer_span", user, ANY, ANY, span, &counts);
        self.count("cell", user, model, kind, day, &counts);
        self.count("cell_span", user, model, kind, span, &counts);
        // A choice is news of the other model too, but no row of its answers.
        if let Some(Choice { preferred, other_model_id: Some(other), .. }) = &judgement.choice {
            let counts = Counts { choices: outcome(preferred.swapped(), sign), ..Counts::default() };
            self.count("rival", ANY, other.as_str(), ANY, day, &counts);
            self.count("rival_type", ANY, other.as_str(), kind, day, &counts);
            self.count("rival_cell", user, other.as_str(), kind, day, &counts);
        }
    }

    fn count(&mut self, grain: &'static str, user: &str, model: &str, kind: &str, day: i64, counts: &Counts) {
        let key = (grain, user.to_owned(), model.to_owned(), kind.to_owned(), day);
        self.changes.entry(key).or_default().add(counts);
    }

    /// Writes the changes, in the transaction of the rows.
    ///
    /// # Errors
    /// The driver's.
    pub async fn write(self, tx: &mut Tx) -> Result<()> {
        for ((grain, user, model, kind, day), c) in self.changes {
            let statement = Statement::new(
                TABLE,
                "INSERT INTO feedback_sums (grain, user_id, model_id, transformation_type, day, num, rating_1, rating_2, rating_3, \
                 rating_4, rating_5, thumbs_up, thumbs_down, wins, losses, ties, both_bad, corrections, distance_num, distance_sum, \
                 distance_squares, flagged, duration_num, duration_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                 $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) \
                 ON CONFLICT (grain, user_id, model_id, transformation_type, day) DO UPDATE SET \
                 num = feedback_sums.num + excluded.num, rating_1 = feedback_sums.rating_1 + excluded.rating_1, \
                 rating_2 = feedback_sums.rating_2 + excluded.rating_2, rating_3 = feedback_sums.rating_3 + excluded.rating_3, \
                 rating_4 = feedback_sums.rating_4 + excluded.rating_4, rating_5 = feedback_sums.rating_5 + excluded.rating_5, \
                 thumbs_up = feedback_sums.thumbs_up + excluded.thumbs_up, \
                 thumbs_down = feedback_sums.thumbs_down + excluded.thumbs_down, \
                 wins = feedback_sums.wins + excluded.wins, losses = feedback_sums.losses + excluded.losses, \
                 ties = feedback_sums.ties + excluded.ties, both_bad = feedback_sums.both_bad + excluded.both_bad, \
                 corrections = feedback_sums.corrections + excluded.corrections, \
                 distance_num = feedback_sums.distance_num + excluded.distance_num, \
                 distance_sum = feedback_sums.distance_sum + excluded.distance_sum, \
                 distance_squares = feedback_sums.distance_squares + excluded.distance_squares, \
                 flagged = feedback_sums.flagged + excluded.flagged, \
                 duration_num = feedback_sums.duration_num + excluded.duration_num, \
                 duration_ms = feedback_sums.duration_ms + excluded.duration_ms",
            )
            .about(format!("{grain} {day}"))
            .bind(grain)
            .bind(user)
            .bind(model)
            .bind(kind)
            .bind(day)
            .bind(c.num);
            let mut statement = c.ratings.into_iter().chain(c.thumbs).chain(c.choices).fold(statement, Statement::bind);
            statement = statement
                .bind(c.corrections)
                .bind(c.distance.0)
                .bind_finite("distance_sum", c.distance.1)?
                .bind_finite("distance_squares", c.distance.2)?
                .bind(c.flagged)
                .bind(c.duration.0)
                .bind(c.duration.1);
            tx.run(statement).await?;
        }
        Ok(())
    }
}

/// Which feedback to count; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SumsFilter {
    /// About answers of this version.
    pub model_id: Option<ModelId>,
    /// By this reviewer.
    pub user_id: Option<UserId>,
    /// Of this kind of rewriting.
    pub transformation_type: Option<String>,
    /// From this day on (days since 1970 UTC).
    pub from_day: Option<i64>,
    /// Up to this day, itself included.
    pub to_day: Option<i64>,
}

/// What to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Model versions and days.
    ModelAndDay,
    /// Kinds of rewriting.
    TransformationType,
    /// Reviewers.
    Reviewer,
}

/// Counts of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The model's id, the kind of rewriting, or the reviewer's id; empty for none.
    pub key: String,
    /// The day, for groups that are told apart by it; else 0.
    pub day: i64,
    /// Its counts.
    pub counts: Counts,
}

const SUMMED: &str = "CAST(SUM(num) AS BIGINT) AS num, CAST(SUM(rating_1) AS BIGINT) AS rating_1, \
    CAST(SUM(rating_2) AS BIGINT) AS rating_2, CAST(SUM(rating_3) AS BIGINT) AS rating_3, CAST(SUM(rating_4) AS BIGINT) AS rating_4, \
    CAST(SUM(rating_5) AS BIGINT) AS rating_5, CAST(SUM(thumbs_up) AS BIGINT) AS thumbs_up, \
    CAST(SUM(thumbs_down) AS BIGINT) AS thumbs_down, CAST(SUM(wins) AS BIGINT) AS wins, CAST(SUM(losses) AS BIGINT) AS losses, \
    CAST(SUM(ties) AS BIGINT) AS ties, CAST(SUM(both_bad) AS BIGINT) AS both_bad, CAST(SUM(corrections) AS BIGINT) AS corrections, \
    CAST(SUM(distance_num) AS BIGINT) AS distance_num, SUM(distance_sum) AS distance_sum, \
    SUM(distance_squares) AS distance_squares, CAST(SUM(flagged) AS BIGINT) AS flagged, \
    CAST(SUM(duration_num) AS BIGINT) AS duration_num, CAST(SUM(duration_ms) AS BIGINT) AS duration_ms FROM feedback_sums";

/// Counts of the feedback that counts, group by group, in order of keys and days.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn groups(from: impl Into<Source<'_>>, filter: &SumsFilter, by: By) -> Result<Vec<Group>> {
    let from = from.into();
    let (model, kind) = (filter.model_id.is_some(), filter.transformation_type.is_some());
    match by {
        // What a model won or lost as the second answer counts for the model alone: elsewhere the row is counted already.
        By::ModelAndDay => {
            let grains: &[_] = match (filter.user_id.is_some(), kind) {
                (true, _) => &["cell", "rival_cell"],
                (false, true) => &["model_type", "rival_type"],
                (false, false) => &["model", "rival"],
            };
            from.all(statement(grains, filter, by, (filter.from_day, filter.to_day)), read).await
        }
        By::TransformationType if filter.user_id.is_some() => in_pieces(from, filter, by, "cell", "cell_span").await,
        By::TransformationType => {
            let grain = if model { "model_type" } else { "type" };
            from.all(statement(&[grain], filter, by, (filter.from_day, filter.to_day)), read).await
        }
        By::Reviewer if model || kind => in_pieces(from, filter, by, "cell", "cell_span").await,
        By::Reviewer => in_pieces(from, filter, by, "reviewer", "reviewer_span").await,
    }
}

/// Groups that no day tells apart: counted in spans, and in days at the ends of the time.
async fn in_pieces(
    mut from: Source<'_>,
    filter: &SumsFilter,
    by: By,
    days: &'static str,
    spans: &'static str,
) -> Result<Vec<Group>> {
    let mut found: BTreeMap<String, Counts> = BTreeMap::new();
    for (piece, range) in pieces(filter.from_day, filter.to_day) {
        let grain = match piece {
            Piece::Days => days,
            Piece::Spans => spans,
        };
        for group in from.again().all(statement(&[grain], filter, by, range), read).await? {
            found.entry(group.key).or_default().add(&group.counts);
        }
    }
    Ok(found.into_iter().map(|(key, counts)| Group { key, day: 0, counts }).collect())
}

/// What a part of a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Days,
    Spans,
}

/// Days or spans from the first to the last, both of them included; an end that is none is open.
type Range = (Option<i64>, Option<i64>);

/// A time as whole spans and the days before and after them; both ends belong to it, and none is open.
fn pieces(from_day: Option<i64>, to_day: Option<i64>) -> Vec<(Piece, Range)> {
    let first = from_day.map(|day| day.div_euclid(SPAN_DAYS) + i64::from(day.rem_euclid(SPAN_DAYS) != 0));
    let last = to_day.map(|day| (day + 1).div_euclid(SPAN_DAYS) - 1);
    if let (Some(first), Some(last)) = (first, last)
        && first > last
    {
        return vec![(Piece::Days, (from_day, to_day))];
    }
    let mut pieces = vec![(Piece::Spans, (first, last))];
    if let (Some(from_day), Some(first)) = (from_day, first)
        && from_day < first * SPAN_DAYS
    {
        pieces.push((Piece::Days, (Some(from_day), Some(first * SPAN_DAYS - 1))));
    }
    if let (Some(to_day), Some(last)) = (to_day, last)
        && to_day >= (last + 1) * SPAN_DAYS
    {
        pieces.push((Piece::Days, (Some((last + 1) * SPAN_DAYS), Some(to_day))));
    }
    pieces
}

fn statement(grains: &[&'static str], filter: &SumsFilter, by: By, range: Range) -> Statement {
    let (columns, end) = match by {
        By::ModelAndDay => {
            ("SELECT model_id AS group_key, day AS group_day, ", " GROUP BY model_id, day ORDER BY model_id, day")
        }
        By::TransformationType => (
            "SELECT transformation_type AS group_key, CAST(0 AS BIGINT) AS group_day, ",
            " GROUP BY transformation_type ORDER BY transformation_type",
        ),
        By::Reviewer => {
            ("SELECT user_id AS group_key, CAST(0 AS BIGINT) AS group_day, ", " GROUP BY user_id ORDER BY user_id")
        }
    };
    Statement::new(TABLE, columns)
        .then(SUMMED)
        .then_in(" WHERE grain IN ", grains.iter().copied())
        .then_if(" AND user_id = ", filter.user_id.as_ref().map(UserId::as_str))
        .then_if(" AND model_id = ", filter.model_id.as_ref().map(ModelId::as_str))
        .then_if(" AND transformation_type = ", filter.transformation_type.as_deref())
        .then_if(" AND day >= ", range.0)
        .then_if(" AND day <= ", range.1)
        .then(end)
}

fn read(row: &dyn Columns) -> Result<Group> {
    let r = Reader::new(TABLE, row, "group_key");
    Ok(Group {
        key: r.text("group_key")?,
        day: r.int("group_day")?,
        counts: Counts {
            num: r.int("num")?,
            ratings: [
                r.int("rating_1")?,
                r.int("rating_2")?,
                r.int("rating_3")?,
                r.int("rating_4")?,
                r.int("rating_5")?,
            ],
            thumbs: [r.int("thumbs_up")?, r.int("thumbs_down")?],
            choices: [r.int("wins")?, r.int("losses")?, r.int("ties")?, r.int("both_bad")?],
            corrections: r.int("corrections")?,
            distance: (r.int("distance_num")?, r.float("distance_sum")?, r.float("distance_squares")?),
            flagged: r.int("flagged")?,
            duration: (r.int("duration_num")?, r.int("duration_ms")?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_cut_into_spans_and_days_without_gap_or_overlap() {
        for from in [None, Some(-70), Some(0), Some(1), Some(31), Some(32), Some(64), Some(100)] {
            for to in [None, Some(-40), Some(31), Some(32), Some(63), Some(64), Some(95), Some(100), Some(500)] {
                let within = |day: i64| from.is_none_or(|f| day >= f) && to.is_none_or(|t| day <= t);
                let pieces = pieces(from, to);
                for day in -200..700_i64 {
                    let counted = pieces.iter().filter(|(piece, (first, last))| {
                        let at = match piece {
                            Piece::Days => day,
                            Piece::Spans => day.div_euclid(SPAN_DAYS),
                        };
                        first.is_none_or(|f| at >= f) && last.is_none_or(|l| at <= l)
                    });
                    assert_eq!(counted.count(), usize::from(within(day)), "{from:?} {to:?} {day} {pieces:?}");
                }
            }
        }
    }
}
