//! The run folder: the contract between host and worker, as types. Reading and writing live in tb-data (files) and tb-worker.
//!
//! ```text
//! runs/<job id>/  spec.json      what to do; written by the host once
//!                 events.jsonl   what happened: numbered lines; only the worker appends
//!                 control.json   what the host wants now; the worker looks every step
//!                 lock           held by the live worker (an OS file lock), with its pid and host name
//!                 checkpoints/step-000400/…  manifest.json last (sizes, SHA-256, step, RNG, cursor)
//!                 adapter/       the result, in PEFT's files
//!                 worker.log
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    dataset::{ColumnMapping, RowProblem},
    error::{ApiError, ErrorCode},
    eval::EvalReport,
    recipe::{Hyperparameters, Method},
    text_enum::text_enum,
};

/// File names inside a run folder.
pub mod names {
    /// What to do.
    pub const SPEC: &str = "spec.json";
    /// What happened.
    pub const EVENTS: &str = "events.jsonl";
    /// What the host wants now.
    pub const CONTROL: &str = "control.json";
    /// Held by the live worker.
    pub const LOCK: &str = "lock";
    /// Folder of checkpoints.
    pub const CHECKPOINTS: &str = "checkpoints";
    /// Last file of a whole checkpoint.
    pub const MANIFEST: &str = "manifest.json";
    /// Folder of the resulting adapter (or, of pretraining, `model`).
    pub const ADAPTER: &str = "adapter";
    /// Folder of a model whose every weight was trained.
    pub const MODEL: &str = "model";
    /// What the worker prints for developers.
    pub const LOG: &str = "worker.log";
}

/// The version of this contract; a worker refuses a spec of another.
pub const SCHEMA: u32 = 1;

/// `spec.json`: what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct RunSpec {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The job's id, or a name for a run without a host's database.
    pub run_id: String,
    /// The device to use: `cpu` or `cuda:0`.
    pub device: String,
    /// The work.
    pub task: Task,
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Trains an adapter, or all weights.
    Train(Box<TrainTask>),
    /// Generates on held-out rows and measures.
    Evaluate(EvaluateTask),
    /// Writes per-token log-probabilities of completions.
    Score(ScoreTask),
    /// Generates from prompts.
    Generate(GenerateTask),
    /// Writes a model in another form.
    Export(ExportTask),
}

/// A base model, and an adapter on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ModelSource {
    /// Folder with config.json, safetensors and tokenizer.json, or a GGUF file.
    #[ts(type = "string")]
    pub base: PathBuf,
    /// Folder with adapter_config.json and adapter_model.safetensors.
    #[ts(type = "string | null")]
    pub adapter: Option<PathBuf>,
}

/// A data file and how to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DataSource {
    /// A json, jsonl, csv or parquet file.
    #[ts(type = "string")]
    pub path: PathBuf,
    /// Which column is what; found from the first rows if none.
    pub mapping: Option<ColumnMapping>,
}

/// Training: method, data and hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct TrainTask {
    /// How to teach.
    pub method: Method,
    /// What to start from. With an adapter, training continues from it. Of pretraining, the folder holds config.json and the tokenizer only.
    pub model: ModelSource,
    /// Rows to learn.
    pub data: DataSource,
    /// Held-out rows for the evaluation loss; none evaluates nothing.
    pub eval_data: Option<DataSource>,
    /// The numbers.
    pub hyperparameters: Hyperparameters,
}

/// Evaluation of one model on held-out rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct EvaluateTask {
    /// The model to measure.
    pub model: ModelSource,
    /// Held-out rows: prompt and completion.
    pub data: DataSource,
    /// Metrics by name (`chrf`, `bleu`, `rouge_l`, `exact_match`, `edit`, `slot_accuracy`, `perplexity`); empty takes all that the rows allow.
    pub metrics: Vec<String>,
    /// Rows to measure at most; 0 takes all.
    pub limit: u32,
    /// How to decode.
    pub decoding: Decoding,
    /// Rows generated at once.
    pub batch_size: u32,
    /// Numbers of the base weights.
    pub dtype: crate::recipe::Dtype,
    /// Write every row's answer and its metrics to `items.jsonl` in the run folder.
    pub keep_items: KeepItems,
}

text_enum! {
    /// Whether an evaluation keeps what it saw.
    KeepItems, "choice" {
        /// Yes.
        Yes = "yes",
        /// No.
        No = "no",
    }
}

/// How to choose the next token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(default)]
pub struct Decoding {
    /// Longest answer in tokens.
    pub max_new_tokens: u32,
    /// 0 takes the likeliest token; higher draws more freely.
    pub temperature: f64,
    /// Draw from the likeliest tokens that together have this probability; 1 draws from all.
    pub top_p: f64,
    /// Draw from so many likeliest tokens; 0 draws from all.
    pub top_k: u32,
    /// Seed of the draws.
    #[ts(type = "number")]
    pub seed: u64,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { max_new_tokens: 256, temperature: 0.0, top_p: 1.0, top_k: 0, seed: 42 }
    }
}

/// Log-probabilities of the completions in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ScoreTask {
    /// The model.
    pub model: ModelSource,
    /// Rows with prompt and completion.
    pub data: DataSource,
    /// The jsonl file to write: one line a row with `tokens`, `token_ids`, `logprobs`, `sum`, `mean`.
    #[ts(type = "string")]
    pub out: PathBuf,
    /// Longest row in tokens.
    pub max_length: u32,
    /// Rows computed at once.
    pub batch_size: u32,
    /// Numbers of the base weights.
    pub dtype: crate::recipe::Dtype,
}

/// Generation from prompts; the answers come as [`RunEventBody::Generated`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct GenerateTask {
    /// The model.
    pub model: ModelSource,
    /// The prompts.
    pub prompts: Vec<String>,
    /// Whether each prompt is a user's message to be put through the chat template.
    pub framing: Framing,
    /// How to decode.
    pub decoding: Decoding,
    /// Numbers of the base weights.
    pub dtype: crate::recipe::Dtype,
}

text_enum! {
    /// How a prompt reaches the model.
    Framing, "framing" {
        /// As it is.
        Plain = "plain",
        /// As a user's message in the model's chat template.
        Chat = "chat",
    }
}

/// A model in another form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ExportTask {
    /// The base and its adapter.
    pub model: ModelSource,
    /// The form.
    pub format: ExportFormat,
    /// Folder to write.
    #[ts(type = "string")]
    pub out: PathBuf,
    /// Rows on which the written model is compared with the original; none takes texts of this program.
    #[serde(default)]
    pub sample: Option<DataSource>,
    /// Largest weight file of a merged model, in bytes; more go into several files.
    #[serde(default)]
    #[ts(type = "number | null")]
    pub shard_bytes: Option<u64>,
    /// What the model is called inside a GGUF file; none takes the base's name.
    #[serde(default)]
    pub name: Option<String>,
}

text_enum! {
    /// Forms in which a tuned model leaves the workbench.
    ExportFormat, "export format" {
        /// PEFT's adapter files.
        Peft = "peft",
        /// The base with the adapter merged in, as safetensors.
        Merged = "merged",
        /// The same as one GGUF file for llama.cpp, in f16.
        GgufF16 = "gguf_f16",
        /// The same in blocks of 8 bits.
        GgufQ8_0 = "gguf_q8_0",
        /// The same in llama.cpp's mixture of 4 and 6 bits.
        GgufQ4KM = "gguf_q4_k_m",
    }
}

text_enum! {
    /// What the host wants of a running worker.
    Want, "wish" {
        /// Go on.
        Run = "run",
        /// Write a checkpoint and leave; the run goes on later.
        Pause = "pause",
        /// Write the result so far and leave.
        Stop = "stop",
    }
}

/// `control.json`: what the host wants now. Replaced whole, never edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default)]
pub struct Control {
    /// The wish.
    pub want: Want,
    /// Grows with each wish for an evaluation or a checkpoint now; the worker acts once on each new number.
    pub evaluate_now: u32,
    /// Grows with each wish for a checkpoint now.
    pub checkpoint_now: u32,
}

impl Default for Control {
    fn default() -> Self {
        Self { want: Want::Run, evaluate_now: 0, checkpoint_now: 0 }
    }
}

/// What the lock file says about its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LockHolder {
    /// Process id.
    pub pid: u32,
    /// Name of its machine.
    pub host: String,
    /// When the lock was taken.
    #[ts(type = "number")]
    pub at_ms: i64,
}

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct RunEvent {
    /// Line number from 1; grows by 1 without a gap, also over a resume.
    #[ts(type = "number")]
    pub n: u64,
    /// When, milliseconds since 1970 UTC.
    #[ts(type = "number")]
    pub at_ms: i64,
    /// What.
    #[serde(flatten)]
    pub body: RunEventBody,
}

/// What a worker reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunEventBody {
    /// A worker took the run.
    Started {
        /// Its process.
        pid: u32,
        /// Its machine.
        host: String,
        /// Its version.
        worker_version: String,
        /// The device it uses.
        device: String,
        /// The step it goes on from; none for a fresh start.
        #[ts(type = "number | null")]
        resumed_from_step: Option<u64>,
    },
    /// What is going to happen.
    Plan(Plan),
    /// The gradient certificate held.
    Certificate(Certificate),
    /// An optimiser step.
    Step(StepPoint),
    /// An evaluation loss during training.
    Eval(EvalPoint),
    /// A checkpoint is whole on disk.
    Checkpoint {
        /// After this step.
        #[ts(type = "number")]
        step: u64,
        /// Its folder, relative to the run folder.
        path: String,
        /// Its size.
        #[ts(type = "number")]
        size_bytes: u64,
        /// Whether it has the lowest evaluation loss so far.
        is_best: bool,
    },
    /// A checkpoint was deleted to keep within the limit.
    CheckpointDeleted {
        /// Of this step.
        #[ts(type = "number")]
        step: u64,
    },
    /// Rows of the data that cannot be used.
    Problems {
        /// The file.
        path: String,
        /// How many rows are left out.
        #[ts(type = "number")]
        count: u64,
        /// The first of them.
        problems: Vec<RowProblem>,
    },
    /// How far a job without steps has come.
    Progress {
        /// Rows done.
        #[ts(type = "number")]
        done: u64,
        /// Rows in all.
        #[ts(type = "number")]
        total: u64,
    },
    /// One answer of a generation.
    Generated {
        /// Index of the prompt.
        index: u32,
        /// The answer.
        text: String,
        /// Tokens of the answer.
        tokens: u32,
        /// Why it ended: `eos`, `length` or `stopped`.
        finish: String,
    },
    /// What the model writes for a held-out row at this point of the training.
    Sample(Sample),
    /// Something the user should know while the run goes on.
    Note {
        /// How much it matters.
        level: Level,
        /// What.
        message: String,
    },
    /// Trouble that the run deals with by itself; it goes on.
    Incident(Incident),
    /// The worker leaves and the run can go on later: after a checkpoint because the host wants it, or from the last one because of
    /// trouble that only the user can end.
    Paused {
        /// After this step: that of the newest checkpoint, 0 if there is none.
        #[ts(type = "number")]
        step: u64,
        /// What has to be dealt with first, such as a full disk; none if the host wanted the pause.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<ApiError>,
    },
    /// The result of an evaluation.
    Evaluated(Box<EvalReport>),
    /// The work is done and its result whole on disk.
    Done(Done),
    /// The work ended with an error.
    Failed {
        /// What programs act on.
        code: ErrorCode,
        /// What happened and what was kept.
        message: String,
        /// What to do next.
        hint: String,
    },
}

/// Trouble in a run that it deals with by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Incident {
    /// In this step; 0 before the first.
    #[ts(type = "number")]
    pub step: u64,
    /// What kind.
    pub kind: IncidentKind,
    /// What happened, and what the run does about it.
    pub message: String,
    /// How steps are cut into micro-batches from this step on, where that changed. A resumed run keeps to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<MicroBatches>,
}

/// How a step is cut into micro-batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MicroBatches {
    /// Rows computed at once.
    pub per_device_train_batch_size: u32,
    /// Micro-batches whose gradients make one step.
    pub gradient_accumulation_steps: u32,
}

text_enum! {
    /// What trouble a run met.
    IncidentKind, "kind of incident" {
        /// Memory ran out: the micro-batch was halved and the accumulation doubled.
        OutOfMemory = "out_of_memory",
        /// A loss or gradient was not finite: the step was skipped.
        NotFinite = "not_finite",
    }
}

text_enum! {
    /// How much a note matters.
    Level, "level" {
        /// For the record.
        Info = "info",
        /// Worth a look.
        Warn = "warn",
    }
}

/// What a training run is going to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Plan {
    /// Optimiser steps in all.
    #[ts(type = "number")]
    pub total_steps: u64,
    /// Rows to learn from.
    #[ts(type = "number")]
    pub rows: u64,
    /// Rows held out.
    #[ts(type = "number")]
    pub eval_rows: u64,
    /// Rows cut at `max_length`.
    #[ts(type = "number")]
    pub cut_rows: u64,
    /// Tokens that carry loss, in one pass.
    #[ts(type = "number")]
    pub supervised_tokens: u64,
    /// Tokens in one pass.
    #[ts(type = "number")]
    pub tokens: u64,
    /// Weights that learn.
    #[ts(type = "number")]
    pub trainable_parameters: u64,
    /// Weights in all.
    #[ts(type = "number")]
    pub total_parameters: u64,
    /// Hash of canonical spec, data, base and code version: the same identity gives the same adapter bytes on one device.
    pub identity: String,
    /// SHA-256 over the base model's weight files.
    pub base_sha256: String,
    /// SHA-256 of the training file.
    pub data_sha256: String,
}

/// Proof before step 1 that every trainable tensor learns and no frozen one does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Certificate {
    /// Trainable tensors with a finite, non-zero gradient at the first step.
    pub with_gradient: u32,
    /// Trainable tensors whose gradient is 0 at the first step as it must be (LoRA's A while B is 0).
    pub zero_as_expected: u32,
    /// Those that received a gradient after one trial step.
    pub after_one_step: u32,
    /// Frozen tensors that received a gradient: always 0, or the run is refused.
    pub frozen_with_gradient: u32,
}

/// One point of the training curves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct StepPoint {
    /// Steps finished, from 1.
    #[ts(type = "number")]
    pub step: u64,
    /// Passes over the data, with fraction.
    pub epoch: f64,
    /// Mean negative log-likelihood per supervised token, nats.
    pub loss: f64,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The rate of this step.
    pub learning_rate: f64,
    /// Real tokens (no padding) of this step.
    #[ts(type = "number")]
    pub tokens: u64,
    /// Real tokens so far.
    #[ts(type = "number")]
    pub num_tokens: u64,
    /// Real tokens per second of this step.
    pub tokens_per_s: f64,
    /// Peak memory of the process so far.
    #[ts(type = "number")]
    pub peak_memory_bytes: u64,
    /// Seconds until the end, at the present pace.
    pub eta_s: f64,
}

/// One evaluation loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct EvalPoint {
    /// After this step.
    #[ts(type = "number")]
    pub step: u64,
    /// Passes over the data, with fraction.
    pub epoch: f64,
    /// Mean negative log-likelihood per supervised token, nats.
    pub eval_loss: f64,
    /// Share of supervised tokens whose likeliest token is right; none where not measured.
    pub mean_token_accuracy: Option<f64>,
    /// Whether it is the lowest so far.
    pub is_best: bool,
}

/// A held-out row as the model rewrites it at one point of its training, by greedy decoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Sample {
    /// After this step; 0 before the first.
    #[ts(type = "number")]
    pub step: u64,
    /// Index of the row in the held-out file, from 0; the same rows at every step.
    pub index: u32,
    /// What the model was given.
    pub prompt: String,
    /// What was wanted.
    pub reference: String,
    /// What it wrote.
    pub output: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Done {
    /// Why.
    pub outcome: Outcome,
    /// Last step.
    #[ts(type = "number")]
    pub step: u64,
    /// The figures of the run by name (`train_loss`, `eval_loss`, `tokens_per_s`, `train_runtime_s` …).
    #[ts(type = "Record<string, number>")]
    pub metrics: serde_json::Map<String, serde_json::Value>,
    /// Files of the result, relative to the run folder.
    pub files: Vec<FileHash>,
}

text_enum! {
    /// Why a run ended well.
    Outcome, "outcome" {
        /// All steps were done.
        Completed = "completed",
        /// The user stopped it; the result so far is kept.
        Stopped = "stopped",
        /// The evaluation loss did not improve any more.
        EarlyStopped = "early_stopped",
    }
}

/// A file with its size and hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct FileHash {
    /// Path relative to the folder that lists it, with `/`.
    pub path: String,
    /// Size.
    #[ts(type = "number")]
    pub size_bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// `manifest.json`: the last file of a checkpoint. A folder without it, or with a file that differs, is no checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct CheckpointManifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Steps finished.
    #[ts(type = "number")]
    pub step: u64,
    /// SHA-256 of spec.json: a checkpoint belongs to its run.
    pub spec_sha256: String,
    /// Number of the last event line written before it.
    #[ts(type = "number")]
    pub events: u64,
    /// Real tokens learnt so far.
    #[ts(type = "number")]
    pub num_tokens: u64,
    /// Lowest evaluation loss so far and its step.
    pub best: Option<Best>,
    /// Evaluations since the best.
    pub evals_without_progress: u32,
    /// Sum of the loss of finished steps and their number, for the run's mean.
    pub loss_sum: f64,
    /// The files.
    pub files: Vec<FileHash>,
}

/// The best evaluation so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Best {
    /// Its step.
    #[ts(type = "number")]
    pub step: u64,
    /// Its loss.
    pub eval_loss: f64,
}

/// What `tonebridge-worker --describe` prints: one JSON line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct WorkerDescription {
    /// Version of the worker.
    pub version: String,
    /// Version of the contract it speaks.
    pub schema: u32,
    /// Devices it can use.
    pub devices: Vec<DeviceDescription>,
}

/// A device of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct DeviceDescription {
    /// `cpu` or `cuda:0`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Memory in all.
    #[ts(type = "number")]
    pub memory_bytes: u64,
    /// Memory that is free now.
    #[ts(type = "number")]
    pub free_bytes: u64,
    /// Compute units: threads of a CPU.
    pub units: u32,
    /// Number types it multiplies.
    pub dtypes: Vec<crate::recipe::Dtype>,
    /// Instruction sets or compute capability that matter for speed.
    pub features: Vec<String>,
}
