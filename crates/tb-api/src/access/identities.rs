//! Who stands behind a token or a cookie: looked up in the database, then kept in memory for a moment. A change in this process
//! empties what is kept at once; one of another process counts when the moment is over.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tb_core::{
    ApiError,
    ids::UserId,
    user::{Session, User},
};
use tb_db::{Tx, access_tokens, browser_sessions, users};
use tokio::sync::watch;

use super::{
    Actor, Credential,
    shown::{self, Kind},
    sign_in::SESSION_MS,
};
use crate::{Ctx, ctx::now_ms};

/// How long an answer of the database is believed.
pub const BELIEVED: Duration = Duration::from_secs(30);

/// Answers that are kept.
const KEPT: usize = 4096;

/// Use is noted to this precision, so that it costs one write a minute.
const NOTED_EVERY_MS: i64 = 60_000;

/// How long a request waits for that write.
const NOTING: Duration = Duration::from_millis(250);

/// Who is known to stand behind what.
pub(crate) struct Identities {
    kept: Mutex<Kept>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    /// By the digest of what was shown.
    known: HashMap<String, Known>,
    /// Grows with each change, so that a look-up that began before it leaves nothing behind.
    generation: u64,
}

#[derive(Clone)]
struct Known {
    actor: Actor,
    until: Instant,
    /// When the token or session itself ends.
    ends_at_ms: i64,
}

/// Someone who showed what they should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who it is.
    pub actor: Actor,
    /// Their session was just prolonged: their browser should keep its cookie as long.
    pub prolonged: bool,
}

impl Default for Identities {
    fn default() -> Self {
        Self { kept: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Identities {
    /// Forgets everyone: roles, tokens, sessions or users were changed.
    pub fn forget(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.known.clear();
        kept.generation += 1;
        self.changes.send_replace(kept.generation);
    }

    fn find(&self, digest: &str) -> Result<Actor, u64> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.known.get(digest) {
            Some(known) if known.until > Instant::now() && known.ends_at_ms > now_ms() => Ok(known.actor.clone()),
            Some(_) | None => Err(kept.generation),
        }
    }

    fn keep(&self, digest: String, actor: Actor, ends_at_ms: i64, generation: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.generation != generation {
            return;
        }
        if kept.known.len() >= KEPT {
            let now = Instant::now();
            kept.known.retain(|_, known| known.until > now);
            if kept.known.len() >= KEPT {
                kept.known.clear();
            }
        }
        kept.known.insert(digest, Known { actor, until: Instant::now() + BELIEVED, ends_at_ms });
    }
}

/// A user who may come in.
struct Admitted {
    actor: Actor,
    ends_at_ms: i64,
    last_used_at_ms: i64,
}

impl Ctx {
    /// Who shows this token or cookie; none if nobody may come in with it.
    ///
    /// # Errors
    /// A database that cannot be read: that is no answer.
    pub async fn identify(&self, text: &str) -> Result<Option<Identity>, ApiError> {
        let Some(kind) = Kind::of(text) else { return Ok(None) };
        let digest = shown::digest(text);
        let generation = match self.identities().find(&digest) {
            Ok(actor) => return Ok(Some(Identity { actor, prolonged: false })),
            Err(generation) => generation,
        };
        let Some(mut found) = self.admitted(kind, &digest).await? else { return Ok(None) };
        let now = now_ms();
        let note = now - found.last_used_at_ms >= NOTED_EVERY_MS;
        let mut prolonged = false;
        if note {
            match tokio::time::timeout(NOTING, self.note_use(&found.actor, now)).await {
                Ok(Ok(())) => {
                    prolonged = kind == Kind::Session;
                    found.ends_at_ms = if prolonged { now + SESSION_MS } else { found.ends_at_ms };
                }
                // The next look-up tries again: nobody is kept out because a note could not be made.
                Ok(Err(error)) => tracing::warn!(%error, "the use of a token or session cannot be noted"),
                Err(_) => tracing::debug!("the use of a token or session was not noted: others were writing"),
            }
        }
        self.identities().keep(digest, found.actor.clone(), found.ends_at_ms, generation);
        Ok(Some(Identity { actor: found.actor, prolonged }))
    }

    /// Whether an actor may still come in with what they came with, and has the same role.
    ///
    /// # Errors
    /// A database that cannot be read: that is no answer.
    pub async fn still_admits(&self, actor: &Actor) -> Result<bool, ApiError> {
        let Some(credential) = &actor.credential else { return Ok(true) };
        let (user_id, ends_at_ms) = match credential {
            Credential::Session(id) => match browser_sessions::get(self.db(), id).await? {
                Some(session) => (session.user_id, session.expires_at_ms),
                None => return Ok(false),
            },
            Credential::Token(id) => match access_tokens::get(self.db(), id).await? {
                Some(token) => (token.user_id, token.expires_at_ms.unwrap_or(i64::MAX)),
                None => return Ok(false),
            },
        };
        let user = self.enabled(&user_id).await?;
        Ok(ends_at_ms > now_ms() && user.is_some_and(|user| user.role == actor.role))
    }

    /// Tells of every change to users, tokens and sessions that this process makes.
    #[must_use]
    pub fn identity_changes(&self) -> watch::Receiver<u64> {
        self.identities().changes.subscribe()
    }

    async fn admitted(&self, kind: Kind, digest: &str) -> Result<Option<Admitted>, ApiError> {
        let (user_id, credential, ends_at_ms, last_used_at_ms) = match kind {
            Kind::Token => match access_tokens::by_digest(self.db(), digest).await? {
                Some(token) => {
                    let ends = token.expires_at_ms.unwrap_or(i64::MAX);
                    (token.user_id, Credential::Token(token.id), ends, token.last_used_at_ms.unwrap_or(0))
                }
                None => return Ok(None),
            },
            Kind::Session => match browser_sessions::by_digest(self.db(), digest).await? {
                Some(session) => {
                    let Session { id, user_id, expires_at_ms, last_used_at_ms, .. } = session;
                    (user_id, Credential::Session(id), expires_at_ms, last_used_at_ms)
                }
                None => return Ok(None),
            },
        };
        if ends_at_ms <= now_ms() {
            return Ok(None);
        }
        let Some(user) = self.enabled(&user_id).await? else { return Ok(None) };
        let actor = Actor::user(user.id, user.role, credential);
        Ok(Some(Admitted { actor, ends_at_ms, last_used_at_ms }))
    }

    async fn enabled(&self, id: &UserId) -> Result<Option<User>, ApiError> {
        Ok(users::get(self.db(), id).await?.filter(|user| user.disabled_at_ms.is_none()))
    }

    async fn note_use(&self, actor: &Actor, now: i64) -> Result<(), ApiError> {
        let (Some(user_id), Some(credential)) = (&actor.user_id, &actor.credential) else { return Ok(()) };
        let mut tx = self.db().begin().await?;
        note(&mut tx, user_id, credential, now).await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn note(tx: &mut Tx, user_id: &UserId, credential: &Credential, now: i64) -> tb_db::Result<()> {
    match credential {
        Credential::Session(id) => browser_sessions::set_used(tx, id, now, now + SESSION_MS).await?,
        Credential::Token(id) => access_tokens::set_used(tx, id, now).await?,
    }
    users::set_seen(tx, user_id, now).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tb_core::{ids::TokenId, user::Role};
    use uuid::Uuid;

    fn actor() -> Actor {
        let id = Uuid::from_u128(1);
        Actor::user(UserId::from_uuid(id), Role::Viewer, Credential::Token(TokenId::from_uuid(id)))
    }

    #[test]
    fn a_change_empties_what_is_kept_and_outruns_older_look_ups() {
        let identities = Identities::default();
        let generation = identities.find("a").unwrap_err();
        identities.keep("a".into(), actor(), i64::MAX, generation);
        assert_eq!(identities.find("a").unwrap(), actor());
        let changes = identities.changes.subscribe();
        identities.forget();
        assert!(changes.has_changed().unwrap());
        assert_eq!(identities.find("a"), Err(generation + 1));
        identities.keep("a".into(), actor(), i64::MAX, generation);
        assert!(identities.find("a").is_err(), "looked up before the change");
    }

    #[test]
    fn what_has_ended_is_not_believed_and_the_number_is_bounded() {
        let identities = Identities::default();
        identities.keep("ended".into(), actor(), now_ms(), 0);
        assert!(identities.find("ended").is_err());
        for n in 0..KEPT * 2 {
            identities.keep(format!("{n}"), actor(), i64::MAX, 0);
        }
        assert!(identities.kept.lock().unwrap().known.len() <= KEPT);
    }
}
