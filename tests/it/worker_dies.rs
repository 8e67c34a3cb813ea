//! The worker is killed: the job says so, and goes on to the very bytes of the uncut run.

use std::{fs, path::PathBuf};

use serde_json::Value;
use tonebridge_tests::{Home, text};

#[test]
fn a_killed_worker_leaves_an_interrupted_job_that_resumes_to_the_same_bytes() {
    let home = Home::new();
    let sample = home.sample();
    let args = [
        "train",
        "--model",
        text(&sample.base),
        "--data",
        text(&sample.train),
        "--set",
        "max_steps=24",
        "--set",
        "per_device_train_batch_size=4",
        "--set",
        "save_steps=5",
        "--set",
        "lora_dropout=0.1",
        "--json",
    ];
    let whole = home.run(&args).json();

    let mut host = home.start(&args);
    let (id, pid) = home.wait("a worker past its first checkpoint", || {
        let job = home.job().filter(|j| j["status"] == "running")?;
        let run = PathBuf::from(job["run_dir"].as_str()?);
        let mut folders = fs::read_dir(run.join("checkpoints")).ok()?.filter_map(Result::ok);
        folders.find(|f| f.path().join("manifest.json").is_file())?;
        let events = fs::read_to_string(run.join("events.jsonl")).ok()?;
        let started: Value = serde_json::from_str(events.lines().find(|l| l.contains("\"type\":\"started\""))?).ok()?;
        Some((job["id"].as_str()?.to_owned(), started["pid"].as_u64()?))
    });
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let code = host.wait().expect("the host ends").code();
    assert_eq!(code, Some(1), "the command says that the run did not end well");
    let job = home.run(&["job", "get", &id, "--json"]).json();
    assert_eq!(job["status"], "interrupted", "{job}");
    assert!(job["error_message"].as_str().is_some_and(|m| m.contains("checkpoint")), "{job}");

    home.run(&["job", "resume", &id, "--json"]).json();
    let job = home.wait("the resumed run to end", || {
        let job = home.run(&["job", "get", &id, "--json"]).json();
        (job["status"] == "completed").then_some(job)
    });
    let adapter = |folder: &str| fs::read(PathBuf::from(folder).join("adapter_model.safetensors")).expect("adapter");
    let resumed = adapter(&format!("{}/adapter", job["run_dir"].as_str().unwrap_or_default()));
    assert_eq!(resumed, adapter(whole["adapter"].as_str().unwrap_or_default()), "the bytes of the uncut run");
}
