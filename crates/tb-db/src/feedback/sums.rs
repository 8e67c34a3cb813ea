//! Table `feedback_sums`: feedback counted per day, week and four weeks, so that statistics over millions of rows read thousands.

mod grains;
mod groups;

use std::collections::BTreeMap;

use tb_core::{
    feedback::{Choice, Feedback, Preferred, Thumbs},
    ids::{ModelId, UserId},
};

use crate::{
    error::Result,
    pool::{Source, Tx},
    row::Reader,
    statement::Statement,
};

use self::grains::{Dims, GRAINS, KIND, MODEL, REVIEWER, RIVAL};
pub use self::{
    grains::Step,
    groups::{By, Group, SumsFilter, groups},
};

const TABLE: &str = "feedback_sums";
/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 3600 * 1000;
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

/// Grain, number of the step, reviewer, model, transformation type.
type Key = (&'static str, i64, String, String, String);

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
        self.count(0, row, row.judgement.model_id.as_ref(), &Counts::of(row, sign));
        // A choice is news of the other model too, but no row of its answers.
        if let Some(Choice { preferred, other_model_id: Some(other), .. }) = &row.judgement.choice {
            let counts = Counts { choices: outcome(preferred.swapped(), sign), ..Counts::default() };
            self.count(RIVAL, row, Some(other), &counts);
        }
    }

    fn count(&mut self, rival: Dims, row: &Feedback, model: Option<&ModelId>, counts: &Counts) {
        let user = row.user_id.as_ref().map_or("", UserId::as_str);
        let model = model.map_or("", ModelId::as_str);
        let kind = row.judgement.transformation_type.as_str();
        let day = row.created_at_ms.div_euclid(DAY_MS);
        for grain in GRAINS.iter().filter(|grain| grain.dims & RIVAL == rival) {
            let told = |dim: Dims, key: &str| if grain.dims & dim == 0 { ANY.to_owned() } else { key.to_owned() };
            for (step, name) in grain.steps {
                let key = (*name, step.of_day(day), told(REVIEWER, user), told(MODEL, model), told(KIND, kind));
                self.changes.entry(key).or_default().add(counts);
            }
        }
    }

    /// Writes the changes, in the transaction of the rows.
    ///
    /// # Errors
    /// The driver's.
    pub async fn write(self, tx: &mut Tx) -> Result<()> {
        let mut changes: Vec<(Key, Counts)> = self.changes.into_iter().collect();
        while !changes.is_empty() {
            let at_once = AT_ONCE.into_iter().find(|n| *n <= changes.len()).unwrap_or(1);
            let rest = changes.split_off(at_once);
            tx.run(upsert(&changes)?).await?;
            changes = rest;
        }
        Ok(())
    }
}

const INSERT: &str = "INSERT INTO feedback_sums (grain, step, user_id, model_id, transformation_type, num, rating_1, rating_2, \
    rating_3, rating_4, rating_5, thumbs_up, thumbs_down, wins, losses, ties, both_bad, corrections, distance_num, distance_sum, \
    distance_squares, flagged, duration_num, duration_ms)";
/// Counts that one statement writes: few lengths, so that there are few statements to prepare, and none long, because the driver looks
/// for each placeholder among all of its statement's.
const AT_ONCE: [usize; 3] = [8, 3, 1];

fn upsert(changes: &[(Key, Counts)]) -> Result<Statement> {
    let mut statement = Statement::new(TABLE, INSERT).then(" VALUES ");
    for (n, ((grain, step, user, model, kind), c)) in changes.iter().enumerate() {
        statement = statement
            .about(format!("{grain} {step}"))
            .then_places(if n == 0 { "" } else { ", " }, 24)
            .bind(*grain)
            .bind(*step)
            .bind(user.as_str())
            .bind(model.as_str())
            .bind(kind.as_str())
            .bind(c.num);
        statement = c.ratings.into_iter().chain(c.thumbs).chain(c.choices).fold(statement, Statement::bind);
        statement = statement
            .bind(c.corrections)
            .bind(c.distance.0)
            .bind_finite("distance_sum", c.distance.1)?
            .bind_finite("distance_squares", c.distance.2)?
            .bind(c.flagged)
            .bind(c.duration.0)
            .bind(c.duration.1);
    }
    Ok(statement.then(
        " ON CONFLICT (grain, step, user_id, model_id, transformation_type) DO UPDATE SET \
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
    ))
}

/// What a feedback row counts in the columns from `num` on; and as the model of the second answer sees its choice.
const OF_ROW: &str = "COUNT(*), SUM(CASE WHEN rating = 1 THEN 1 ELSE 0 END), SUM(CASE WHEN rating = 2 THEN 1 ELSE 0 END), \
    SUM(CASE WHEN rating = 3 THEN 1 ELSE 0 END), SUM(CASE WHEN rating = 4 THEN 1 ELSE 0 END), \
    SUM(CASE WHEN rating = 5 THEN 1 ELSE 0 END), SUM(CASE WHEN thumbs = 'up' THEN 1 ELSE 0 END), \
    SUM(CASE WHEN thumbs = 'down' THEN 1 ELSE 0 END), SUM(CASE WHEN preferred = 'a' THEN 1 ELSE 0 END), \
    SUM(CASE WHEN preferred = 'b' THEN 1 ELSE 0 END), SUM(CASE WHEN preferred = 'tie' THEN 1 ELSE 0 END), \
    SUM(CASE WHEN preferred = 'both_bad' THEN 1 ELSE 0 END), COUNT(corrected_text), COUNT(correction_distance), \
    COALESCE(SUM(correction_distance), 0.0), COALESCE(SUM(correction_distance * correction_distance), 0.0), \
    SUM(CASE WHEN flags <> '[]' THEN 1 ELSE 0 END), COUNT(duration_ms), COALESCE(SUM(duration_ms), 0) FROM feedback \
    WHERE withdrawn_at_ms IS NULL";
const OF_RIVAL: &str = "0, 0, 0, 0, 0, 0, 0, 0, SUM(CASE WHEN preferred = 'b' THEN 1 ELSE 0 END), \
    SUM(CASE WHEN preferred = 'a' THEN 1 ELSE 0 END), SUM(CASE WHEN preferred = 'tie' THEN 1 ELSE 0 END), \
    SUM(CASE WHEN preferred = 'both_bad' THEN 1 ELSE 0 END), 0, 0, 0.0, 0.0, 0, 0, 0 FROM feedback \
    WHERE withdrawn_at_ms IS NULL AND other_model_id IS NOT NULL";

/// Whether there is feedback, but nothing is counted: in a database that was filled before these sums were kept.
///
/// # Errors
/// The driver's.
pub(crate) async fn are_missing(from: impl Into<Source<'_>>) -> Result<bool> {
    let statement = Statement::new(
        TABLE,
        "SELECT CAST(COUNT(*) AS BIGINT) AS num FROM (SELECT id FROM feedback LIMIT 1) f \
         WHERE NOT EXISTS (SELECT 1 FROM feedback_sums)",
    );
    Ok(from.into().one(statement, |row| Reader::new(TABLE, row, "num").int("num")).await? == Some(1))
}

/// Counts every row, where nothing is counted yet.
///
/// # Errors
/// The driver's.
pub(crate) async fn make(tx: &mut Tx) -> Result<()> {
    for (cell, model, counts) in [("cell_day", "model_id", OF_ROW), ("rival_cell_day", "other_model_id", OF_RIVAL)] {
        let cells = Statement::new(TABLE, INSERT)
            .then_if(" SELECT ", Some(cell))
            // Whole days, rounded down on either side of 1970.
            .then_if(", (created_at_ms - (created_at_ms % ", Some(DAY_MS))
            .then_if(" + ", Some(DAY_MS))
            .then_if(") % ", Some(DAY_MS))
            .then_if(") / ", Some(DAY_MS))
            .then(", COALESCE(user_id, ''), COALESCE(")
            .then(model)
            .then(", ''), transformation_type, ")
            .then(counts)
            .then(" GROUP BY 2, 3, 4, 5");
        tx.run(cells).await?;
    }
    for grain in &GRAINS {
        let of = if grain.dims & RIVAL == 0 { "cell_day" } else { "rival_cell_day" };
        for (step, name) in grain.steps.iter().filter(|(_, name)| *name != of) {
            let key = |dim: Dims, column| if grain.dims & dim == 0 { "'*', " } else { column };
            let (days, before) = (step.days(), step.before_1970());
            let sums = Statement::new(TABLE, INSERT)
                .then_if(" SELECT ", Some(*name))
                .then_if(", (step + ", Some(before))
                .then_if(" - ((step + ", Some(before))
                .then_if(") % ", Some(days))
                .then_if(" + ", Some(days))
                .then_if(") % ", Some(days))
                .then_if(") / ", Some(days))
                .then(", ")
                .then(key(REVIEWER, "user_id, "))
                .then(key(MODEL, "model_id, "))
                .then(key(KIND, "transformation_type, "))
                .then(SUMMED)
                .then_if(" WHERE grain = ", Some(of))
                .then(" GROUP BY 2, 3, 4, 5");
            tx.run(sums).await?;
        }
    }
    Ok(())
}

const SUMMED: &str = "CAST(SUM(num) AS BIGINT) AS num, CAST(SUM(rating_1) AS BIGINT) AS rating_1, \
    CAST(SUM(rating_2) AS BIGINT) AS rating_2, CAST(SUM(rating_3) AS BIGINT) AS rating_3, CAST(SUM(rating_4) AS BIGINT) AS rating_4, \
    CAST(SUM(rating_5) AS BIGINT) AS rating_5, CAST(SUM(thumbs_up) AS BIGINT) AS thumbs_up, \
    CAST(SUM(thumbs_down) AS BIGINT) AS thumbs_down, CAST(SUM(wins) AS BIGINT) AS wins, CAST(SUM(losses) AS BIGINT) AS losses, \
    CAST(SUM(ties) AS BIGINT) AS ties, CAST(SUM(both_bad) AS BIGINT) AS both_bad, CAST(SUM(corrections) AS BIGINT) AS corrections, \
    CAST(SUM(distance_num) AS BIGINT) AS distance_num, SUM(distance_sum) AS distance_sum, \
    SUM(distance_squares) AS distance_squares, CAST(SUM(flagged) AS BIGINT) AS flagged, \
    CAST(SUM(duration_num) AS BIGINT) AS duration_num, CAST(SUM(duration_ms) AS BIGINT) AS duration_ms FROM feedback_sums";
