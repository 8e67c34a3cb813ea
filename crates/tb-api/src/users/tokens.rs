//! Access tokens of users: made, listed, revoked. What a token opens the door with is shown once, when it is made.

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    ids::TokenId,
    user::{AccessToken, Role},
};
use tb_db::{access_tokens, users};
use ts_rs::TS;
use uuid::Uuid;

use super::{OfUser, nobody, subject};
use crate::{
    ById, Ctx,
    access::shown::{self, Kind},
    ctx::now_ms,
};

/// Tokens that one user may hold.
const TOKENS: usize = 100;

/// Longest name in characters, and longest life in days.
const LONGEST_NAME: usize = 80;
const LONGEST_DAYS: u32 = 3650;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Arguments of `token_create`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for.
    pub name: String,
    /// Whose it is to be, by id or name; one's own if none.
    #[serde(default)]
    pub user: Option<String>,
    /// Days until it ends by itself; none if only a person ends it.
    #[serde(default)]
    pub expires_in_days: Option<u32>,
}

/// A token that was just made: the only time that it is seen whole.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct CreatedToken {
    /// The token.
    #[serde(flatten)]
    pub token: AccessToken,
    /// What its holder sends as `Authorization: Bearer`. It is stored nowhere and cannot be shown again.
    pub secret: String,
}

pub(crate) async fn create(ctx: &Ctx, args: CreateToken) -> Result<CreatedToken, ApiError> {
    let refuse = |why: String| Err(ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was changed: {why}.")));
    let name = args.name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.contains(char::is_control) {
        return refuse(format!("a token needs a name of 1 to {LONGEST_NAME} characters"));
    }
    if args.expires_in_days.is_some_and(|days| days == 0 || days > LONGEST_DAYS) {
        return refuse(format!("a token ends after 1 to {LONGEST_DAYS} days"));
    }
    let Some(user) = subject(ctx, args.user.as_deref(), "token_create").await? else {
        return Err(nobody("tokens of this kind"));
    };
    let secret = shown::fresh(Kind::Token)?;
    let now = now_ms();
    let token = AccessToken {
        id: TokenId::from_uuid(Uuid::now_v7()),
        user_id: user.id.clone(),
        name: name.to_owned(),
        created_at_ms: now,
        last_used_at_ms: None,
        expires_at_ms: args.expires_in_days.map(|days| now + i64::from(days) * DAY_MS),
    };
    let mut tx = ctx.db().begin().await?;
    let is_out = users::get(&mut tx, &user.id).await?.is_none_or(|user| user.disabled_at_ms.is_some());
    if is_out {
        let message = format!("Nothing was changed: {} is disabled.", user.name);
        return Err(ApiError::new(ErrorCode::Conflict, message).hint("Enable the user first."));
    }
    if access_tokens::list(&mut tx, Some(&user.id)).await?.len() >= TOKENS {
        let message = format!("Nothing was changed: {} holds {TOKENS} tokens already.", user.name);
        return Err(ApiError::new(ErrorCode::Conflict, message).hint("Revoke one that is not used."));
    }
    access_tokens::insert(&mut tx, &token, &shown::digest(secret.reveal())).await?;
    tx.commit().await?;
    Ok(CreatedToken { token, secret: secret.reveal().to_owned() })
}

pub(crate) async fn list(ctx: &Ctx, args: OfUser) -> Result<Vec<AccessToken>, ApiError> {
    let user = subject(ctx, args.id.as_deref(), "token_list").await?;
    Ok(access_tokens::list(ctx.db(), user.as_ref().map(|user| &user.id)).await?)
}

pub(crate) async fn revoke(ctx: &Ctx, args: ById) -> Result<AccessToken, ApiError> {
    let id: TokenId = args.parse()?;
    let mut tx = ctx.db().begin().await?;
    let actor = ctx.actor();
    // To everybody else the token of another is not there.
    let found = access_tokens::get(&mut tx, &id).await?;
    let found = found.filter(|t| actor.role.covers(Role::Admin) || actor.user_id.as_ref() == Some(&t.user_id));
    let Some(token) = found else {
        let message = format!("There is no access token {id}.");
        return Err(ApiError::new(ErrorCode::NotFound, message).hint("`tonebridge token list` shows what there is."));
    };
    access_tokens::delete(&mut tx, &id).await?;
    tx.commit().await?;
    ctx.identities().forget();
    Ok(token)
}
