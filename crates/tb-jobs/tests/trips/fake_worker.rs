//! A worker for tests: speaks the run-folder protocol as its task's data path tells it, such as `steps=20,ms=5,checkpoint=4`.
//!
//! Keys: `steps`, `ms` (pause after each), `checkpoint` (every so many steps), `notes` (notes before step 1), and at a step of
//! the first attempt only: `die` (SIGKILL), `torn` (half a line, then SIGKILL), `fail`, `hang`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It is a program: its output is what is tested.

use std::{io::Write, path::Path, time::Duration};

use tb_core::{
    ErrorCode,
    run_folder::{Done, EvalPoint, Level, LockHolder, Outcome, Plan, RunEventBody, StepPoint, Task, Want, names},
};
use tb_data::files::{EventWriter, RunFolder};

/// Does nothing as a test; as a process started by the script it is the worker.
#[test]
fn process() {
    if let Some(run) = std::env::var_os("FAKE_RUN") {
        let code = work(Path::new(&run));
        std::process::exit(code);
    }
}

fn die() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("SIGKILL cannot be survived")
}

fn work(path: &Path) -> i32 {
    let run = RunFolder::open(path).unwrap();
    let Task::Train(task) = &run.spec().task else { panic!("the fake worker only trains") };
    let plan = task.data.path.to_string_lossy().into_owned();
    let key = |name: &str| -> Option<u64> {
        plan.split(',').filter_map(|p| p.split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v.parse().unwrap())
    };
    println!("fake worker at work");
    let holder = LockHolder { pid: std::process::id(), host: tb_jobs::host_lock::host_name(), at_ms: 1 };
    let Ok(_lock) = run.lock(&holder) else { return 1 };
    let mut writer = run.event_writer().unwrap();
    let saved = run.events_after(0).unwrap().into_iter().rev().find_map(|line| match line.body {
        RunEventBody::Checkpoint { step, .. } => Some(step),
        _ => None,
    });
    let first_attempt = writer.last_n() == 0;
    let at = |name: &str, step: u64| first_attempt && key(name) == Some(step);
    let steps = key("steps").unwrap_or(5);
    let mut say = |body| tell(&mut writer, body);
    say(RunEventBody::Started {
        pid: std::process::id(),
        host: "here".into(),
        worker_version: "0".into(),
        device: run.spec().device.clone(),
        resumed_from_step: saved,
    });
    say(RunEventBody::Plan(the_plan(steps)));
    let secret = if std::env::var_os("HF_TOKEN").is_some() { "a secret came along" } else { "no secret came along" };
    say(RunEventBody::Note { level: Level::Info, message: secret.into() });
    for note in 0..key("notes").unwrap_or(0) {
        say(RunEventBody::Note { level: Level::Info, message: format!("note {note}") });
    }
    let mut seen = run.control().unwrap();
    for step in saved.unwrap_or(0) + 1..=steps {
        if at("hang", step) {
            std::thread::sleep(Duration::from_secs(120));
        }
        let control = run.control().unwrap();
        if control.evaluate_now != seen.evaluate_now {
            say(RunEventBody::Eval(EvalPoint {
                step,
                epoch: 0.1,
                eval_loss: 0.5,
                mean_token_accuracy: None,
                is_best: true,
            }));
        }
        if control.checkpoint_now != seen.checkpoint_now {
            say(checkpoint(step - 1));
        }
        seen = control;
        match control.want {
            Want::Run => {}
            Want::Pause => {
                say(checkpoint(step - 1));
                say(RunEventBody::Paused { step: step - 1, trouble: None });
                return 0;
            }
            Want::Stop => {
                say(done(Outcome::Stopped, step - 1));
                return 0;
            }
        }
        say(RunEventBody::Step(point(step)));
        if key("checkpoint").is_some_and(|every| step % every == 0) {
            say(checkpoint(step));
        }
        if at("fail", step) {
            say(RunEventBody::Failed {
                code: ErrorCode::OutOfMemory,
                message: "Training stopped: memory ran out.".into(),
                hint: "Try batch size 2.".into(),
            });
            return 1;
        }
        if at("die", step) {
            die();
        }
        if at("torn", step) {
            let mut file = std::fs::OpenOptions::new().append(true).open(path.join(names::EVENTS)).unwrap();
            file.write_all(br#"{"n":99,"at_ms":1,"type":"st"#).unwrap();
            die();
        }
        std::thread::sleep(Duration::from_millis(key("ms").unwrap_or(1)));
    }
    say(done(Outcome::Completed, steps));
    0
}

fn tell(writer: &mut EventWriter, body: RunEventBody) {
    writer.append(1, body).unwrap();
}

fn the_plan(steps: u64) -> Plan {
    Plan {
        total_steps: steps,
        rows: steps,
        eval_rows: 0,
        cut_rows: 0,
        supervised_tokens: steps,
        tokens: steps,
        trainable_parameters: 1,
        total_parameters: 100,
        identity: "identity".into(),
        base_sha256: "base".into(),
        data_sha256: "data".into(),
    }
}

fn point(step: u64) -> StepPoint {
    StepPoint {
        step,
        epoch: step as f64,
        loss: 1.0 / step as f64,
        grad_norm: 1.0,
        learning_rate: 1e-4,
        tokens: 1,
        num_tokens: step,
        tokens_per_s: 1.0,
        peak_memory_bytes: 1,
        eta_s: 0.0,
    }
}

fn checkpoint(step: u64) -> RunEventBody {
    RunEventBody::Checkpoint { step, path: format!("checkpoints/step-{step:06}"), size_bytes: 10, is_best: false }
}

fn done(outcome: Outcome, step: u64) -> RunEventBody {
    let metrics = [("train_loss".to_owned(), 0.25.into())].into_iter().collect();
    RunEventBody::Done(Done { outcome, step, metrics, files: vec![] })
}
