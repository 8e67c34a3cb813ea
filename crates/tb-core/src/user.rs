//! Users and what their role allows.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{ids::UserId, text_enum::text_enum};

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
