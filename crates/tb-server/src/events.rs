//! `GET /events`: the stored event stream as server-sent events, from a number on, without a gap and without doubles.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use futures_util::{StreamExt, future, stream};
use serde::Deserialize;
use tb_api::Actor;
use tb_core::{ErrorCode, event::Event, user::Role};

use crate::{
    app::App,
    error::Failure,
    live::{self, Live},
};

/// How long a browser waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 1000;

/// Where to begin.
#[derive(Deserialize)]
pub(crate) struct From {
    after_seq: Option<i64>,
}

/// Sends every event after `Last-Event-ID`, else after `after_seq`, else from now on.
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    Extension(actor): Extension<Actor>,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    actor.require(Role::Viewer, "events")?;
    let bad = || {
        Failure::new(
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidArgument,
            "Nothing was sent: after_seq and Last-Event-ID are numbers of events.",
        )
    };
    let Query(from) = from.map_err(|_| bad())?;
    let resumed = match headers.get("last-event-id") {
        Some(id) => Some(id.to_str().ok().and_then(|id| id.parse::<i64>().ok()).ok_or_else(bad)?),
        None => None,
    };
    let place = live::place(&app.event_streams)?;
    let newest = app.ctx.last_seq().await?;
    // A number beyond the newest comes from another home folder: such a caller gets what happens from now on.
    let after = resumed.or(from.after_seq).unwrap_or(newest).clamp(0, newest);
    // Tells the number even if nothing happens, so that a caller who comes again misses nothing in between.
    let opening = format!("retry: {RETRY_MS}\nid: {after}\n\n");
    let events = app.ctx.jobs().subscribe(after).into_stream().map(|event| message(&event));
    let live = Live {
        pieces: stream::once(future::ready(opening)).chain(events).boxed(),
        sign_of_life: ":\n\n",
        farewell: None,
        shut_out: None,
        place,
    };
    Ok(live.answer(&app, actor, "text/event-stream"))
}

fn message(event: &Event) -> String {
    match serde_json::to_string(event) {
        // JSON has no line breaks of its own.
        Ok(json) => format!("id: {}\ndata: {json}\n\n", event.seq),
        Err(error) => {
            tracing::error!(seq = event.seq, %error, "an event cannot be written as JSON");
            format!("id: {}\n\n", event.seq)
        }
    }
}
