//! A/B tests: two model versions on live traffic, and the machine of their states.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    error::Refusal,
    ids::{AbTestId, ModelId},
    text_enum::text_enum,
};

text_enum! {
    /// Where an A/B test stands.
    AbTestStatus, "A/B test status" {
        /// Units are assigned and outcomes counted.
        Active = "active",
        /// No new units are assigned.
        Paused = "paused",
        /// Ended; its result is final.
        Completed = "completed",
    }
}

text_enum! {
    /// What can happen to an A/B test.
    AbTestAction, "A/B test action" {
        /// Halt assignment.
        Pause = "pause",
        /// Assign again.
        Resume = "resume",
        /// End it.
        Stop = "stop",
    }
}

text_enum! {
    /// The two arms.
    Arm, "arm" {
        /// Control.
        A = "a",
        /// Treatment.
        B = "b",
    }
}

impl AbTestStatus {
    /// The state after `action`.
    ///
    /// # Errors
    /// A [`Refusal`] if a test in this state does not allow the action.
    pub fn next(self, action: AbTestAction) -> Result<Self, Refusal> {
        use AbTestAction as A;
        use AbTestStatus as S;
        match (self, action) {
            (S::Active, A::Pause) => Ok(S::Paused),
            (S::Paused, A::Resume) => Ok(S::Active),
            (S::Active | S::Paused, A::Stop) => Ok(S::Completed),
            (S::Active, A::Resume) | (S::Paused, A::Pause) | (S::Completed, A::Pause | A::Resume | A::Stop) => {
                Err(Refusal { entity: "A/B test", state: self.to_string(), action: action.to_string() })
            }
        }
    }
}

/// An A/B test as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct AbTest {
    /// Its id.
    pub id: AbTestId,
    /// A name for people.
    pub name: String,
    /// Control.
    pub model_a_id: ModelId,
    /// Treatment.
    pub model_b_id: ModelId,
    /// Share of units that arm B gets, 0 to 1.
    pub traffic_split: f64,
    /// Names of the outcomes to compare.
    pub success_metrics: Vec<String>,
    /// Where it stands.
    pub status: AbTestStatus,
    /// The better arm, once the result says so.
    pub winner: Option<Arm>,
    /// The latest result.
    #[ts(type = "unknown")]
    pub results: serde_json::Value,
    /// Number of changes so far.
    #[ts(type = "number")]
    pub revision: i64,
    /// When it began.
    #[ts(type = "number")]
    pub created_at_ms: i64,
    /// When it ended.
    #[ts(type = "number | null")]
    pub completed_at_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_action() {
        let mut table = String::new();
        for state in AbTestStatus::ALL {
            let row: Vec<String> =
                AbTestAction::ALL.iter().filter_map(|a| state.next(*a).ok().map(|s| format!("{a}→{s}"))).collect();
            table += &format!("{state}: {}\n", row.join(" "));
        }
        assert_eq!(table, "active: pause→paused stop→completed\npaused: resume→active stop→completed\ncompleted: \n");
    }
}
