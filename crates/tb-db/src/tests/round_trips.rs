//! Every table gives back what it was given.

use tb_core::{
    audit::AuditEntry,
    dataset::{ColumnMapping, DatasetFormat, DatasetType, RowShape},
    deploy::DeployStatus,
    event::EventBody,
    experiment::{AbTestStatus, Arm},
    feedback::{Choice, FeedbackSource, FeedbackType, Preferred, ShownOrder, Thumbs},
    ids::{AbTestId, DatasetId, DeploymentId, EvalId, FeedbackId, JobId, ModelId, UserId},
    job::{Job, JobKind, JobStatus},
    labelling::{Answer, Answers},
    model::{Model, ModelStatus},
    run_folder::{EvalPoint, Level, RunEvent, RunEventBody},
    tag::Tag,
    user::Role,
};

use super::*;
use crate::{
    Page, ab_tests, audit, base_folders, checkpoints, deployments, evaluations, events, feedback as feedback_rows,
    ingest, lineage, metric_points, users,
};

#[tokio::test]
async fn datasets_keep_every_field_and_word() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.begin().await;
    let mut n = 0;
    let mut stored = Vec::new();
    for dataset_type in DatasetType::ALL {
        for format in DatasetFormat::ALL {
            for shape in RowShape::ALL {
                n += 1;
                stored.push(Dataset { dataset_type: *dataset_type, format: *format, shape: *shape, ..dataset(n) });
            }
        }
    }
    stored[0].mapping = ColumnMapping::InputOutput {
        input: "in".into(),
        output: "out".into(),
        template: "Rewrite {{politely}}:\n{in}".into(),
    };
    for row in &stored {
        datasets::insert(&mut tx, row).await.unwrap();
    }
    for row in &stored {
        assert_eq!(datasets::get(&mut tx, &row.id).await.unwrap().as_ref(), Some(row));
    }
    assert_eq!(datasets::next_version(&mut tx, "tone").await.unwrap(), n + 1);
    assert_eq!(datasets::next_version(&mut tx, "other").await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(datasets::by_name(&fixture.db, "tone").await.unwrap()[0].version, n);
    assert_eq!(datasets::by_sha256(&fixture.db, "tone", "sha-2").await.unwrap().unwrap(), stored[1]);
    assert_eq!(datasets::by_sha256(&fixture.db, "other", "sha-2").await.unwrap(), None);
    assert_eq!(datasets::get(&fixture.db, &DatasetId::from_uuid(uuid(999))).await.unwrap(), None);
}

#[tokio::test]
async fn jobs_keep_every_field_and_word() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let mut n = 1;
    for status in JobStatus::ALL {
        for kind in JobKind::ALL {
            n += 1;
            let row = Job {
                status: *status,
                kind: *kind,
                model_id: Some(ModelId::from_uuid(uuid(2))),
                device: Some("cuda:0".into()),
                error_message: None,
                started_at_ms: Some(-1),
                ..job(n)
            };
            jobs::insert(&mut tx, &row).await.unwrap();
            assert_eq!(jobs::get(&mut tx, &row.id).await.unwrap(), Some(row));
        }
    }
    tx.commit().await.unwrap();
    assert_eq!(jobs::get(&fixture.db, &JobId::from_uuid(uuid(1))).await.unwrap(), Some(job(1)));
    assert_eq!(jobs::last_rank(&fixture.db).await.unwrap(), i64::from(n));
}

#[tokio::test]
async fn an_update_stores_what_changes_and_counts() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let changed = Job {
        name: "new".into(),
        status: JobStatus::Running,
        config: serde_json::json!(null),
        progress: 1.0,
        metrics: figures(2.0),
        error_message: None,
        device: Some("cpu".into()),
        run_dir: "/elsewhere".into(),
        queue_rank: -5,
        started_at_ms: Some(8),
        completed_at_ms: None,
        ..job(1)
    };
    let after = jobs::update(&mut tx, &changed).await.unwrap();
    assert_eq!(after, Job { version: 1, ..changed });
    assert_eq!(jobs::get_at(&mut tx, &after.id, 1).await.unwrap(), after);

    let changed = Model { status: ModelStatus::Production, deployed_at_ms: Some(9), metrics: figures(1.0), ..model(1) };
    let after = models::update(&mut tx, &changed).await.unwrap();
    assert_eq!(after, Model { revision: 1, ..changed });
    assert_eq!(models::production(&mut tx, "polite").await.unwrap(), Some(after));
    assert_eq!(models::production(&mut tx, "other").await.unwrap(), None);
}

#[tokio::test]
async fn models_keep_every_field_stage_and_origin() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    for (n, status) in (3..).zip(ModelStatus::ALL) {
        let row = Model { status: *status, deployed_at_ms: Some(4), ..model(n) };
        models::insert(&mut tx, &row).await.unwrap();
        assert_eq!(models::get(&mut tx, &row.id).await.unwrap(), Some(row));
    }
    assert_eq!(models::next_version(&mut tx, "polite").await.unwrap(), 7);
    tx.commit().await.unwrap();

    let [one, two] = [1, 2].map(|n| ModelId::from_uuid(uuid(n)));
    let (data, maker) = (DatasetId::from_uuid(uuid(1)), JobId::from_uuid(uuid(1)));
    use lineage::Parent;
    assert_eq!(
        lineage::parents(&fixture.db, &two).await.unwrap(),
        [Parent::Dataset(data.clone()), Parent::Job(maker.clone()), Parent::Model(one.clone())]
    );
    assert_eq!(lineage::children(&fixture.db, &Parent::Model(one)).await.unwrap(), [two]);
    assert_eq!(lineage::children(&fixture.db, &Parent::Dataset(data)).await.unwrap().len(), 6);
    assert_eq!(lineage::children(&fixture.db, &Parent::Job(maker)).await.unwrap().len(), 6);
}

#[tokio::test]
async fn evaluations_keep_every_field() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    for n in [1, 2] {
        evaluations::insert(&mut tx, &evaluation(n)).await.unwrap();
    }
    tx.commit().await.unwrap();
    for n in [1, 2] {
        let id = EvalId::from_uuid(uuid(n.into()));
        assert_eq!(evaluations::get(&fixture.db, &id).await.unwrap(), Some(evaluation(n)));
    }
}

#[tokio::test]
async fn feedback_keeps_every_field_and_word() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    users::insert(&mut tx, &user(1, Role::Reviewer)).await.unwrap();
    let mut sums = feedback_rows::sums::Sums::default();
    let mut n = 0;
    for feedback_type in FeedbackType::ALL {
        for rating in [None, Some(1), Some(2), Some(3), Some(4), Some(5)] {
            n += 1;
            let mut row = Feedback { feedback_type: *feedback_type, ..feedback(n, rating) };
            row.user_id = Some(UserId::from_uuid(uuid(1)));
            row.idempotency_key = Some(format!("key {n}"));
            row.source = FeedbackSource::ALL[n as usize % FeedbackSource::ALL.len()];
            row.judgement.thumbs = Thumbs::ALL.get(n as usize % 3).copied();
            row.judgement.choice = Preferred::ALL.get(n as usize % 5).map(|preferred| Choice {
                preferred: *preferred,
                other_text: "nul \u{0}, bidi \u{202e}".into(),
                other_model_id: (n % 2 == 0).then(|| ModelId::from_uuid(uuid(2))),
                shown: ShownOrder::ALL[n as usize % 2],
            });
            row.judgement.critique = Some("a, \"b\"".into());
            row.judgement.flags = vec!["tone".into(), "敬語".into()];
            row.judgement.answers = Answers::from([
                ("rating".to_owned(), Answer::Number(4)),
                ("meaning".to_owned(), Answer::Text("kept".into())),
                ("problems".to_owned(), Answer::Many(vec!["facts".into()])),
            ]);
            row.judgement.duration_ms = Some(41_000);
            feedback_rows::insert(&mut tx, &row, &mut sums).await.unwrap();
            assert_eq!(feedback_rows::get(&mut tx, &row.id).await.unwrap(), Some(row));
        }
    }
    assert_eq!(feedback_rows::get(&mut tx, &FeedbackId::from_uuid(uuid(99))).await.unwrap(), None);
}

#[tokio::test]
async fn ab_tests_keep_every_field_and_word() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    for (n, status) in (1..).zip(AbTestStatus::ALL) {
        for (m, winner) in (0..).zip([None, Some(Arm::A), Some(Arm::B)]) {
            let row = AbTest { status: *status, winner, ..ab_test(n * 10 + m) };
            ab_tests::insert(&mut tx, &row).await.unwrap();
            assert_eq!(ab_tests::get(&mut tx, &row.id).await.unwrap(), Some(row));
        }
    }
    let id = AbTestId::from_uuid(uuid(10));
    let seen = ab_tests::get(&mut tx, &id).await.unwrap().unwrap();
    let changed = AbTest {
        status: AbTestStatus::Completed,
        traffic_split: 0.5,
        winner: Some(Arm::B),
        results: serde_json::json!({"p": 0.01}),
        completed_at_ms: Some(77),
        ..seen
    };
    let after = ab_tests::update(&mut tx, &changed).await.unwrap();
    assert_eq!(after, AbTest { revision: 1, ..changed });
    assert_eq!(ab_tests::get(&mut tx, &id).await.unwrap(), Some(after));
}

#[tokio::test]
async fn deployments_keep_every_field_and_word() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    for (n, status) in (1..).zip(DeployStatus::ALL) {
        let row = deployment(n, *status);
        deployments::insert(&mut tx, &row).await.unwrap();
        assert_eq!(deployments::get(&mut tx, &row.id).await.unwrap(), Some(row));
    }
    let live = deployments::live(&mut tx, "polite").await.unwrap().unwrap();
    assert_eq!(live, deployment(2, DeployStatus::Live));
    let ended = Deployment { status: DeployStatus::RolledBack, ended_at_ms: Some(11), reason: "worse".into(), ..live };
    deployments::update(&mut tx, &ended, DeployStatus::Live).await.unwrap();
    assert_eq!(deployments::get(&mut tx, &DeploymentId::from_uuid(uuid(2))).await.unwrap(), Some(ended));
    assert_eq!(deployments::live(&mut tx, "polite").await.unwrap(), None);
}

#[tokio::test]
async fn users_keep_every_role() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.begin().await;
    for (n, role) in (1..).zip(Role::ALL) {
        users::insert(&mut tx, &user(n, *role)).await.unwrap();
    }
    let first = UserId::from_uuid(uuid(1));
    users::set_role(&mut tx, &first, Role::Viewer, Role::Trainer).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(users::get(&fixture.db, &first).await.unwrap(), Some(user(1, Role::Trainer)));
    assert_eq!(users::by_name(&fixture.db, "user 4").await.unwrap(), Some(user(4, Role::Admin)));
    let names: Vec<String> = users::list(&fixture.db).await.unwrap().into_iter().map(|u| u.name).collect();
    assert_eq!(names, ["user 1", "user 2", "user 3", "user 4"]);
}

#[tokio::test]
async fn events_keep_every_kind() {
    let fixture = Fixture::new().await;
    let job_id = JobId::from_uuid(uuid(1));
    let eval = EvalPoint { step: 3, epoch: 0.5, eval_loss: 1.25, mean_token_accuracy: None, is_best: true };
    let line = |body| EventBody::Run { job_id: job_id.clone(), event: Box::new(RunEvent { n: 9, at_ms: 2, body }) };
    let bodies = [
        EventBody::Job { job: Box::new(job(1)) },
        EventBody::Points { job_id: job_id.clone(), points: vec![point(1, 0.1 + 0.2), point(2, 1.0 / 3.0)] },
        EventBody::EvalPoint { job_id: job_id.clone(), point: eval },
        line(RunEventBody::Note { level: Level::Warn, message: "slow\n\"disk\"".into() }),
        line(RunEventBody::Evaluated(Box::new(evaluation(1).report))),
        EventBody::Deployment { deployment: Box::new(deployment(2, DeployStatus::Live)) },
        EventBody::Experiment { test: Box::new(ab_test(1)) },
        EventBody::Stale { tags: Tag::ALL.to_vec() },
    ];
    let mut tx = fixture.begin().await;
    let mut stored = Vec::new();
    for (at_ms, body) in (100..).zip(&bodies) {
        stored.push(events::append(&mut tx, at_ms, body).await.unwrap());
    }
    tx.commit().await.unwrap();
    let db = &fixture.db;
    assert_eq!(events::after(db, 0, 100).await.unwrap(), stored);
    assert_eq!(events::after(db, 2, 3).await.unwrap(), stored[2..5]);
    assert_eq!(events::of_job(db, &job_id, 1, 100).await.unwrap(), stored[1..5]);
    assert_eq!(stored.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);

    // What is forgotten frees no numbers.
    let mut tx = fixture.begin().await;
    assert_eq!(events::forget_before(&mut tx, 9).await.unwrap(), 8);
    assert_eq!(events::first_seq(&mut tx).await.unwrap(), None);
    assert_eq!(events::append(&mut tx, 0, &bodies[7]).await.unwrap().seq, 9);
    tx.commit().await.unwrap();
    assert_eq!((events::first_seq(db).await.unwrap(), events::last_seq(db).await.unwrap()), (Some(9), 9));
}

#[tokio::test]
async fn curves_keep_every_field_and_a_step_done_again_replaces_its_point() {
    let fixture = Fixture::filled().await;
    let job_id = JobId::from_uuid(uuid(1));
    let mut tx = fixture.begin().await;
    metric_points::put(&mut tx, &job_id, &[point(1, 3.0), point(2, 2.0)]).await.unwrap();
    metric_points::put(&mut tx, &job_id, &[point(2, 1.0 / 3.0), point(3, 1.0)]).await.unwrap();
    let eval =
        |step, is_best| EvalPoint { step, epoch: 0.1, eval_loss: 1.0 / 7.0, mean_token_accuracy: Some(0.5), is_best };
    for e in [eval(1, true), eval(2, true), EvalPoint { mean_token_accuracy: None, ..eval(3, false) }] {
        metric_points::put_eval(&mut tx, &job_id, &e).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(
        metric_points::list(&fixture.db, &job_id, 0, 0).await.unwrap(),
        [point(1, 3.0), point(2, 1.0 / 3.0), point(3, 1.0)]
    );
    assert_eq!(metric_points::list(&fixture.db, &job_id, 3, 100).await.unwrap(), [point(3, 1.0)]);
    assert_eq!(
        metric_points::list_eval(&fixture.db, &job_id).await.unwrap(),
        [eval(1, false), eval(2, true), EvalPoint { mean_token_accuracy: None, ..eval(3, false) }]
    );
}

#[tokio::test]
async fn checkpoints_and_cursor_follow_the_run() {
    let fixture = Fixture::filled().await;
    let job_id = JobId::from_uuid(uuid(1));
    let row = |step: u64, is_best| checkpoints::Checkpoint {
        job_id: job_id.clone(),
        step,
        path: format!("checkpoints/step-{step:06}"),
        size_bytes: 1 << 41,
        is_best,
        created_at_ms: 8,
    };
    let mut tx = fixture.begin().await;
    for c in [row(100, true), row(200, true), row(300, false), row(300, false)] {
        checkpoints::put(&mut tx, &c).await.unwrap();
    }
    checkpoints::delete(&mut tx, &job_id, 100).await.unwrap();
    checkpoints::delete(&mut tx, &job_id, 100).await.unwrap();
    assert_eq!(checkpoints::list(&mut tx, &job_id).await.unwrap(), [row(200, true), row(300, false)]);

    assert_eq!(ingest::cursor(&mut tx, &job_id).await.unwrap(), 0);
    ingest::set_cursor(&mut tx, &job_id, 5).await.unwrap();
    ingest::set_cursor(&mut tx, &job_id, 9).await.unwrap();
    assert!(matches!(ingest::set_cursor(&mut tx, &job_id, 9).await, Err(crate::Error::Stale { .. })));
    tx.commit().await.unwrap();
    assert_eq!(ingest::cursor(&fixture.db, &job_id).await.unwrap(), 9);
}

#[tokio::test]
async fn base_folders_are_kept_once_in_the_order_in_which_they_were_named() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.begin().await;
    for (path, at_ms) in [("/b", 1), ("/a.gguf", 2), ("/b", 3)] {
        base_folders::put(&mut tx, path, at_ms).await.unwrap();
    }
    assert_eq!(base_folders::list(&mut tx).await.unwrap(), ["/b", "/a.gguf"]);
    base_folders::delete(&mut tx, "/b").await.unwrap();
    base_folders::delete(&mut tx, "/gone").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(base_folders::list(&fixture.db).await.unwrap(), ["/a.gguf"]);
}

#[tokio::test]
async fn the_audit_log_keeps_every_field_and_numbers_its_lines() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.begin().await;
    let entry = |n: i64| AuditEntry {
        at_ms: n,
        actor: if n % 2 == 0 { "local" } else { "usr_x" }.into(),
        command: "model_deploy".into(),
        subject: "mdl_1".into(),
        arguments: serde_json::json!({"reason": "besser"}),
    };
    for n in 1..=4 {
        audit::append(&mut tx, &entry(n)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let all = audit::list(&fixture.db, &audit::AuditFilter::default(), &Page::first(2)).await.unwrap();
    assert_eq!(all.iter().map(|l| (l.seq, &l.entry)).collect::<Vec<_>>(), [(4, &entry(4)), (3, &entry(3))]);
    let filter = audit::AuditFilter {
        actor: Some("local".into()),
        subject: Some("mdl_1".into()),
        command: Some("model_deploy".into()),
    };
    let local = audit::list(&fixture.db, &filter, &Page::after(4, 10)).await.unwrap();
    assert_eq!(local.iter().map(|l| l.seq).collect::<Vec<_>>(), [2]);
    let other = audit::AuditFilter { command: Some("model_stage".into()), ..audit::AuditFilter::default() };
    assert_eq!(audit::list(&fixture.db, &other, &Page::first(9)).await.unwrap(), []);
}
