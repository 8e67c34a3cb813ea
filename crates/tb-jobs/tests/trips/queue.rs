//! Submitting, order, devices, and jobs that never start.

use tb_core::{event::EventBody, job::JobStatus, run_folder::RunEventBody};
use tb_jobs::{Error, Hosting};

use super::support::{Home, all_events, assert_stored_once, new_job, rest, until, worker_at};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_from_the_queue_to_its_result() {
    let home = Home::new();
    let jobs = home.jobs().await;
    assert!(jobs.supervises());
    let job = jobs.submit(new_job("steps=30,ms=2,checkpoint=10")).await.unwrap();
    assert_eq!((job.status, job.progress), (JobStatus::Pending, 0.0));
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Completed, "{end:?}");
    assert_eq!(end.progress, 1.0);
    assert_eq!(end.metrics["train_loss"], 0.25);
    assert_eq!(end.metrics["step"], 30);
    assert!(end.started_at_ms.is_some() && end.completed_at_ms.is_some() && end.error_message.is_none());
    let db = home.db().await;
    assert_stored_once(&db, &home.run(&job.id), &job.id, 30).await;
    let checkpoints = tb_db::checkpoints::list(&db, &job.id).await.unwrap();
    assert_eq!(checkpoints.iter().map(|c| c.step).collect::<Vec<_>>(), [10, 20, 30]);
    let trained = home.hook.trained.lock().unwrap();
    let [(id, plan, done)] = trained.as_slice() else { panic!("{trained:?}") };
    assert_eq!((id, plan.as_ref().unwrap().identity.as_str(), done.step), (&job.id, "identity", 30));
    let log = std::fs::read_to_string(home.run(&job.id).path().join("worker.log")).unwrap();
    assert!(log.contains("fake worker at work"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_jobs_on_one_device_run_one_after_another_and_another_device_beside_them() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let first = jobs.submit(new_job("steps=100000,ms=10")).await.unwrap();
    let second = jobs.submit(new_job("steps=2")).await.unwrap();
    let mut beside = new_job("steps=2");
    beside.device = Some("cuda:0".into());
    let beside = jobs.submit(beside).await.unwrap();
    assert_eq!(rest(&jobs, &beside.id).await.status, JobStatus::Completed);
    until("the first runs", async || (jobs.get(&first.id).await.unwrap().status == JobStatus::Running).then_some(()))
        .await;
    assert_eq!(jobs.get(&second.id).await.unwrap().status, JobStatus::Pending);
    jobs.stop(&first.id).await.unwrap();
    assert_eq!(rest(&jobs, &first.id).await.status, JobStatus::Stopped);
    assert_eq!(rest(&jobs, &second.id).await.status, JobStatus::Completed);
    let events = all_events(&home.db().await).await;
    let seq = |id: &_, wanted: fn(&RunEventBody) -> bool| {
        let of =
            |body: &EventBody| matches!(body, EventBody::Run { job_id, event } if job_id == id && wanted(&event.body));
        events.iter().find(|e| of(&e.body)).unwrap().seq
    };
    let first_ended = seq(&first.id, |b| matches!(b, RunEventBody::Done(_)));
    assert!(first_ended < seq(&second.id, |b| matches!(b, RunEventBody::Started { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_job_can_be_moved_paused_and_stopped() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let running = jobs.submit(new_job("steps=1000,ms=20")).await.unwrap();
    until("it runs", async || (jobs.get(&running.id).await.unwrap().status == JobStatus::Running).then_some(())).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(jobs.submit(new_job("steps=1")).await.unwrap().id);
    }
    let moved = jobs.move_in_queue(&ids[2], 0).await.unwrap();
    assert_eq!(moved.queue_rank, 0);
    jobs.move_in_queue(&ids[0], 99).await.unwrap();
    let order: Vec<_> = tb_db::jobs::pending(&home.db().await).await.unwrap().into_iter().map(|j| j.id).collect();
    assert_eq!(order, [&ids[2], &ids[1], &ids[3], &ids[0]].map(Clone::clone));
    assert!(matches!(jobs.move_in_queue(&running.id, 0).await, Err(Error::NotWaiting { .. })));

    assert_eq!(jobs.stop(&ids[1]).await.unwrap().status, JobStatus::Stopped);
    assert_eq!(jobs.pause(&ids[3]).await.unwrap().status, JobStatus::Paused);
    assert!(matches!(jobs.stop(&ids[1]).await, Err(Error::Refused(_))));
    jobs.stop(&running.id).await.unwrap();
    assert_eq!(rest(&jobs, &running.id).await.status, JobStatus::Stopped);
    assert_eq!(rest(&jobs, &ids[0]).await.status, JobStatus::Completed);
    let (first, last) = (jobs.get(&ids[2]).await.unwrap(), jobs.get(&ids[0]).await.unwrap());
    assert_eq!(first.status, JobStatus::Completed);
    assert!(first.started_at_ms <= last.started_at_ms);
    assert!(!home.run(&ids[1]).path().join("events.jsonl").exists(), "a stopped job never started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_why() {
    let home = Home::new();
    let gone = worker_at(std::path::Path::new("/nowhere/worker"), &["cpu"]);
    let jobs = home.jobs_with(vec![gone], Hosting::WhenFree).await;
    let mut elsewhere = new_job("steps=1");
    elsewhere.device = Some("cuda:3".into());
    let error = tb_core::ApiError::from(jobs.submit(elsewhere).await.unwrap_err());
    assert!(error.message.contains("cuda:3") && error.hint.contains("cpu"), "{error}");
    let mut bad = new_job("steps=1");
    bad.hyperparameters.lora_r = 0;
    assert!(matches!(jobs.submit(bad).await, Err(Error::Hyperparameter(_))));
    assert_eq!(std::fs::read_dir(home.path().join(tb_jobs::RUNS)).unwrap().count(), 0);

    let job = jobs.submit(new_job("steps=1")).await.unwrap();
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Failed);
    let message = end.error_message.unwrap();
    assert!(message.contains("/nowhere/worker") && message.contains("TONEBRIDGE_WORKER"), "{message}");
}
