//! The one service layer: every face of the program (command line, window, server) calls [`commands::dispatch`].
//! Here are permissions, checks, transactions and the audit log; rows live in tb-db, processes in tb-jobs.

mod access;
mod bases;
pub mod commands;
mod ctx;
mod datasets;
mod doctor;
mod estimate;
pub mod evaluation;
mod exports;
mod feedback;
mod found;
pub mod home;
mod hub;
mod jobs;
mod labelling;
mod limits;
mod models;
mod on_done;
pub mod oneshot;
mod people;
mod playground;
mod preferences;
mod reports;
mod sample;
mod secrets;
mod settings;
mod status;
pub mod streams;
mod training;
mod users;

pub use access::{
    Actor, Credential,
    identities::{BELIEVED, Identity},
    passwords::PasswordCost,
    shown::{is_session, is_user_token},
    sign_in::{SESSION_MS, SignIn, SignedIn, sign_in, sign_out},
};
pub use bases::{
    BaseModel, BaseModule, BaseSource, HubPlace, InspectBase,
    keep::BaseRemoved,
    problems::{BaseProblem, BaseProblems, UnfinishedDownload},
    template::BaseTemplate,
};
pub use ctx::{Ctx, open, open_with_cost};
pub use datasets::{
    ImportData, PreviewData, TokensOf,
    remove::DatasetDeleted,
    rows::{DataRows, RowsOf},
    stats::{DataStats, StatsOf},
};
pub use doctor::{Check, CheckState, DoctorReport};
pub use estimate::JobEstimate;
pub use evaluation::StartEval;
pub use exports::{ExportItem, ExportModel, ExportStage, certificate};
pub use hub::{DownloadItem, DownloadModel, DownloadedModel, OfferedFile};
pub use jobs::{
    ById, EventsAfter, JobCurves, ListJobs, MetricsOf, MoveJob,
    log::{LogOf, LogPiece},
    page::JobPage,
};
pub use limits::{FieldLimit, FormLimits, Limit};
pub use models::{ListModels, ModelPage};
pub use playground::{GenerateArgs, GenerateItem, Side};
pub use reports::{ChartFiles, WriteChart};
pub use sample::{BaselineReport, SAMPLE_SEED, SampleInstalled, StartSample, pretrain_task, sample_recipe};
pub use secrets::{ClearSecret, SecretState, SetSecret, Vault};
pub use settings::{Origin, SetSettings};
pub use status::{StatusView, StorageItem};
pub use tb_data::import::moment;
pub use training::StartJob;
pub use users::{
    AddUser, OfUser, RenameUser, SetPassword, SetRole, UserView, WhoAmI,
    audit::ListAudit,
    sessions::SessionView,
    tokens::{CreateToken, CreatedToken},
};
