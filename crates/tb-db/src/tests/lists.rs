//! Lists: their order, filters and pages, and filters of feedback.

use tb_core::{
    deploy::DeployStatus,
    ids::{DatasetId, JobId, ModelId},
    job::{Job, JobKind, JobStatus},
    model::{Model, ModelStatus},
};

use super::*;
use crate::{
    Page, ab_tests, deployments, evaluations, exports,
    feedback::{self as feedback_rows, FeedbackFilter},
    jobs::JobFilter,
    models::ModelFilter,
};

fn ids(jobs: &[Job]) -> Vec<String> {
    jobs.iter().map(|j| j.name.clone()).collect()
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    for n in 2..=7 {
        // Several at one moment: the id decides.
        jobs::insert(&mut tx, &Job { created_at_ms: 5_000, ..job(n) }).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut seen = Vec::new();
    let mut page = Page::first(3);
    loop {
        let part = jobs::list(&fixture.db, &JobFilter::default(), &page).await.unwrap();
        assert!(part.len() <= 3);
        let Some(last) = part.last() else { break };
        page = Page::after(last.id.clone(), 3);
        seen.extend(ids(&part));
    }
    assert_eq!(seen, ["job 7", "job 6", "job 5", "job 4", "job 3", "job 2", "job 1"]);
}

#[tokio::test]
async fn jobs_are_filtered_and_queued() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let rows = [
        Job { queue_rank: 9, ..job(2) },
        Job { queue_rank: -3, device: Some("cuda:0".into()), ..job(3) },
        Job { status: JobStatus::Running, started_at_ms: Some(20), ..job(4) },
        Job { status: JobStatus::Running, started_at_ms: Some(10), dataset_id: None, ..job(5) },
        Job { status: JobStatus::Failed, kind: JobKind::Evaluate, model_id: Some(model(1).id), ..job(6) },
    ];
    for row in &rows {
        jobs::insert(&mut tx, row).await.unwrap();
    }
    tx.commit().await.unwrap();
    let db = &fixture.db;
    assert_eq!(ids(&jobs::pending(db).await.unwrap()), ["job 3", "job 1", "job 2"]);
    assert_eq!(ids(&jobs::running(db).await.unwrap()), ["job 5", "job 4"]);
    assert_eq!(jobs::next_pending(db, "cuda:0").await.unwrap().unwrap().name, "job 3");
    assert_eq!(jobs::next_pending(db, "cpu").await.unwrap().unwrap().name, "job 1");

    let list = async |filter: JobFilter| ids(&jobs::list(db, &filter, &Page::default()).await.unwrap());
    let statuses = vec![JobStatus::Failed, JobStatus::Running];
    assert_eq!(list(JobFilter { statuses, ..JobFilter::default() }).await, ["job 6", "job 5", "job 4"]);
    assert_eq!(list(JobFilter { kind: Some(JobKind::Evaluate), ..JobFilter::default() }).await, ["job 6"]);
    assert_eq!(list(JobFilter { model_id: Some(model(1).id), ..JobFilter::default() }).await, ["job 6"]);
    let dataset_id = Some(DatasetId::from_uuid(uuid(1)));
    let statuses = vec![JobStatus::Running];
    assert_eq!(list(JobFilter { dataset_id, statuses, ..JobFilter::default() }).await, ["job 4"]);
}

#[tokio::test]
async fn other_lists_are_filtered_and_newest_first() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    models::insert(&mut tx, &Model { name: "short".into(), status: ModelStatus::Staging, ..model(3) }).await.unwrap();
    datasets::insert(&mut tx, &dataset(2)).await.unwrap();
    for n in 1..=3 {
        evaluations::insert(&mut tx, &evaluation(n)).await.unwrap();
    }
    for n in 1..=3 {
        exports::insert(&mut tx, &export(n)).await.unwrap();
    }
    ab_tests::insert(&mut tx, &ab_test(1)).await.unwrap();
    deployments::insert(&mut tx, &deployment(1, DeployStatus::Live)).await.unwrap();
    deployments::insert(&mut tx, &deployment(2, DeployStatus::Failed)).await.unwrap();
    tx.commit().await.unwrap();
    let (db, all) = (&fixture.db, Page::default());

    let list = async |filter: ModelFilter| -> Vec<u32> {
        models::list(db, &filter, &Page::default()).await.unwrap().into_iter().map(|m| m.version).collect()
    };
    assert_eq!(list(ModelFilter::default()).await, [3, 2, 1]);
    assert_eq!(list(ModelFilter { name: Some("polite".into()), ..ModelFilter::default() }).await, [2, 1]);
    assert_eq!(list(ModelFilter { status: Some(ModelStatus::Staging), ..ModelFilter::default() }).await, [3]);
    assert_eq!(list(ModelFilter { model_type: Some("structure".into()), ..ModelFilter::default() }).await, [0; 0]);
    let by_job = ModelFilter { training_job_id: Some(JobId::from_uuid(uuid(1))), ..ModelFilter::default() };
    assert_eq!(list(by_job).await, [3, 2, 1]);

    let versions: Vec<u32> = datasets::list(db, &Page::default()).await.unwrap().iter().map(|d| d.version).collect();
    assert_eq!(versions, [2, 1]);

    let filter = evaluations::EvaluationFilter { model_id: Some(model(1).id), ..Default::default() };
    let found = evaluations::list(db, &filter, &Page::after(evaluation(3).id, 10)).await.unwrap();
    assert_eq!(found, [evaluation(2)]);

    let filter = exports::ExportFilter { model_id: Some(model(2).id) };
    let found = exports::list(db, &filter, &Page::default()).await.unwrap();
    assert_eq!(found, [export(3), export(1)]);
    let found = exports::list(db, &exports::ExportFilter::default(), &Page::after(export(3).id, 10)).await.unwrap();
    assert_eq!(found, [export(2), export(1)]);

    let either = |id| ab_tests::AbTestFilter { model_id: Some(id), status: Some(AbTestStatus::Active) };
    assert_eq!(ab_tests::list(db, &either(model(2).id), &Page::default()).await.unwrap(), [ab_test(1)]);
    assert_eq!(ab_tests::list(db, &either(model(3).id), &Page::default()).await.unwrap(), []);

    let filter = deployments::DeploymentFilter { status: Some(DeployStatus::Failed), ..Default::default() };
    assert_eq!(deployments::list(db, &filter, &all).await.unwrap(), [deployment(2, DeployStatus::Failed)]);
    let filter = deployments::DeploymentFilter { name: Some("polite".into()), ..Default::default() };
    assert_eq!(deployments::list(db, &filter, &all).await.unwrap().len(), 2);
}

#[tokio::test]
async fn feedback_is_listed_newest_first_by_what_it_says() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let mut sums = feedback_rows::sums::Sums::default();
    for (n, rating) in (1..).zip([Some(5), Some(5), Some(2), None, None]) {
        feedback_rows::insert(&mut tx, &feedback(n, rating), &mut sums).await.unwrap();
    }
    feedback_rows::withdraw(&mut tx, &feedback(5, None).id, 9_000, "a slip").await.unwrap();
    let of_one = FeedbackFilter { model_id: Some(ModelId::from_uuid(uuid(1))), ..FeedbackFilter::default() };
    let part = feedback_rows::list(&mut tx, &of_one, &Page::after(feedback(4, None).id, 2)).await.unwrap();
    assert_eq!(part, [feedback(3, Some(2)), feedback(2, Some(5))]);
    let best = FeedbackFilter { rating: Some(5.try_into().unwrap()), ..of_one.clone() };
    assert_eq!(feedback_rows::list(&mut tx, &best, &Page::default()).await.unwrap().len(), 2);
    let between = FeedbackFilter { since_ms: Some(1_002), until_ms: Some(1_004), ..FeedbackFilter::default() };
    assert_eq!(feedback_rows::list(&mut tx, &between, &Page::default()).await.unwrap().len(), 2);
    let gone = FeedbackFilter { withdrawn: Some(true), ..FeedbackFilter::default() };
    let gone = feedback_rows::list(&mut tx, &gone, &Page::default()).await.unwrap();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].withdrawn_reason.as_deref(), Some("a slip"));
    let counts = FeedbackFilter { withdrawn: Some(false), ..FeedbackFilter::default() };
    assert_eq!(feedback_rows::list(&mut tx, &counts, &Page::default()).await.unwrap().len(), 4);
}
