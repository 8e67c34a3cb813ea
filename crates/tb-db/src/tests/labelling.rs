//! Projects, items and who holds them.

use tb_core::{
    feedback::ShownOrder,
    ids::{LabelItemId, LabelProjectId, UserId},
    labelling::{
        Answer, Answers, Assignment, AssignmentState, ItemOrder, ItemSource, LabelItem, LabelProject, ProjectStatus,
        Question, QuestionKind,
    },
    user::Role,
};

use super::*;
use crate::{
    Error, Page,
    labelling::{
        assignments::{self, Standing},
        items::{self, ItemChange, ItemFilter},
        projects,
    },
    users,
};

fn project(n: u32) -> LabelProject {
    LabelProject {
        id: LabelProjectId::from_uuid(uuid(n.into())),
        name: format!("Polite {n}"),
        guidelines: "# 敬語\n<b>not bold</b>".into(),
        source: ItemSource::Traffic { model_id: None, transformation_type: Some("polite".into()), since_ms: 5 },
        questions: vec![Question {
            name: "rating".into(),
            title: "How good?".into(),
            required: true,
            kind: QuestionKind::Rating { labels: Vec::new() },
        }],
        overlap: 2,
        order: ItemOrder::Random,
        seed: u64::MAX,
        status: ProjectStatus::Preparing,
        transformation_type: "polite".into(),
        max_items: 10,
        num_items: 0,
        num_done: 0,
        num_answers: 0,
        message: Some("waits".into()),
        created_by: None,
        revision: 1,
        created_at_ms: i64::from(n),
    }
}

fn item(n: u32) -> LabelItem {
    LabelItem {
        id: LabelItemId::from_uuid(uuid(n.into())),
        project_id: project(1).id,
        place: i64::from(n),
        input_text: "in".into(),
        source_text: (n == 1).then(|| "n".to_owned()),
        output_text: "out".into(),
        model_id: None,
        other_text: Some("other".into()),
        other_model_id: None,
        transformation_type: "polite".into(),
        disagreement: 0.5,
        gold: (n == 2).then(|| Answers::from([("rating".to_owned(), Answer::Number(5))])),
        resolution: None,
        resolved_by: None,
        resolved_at_ms: None,
        held: 0,
        submitted: 0,
        flagged: 0,
    }
}

fn given(n: u32, user: u32) -> Assignment {
    Assignment {
        item_id: item(n).id,
        project_id: project(1).id,
        user_id: reviewer(user),
        state: AssignmentState::Taken,
        shown: ShownOrder::BFirst,
        draft: None,
        feedback_id: None,
        flagged: false,
        note: None,
        taken_at_ms: 10,
        changed_at_ms: 10,
    }
}

fn reviewer(n: u32) -> UserId {
    UserId::from_uuid(uuid(n.into()))
}

async fn filled() -> Fixture {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    for n in 1..=2 {
        users::insert(&mut tx, &user(n, Role::Reviewer)).await.unwrap();
    }
    projects::insert(&mut tx, &project(1)).await.unwrap();
    for n in 1..=4 {
        items::insert(&mut tx, &item(n)).await.unwrap();
    }
    tx.commit().await.unwrap();
    fixture
}

#[tokio::test]
async fn projects_and_items_keep_every_field() {
    let fixture = filled().await;
    let mut tx = fixture.begin().await;
    assert_eq!(projects::get(&mut tx, &project(1).id).await.unwrap(), Some(project(1)));
    for status in ProjectStatus::ALL {
        let seen = projects::get(&mut tx, &project(1).id).await.unwrap().unwrap();
        let wanted = LabelProject { status: *status, name: "New".into(), num_items: 4, message: None, ..seen.clone() };
        let stored = projects::update(&mut tx, &wanted).await.unwrap();
        assert_eq!(projects::get(&mut tx, &project(1).id).await.unwrap(), Some(stored));
        assert!(matches!(projects::update(&mut tx, &seen).await, Err(Error::Stale { .. })));
    }
    projects::count(&mut tx, &project(1).id, 3, 1).await.unwrap();
    let counted = projects::list(&mut tx, &Page::default()).await.unwrap().pop().unwrap();
    assert_eq!((counted.num_answers, counted.num_done), (3, 1));
    assert_eq!(items::get(&mut tx, &item(2).id).await.unwrap(), Some(item(2)));
    let right = Answers::from([("rating".to_owned(), Answer::Number(2))]);
    items::resolve(&mut tx, &item(1).id, Some(&right), Some(&reviewer(1)), Some(7)).await.unwrap();
    items::set_gold(&mut tx, &item(1).id, Some(&right)).await.unwrap();
    let decided = items::get(&mut tx, &item(1).id).await.unwrap().unwrap();
    assert_eq!((decided.resolution.as_ref(), decided.gold.as_ref()), (Some(&right), Some(&right)));
    assert_eq!((decided.resolved_by, decided.resolved_at_ms), (Some(reviewer(1)), Some(7)));
    let gold = items::list(&mut tx, &project(1).id, ItemFilter::Gold, 0, 10).await.unwrap();
    assert_eq!(gold.iter().map(|i| i.place).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn an_item_is_open_until_enough_reviewers_hold_it() {
    let fixture = filled().await;
    let mut tx = fixture.begin().await;
    let id = project(1).id;
    let places = |items: Vec<LabelItem>| items.iter().map(|i| i.place).collect::<Vec<_>>();
    let held = ItemChange { held: 1, ..ItemChange::default() };
    for n in [1, 2] {
        assignments::insert(&mut tx, &given(n, 1)).await.unwrap();
        items::change(&mut tx, &item(n).id, held, 2).await.unwrap();
    }
    assert_eq!(places(items::next_open(&mut tx, &id, &reviewer(1), 0, 2).await.unwrap()), [3, 4]);
    assert_eq!(places(items::next_open(&mut tx, &id, &reviewer(2), 0, 9).await.unwrap()), [1, 2, 3, 4]);
    assert!(matches!(assignments::insert(&mut tx, &given(1, 1)).await, Err(Error::Taken { .. })));
    items::change(&mut tx, &item(1).id, held, 2).await.unwrap();
    assert_eq!(places(items::next_open(&mut tx, &id, &reviewer(2), 0, 9).await.unwrap()), [2, 3, 4]);
    items::set_overlap(&mut tx, &id, 3).await.unwrap();
    assert_eq!(places(items::next_open(&mut tx, &id, &reviewer(2), 0, 9).await.unwrap()), [1, 2, 3, 4]);
    let below = ItemChange { flagged: -1, ..ItemChange::default() };
    assert!(matches!(items::change(&mut tx, &item(1).id, below, 2).await, Err(Error::Unstorable { .. })));
}

#[tokio::test]
async fn assignments_and_cursors_are_kept() {
    let fixture = filled().await;
    let mut tx = fixture.begin().await;
    let id = project(1).id;
    for n in 1..=3 {
        assignments::insert(&mut tx, &given(n, 1)).await.unwrap();
    }
    let draft = Some(Answers::from([("rating".to_owned(), Answer::Number(3))]));
    let changed = Assignment { draft, flagged: true, note: Some("odd".into()), changed_at_ms: 20, ..given(1, 1) };
    assignments::update(&mut tx, &changed).await.unwrap();
    assert_eq!(assignments::get(&mut tx, &item(1).id, &reviewer(1)).await.unwrap(), Some(changed.clone()));
    let submitted = Assignment { state: AssignmentState::Submitted, changed_at_ms: 30, ..given(2, 1) };
    assignments::update(&mut tx, &submitted).await.unwrap();
    assert_eq!(assignments::held(&mut tx, &id, &reviewer(1)).await.unwrap(), [changed, given(3, 1)]);
    assert_eq!(assignments::submitted(&mut tx, &id, &reviewer(1), 5).await.unwrap(), [submitted]);
    assert_eq!(assignments::resting(&mut tx, &id, 15, 9).await.unwrap(), [given(3, 1)]);
    assignments::release(&mut tx, &item(3).id, &reviewer(1)).await.unwrap();
    assert!(matches!(assignments::release(&mut tx, &item(2).id, &reviewer(1)).await, Err(Error::Stale { .. })));
    assert_eq!(assignments::reviewers(&mut tx, &id).await.unwrap(), [reviewer(1)]);

    assert_eq!(assignments::standing(&mut tx, &id, &reviewer(1)).await.unwrap(), Standing::default());
    assignments::count(&mut tx, &id, &reviewer(1), 2, 1).await.unwrap();
    for (user, place) in [(1, 9), (1, 7), (2, 2)] {
        assignments::set_cursor(&mut tx, &id, &reviewer(user), place).await.unwrap();
    }
    assignments::step_back(&mut tx, &id, 4).await.unwrap();
    assignments::count(&mut tx, &id, &reviewer(1), -1, 0).await.unwrap();
    let first = assignments::standing(&mut tx, &id, &reviewer(1)).await.unwrap();
    assert_eq!(first, Standing { place: 3, judged: 1, passed: 1 });
    assert_eq!(assignments::standing(&mut tx, &id, &reviewer(2)).await.unwrap().place, 2);
    let below = assignments::count(&mut tx, &id, &reviewer(1), -2, 0).await;
    assert!(matches!(below, Err(Error::Unstorable { .. })));
}
