//! What the page may call: the one bridge to tb-api, the event stream, the core's state, and how the shell looks.

use std::sync::Once;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use tauri::{AppHandle, State, Webview, ipc::Channel};
use tb_core::{ApiError, ErrorCode, event::Event};

use crate::{
    appearance::{self, Appearance},
    core::{self, Core, CoreState},
    delivery, elapsed_ms,
    page_tasks::PageTasks,
};

/// Runs a command of the table; waits while the core is being opened.
///
/// # Errors
/// What the command refuses, or why the core could not be opened.
#[tauri::command]
pub async fn rpc(core: State<'_, Core>, name: String, args: Option<Value>) -> Result<Value, ApiError> {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| tracing::info!("first call after {} ms", elapsed_ms()));
    let ctx = core.ctx().await?;
    // A task of its own: a page that goes away does not cut a command off, and a fault in it still gets an answer.
    let work = tauri::async_runtime::spawn(async move {
        tb_api::commands::dispatch(&ctx, &name, args.unwrap_or(Value::Null)).await
    });
    work.await.unwrap_or_else(|error| {
        tracing::error!("a command was cut off: {error}");
        Err(ApiError::new(ErrorCode::Internal, "The command was cut off by a fault of the program.")
            .hint("Try again; if it happens again, start the program from a terminal and look at what it prints."))
    })
}

/// Sends every event after `after_seq` to the page, each once and in order, until the page goes away or
/// `stream_stop` is called with the number that this gives.
///
/// # Errors
/// Why the core could not be opened.
#[tauri::command]
pub async fn subscribe(
    webview: Webview,
    core: State<'_, Core>,
    tasks: State<'_, PageTasks>,
    after_seq: i64,
    channel: Channel<Event>,
) -> Result<u32, ApiError> {
    let ctx = core.ctx().await?;
    let label = webview.label().to_owned();
    Ok(tasks.spawn(&label, async move {
        // The core lives as long as the subscription is followed.
        let events = ctx.jobs().subscribe(after_seq).into_stream();
        let sent = delivery::forward(events, &webview, |event| channel.send(event)).await;
        tracing::debug!("a subscription ended: {sent:?}");
    }))
}

/// What the channel of a stream carries.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamLine {
    /// The next item.
    Item {
        /// As the table of streams names it.
        item: Value,
    },
    /// There are no more.
    End,
    /// It broke off.
    Error {
        /// Why.
        error: ApiError,
    },
}

/// Opens a stream of the table; its items go to the page until it ends, the page goes away or `stream_stop` is called with
/// the number that this gives. Stopping it ends the work behind it.
///
/// # Errors
/// What the stream refuses before it begins, or why the core could not be opened.
#[tauri::command]
pub async fn stream(
    webview: Webview,
    core: State<'_, Core>,
    tasks: State<'_, PageTasks>,
    name: String,
    args: Option<Value>,
    channel: Channel<StreamLine>,
) -> Result<u32, ApiError> {
    let ctx = core.ctx().await?;
    let items = tb_api::streams::dispatch_stream(&ctx, &name, args.unwrap_or(Value::Null)).await?;
    let lines = items.map(line).chain(stream::once(async { StreamLine::End }).boxed());
    let label = webview.label().to_owned();
    Ok(tasks.spawn(&label, async move {
        let sent = delivery::forward(lines, &webview, |line| channel.send(line)).await;
        tracing::debug!("the stream {name} ended: {sent:?}");
    }))
}

fn line(item: Result<Value, ApiError>) -> StreamLine {
    match item {
        Ok(item) => StreamLine::Item { item },
        Err(error) => StreamLine::Error { error },
    }
}

/// Ends a subscription or a stream of this page.
#[tauri::command]
pub fn stream_stop(webview: Webview, tasks: State<'_, PageTasks>, id: u32) {
    tasks.stop(webview.label(), id);
}

/// How far the opening of the core is.
#[tauri::command]
pub fn core_state(core: State<'_, Core>) -> CoreState {
    core.state()
}

/// Opens the core again after a failure.
#[tauri::command]
pub fn core_retry(app: AppHandle) {
    core::retry(&app);
}

/// Gives menu, tray, notifications and window frame the page's language and theme, now and at the next start.
///
/// # Errors
/// A menu that the system refuses.
#[tauri::command]
pub async fn appearance(app: AppHandle, language: String, theme: String) -> Result<(), ApiError> {
    let wanted = Appearance::parse(&language, &theme)?;
    appearance::apply(&app, wanted)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("The menu cannot be changed: {e}.")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_as_the_page_reads_them() {
        let shown = |line: StreamLine| serde_json::to_value(line).unwrap();
        assert_eq!(shown(line(Ok(json!({ "text": "a" })))), json!({ "type": "item", "item": { "text": "a" } }));
        assert_eq!(shown(StreamLine::End), json!({ "type": "end" }));
        let broken = shown(line(Err(ApiError::new(ErrorCode::WorkerLost, "It ended."))));
        assert_eq!((&broken["type"], &broken["error"]["code"]), (&json!("error"), &json!("worker_lost")));
    }
}
