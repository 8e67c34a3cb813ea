//! Users of a team's server: who they are, what they may do, and their passwords. Tokens, sessions and the audit log are in `users/`.

pub(crate) mod audit;
pub(crate) mod sessions;
pub(crate) mod tokens;

use std::{collections::BTreeMap, time::Instant};

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    ids::{SessionId, UserId},
    settings::Secret,
    user::{Role, User},
};
use tb_db::{Source, Tx, access_tokens, browser_sessions, passwords, users};
use ts_rs::TS;
use uuid::Uuid;

use crate::{ById, Ctx, access::passwords::check_new, commands::Nothing, ctx::now_ms};

/// Longest name in characters.
const LONGEST_NAME: usize = 64;

/// A user as a list of them shows.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct UserView {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// Whether they can sign in with a password.
    pub has_password: bool,
    /// Tokens that they hold.
    pub tokens: u32,
    /// Browsers in which they are signed in.
    pub sessions: u32,
}

/// Arguments of `user_add`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct AddUser {
    /// Their name, with which they sign in.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Their first password; without one they cannot sign in, but can hold tokens.
    #[serde(default)]
    #[ts(type = "string | null")]
    pub password: Option<Secret>,
}

/// Arguments of `user_rename`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct RenameUser {
    /// Their id or name.
    pub id: String,
    /// With which they sign in from now on.
    pub name: String,
}

/// Arguments of `user_set_role`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// Their id or name.
    pub id: String,
    /// What they may do from now on.
    pub role: Role,
}

/// Arguments of `user_set_password`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// Whose; by id or name. One's own if none.
    #[serde(default)]
    pub id: Option<String>,
    /// The password in force: needed for one's own.
    #[serde(default)]
    #[ts(type = "string | null")]
    pub old: Option<Secret>,
    /// The new one.
    #[ts(type = "string")]
    pub password: Secret,
}

/// Arguments of a list of what belongs to a user.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub struct OfUser {
    /// Whose; by id or name. One's own if none, everybody's for the owner of this machine.
    pub id: Option<String>,
}

/// Who asks.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct WhoAmI {
    /// The user; none for the owner of this machine.
    pub user: Option<User>,
    /// What they may do.
    pub role: Role,
    /// Whether it is the owner of this machine, at its window, its shell or with its access link.
    pub owner: bool,
    /// The session of this browser, if it is signed in.
    pub session_id: Option<SessionId>,
    /// Whether they can sign in with a password.
    pub has_password: bool,
}

pub(crate) async fn whoami(ctx: &Ctx, _: Nothing) -> Result<WhoAmI, ApiError> {
    let actor = ctx.actor();
    let user = match &actor.user_id {
        Some(id) => Some(by_id(ctx.db(), id).await?),
        None => None,
    };
    let has_password = match &user {
        Some(user) => passwords::get(ctx.db(), &user.id).await?.is_some(),
        None => false,
    };
    Ok(WhoAmI { owner: user.is_none(), user, role: actor.role, session_id: actor.session().cloned(), has_password })
}

pub(crate) async fn list(ctx: &Ctx, _: Nothing) -> Result<Vec<UserView>, ApiError> {
    let holders = passwords::holders(ctx.db()).await?;
    let mut tokens: BTreeMap<UserId, u32> = BTreeMap::new();
    for token in access_tokens::list(ctx.db(), None).await? {
        *tokens.entry(token.user_id).or_default() += 1;
    }
    let mut sessions: BTreeMap<UserId, u32> = BTreeMap::new();
    let now = now_ms();
    for session in browser_sessions::list(ctx.db(), None).await?.into_iter().filter(|s| s.expires_at_ms > now) {
        *sessions.entry(session.user_id).or_default() += 1;
    }
    let all = users::list(ctx.db()).await?;
    let view = |user: User| UserView {
        has_password: holders.contains(&user.id),
        tokens: tokens.get(&user.id).copied().unwrap_or(0),
        sessions: sessions.get(&user.id).copied().unwrap_or(0),
        user,
    };
    Ok(all.into_iter().map(view).collect())
}

pub(crate) async fn add(ctx: &Ctx, args: AddUser) -> Result<User, ApiError> {
    let name = checked_name(&args.name)?;
    let hash = match &args.password {
        Some(password) => {
            check_new(password, &name)?;
            Some(ctx.passwords().hash(password).await?)
        }
        None => None,
    };
    let now = now_ms();
    let user = User {
        id: UserId::from_uuid(Uuid::now_v7()),
        name,
        role: args.role,
        created_at_ms: now,
        disabled_at_ms: None,
        last_seen_at_ms: None,
    };
    let mut tx = ctx.db().begin().await?;
    check_free(&mut tx, &user).await?;
    users::insert(&mut tx, &user).await?;
    if let Some(hash) = &hash {
        passwords::put(&mut tx, &user.id, hash, now).await?;
    }
    tx.commit().await?;
    Ok(user)
}

pub(crate) async fn rename(ctx: &Ctx, args: RenameUser) -> Result<User, ApiError> {
    let name = checked_name(&args.name)?;
    let mut tx = ctx.db().begin().await?;
    let user = User { name, ..named(&mut tx, &args.id).await? };
    check_free(&mut tx, &user).await?;
    users::rename(&mut tx, &user.id, &user.name).await?;
    tx.commit().await?;
    ctx.identities().forget();
    Ok(user)
}

/// Refuses a name that another user has: names that differ only in capitals would be taken for each other.
async fn check_free(tx: &mut Tx, user: &User) -> Result<(), ApiError> {
    let lower = user.name.to_lowercase();
    let taken = |other: &User| other.id != user.id && other.name.to_lowercase() == lower;
    match users::list(&mut *tx).await?.into_iter().find(taken) {
        None => Ok(()),
        Some(other) => {
            let message = format!("Nothing was changed: there is a user '{}' already.", other.name);
            Err(ApiError::new(ErrorCode::Conflict, message).hint("Choose another name, or enable that user."))
        }
    }
}

pub(crate) async fn set_role(ctx: &Ctx, args: SetRole) -> Result<User, ApiError> {
    let mut tx = ctx.db().begin().await?;
    let user = named(&mut tx, &args.id).await?;
    users::set_role(&mut tx, &user.id, user.role, args.role).await?;
    tx.commit().await?;
    ctx.identities().forget();
    Ok(User { role: args.role, ..user })
}

pub(crate) async fn set_password(ctx: &Ctx, args: SetPassword) -> Result<User, ApiError> {
    let user = match (&args.id, &ctx.actor().user_id) {
        (Some(id), _) => named(ctx.db(), id).await?,
        (None, Some(own)) => by_id(ctx.db(), own).await?,
        (None, None) => return Err(nobody("password")),
    };
    let is_own = ctx.actor().user_id.as_ref() == Some(&user.id);
    if !is_own {
        ctx.actor().require(Role::Admin, "user_set_password for others")?;
    }
    check_new(&args.password, &user.name)?;
    if is_own {
        prove(ctx, &user, args.old.as_ref()).await?;
    }
    let hash = ctx.passwords().hash(&args.password).await?;
    let mut tx = ctx.db().begin().await?;
    passwords::put(&mut tx, &user.id, &hash, now_ms()).await?;
    // Whoever was in with the old password is out; the browser that changes its own stays.
    let stays = ctx.actor().session().filter(|_| is_own);
    browser_sessions::delete_of(&mut tx, &user.id, stays).await?;
    tx.commit().await?;
    ctx.identities().forget();
    Ok(user)
}

/// Has a user give their present password: a stolen session or token must not be enough to take an account over.
async fn prove(ctx: &Ctx, user: &User, old: Option<&Secret>) -> Result<(), ApiError> {
    let refuse = |code, message: &str| Err(ApiError::new(code, format!("Nothing was changed: {message}.")));
    let Some(known) = passwords::get(ctx.db(), &user.id).await? else {
        return refuse(ErrorCode::Forbidden, "you have no password yet, and only an admin can give you the first one");
    };
    let Some(old) = old else {
        return refuse(ErrorCode::InvalidArgument, "your present password is needed");
    };
    if !ctx.begin_attempt(&user.name, Instant::now()) {
        return refuse(ErrorCode::Unavailable, "too many wrong passwords were given; wait a minute");
    }
    let is_right = ctx.passwords().matches(old, Some(known)).await;
    if !matches!(is_right, Ok(false)) {
        ctx.forgive_attempt(&user.name);
    }
    if is_right? { Ok(()) } else { refuse(ErrorCode::InvalidArgument, "the present password is not right") }
}

pub(crate) async fn disable(ctx: &Ctx, args: ById) -> Result<User, ApiError> {
    let now = now_ms();
    let mut tx = ctx.db().begin().await?;
    let user = named(&mut tx, &args.id).await?;
    if user.disabled_at_ms.is_some() {
        return Ok(user);
    }
    users::set_disabled(&mut tx, &user.id, Some(now)).await?;
    browser_sessions::delete_of(&mut tx, &user.id, None).await?;
    access_tokens::delete_of(&mut tx, &user.id).await?;
    tx.commit().await?;
    ctx.identities().forget();
    Ok(User { disabled_at_ms: Some(now), ..user })
}

pub(crate) async fn enable(ctx: &Ctx, args: ById) -> Result<User, ApiError> {
    let mut tx = ctx.db().begin().await?;
    let user = named(&mut tx, &args.id).await?;
    users::set_disabled(&mut tx, &user.id, None).await?;
    tx.commit().await?;
    ctx.identities().forget();
    Ok(User { disabled_at_ms: None, ..user })
}

/// The user whose things are meant: oneself if none is named, others for admins only; none for everybody's, which the owner of
/// this machine gets without naming anyone.
async fn subject(ctx: &Ctx, named_id: Option<&str>, command: &str) -> Result<Option<User>, ApiError> {
    let own = ctx.actor().user_id.as_ref();
    let user = match (named_id, own) {
        (None, None) => {
            ctx.actor().require(Role::Admin, &format!("{command} for all"))?;
            return Ok(None);
        }
        (None, Some(own)) => by_id(ctx.db(), own).await?,
        (Some(id), _) => {
            // Who may not ask about others learns nothing about who there is.
            if own.is_none_or(|own| own.as_str() != id) {
                ctx.actor().require(Role::Admin, &format!("{command} for others"))?;
            }
            named(ctx.db(), id).await?
        }
    };
    Ok(Some(user))
}

/// A user by what a caller calls them: their id or their name.
async fn named(from: impl Into<Source<'_>>, text: &str) -> Result<User, ApiError> {
    let found = match text.parse::<UserId>() {
        Ok(id) => users::get(from, &id).await?,
        Err(_) => users::by_name(from, text).await?,
    };
    found.ok_or_else(|| missing(text))
}

async fn by_id(from: impl Into<Source<'_>>, id: &UserId) -> Result<User, ApiError> {
    users::get(from, id).await?.ok_or_else(|| missing(id.as_str()))
}

fn missing(what: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("There is no user {what}."))
        .hint("`tonebridge user list` shows who there is.")
}

fn nobody(what: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was changed: the owner of this machine has no {what}."))
        .hint("Name a user.")
}

/// A name that can be told from others at sight and from an id.
fn checked_name(given: &str) -> Result<String, ApiError> {
    let name = given.trim();
    let refuse = |why: &str| Err(ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was changed: {why}.")));
    // Controls, and the invisible characters that change how a name is shown.
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if name.is_empty() {
        refuse("a user needs a name")
    } else if name.chars().count() > LONGEST_NAME {
        refuse("a name has at most 64 characters")
    } else if name.contains(hidden) {
        refuse("a name consists of characters that can be seen")
    } else if name.parse::<UserId>().is_ok() || name.eq_ignore_ascii_case("local") {
        refuse("this name could be taken for something else")
    } else {
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests;
