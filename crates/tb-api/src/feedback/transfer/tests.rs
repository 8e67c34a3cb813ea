//! Out and in again to the byte, the same file twice, and every row that cannot be used named.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tb_core::{
    dataset::{RowProblem, RowProblemKind},
    feedback::{Choice, FeedbackSource, FeedbackType, Judgement, Preferred, Rating, ShownOrder},
    ids::UserId,
    labelling::Answer,
    random::{Purpose, Stream},
    user::{Role, User},
};
use tb_db::feedback::{
    FeedbackFilter,
    sums::{By, Step, Sums, SumsFilter, groups},
};
use uuid::Uuid;

use super::*;
use crate::Actor;

struct Home {
    ctx: Ctx,
    folder: tempfile::TempDir,
}

impl Home {
    /// A home with one user.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ctx = crate::open(folder.path(), &[], Actor::local()).await.unwrap();
        let mut tx = ctx.db().begin().await.unwrap();
        let user = User {
            id: user(1),
            name: "yuki".into(),
            role: Role::Reviewer,
            created_at_ms: 1,
            disabled_at_ms: None,
            last_seen_at_ms: None,
        };
        tb_db::users::insert(&mut tx, &user).await.unwrap();
        tx.commit().await.unwrap();
        Self { ctx, folder }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    async fn import(&self, path: &Path) -> ImportedFeedback {
        import(&self.ctx, of(path)).await.unwrap()
    }

    /// Every row, newest first.
    async fn rows(&self) -> Vec<Feedback> {
        tb_db::feedback::list(self.ctx.db(), &FeedbackFilter::default(), &Page::first(100_000)).await.unwrap()
    }

    async fn sums(&self) -> Vec<tb_db::feedback::sums::Group> {
        let mut all = Vec::new();
        for by in [By::ModelAnd(Step::Day), By::TransformationType, By::Reviewer] {
            all.extend(groups(self.ctx.db(), &SumsFilter::default(), by).await.unwrap());
        }
        all
    }
}

fn of(path: &Path) -> ImportFeedback {
    ImportFeedback { path: path.to_owned(), model_id: None, transformation_type: None, dry_run: false }
}

fn user(n: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(n))
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Two hundred texts that break files, pages and terminals: each piece of tests/golden/data/hostile.json alone, then pieces put
/// together from a seed, three of them a megabyte long. ui/e2e/hostile.e2e.ts shows such texts in a browser.
fn hostile() -> Vec<String> {
    let pieces: Vec<String> =
        serde_json::from_str(include_str!("../../../../../tests/golden/data/hostile.json")).unwrap();
    let mut texts = pieces.clone();
    let mut random = Stream::new(7, 0, Purpose::Shuffle, 0);
    while texts.len() < 197 {
        let n = 2 + random.next_u32() as usize % 6;
        texts.push((0..n).map(|_| &*pieces[random.next_u32() as usize % pieces.len()]).collect());
    }
    for _ in 0..3 {
        let mut long = String::new();
        while long.len() < 1_000_000 {
            long += &pieces[random.next_u32() as usize % pieces.len()];
        }
        texts.push(long);
    }
    texts
}

/// A row for each hostile text, which stands in every place that a text can stand in.
fn rows_of(texts: &[String]) -> Vec<Feedback> {
    let text = |i: usize| texts[i % texts.len()].clone();
    // Long texts in many places at once would only make the test slow.
    let short = |i: usize| if text(i).len() < 1000 { text(i) } else { "short".to_owned() };
    let name = |i: usize| short(i).chars().take(40).collect::<String>();
    (0..texts.len())
        .map(|i| {
            let output = short(i + 1);
            let corrected = (i % 2 == 0).then(|| short(i + 2));
            let choice = (i % 3 == 0).then(|| Choice {
                preferred: Preferred::ALL[i % 4],
                other_text: if i % 6 == 0 { String::new() } else { short(i + 3) },
                other_model_id: None,
                shown: ShownOrder::ALL[i % 2],
            });
            let judgement = Judgement {
                session_id: name(i),
                model_id: None,
                input_text: text(i),
                output_text: output.clone(),
                corrected_text: corrected.clone(),
                transformation_type: name(i + 4),
                rating: (i % 5 > 0).then(|| Rating::try_from((i % 5) as u8).unwrap()),
                thumbs: None,
                choice,
                critique: (i % 4 == 0).then(|| if i % 8 == 0 { String::new() } else { short(i + 5) }),
                flags: if i % 7 == 0 { vec![name(i), String::new(), name(i + 6)] } else { vec!["[x".into()] },
                answers: (i % 9 == 0)
                    .then(|| (name(i), Answer::Many(vec![name(i + 1), "b".into()])))
                    .into_iter()
                    .collect(),
                duration_ms: (i % 2 == 1).then_some(i as i64 * 1000),
            };
            Feedback {
                id: FeedbackId::from_uuid(Uuid::from_u128(i as u128 * 7919 % 1000 + 1)),
                user_id: (i % 2 == 0).then(|| user(1)),
                feedback_type: judgement.check().unwrap_or_else(|e| panic!("{e}: {judgement:?}")),
                source: FeedbackSource::ALL[i % 4],
                project_id: None,
                item_id: None,
                correction_distance: corrected.map(|corrected| tb_stats::diff::distance(&output, &corrected)),
                judgement,
                idempotency_key: (i % 3 == 1).then(|| format!("{} {i}", name(i))),
                created_at_ms: 1_700_000_000_000 + (i as i64 / 3) * 40_000_000,
                withdrawn_at_ms: (i % 11 == 0).then_some(1_800_000_000_000),
                withdrawn_reason: (i % 11 == 0).then(|| name(i + 7)),
            }
        })
        .collect()
}

#[tokio::test]
async fn what_was_exported_is_the_same_in_a_fresh_home_to_the_byte() {
    let here = Home::new().await;
    let texts = hostile();
    assert_eq!(texts.len(), 200);
    let mut tx = here.ctx.db().begin().await.unwrap();
    let mut sums = Sums::default();
    for row in rows_of(&texts) {
        tb_db::feedback::insert(&mut tx, &row, &mut sums).await.unwrap();
    }
    sums.write(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let rows = here.rows().await;
    assert_eq!(rows.len(), 200);
    for name in ["all.jsonl", "all.csv"] {
        let path = here.folder.path().join(name);
        let args = || ExportFeedback { path: path.clone(), selection: FeedbackFilter::default() };
        assert_eq!(export(&here.ctx, args()).await.unwrap().rows, 200, "{name}");
        let again = export(&here.ctx, args()).await.unwrap_err();
        assert_eq!((again.code, again.message.contains("Nothing was written")), (ErrorCode::Conflict, true), "{again}");
        let proposed = here.ctx.home().join("exports").join(name);
        let args = ExportFeedback { path: proposed.clone(), selection: FeedbackFilter::default() };
        export(&here.ctx, args).await.unwrap();
        assert_eq!(fs::read(proposed).unwrap(), fs::read(&path).unwrap());

        let fresh = Home::new().await;
        let imported = fresh.import(&path).await;
        assert_eq!(imported.problems, [], "{name}");
        assert_eq!((imported.stored, imported.known, imported.problems_path), (200, 0, None), "{name}");
        let there = fresh.rows().await;
        for (a, b) in rows.iter().zip(&there) {
            assert!(a == b, "{name}: {}", &format!("{a:?}\n{b:?}").chars().take(4000).collect::<String>());
        }
        assert_eq!(there.len(), 200);
        assert_eq!(fresh.sums().await.len(), here.sums().await.len());
        // Where the rows are, they are known, by their ids or by their keys.
        for home in [&fresh, &here] {
            let again = home.import(&path).await;
            assert_eq!((again.stored, again.known, again.num_problems), (0, 200, 0), "{name}: {:?}", again.problems);
        }
        let written: Vec<_> = fs::read_dir(fresh.ctx.home()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!written.iter().any(|n| n.to_string_lossy().ends_with(".tmp")), "{written:?}");
    }
    assert_eq!(here.rows().await, rows);
}

#[tokio::test]
async fn an_export_takes_what_was_asked_for_and_leaves_nothing_half() {
    let home = Home::new().await;
    // Several rows of one moment, and no two the same.
    let rated = |i: i64| {
        let at_ms = 1_700_000_000_000 + i / 7;
        json!({"input_text": "in", "output_text": format!("out {i}"), "rating": 1 + i % 5, "created_at_ms": at_ms})
    };
    let rows: Vec<Value> = (0..2500).map(rated).collect();
    home.import(&home.file("rows.jsonl", lines(&rows))).await;
    let path = home.folder.path().join("four.jsonl");
    let selection = FeedbackFilter { rating: Some(Rating::try_from(4).unwrap()), ..FeedbackFilter::default() };
    let written = export(&home.ctx, ExportFeedback { path: path.clone(), selection }).await.unwrap();
    assert_eq!(written.rows, 500);
    let text = fs::read_to_string(&path).unwrap();
    let seen: Vec<Feedback> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let order: Vec<_> = seen.iter().map(|row| (row.created_at_ms, row.id.clone())).rev().collect();
    assert!(seen.len() == 500 && order.is_sorted() && seen.iter().all(|r| r.feedback_type == FeedbackType::Rating));
    for bad in ["x.txt", "x.parquet", "nowhere/x.csv"] {
        let path = home.folder.path().join(bad);
        let error = export(&home.ctx, ExportFeedback { path, selection: FeedbackFilter::default() }).await.unwrap_err();
        assert!(error.message.starts_with("Nothing was written"), "{error}");
    }
}

#[tokio::test]
async fn the_same_import_again_stores_nothing_twice_and_an_interrupted_one_goes_on() {
    let home = Home::new().await;
    let rows: Vec<Value> = (0..1300)
        .map(|i| json!({"input_text": format!("in {i}"), "output_text": "out", "thumbs": "up", "user_id": user(1)}))
        .collect();
    let mut text = lines(&rows);
    // What a run that was cut off had stored: its first pieces.
    let cut = home.file("rows.jsonl", lines(&rows[..1000]));
    assert_eq!(home.import(&cut).await.stored, 1000);
    text += &lines(&rows[6..7]);
    let whole = home.file("rows.jsonl", &text);
    let looked = import(&home.ctx, ImportFeedback { dry_run: true, ..of(&whole) }).await.unwrap();
    assert_eq!(home.rows().await.len(), 1000, "a dry run stores nothing");
    let went_on = home.import(&whole).await;
    for import in [&looked, &went_on] {
        assert_eq!((import.stored, import.known, import.num_problems), (300, 1000, 1));
        assert_eq!((import.problems[0].line, import.problems[0].kind), (1301, RowProblemKind::Duplicate));
        assert_eq!(import.problems[0].reason, "the same content as line 7");
    }
    let again = home.import(&whole).await;
    assert_eq!((again.stored, again.known, again.num_problems), (0, 1300, 1));
    assert_eq!(again.problems[0].reason, "the same content as line 7");
    assert_eq!(home.rows().await.len(), 1300);
    let total: i64 = home.sums().await.iter().filter(|g| g.key == user(1).as_str()).map(|g| g.counts.thumbs[0]).sum();
    assert_eq!(total, 1300, "sums count each row once");
}

#[tokio::test]
async fn what_a_row_names_must_be_there_and_its_own_time_is_kept() {
    let home = Home::new().await;
    let row = |more: Value| {
        let mut row = json!({"input_text": "in", "output_text": "out", "rating": 5});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let model = "mdl_00000000-0000-0000-0000-000000000009";
    let rows = [
        row(json!({"user_id": user(1), "created_at": "2024-07-26T00:00:00Z"})),
        row(json!({"user_id": user(2)})),
        row(json!({"model_id": model})),
        row(json!({"preferred": "b", "other_text": "o", "other_model_id": model})),
        row(json!({"idempotency_key": "k"})),
        row(json!({"idempotency_key": "k", "rating": 4})),
        row(json!({"idempotency_key": "k"})),
    ];
    let imported = home.import(&home.file("rows.jsonl", lines(&rows))).await;
    assert_eq!((imported.stored, imported.num_problems), (2, 5));
    let seen: Vec<(u64, &str)> = imported.problems.iter().map(|p| (p.line, p.reason.as_str())).collect();
    assert_eq!(
        seen,
        [
            (2, "there is no user usr_00000000-0000-0000-0000-000000000002 here"),
            (3, "there is no model mdl_00000000-0000-0000-0000-000000000009 here"),
            (4, "there is no model mdl_00000000-0000-0000-0000-000000000009 here"),
            (6, "line 5 has other content under the same key or id"),
            (7, "the same content as line 5"),
        ]
    );
    let stored = home.rows().await;
    assert_eq!(stored.iter().filter(|row| row.created_at_ms == 1_721_952_000_000).count(), 1);
    assert!(stored.iter().all(|row| row.source == FeedbackSource::Import));
    let unknown = ImportFeedback { model_id: Some(model.parse().unwrap()), ..of(Path::new("rows.jsonl")) };
    assert_eq!(import(&home.ctx, unknown).await.unwrap_err().code, ErrorCode::NotFound);
    let nowhere = import(&home.ctx, of(Path::new("/nowhere/rows.jsonl"))).await.unwrap_err();
    assert!(nowhere.code == ErrorCode::NotFound && nowhere.message.starts_with("Nothing was imported"), "{nowhere}");
}

#[tokio::test]
async fn every_problem_is_listed_in_the_file_and_the_first_hundred_are_told() {
    let home = Home::new().await;
    let mut text = String::new();
    for i in 0..700 {
        text += &match i % 3 {
            0 => format!("{}\n", json!({"prompt": format!("q {i}"), "chosen": "a", "rejected": "b"})),
            1 => format!("{{\"prompt\": \"q {i}\", \"chosen\": \"cut\n"),
            _ => format!("{}\n", json!({"prompt": "q", "chosen": i, "rejected": "b"})),
        };
    }
    let imported = home.import(&home.file("pairs.jsonl", text)).await;
    assert_eq!((imported.stored, imported.num_problems, imported.problems.len()), (234, 466, 100));
    let path = imported.problems_path.unwrap();
    assert_eq!(path.parent().unwrap(), home.ctx.home().join("feedback-imports"));
    let listed = fs::read_to_string(path).unwrap();
    let listed: Vec<RowProblem> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed[..100], imported.problems);
    assert_eq!(listed.len(), 466);
    assert!(listed.is_sorted_by_key(|p| p.line) && listed.iter().all(|p| p.line % 3 != 1));
}
