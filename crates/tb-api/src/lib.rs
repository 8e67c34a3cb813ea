//! The one service layer: every face of the program (command line, window, server) calls [`commands::dispatch`].
//! Here are permissions, checks, transactions and the audit log; rows live in tb-db, processes in tb-jobs.

mod access;
pub mod commands;
mod ctx;
mod datasets;
mod doctor;
pub mod evaluation;
mod found;
mod jobs;
mod models;
mod on_done;
pub mod oneshot;
mod playground;
mod reports;
mod sample;
mod settings;
pub mod streams;
mod training;

pub use access::Actor;
pub use ctx::{Ctx, open};
pub use datasets::{ImportData, PreviewData, TokensOf};
pub use doctor::{Check, CheckState, DoctorReport};
pub use evaluation::StartEval;
pub use jobs::{ById, EventsAfter, JobCurves, ListJobs, MetricsOf, MoveJob};
pub use models::{ListModels, ModelPage};
pub use playground::{GenerateArgs, GenerateItem, Side};
pub use reports::{ChartFiles, WriteChart};
pub use sample::{BaselineReport, SAMPLE_SEED, SampleInstalled, pretrain_task, sample_recipe};
pub use training::StartJob;
