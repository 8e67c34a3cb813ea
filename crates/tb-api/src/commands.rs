//! The one command table: name, arguments, result, role, and what it makes stale.
//! The window's `rpc`, the server's `/rpc/{name}` and the command line each make one call to [`dispatch`].

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tb_core::{
    ApiError, ErrorCode,
    dataset::{Dataset, RowProblem},
    eval::Evaluation,
    event::Event,
    feedback::Feedback,
    job::Job,
    labelling::LabelProject,
    model::Model,
    run_folder::DeviceDescription,
    tag::Tag,
    user::{AccessToken, Role, Session, User},
};
use tb_db::audit::AuditLine;
use ts_rs::{Config, TS};

use crate::{
    AddUser, BaseModel, BaseProblems, BaseRemoved, BaseTemplate, BaselineReport, ById, ChartFiles, ClearSecret,
    CreateToken, CreatedToken, Ctx, DataRows, DataStats, DatasetDeleted, DoctorReport, EventsAfter, FormLimits,
    ImportData, InspectBase, JobCurves, JobEstimate, JobPage, ListAudit, ListJobs, ListModels, LogOf, LogPiece,
    MetricsOf, ModelPage, MoveJob, OfUser, PreviewData, RenameUser, RowsOf, SampleInstalled, SessionView, SetPassword,
    SetRole, SetSecret, SetSettings, StartEval, StartJob, StartSample, StatsOf, StatusView, StorageItem, TokensOf,
    UserView, WhoAmI, WriteChart,
    access::reach,
    bases,
    datasets::{self, Preview, Problems},
    doctor, estimate, evaluation,
    feedback::{
        self,
        report::{FeedbackReport, StatsOfFeedback},
        types::{
            CompareTexts, ComparedTexts, ExportFeedback, ExportedFeedback, FeedbackPage, ImportFeedback,
            ImportedFeedback, ListFeedback, SubmitFeedback, WithdrawFeedback, Withdrawn,
        },
    },
    jobs,
    labelling::{
        self,
        types::{
            AgreementReport, CreateProject, DecideItem, DoneItem, DoneItems, DraftLabels, Hand, ItemWithAnswers,
            ListItems, MarkItem, OfItem, OfProject, OwnAgreement, ProjectSummary, SubmitLabels, Submitted, TakeItems,
            UpdateProject,
        },
    },
    limits, models,
    preferences::{
        self,
        types::{BuildData, BuildPreview, Mark, Provenance, ProvenanceOf},
    },
    reports, sample, secrets,
    settings::{self, FieldInfo, SettingsView},
    status, training,
    users::{self, audit, sessions, tokens},
};

/// One entry of the table.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub help: &'static str,
    /// The least role that may run it.
    pub role: Role,
    /// What a view must read again after it; empty for a command that changes nothing that views keep.
    pub stale: &'static [Tag],
    /// Who writes the line in the audit log and the event.
    pub trace: Trace,
}

impl Command {
    /// Whether it writes anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        !self.stale.is_empty() || self.trace == Trace::Own
    }
}

/// Who tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The table: one line and one event after the command.
    Table,
    /// The command itself, in the transaction of its change: many of them share one commit, or nothing is to be told.
    Own,
}

macro_rules! trace {
    () => {
        Trace::Table
    };
    (own) => {
        Trace::Own
    };
}

/// Arguments of a command that needs none.
#[derive(Clone, Copy, Debug, Default, Serialize, serde::Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

macro_rules! commands {
    ($($(#[doc = $help:literal])+ $name:ident($args:ty) -> $out:ty, $role:ident, [$($tag:ident),*] $($own:ident)?, $handler:path;)+) => {
        /// Every command.
        pub const COMMANDS: &[Command] = &[$(Command {
            name: stringify!($name),
            help: concat!($($help),+),
            role: Role::$role,
            stale: &[$(Tag::$tag),*],
            trace: trace!($($own)?),
        }),+];

        /// Runs a command by name: checks the role, reads the arguments, does it, logs it, tells what became stale.
        ///
        /// # Errors
        /// Unknown names, arguments that do not fit, a role that does not suffice, and whatever the command itself refuses.
        pub async fn dispatch(ctx: &Ctx, name: &str, arguments: Value) -> Result<Value, ApiError> {
            match name {
                $(stringify!($name) => {
                    ctx.actor().require(Role::$role, name)?;
                    let args: $args = read(name, arguments)?;
                    // As the types write them, not as they came: a secret among them shows only that it is set.
                    let kept = write(&args)?;
                    reach::check(ctx, name, &kept).await?;
                    let out: $out = $handler(ctx, args).await?;
                    let out = write(&out)?;
                    match trace!($($own)?) {
                        Trace::Table => ctx.changed(name, kept, &out, &[$(Tag::$tag),*]).await?,
                        Trace::Own => {}
                    }
                    Ok(out)
                })+
                _ => Err(unknown("command", name, COMMANDS.iter().map(|c| c.name))),
            }
        }

        /// The table as TypeScript, for the front end's one typed client, and every type it names into `folder`.
        ///
        /// # Errors
        /// What the file system says.
        pub fn write_typescript(folder: &std::path::Path) -> Result<(), ts_rs::ExportError> {
            /// Names every type once, so that ts-rs writes each with all that it is made of.
            #[derive(TS)]
            #[allow(dead_code)]
            struct Everything {
                event: Event,
                $($name: ($args, $out)),+
            }
            let config = Config::new().with_out_dir(folder);
            Everything::export_all(&config)?;
            std::fs::remove_file(folder.join("Everything.ts"))?;
            let mut text = String::from("// Generated by `cargo xtask gen`; edits are lost.\n");
            let mut imports = std::collections::BTreeSet::new();
            let mut rows = String::new();
            $(
                let (args, out) = (<$args as TS>::name(&config), <$out as TS>::name(&config));
                for name in [&args, &out] {
                    let bare = name.trim_start_matches("Array<").trim_end_matches('>');
                    if bare.chars().next().is_some_and(char::is_uppercase) {
                        imports.insert(bare.to_owned());
                    }
                }
                let stale: &[Tag] = &[$(Tag::$tag),*];
                let stale: Vec<String> = stale.iter().map(|t| format!("\"{t}\"")).collect();
                rows += &format!("  /**{} */\n", concat!($($help),+));
                rows += &format!(
                    "  {}: {{ args: {args}; result: {out}; role: \"{}\"; stale: [{}] }};\n",
                    stringify!($name), Role::$role, stale.join(", "),
                );
            )+
            for name in imports {
                text += &format!("import type {{ {name} }} from \"./{name}\";\n");
            }
            text += &format!("\n/** Every command: its arguments, its result, the least role, and what it makes stale. */\nexport interface Commands {{\n{rows}}}\n");
            let roles: String = COMMANDS.iter().map(|c| format!("  {}: \"{}\",\n", c.name, c.role)).collect();
            text += &format!("\n/** The least role of every command. */\nexport const COMMAND_ROLES: {{ readonly [N in keyof Commands]: Commands[N][\"role\"] }} = {{\n{roles}}};\n");
            let path = folder.join("commands.ts");
            std::fs::write(path, text).map_err(ts_rs::ExportError::from)
        }
    };
}

commands! {
    /// Installs the built-in sample: its dataset and its base model.
    sample_install(Nothing) -> SampleInstalled, Trainer, [Datasets], sample::install;
    /// Installs the built-in sample and puts the demo's run on it into the queue.
    sample_start(StartSample) -> Job, Trainer, [Jobs, Datasets], sample::start;
    /// Measures the sample's two honest baselines: copying the source, and the nearest training row's target.
    sample_baselines(ById) -> BaselineReport, Viewer, [], sample::baselines;

    /// Reads the first rows of a file and finds its columns, without importing it.
    data_preview(PreviewData) -> Preview, Viewer, [], datasets::preview;
    /// Imports a file as a frozen dataset version.
    data_import(ImportData) -> Dataset, Trainer, [Datasets], datasets::import;
    /// Lists dataset versions, newest first.
    data_list(Nothing) -> Vec<Dataset>, Viewer, [], datasets::list;
    /// Shows one dataset version.
    data_get(ById) -> Dataset, Viewer, [], datasets::get;
    /// Gives rows of a split, a page at a time.
    data_rows(RowsOf) -> DataRows, Viewer, [], datasets::rows::rows;
    /// Counts what a dataset is made of: rows, characters, tokens of a model's tokenizer, lengths, languages.
    data_stats(StatsOf) -> DataStats, Viewer, [], datasets::stats::stats;
    /// Deletes a dataset version that no job uses.
    data_delete(ById) -> DatasetDeleted, Trainer, [Datasets], datasets::remove::remove;
    /// Lists the rows that an import left out, with line and reason.
    data_problems(Problems) -> Vec<RowProblem>, Viewer, [], datasets::problems;
    /// Shows a row's tokens and which of them carry loss.
    data_tokens(TokensOf) -> Vec<tb_data::tokenize::TokenView>, Viewer, [], datasets::tokens;

    /// Lists the base models on this machine, the most used first.
    base_list(Nothing) -> Vec<BaseModel>, Viewer, [], bases::list;
    /// Looks at the folder of a base model, or at a GGUF file, and says what it is, or what is wrong with it.
    base_inspect(InspectBase) -> BaseModel, Viewer, [], bases::inspect;
    /// Puts a folder or GGUF file outside the home folder on the list of base models; it stays where it is.
    base_add(InspectBase) -> BaseModel, Trainer, [Models], bases::keep::add;
    /// Deletes a downloaded base model, or takes one that was named by hand off the list.
    base_remove(InspectBase) -> BaseRemoved, Trainer, [Models], bases::keep::remove;
    /// Lists what cannot be used and why, and downloads that have not come to their end.
    base_problems(Nothing) -> BaseProblems, Viewer, [], bases::problems::list;
    /// Shows a base model's chat template and what it makes of a short conversation.
    base_template(InspectBase) -> BaseTemplate, Viewer, [], bases::template::get;

    /// Says what a training run would be: its steps, memory, time, and what is worth a second look.
    job_estimate(StartJob) -> JobEstimate, Viewer, [], estimate::job;
    /// Says what of a training form can be chosen with its base, device, data and other fields, and why not the rest.
    job_limits(StartJob) -> FormLimits, Viewer, [], limits::of_form;
    /// Puts a training run into the queue.
    job_start(StartJob) -> Job, Trainer, [Jobs], training::start;
    /// Lists jobs, newest first.
    job_list(ListJobs) -> Vec<Job>, Viewer, [], jobs::list;
    /// Shows one job.
    job_get(ById) -> Job, Viewer, [], jobs::get;
    /// Shows one job with its plan, checkpoints, samples and everything that happened.
    job_page(ById) -> JobPage, Viewer, [], jobs::page::get;
    /// Gives the end of a job's log, or a piece before it.
    job_log(LogOf) -> LogPiece, Viewer, [], jobs::log::get;
    /// Halts a job at a checkpoint.
    job_pause(ById) -> Job, Trainer, [Jobs], jobs::pause;
    /// Lets a paused, interrupted, stopped or failed job go on from its last checkpoint.
    job_resume(ById) -> Job, Trainer, [Jobs], jobs::resume;
    /// Ends a job and keeps what it has learned.
    job_stop(ById) -> Job, Trainer, [Jobs], jobs::stop;
    /// Moves a job in the queue.
    job_move(MoveJob) -> Job, Trainer, [Jobs], jobs::move_in_queue;
    /// Has a running job evaluate now.
    job_evaluate_now(ById) -> Job, Trainer, [], jobs::evaluate_now;
    /// Has a running job write a checkpoint now.
    job_checkpoint_now(ById) -> Job, Trainer, [], jobs::checkpoint_now;
    /// Gives the points of a job's curves.
    job_metrics(MetricsOf) -> JobCurves, Viewer, [], jobs::metrics;
    /// Draws a job's loss as PNG and SVG into its run folder.
    job_chart(WriteChart) -> ChartFiles, Viewer, [], reports::chart;
    /// Gives the stored events after a number.
    events_after(EventsAfter) -> Vec<Event>, Viewer, [], jobs::events_after;

    /// Lists model versions, newest first.
    model_list(ListModels) -> Vec<Model>, Viewer, [], models::list;
    /// Shows one model version with its evaluations and its card.
    model_get(ById) -> ModelPage, Viewer, [], models::get;
    /// Moves a draft to staging.
    model_stage(ById) -> Model, Trainer, [Models], models::stage;
    /// Puts a version out of use.
    model_archive(ById) -> Model, Trainer, [Models], models::archive;
    /// Takes a version out of the archive.
    model_restore(ById) -> Model, Trainer, [Models], models::restore;

    /// Puts an evaluation into the queue.
    eval_start(StartEval) -> Job, Trainer, [Jobs], evaluation::start;
    /// Lists evaluations, newest first.
    eval_list(Nothing) -> Vec<Evaluation>, Viewer, [], evaluation::list;

    /// Stores what a person says of an answer; sent again under the same key it is stored once.
    feedback_submit(SubmitFeedback) -> Feedback, Reviewer, [Feedback] own, feedback::submit;
    /// Lists feedback rows, newest first.
    feedback_list(ListFeedback) -> Vec<Feedback>, Reviewer, [], feedback::list;
    /// Shows one feedback row, what changed in its texts, and what learned from it.
    feedback_get(ById) -> FeedbackPage, Reviewer, [], feedback::get;
    /// Gives distributions, means with intervals and trends of the feedback that counts.
    feedback_stats(StatsOfFeedback) -> FeedbackReport, Viewer, [], feedback::report::get;
    /// Takes a feedback row back, and tells which dataset versions and models learned from it.
    feedback_withdraw(WithdrawFeedback) -> Withdrawn, Reviewer, [Feedback, Datasets, Models] own, feedback::withdraw;
    /// Imports feedback rows from a jsonl or csv file; every row that cannot be used is named.
    feedback_import(ImportFeedback) -> ImportedFeedback, Trainer, [Feedback], feedback::transfer::import;
    /// Writes feedback rows to a jsonl or csv file.
    feedback_export(ExportFeedback) -> ExportedFeedback, Trainer, [], feedback::transfer::export;

    /// Compares two texts word by word.
    text_diff(CompareTexts) -> ComparedTexts, Viewer, [], feedback::compare;

    /// Makes a labelling project: what is to be judged, by how many, with which questions.
    label_project_create(CreateProject) -> LabelProject, Trainer, [Feedback], labelling::projects::create;
    /// Lists labelling projects, newest first, with the own progress in each.
    label_project_list(Nothing) -> Vec<ProjectSummary>, Reviewer, [], labelling::projects::list;
    /// Shows one labelling project.
    label_project_get(ById) -> ProjectSummary, Reviewer, [], labelling::projects::get;
    /// Changes a labelling project's name, guidelines, reviewers per item or state.
    label_project_update(UpdateProject) -> LabelProject, Trainer, [Feedback], labelling::projects::update;
    /// Gives the items to judge next, and holds them for the reviewer.
    label_take(TakeItems) -> Hand, Reviewer, [] own, labelling::queue::take;
    /// Keeps what a reviewer has answered so far.
    label_draft(DraftLabels) -> Nothing, Reviewer, [] own, labelling::queue::draft;
    /// Stores a reviewer's answers as feedback, and gives the items to judge next.
    label_submit(SubmitLabels) -> Submitted, Reviewer, [Feedback] own, labelling::queue::submit;
    /// Passes an item on to other reviewers.
    label_skip(MarkItem) -> Hand, Reviewer, [] own, labelling::queue::skip;
    /// Flags an item: something is wrong with the item itself.
    label_flag(MarkItem) -> Nothing, Reviewer, [] own, labelling::queue::flag;
    /// Takes the reviewer's last submission back into their hand.
    label_undo(OfProject) -> Hand, Reviewer, [Feedback] own, labelling::queue::undo;
    /// Lists what the reviewer has judged, the last first.
    label_done(DoneItems) -> Vec<DoneItem>, Reviewer, [], labelling::queue::done;
    /// Tells how far the reviewer agrees with the others.
    label_own_agreement(OfProject) -> OwnAgreement, Reviewer, [], labelling::agreement::own;
    /// Tells how far reviewers agree, question by question and reviewer by reviewer.
    label_agreement(OfProject) -> AgreementReport, Trainer, [], labelling::agreement::get;
    /// Lists items of a project with what every reviewer said.
    label_items(ListItems) -> Vec<ItemWithAnswers>, Trainer, [], labelling::decide::items;
    /// Decides what is right where reviewers disagree.
    label_adjudicate(DecideItem) -> ItemWithAnswers, Trainer, [Feedback], labelling::decide::adjudicate;
    /// Takes every reviewer's flag off an item that was looked into; their notes stay.
    label_clear_flags(OfItem) -> ItemWithAnswers, Trainer, [Feedback], labelling::decide::clear_flags;
    /// Says what is right for an item that measures reviewers.
    label_gold(DecideItem) -> ItemWithAnswers, Trainer, [Feedback], labelling::decide::gold;

    /// Tells what training data feedback would make, and what would be left out and why.
    preference_preview(BuildData) -> BuildPreview, Viewer, [], preferences::preview;
    /// Makes a frozen dataset version of feedback, whose every row names its feedback rows.
    preference_build(BuildData) -> Dataset, Trainer, [Datasets], preferences::build;
    /// Tells which feedback a dataset version or a model learned from.
    provenance(ProvenanceOf) -> Provenance, Viewer, [], preferences::provenance::get;
    /// Lists dataset versions and models that learned from rows which were withdrawn since.
    provenance_marks(Nothing) -> Vec<Mark>, Viewer, [], preferences::provenance::marks;

    /// Gives the state of this machine and of the queue, for a status bar.
    status(Nothing) -> StatusView, Viewer, [], status::get;
    /// Tells what fills the disk.
    storage(Nothing) -> Vec<StorageItem>, Viewer, [], status::storage;
    /// Gives every setting that is in force; secrets only as set or not.
    settings_get(Nothing) -> SettingsView, Admin, [], settings::get;
    /// Changes settings in settings.toml; new runs take them at once.
    settings_set(SetSettings) -> SettingsView, Admin, [Settings], settings::set;
    /// Keeps a secret in the system's keyring, or in a file that only you may read.
    secret_set(SetSecret) -> SettingsView, Admin, [Settings], secrets::set;
    /// Forgets a secret.
    secret_clear(ClearSecret) -> SettingsView, Admin, [Settings], secrets::clear;
    /// Gives the fields of a training form with their defaults and ranges.
    training_fields(Nothing) -> Vec<FieldInfo>, Viewer, [], settings::training_fields;
    /// Lists the devices of every worker.
    devices(Nothing) -> Vec<DeviceDescription>, Viewer, [], doctor::devices;
    /// Checks this installation.
    doctor(Nothing) -> DoctorReport, Viewer, [], doctor::run;

    /// Says who asks, and what they may do.
    whoami(Nothing) -> WhoAmI, Viewer, [], users::whoami;
    /// Lists the users of this server.
    user_list(Nothing) -> Vec<UserView>, Admin, [], users::list;
    /// Adds a user, with or without a password.
    user_add(AddUser) -> User, Admin, [Users], users::add;
    /// Gives a user another name; what they did and hold stays theirs.
    user_rename(RenameUser) -> User, Admin, [Users], users::rename;
    /// Gives a user another role; it counts at once.
    user_set_role(SetRole) -> User, Admin, [Users], users::set_role;
    /// Gives a user a new password and signs their browsers out; one's own needs the present one, others' an admin.
    user_set_password(SetPassword) -> User, Viewer, [Users], users::set_password;
    /// Shuts a user out: their sessions and tokens end at once.
    user_disable(ById) -> User, Admin, [Users], users::disable;
    /// Lets a user who was shut out sign in again.
    user_enable(ById) -> User, Admin, [Users], users::enable;
    /// Makes an access token for scripts, one's own or, for an admin, anybody's; it is shown this once.
    token_create(CreateToken) -> CreatedToken, Viewer, [Users], tokens::create;
    /// Lists access tokens: one's own, or for an admin anybody's.
    token_list(OfUser) -> Vec<AccessToken>, Viewer, [], tokens::list;
    /// Ends an access token.
    token_revoke(ById) -> AccessToken, Viewer, [Users], tokens::revoke;
    /// Lists the browsers in which one is signed in, or for an admin anybody.
    session_list(OfUser) -> Vec<SessionView>, Viewer, [], sessions::list;
    /// Signs a browser out.
    session_revoke(ById) -> Session, Viewer, [Users], sessions::revoke;
    /// Tells who changed what, newest first, a page at a time.
    audit_list(ListAudit) -> Vec<AuditLine>, Admin, [], audit::list;
}

pub(crate) fn read<T: DeserializeOwned>(name: &str, arguments: Value) -> Result<T, ApiError> {
    let arguments = if arguments.is_null() { Value::Object(serde_json::Map::new()) } else { arguments };
    serde_json::from_value(arguments).map_err(|e| {
        ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was done: the arguments of {name} do not fit: {e}."))
    })
}

pub(crate) fn write<T: Serialize>(out: &T) -> Result<Value, ApiError> {
    serde_json::to_value(out)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("The result cannot be sent: {e}.")))
}

/// The error for a name that a table does not have; it names the nearest one that it has.
pub(crate) fn unknown(kind: &str, name: &str, known: impl Iterator<Item = &'static str>) -> ApiError {
    let nearest = known
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)))
        .unwrap_or_default();
    ApiError::new(ErrorCode::NotFound, format!("There is no {kind} '{name}'; did you mean '{nearest}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_change_says_what_is_stale() {
        for (i, command) in COMMANDS.iter().enumerate() {
            assert!(!COMMANDS[..i].iter().any(|c| c.name == command.name), "{} twice", command.name);
            // What a user changes of their own account asks for no role: the handlers ask for an admin where it is another's.
            let own = ["user_set_password", "token_create", "token_revoke", "session_revoke"].contains(&command.name);
            let judges = !command.changes() || command.role >= Role::Reviewer || own;
            assert!(judges, "{} changes things", command.name);
        }
    }
}
