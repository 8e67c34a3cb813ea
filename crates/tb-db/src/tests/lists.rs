//! Lists: their order, filters and pages, and the counts over feedback.

use tb_core::{
    deploy::DeployStatus,
    feedback::FeedbackType,
    ids::{DatasetId, JobId, ModelId},
    job::{Job, JobKind, JobStatus},
    model::{Model, ModelStatus},
};

use super::*;
use crate::{
    Page, ab_tests, deployments, evaluations, exports,
    feedback::{self as feedback_rows, FeedbackFilter, FeedbackTypeCount},
    jobs::JobFilter,
    metric_points,
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
async fn feedback_is_counted_as_by_hand() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    for (n, rating) in (1..).zip([Some(5), Some(5), Some(2), None, None]) {
        feedback_rows::insert(&mut tx, &feedback(n, rating)).await.unwrap();
    }
    let other = Feedback { model_id: ModelId::from_uuid(uuid(2)), ..feedback(6, Some(1)) };
    feedback_rows::insert(&mut tx, &other).await.unwrap();
    let one = FeedbackFilter { model_id: Some(ModelId::from_uuid(uuid(1))), ..FeedbackFilter::default() };
    let stats = feedback_rows::stats(&mut tx, &one).await.unwrap();
    assert_eq!((stats.total, stats.by_rating, stats.corrections), (5, [0, 1, 0, 0, 2], 2));
    assert_eq!(stats.mean_rating, Some(4.0));
    let count = |feedback_type, rows| FeedbackTypeCount { feedback_type, rows };
    assert_eq!(stats.by_type, [count(FeedbackType::Correction, 2), count(FeedbackType::Rating, 3)]);
    let all = feedback_rows::stats(&mut tx, &FeedbackFilter::default()).await.unwrap();
    assert_eq!((all.total, all.by_rating[0]), (6, 1));
    let none = FeedbackFilter { transformation_type: Some("summary".into()), ..FeedbackFilter::default() };
    let none = feedback_rows::stats(&mut tx, &none).await.unwrap();
    assert_eq!((none.total, none.mean_rating), (0, None));
    let part = feedback_rows::list(&mut tx, &one, &Page::after(feedback(4, None).id, 2)).await.unwrap();
    assert_eq!(part, [feedback(3, Some(2)), feedback(2, Some(5))]);
}

#[tokio::test]
async fn a_long_curve_is_thinned_without_losing_ends_or_spikes() {
    let fixture = Fixture::filled().await;
    let job_id = JobId::from_uuid(uuid(1));
    let mut tx = fixture.begin().await;
    let curve: Vec<_> = (1..=1_000)
        .map(|step| {
            point(
                step,
                if step == 637 {
                    90.0
                } else if step == 412 {
                    -3.0
                } else {
                    5.0 - step as f64 / 500.0
                },
            )
        })
        .collect();
    metric_points::put(&mut tx, &job_id, &curve).await.unwrap();
    tx.commit().await.unwrap();
    for max in [3, 10, 50, 999] {
        let thin = metric_points::list(&fixture.db, &job_id, 0, max).await.unwrap();
        assert!(thin.len() <= max as usize + 1, "{} of {max}", thin.len());
        assert!(thin.is_sorted_by_key(|p| p.step));
        for step in [1, 412, 637, 1_000] {
            assert!(thin.iter().any(|p| p.step == step), "step {step} of {max}");
        }
    }
    for max in [0, 1_000, 5_000] {
        assert_eq!(metric_points::list(&fixture.db, &job_id, 0, max).await.unwrap(), curve);
    }
    let late = metric_points::list(&fixture.db, &job_id, 501, 20).await.unwrap();
    assert_eq!((late[0].step, late[late.len() - 1].step), (501, 1_000));
    assert!(late.len() <= 20);
}
