//! Decisions: items with what every reviewer said, what is right where they differ, and items that measure reviewers.

use std::collections::BTreeMap;

use tb_core::{
    ApiError,
    feedback::{Feedback, Preferred},
    ids::UserId,
    labelling::{Answer, Answers, LabelItem, LabelProject, QuestionKind},
};
use tb_db::labelling::{
    assignments,
    items::{self, ItemFilter},
};

use super::{
    refused,
    types::{AnswersOf, DecideItem, ItemWithAnswers, ListItems, OfItem, ShowItems},
};
use crate::{Ctx, ctx::now_ms, feedback::short_pieces, found, people};

/// Items given at most, whatever is asked for.
const MOST: u32 = 200;
/// Items that one call looks through at most for those on which reviewers differ.
const LOOKED_THROUGH: usize = 5_000;

pub(crate) async fn items(ctx: &Ctx, args: ListItems) -> Result<Vec<ItemWithAnswers>, ApiError> {
    let project = found::project(ctx.db(), &args.project_id).await?;
    let limit = args.limit.unwrap_or(50).clamp(1, MOST);
    let filter = match args.show {
        ShowItems::All => ItemFilter::All,
        ShowItems::Disagreed => ItemFilter::Overlapped,
        ShowItems::Flagged => ItemFilter::Flagged,
        ShowItems::Gold => ItemFilter::Gold,
        ShowItems::Resolved => ItemFilter::Resolved,
    };
    let mut names = BTreeMap::new();
    let mut found = Vec::new();
    let mut after = args.after.unwrap_or(0);
    let mut looked = 0;
    while found.len() < limit as usize && looked < LOOKED_THROUGH {
        let page = items::list(ctx.db(), &project.id, filter, after, MOST).await?;
        let Some(last) = page.last() else { break };
        after = last.place;
        looked += page.len();
        for item in page {
            let open = args.show != ShowItems::Disagreed || item.resolution.is_none();
            if !open || found.len() >= limit as usize {
                continue;
            }
            let said = said_of(ctx, &project, item, &mut names).await?;
            if args.show != ShowItems::Disagreed || !said.item.differs.is_empty() {
                found.push(said.with_corrections());
            }
        }
    }
    Ok(found)
}

/// An item with what was said of it, and the rows that this became.
struct Said {
    item: ItemWithAnswers,
    rows: Vec<Feedback>,
}

impl Said {
    /// What reviewers changed in the answers: worth the time only for an item that is shown.
    fn with_corrections(mut self) -> ItemWithAnswers {
        for by in &mut self.item.answers {
            let row = self.rows.iter().find(|row| by.feedback_id.as_ref() == Some(&row.id));
            if let Some((said, text)) = row.and_then(|r| Some((&r.judgement, r.judgement.corrected_text.as_ref()?))) {
                // Of two answers the better one is corrected.
                let better = said.choice.as_ref().filter(|choice| choice.preferred == Preferred::B);
                by.corrected = short_pieces(better.map_or(&said.output_text, |choice| &choice.other_text), text);
            }
        }
        self.item
    }
}

async fn said_of(
    ctx: &Ctx,
    project: &LabelProject,
    item: LabelItem,
    names: &mut BTreeMap<UserId, String>,
) -> Result<Said, ApiError> {
    let rows = tb_db::feedback::of_item(ctx.db(), &item.id).await?;
    let mut answers = Vec::new();
    for given in assignments::of_item(ctx.db(), &item.id).await? {
        if !names.contains_key(&given.user_id) {
            let user = tb_db::users::get(ctx.db(), &given.user_id).await?;
            names.insert(given.user_id.clone(), user.map_or_else(|| given.user_id.to_string(), |u| u.name));
        }
        let row = rows.iter().find(|row| given.feedback_id.as_ref() == Some(&row.id));
        answers.push(AnswersOf {
            user_name: names.get(&given.user_id).cloned().unwrap_or_default(),
            user_id: given.user_id,
            state: given.state,
            answers: row.map(|row| row.judgement.answers.clone()).unwrap_or_default(),
            corrected: Vec::new(),
            feedback_id: row.map(|row| row.id.clone()),
            shown: given.shown,
            flagged: given.flagged,
            note: given.note,
        });
    }
    let judged: Vec<&Answers> = answers.iter().filter(|a| a.feedback_id.is_some()).map(|a| &a.answers).collect();
    Ok(Said { item: ItemWithAnswers { differs: differs(project, &judged), item, answers }, rows })
}

/// An item as it is after a change.
async fn anew(ctx: &Ctx, project: &LabelProject, item: &LabelItem) -> Result<ItemWithAnswers, ApiError> {
    let said = said_of(ctx, project, found::item(ctx.db(), &item.id).await?, &mut BTreeMap::new()).await?;
    Ok(said.with_corrections())
}

/// The questions on which answers differ: options and choices that are not the same, ratings more than one apart. Texts differ by
/// nature and count for nothing.
pub(super) fn differs(project: &LabelProject, answers: &[&Answers]) -> Vec<String> {
    let apart = |kind: &QuestionKind, a: &Answer, b: &Answer| match (kind, a, b) {
        (QuestionKind::Rating { .. }, Answer::Number(a), Answer::Number(b)) => a.abs_diff(*b) > 1,
        (QuestionKind::Rating { .. }, _, _) => a != b,
        (QuestionKind::Choice | QuestionKind::Label { .. }, _, _) => a != b,
        (QuestionKind::Labels { .. } | QuestionKind::Correction | QuestionKind::Text, _, _) => false,
    };
    let differ = |name: &str, kind: &QuestionKind| {
        let given: Vec<&Answer> = answers.iter().filter_map(|a| a.get(name)).collect();
        given.iter().enumerate().any(|(i, a)| given[..i].iter().any(|b| apart(kind, a, b)))
    };
    project.questions.iter().filter(|q| differ(&q.name, &q.kind)).map(|q| q.name.clone()).collect()
}

pub(crate) async fn adjudicate(ctx: &Ctx, args: DecideItem) -> Result<ItemWithAnswers, ApiError> {
    let (project, item) = checked(ctx, &args).await?;
    let mut tx = ctx.db().begin().await?;
    let user = people::in_database(&mut tx, ctx.actor()).await?;
    let at_ms = args.answers.is_some().then(now_ms);
    let by = args.answers.is_some().then_some(&user);
    items::resolve(&mut tx, &item.id, args.answers.as_ref(), by, at_ms).await?;
    tx.commit().await?;
    anew(ctx, &project, &item).await
}

pub(crate) async fn clear_flags(ctx: &Ctx, args: OfItem) -> Result<ItemWithAnswers, ApiError> {
    let item = found::item(ctx.db(), &args.item_id).await?;
    let project = found::project(ctx.db(), &item.project_id).await?;
    let mut tx = ctx.db().begin().await?;
    assignments::clear_flags(&mut tx, &item.id).await?;
    items::clear_flags(&mut tx, &item.id).await?;
    tx.commit().await?;
    anew(ctx, &project, &item).await
}

pub(crate) async fn gold(ctx: &Ctx, args: DecideItem) -> Result<ItemWithAnswers, ApiError> {
    let (project, item) = checked(ctx, &args).await?;
    let mut tx = ctx.db().begin().await?;
    items::set_gold(&mut tx, &item.id, args.answers.as_ref()).await?;
    tx.commit().await?;
    anew(ctx, &project, &item).await
}

async fn checked(ctx: &Ctx, args: &DecideItem) -> Result<(LabelProject, LabelItem), ApiError> {
    let item = found::item(ctx.db(), &args.item_id).await?;
    let project = found::project(ctx.db(), &item.project_id).await?;
    if let Some(answers) = &args.answers {
        if answers.is_empty() {
            return Err(refused("Nothing was decided", "answer at least one question"));
        }
        project.check_some(answers).map_err(|e| refused("Nothing was decided", e))?;
    }
    Ok((project, item))
}
