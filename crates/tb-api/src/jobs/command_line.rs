//! A run as it would be started again: the form that describes it, and the line for a shell.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tb_core::{
    job::Job,
    recipe::{FIELDS, Hyperparameters},
    run_folder::{RunSpec, Task, TrainTask},
};

use crate::StartJob;

/// The form that starts the same run again; none for a job that trains nothing.
pub(crate) fn form_of(job: &Job) -> Option<StartJob> {
    let spec: RunSpec = serde_json::from_value(job.config.clone()).ok()?;
    let task: TrainTask = match spec.task {
        Task::Train(task) => *task,
        Task::Evaluate(_) | Task::Score(_) | Task::Generate(_) | Task::Export(_) => return None,
    };
    let plain = job.dataset_id.is_none();
    Some(StartJob {
        name: Some(job.name.clone()),
        method: Some(task.method),
        model_type: Some(job.model_type.clone()),
        base_model: job.model_id.is_none().then(|| task.model.base.clone()),
        adapter: task.model.adapter.filter(|_| job.model_id.is_none()),
        model_id: job.model_id.clone(),
        dataset_id: job.dataset_id.clone(),
        mapping: task.data.mapping.filter(|_| plain),
        data: plain.then_some(task.data.path),
        eval_data: task.eval_data.map(|d| d.path).filter(|_| plain),
        hyperparameters: as_map(&task.hyperparameters),
        device: Some(spec.device),
    })
}

/// The form with every hyperparameter written out.
pub(crate) fn complete(form: &StartJob, hyperparameters: &Hyperparameters) -> StartJob {
    StartJob { hyperparameters: as_map(hyperparameters), ..form.clone() }
}

fn as_map(hyperparameters: &Hyperparameters) -> Map<String, Value> {
    match serde_json::to_value(hyperparameters) {
        Ok(Value::Object(map)) => map,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// The shell line for a form whose every hyperparameter is written out. Those are named that differ from `settings` (this machine's
/// defaults) or from the program's own, so that the line means the same on another machine.
pub(crate) fn command_line(form: &StartJob, settings: &Hyperparameters) -> String {
    let mut words: Vec<String> = Vec::new();
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let option = |words: &mut Vec<String>, name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([name.to_owned(), quoted(&value)]);
        }
    };
    let plain = form.dataset_id.is_none() && form.model_id.is_none();
    let opt_path = |value: &Option<PathBuf>| value.as_deref().map(path);
    if plain {
        words.push("tonebridge train".into());
        option(&mut words, "--model", opt_path(&form.base_model));
        option(&mut words, "--data", opt_path(&form.data));
        option(&mut words, "--eval-data", opt_path(&form.eval_data));
        option(&mut words, "--map", form.mapping.as_ref().and_then(|m| serde_json::to_string(m).ok()));
    } else {
        words.push("tonebridge job start".into());
        option(&mut words, "--base-model", opt_path(&form.base_model));
        option(&mut words, "--model-id", form.model_id.as_ref().map(ToString::to_string));
        option(&mut words, "--dataset-id", form.dataset_id.as_ref().map(ToString::to_string));
        option(&mut words, "--data", opt_path(&form.data));
        option(&mut words, "--eval-data", opt_path(&form.eval_data));
        option(&mut words, "--mapping", form.mapping.as_ref().and_then(|m| serde_json::to_string(m).ok()));
        option(&mut words, "--model-type", form.model_type.clone());
    }
    option(&mut words, "--method", form.method.map(|m| m.to_string()));
    option(&mut words, "--adapter", opt_path(&form.adapter));
    option(&mut words, "--name", form.name.clone());
    option(&mut words, "--device", form.device.clone());
    let (settings, program) = (as_map(settings), as_map(&Hyperparameters::default()));
    for field in FIELDS {
        let Some(value) = form.hyperparameters.get(field.key) else { continue };
        if settings.get(field.key) != Some(value) || program.get(field.key) != Some(value) {
            words.extend(["--set".to_owned(), quoted(&format!("{}={}", field.key, text(value)))]);
        }
    }
    words.join(" ")
}

/// A hyperparameter as `--set` takes it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> StartJob {
        serde_json::from_value(serde_json::json!({
            "name": "Ann's run", "base_model": "/models/base", "data": "/data/my rows.jsonl", "method": "sft",
        }))
        .unwrap()
    }

    #[test]
    fn a_line_names_what_differs_and_survives_a_shell() {
        let h = Hyperparameters { lora_r: 4, ..Hyperparameters::default() };
        let line = command_line(&complete(&form(), &h), &Hyperparameters::default());
        assert_eq!(
            line,
            r"tonebridge train --model /models/base --data '/data/my rows.jsonl' --method sft --name 'Ann'\''s run' --set lora_r=4"
        );
        // This machine's own default is named as well: another machine has another.
        let own = Hyperparameters { lora_r: 4, ..Hyperparameters::default() };
        assert!(command_line(&complete(&form(), &h), &own).ends_with("--set lora_r=4"));
    }

    #[test]
    fn a_dataset_of_the_database_goes_through_the_table() {
        let form: StartJob = serde_json::from_value(serde_json::json!({
            "base_model": "/m", "dataset_id": "dts_019b0c5e-0000-7000-8000-000000000001",
            "hyperparameters": {"target_modules": ["q_proj", "v_proj"]},
        }))
        .unwrap();
        let line = command_line(&form, &Hyperparameters::default());
        assert!(line.starts_with("tonebridge job start --base-model /m --dataset-id dts_"), "{line}");
        assert!(line.ends_with("--set target_modules=q_proj,v_proj"), "{line}");
    }
}
