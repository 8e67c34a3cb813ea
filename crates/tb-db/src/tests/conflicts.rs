//! What is refused, and with which error.

use tb_core::{
    ApiError, ErrorCode,
    deploy::DeployStatus,
    event::EventBody,
    ids::{JobId, ModelId, UserId},
    job::{Job, JobStatus},
    model::{Model, ModelStatus},
    user::Role,
};

use super::*;
use crate::{
    Error, ab_tests, deployments, events,
    feedback::{
        self as feedback_rows, Inserted,
        sums::{self, By, Sums, SumsFilter},
    },
    metric_points, users,
};

#[tokio::test]
async fn the_second_of_two_changes_to_one_version_is_stale() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let seen = job(1);
    jobs::update(&mut tx, &Job { status: JobStatus::Running, ..seen.clone() }).await.unwrap();
    let second = jobs::update(&mut tx, &Job { status: JobStatus::Paused, ..seen.clone() }).await;
    let Err(Error::Stale { table: "training_jobs", id }) = second else { panic!("{second:?}") };
    assert_eq!(id, seen.id.as_str());
    assert_eq!(jobs::get(&mut tx, &seen.id).await.unwrap().unwrap().status, JobStatus::Running);
    assert!(matches!(jobs::get_at(&mut tx, &seen.id, 0).await, Err(Error::Stale { .. })));
    assert!(matches!(jobs::update(&mut tx, &job(77)).await, Err(Error::Stale { .. })));

    models::update(&mut tx, &model(1)).await.unwrap();
    assert!(matches!(models::update(&mut tx, &model(1)).await, Err(Error::Stale { table: "models", .. })));
    ab_tests::insert(&mut tx, &ab_test(1)).await.unwrap();
    ab_tests::update(&mut tx, &ab_test(1)).await.unwrap();
    assert!(matches!(ab_tests::update(&mut tx, &ab_test(1)).await, Err(Error::Stale { table: "ab_tests", .. })));
    deployments::insert(&mut tx, &deployment(1, DeployStatus::Warming)).await.unwrap();
    let failed = deployment(1, DeployStatus::Failed);
    deployments::update(&mut tx, &failed, DeployStatus::Warming).await.unwrap();
    assert!(matches!(
        deployments::update(&mut tx, &failed, DeployStatus::Warming).await,
        Err(Error::Stale { table: "deployments", .. })
    ));
    users::insert(&mut tx, &user(1, Role::Viewer)).await.unwrap();
    let wrong = users::set_role(&mut tx, &UserId::from_uuid(uuid(1)), Role::Admin, Role::Viewer).await;
    assert!(matches!(wrong, Err(Error::Stale { table: "users", .. })));
}

#[tokio::test]
async fn a_name_has_one_version_in_production_and_one_live_deployment() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let promoted = |n| Model { status: ModelStatus::Production, ..model(n) };
    let first = models::update(&mut tx, &promoted(1)).await.unwrap();
    assert!(matches!(models::update(&mut tx, &promoted(2)).await, Err(Error::Taken { table: "models", .. })));
    // Another name is free; the same name is, once the first has stepped down.
    models::insert(&mut tx, &Model { name: "short".into(), ..promoted(3) }).await.unwrap();
    models::update(&mut tx, &Model { status: ModelStatus::Staging, ..first }).await.unwrap();
    models::update(&mut tx, &promoted(2)).await.unwrap();

    deployments::insert(&mut tx, &deployment(1, DeployStatus::Live)).await.unwrap();
    let second = deployment(2, DeployStatus::Live);
    assert!(matches!(deployments::insert(&mut tx, &second).await, Err(Error::Taken { table: "deployments", .. })));
    deployments::insert(&mut tx, &deployment(2, DeployStatus::Warming)).await.unwrap();
    let live = deployments::update(&mut tx, &second, DeployStatus::Warming).await;
    assert!(matches!(live, Err(Error::Taken { .. })));
    deployments::update(&mut tx, &deployment(1, DeployStatus::Superseded), DeployStatus::Live).await.unwrap();
    deployments::update(&mut tx, &second, DeployStatus::Warming).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(deployments::live(&fixture.db, "polite").await.unwrap(), Some(second));
}

#[tokio::test]
async fn ids_and_versions_are_taken_once() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let again = datasets::insert(&mut tx, &Dataset { id: dataset(9).id, ..dataset(1) }).await;
    let Err(Error::Taken { detail, .. }) = again else { panic!("{again:?}") };
    assert!(detail.contains("datasets.name") && detail.contains("datasets.version"), "{detail}");
    assert!(matches!(jobs::insert(&mut tx, &job(1)).await, Err(Error::Taken { .. })));
    assert!(matches!(models::insert(&mut tx, &model(2)).await, Err(Error::Taken { .. })));
    users::insert(&mut tx, &user(1, Role::Admin)).await.unwrap();
    let same_name = User { id: UserId::from_uuid(uuid(2)), ..user(1, Role::Viewer) };
    assert!(matches!(users::insert(&mut tx, &same_name).await, Err(Error::Taken { .. })));
}

#[tokio::test]
async fn what_does_not_exist_cannot_be_named() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let nothing = ModelId::from_uuid(uuid(404));
    let of_nothing = Job { model_id: Some(nothing.clone()), ..job(2) };
    let error = jobs::insert(&mut tx, &of_nothing).await.unwrap_err();
    assert!(matches!(error, Error::MissingReference { table: "training_jobs", .. }));
    assert_eq!(ApiError::from(error).code, ErrorCode::NotFound);
    let mut row = feedback(1, None);
    row.judgement.model_id = Some(nothing);
    let inserted = feedback_rows::insert(&mut tx, &row, &mut Sums::default()).await;
    assert!(matches!(inserted, Err(Error::MissingReference { .. })));
    let orphan = metric_points::put(&mut tx, &JobId::from_uuid(uuid(404)), &[point(1, 1.0)]).await;
    assert!(matches!(orphan, Err(Error::MissingReference { table: "metric_points", .. })));
}

#[tokio::test]
async fn feedback_sent_twice_is_stored_once() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let mut sums = Sums::default();
    let row = Feedback { idempotency_key: Some("key".into()), ..feedback(1, Some(4)) };
    assert_eq!(feedback_rows::insert(&mut tx, &row, &mut sums).await.unwrap(), Inserted::New);
    // A second try mints another id at another time; its key says that it is the same.
    let again = Feedback { id: feedback(2, None).id, created_at_ms: 99_999, ..row.clone() };
    let before = feedback_rows::insert(&mut tx, &again, &mut sums).await.unwrap();
    assert_eq!(before, Inserted::Before(Box::new(row.clone())));
    let mut other = again;
    other.judgement.output_text = "something else".into();
    assert!(matches!(feedback_rows::insert(&mut tx, &other, &mut sums).await, Err(Error::Taken { .. })));
    sums.write(&mut tx).await.unwrap();
    let groups = sums::groups(&mut tx, &SumsFilter::default(), By::TransformationType).await.unwrap();
    assert_eq!(groups.iter().map(|g| g.counts.num).sum::<i64>(), 1);
}

#[tokio::test]
async fn numbers_that_cannot_be_stored_are_named_and_poison_nothing() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let job_id = JobId::from_uuid(uuid(1));
    let error = metric_points::put(&mut tx, &job_id, &[point(7, f64::NAN)]).await.unwrap_err();
    assert_eq!(error.to_string(), format!("metric_points {job_id} step 7 cannot be stored: loss is NaN"));
    let body = EventBody::Points { job_id, points: vec![point(7, f64::INFINITY)] };
    assert!(matches!(events::append(&mut tx, 0, &body).await, Err(Error::Unstorable { column: "body", .. })));
    let huge = Dataset { num_samples: u64::MAX, ..dataset(5) };
    let huge = datasets::insert(&mut tx, &huge).await;
    assert!(matches!(huge, Err(Error::Unstorable { column: "num_samples", .. })));
    let over = Job { progress: 1.5, ..job(2) };
    assert!(matches!(jobs::insert(&mut tx, &over).await, Err(Error::Unstorable { .. })));
    tx.roll_back().await.unwrap();
    // The number that the refused event had taken is free again.
    let mut tx = fixture.begin().await;
    let next = events::append(&mut tx, 0, &EventBody::Stale { tags: vec![] }).await.unwrap();
    assert_eq!(next.seq, 1);
}

#[tokio::test]
async fn a_row_that_does_not_parse_is_named_with_its_column() {
    let fixture = Fixture::filled().await;
    let (_, writer) = fixture.db.sqlite();
    let id = JobId::from_uuid(uuid(1));
    for (sql, column, words) in [
        ("UPDATE training_jobs SET status = 'asleep'", "status", "'asleep' is not a job status"),
        ("UPDATE training_jobs SET status = 'running', config = '{'", "config", "EOF"),
        (
            "UPDATE training_jobs SET config = 'null', dataset_id = NULL, hyperparameters = '{\"lora_r\": -1}'",
            "hyperparameters",
            "lora_r",
        ),
    ] {
        sqlx::query(sql).execute(writer).await.unwrap();
        let error = jobs::get(&fixture.db, &id).await.unwrap_err();
        let Error::BadRow { table, id: row, column: found, reason } = &error else { panic!("{error}") };
        assert_eq!((*table, row.as_str(), *found), ("training_jobs", id.as_str(), column));
        assert!(reason.contains(words) || column == "hyperparameters", "{reason}");
        assert_eq!(error.code(), ErrorCode::DataInvalid);
    }
}

#[test]
fn an_error_tells_what_happened_and_what_to_do() {
    let error = ApiError::from(Error::Stale { table: "models", id: "mdl_1".into() });
    assert_eq!(error.code, ErrorCode::Conflict);
    assert_eq!(
        error.to_string(),
        "Models mdl_1 was changed meanwhile. Nothing was changed. Look at it again, then decide."
    );
}
