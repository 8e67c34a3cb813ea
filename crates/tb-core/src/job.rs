//! A job: one piece of work for a worker process, and the machine of its states.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    error::Refusal,
    ids::{DatasetId, JobId, ModelId},
    recipe::Hyperparameters,
    text_enum::text_enum,
};

text_enum! {
    /// What a job does.
    JobKind, "kind of job" {
        /// Trains weights.
        Train = "train",
        /// Measures a model on held-out rows.
        Evaluate = "evaluate",
    }
}

text_enum! {
    /// Where a job stands. `paused`, `stopped` and `interrupted` are the workbench's additions to the service's four.
    JobStatus, "job status" {
        /// In the queue.
        Pending = "pending",
        /// A worker holds it.
        Running = "running",
        /// Halted by the user at a checkpoint; holds no device.
        Paused = "paused",
        /// Ended by the user; what it had learned is kept.
        Stopped = "stopped",
        /// Its worker died; it can go on from the last checkpoint.
        Interrupted = "interrupted",
        /// Ended well.
        Completed = "completed",
        /// Ended with an error.
        Failed = "failed",
    }
}

text_enum! {
    /// What can happen to a job.
    JobAction, "job action" {
        /// The queue gives it a device and a worker.
        Start = "start",
        /// The worker has written a checkpoint and left because the user paused it.
        Pause = "pause",
        /// The user lets it go on.
        Resume = "resume",
        /// It ended because the user stopped it.
        Stop = "stop",
        /// The worker finished.
        Complete = "complete",
        /// The worker reported an error.
        Fail = "fail",
        /// The worker is gone without a last word.
        Lose = "lose",
    }
}

impl JobStatus {
    /// The state after `action`.
    ///
    /// # Errors
    /// A [`Refusal`] if a job in this state does not allow the action.
    pub fn next(self, action: JobAction) -> Result<Self, Refusal> {
        use JobAction as A;
        use JobStatus as S;
        let refused = || Refusal { entity: "job", state: self.to_string(), action: action.to_string() };
        match (self, action) {
            (S::Pending, A::Start) => Ok(S::Running),
            (S::Pending, A::Pause) => Ok(S::Paused),
            (S::Pending | S::Running | S::Paused | S::Interrupted, A::Stop) => Ok(S::Stopped),
            (S::Pending | S::Running, A::Fail) => Ok(S::Failed),
            (S::Running, A::Pause) => Ok(S::Paused),
            (S::Running, A::Complete) => Ok(S::Completed),
            (S::Running, A::Lose) => Ok(S::Interrupted),
            // A failed or stopped run may go on as well: its last checkpoint is whole.
            (S::Paused | S::Interrupted | S::Failed | S::Stopped, A::Resume) => Ok(S::Pending),
            (S::Pending, A::Resume | A::Complete | A::Lose)
            | (S::Running, A::Start | A::Resume)
            | (S::Paused, A::Start | A::Pause | A::Complete | A::Fail | A::Lose)
            | (S::Interrupted, A::Start | A::Pause | A::Complete | A::Fail | A::Lose)
            | (S::Stopped, A::Start | A::Pause | A::Stop | A::Complete | A::Fail | A::Lose)
            | (S::Failed, A::Start | A::Pause | A::Stop | A::Complete | A::Fail | A::Lose)
            | (S::Completed, A::Start | A::Pause | A::Resume | A::Stop | A::Complete | A::Fail | A::Lose) => {
                Err(refused())
            }
        }
    }

    /// Whether nothing more happens unless the user asks.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Paused | Self::Stopped | Self::Interrupted | Self::Completed | Self::Failed => true,
        }
    }
}

/// A job as it is stored and shown (the service's `training_jobs`, for every kind of job).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Job {
    /// Its id, which also names its run folder.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// A name for people.
    pub name: String,
    /// The kind of rewriting it teaches, such as `tone_adjustment` or `structure`.
    pub model_type: String,
    /// Folder of the base model.
    pub base_model: String,
    /// The dataset version it reads; none if it reads plain files.
    pub dataset_id: Option<DatasetId>,
    /// The model an evaluation measures, or the one a training continues from.
    pub model_id: Option<ModelId>,
    /// Where it stands.
    pub status: JobStatus,
    /// The run spec, as written to the run folder.
    #[ts(type = "unknown")]
    pub config: serde_json::Value,
    /// The hyperparameters; the defaults for jobs that train nothing.
    pub hyperparameters: Hyperparameters,
    /// Share done, 0 to 1.
    pub progress: f64,
    /// The latest figures by name.
    #[ts(type = "Record<string, number>")]
    pub metrics: serde_json::Map<String, serde_json::Value>,
    /// Why it failed or was interrupted, in words for the user.
    pub error_message: Option<String>,
    /// The device it is leased to, such as `cpu` or `cuda:0`.
    pub device: Option<String>,
    /// Its run folder.
    pub run_dir: String,
    /// Place in the queue; lower runs first.
    #[ts(type = "number")]
    pub queue_rank: i64,
    /// Number of changes so far: an update names the one it saw.
    #[ts(type = "number")]
    pub version: i64,
    /// When it was created, milliseconds since 1970 UTC.
    #[ts(type = "number")]
    pub created_at_ms: i64,
    /// When a worker first took it.
    #[ts(type = "number | null")]
    pub started_at_ms: Option<i64>,
    /// When it came to rest.
    #[ts(type = "number | null")]
    pub completed_at_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every (state, action), written out: a change of the table must change this text.
    #[test]
    fn every_state_and_action() {
        let mut table = String::new();
        for state in JobStatus::ALL {
            let row: Vec<String> =
                JobAction::ALL.iter().filter_map(|a| state.next(*a).ok().map(|s| format!("{a}→{s}"))).collect();
            table += &format!("{state}: {}\n", row.join(" "));
        }
        assert_eq!(
            table,
            "pending: start→running pause→paused stop→stopped fail→failed\n\
             running: pause→paused stop→stopped complete→completed fail→failed lose→interrupted\n\
             paused: resume→pending stop→stopped\n\
             stopped: resume→pending\n\
             interrupted: resume→pending stop→stopped\n\
             completed: \n\
             failed: resume→pending\n"
        );
    }
}
