//! Reading the sums: counts of what fits a filter, group by group.

use std::collections::BTreeMap;

use tb_core::ids::{ModelId, UserId};

use super::{
    Counts, SUMMED, TABLE,
    grains::{Dims, KIND, MODEL, REVIEWER, RIVAL, Step, grain_of},
};
use crate::{
    error::Result,
    pool::Source,
    row::{Columns, Reader},
    statement::Statement,
};

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

impl SumsFilter {
    /// What must be told apart to obey it.
    fn dims(&self) -> Dims {
        let of = |is_told: bool, dim: Dims| if is_told { dim } else { 0 };
        of(self.user_id.is_some(), REVIEWER)
            | of(self.model_id.is_some(), MODEL)
            | of(self.transformation_type.is_some(), KIND)
    }
}

/// What to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Model versions, and such steps of time.
    ModelAnd(Step),
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
    /// The number of the step, for groups that are told apart by it; else 0.
    pub step: i64,
    /// Its counts.
    pub counts: Counts,
}

/// Counts of the feedback that counts, group by group, in order of keys and steps.
///
/// # Errors
/// [`Error::BadRow`](crate::Error::BadRow) or the driver's.
pub async fn groups(from: impl Into<Source<'_>>, filter: &SumsFilter, by: By) -> Result<Vec<Group>> {
    let mut from = from.into();
    let (key, finest) = match by {
        By::ModelAnd(step) => (MODEL, step),
        By::TransformationType => (KIND, Step::Span),
        By::Reviewer => (REVIEWER, Step::Span),
    };
    // What a model won or lost as the second answer counts for the model alone: elsewhere the row is counted already.
    let rivals: &[Dims] = if matches!(by, By::ModelAnd(_)) { &[0, RIVAL] } else { &[0] };
    let mut found: BTreeMap<(String, i64), Counts> = BTreeMap::new();
    for rival in rivals {
        let dims = key | filter.dims() | rival;
        let steps: Vec<(Step, &'static str)> = Step::LONGEST_FIRST
            .into_iter()
            .filter(|step| *step <= finest)
            .filter_map(|step| Some((step, grain_of(dims, step)?)))
            .collect();
        for ((step, grain), range) in pieces(filter.from_day, filter.to_day, &steps) {
            for group in from.again().all(statement(grain, filter, by, range), read).await? {
                let at = match by {
                    By::ModelAnd(wanted) => wanted.of_day(step.first_day(group.step)),
                    By::TransformationType | By::Reviewer => 0,
                };
                found.entry((group.key, at)).or_default().add(&group.counts);
            }
        }
    }
    Ok(found.into_iter().map(|((key, step), counts)| Group { key, step, counts }).collect())
}

/// Steps from the first to the last, both of them included; an end that is none is open.
type Range = (Option<i64>, Option<i64>);
/// A step, and what it is counted in.
type Piece = (Step, &'static str);

/// A time, both of its ends included, in the longest steps that there are, and the shorter ones before and after them.
fn pieces(from_day: Option<i64>, to_day: Option<i64>, steps: &[Piece]) -> Vec<(Piece, Range)> {
    let [piece @ (step, _), shorter @ ..] = steps else { return Vec::new() };
    let first = from_day.map(|day| step.of_day(day) + i64::from(step.first_day(step.of_day(day)) != day));
    let last = to_day.map(|day| step.of_day(day + 1) - 1);
    if let (Some(first), Some(last)) = (first, last)
        && first > last
    {
        return pieces(from_day, to_day, shorter);
    }
    let mut all = vec![(*piece, (first, last))];
    if let (Some(from_day), Some(first)) = (from_day, first)
        && from_day < step.first_day(first)
    {
        all.extend(pieces(Some(from_day), Some(step.first_day(first) - 1), shorter));
    }
    if let (Some(to_day), Some(last)) = (to_day, last)
        && to_day >= step.first_day(last + 1)
    {
        all.extend(pieces(Some(step.first_day(last + 1)), Some(to_day), shorter));
    }
    all
}

fn statement(grain: &'static str, filter: &SumsFilter, by: By, range: Range) -> Statement {
    // Keys are joined with nothing, so that no index is chosen for their order instead of for the filter.
    let (columns, end) = match by {
        By::ModelAnd(_) => ("SELECT model_id || '' AS group_key, step AS group_step, ", " GROUP BY group_key, step"),
        By::TransformationType => {
            ("SELECT transformation_type || '' AS group_key, CAST(0 AS BIGINT) AS group_step, ", " GROUP BY group_key")
        }
        By::Reviewer => ("SELECT user_id || '' AS group_key, CAST(0 AS BIGINT) AS group_step, ", " GROUP BY group_key"),
    };
    // Each filter has an index; the one that leaves the fewest counts is to be used, and the others not to be chosen.
    let (user, model) = (filter.user_id.as_ref().map(UserId::as_str), filter.model_id.as_ref().map(ModelId::as_str));
    Statement::new(TABLE, columns)
        .then(SUMMED)
        .then_if(" WHERE grain = ", Some(grain))
        .then_if(" AND user_id = ", user)
        .then_if(if user.is_some() { " AND model_id || '' = " } else { " AND model_id = " }, model)
        .then_if(
            if user.or(model).is_some() { " AND transformation_type || '' = " } else { " AND transformation_type = " },
            filter.transformation_type.as_deref(),
        )
        .then_if(" AND step >= ", range.0)
        .then_if(" AND step <= ", range.1)
        .then(end)
}

fn read(row: &dyn Columns) -> Result<Group> {
    let r = Reader::new(TABLE, row, "group_key");
    Ok(Group {
        key: r.text("group_key")?,
        step: r.int("group_step")?,
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
    fn a_time_is_cut_into_steps_without_gap_or_overlap() {
        let every: Vec<Piece> = Step::LONGEST_FIRST.into_iter().map(|step| (step, "")).collect();
        let some = [every[0], every[2]];
        for from in [None, Some(-70), Some(-3), Some(0), Some(1), Some(4), Some(25), Some(53), Some(100)] {
            for to in [None, Some(-40), Some(3), Some(24), Some(25), Some(52), Some(53), Some(95), Some(500)] {
                let within = |day: i64| from.is_none_or(|f| day >= f) && to.is_none_or(|t| day <= t);
                for steps in [&every[..], &some, &every[1..], &every[2..]] {
                    let pieces = pieces(from, to, steps);
                    for day in -200..700_i64 {
                        let counted = pieces.iter().filter(|((step, _), (first, last))| {
                            let at = step.of_day(day);
                            first.is_none_or(|f| at >= f) && last.is_none_or(|l| at <= l)
                        });
                        assert_eq!(counted.count(), usize::from(within(day)), "{from:?} {to:?} {day} {pieces:?}");
                    }
                }
            }
        }
    }
}
