//! What the user asks of a running job.

use tb_core::{job::JobStatus, run_folder::RunEventBody};
use tb_jobs::Error;

use super::support::{Home, assert_stored_once, lines, new_job, rest, until, written};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_job_goes_on_where_it_was() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=60,ms=5")).await.unwrap();
    let run = home.run(&job.id);
    written(&run, 10).await;
    assert_eq!(jobs.pause(&job.id).await.unwrap().status, JobStatus::Running);
    assert_eq!(rest(&jobs, &job.id).await.status, JobStatus::Paused);
    let done = lines(&run).len();
    assert_eq!(jobs.resume(&job.id).await.unwrap().status, JobStatus::Pending);
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Completed);
    // Started, plan, note, the remaining steps and the last word: nothing was done twice.
    assert_eq!(lines(&run).iter().filter(|l| matches!(l.body, RunEventBody::Step(_))).count(), 60);
    assert!(lines(&run).len() > done);
    assert_stored_once(&home.db().await, &run, &job.id, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_taken_back_never_leaves_the_job_behind() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=80,ms=5")).await.unwrap();
    let run = home.run(&job.id);
    written(&run, 10).await;
    assert!(matches!(jobs.resume(&job.id).await, Err(Error::Refused(_))), "nothing was to be taken back");
    jobs.pause(&job.id).await.unwrap();
    // The worker may or may not have obeyed by now: either way the job goes on to its end.
    until("the worker obeys or the wish is taken back", async || match jobs.resume(&job.id).await {
        Ok(_) => Some(()),
        Err(error) => panic!("{error}"),
    })
    .await;
    let end = until("the job is done", async || {
        let job = rest(&jobs, &job.id).await;
        (job.status == JobStatus::Completed).then_some(job)
    })
    .await;
    assert_eq!(end.progress, 1.0);
    assert_stored_once(&home.db().await, &run, &job.id, 80).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wishes_reach_the_worker_and_only_a_running_one() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=1000,ms=10")).await.unwrap();
    let run = home.run(&job.id);
    written(&run, 5).await;
    jobs.evaluate_now(&job.id).await.unwrap();
    jobs.checkpoint_now(&job.id).await.unwrap();
    let db = home.db().await;
    until("both are stored", async || {
        let evals = tb_db::metric_points::list_eval(&db, &job.id).await.unwrap();
        let checkpoints = tb_db::checkpoints::list(&db, &job.id).await.unwrap();
        (evals.len() == 1 && checkpoints.len() == 1).then_some(())
    })
    .await;
    assert_eq!(jobs.get(&job.id).await.unwrap().metrics["eval_loss"], 0.5);
    jobs.stop(&job.id).await.unwrap();
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Stopped);
    assert!(end.progress < 1.0 && end.progress > 0.0);
    assert_eq!(home.hook.trained.lock().unwrap().len(), 1, "what it had learned is registered");
    assert!(matches!(jobs.evaluate_now(&job.id).await, Err(Error::NotRunning { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_can_be_ended() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=20,checkpoint=2,hang=6")).await.unwrap();
    let run = home.run(&job.id);
    written(&run, 3 + 5 + 2).await;
    jobs.kill(&job.id).await.unwrap();
    let end = rest(&jobs, &job.id).await;
    assert_eq!(end.status, JobStatus::Stopped);
    assert!(end.error_message.unwrap().contains("checkpoint from step 4 is safe"));
}
