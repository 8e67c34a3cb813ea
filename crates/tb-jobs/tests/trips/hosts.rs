//! Several processes (here: several openers) on one home.

use tb_core::{event::EventBody, job::JobStatus};
use tb_jobs::Hosting;

use super::support::{Home, assert_stored_once, lines, new_job, rest, until, worker, written};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_host_sees_and_controls_but_does_not_supervise() {
    let home = Home::new();
    let first = home.jobs().await;
    let second = home.jobs().await;
    assert!(first.supervises() && !second.supervises());
    let mut events = second.subscribe(0);
    let job = second.submit(new_job("steps=1000,ms=10")).await.unwrap();
    let run = home.run(&job.id);
    written(&run, 5).await;
    second.pause(&job.id).await.unwrap();
    assert_eq!(rest(&second, &job.id).await.status, JobStatus::Paused);
    second.resume(&job.id).await.unwrap();
    until("it runs again", async || (second.get(&job.id).await.unwrap().status == JobStatus::Running).then_some(()))
        .await;
    second.stop(&job.id).await.unwrap();
    assert_eq!(rest(&second, &job.id).await.status, JobStatus::Stopped);
    let mut states = Vec::new();
    while states.last() != Some(&JobStatus::Stopped) {
        let event = tokio::time::timeout(super::support::LIMIT, events.next()).await.unwrap().unwrap();
        if let EventBody::Job { job } = event.body {
            states.push(job.status);
            states.dedup();
        }
    }
    let words: Vec<&str> = states.iter().map(|s| s.as_str()).collect();
    assert_eq!(words, ["pending", "running", "paused", "pending", "running", "stopped"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_host_takes_over_when_the_first_closes() {
    let home = Home::new();
    let first = home.jobs().await;
    let second = home.jobs().await;
    let job = first.submit(new_job("steps=200,ms=10")).await.unwrap();
    let run = home.run(&job.id);
    let pid = written(&run, 10).await;
    first.close().await;
    assert!(!first.supervises());
    until("the second supervises", async || second.supervises().then_some(())).await;
    assert_eq!(run.holder().unwrap().unwrap().pid, pid, "the worker went on");
    assert_eq!(rest(&second, &job.id).await.status, JobStatus::Completed);
    assert_stored_once(&home.db().await, &run, &job.id, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_and_opened_again_nothing_is_lost_or_doubled() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=250,ms=8,checkpoint=10")).await.unwrap();
    let run = home.run(&job.id);
    let mut jobs = Some(jobs);
    for round in 1..=4 {
        until("more is written", async || (lines(&run).len() >= round * 45).then_some(())).await;
        drop(jobs.take());
        jobs = Some(home.jobs().await);
    }
    let jobs = jobs.unwrap();
    assert_eq!(rest(&jobs, &job.id).await.status, JobStatus::Completed);
    assert_stored_once(&home.db().await, &run, &job.id, 250).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_never_hosts_leaves_the_lock_alone() {
    let home = Home::new();
    let visitor = home.jobs_with(vec![worker()], Hosting::Never).await;
    let job = visitor.submit(new_job("steps=2")).await.unwrap();
    assert!(!visitor.supervises());
    let host = home.jobs().await;
    assert!(host.supervises());
    assert_eq!(rest(&visitor, &job.id).await.status, JobStatus::Completed);
}
