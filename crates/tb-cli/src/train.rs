//! `tonebridge train`: a job of the queue, followed to its end; `--out` receives the adapter and the events.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use tb_api::{Ctx, commands::dispatch};
use tb_core::{
    ApiError, ErrorCode,
    job::{Job, JobStatus},
    recipe::FinetuningType,
    run_folder::names,
};

use crate::{
    args::Train,
    home::key_value,
    output::{Output, duration},
    progress::Progress,
};

/// Runs the command.
pub async fn run(ctx: &Ctx, args: &Train, output: &Output) -> Result<(), ApiError> {
    let mapping: Value = match &args.map {
        None => Value::Null,
        Some(text) => serde_json::from_str(text).map_err(|e| {
            ApiError::new(ErrorCode::InvalidArgument, format!("No run was started: --map is no JSON: {e}."))
        })?,
    };
    if let Some(out) = &args.out {
        prepare(out)?;
    }
    let start = json!({
        "name": args.name,
        "method": args.method,
        "base_model": args.model,
        "adapter": args.adapter,
        "data": args.data,
        "eval_data": args.eval_data,
        "mapping": mapping,
        "hyperparameters": changes(&args.set)?,
        "device": args.device,
    });
    let seq = ctx.last_seq().await?;
    let job: Job = call(ctx, "job_start", start).await?;
    if args.detach {
        output.result(
            &json!({ "job_id": job.id, "status": job.status, "run_dir": job.run_dir }),
            &format!("Queued as {}. Follow it with `tonebridge job get {}`.", job.id, job.id),
        );
        return Ok(());
    }
    let job = follow(ctx, &job, seq, "training", output).await?;
    let model = registered(ctx, &job).await?;
    if let Some(out) = &args.out {
        copy_result(&job, out)?;
    }
    let at = args.out.as_deref().map_or_else(|| result_folder(&job), Path::to_owned);
    let number = |name: &str| job.metrics.get(name).and_then(Value::as_f64);
    let mut text = format!(
        "{} in {}: loss {:.4}",
        if job.status == JobStatus::Stopped { "Stopped" } else { "Done" },
        duration(number("train_runtime_s").unwrap_or(0.0)),
        number("train_loss").unwrap_or(f64::NAN)
    );
    if let Some(loss) = number("eval_loss") {
        text += &format!(", held-out {loss:.4}");
    }
    let what = match job.hyperparameters.finetuning_type {
        FinetuningType::Lora => "Adapter   ",
        FinetuningType::Full => "Weights   ",
    };
    text += &format!("\n{what} {}\nRun folder {}", at.display(), job.run_dir);
    if let Some(id) = &model {
        text += &format!("\nModel      {id}");
    }
    output.result(
        &json!({
            "job_id": job.id,
            "status": job.status,
            "model_id": model,
            "adapter": at,
            "run_dir": job.run_dir,
            "metrics": job.metrics,
        }),
        &text,
    );
    Ok(())
}

/// Runs a command of the table and reads its result.
pub async fn call<T: serde::de::DeserializeOwned>(ctx: &Ctx, name: &str, args: Value) -> Result<T, ApiError> {
    let value = dispatch(ctx, name, args).await?;
    serde_json::from_value(value)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("The answer of {name} cannot be read: {e}.")))
}

/// `key=value` pairs as the hyperparameters of a form.
pub fn changes(pairs: &[String]) -> Result<Map<String, Value>, ApiError> {
    pairs.iter().map(|pair| key_value(pair).map(|(key, value)| (key, Value::String(value)))).collect()
}

/// Follows a job with a live bar until it rests. Ctrl-C leaves it running and says so.
///
/// # Errors
/// The job's own error if it failed, was interrupted, or was paused by another.
pub async fn follow(ctx: &Ctx, job: &Job, seq: i64, label: &str, output: &Output) -> Result<Job, ApiError> {
    let mut progress = Progress::new(output, label);
    let mut on_event = |event: &tb_core::event::Event| progress.event(&event.body);
    let ended = tokio::select! {
        job = ctx.follow(&job.id, seq, &mut on_event) => job?,
        _ = tokio::signal::ctrl_c() => {
            progress.finish();
            return Err(ApiError::new(ErrorCode::Cancelled, format!("The run goes on without this window: {}.", job.id))
                .hint(format!("Watch it with `tonebridge job get {0}`, or end it with `tonebridge job stop {0}`.", job.id)));
        }
    };
    progress.finish();
    match ended.status {
        JobStatus::Completed | JobStatus::Stopped => Ok(ended),
        JobStatus::Failed | JobStatus::Interrupted | JobStatus::Paused | JobStatus::Pending | JobStatus::Running => {
            let why = ended.error_message.clone().unwrap_or_else(|| format!("The run is {}.", ended.status));
            Err(ApiError::new(ErrorCode::WorkerLost, why).hint(format!(
                "Go on with `tonebridge job resume {}`; the log is {}.",
                ended.id,
                log(&ended)
            )))
        }
    }
}

/// The version that a training registered.
pub async fn registered(ctx: &Ctx, job: &Job) -> Result<Option<String>, ApiError> {
    let models: Vec<tb_core::model::Model> = call(ctx, "model_list", json!({ "name": job.name })).await?;
    Ok(models.into_iter().find(|m| m.training_job_id.as_ref() == Some(&job.id)).map(|m| m.id.to_string()))
}

fn log(job: &Job) -> String {
    Path::new(&job.run_dir).join(names::LOG).display().to_string()
}

/// The folder must be new, empty, or hold an earlier result of ours.
fn prepare(out: &Path) -> Result<(), ApiError> {
    let refuse = |why: String| ApiError::new(ErrorCode::InvalidArgument, format!("No run was started: {why}."));
    fs::create_dir_all(out).map_err(|e| refuse(format!("{} cannot be made: {e}", out.display())))?;
    let foreign = fs::read_dir(out)
        .map_err(|e| refuse(format!("{} cannot be read: {e}", out.display())))?
        .filter_map(Result::ok)
        .any(|e| {
            !["adapter_config.json", "adapter_model.safetensors", "events.jsonl", "README.md"]
                .iter()
                .any(|n| e.file_name() == **n)
        });
    if foreign {
        return Err(
            refuse(format!("{} holds other files", out.display())).hint("Name a new or empty folder with --out.")
        );
    }
    Ok(())
}

/// Where the worker has left what it made.
fn result_folder(job: &Job) -> PathBuf {
    Path::new(&job.run_dir).join(job.hyperparameters.finetuning_type.result_folder())
}

fn copy_result(job: &Job, out: &Path) -> Result<(), ApiError> {
    let run = Path::new(&job.run_dir);
    let copy = |from: &Path, to: &Path| {
        fs::copy(from, to).map(|_| ()).map_err(|e| {
            ApiError::new(
                ErrorCode::DiskFull,
                format!("The result is kept in {}, but {} cannot be written: {e}.", run.display(), to.display()),
            )
        })
    };
    copy(&run.join(names::EVENTS), &out.join(names::EVENTS))?;
    for entry in fs::read_dir(result_folder(job)).into_iter().flatten().filter_map(Result::ok) {
        if entry.path().is_file() {
            copy(&entry.path(), &out.join(entry.file_name()))?;
        }
    }
    Ok(())
}
