//! Feedback rows: storing what people say of answers, looking at it, taking it back. How rows are committed in groups is in
//! `intake`, statistics are in `report`, files in `transfer`.

use serde_json::json;
use tb_core::{
    ApiError, ErrorCode,
    feedback::{Feedback, FeedbackSource},
    ids::FeedbackId,
    tag::Tag,
    user::Role,
};
use tb_db::{Page, feedback::FeedbackFilter};
use tb_stats::diff;
use uuid::Uuid;

use crate::{
    Ctx,
    ctx::{blocking, now_ms, tell},
    found,
    jobs::ById,
    people,
    preferences::provenance,
};
use types::{CompareTexts, ComparedTexts, FeedbackPage, ListFeedback, SubmitFeedback, WithdrawFeedback, Withdrawn};

pub(crate) mod intake;
pub mod report;
pub(crate) mod transfer;
pub mod types;

/// Rows given at most, whatever is asked for.
const MOST_ROWS: u32 = 500;
/// Longest text that is compared with another, in bytes.
const LONGEST_COMPARED: usize = 1 << 20;
/// Longest texts, in bytes, that are compared where many are shown at once.
const LONGEST_AMONG_MANY: usize = 16 << 10;

pub(crate) async fn submit(ctx: &Ctx, args: SubmitFeedback) -> Result<Feedback, ApiError> {
    let refuse = |why: String| ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was stored: {why}."));
    let feedback_type = args.judgement.check().map_err(|e| refuse(e.to_string()))?;
    if args.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 200) {
        return Err(refuse("an idempotency key has 1 to 200 bytes".into()));
    }
    if let Some(id) = &args.judgement.model_id {
        found::model(ctx.db(), id).await?;
    }
    let source = ctx.source();
    // Another program reports what its users said: they are known by their session.
    let user_id = match source {
        FeedbackSource::Api if !args.judgement.session_id.is_empty() => None,
        FeedbackSource::Api | FeedbackSource::Workbench | FeedbackSource::Labelling | FeedbackSource::Import => {
            Some(people::user_id(ctx.actor()))
        }
    };
    let row = Feedback {
        id: FeedbackId::from_uuid(Uuid::now_v7()),
        user_id,
        feedback_type,
        source,
        project_id: None,
        item_id: None,
        correction_distance: correction_distance(&args.judgement.output_text, args.judgement.corrected_text.as_deref()),
        // Keys of one sender say nothing about those of another.
        idempotency_key: args.idempotency_key.map(|key| format!("{}:{key}", ctx.actor().name())),
        judgement: args.judgement,
        created_at_ms: now_ms(),
        withdrawn_at_ms: None,
        withdrawn_reason: None,
    };
    ctx.intake().store(ctx, row).await
}

/// How far a correction is from its answer.
#[must_use]
pub(crate) fn correction_distance(output: &str, corrected: Option<&str>) -> Option<f64> {
    corrected.map(|corrected| diff::distance(output, corrected))
}

/// What of the rows asked for may be seen: reviewers see their own.
pub(crate) fn filter(ctx: &Ctx, mut asked: FeedbackFilter) -> Result<FeedbackFilter, ApiError> {
    if !ctx.actor().role.covers(Role::Trainer) {
        let own = people::user_id(ctx.actor());
        if asked.user_id.as_ref().is_some_and(|user| *user != own) {
            return Err(ApiError::new(
                ErrorCode::Forbidden,
                "Nothing was read: reviewers see their own feedback only.",
            )
            .hint("Ask a trainer, or leave the reviewer out of the filter."));
        }
        asked.user_id = Some(own);
    }
    Ok(asked)
}

pub(crate) async fn list(ctx: &Ctx, args: ListFeedback) -> Result<Vec<Feedback>, ApiError> {
    let filter = filter(ctx, args.selection)?;
    let page = Page { after: args.after, limit: args.limit.unwrap_or(100).min(MOST_ROWS) };
    Ok(tb_db::feedback::list(ctx.db(), &filter, &page).await?)
}

/// A row that this actor may see: trainers all, reviewers their own and those of items that were decided.
async fn visible(ctx: &Ctx, id: &FeedbackId) -> Result<Feedback, ApiError> {
    let missing = || {
        ApiError::new(ErrorCode::NotFound, format!("There is no feedback {id}."))
            .hint("`tonebridge feedback list` shows what there is.")
    };
    let row = tb_db::feedback::get(ctx.db(), id).await?.ok_or_else(missing)?;
    if ctx.actor().role.covers(Role::Trainer) || row.user_id.as_ref() == Some(&people::user_id(ctx.actor())) {
        return Ok(row);
    }
    let decided = match &row.item_id {
        Some(item) => tb_db::labelling::items::get(ctx.db(), item).await?.is_some_and(|i| i.resolution.is_some()),
        None => false,
    };
    if decided { Ok(row) } else { Err(missing()) }
}

pub(crate) async fn get(ctx: &Ctx, args: ById) -> Result<FeedbackPage, ApiError> {
    let row = visible(ctx, &args.parse()?).await?;
    let user_name = match &row.user_id {
        Some(id) => tb_db::users::get(ctx.db(), id).await?.map(|user| user.name),
        None => None,
    };
    let learned = provenance::learned(ctx.db(), &row.id).await?;
    let item = match &row.item_id {
        Some(id) => tb_db::labelling::items::get(ctx.db(), id).await?,
        None => None,
    };
    blocking(move || {
        let said = &row.judgement;
        let source = item.as_ref().and_then(|item| item.source_text.as_deref());
        Ok(FeedbackPage {
            output_diff: pieces(rewritten(&said.input_text, source), &said.output_text),
            correction_diff: said.corrected_text.as_ref().map(|corrected| pieces(&said.output_text, corrected)),
            feedback: row,
            user_name,
            learned,
        })
    })
    .await
}

/// What an answer to a prompt is compared with: the part that is to be rewritten, where it is known.
pub(crate) fn rewritten<'t>(prompt: &'t str, source: Option<&'t str>) -> &'t str {
    source.unwrap_or_else(|| without_tags(prompt))
}

/// A prompt without a chat template's tags (`<|user|>`) around it: they are no part of what is rewritten.
fn without_tags(prompt: &str) -> &str {
    let is_tag = |tag: &str| tag.len() <= 40 && !tag.contains(|c: char| c.is_whitespace() || "<>|".contains(c));
    let mut text = prompt;
    while let Some((tag, rest)) = text.trim_start().strip_prefix("<|").and_then(|rest| rest.split_once("|>"))
        && is_tag(tag)
    {
        text = rest;
    }
    while let Some((rest, tag)) = text.trim_end().strip_suffix("|>").and_then(|rest| rest.rsplit_once("<|"))
        && is_tag(tag)
    {
        text = rest;
    }
    if text.trim().is_empty() { prompt } else { text }
}

/// What changed between two texts; nothing for texts too long to compare.
#[must_use]
pub(crate) fn pieces(old: &str, new: &str) -> Vec<diff::Piece> {
    if old.len().max(new.len()) > LONGEST_COMPARED { Vec::new() } else { diff::pieces(old, new) }
}

/// The same for texts that come many at once: those that take a while are compared on request.
#[must_use]
pub(crate) fn short_pieces(old: &str, new: &str) -> Vec<diff::Piece> {
    if old.len().max(new.len()) > LONGEST_AMONG_MANY { Vec::new() } else { diff::pieces(old, new) }
}

pub(crate) async fn withdraw(ctx: &Ctx, args: WithdrawFeedback) -> Result<Withdrawn, ApiError> {
    let row = visible(ctx, &args.id).await?;
    let own = row.user_id.as_ref() == Some(&people::user_id(ctx.actor()));
    if !own && !ctx.actor().role.covers(Role::Trainer) {
        return Err(ApiError::new(ErrorCode::Forbidden, "Nothing was changed: the feedback is someone else's.")
            .hint("Ask a trainer to withdraw it."));
    }
    let mut tx = ctx.db().begin().await?;
    tb_db::feedback::withdraw(&mut tx, &row.id, now_ms(), &args.reason).await?;
    let stale = [Tag::Feedback, Tag::Datasets, Tag::Models];
    let why = json!({ "reason": args.reason });
    tell(&mut tx, ctx.actor().name(), "feedback_withdraw", row.id.as_str(), why, &stale).await?;
    tx.commit().await?;
    ctx.jobs().wake();
    let learned = provenance::learned(ctx.db(), &row.id).await?;
    Ok(Withdrawn { id: row.id, learned })
}

pub(crate) async fn compare(_: &Ctx, args: CompareTexts) -> Result<ComparedTexts, ApiError> {
    let longest = args.old.len().max(args.new.len());
    if longest > LONGEST_COMPARED {
        return Err(ApiError::new(
            ErrorCode::InvalidArgument,
            format!("The texts were not compared: {longest} bytes are more than {LONGEST_COMPARED}."),
        ));
    }
    blocking(move || {
        Ok(ComparedTexts { pieces: diff::pieces(&args.old, &args.new), distance: diff::distance(&args.old, &args.new) })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::without_tags;

    #[test]
    fn tags_around_a_prompt_are_no_part_of_it() {
        assert_eq!(without_tags("<|user|>Rewrite: yo<|assistant|>"), "Rewrite: yo");
        assert_eq!(without_tags("<|begin|> <|user|>a <|x|> b\n<|end|>\n"), "a <|x|> b\n");
        for text in ["", "a", "<|user|>", "<|a b|>c", "|>", "<|", "x <|y", " 丁寧に "] {
            assert_eq!(without_tags(text), text);
        }
    }
}
