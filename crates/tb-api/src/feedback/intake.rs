//! How feedback is stored fast and for good: rows that arrive while a commit is under way share the next one. No row is
//! acknowledged before its commit was synced to the disk.
//!
//! Whoever has the turn commits for all who wait; nobody else runs, so that nothing has to be stopped when the program ends.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::json;
use tb_core::{ApiError, audit::AuditEntry, event::EventBody, feedback::Feedback, tag::Tag};
use tb_db::feedback::{Inserted, sums::Sums};
use tokio::sync::oneshot;

use crate::{Actor, Ctx, ctx::now_ms, people};

/// Rows of one commit at most: a commit of so many takes some tens of milliseconds.
const MOST: usize = 512;

/// The rows that wait for their commit.
#[derive(Default)]
pub(crate) struct Intake {
    waiting: Mutex<Vec<Offer>>,
    turn: tokio::sync::Mutex<()>,
}

/// A row, who sends it, and where its sender waits.
struct Offer {
    row: Feedback,
    actor: Actor,
    told: oneshot::Sender<Result<Feedback, ApiError>>,
}

impl Intake {
    /// Stores a row; gives what is stored under its key: the row, or the same one that came before.
    ///
    /// # Errors
    /// Another row under the same key, a model that does not exist, or a database that cannot be written. Nothing of this row
    /// is stored then; the rows beside it are.
    pub async fn store(&self, ctx: &Ctx, row: Feedback) -> Result<Feedback, ApiError> {
        loop {
            let (told, mut answer) = oneshot::channel();
            let offer = Offer { row: row.clone(), actor: ctx.actor().clone(), told };
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(offer);
            let _turn = self.turn.lock().await;
            loop {
                match answer.try_recv() {
                    Ok(result) => return result,
                    // The one who had the turn was cut off, and what it had begun was undone.
                    Err(oneshot::error::TryRecvError::Closed) => break,
                    Err(oneshot::error::TryRecvError::Empty) => commit(ctx, self.next()).await,
                }
            }
        }
    }

    fn next(&self) -> Vec<Offer> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let some = waiting.len().min(MOST);
        waiting.drain(..some).collect()
    }
}

/// Stores a group in one transaction and tells everybody.
async fn commit(ctx: &Ctx, offers: Vec<Offer>) {
    let mut results = Vec::with_capacity(offers.len());
    let stored = write(ctx, &offers, &mut results).await;
    for (i, offer) in offers.into_iter().enumerate() {
        let result = match &stored {
            Ok(()) => results.get_mut(i).map_or_else(|| Err(lost()), |r| std::mem::replace(r, Err(lost()))),
            Err(error) => Err(error.clone()),
        };
        // A sender who no longer waits has its row all the same.
        offer.told.send(result).ok();
    }
}

fn lost() -> ApiError {
    ApiError::new(tb_core::ErrorCode::Internal, "The row was not stored.")
}

async fn write(ctx: &Ctx, offers: &[Offer], results: &mut Vec<Result<Feedback, ApiError>>) -> Result<(), ApiError> {
    let mut tx = ctx.db().begin().await?;
    let mut sums = Sums::default();
    let mut news: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // The owner's row is looked for once, not for each of theirs.
    if let Some(offer) = offers.iter().find(|offer| offer.row.user_id.is_some() && offer.actor.user_id.is_none()) {
        people::in_database(&mut tx, &offer.actor).await?;
    }
    for offer in offers {
        results.push(match tb_db::feedback::insert(&mut tx, &offer.row, &mut sums).await {
            Ok(Inserted::New) => {
                news.entry(offer.actor.name()).or_default().push(offer.row.id.as_str());
                Ok(offer.row.clone())
            }
            Ok(Inserted::Before(stored)) => Ok(*stored),
            Err(error) => Err(error.into()),
        });
    }
    if news.is_empty() {
        return Ok(tx.roll_back().await?);
    }
    sums.write(&mut tx).await?;
    let at_ms = now_ms();
    for (actor, ids) in news {
        let subject = ids.first().copied().unwrap_or_default().to_owned();
        let entry = AuditEntry {
            at_ms,
            actor: actor.to_owned(),
            command: "feedback_submit".into(),
            subject,
            arguments: json!({ "rows": ids }),
        };
        tb_db::audit::append(&mut tx, &entry).await?;
    }
    tb_db::events::append(&mut tx, at_ms, &EventBody::Stale { tags: vec![Tag::Feedback] }).await?;
    tx.commit().await?;
    ctx.jobs().wake();
    Ok(())
}
