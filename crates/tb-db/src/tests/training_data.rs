//! Feedback as evidence, decided items, and what datasets and models were made of.

use std::collections::BTreeMap;

use tb_core::{
    feedback::{Choice, FeedbackSource, Judgement, Preferred, ShownOrder},
    ids::{LabelItemId, LabelProjectId},
    labelling::{Answer, Answers, Question, QuestionKind},
    preference::{Decision, Reviewer},
};

use super::*;
use crate::{
    Error,
    dataset_feedback::{self, Marked, RowCounts},
    evidence::{self, EvidenceFilter},
    feedback::{self, sums::Sums},
    resolutions,
    statement::Statement,
};

/// Row `n` at the moment 1000 + n / 2: two share each moment.
fn judged(n: u32) -> Feedback {
    Feedback {
        id: FeedbackId::from_uuid(uuid(n.into())),
        user_id: None,
        feedback_type: FeedbackType::Rating,
        source: FeedbackSource::Api,
        project_id: None,
        item_id: None,
        judgement: Judgement {
            session_id: format!("s{}", n % 3),
            model_id: Some(model(1).id),
            input_text: format!("input {}", n % 4),
            output_text: " 出力\n".into(),
            transformation_type: if n.is_multiple_of(2) { "polite" } else { "casual" }.into(),
            rating: Rating::try_from(4).ok(),
            ..Judgement::default()
        },
        correction_distance: None,
        idempotency_key: None,
        created_at_ms: 1_000 + i64::from(n) / 2,
        withdrawn_at_ms: None,
        withdrawn_reason: None,
    }
}

async fn store(tx: &mut Tx, rows: &[Feedback]) {
    let mut sums = Sums::default();
    for row in rows {
        feedback::insert(tx, row, &mut sums).await.unwrap();
    }
    sums.write(tx).await.unwrap();
}

fn ids(rows: impl IntoIterator<Item = u32>) -> Vec<FeedbackId> {
    rows.into_iter().map(|n| judged(n).id).collect()
}

#[tokio::test]
async fn evidence_comes_in_pages_by_time_and_withdrawn_rows_never() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let rows: Vec<Feedback> = (1..=9).rev().map(judged).collect();
    store(&mut tx, &rows).await;
    feedback::withdraw(&mut tx, &judged(4).id, 5_000, "mistake").await.unwrap();
    let all = EvidenceFilter::default();
    let mut seen = vec![];
    loop {
        let after = seen.last().map(|e: &evidence::EvidenceRow| (e.evidence.created_at_ms, &e.evidence.id));
        let page = evidence::page(&mut tx, &all, after, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let found: Vec<FeedbackId> = seen.iter().map(|e| e.evidence.id.clone()).collect();
    assert_eq!(found, ids([1, 2, 3, 5, 6, 7, 8, 9]));
    let first = &seen[0].evidence;
    assert_eq!(
        (&*first.input_text, &*first.output_text, first.rating),
        ("input 1", " 出力\n", Rating::try_from(4).ok())
    );
    assert_eq!(first.reviewer, Reviewer::Session("s1".into()));
}

#[tokio::test]
async fn evidence_is_restricted_by_any_of_several_values() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    let project = LabelProjectId::from_uuid(uuid(7));
    let item = LabelItemId::from_uuid(uuid(8));
    let second = Feedback { judgement: Judgement { model_id: Some(model(2).id), ..judged(2).judgement }, ..judged(2) };
    let choice = Choice {
        preferred: Preferred::B,
        other_text: "b".into(),
        other_model_id: Some(model(2).id),
        shown: ShownOrder::BFirst,
    };
    let chosen = Feedback {
        project_id: Some(project.clone()),
        item_id: Some(item.clone()),
        judgement: Judgement { choice: Some(choice), ..judged(3).judgement },
        ..judged(3)
    };
    store(&mut tx, &[judged(1), second, chosen, judged(4)]).await;
    let found = async |tx: &mut Tx, filter: EvidenceFilter| {
        evidence::page(tx, &filter, None, 100).await.unwrap().into_iter().map(|e| e.evidence.id).collect::<Vec<_>>()
    };
    let models =
        |n: &[u32]| EvidenceFilter { model_ids: n.iter().map(|n| model(*n).id).collect(), ..Default::default() };
    assert_eq!(found(&mut tx, models(&[1])).await, ids([1, 3, 4]));
    assert_eq!(found(&mut tx, models(&[2])).await, ids([2, 3]));
    assert_eq!(found(&mut tx, models(&[1, 2])).await, ids([1, 2, 3, 4]));
    let of = EvidenceFilter { project_ids: vec![project, LabelProjectId::from_uuid(uuid(9))], ..Default::default() };
    let rows = evidence::page(&mut tx, &of, None, 100).await.unwrap();
    assert_eq!((rows.len(), &rows[0].item_id), (1, &Some(item)));
    assert_eq!(rows[0].evidence.choice, Some((Preferred::B, "b".into())));
    let kinds = |kinds: &[&str]| EvidenceFilter {
        transformation_types: kinds.iter().map(|k| (*k).to_owned()).collect(),
        ..Default::default()
    };
    assert_eq!(found(&mut tx, kinds(&["casual", "'; DROP TABLE feedback"])).await, ids([1, 3]));
    assert_eq!(found(&mut tx, kinds(&["casual", "polite"])).await, ids([1, 2, 3, 4]));
    let time = EvidenceFilter { since_ms: Some(1_001), until_ms: Some(1_002), ..Default::default() };
    assert_eq!(found(&mut tx, time).await, ids([2, 3]));
}

/// The statements that make a project with three items, two of them decided.
fn items() -> Vec<Statement> {
    let questions = [
        Question { name: "better".into(), title: "?".into(), required: true, kind: QuestionKind::Choice },
        Question { name: "note".into(), title: "?".into(), required: false, kind: QuestionKind::Text },
    ];
    let project = Statement::new(
        "label_projects",
        "INSERT INTO label_projects (id, name, guidelines, source, questions, overlap, item_order, seed, status, \
         transformation_type, max_items, num_items, num_done, num_answers, revision, created_at_ms) \
         VALUES ($1, 'p', '', '{}', $2, 2, 'random', 1, 'active', '', 9, 3, 0, 0, 0, 1)",
    )
    .bind(LabelProjectId::from_uuid(uuid(1)).as_str())
    .bind(serde_json::to_string(&questions).unwrap());
    let answers: [Option<Answers>; 3] = [
        Some(BTreeMap::from([("better".into(), Answer::Text("b".into()))])),
        None,
        Some(BTreeMap::from([("note".into(), Answer::Text("b".into()))])),
    ];
    let item = |(n, answers): (u128, Option<Answers>)| {
        Statement::new(
            "label_items",
            "INSERT INTO label_items (id, project_id, place, input_text, output_text, other_text, transformation_type, \
             disagreement, held, submitted, flagged, is_open, resolution) VALUES ($1, $2, $3, 'q', 'x', 'y', '', 0.0, 0, 0, 0, 1, $4)",
        )
        .bind(LabelItemId::from_uuid(uuid(n)).as_str())
        .bind(LabelProjectId::from_uuid(uuid(1)).as_str())
        .bind(n as i64)
        .bind(answers.map(|a| serde_json::to_string(&a).unwrap()).as_deref())
    };
    std::iter::once(project).chain((1..).zip(answers).map(item)).collect()
}

#[tokio::test]
async fn decisions_are_read_with_the_questions_that_they_answer() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.begin().await;
    for statement in items() {
        tx.run(statement).await.unwrap();
    }
    let id = |n| LabelItemId::from_uuid(uuid(n));
    let decision = Decision {
        item_id: id(1),
        output_text: "x".into(),
        other_text: Some("y".into()),
        preferred: Some(Preferred::B),
        corrected_text: None,
        rating: None,
    };
    let all = resolutions::page(&mut tx, &[], None, 9).await.unwrap();
    assert_eq!(all, [(id(1), Some(decision)), (id(3), None)]);
    assert_eq!(resolutions::page(&mut tx, &[], Some(&id(1)), 9).await.unwrap(), all[1..]);
    assert_eq!(resolutions::page(&mut tx, &[LabelProjectId::from_uuid(uuid(2))], None, 9).await.unwrap(), []);
}

/// Datasets 2 and 3 of rows 1 to 2500 and 2400 to 2500. Model 3 learnt from 2, model 4 from 3 and continues from 3, model 5 from 4;
/// model 1 and 2 know only dataset 1, which no feedback made.
async fn with_models() -> (Fixture, Tx) {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    store(&mut tx, &(1..=2500).map(judged).collect::<Vec<_>>()).await;
    for (n, rows) in [(2, 1..=2500), (3, 2400..=2500)] {
        datasets::insert(&mut tx, &dataset(n)).await.unwrap();
        dataset_feedback::insert(&mut tx, &dataset(n).id, &ids(rows)).await.unwrap();
    }
    for (n, data, parent) in [(3, 2, None), (4, 3, Some(3)), (5, 1, Some(4))] {
        let lineage =
            Lineage { dataset_id: Some(dataset(data).id), parent: parent.map(|p| model(p).id), ..model(n).lineage };
        models::insert(&mut tx, &Model { lineage, ..model(n) }).await.unwrap();
    }
    (fixture, tx)
}

#[tokio::test]
async fn a_model_learnt_from_its_datasets_and_from_those_of_what_it_continues() {
    let (_fixture, mut tx) = with_models().await;
    let mut datasets_of = async |n: u32| -> Vec<u32> {
        let found = dataset_feedback::datasets_of_model(&mut tx, &model(n).id).await.unwrap();
        found.into_iter().map(|d| d.version).collect()
    };
    assert_eq!(datasets_of(1).await, Vec::<u32>::new());
    assert_eq!(datasets_of(2).await, Vec::<u32>::new());
    assert_eq!(datasets_of(3).await, [2]);
    assert_eq!(datasets_of(4).await, [2, 3]);
    assert_eq!(datasets_of(5).await, [2, 3]);
    let both = [dataset(2).id, dataset(3).id];
    assert_eq!(dataset_feedback::count(&mut tx, &both).await.unwrap(), RowCounts { rows: 2500, withdrawn: 0 });
    assert_eq!(dataset_feedback::count(&mut tx, &both[1..]).await.unwrap(), RowCounts { rows: 101, withdrawn: 0 });
    assert_eq!(dataset_feedback::count(&mut tx, &[]).await.unwrap(), RowCounts::default());
    assert_eq!(dataset_feedback::newest(&mut tx, &both, 3).await.unwrap(), ids([2500, 2499, 2498]));
    for (row, datasets, learnt) in [(1, vec![2], vec![3, 4, 5]), (2400, vec![2, 3], vec![3, 4, 5])] {
        let id = judged(row).id;
        let found = dataset_feedback::datasets_with(&mut tx, &id).await.unwrap();
        assert_eq!(found.iter().map(|d| d.version).collect::<Vec<_>>(), datasets);
        let found = dataset_feedback::models_with(&mut tx, &id).await.unwrap();
        assert_eq!(found.iter().map(|m| m.version).collect::<Vec<_>>(), learnt);
    }
}

#[tokio::test]
async fn withdrawn_rows_mark_who_learnt_from_them_once() {
    let (_fixture, mut tx) = with_models().await;
    assert_eq!(dataset_feedback::marked_datasets(&mut tx).await.unwrap(), []);
    assert_eq!(dataset_feedback::marked_models(&mut tx).await.unwrap(), []);
    for n in [1, 2450] {
        feedback::withdraw(&mut tx, &judged(n).id, 9, "").await.unwrap();
    }
    let mark = |id: &str, withdrawn| Marked { id: id.to_owned(), withdrawn };
    let datasets = [mark(dataset(2).id.as_str(), 2), mark(dataset(3).id.as_str(), 1)];
    assert_eq!(dataset_feedback::marked_datasets(&mut tx).await.unwrap(), datasets);
    // Row 2450 reached models 4 and 5 through both datasets.
    let models = [3, 4, 5].map(|n| mark(model(n).id.as_str(), 2));
    assert_eq!(dataset_feedback::marked_models(&mut tx).await.unwrap(), models);
}

#[tokio::test]
async fn a_dataset_names_rows_that_exist_once_and_is_deleted_after_its_list() {
    let (_fixture, mut tx) = with_models().await;
    datasets::insert(&mut tx, &dataset(4)).await.unwrap();
    let id = dataset(4).id;
    let missing = dataset_feedback::insert(&mut tx, &id, &ids([9999])).await;
    assert!(matches!(missing, Err(Error::MissingReference { .. })), "{missing:?}");
    dataset_feedback::insert(&mut tx, &id, &ids([1, 2])).await.unwrap();
    let twice = dataset_feedback::insert(&mut tx, &id, &ids([2])).await;
    assert!(matches!(twice, Err(Error::Taken { .. })), "{twice:?}");
    assert!(datasets::delete(&mut tx, &id).await.is_err());
    dataset_feedback::delete(&mut tx, &id).await.unwrap();
    datasets::delete(&mut tx, &id).await.unwrap();
    assert_eq!(dataset_feedback::count(&mut tx, &[dataset(2).id]).await.unwrap().rows, 2500);
}

/// SQLite's plan for what grows with the number of rows of feedback.
#[tokio::test]
async fn provenance_walks_indexes() {
    let fixture = Fixture::new().await;
    let (readers, _) = fixture.db.sqlite();
    for (sql, index) in [
        (
            "SELECT id FROM feedback WHERE withdrawn_at_ms IS NULL AND (created_at_ms, id) > (3, 'a') ORDER BY created_at_ms, id LIMIT 9",
            "feedback_by_time",
        ),
        ("SELECT dataset_id FROM dataset_feedback WHERE feedback_id = 'a'", "dataset_feedback_by_row"),
        (
            "SELECT f.dataset_id FROM feedback r JOIN dataset_feedback f ON f.feedback_id = r.id WHERE r.withdrawn_at_ms IS NOT NULL",
            "feedback_withdrawn",
        ),
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(readers).await.unwrap();
        let plan: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
        assert!(plan.iter().any(|step| step.contains(index)), "{sql}\n{plan:?}");
    }
}
