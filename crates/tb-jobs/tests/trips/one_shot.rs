//! Tasks outside the queue.

use tb_core::{
    ErrorCode,
    run_folder::{Outcome, RunEventBody, RunSpec, SCHEMA},
};
use tb_data::files::RunFolder;
use tb_jobs::process::run_to_end;

use super::support::{Home, task, until, worker, worker_at};

fn run(home: &Home, plan: &str) -> RunFolder {
    let spec = RunSpec { schema: SCHEMA, run_id: "once".into(), device: "cpu".into(), task: task(plan) };
    RunFolder::create(&home.path().join("once"), &spec).unwrap()
}

#[tokio::test]
async fn every_line_is_given_and_the_result_returned() {
    let home = Home::new();
    let mut steps = 0;
    let mut count =
        |line: &tb_core::run_folder::RunEvent| steps += u32::from(matches!(line.body, RunEventBody::Step(_)));
    let done = run_to_end(&worker(), &run(&home, "steps=25,ms=3"), &mut count).await.unwrap();
    assert_eq!((done.outcome, done.step, steps), (Outcome::Completed, 25, 25));
}

#[tokio::test]
async fn errors_are_the_workers_own_or_name_its_log() {
    let home = Home::new();
    let error = run_to_end(&worker(), &run(&home, "steps=5,fail=3"), &mut |_| {}).await.unwrap_err();
    assert_eq!((error.code, error.hint.as_str()), (ErrorCode::OutOfMemory, "Try batch size 2."));
    let home = Home::new();
    let error = run_to_end(&worker(), &run(&home, "steps=5,die=3"), &mut |_| {}).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::WorkerLost);
    assert!(error.message.contains("SIGKILL") && error.message.contains("fake worker at work"), "{error}");
    let missing = worker_at(std::path::Path::new("/nowhere/worker"), &["cpu"]);
    let error = run_to_end(&missing, &run(&home, "steps=5,die=3"), &mut |_| {}).await.unwrap_err();
    assert!(error.message.contains("/nowhere/worker"), "{error}");
}

#[tokio::test]
async fn the_worker_ends_with_its_caller() {
    let home = Home::new();
    let run = run(&home, "steps=100000,ms=10");
    let watched = run.clone();
    let caller = tokio::spawn(async move { run_to_end(&worker(), &run, &mut |_| {}).await });
    until("it works", async || watched.holder().unwrap()).await;
    caller.abort();
    until("it is gone", async || watched.holder().unwrap().is_none().then_some(())).await;
}
