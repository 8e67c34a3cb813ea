//! Browsers in which users are signed in: listed and signed out from afar.

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    ids::SessionId,
    user::{Role, Session},
};
use tb_db::browser_sessions;
use ts_rs::TS;

use super::{OfUser, subject};
use crate::{ById, Ctx, ctx::now_ms};

/// A session as a list shows it.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct SessionView {
    /// The session.
    #[serde(flatten)]
    pub session: Session,
    /// Whether it is the one that asks.
    pub current: bool,
}

pub(crate) async fn list(ctx: &Ctx, args: OfUser) -> Result<Vec<SessionView>, ApiError> {
    let user = subject(ctx, args.id.as_deref(), "session_list").await?;
    let now = now_ms();
    let all = browser_sessions::list(ctx.db(), user.as_ref().map(|user| &user.id)).await?;
    let own = ctx.actor().session();
    let view = |session: Session| SessionView { current: own == Some(&session.id), session };
    Ok(all.into_iter().filter(|s| s.expires_at_ms > now).map(view).collect())
}

pub(crate) async fn revoke(ctx: &Ctx, args: ById) -> Result<Session, ApiError> {
    let id: SessionId = args.parse()?;
    let mut tx = ctx.db().begin().await?;
    let actor = ctx.actor();
    // To everybody else the session of another is not there.
    let found = browser_sessions::get(&mut tx, &id).await?;
    let found = found.filter(|s| actor.role.covers(Role::Admin) || actor.user_id.as_ref() == Some(&s.user_id));
    let Some(session) = found else {
        let message = format!("There is no session {id}.");
        return Err(ApiError::new(ErrorCode::NotFound, message).hint("`tonebridge session list` shows what there is."));
    };
    browser_sessions::delete(&mut tx, &id).await?;
    tx.commit().await?;
    ctx.identities().forget();
    Ok(session)
}
