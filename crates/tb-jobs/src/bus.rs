//! The stream of stored events: what is in the database first, then live, without a gap and without doubles. Nothing is
//! published that is not committed.
//!
//! Whoever commits events, in this process or another, need not publish them: one pump reads the database in order of
//! `seq` and sends on. It looks when it is woken, and several times a second for the commits of other processes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::stream::{self, BoxStream, StreamExt};
use tb_core::event::Event;
use tb_db::Db;
use tokio::sync::{Notify, broadcast};

/// How often commits of other processes are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Live events held for a slow subscriber; one that falls behind further reads on from the database.
const LIVE_EVENTS: usize = 256;

/// Events read from the database at once.
const PAGE: u32 = 500;

/// How long to wait after a failed look at the database.
const AFTER_ERROR: Duration = Duration::from_millis(500);

/// The live end of the event stream of one process.
#[derive(Clone)]
pub(crate) struct Bus {
    db: Db,
    live: broadcast::Sender<Event>,
    woken: Arc<Notify>,
}

impl Bus {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, live: broadcast::Sender::new(LIVE_EVENTS), woken: Arc::new(Notify::new()) }
    }

    /// Says that events were committed.
    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Every event after `after_seq`.
    pub(crate) fn subscribe(&self, after_seq: i64) -> Subscription {
        // Subscribed before anything is read: what is committed after the reading arrives live.
        let live = self.live.subscribe();
        Subscription { db: self.db.clone(), live, last: after_seq, stored: VecDeque::new(), source: Origin::Unchecked }
    }

    /// Sends every event committed after `seq` to the subscribers, for ever.
    pub(crate) async fn pump(self, mut seq: i64) {
        loop {
            match tb_db::events::after(&self.db, seq, PAGE).await {
                Ok(events) if events.is_empty() => {
                    // A timeout is as good as a wake-up: both lead to the next look.
                    let _ = tokio::time::timeout(LOOK_EVERY, self.woken.notified()).await;
                }
                Ok(events) => {
                    for event in events {
                        seq = event.seq;
                        // Nobody listening is no error.
                        let _ = self.live.send(event);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "events cannot be read; trying again");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }
}

/// Where the next event of a subscription comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The database; whether the subscriber's number can be true is still to be seen.
    Unchecked,
    /// The database.
    Database,
    /// The live stream.
    Live,
}

/// Events from a number on: stored ones first, then live ones, each once, in order.
pub struct Subscription {
    db: Db,
    live: broadcast::Receiver<Event>,
    last: i64,
    stored: VecDeque<Event>,
    source: Origin,
}

impl Subscription {
    /// The next event; waits for it. None once the jobs of this process are closed and every event was given.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.stored.pop_front() {
                self.last = event.seq;
                return Some(event);
            }
            match self.source {
                Origin::Unchecked => self.check_number().await,
                Origin::Database => self.read().await,
                Origin::Live => match self.live.recv().await {
                    Ok(event) if event.seq <= self.last => {}
                    Ok(event) if event.seq == self.last + 1 => {
                        self.last = event.seq;
                        return Some(event);
                    }
                    // Something is missing in between: the database has it.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => self.source = Origin::Database,
                    Err(broadcast::error::RecvError::Closed) => {
                        self.read().await;
                        if self.stored.is_empty() {
                            return None;
                        }
                    }
                },
            }
        }
    }

    /// The same as a stream.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Event> {
        stream::unfold(self, |mut this| async move { this.next().await.map(|event| (event, this)) }).boxed()
    }

    /// A number beyond the last stored one comes from another database: such a subscriber gets what happens from now on.
    async fn check_number(&mut self) {
        match tb_db::events::last_seq(&self.db).await {
            Ok(stored) => {
                self.last = self.last.min(stored);
                self.source = Origin::Database;
            }
            Err(error) => Self::failed(&error).await,
        }
    }

    async fn read(&mut self) {
        match tb_db::events::after(&self.db, self.last, PAGE).await {
            Ok(events) if events.is_empty() => self.source = Origin::Live,
            Ok(events) => self.stored.extend(events),
            Err(error) => Self::failed(&error).await,
        }
    }

    async fn failed(error: &tb_db::Error) {
        tracing::warn!(%error, "stored events cannot be read; trying again");
        tokio::time::sleep(AFTER_ERROR).await;
    }
}
