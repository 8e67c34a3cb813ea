//! `GET /events`: the stored event stream as server-sent events, from a number on, without a gap and without doubles.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use serde::Deserialize;
use tb_core::{ErrorCode, event::Event};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{app::App, error::Failure};

/// How long a browser waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 1000;

/// Where to begin.
#[derive(Deserialize)]
pub(crate) struct From {
    after_seq: Option<i64>,
}

/// One caller's stream.
struct Feed {
    /// What is sent first.
    opening: Option<String>,
    events: BoxStream<'static, Event>,
    closing: watch::Receiver<bool>,
    heartbeat: Duration,
    _permit: OwnedSemaphorePermit,
}

/// Sends every event after `Last-Event-ID`, else after `after_seq`, else from now on.
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
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
    let permit = Arc::clone(&app.event_streams).try_acquire_owned().map_err(|_| {
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Unavailable,
            "Nothing was sent: too many event streams are open.",
        )
    })?;
    let newest = app.ctx.last_seq().await?;
    // A number beyond the newest comes from another home folder: such a caller gets what happens from now on.
    let after = resumed.or(from.after_seq).unwrap_or(newest).clamp(0, newest);
    let feed = Feed {
        // Tells the number even if nothing happens, so that a caller who comes again misses nothing in between.
        opening: Some(format!("retry: {RETRY_MS}\nid: {after}\n\n")),
        events: app.ctx.jobs().subscribe(after).into_stream(),
        closing: app.closing.clone(),
        heartbeat: app.limits.heartbeat,
        _permit: permit,
    };
    let body = Body::from_stream(stream::unfold(feed, |mut feed| async {
        let text = feed.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), feed))
    }));
    // A proxy that collects the answer before it passes it on would break the stream.
    Ok((
        [(header::CONTENT_TYPE, "text/event-stream"), (header::HeaderName::from_static("x-accel-buffering"), "no")],
        body,
    )
        .into_response())
}

impl Feed {
    /// The next piece of text; none once the server ends.
    async fn next(&mut self) -> Option<String> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => None,
            event = self.events.next() => event.map(|event| line(&event)),
            () = tokio::time::sleep(self.heartbeat) => Some(":\n\n".into()),
        }
    }
}

fn line(event: &Event) -> String {
    match serde_json::to_string(event) {
        // JSON has no line breaks of its own.
        Ok(json) => format!("id: {}\ndata: {json}\n\n", event.seq),
        Err(error) => {
            tracing::error!(seq = event.seq, %error, "an event cannot be written as JSON");
            format!("id: {}\n\n", event.seq)
        }
    }
}
