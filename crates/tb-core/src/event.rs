//! What changed: one stored, numbered stream that every window, browser and script follows with `after_seq`.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    deploy::Deployment,
    experiment::AbTest,
    ids::JobId,
    job::Job,
    run_folder::{EvalPoint, RunEvent, StepPoint},
    tag::Tag,
};

/// A stored event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Event {
    /// Its number: grows by 1.
    #[ts(type = "number")]
    pub seq: i64,
    /// When, milliseconds since 1970 UTC.
    #[ts(type = "number")]
    pub at_ms: i64,
    /// What.
    pub body: EventBody,
}

/// What can change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    /// A job is new or changed.
    Job {
        /// The job after the change.
        job: Box<Job>,
    },
    /// New points of a job's training curves.
    Points {
        /// The job.
        job_id: JobId,
        /// The points, in order of steps.
        points: Vec<StepPoint>,
    },
    /// A new evaluation loss.
    EvalPoint {
        /// The job.
        job_id: JobId,
        /// The point.
        point: EvalPoint,
    },
    /// Anything else a worker reported (plan, certificate, checkpoint, note, answer, result).
    Run {
        /// The job.
        job_id: JobId,
        /// The worker's line.
        event: Box<RunEvent>,
    },
    /// A deployment changed.
    Deployment {
        /// The deployment after the change.
        deployment: Box<Deployment>,
    },
    /// An A/B test changed.
    Experiment {
        /// The test after the change.
        test: Box<AbTest>,
    },
    /// What was read under these tags is out of date.
    Stale {
        /// The tags.
        tags: Vec<Tag>,
    },
}
