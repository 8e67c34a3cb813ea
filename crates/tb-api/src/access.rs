//! Who asks, whether their role allows it, and how they prove who they are: passwords, sessions and tokens are in `access/`.

pub(crate) mod attempts;
pub(crate) mod identities;
pub(crate) mod passwords;
pub(crate) mod reach;
pub(crate) mod shown;
pub(crate) mod sign_in;

use tb_core::{
    ApiError, ErrorCode,
    ids::{SessionId, TokenId, UserId},
    user::Role,
};

/// What a signed-in user came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The cookie of a browser.
    Session(SessionId),
    /// A token of theirs.
    Token(TokenId),
}

/// Who runs a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user; none for the owner of this desktop or shell.
    pub user_id: Option<UserId>,
    /// What they may do.
    pub role: Role,
    /// What they came with; none for the owner.
    pub credential: Option<Credential>,
}

impl Actor {
    /// The owner of this machine's program, at its window or command line.
    #[must_use]
    pub fn local() -> Self {
        Self { user_id: None, role: Role::Admin, credential: None }
    }

    /// A user, with what they came with.
    #[must_use]
    pub fn user(id: UserId, role: Role, credential: Credential) -> Self {
        Self { user_id: Some(id), role, credential: Some(credential) }
    }

    /// The owner with less than all rights.
    #[must_use]
    pub fn with_role(role: Role) -> Self {
        Self { role, ..Self::local() }
    }

    /// The name in the audit log.
    #[must_use]
    pub fn name(&self) -> &str {
        self.user_id.as_ref().map_or("local", UserId::as_str)
    }

    /// The browser in which they are signed in.
    #[must_use]
    pub fn session(&self) -> Option<&SessionId> {
        match &self.credential {
            Some(Credential::Session(id)) => Some(id),
            Some(Credential::Token(_)) | None => None,
        }
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
