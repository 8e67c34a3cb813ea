//! The audit log: who changed what.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// One line of the audit log. Lines are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct AuditEntry {
    /// When.
    #[ts(type = "number")]
    pub at_ms: i64,
    /// Who: a user id, or `local` for the owner of the desktop.
    pub actor: String,
    /// The command, such as `model_deploy`.
    pub command: String,
    /// Id of the thing changed; empty if the command names none.
    pub subject: String,
    /// The arguments, without secrets.
    #[ts(type = "unknown")]
    pub arguments: serde_json::Value,
}
