//! Signing in with name and password, and out again. No commands of the table: whoever signs in is nobody yet.

use std::time::Instant;

use serde_json::json;
use tb_core::{
    ApiError,
    ids::{SessionId, UserId},
    settings::Secret,
    tag::Tag,
    user::{Session, User},
};
use tb_db::{browser_sessions, passwords, users};
use uuid::Uuid;

use super::{
    Actor,
    shown::{self, Kind},
};
use crate::{
    Ctx,
    ctx::{now_ms, tell},
};

/// How long a browser stays signed in without being used: 30 days.
pub const SESSION_MS: i64 = 30 * 24 * 3600 * 1000;

/// Browsers in which one user may be signed in; the next one takes the place of the oldest.
const SESSIONS: usize = 50;

/// Longest name of a browser that is kept, in characters.
const USER_AGENT: usize = 200;

/// What came of a try.
#[derive(Debug)]
pub enum SignIn {
    /// The user is in.
    In(Box<SignedIn>),
    /// The name or the password is wrong, or the user is shut out: which of them is not told.
    Wrong,
    /// This account's password was guessed too often in the last minute.
    TooMany,
}

/// A new session.
#[derive(Debug)]
pub struct SignedIn {
    /// Who is in.
    pub user: User,
    /// Their session.
    pub session: Session,
    /// What the browser shows from now on; stored nowhere.
    pub cookie: Secret,
}

/// Tries to sign a user in. Always makes a new session: what the browser showed before has no part in it.
///
/// # Errors
/// A database that cannot be used, or too many passwords that wait to be checked.
pub async fn sign_in(ctx: &Ctx, name: &str, password: &Secret, user_agent: &str) -> Result<SignIn, ApiError> {
    let name = name.trim();
    if !ctx.begin_attempt(name, Instant::now()) {
        return Ok(SignIn::TooMany);
    }
    let judged = judge(ctx, name, password).await;
    if !matches!(judged, Ok(None)) {
        ctx.forgive_attempt(name);
    }
    let Some((user, hash)) = judged? else { return Ok(SignIn::Wrong) };
    Ok(open(ctx, &user.id, &hash, user_agent).await?.map_or(SignIn::Wrong, |signed| SignIn::In(Box::new(signed))))
}

/// The user of a name and a password, with the hash that was compared.
async fn judge(ctx: &Ctx, name: &str, password: &Secret) -> Result<Option<(User, String)>, ApiError> {
    let user = users::by_name(ctx.db(), name).await?.filter(|user| user.disabled_at_ms.is_none());
    // The same steps for a name that nobody has.
    let nobody = UserId::from_uuid(Uuid::nil());
    let hash = passwords::get(ctx.db(), user.as_ref().map_or(&nobody, |user| &user.id)).await?;
    let is_right = ctx.passwords().matches(password, hash.clone()).await?;
    Ok(user.zip(hash).filter(|_| is_right))
}

/// Opens a session, unless the user was shut out or their password changed while it was compared.
async fn open(ctx: &Ctx, id: &UserId, compared: &str, user_agent: &str) -> Result<Option<SignedIn>, ApiError> {
    let cookie = shown::fresh(Kind::Session)?;
    let now = now_ms();
    let mut tx = ctx.db().begin().await?;
    let user = users::get(&mut tx, id).await?.filter(|user| user.disabled_at_ms.is_none());
    let unchanged = passwords::get(&mut tx, id).await?.is_some_and(|hash| hash == compared);
    let Some(user) = user.filter(|_| unchanged) else { return Ok(None) };
    browser_sessions::delete_expired(&mut tx, now).await?;
    let others = browser_sessions::list(&mut tx, Some(id)).await?;
    for old in others.iter().skip(SESSIONS - 1) {
        browser_sessions::delete(&mut tx, &old.id).await?;
    }
    let session = Session {
        id: SessionId::from_uuid(Uuid::now_v7()),
        user_id: id.clone(),
        user_agent: user_agent.chars().filter(|c| !c.is_control()).take(USER_AGENT).collect(),
        created_at_ms: now,
        last_used_at_ms: now,
        expires_at_ms: now + SESSION_MS,
    };
    browser_sessions::insert(&mut tx, &session, &shown::digest(cookie.reveal())).await?;
    users::set_seen(&mut tx, id, now).await?;
    tell(&mut tx, id.as_str(), "sign_in", session.id.as_str(), json!({}), &[Tag::Users]).await?;
    tx.commit().await?;
    ctx.identities().forget();
    ctx.jobs().wake();
    Ok(Some(SignedIn { user, session, cookie }))
}

/// Ends the session that an actor came with; for others there is nothing to end.
///
/// # Errors
/// A database that cannot be used.
pub async fn sign_out(ctx: &Ctx, actor: &Actor) -> Result<(), ApiError> {
    let Some(id) = actor.session() else { return Ok(()) };
    let mut tx = ctx.db().begin().await?;
    match browser_sessions::delete(&mut tx, id).await {
        Ok(()) => tell(&mut tx, actor.name(), "sign_out", id.as_str(), json!({}), &[Tag::Users]).await?,
        // Revoked a moment ago.
        Err(tb_db::Error::Stale { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    tx.commit().await?;
    ctx.identities().forget();
    ctx.jobs().wake();
    Ok(())
}
