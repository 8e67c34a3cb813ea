//! Prompts and the workers that answer them, with a worker that computes nothing.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tb_core::{
    ApiError, ErrorCode,
    recipe::Dtype,
    run_folder::Decoding,
    serving::{Finish, Generate, Load, Prompt},
};
use tb_jobs::{
    Clock, Serving,
    serving::{Answer, Limits, Piece},
};

use super::support::{LIMIT, kill, until, worker};

/// A clock that stands still until it is moved.
#[derive(Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }
}

struct Desk {
    dir: tempfile::TempDir,
    clock: Arc<Hand>,
    serving: Serving,
}

impl Desk {
    fn new(limits: Limits) -> Self {
        let clock = Arc::<Hand>::default();
        let serving = Serving::new(vec![worker()], clock.clone(), limits);
        Self { dir: tempfile::tempdir().unwrap(), clock, serving }
    }

    /// The folder of a base, made if it is not there.
    fn base(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let config = folder.join("config.json");
        if !config.exists() {
            std::fs::write(config, "{}").unwrap();
        }
        folder
    }

    async fn ask(&self, base: &str, prompt: &str) -> Result<Answer, ApiError> {
        let load = Load { device: "cpu".into(), base: self.base(base), dtype: Dtype::Auto, quantization: None };
        let prompt = Prompt::Text { text: prompt.into() };
        self.serving.generate(load, Generate { adapter: None, prompt, decoding: Decoding::default() }).await
    }

    /// The whole text of an answer.
    async fn text(&self, base: &str, prompt: &str) -> Result<String, ApiError> {
        whole(self.ask(base, prompt).await?).await
    }

    async fn pid(&self, base: &str) -> u32 {
        self.text(base, "pid").await.unwrap().parse().unwrap()
    }
}

async fn next(answer: &mut Answer) -> Option<Result<Piece, ApiError>> {
    tokio::time::timeout(LIMIT, answer.next()).await.expect("a piece comes")
}

async fn whole(mut answer: Answer) -> Result<String, ApiError> {
    let mut text = String::new();
    loop {
        match next(&mut answer).await.expect("an answer has an end")? {
            Piece::Started { .. } => {}
            Piece::Text(more) => text += &more,
            Piece::Done(_) => {
                assert!(next(&mut answer).await.is_none(), "nothing comes after the end");
                return Ok(text);
            }
        }
    }
}

/// Reads on until the worker makes the answer.
async fn begun(answer: &mut Answer) {
    while !matches!(next(answer).await, Some(Ok(Piece::Text(_)))) {}
}

/// Whether a process runs; one that has ended and waits to be noticed does not.
fn alive(pid: u32) -> bool {
    if let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
        return !status.contains("State:\tZ");
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::test_kill_process(pid).is_ok()
}

async fn gone(pid: u32) {
    until("the worker is gone", async || (!alive(pid)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_is_loaded_once_and_answers_many() {
    let desk = Desk::new(Limits::default());
    assert!(desk.serving.in_memory().is_empty(), "nothing is started before it is needed");
    let pid = desk.pid("base").await;
    assert_eq!(desk.pid("base").await, pid);
    assert_ne!(desk.pid("other").await, pid);
    let (a, b) = tokio::join!(desk.text("base", "echo 丁寧に"), desk.text("base", "echo b"));
    assert_eq!((a.unwrap().as_str(), b.unwrap().as_str()), ("丁寧に", "b"));
    assert_eq!(desk.text("base", "garbage").await.unwrap(), "ok");
    assert_eq!(desk.text("base", "dance").await.unwrap_err().code, ErrorCode::InvalidArgument);
    let living: Vec<(Option<u32>, usize)> = desk.serving.in_memory().iter().map(|m| (m.pid, m.asked)).collect();
    assert!(living.len() == 2 && living.contains(&(Some(pid), 0)), "{living:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_says_so_to_its_callers_and_the_next_prompt_starts_another() {
    let desk = Desk::new(Limits::default());
    let pid = desk.pid("base").await;
    let mut held = desk.ask("base", "hold").await.unwrap();
    begun(&mut held).await;
    let mut dying = desk.ask("base", "die").await.unwrap();
    assert!(matches!(next(&mut dying).await, Some(Ok(Piece::Started { .. }))));
    assert_eq!(next(&mut dying).await, Some(Ok(Piece::Text("so far".into()))), "what was said is given");
    for answer in [&mut dying, &mut held] {
        let error = next(answer).await.unwrap().unwrap_err();
        assert_eq!(error.code, ErrorCode::WorkerLost);
        assert!(error.message.contains("signal: 9") && error.message.contains("the fake server dies"), "{error}");
        assert!(error.hint.contains("starts by itself"), "{error}");
        assert!(next(answer).await.is_none());
    }
    assert_ne!(desk.pid("base").await, pid);

    let pid = desk.pid("base").await;
    kill(pid);
    gone(pid).await;
    until("a new worker answers", async || desk.text("base", "echo again").await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_comes_while_a_worker_goes_is_told_so() {
    let desk = Desk::new(Limits::default());
    let pid = desk.pid("base").await;
    let mut last = desk.ask("base", "mute").await.unwrap();
    assert!(matches!(next(&mut last).await, Some(Ok(Piece::Started { .. }))));
    // Its output is closed, and the host waits for its end: whoever comes now is told when that has come.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(alive(pid));
    assert_eq!(desk.text("base", "echo late").await.unwrap_err().code, ErrorCode::WorkerLost);
    assert_eq!(next(&mut last).await.unwrap().unwrap_err().code, ErrorCode::WorkerLost);
    assert_ne!(desk.pid("base").await, pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_that_cannot_be_loaded_is_the_callers_error_each_time() {
    let desk = Desk::new(Limits::default());
    for _ in 0..2 {
        let error = desk.text("refused", "echo a").await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::DataInvalid, "The base is damaged."));
        assert_eq!(desk.text("dies", "echo a").await.unwrap_err().code, ErrorCode::WorkerLost);
    }
    assert!(desk.serving.in_memory().is_empty());
    let load = Load { device: "tpu".into(), base: desk.base("base"), dtype: Dtype::Auto, quantization: None };
    let prompt = Prompt::Text { text: "pid".into() };
    let none = desk.serving.generate(load, Generate { adapter: None, prompt, decoding: Decoding::default() }).await;
    let error = none.err().unwrap();
    assert!(error.code == ErrorCode::Unavailable && error.message.contains("tpu"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_answer_gives_its_place_to_the_next() {
    let desk = Desk::new(Limits { at_once: 1, waiting: 1, ..Limits::default() });
    let mut held = desk.ask("base", "hold").await.unwrap();
    begun(&mut held).await;
    let waiting = desk.ask("base", "echo my turn").await.unwrap();
    let refused = desk.text("base", "echo too many").await.unwrap_err();
    assert!(refused.code == ErrorCode::Unavailable && refused.message.contains("wait"), "{refused}");
    drop(held);
    assert_eq!(whole(waiting).await.unwrap(), "my turn");

    // One that never had a place leaves nothing behind.
    let mut held = desk.ask("base", "hold").await.unwrap();
    begun(&mut held).await;
    drop(desk.ask("base", "echo never heard").await.unwrap());
    drop(held);
    assert_eq!(desk.text("base", "echo after").await.unwrap(), "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_too_many_takes_the_place_of_one_that_rests() {
    let desk = Desk::new(Limits { bases_per_device: 2, ..Limits::default() });
    let first = desk.pid("first").await;
    desk.clock.0.store(10, Ordering::Release);
    let second = desk.pid("second").await;
    desk.clock.0.store(20, Ordering::Release);
    assert_eq!(desk.pid("first").await, first);
    let third = desk.pid("third").await;
    gone(second).await;
    assert!(alive(first) && alive(third), "the one used longest ago left");

    let mut busy = Vec::new();
    for base in ["first", "third"] {
        let mut held = desk.ask(base, "hold").await.unwrap();
        begun(&mut held).await;
        busy.push(held);
    }
    let refused = desk.text("fourth", "echo a").await.unwrap_err();
    assert!(refused.code == ErrorCode::Unavailable && refused.message.contains("other base models"), "{refused}");
    drop(busy);
    assert_eq!(desk.text("fourth", "echo a").await.unwrap(), "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_rests_for_ten_minutes_ends() {
    let desk = Desk::new(Limits::default());
    let pid = desk.pid("base").await;
    let mut held = desk.ask("base", "hold").await.unwrap();
    begun(&mut held).await;
    desk.clock.0.store(3_600_000, Ordering::Release);
    desk.serving.end_idle();
    assert_eq!(desk.pid("base").await, pid, "one that answers does not rest");
    drop(held);
    desk.clock.0.fetch_add(599_999, Ordering::AcqRel);
    desk.serving.end_idle();
    assert_eq!(desk.pid("base").await, pid);
    desk.clock.0.fetch_add(600_000, Ordering::AcqRel);
    desk.serving.end_idle();
    gone(pid).await;
    assert!(desk.serving.in_memory().is_empty());
    assert_ne!(desk.pid("base").await, pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_whose_files_changed_is_loaded_again() {
    let desk = Desk::new(Limits::default());
    let pid = desk.pid("base").await;
    let mut held = desk.ask("base", "hold").await.unwrap();
    begun(&mut held).await;
    std::fs::write(desk.base("base").join("model.safetensors"), "other weights").unwrap();
    let other = desk.pid("base").await;
    assert_ne!(other, pid);
    assert!(alive(pid), "an answer is made to its end with the weights it began with");
    drop(held);
    gone(pid).await;
    assert_eq!(desk.pid("base").await, other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_workers_and_answers() {
    let desk = Desk::new(Limits::default());
    let pid = desk.pid("base").await;
    let mut held = desk.ask("base", "hold").await.unwrap();
    begun(&mut held).await;
    tokio::time::timeout(LIMIT, desk.serving.close()).await.unwrap();
    assert!(!alive(pid));
    assert_eq!(next(&mut held).await.unwrap().unwrap_err().code, ErrorCode::Cancelled);
    assert_eq!(desk.text("base", "pid").await.unwrap_err().code, ErrorCode::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_serving_ends_its_workers() {
    let desk = Desk::new(Limits::default());
    let pid = desk.pid("base").await;
    let deaf = desk.ask("base", "deaf").await.unwrap();
    drop((deaf, desk));
    gone(pid).await;
}

/// The host that is killed in the test below: serves one base, tells its worker's process, and waits. As a test it does nothing.
#[tokio::test]
async fn host_process() {
    let Some(file) = std::env::var_os("SERVING_HOST_FILE") else { return };
    let desk = Desk::new(Limits::default());
    let mut held = desk.ask("base", "hold").await.unwrap();
    begun(&mut held).await;
    std::fs::write(file, desk.pid("base").await.to_string()).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_when_its_host_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let mut host = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "trips::serving::host_process", "--nocapture"])
        .env("SERVING_HOST_FILE", &file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid: u32 =
        until("the host serves", async || std::fs::read_to_string(&file).ok().and_then(|t| t.parse().ok())).await;
    assert!(alive(pid));
    host.kill().unwrap();
    host.wait().unwrap();
    gone(pid).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_ends_once() {
    let desk = Desk::new(Limits::default());
    let mut held = desk.ask("base", "hold").await.unwrap();
    begun(&mut held).await;
    drop(held);
    let mut answer = desk.ask("base", "echo x").await.unwrap();
    assert!(matches!(next(&mut answer).await, Some(Ok(Piece::Started { .. }))));
    assert_eq!(next(&mut answer).await, Some(Ok(Piece::Text("x".into()))));
    let Some(Ok(Piece::Done(finished))) = next(&mut answer).await else { panic!("the end") };
    assert_eq!(finished.finish, Finish::Eos);
    assert!(next(&mut answer).await.is_none() && next(&mut answer).await.is_none());
}
