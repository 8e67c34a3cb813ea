//! Users, what their role allows, and what they prove themselves with. No secret is part of these types.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    ids::{SessionId, TokenId, UserId},
    text_enum::text_enum,
};

text_enum! {
    /// What a user may do; each role may do what the ones before it may.
    Role, "role" {
        /// Look.
        Viewer = "viewer",
        /// Judge answers.
        Reviewer = "reviewer",
        /// Import data, train, evaluate.
        Trainer = "trainer",
        /// Deploy, set up, manage users.
        Admin = "admin",
    }
}

impl Role {
    /// Whether this role may do what `needed` may.
    #[must_use]
    pub fn covers(self, needed: Self) -> bool {
        self >= needed
    }
}

/// A user as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were added.
    #[ts(type = "number")]
    pub created_at_ms: i64,
    /// When they were shut out; none while they may come in.
    #[ts(type = "number | null")]
    pub disabled_at_ms: Option<i64>,
    /// When they last used the program, to the minute.
    #[ts(type = "number | null")]
    pub last_seen_at_ms: Option<i64>,
}

/// A key for a user's scripts, without what it opens the door with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AccessToken {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// What it is for, in its owner's words.
    pub name: String,
    /// When it was made.
    #[ts(type = "number")]
    pub created_at_ms: i64,
    /// When it was last used, to the minute.
    #[ts(type = "number | null")]
    pub last_used_at_ms: Option<i64>,
    /// When it ends; none if only a person ends it.
    #[ts(type = "number | null")]
    pub expires_at_ms: Option<i64>,
}

/// A browser in which a user is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who is signed in.
    pub user_id: UserId,
    /// What the browser calls itself; empty if it says nothing.
    pub user_agent: String,
    /// When they signed in.
    #[ts(type = "number")]
    pub created_at_ms: i64,
    /// When it was last used, to the minute.
    #[ts(type = "number")]
    pub last_used_at_ms: i64,
    /// When it ends, unless it is used before.
    #[ts(type = "number")]
    pub expires_at_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_cover_the_ones_below() {
        assert!(Role::Admin.covers(Role::Trainer) && Role::Trainer.covers(Role::Viewer));
        assert!(!Role::Reviewer.covers(Role::Trainer));
    }
}
