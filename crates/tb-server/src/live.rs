//! Answers that go on: pieces as they come, a sign of life in quiet times, and an end when the server ends or when the user may no
//! longer have them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, header},
    response::{IntoResponse, Response},
};
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tb_api::{Actor, Ctx};
use tb_core::{ApiError, ErrorCode};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use crate::{app::App, error::Failure};

/// One caller's answer.
pub(crate) struct Live {
    /// What is sent, piece by piece. Dropped with the answer: nothing goes on for a caller who hung up.
    pub pieces: BoxStream<'static, String>,
    /// What is sent when nothing else was for a while; the caller passes over it.
    pub sign_of_life: &'static str,
    /// What is sent last if the server ends before the pieces do.
    pub farewell: Option<String>,
    /// What is sent last if the user was signed out, shut out or given another role.
    pub shut_out: Option<String>,
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
    /// The answer to `actor`, with the media type `kind`.
    pub fn answer(self, app: &App, actor: Actor, kind: &'static str) -> Response {
        let running = Running {
            live: Some(self),
            closing: app.closing.clone(),
            heartbeat: app.limits.heartbeat,
            pass: actor.credential.is_some().then(|| Pass::new(app, actor)),
        };
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
    /// None for the owner, who needs none.
    pass: Option<Pass>,
}

/// What a user came in with, looked at again and again.
struct Pass {
    ctx: Ctx,
    actor: Actor,
    changes: watch::Receiver<u64>,
    every: Duration,
    due: Instant,
    /// The look under way: kept between calls, so that an answer with always more to say cannot put it off.
    look: Option<BoxFuture<'static, Result<bool, ApiError>>>,
}

impl Pass {
    fn new(app: &App, actor: Actor) -> Self {
        let every = app.limits.recheck;
        // Due at once: what changed since the gate let them in is seen as well.
        let (changes, due) = (app.ctx.identity_changes(), Instant::now());
        Self { ctx: app.ctx.clone(), actor, changes, every, due, look: None }
    }

    /// Ends when it is no longer good. Nothing is lost if it is dropped and begun again.
    async fn ends(&mut self) {
        loop {
            if let Some(look) = &mut self.look {
                let result = look.as_mut().await;
                self.look = None;
                self.due = Instant::now() + self.every;
                match result {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => tracing::warn!(%error, "whether a stream's user is still signed in cannot be read"),
                }
            }
            tokio::select! {
                // The sender lives as long as the program.
                _ = self.changes.changed() => {}
                () = tokio::time::sleep_until(self.due) => {}
            }
            let (ctx, actor) = (self.ctx.clone(), self.actor.clone());
            self.look = Some(async move { ctx.still_admits(&actor).await }.boxed());
        }
    }
}

/// Ends when the pass does; never without one.
async fn shut_out(pass: Option<&mut Pass>) {
    match pass {
        Some(pass) => pass.ends().await,
        None => std::future::pending().await,
    }
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
            () = shut_out(self.pass.as_mut()) => {
                let last = live.shut_out.take();
                self.live = None;
                last
            }
            piece = live.pieces.next() => piece,
            () = tokio::time::sleep(self.heartbeat) => Some(live.sign_of_life.to_owned()),
        }
    }
}
