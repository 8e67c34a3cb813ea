//! `tonebridge pretrain`: the sample's data, tokenizer and base model again from a seed.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tb_api::{
    Ctx,
    oneshot::{self, Keep},
};
use tb_core::{
    ApiError, ErrorCode,
    run_folder::{Task, names},
};

use crate::{
    args::Pretrain,
    measure::absolute,
    output::{Output, duration},
    progress::Progress,
    train::changes,
};

/// Runs the command.
pub async fn run(ctx: &Ctx, args: &Pretrain, output: &Output) -> Result<(), ApiError> {
    let out = absolute(&args.out)?;
    let work = out.join(".pretrain");
    output.say("Write the sample's rows, corpus and tokenizer");
    let task = tb_api::pretrain_task(args.seed, &out, &work, &changes(&args.set)?).await?;
    output.say("Train the base model from random weights");
    let mut progress = Progress::new(output, "pretraining");
    let run = work.join("run");
    if run.exists() {
        fs::remove_dir_all(&run).map_err(|e| broken(&run, &e))?;
    }
    let done =
        oneshot::run(ctx, Task::Train(Box::new(task)), Keep::At(run.clone()), &mut |e| progress.run_event(&e.body))
            .await;
    progress.finish();
    let done = done?;
    let base = out.join("base");
    for name in ["model.safetensors", "config.json", "generation_config.json"] {
        let from = run.join(names::MODEL).join(name);
        if from.is_file() {
            fs::copy(&from, base.join(name)).map_err(|e| broken(&base, &e))?;
        }
    }
    fs::remove_dir_all(&work).map_err(|e| broken(&work, &e))?;
    let number = |name: &str| done.metrics.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    output.result(
        &json!({ "base": base, "metrics": done.metrics }),
        &format!(
            "Base model {} trained in {}, loss {:.3}.",
            base.display(),
            duration(number("train_runtime_s")),
            number("train_loss")
        ),
    );
    Ok(())
}

fn broken(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(
        ErrorCode::Unavailable,
        format!("The work is done, but {} cannot be written: {error}.", path.display()),
    )
}
