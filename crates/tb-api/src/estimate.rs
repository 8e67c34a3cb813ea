//! What a run would be, before it starts: its steps and tokens, the memory and time it needs, and what is worth a second look.
//! Row figures, time and checks are in `estimate/`; the memory's arithmetic is `tb_core::footprint`.

mod checks;
mod rows;
mod time;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tb_core::{
    ApiError, ErrorCode,
    adapter::{self, Unmatched},
    decoder_config::DecoderConfig,
    footprint::{self, Activations, BatchShape, Dropout, Trained, Where, Workload},
    lora::LoraConfig,
    recipe::{Dtype, FinetuningType, Hyperparameters, Method},
    run_folder::{DeviceDescription, TrainTask},
};
use tb_data::model_folder;
use ts_rs::TS;

use crate::{
    Ctx, StartJob,
    ctx::{blocking, no_worker},
    jobs::command_line::{command_line, complete},
    status,
    training::{self, Resolved},
};
use rows::RowFigures;

/// How far the memory of a measured run may lie from the estimate: see `peak_memory_is_as_estimated` in tb-worker.
const MEMORY_TOLERANCE: f64 = 0.10;

/// What a run would be.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct JobEstimate {
    /// Optimiser steps in all.
    #[ts(type = "number")]
    pub total_steps: u64,
    /// Rows to learn from that can be used.
    #[ts(type = "number")]
    pub rows: u64,
    /// Rows held out that can be used.
    #[ts(type = "number")]
    pub eval_rows: u64,
    /// Tokens in one pass, after the cut.
    #[ts(type = "number")]
    pub tokens_per_epoch: u64,
    /// Rows cut at `max_length`.
    #[ts(type = "number")]
    pub cut_rows: u64,
    /// Weights that learn.
    #[ts(type = "number")]
    pub trainable_parameters: u64,
    /// Weights in all.
    #[ts(type = "number")]
    pub total_parameters: u64,
    /// Share of the weights that learn, percent.
    pub trainable_percent: f64,
    /// The memory it needs at its peak.
    pub memory: MemoryEstimate,
    /// The time it takes; none if no earlier run on a base of this shape and this device tells.
    pub time: Option<TimeEstimate>,
    /// Changes that need less memory, or, where there is plenty, less time.
    pub alternatives: Vec<Alternative>,
    /// What was looked at, the worst first.
    pub checks: Vec<FormCheck>,
    /// The line that starts this run in a shell.
    pub command_line: String,
    /// The form with every hyperparameter written out: a spec file for `tonebridge job start --spec FILE`.
    pub spec: StartJob,
}

/// The memory of a run at its peak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct MemoryEstimate {
    /// The device it is for.
    pub device: String,
    /// The estimate.
    #[ts(type = "number")]
    pub total_bytes: u64,
    /// Lower end of what has been measured around such estimates.
    #[ts(type = "number")]
    pub low_bytes: u64,
    /// Upper end of it.
    #[ts(type = "number")]
    pub high_bytes: u64,
    /// Memory of the device.
    #[ts(type = "number")]
    pub device_bytes: u64,
    /// Memory of it that this run could have: what is free, and what a job that runs there now will give back.
    #[ts(type = "number")]
    pub free_bytes: u64,
    /// Whether the estimate fits into that.
    pub fits: bool,
    /// The phase in which the peak falls: `loading`, `training` or `evaluation`.
    pub phase: String,
    /// What is held then.
    pub parts: Vec<MemoryPart>,
}

/// One part of the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MemoryPart {
    /// Its name: `process`, `data`, `base_weights`, `adapter`, `optimizer`, `gradients`, `activations`, `logits` or `loading`.
    pub name: String,
    /// Its size.
    #[ts(type = "number")]
    pub bytes: u64,
}

/// The time of a run, from earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct TimeEstimate {
    /// Seconds from start to end.
    pub seconds: f64,
    /// At the pace of the fastest earlier run.
    pub low_seconds: f64,
    /// At the pace of the slowest.
    pub high_seconds: f64,
    /// Tokens per second, evaluations included.
    pub tokens_per_s: f64,
    /// Earlier runs that were looked at.
    pub from_runs: u32,
}

/// A change of the form and what it would bring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Alternative {
    /// What it is, as a key for the UI's words: `half_batch`, `recompute`, `keep_activations`, `shorter_rows`, `bfloat16`.
    pub title_key: String,
    /// Hyperparameters to set.
    #[ts(type = "Record<string, unknown>")]
    pub changes: Map<String, Value>,
    /// The memory it would need.
    #[ts(type = "number")]
    pub total_bytes: u64,
    /// The time it would take, where earlier runs tell.
    pub seconds: Option<f64>,
    /// Whether it would fit.
    pub fits: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum FormCheckState {
    /// It would fail.
    Bad,
    /// Worth a second look.
    Warn,
    /// All is well.
    Ok,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct FormCheck {
    /// How it came out.
    pub state: FormCheckState,
    /// What, for programs: `memory`, `disk`, `cut_rows`, `context`, `held_out`, `steps`, `learning_rate`, `unusable_rows`.
    pub code: String,
    /// What, in words.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The field of the form that it is about.
    pub field: Option<String>,
    /// A better value for the field.
    #[ts(type = "unknown")]
    pub suggestion: Option<Value>,
}

/// What does not change while hyperparameters are tried.
struct Base {
    config: DecoderConfig,
    file_bytes: u64,
    /// Weights of the adapter to continue from.
    adapter: Option<AdapterFacts>,
}

struct AdapterFacts {
    parameters: u64,
    lora: LoraConfig,
}

/// The device a run would use.
struct Place {
    description: DeviceDescription,
    free_bytes: u64,
}

pub(crate) async fn job(ctx: &Ctx, form: StartJob) -> Result<JobEstimate, ApiError> {
    let Resolved { task, name, dataset } = training::resolve(ctx, &form).await?;
    match task.method {
        Method::Sft => {}
        Method::Pretrain => {
            return Err(ApiError::new(
                ErrorCode::InvalidArgument,
                "There is no estimate for training from random weights: only fine-tuning has one.",
            ));
        }
    }
    let place = place(ctx, form.device.as_deref()).await?;
    let beside = dataset.as_ref().map(|d| std::path::PathBuf::from(&d.file_path));
    let (base, figures) = {
        let (task, ctx) = (task.clone(), ctx.clone());
        blocking(move || {
            let base = base(&task)?;
            let figures = rows::figures(ctx.held_lengths(), &task, beside.as_deref())?;
            Ok((base, figures))
        })
        .await?
    };
    let past = time::past_runs(ctx, &base.config, &place.description.id).await?;
    let h = &task.hyperparameters;
    let trained = trained(&base, h)?;
    let (mut trainable, mut total) = footprint::parameters(&base.config, &trained);
    if let (Some(adapter), Trained::Adapter { .. }) = (&base.adapter, &trained) {
        total = total - trainable + adapter.parameters;
        trainable = adapter.parameters;
    }
    let rows = figures.cut(h);
    let total_steps = h.total_steps(rows.train.batch_rows as usize);
    let memory = memory(&base, h, &figures, &place)?;
    let time = past.estimate(h, tokens(h, &rows, total_steps));
    let checks = checks::all(&checks::Seen {
        task: &task,
        config: &base.config,
        memory: &memory,
        rows: &rows,
        total_steps,
        trainable,
        disk_free: status::disk_free(ctx.home()),
    });
    let alternatives = alternatives(&base, h, &figures, &place, &past, &memory)?;
    let spec = complete(&StartJob { name: Some(name), method: Some(task.method), ..form }, h);
    Ok(JobEstimate {
        total_steps,
        rows: rows.train.rows,
        eval_rows: rows.eval.rows,
        tokens_per_epoch: rows.train.tokens,
        cut_rows: rows.train.cut,
        trainable_parameters: trainable,
        total_parameters: total,
        trainable_percent: 100.0 * trainable as f64 / total.max(1) as f64,
        memory,
        time,
        alternatives,
        checks,
        command_line: command_line(&spec, &ctx.settings().hyperparameters()),
        spec,
    })
}

/// Tokens of the whole run.
fn tokens(h: &Hyperparameters, rows: &rows::CutFigures, total_steps: u64) -> f64 {
    let per_step = rows.train.tokens as f64 / h.steps_per_epoch(rows.train.batch_rows as usize).max(1) as f64;
    per_step * total_steps as f64
}

fn base(task: &TrainTask) -> Result<Base, ApiError> {
    let folder = &task.model.base;
    let config = model_folder::read_config(folder)?;
    let file_bytes = model_folder::stored_weights(folder)?.size_bytes;
    let adapter = match &task.model.adapter {
        None => None,
        Some(dir) => {
            let path = dir.join("adapter_config.json");
            let lora = LoraConfig::from_json(&model_folder::read_json(&path)?).map_err(|e| {
                ApiError::new(ErrorCode::DataInvalid, format!("No run was started: {}: {e}.", path.display()))
                    .hint("Choose another adapter, or train a fresh one.")
            })?;
            Some(AdapterFacts { parameters: model_folder::adapter_parameters(dir)?, lora })
        }
    };
    Ok(Base { config, file_bytes, adapter })
}

fn trained(base: &Base, h: &Hyperparameters) -> Result<Trained, ApiError> {
    match h.finetuning_type {
        FinetuningType::Full => return Ok(Trained::All),
        FinetuningType::Lora => {}
    }
    let (lora, unmatched) = match &base.adapter {
        Some(adapter) => (adapter.lora.clone(), Unmatched::Tolerated),
        None => (h.lora_config(), Unmatched::Refused),
    };
    let dropout = if lora.lora_dropout > 0.0 { Dropout::On } else { Dropout::Off };
    let plan = adapter::plan(&base.config, &lora, unmatched).map_err(|e| {
        ApiError::new(ErrorCode::InvalidArgument, format!("No run was started: {e}."))
            .hint("Name modules of this base model in target_modules, or take all-linear.")
    })?;
    Ok(Trained::Adapter { plan, dropout })
}

/// The device that a form names, or the best one.
///
/// # Errors
/// No worker, or none that can use it.
pub(crate) fn device(ctx: &Ctx, wanted: Option<&str>) -> Result<DeviceDescription, ApiError> {
    let workers = ctx.jobs().workers();
    let id = match wanted {
        Some(id) => id.to_owned(),
        None => tb_jobs::workers::best_device(workers).ok_or_else(no_worker)?,
    };
    let mut devices = workers.iter().flat_map(|w| &w.description.devices);
    devices.find(|d| d.id == id).cloned().ok_or_else(|| {
        let known: Vec<&str> = workers.iter().flat_map(|w| &w.description.devices).map(|d| d.id.as_str()).collect();
        ApiError::new(ErrorCode::Unavailable, format!("No worker of this machine can use the device '{id}'."))
            .hint(format!("Use one of {}.", known.join(", ")))
    })
}

async fn place(ctx: &Ctx, wanted: Option<&str>) -> Result<Place, ApiError> {
    let mut description = device(ctx, wanted)?;
    let id = description.id.clone();
    let mut free_bytes = description.free_bytes;
    if id == "cpu" {
        let memory = blocking(|| Ok(status::memory())).await?;
        (description.memory_bytes, free_bytes) = (memory.total_bytes, memory.free_bytes);
    }
    // A device has one job at a time: what the present one holds is free when this run begins.
    for job in tb_db::jobs::running(ctx.db()).await?.iter().filter(|j| j.device.as_deref() == Some(&id)) {
        free_bytes += job.metrics.get("peak_memory_bytes").and_then(Value::as_u64).unwrap_or(0);
    }
    Ok(Place { free_bytes: free_bytes.min(description.memory_bytes), description })
}

fn memory(base: &Base, h: &Hyperparameters, figures: &RowFigures, place: &Place) -> Result<MemoryEstimate, ApiError> {
    let rows = figures.cut(h);
    let native = place.description.id != "cpu" && place.description.dtypes.contains(&Dtype::Bf16);
    let weight_bytes = match h.dtype {
        Dtype::F32 => 4,
        Dtype::Bf16 => 2,
        Dtype::Auto if native => 2,
        Dtype::Auto => 4,
    };
    let workload = Workload {
        trained: trained(base, h)?,
        place: if place.description.id == "cpu" { Where::Host } else { Where::Gpu },
        weight_bytes,
        quantization: h.quantization().or(base.config.stored_quantization()),
        optim: h.optim,
        file_bytes: base.file_bytes,
        activations: if h.gradient_checkpointing { Activations::Recomputed } else { Activations::Kept },
        train: rows.train.largest(h.per_device_train_batch_size),
        eval: if rows.eval.rows > 0 { rows.eval.largest(h.per_device_eval_batch_size) } else { BatchShape::default() },
        data_rows: rows.train.rows + rows.eval.rows,
        data_tokens: rows.train.tokens + rows.eval.tokens,
        data_bytes: figures.file_bytes,
        threads: u64::from(if h.num_threads > 0 { h.num_threads } else { place.description.units }),
    };
    let found = footprint::footprint(&base.config, &workload);
    let total_bytes = found.total_bytes();
    let scaled = |factor: f64| (total_bytes as f64 * factor) as u64;
    Ok(MemoryEstimate {
        device: place.description.id.clone(),
        total_bytes,
        low_bytes: scaled(1.0 - MEMORY_TOLERANCE),
        high_bytes: scaled(1.0 + MEMORY_TOLERANCE),
        device_bytes: place.description.memory_bytes,
        free_bytes: place.free_bytes,
        fits: total_bytes <= place.free_bytes,
        phase: found.phase.into(),
        parts: found.parts.iter().map(|p| MemoryPart { name: p.name.into(), bytes: p.bytes }).collect(),
    })
}

/// What could be changed: less memory, or more speed where there is room. Each is a form that could be sent as it is.
fn alternatives(
    base: &Base,
    h: &Hyperparameters,
    figures: &RowFigures,
    place: &Place,
    past: &time::PastRuns,
    now: &MemoryEstimate,
) -> Result<Vec<Alternative>, ApiError> {
    let mut wanted: Vec<(&str, Value)> = Vec::new();
    if h.per_device_train_batch_size > 1 {
        let half = h.per_device_train_batch_size / 2;
        let steps = h.gradient_accumulation_steps * h.per_device_train_batch_size / half;
        wanted.push(("half_batch", json!({"per_device_train_batch_size": half, "gradient_accumulation_steps": steps})));
    }
    wanted.push(if h.gradient_checkpointing {
        ("keep_activations", json!({"gradient_checkpointing": false}))
    } else {
        ("recompute", json!({"gradient_checkpointing": true}))
    });
    if let Some(shorter) = figures.shorter_than(h.max_length) {
        wanted.push(("shorter_rows", json!({"max_length": shorter})));
    }
    if h.dtype != Dtype::Bf16 && place.description.dtypes.contains(&Dtype::Bf16) {
        wanted.push(("bfloat16", json!({"dtype": "bfloat16"})));
    }
    let mut found = Vec::new();
    for (title_key, changes) in wanted {
        let Value::Object(changes) = changes else { continue };
        let mut changed = h.clone();
        let fits = changes.iter().all(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            changed.set(key, &text).is_ok()
        });
        if !fits {
            continue;
        }
        let memory = memory(base, &changed, figures, place)?;
        // Only what is worth a click: less memory, or the faster way where it fits.
        let useful = memory.total_bytes < now.total_bytes || (title_key == "keep_activations" && memory.fits);
        if useful {
            let rows = figures.cut(&changed);
            let steps = changed.total_steps(rows.train.rows as usize);
            found.push(Alternative {
                title_key: title_key.into(),
                changes,
                total_bytes: memory.total_bytes,
                seconds: past.estimate(&changed, tokens(&changed, &rows, steps)).map(|t| t.seconds),
                fits: memory.fits,
            });
        }
    }
    Ok(found)
}
