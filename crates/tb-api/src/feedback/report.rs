//! Statistics of feedback: distributions, means with intervals and trends, from the sums that are kept per day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError,
    feedback::FeedbackType,
    ids::{ModelId, UserId},
    user::Role,
};
use tb_db::feedback::sums::{self, By, Counts, DAY_MS, Group, Step, SumsFilter};
use tb_stats::{
    means::{Moments, mean_interval},
    proportions::wilson,
};
use ts_rs::TS;

use crate::{Ctx, people};

/// Points of a trend at most.
const MOST_POINTS: i64 = 120;
/// Lines of a trend beside that of everything.
const MOST_LINES: usize = 6;
const CONFIDENCE: f64 = 0.95;

/// Arguments of `feedback_stats`; what is none does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct StatsOfFeedback {
    /// About answers of this version.
    #[serde(default)]
    pub model_id: Option<ModelId>,
    /// By this reviewer.
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// Of this kind of rewriting.
    #[serde(default)]
    pub transformation_type: Option<String>,
    /// From the day (UTC) of this moment on, milliseconds since 1970 UTC.
    #[serde(default)]
    #[ts(optional, type = "number")]
    pub since_ms: Option<i64>,
    /// Up to the day of this moment, that day included.
    #[serde(default)]
    #[ts(optional, type = "number")]
    pub until_ms: Option<i64>,
}

/// Statistics of the feedback that counts: withdrawn rows are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct FeedbackReport {
    /// Over everything that was asked for.
    pub total: Figures,
    /// Per model version, most rows first.
    pub models: Vec<ModelFigures>,
    /// Per kind of rewriting, most rows first.
    pub transformation_types: Vec<NamedFigures>,
    /// Per reviewer, most rows first.
    pub reviewers: Vec<NamedFigures>,
    /// Over time, oldest first: per day, week, four weeks or a multiple of that, so that there are at most 120 points.
    pub trend: Trend,
    /// How many rows hold each kind of judgement; a row that holds several counts in each.
    pub kinds: Vec<KindCount>,
}

/// Rows of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct KindCount {
    /// The kind: a row that holds several judgements counts in each.
    pub kind: FeedbackType,
    /// Rows.
    #[ts(type = "number")]
    pub rows: u64,
}

/// A mean with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct MeanFigure {
    /// The mean.
    pub value: f64,
    /// Lower end of the 95 % interval (Student's t for means, Wilson's for shares); none with a single value.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Values behind it.
    #[ts(type = "number")]
    pub n: u64,
}

/// Figures of some feedback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Figures {
    /// Rows.
    #[ts(type = "number")]
    pub rows: u64,
    /// Rows with each rating, from 1 to 5.
    #[ts(type = "[number, number, number, number, number]")]
    pub by_rating: [u64; 5],
    /// Mean rating.
    pub rating: Option<MeanFigure>,
    /// Share of thumbs that are up.
    pub thumbs_up: Option<MeanFigure>,
    /// Share of decided choices (ties and "both bad" out) that the model won.
    pub win_rate: Option<MeanFigure>,
    /// Choices won, lost, tied, both bad.
    #[ts(type = "[number, number, number, number]")]
    pub choices: [u64; 4],
    /// Rows with a corrected text.
    #[ts(type = "number")]
    pub corrections: u64,
    /// Mean distance of the corrections, 0 to 1.
    pub correction_distance: Option<MeanFigure>,
    /// Rows with a flag.
    #[ts(type = "number")]
    pub flagged: u64,
    /// Mean time taken, in seconds.
    pub seconds: Option<f64>,
}

/// Figures of one model version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ModelFigures {
    /// The version; none for answers from elsewhere.
    pub model_id: Option<ModelId>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<u32>,
    /// The figures.
    pub figures: Figures,
}

/// Figures of something with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct NamedFigures {
    /// Its key: a transformation type, or a user's id; empty for none.
    pub key: String,
    /// Its name.
    pub name: String,
    /// The figures.
    pub figures: Figures,
}

/// Mean ratings over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Trend {
    /// Days that a point stands for: 1, 7 (from Monday on), 28 or a multiple of that. The first and the last may be cut off.
    pub days_per_point: u32,
    /// Beginning of each point, milliseconds since 1970 UTC.
    #[ts(type = "Array<number>")]
    pub at_ms: Vec<i64>,
    /// Over everything.
    pub total: TrendLine,
    /// The six model versions with the most rows.
    pub models: Vec<TrendLine>,
}

/// One line of a trend; each list has an entry per point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct TrendLine {
    /// The model version; none for everything or for answers from elsewhere.
    pub model_id: Option<ModelId>,
    /// What it is called.
    pub name: String,
    /// Rows.
    #[ts(type = "Array<number>")]
    pub rows: Vec<u64>,
    /// Mean rating with its interval; none where nothing was rated.
    pub rating: Vec<Option<MeanFigure>>,
}

pub(crate) async fn get(ctx: &Ctx, args: StatsOfFeedback) -> Result<FeedbackReport, ApiError> {
    let day = |ms: i64| ms.div_euclid(DAY_MS);
    let filter = SumsFilter {
        model_id: args.model_id,
        user_id: args.user_id,
        transformation_type: args.transformation_type,
        from_day: args.since_ms.map(day),
        to_day: args.until_ms.map(day),
    };
    let db = ctx.db();
    let groups = async |by: By| Ok::<_, ApiError>(sums::groups(db, &filter, by).await?);
    let (over_time, by_kind, by_reviewer) =
        tokio::try_join!(over_time(ctx, &filter), groups(By::TransformationType), groups(By::Reviewer))?;
    // Reviewers see how they judge themselves, not how the others do.
    let sees_all = ctx.actor().role.covers(Role::Trainer);
    let own = people::user_id(ctx.actor());
    let by_reviewer = by_reviewer.into_iter().filter(|group| sees_all || group.key == own.as_str()).collect();
    let mut total = Counts::default();
    by_kind.iter().for_each(|group| total.add(&group.counts));
    let mut models: BTreeMap<&str, Counts> = BTreeMap::new();
    for group in &over_time.by_model {
        models.entry(&group.key).or_default().add(&group.counts);
    }
    let mut named = Vec::with_capacity(models.len());
    for (key, counts) in models {
        named.push(model_figures(ctx, key, &counts).await?);
    }
    named.sort_by_key(|model| std::cmp::Reverse(model.figures.rows));
    let mut reviewers = named_figures(by_reviewer, |key| key.to_owned());
    for reviewer in &mut reviewers {
        if let Ok(id) = reviewer.key.parse::<UserId>()
            && let Some(user) = tb_db::users::get(db, &id).await?
        {
            reviewer.name = user.name;
        }
    }
    Ok(FeedbackReport {
        total: figures(&total),
        trend: trend(&over_time, &named),
        models: named,
        transformation_types: named_figures(by_kind, |key| key.to_owned()),
        reviewers,
        kinds: kinds(&total),
    })
}

async fn model_figures(ctx: &Ctx, key: &str, counts: &Counts) -> Result<ModelFigures, ApiError> {
    let model_id: Option<ModelId> = key.parse().ok();
    let model = match &model_id {
        Some(id) => tb_db::models::get(ctx.db(), id).await?,
        None => None,
    };
    Ok(ModelFigures {
        model_id,
        name: model.as_ref().map(|m| m.name.clone()).unwrap_or_default(),
        version: model.map(|m| m.version),
        figures: figures(counts),
    })
}

fn named_figures(groups: Vec<Group>, name: impl Fn(&str) -> String) -> Vec<NamedFigures> {
    let mut named: Vec<NamedFigures> = groups
        .into_iter()
        .map(|group| NamedFigures { name: name(&group.key), figures: figures(&group.counts), key: group.key })
        .collect();
    named.sort_by_key(|one| std::cmp::Reverse(one.figures.rows));
    named
}

/// A count of rows: what was withdrawn was counted before, so that none falls below 0.
fn rows(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn figures(counts: &Counts) -> Figures {
    let [wins, losses, ..] = counts.choices;
    let [up, down] = counts.thumbs;
    let (timed, ms) = counts.duration;
    let (measured, sum, squares) = counts.distance;
    Figures {
        rows: rows(counts.num),
        by_rating: counts.ratings.map(rows),
        rating: mean_rating(&counts.ratings),
        thumbs_up: share(rows(up), rows(up) + rows(down)),
        win_rate: share(rows(wins), rows(wins) + rows(losses)),
        choices: counts.choices.map(rows),
        corrections: rows(counts.corrections),
        correction_distance: mean(Moments { count: rows(measured), sum, sum_of_squares: squares }),
        flagged: rows(counts.flagged),
        seconds: (timed > 0).then(|| ms as f64 / timed as f64 / 1000.0),
    }
}

fn mean_rating(ratings: &[i64; 5]) -> Option<MeanFigure> {
    let (mut count, mut sum, mut squares) = (0, 0, 0);
    for (stars, num) in (1..).zip(ratings) {
        count += num;
        sum += stars * num;
        squares += stars * stars * num;
    }
    mean(Moments { count: rows(count), sum: sum as f64, sum_of_squares: squares as f64 })
}

/// A mean with Student's t interval; a single value has none.
pub(crate) fn mean(moments: Moments) -> Option<MeanFigure> {
    let value = moments.mean().ok()?;
    let interval = mean_interval(&moments, CONFIDENCE).ok().map(|estimate| estimate.interval);
    Some(MeanFigure { value, low: interval.map(|i| i.low), high: interval.map(|i| i.high), n: moments.count })
}

/// A share with Wilson's interval; none of nothing.
pub(crate) fn share(yes: u64, n: u64) -> Option<MeanFigure> {
    if n == 0 {
        return None;
    }
    let interval = wilson(yes, n, CONFIDENCE).ok()?;
    Some(MeanFigure { value: yes as f64 / n as f64, low: Some(interval.low), high: Some(interval.high), n })
}

fn kinds(total: &Counts) -> Vec<KindCount> {
    let count = |kind, num: i64| KindCount { kind, rows: rows(num) };
    [
        count(FeedbackType::Rating, total.ratings.iter().sum()),
        count(FeedbackType::Correction, total.corrections),
        count(FeedbackType::Thumbs, total.thumbs.iter().sum()),
        count(FeedbackType::Choice, total.choices.iter().sum()),
        count(FeedbackType::Flag, total.flagged),
    ]
    .into_iter()
    .filter(|kind| kind.rows > 0)
    .collect()
}

/// Counts per model version, told apart by steps of time, that began on this day at the earliest.
struct OverTime {
    step: Step,
    by_model: Vec<Group>,
    from_day: Option<i64>,
}

impl OverTime {
    /// The first and the last day of the steps that hold a row.
    fn ends(&self) -> Option<(i64, i64)> {
        // A choice that a model's rival was judged in is no row of its own.
        let steps = || self.by_model.iter().filter(|group| group.counts.num > 0).map(|group| group.step);
        let (first, last) = steps().min().zip(steps().max())?;
        Some((self.step.first_day(first), self.step.first_day(last + 1) - 1))
    }
}

/// In the shortest steps that make no more than a trend's points, or a few more.
async fn over_time(ctx: &Ctx, filter: &SumsFilter) -> Result<OverTime, ApiError> {
    let from_day = filter.from_day;
    let in_steps = async |step: Step| {
        let by_model = sums::groups(ctx.db(), filter, By::ModelAnd(step)).await?;
        Ok::<_, ApiError>(OverTime { step, by_model, from_day })
    };
    let spans = in_steps(Step::Span).await?;
    let Some((first, last)) = spans.ends() else { return Ok(spans) };
    let (first, last) = (first.max(from_day.unwrap_or(first)), last.min(filter.to_day.unwrap_or(last)));
    // The rows may begin after the first span's first day, and end before the last one's last.
    let days = last - first + 1 - 2 * Step::Span.days();
    match [Step::Day, Step::Week].into_iter().find(|step| days <= MOST_POINTS * step.days()) {
        Some(step) => in_steps(step).await,
        None => Ok(spans),
    }
}

fn trend(over_time: &OverTime, models: &[ModelFigures]) -> Trend {
    let Some((first, last)) = over_time.ends() else {
        let total = TrendLine { model_id: None, name: String::new(), rows: Vec::new(), rating: Vec::new() };
        return Trend { days_per_point: 1, at_ms: Vec::new(), total, models: Vec::new() };
    };
    // So many steps of this kind are one point.
    let point = |(unit, times): (Step, i64), day: i64| unit.of_day(day).div_euclid(times);
    let units = [Step::Day, Step::Week].into_iter().filter(|unit| *unit >= over_time.step).map(|unit| (unit, 1));
    let width = units
        .chain((1..).map(|times| (Step::Span, times)))
        .find(|width| point(*width, last) - point(*width, first) < MOST_POINTS)
        .unwrap_or((Step::Span, i64::MAX));
    let (unit, times) = width;
    let begin = point(width, first);
    let points = usize::try_from(point(width, last) - begin + 1).unwrap_or(0);
    let line = |model_id: Option<ModelId>, name: String, belongs: &dyn Fn(&Group) -> bool| {
        let mut sums = vec![Counts::default(); points];
        for group in over_time.by_model.iter().filter(|group| group.counts.num > 0 && belongs(group)) {
            let at = point(width, over_time.step.first_day(group.step)) - begin;
            if let Some(sum) = usize::try_from(at).ok().and_then(|at| sums.get_mut(at)) {
                sum.add(&group.counts);
            }
        }
        TrendLine {
            model_id,
            name,
            rows: sums.iter().map(|sum| rows(sum.num)).collect(),
            rating: sums.iter().map(|sum| mean_rating(&sum.ratings)).collect(),
        }
    };
    let lines = models.iter().filter(|model| model.figures.rows > 0).take(MOST_LINES).map(|model| {
        let key = model.model_id.as_ref().map_or("", ModelId::as_str);
        let name = model.version.map_or_else(|| model.name.clone(), |version| format!("{} v{version}", model.name));
        line(model.model_id.clone(), name, &|group| group.key == key)
    });
    let first_day = |at: i64| unit.first_day((begin + at) * times).max(over_time.from_day.unwrap_or(i64::MIN));
    Trend {
        days_per_point: u32::try_from(unit.days() * times).unwrap_or(u32::MAX),
        at_ms: (0..points as i64).map(|at| first_day(at) * DAY_MS).collect(),
        total: line(None, String::new(), &|_| true),
        models: lines.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(key: &str, step: i64, ratings: [i64; 5]) -> Group {
        let counts = Counts { num: ratings.iter().sum(), ratings, ..Counts::default() };
        Group { key: key.into(), step, counts }
    }

    fn trend_of(step: Step, by_model: Vec<Group>, from_day: Option<i64>) -> Trend {
        trend(&OverTime { step, by_model, from_day }, &[])
    }

    #[test]
    fn means_and_shares_carry_their_intervals() {
        let counts = Counts { num: 10, ratings: [1, 0, 2, 3, 4], choices: [6, 2, 1, 1], ..Counts::default() };
        let made = figures(&counts);
        let rating = made.rating.unwrap();
        assert!((rating.value - 3.9).abs() < 1e-12 && rating.n == 10);
        // scipy.stats.t.interval(0.95, 9, 3.9, sem([1,3,3,4,4,4,5,5,5,5])).
        assert!((rating.low.unwrap() - 2.99).abs() < 0.02 && (rating.high.unwrap() - 4.81).abs() < 0.02, "{rating:?}");
        let wins = made.win_rate.unwrap();
        assert_eq!((wins.value, wins.n), (0.75, 8));
        assert!(made.thumbs_up.is_none() && made.correction_distance.is_none() && made.seconds.is_none());
        let single = mean_rating(&[0, 0, 1, 0, 0]).unwrap();
        assert_eq!((single.value, single.low), (3.0, None));
    }

    #[test]
    fn a_trend_has_at_most_120_points_and_gaps_stay_gaps() {
        let days = |n: i64| (0..n).map(|day| group("a", day, [0, 0, 0, 1, 1])).collect::<Vec<_>>();
        let short = trend_of(Step::Day, days(120), None);
        assert_eq!((short.days_per_point, short.at_ms.len()), (1, 120));
        // Weeks from Monday on: the first day, a Thursday, is in one that began before it.
        let longer = trend_of(Step::Day, days(121), Some(0));
        assert_eq!((longer.days_per_point, &longer.at_ms[..2]), (7, &[0, 4 * DAY_MS][..]));
        assert_eq!(longer.total.rows.iter().sum::<u64>(), 242);
        let weeks = trend_of(Step::Week, vec![group("a", 0, [0, 0, 1, 0, 0]), group("a", 119, [0, 0, 1, 0, 0])], None);
        assert_eq!((weeks.days_per_point, weeks.at_ms.len()), (7, 120));
        assert_eq!(weeks.total.rating.iter().flatten().count(), 2);
        let spans = trend_of(Step::Span, vec![group("a", 0, [0, 0, 1, 0, 0]), group("a", 120, [0, 0, 1, 0, 0])], None);
        assert_eq!((spans.days_per_point, spans.at_ms.len()), (56, 61));
        assert_eq!(trend_of(Step::Span, Vec::new(), None).at_ms.len(), 0);
    }
}
