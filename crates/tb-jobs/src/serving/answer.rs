//! An answer as its caller holds it: pieces in order, text that has come meanwhile in one piece. Dropping it ends the generation.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, BoxStream, StreamExt};
use tb_core::{
    ApiError,
    run_folder::Framing,
    serving::{Finished, Generate, ReplyBody},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};

use super::{
    Caller,
    worker::{Order, State},
};

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// The model is in memory and reads the prompt. The first piece.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// How it was framed.
        framing: Framing,
    },
    /// More text, in whole characters.
    Text(String),
    /// The end of a whole answer. The last piece.
    Done(Finished),
}

/// An answer in the making. Memory is bounded by its length however slowly it is read, and a slow reader holds up nobody.
pub struct Answer {
    caller: Caller,
    phase: Phase,
}

enum Phase {
    /// The worker has not heard of it.
    Waiting(Box<Generate>),
    /// The worker makes it.
    Open(Heard),
    /// The last piece was given.
    Ended,
}

/// What the worker has heard: dropping it says that it is not wanted any more.
struct Heard {
    inbox: Arc<Inbox>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        // The worker's attendant is gone only if the worker is.
        let _ = self.orders.send(Order::Forget(Arc::clone(&self.inbox)));
    }
}

impl Answer {
    pub(super) fn new(caller: Caller, generate: Generate) -> Self {
        Self { caller, phase: Phase::Waiting(Box::new(generate)) }
    }

    /// The next piece; waits for it. None after the last one, which is `Done` or an error.
    pub async fn next(&mut self) -> Option<Result<Piece, ApiError>> {
        if let Phase::Waiting(generate) = &self.phase {
            match self.ask(generate.clone()).await {
                Ok(heard) => self.phase = Phase::Open(heard),
                Err(error) => {
                    self.phase = Phase::Ended;
                    return Some(Err(error));
                }
            }
        }
        let piece = match &self.phase {
            Phase::Waiting(_) | Phase::Ended => return None,
            Phase::Open(heard) => heard.inbox.next().await,
        };
        match &piece {
            Ok(Piece::Started { .. } | Piece::Text(_)) => {}
            Ok(Piece::Done(_)) | Err(_) => self.phase = Phase::Ended,
        }
        Some(piece)
    }

    /// The same as a stream.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<Piece, ApiError>> {
        stream::unfold(self, |mut this| async move { this.next().await.map(|piece| (piece, this)) }).boxed()
    }

    /// Waits for the base and for a place, and sends the request.
    async fn ask(&self, generate: Box<Generate>) -> Result<Heard, ApiError> {
        let resident = &self.caller.resident;
        let mut state = resident.state.clone();
        let place = loop {
            let ended = match &*state.borrow_and_update() {
                State::Starting => None,
                State::Loaded => Some(Ok(())),
                State::Ended(error) => Some(Err(error.clone())),
            };
            match ended {
                None if state.changed().await.is_err() => return Err(super::worker::gone()),
                None => {}
                Some(Err(error)) => return Err(error),
                Some(Ok(())) => tokio::select! {
                    place = Arc::clone(&resident.places).acquire_owned() => {
                        break place.expect("the places of a worker are never closed");
                    }
                    // The worker may end while this waits.
                    changed = state.changed() => if changed.is_err() { return Err(super::worker::gone()) },
                },
            }
        };
        let inbox = Arc::new(Inbox::default());
        let orders = resident.orders.clone();
        let ask = Order::Ask { generate, inbox: Arc::clone(&inbox), place };
        orders.send(ask).map_err(|_| super::worker::gone())?;
        Ok(Heard { inbox, orders })
    }
}

/// Where the pieces of one answer lie until they are taken.
#[derive(Default)]
pub(super) struct Inbox {
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Default)]
struct Held {
    started: Option<(u32, Framing)>,
    text: String,
    end: Option<Result<Finished, ApiError>>,
}

impl Inbox {
    /// Puts in what the worker says of this answer.
    pub fn put(&self, body: ReplyBody) {
        self.with(|held| match body {
            ReplyBody::Started { prompt_tokens, framing } => held.started = Some((prompt_tokens, framing)),
            ReplyBody::Text { text } => held.text.push_str(&text),
            ReplyBody::Done(finished) => held.end = Some(Ok(finished)),
            ReplyBody::Failed(error) => held.end = Some(Err(error)),
            // Of other requests than a generation.
            ReplyBody::Ready { .. } | ReplyBody::Loaded(_) | ReplyBody::Cancelled => {}
        });
        self.changed.notify_one();
    }

    async fn next(&self) -> Result<Piece, ApiError> {
        loop {
            let piece = self.with(|held| {
                if let Some((prompt_tokens, framing)) = held.started.take() {
                    Some(Ok(Piece::Started { prompt_tokens, framing }))
                } else if !held.text.is_empty() {
                    Some(Ok(Piece::Text(std::mem::take(&mut held.text))))
                } else {
                    held.end.take().map(|end| end.map(Piece::Done))
                }
            });
            match piece {
                Some(piece) => return piece,
                None => self.changed.notified().await,
            }
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Held) -> T) -> T {
        f(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A place at a worker, held until the worker has said its last word on the request.
pub(super) type Place = OwnedSemaphorePermit;

#[cfg(test)]
mod tests {
    use tb_core::{ErrorCode, serving::Finish};

    use super::*;

    #[tokio::test]
    async fn what_comes_while_nobody_reads_is_one_piece() {
        let inbox = Inbox::default();
        inbox.put(ReplyBody::Started { prompt_tokens: 3, framing: Framing::Chat });
        for text in ["丁", "寧", " a"] {
            inbox.put(ReplyBody::Text { text: text.into() });
        }
        assert_eq!(inbox.next().await, Ok(Piece::Started { prompt_tokens: 3, framing: Framing::Chat }));
        assert_eq!(inbox.next().await, Ok(Piece::Text("丁寧 a".into())));
        let finished = Finished {
            finish: Finish::Eos,
            prompt_tokens: 3,
            tokens: 4,
            tokens_per_s: 1.0,
            first_token_ms: 1,
            time_ms: 2,
        };
        inbox.put(ReplyBody::Text { text: "!".into() });
        inbox.put(ReplyBody::Done(finished));
        assert_eq!(inbox.next().await, Ok(Piece::Text("!".into())));
        assert_eq!(inbox.next().await, Ok(Piece::Done(finished)));
    }

    #[tokio::test]
    async fn text_before_a_failure_is_given_first() {
        let inbox = Inbox::default();
        inbox.put(ReplyBody::Text { text: "so far".into() });
        let lost = ApiError::new(ErrorCode::WorkerLost, "Gone.");
        inbox.put(ReplyBody::Failed(lost.clone()));
        assert_eq!(inbox.next().await, Ok(Piece::Text("so far".into())));
        assert_eq!(inbox.next().await, Err(lost));
    }
}
