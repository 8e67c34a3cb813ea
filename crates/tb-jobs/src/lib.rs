//! Jobs: the queue, one job per device, worker processes, what they report, and the stream of events. No SQL (tb-db), no
//! files' formats (tb-data), no permissions and no registry of models (tb-api).
//!
//! The trip of a job: `queue` stores it and writes its run folder; `supervisor` (in the process that holds `host.lock`)
//! leases the device and starts the worker with `process`; `follow` reads its lines and notices its end; `ingest` stores
//! them in groups; `bus` gives them to every subscriber. `control` is what the user can ask meanwhile.

mod bus;
pub mod clock;
mod control;
mod core;
pub mod error;
mod follow;
pub mod hook;
pub mod host_lock;
mod ingest;
mod jobs;
pub mod lease;
pub mod process;
mod queue;
mod supervisor;
pub mod workers;

pub use bus::Subscription;
pub use clock::{Clock, SystemClock};
pub use error::{Error, Result};
pub use hook::{HookFuture, NoHook, OnDone};
pub use ingest::tells_story;
pub use jobs::{Hosting, Jobs};
pub use queue::{NewJob, RUNS};
pub use workers::WorkerBinary;
