//! Events and streamed items on their way to a page: sent in batches, and never more than one batch ahead of what the page has taken.
//! A page that sleeps or hangs costs no memory: what it has not taken stays in the database, or is not made yet.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream::FusedStream};
use tauri::Webview;
use tokio::{sync::oneshot, time::Instant};

/// How long items are gathered after the first one of a batch.
const GATHER: Duration = Duration::from_millis(16);

/// Items in one batch at most.
const BATCH: usize = 256;

/// The page is gone: nothing more can reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageGone;

/// Sends every item to the page, to the end of the stream. The owner of the future ends it with the page.
///
/// # Errors
/// [`PageGone`].
pub async fn forward<T>(
    items: impl Stream<Item = T> + Unpin,
    webview: &Webview,
    mut send: impl FnMut(T) -> tauri::Result<()>,
) -> Result<(), PageGone> {
    let mut items = items.fuse();
    while let Some(batch) = next_batch(&mut items).await {
        for item in batch {
            send(item).map_err(|_| PageGone)?;
        }
        taken(webview).await?;
    }
    Ok(())
}

/// At least one item; none once the stream has ended.
async fn next_batch<T>(items: &mut (impl FusedStream<Item = T> + Unpin)) -> Option<Vec<T>> {
    let mut batch = vec![items.next().await?];
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH
        && let Ok(Some(item)) = tokio::time::timeout_at(until, items.next()).await
    {
        batch.push(item);
    }
    Some(batch)
}

/// Waits until the page has run what was sent to it so far.
async fn taken(webview: &Webview) -> Result<(), PageGone> {
    let (told, heard) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let asked = webview.eval_with_callback("0", move |_| {
        if let Some(told) = told.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The task may have been stopped meanwhile.
            let _ = told.send(());
        }
    });
    asked.map_err(|_| PageGone)?;
    heard.await.map_err(|_| PageGone)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn what_is_ready_goes_together_and_a_batch_has_an_end() {
        let mut items = stream::iter(0..BATCH + 2).fuse();
        assert_eq!(next_batch(&mut items).await, Some((0..BATCH).collect()));
        assert_eq!(next_batch(&mut items).await, Some(vec![BATCH, BATCH + 1]));
        assert_eq!(next_batch(&mut items).await, None);
    }

    #[tokio::test]
    async fn a_lone_item_does_not_wait_for_others() {
        let mut items = Box::pin(stream::once(async { 1 }).chain(stream::pending()).fuse());
        assert_eq!(next_batch(&mut items).await, Some(vec![1]));
    }
}
