//! How far reviewers agree: the project's answers as tables of ratings, and what tb-stats makes of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use tb_core::{
    ApiError,
    ids::{LabelItemId, UserId},
    labelling::{Answer, LabelItem, LabelProject, Question, QuestionKind, agrees_with_gold},
    random::{Purpose, Stream},
};
use tb_db::{
    feedback::Vote,
    labelling::items::{self, ItemFilter},
};
use tb_stats::{
    StatsError,
    agreement::{
        AgreementEstimate, KappaWeights, Level, Rating, Ratings, alpha_interval, cohen_kappa_interval,
        fleiss_kappa_interval, rater_shares, rater_shares_interval, shares_interval,
    },
    bootstrap::{Bootstrap, Estimate},
    reviewers::{DawidSkene, rater_biases},
};

use super::{
    decide::differs,
    median_seconds,
    types::{AgreementFigure, AgreementReport, NoAlpha, OfProject, OwnAgreement, QuestionAgreement, ReviewerReport},
};
use crate::{
    Ctx,
    ctx::blocking,
    feedback::report::{MeanFigure, share},
    found, people,
};

/// Answers that are read at most, the newest ones.
const MOST_VOTES: u32 = 200_000;
/// Items on which a reviewer's own agreement stands.
const OWN_ITEMS: u32 = 300;
const CONFIDENCE: f64 = 0.95;

/// Votes with items and reviewers numbered.
struct Table {
    votes: Vec<Vote>,
    items: HashMap<LabelItemId, usize>,
    users: Vec<UserId>,
}

impl Table {
    fn new(votes: Vec<Vote>) -> Self {
        let mut items = HashMap::new();
        let mut users: Vec<UserId> = votes.iter().map(|vote| vote.user_id.clone()).collect();
        users.sort_unstable();
        users.dedup();
        // One answer counts per reviewer and item: the newest, which comes first.
        let mut seen = HashSet::new();
        let votes: Vec<Vote> =
            votes.into_iter().filter(|v| seen.insert((v.item_id.clone(), v.user_id.clone()))).collect();
        for vote in &votes {
            let next = items.len();
            items.entry(vote.item_id.clone()).or_insert(next);
        }
        Self { votes, items, users }
    }

    fn user(&self, id: &UserId) -> Option<usize> {
        self.users.binary_search(id).ok()
    }

    /// The answers to one question as numbers: a rating itself, an option its place in the list.
    fn ratings(&self, question: &Question) -> Result<Ratings, StatsError> {
        Ratings::new(self.votes.iter().filter_map(|vote| {
            let value = value_of(&question.kind, vote.answers.get(&question.name)?)?;
            Some(Rating { unit: *self.items.get(&vote.item_id)?, rater: self.user(&vote.user_id)?, value })
        }))
    }
}

/// The number that stands for an answer; none for texts, which are not compared.
fn value_of(kind: &QuestionKind, answer: &Answer) -> Option<f64> {
    let place = |words: &[&str], word: &str| words.iter().position(|w| *w == word).map(|i| i as f64);
    match (kind, answer) {
        (QuestionKind::Rating { .. }, Answer::Number(stars)) => Some(f64::from(*stars)),
        (QuestionKind::Choice, Answer::Text(word)) => place(&["a", "b", "tie", "both_bad"], word),
        (QuestionKind::Label { options }, Answer::Text(word)) => {
            place(&options.iter().map(|o| o.value.as_str()).collect::<Vec<_>>(), word)
        }
        (
            QuestionKind::Rating { .. }
            | QuestionKind::Choice
            | QuestionKind::Label { .. }
            | QuestionKind::Labels { .. }
            | QuestionKind::Correction
            | QuestionKind::Text,
            Answer::Number(_) | Answer::Text(_) | Answer::Many(_),
        ) => None,
    }
}

fn can_be_compared(question: &Question) -> bool {
    match question.kind {
        QuestionKind::Rating { .. } | QuestionKind::Choice | QuestionKind::Label { .. } => true,
        QuestionKind::Labels { .. } | QuestionKind::Correction | QuestionKind::Text => false,
    }
}

fn level(question: &Question) -> (Level, &'static str, KappaWeights) {
    match question.kind {
        QuestionKind::Rating { .. } => (Level::Ordinal, "ordinal", KappaWeights::Quadratic),
        QuestionKind::Choice
        | QuestionKind::Label { .. }
        | QuestionKind::Labels { .. }
        | QuestionKind::Correction
        | QuestionKind::Text => (Level::Nominal, "nominal", KappaWeights::Unweighted),
    }
}

fn figure(estimate: Result<AgreementEstimate, StatsError>) -> Result<AgreementFigure, StatsError> {
    estimate.map(|e| AgreementFigure {
        value: e.value,
        low: e.interval.low,
        high: e.interval.high,
        items: e.units as u64,
    })
}

/// What a missing alpha means to a person. The ratings of a table are finite and one per item and reviewer, so that only these
/// three remain.
fn why_none(error: &StatsError) -> NoAlpha {
    match error {
        StatsError::NothingToCompare | StatsError::NoRows => NoAlpha::NothingToCompare,
        StatsError::NoVariation => NoAlpha::NoVariation,
        _ => NoAlpha::TooFewItems,
    }
}

fn mean_figure(estimate: &Estimate) -> MeanFigure {
    let (low, high) = (Some(estimate.interval.low), Some(estimate.interval.high));
    MeanFigure { value: estimate.value, low, high, n: estimate.rows as u64 }
}

pub(crate) async fn get(ctx: &Ctx, args: OfProject) -> Result<AgreementReport, ApiError> {
    let project = found::project(ctx.db(), &args.project_id).await?;
    let votes = tb_db::feedback::votes(ctx.db(), &project.id, MOST_VOTES).await?;
    let gold = items::list(ctx.db(), &project.id, ItemFilter::Gold, 0, MOST_VOTES).await?;
    let resolved = items::list(ctx.db(), &project.id, ItemFilter::Resolved, 0, MOST_VOTES).await?;
    let flagged = items::count_flagged(ctx.db(), &project.id).await?;
    let mut names = BTreeMap::new();
    for user in tb_db::users::list(ctx.db()).await? {
        names.insert(user.id, user.name);
    }
    blocking(move || Ok(report(&project, votes, (&gold, &resolved, flagged), &names))).await
}

fn report(
    project: &LabelProject,
    votes: Vec<Vote>,
    (gold, resolved, flagged): (&[LabelItem], &[LabelItem], u64),
    names: &BTreeMap<UserId, String>,
) -> AgreementReport {
    let table = Table::new(votes);
    let mut by_item: HashMap<&LabelItemId, Vec<&Vote>> = HashMap::new();
    for vote in &table.votes {
        by_item.entry(&vote.item_id).or_default().push(vote);
    }
    by_item.retain(|_, votes| votes.len() >= 2);
    let decided: HashSet<&LabelItemId> = resolved.iter().map(|item| &item.id).collect();
    let disagreed = by_item
        .iter()
        .filter(|(id, votes)| {
            let answers: Vec<_> = votes.iter().map(|v| &v.answers).collect();
            !differs(project, &answers).is_empty() && !decided.contains(*id)
        })
        .count();
    AgreementReport {
        questions: project
            .questions
            .iter()
            .filter(|q| can_be_compared(q))
            .map(|q| of_question(project, q, &table))
            .collect(),
        reviewers: of_reviewers(project, &table, gold, names),
        overlapped: by_item.len() as u64,
        disagreed: disagreed as u64,
        flagged,
    }
}

/// Intervals are drawn from the project's seed: the same answers give the same report.
fn source(project: &LabelProject, lane: u64) -> impl FnMut() -> f64 {
    let mut stream = Stream::new(project.seed, 0, Purpose::Bootstrap, lane);
    move || stream.uniform_f64()
}

fn of_question(project: &LabelProject, question: &Question, table: &Table) -> QuestionAgreement {
    let (level, metric, weights) = level(question);
    let bootstrap = Bootstrap::default();
    let empty = QuestionAgreement {
        question: question.name.clone(),
        title: question.title.clone(),
        alpha: None,
        metric: metric.into(),
        alpha_interval: None,
        cohen_kappa: None,
        fleiss_kappa: None,
        same: None,
        no_alpha: None,
    };
    let ratings = match table.ratings(question) {
        Ok(ratings) => ratings,
        Err(error) => return QuestionAgreement { no_alpha: Some(why_none(&error)), ..empty },
    };
    let alpha = figure(alpha_interval(&ratings, level, &bootstrap, &mut source(project, 1)));
    let no_alpha = alpha.as_ref().err().map(why_none);
    let cohen = match ratings.raters() {
        [first, second] => {
            figure(cohen_kappa_interval(&ratings, (*first, *second), weights, &bootstrap, &mut source(project, 2))).ok()
        }
        _ => None,
    };
    let fleiss = ratings
        .usual_count()
        .and_then(|n| figure(fleiss_kappa_interval(&ratings.units_with(n), &bootstrap, &mut source(project, 3))).ok());
    let as_numbers = match level {
        Level::Ordinal | Level::Interval => {
            figure(alpha_interval(&ratings, Level::Interval, &bootstrap, &mut source(project, 4))).ok()
        }
        Level::Nominal => None,
    };
    QuestionAgreement {
        alpha: alpha.ok(),
        alpha_interval: as_numbers,
        cohen_kappa: cohen,
        fleiss_kappa: fleiss,
        same: shares_interval(&ratings, 1.0, &bootstrap, &mut source(project, 6)).ok().map(|s| mean_figure(&s.same)),
        no_alpha,
        ..empty
    }
}

fn of_reviewers(
    project: &LabelProject,
    table: &Table,
    gold: &[LabelItem],
    names: &BTreeMap<UserId, String>,
) -> Vec<ReviewerReport> {
    let first = project.questions.iter().find(|q| can_be_compared(q)).and_then(|q| table.ratings(q).ok());
    let rated = project.question(|k| matches!(k, QuestionKind::Rating { .. })).and_then(|q| table.ratings(q).ok());
    let biases = rated.and_then(|ratings| rater_biases(&ratings, CONFIDENCE).ok()).unwrap_or_default();
    let truth = first.as_ref().and_then(|ratings| DawidSkene::default().fit(ratings).ok());
    let gold: HashMap<&LabelItemId, &LabelItem> = gold.iter().map(|item| (&item.id, item)).collect();
    let report = |(at, user): (usize, &UserId)| {
        let own: Vec<&Vote> = table.votes.iter().filter(|vote| vote.user_id == *user).collect();
        let right: Vec<bool> =
            own.iter().filter_map(|vote| agrees_with_gold(gold.get(&vote.item_id)?, &vote.answers)).collect();
        let bias = biases.iter().find(|b| b.rater == at);
        let same = first.as_ref().and_then(|ratings| {
            let mut random = source(project, 16 + at as u64);
            rater_shares_interval(ratings, at, 1.0, &Bootstrap::default(), &mut random).ok()
        });
        ReviewerReport {
            user_id: user.clone(),
            name: names.get(user).cloned().unwrap_or_else(|| user.to_string()),
            items: own.len() as u64,
            bias: bias.and_then(|b| {
                let (low, high) = (b.interval.map(|i| i.low), b.interval.map(|i| i.high));
                b.bias.map(|value| MeanFigure { value, low, high, n: b.units as u64 })
            }),
            same: same.map(|s| mean_figure(&s.same)),
            gold: share(right.iter().filter(|right| **right).count() as u64, right.len() as u64),
            weight: truth.as_ref().and_then(|t| t.raters.iter().find(|r| r.rater == at)).map(|r| r.accuracy),
            seconds_each: median_seconds(own.iter().filter_map(|vote| vote.duration_ms).collect()),
        }
    };
    table.users.iter().enumerate().map(report).collect()
}

pub(crate) async fn own(ctx: &Ctx, args: OfProject) -> Result<OwnAgreement, ApiError> {
    let project = found::project(ctx.db(), &args.project_id).await?;
    let user = people::user_id(ctx.actor());
    let votes = tb_db::feedback::votes_beside(ctx.db(), &project.id, &user, OWN_ITEMS).await?;
    blocking(move || {
        let none = OwnAgreement { alpha: None, same: None, within_one: None, items: 0 };
        let table = Table::new(votes);
        let Some(question) = project.questions.iter().find(|q| can_be_compared(q)) else { return Ok(none) };
        let (Some(me), Ok(ratings)) = (table.user(&user), table.ratings(question)) else { return Ok(none) };
        let (level, ..) = level(question);
        let alpha = alpha_interval(
            &ratings,
            level,
            &Bootstrap { resamples: 500, ..Bootstrap::default() },
            &mut source(&project, 5),
        );
        let shares = rater_shares(&ratings, me, 1.0).ok();
        Ok(OwnAgreement {
            alpha: figure(alpha).ok(),
            same: shares.map(|s| s.same),
            within_one: shares.filter(|_| level != Level::Nominal).map(|s| s.near),
            items: ratings.pairable_units() as u64,
        })
    })
    .await
}
