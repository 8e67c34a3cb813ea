//! Workers that die, hosts that die, and lines that are torn or lost.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tb_core::{ids::JobId, job::JobStatus, run_folder::RunEventBody};

use super::support::{Home, assert_stored_once, kill, lines, new_job, rest, until, written};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_leaves_an_interrupted_job_that_resumes() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=30,ms=5,checkpoint=4,hang=10")).await.unwrap();
    let run = home.run(&job.id);
    let pid = written(&run, 3 + 9 + 2).await;
    kill(pid);
    let killed = Instant::now();
    let end = rest(&jobs, &job.id).await;
    assert!(killed.elapsed() < Duration::from_secs(2), "noticed after {:?}", killed.elapsed());
    assert_eq!(end.status, JobStatus::Interrupted);
    let message = end.error_message.unwrap();
    for part in ["at step 9", "checkpoint from step 8 is safe", "Resume", "SIGKILL"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(jobs.resume(&job.id).await.unwrap().status, JobStatus::Pending);
    let end = rest(&jobs, &job.id).await;
    assert_eq!((end.status, end.progress, end.error_message), (JobStatus::Completed, 1.0, None));
    assert!(lines(&run).iter().any(|l| matches!(l.body, RunEventBody::Started { resumed_from_step: Some(8), .. })));
    assert_stored_once(&home.db().await, &run, &job.id, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_last_line_is_dropped_and_its_number_used_again() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=12,checkpoint=5,torn=7")).await.unwrap();
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Interrupted, "{end:?}");
    let raw = std::fs::read_to_string(home.run(&job.id).path().join("events.jsonl")).unwrap();
    assert!(!raw.ends_with('\n'));
    jobs.resume(&job.id).await.unwrap();
    assert_eq!(rest(&jobs, &job.id).await.status, JobStatus::Completed);
    assert_stored_once(&home.db().await, &home.run(&job.id), &job.id, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_lost_with_the_machine_do_not_hide_the_next_ones() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=12,checkpoint=5,die=7")).await.unwrap();
    assert_eq!(rest(&jobs, &job.id).await.status, JobStatus::Interrupted);
    // As after a power failure: the database has what the file has not.
    let run = home.run(&job.id);
    let path = run.path().join("events.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let whole = text.lines().count();
    let kept: String = text.lines().take(whole - 2).map(|l| format!("{l}\n")).collect();
    std::fs::write(&path, kept).unwrap();
    jobs.resume(&job.id).await.unwrap();
    assert_eq!(rest(&jobs, &job.id).await.status, JobStatus::Completed);
    let points = tb_db::metric_points::list(&home.db().await, &job.id, 0, 0).await.unwrap();
    assert_eq!(points.len(), 12);
    let all = lines(&run);
    assert!(matches!(all[whole - 1].body, RunEventBody::Note { .. }), "{:?}", all[whole - 1]);
    assert!(matches!(all[whole].body, RunEventBody::Started { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_line_ends_the_job_with_its_place() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=500,ms=10")).await.unwrap();
    let run = home.run(&job.id);
    written(&run, 5).await;
    let mut file = std::fs::OpenOptions::new().append(true).open(run.path().join("events.jsonl")).unwrap();
    std::io::Write::write_all(&mut file, b"{\"n\":\"garbage\"}\n").unwrap();
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Failed);
    let message = end.error_message.unwrap();
    assert!(message.contains("events.jsonl") && message.contains("line"), "{message}");
    until("the worker was asked to leave", async || run.holder().unwrap().is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_in_the_workers_words_and_can_be_resumed() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=6,checkpoint=2,fail=5")).await.unwrap();
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Failed);
    assert_eq!(end.error_message.as_deref(), Some("Training stopped: memory ran out. Try batch size 2."));
    jobs.resume(&job.id).await.unwrap();
    assert_eq!(rest(&jobs, &job.id).await.status, JobStatus::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_cannot_be_registered_fails_the_job_and_a_resume_tries_again() {
    let home = Home::new();
    let jobs = home.jobs().await;
    home.hook.fails.store(true, std::sync::atomic::Ordering::Release);
    let job = jobs.submit(new_job("steps=4,checkpoint=2")).await.unwrap();
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Failed);
    let message = end.error_message.unwrap();
    assert!(message.contains("could not be registered") && message.contains("Models v1 is taken"), "{message}");
    assert!(
        !super::support::all_events(&home.db().await).await.iter().any(|e| e.at_ms == 7),
        "the hook's write stayed"
    );
    home.hook.fails.store(false, std::sync::atomic::Ordering::Release);
    jobs.resume(&job.id).await.unwrap();
    assert_eq!(rest(&jobs, &job.id).await.status, JobStatus::Completed);
    assert_eq!(home.hook.trained.lock().unwrap().len(), 1);
}

/// Does nothing as a test; started again with FAKE_HOST it is a host that submits one job and waits to be killed.
#[test]
fn host_process() {
    let Some(home) = std::env::var_os("FAKE_HOST") else { return };
    let plan = std::env::var("FAKE_PLAN").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let home = std::path::PathBuf::from(home);
        let db = tb_db::Db::open(&home.join("tonebridge.db")).await.unwrap();
        let jobs = tb_jobs::Jobs::open(db, &home, vec![super::support::worker()], std::sync::Arc::new(tb_jobs::NoHook))
            .await
            .unwrap();
        let job = jobs.submit(new_job(&plan)).await.unwrap();
        std::fs::write(home.join("id.part"), job.id.as_str()).unwrap();
        std::fs::rename(home.join("id.part"), home.join("id")).unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
    });
}

struct Host(std::process::Child);

impl Host {
    async fn start(home: &Home, plan: &str) -> (Self, JobId) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "trips::crashes::host_process", "--nocapture"])
            .env("FAKE_HOST", home.path())
            .env("FAKE_PLAN", plan)
            .env("HF_TOKEN", "hf_canary")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let id = until("the host has submitted", async || std::fs::read_to_string(home.path().join("id")).ok()).await;
        (Self(child), id.parse().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_host_is_followed_by_one_that_misses_nothing() {
    let home = Home::new();
    let (host, id) = Host::start(&home, "steps=150,ms=10,checkpoint=20").await;
    let db = home.db().await;
    until("some points are stored", async || {
        (tb_db::metric_points::list(&db, &id, 0, 0).await.unwrap().len() > 10).then_some(())
    })
    .await;
    host.kill();
    let run = home.run(&id);
    let before = lines(&run).len();
    let pid = written(&run, before + 20).await;
    let jobs = home.jobs().await;
    let end = rest(&jobs, &id).await;
    assert_eq!(end.status, JobStatus::Completed, "{end:?}");
    let started: Vec<_> = lines(&run)
        .into_iter()
        .filter_map(|l| match l.body {
            RunEventBody::Started { pid, .. } => Some(pid),
            _ => None,
        })
        .collect();
    assert_eq!(started, [pid], "one worker did it all");
    assert_stored_once(&db, &run, &id, 150).await;
    assert!(
        lines(&run)
            .iter()
            .any(|l| matches!(&l.body, RunEventBody::Note { message, .. } if message == "no secret came along"))
    );
    assert_eq!(home.hook.trained.lock().unwrap()[0].1.as_ref().unwrap().identity, "identity");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_died_without_a_host_is_found_dead() {
    let home = Home::new();
    let (host, id) = Host::start(&home, "steps=500,ms=10,checkpoint=5").await;
    let run = home.run(&id);
    let pid = written(&run, 20).await;
    host.kill();
    kill(pid);
    let jobs = home.jobs().await;
    let opened = Instant::now();
    let end = rest(&jobs, &id).await;
    assert!(opened.elapsed() < Duration::from_secs(2), "noticed after {:?}", opened.elapsed());
    assert_eq!(end.status, JobStatus::Interrupted);
    let last = lines(&run).iter().rev().find_map(|l| match &l.body {
        RunEventBody::Step(point) => Some(point.step),
        _ => None,
    });
    assert_stored_once(&home.db().await, &run, &id, last.unwrap()).await;
    jobs.resume(&id).await.unwrap();
    until("it runs again", async || (jobs.get(&id).await.unwrap().status == JobStatus::Running).then_some(())).await;
    jobs.stop(&id).await.unwrap();
    assert_eq!(rest(&jobs, &id).await.status, JobStatus::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ended_without_a_host_is_taken_to_its_end() {
    let home = Home::new();
    let (host, id) = Host::start(&home, "steps=40,ms=10").await;
    let run = home.run(&id);
    written(&run, 5).await;
    host.kill();
    until("the worker has left", async || run.holder().unwrap().is_none().then_some(())).await;
    let jobs = home.jobs().await;
    assert_eq!(rest(&jobs, &id).await.status, JobStatus::Completed);
    assert_stored_once(&home.db().await, &run, &id, 40).await;
}
