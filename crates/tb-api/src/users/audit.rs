//! The audit log, read a page at a time.

use serde::{Deserialize, Serialize};
use tb_core::ApiError;
use tb_db::{
    Page,
    audit::{AuditFilter, AuditLine},
    users,
};
use ts_rs::TS;

use crate::Ctx;

/// Lines of a page, and at most.
const LINES: u32 = 100;
const MOST_LINES: u32 = 500;

/// Arguments of `audit_list`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields, default)]
pub struct ListAudit {
    /// What this user did, by id or name; `local` for the owner of this machine.
    pub actor: Option<String>,
    /// What was done to this thing, by its id.
    pub subject: Option<String>,
    /// What this command did.
    pub command: Option<String>,
    /// Only lines before this number: the last one of the page before.
    #[ts(type = "number | null")]
    pub before: Option<i64>,
    /// Lines to give at most; 0 gives 100.
    pub limit: u32,
}

pub(crate) async fn list(ctx: &Ctx, args: ListAudit) -> Result<Vec<AuditLine>, ApiError> {
    let given = |text: Option<String>| text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
    let actor = match given(args.actor) {
        Some(name) => Some(users::by_name(ctx.db(), &name).await?.map_or(name, |user| user.id.to_string())),
        None => None,
    };
    let filter = AuditFilter { actor, subject: given(args.subject), command: given(args.command) };
    let limit = if args.limit == 0 { LINES } else { args.limit.min(MOST_LINES) };
    Ok(tb_db::audit::list(ctx.db(), &filter, &Page { after: args.before, limit }).await?)
}
