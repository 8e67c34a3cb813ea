//! Answers that go on: pieces as they come, a sign of life in quiet times, and an end when the server ends.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tb_core::{ApiError, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::{app::App, error::Failure};

/// One caller's answer.
pub(crate) struct Live {
    /// What is sent, piece by piece. Dropped with the answer: nothing goes on for a caller who hung up.
    pub pieces: BoxStream<'static, String>,
    /// What is sent when nothing else was for a while; the caller passes over it.
    pub sign_of_life: &'static str,
    /// What is sent last if the server ends before the pieces do.
    pub farewell: Option<String>,
    /// The place among the answers that may go on at once; it is free again when this is dropped.
    #[expect(dead_code, reason = "held, never looked at")]
    pub place: OwnedSemaphorePermit,
}

/// A place among `places`.
///
/// # Errors
/// All are taken.
pub(crate) fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Failure> {
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::Unavailable, "Nothing was sent: too many such answers are under way.")
            .hint("Close a window, or try again in a moment.")
            .into()
    })
}

impl Live {
    /// The answer, with the media type `kind`.
    pub fn answer(self, app: &App, kind: &'static str) -> Response {
        let running = Running { live: Some(self), closing: app.closing.clone(), heartbeat: app.limits.heartbeat };
        let body = Body::from_stream(stream::unfold(running, |mut running| async {
            let text = running.next().await?;
            Some((Ok::<_, Infallible>(Bytes::from(text)), running))
        }));
        // A proxy that collects the answer before it passes it on would break it.
        ([(header::CONTENT_TYPE, kind), (HeaderName::from_static("x-accel-buffering"), "no")], body).into_response()
    }
}

struct Running {
    /// None once all was said.
    live: Option<Live>,
    closing: watch::Receiver<bool>,
    heartbeat: Duration,
}

impl Running {
    /// The next piece of text; none at the end.
    async fn next(&mut self) -> Option<String> {
        let live = self.live.as_mut()?;
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => {
                let farewell = live.farewell.take();
                self.live = None;
                farewell
            }
            piece = live.pieces.next() => piece,
            () = tokio::time::sleep(self.heartbeat) => Some(live.sign_of_life.to_owned()),
        }
    }
}
