//! Who asks, and whether their role allows it.

use tb_core::{ApiError, ErrorCode, ids::UserId, user::Role};

/// Who runs a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user; none for the owner of this desktop or shell.
    pub user_id: Option<UserId>,
    /// What they may do.
    pub role: Role,
}

impl Actor {
    /// The owner of this machine's program, at its window or command line.
    #[must_use]
    pub fn local() -> Self {
        Self { user_id: None, role: Role::Admin }
    }

    /// The name in the audit log.
    #[must_use]
    pub fn name(&self) -> &str {
        self.user_id.as_ref().map_or("local", UserId::as_str)
    }

    /// Fails unless the role covers `needed`.
    ///
    /// # Errors
    /// `forbidden`, naming both roles.
    pub fn require(&self, needed: Role, command: &str) -> Result<(), ApiError> {
        if self.role.covers(needed) {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::Forbidden,
            format!("Nothing was changed: {command} needs the role {needed}, yours is {}.", self.role),
        )
        .hint("Ask an admin to change your role."))
    }
}
