//! Deployments: which version answers, and the machine of a roll-out.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    error::Refusal,
    ids::{DeploymentId, ModelId},
    text_enum::text_enum,
};

text_enum! {
    /// Where a deployment stands.
    DeployStatus, "deployment status" {
        /// The worker loads and checks the model.
        Warming = "warming",
        /// It answers.
        Live = "live",
        /// A later one took its place.
        Superseded = "superseded",
        /// It was rolled back.
        RolledBack = "rolled_back",
        /// It never went live.
        Failed = "failed",
    }
}

text_enum! {
    /// What can happen to a deployment.
    DeployAction, "deployment action" {
        /// The check passed: it answers from now on.
        GoLive = "go_live",
        /// A later one goes live.
        Supersede = "supersede",
        /// The one before goes live again.
        RollBack = "roll_back",
        /// The check failed.
        Fail = "fail",
    }
}

impl DeployStatus {
    /// The state after `action`.
    ///
    /// # Errors
    /// A [`Refusal`] if a deployment in this state does not allow the action.
    pub fn next(self, action: DeployAction) -> Result<Self, Refusal> {
        use DeployAction as A;
        use DeployStatus as S;
        match (self, action) {
            (S::Warming, A::GoLive) => Ok(S::Live),
            (S::Warming, A::Fail) => Ok(S::Failed),
            (S::Live, A::Supersede) => Ok(S::Superseded),
            (S::Live, A::RollBack) => Ok(S::RolledBack),
            (S::Warming, A::Supersede | A::RollBack)
            | (S::Live, A::GoLive | A::Fail)
            | (S::Superseded | S::RolledBack | S::Failed, A::GoLive | A::Supersede | A::RollBack | A::Fail) => {
                Err(Refusal { entity: "deployment", state: self.to_string(), action: action.to_string() })
            }
        }
    }
}

/// A deployment as stored: one line of production's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The model's name that it answers for.
    pub name: String,
    /// The version that answers.
    pub model_id: ModelId,
    /// Where it stands.
    pub status: DeployStatus,
    /// The deployment that it took the place of.
    pub previous: Option<DeploymentId>,
    /// Why, in the user's words.
    pub reason: String,
    /// When it was asked for.
    #[ts(type = "number")]
    pub created_at_ms: i64,
    /// When it went live.
    #[ts(type = "number | null")]
    pub live_at_ms: Option<i64>,
    /// When it ended.
    #[ts(type = "number | null")]
    pub ended_at_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_action() {
        let mut table = String::new();
        for state in DeployStatus::ALL {
            let row: Vec<String> =
                DeployAction::ALL.iter().filter_map(|a| state.next(*a).ok().map(|s| format!("{a}→{s}"))).collect();
            table += &format!("{state}: {}\n", row.join(" "));
        }
        assert_eq!(
            table,
            "warming: go_live→live fail→failed\n\
             live: supersede→superseded roll_back→rolled_back\n\
             superseded: \nrolled_back: \nfailed: \n"
        );
    }
}
