//! The trip from feedback to data: each kind of training data with its exact rows, splits without leaks, withdrawal, and deletion.

// Helpers outside #[test] functions fail the test that calls them.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tb_api::{Actor, Ctx, commands};
use tb_core::{
    ApiError, ErrorCode,
    feedback::{Choice, Feedback, FeedbackSource, Judgement, Preferred, Rating, ShownOrder, Thumbs},
    ids::{DatasetId, FeedbackId, ModelId},
    model::{Lineage, Model, ModelStatus},
    recipe::FinetuningType,
};
use tb_db::{Db, feedback::sums::Sums};
use uuid::Uuid;

struct Place {
    ctx: Ctx,
    db: Db,
    home: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ctx = tb_api::open(home.path(), &[], Actor::local()).await.unwrap();
        let db = Db::open(&home.path().join("tonebridge.db")).await.unwrap();
        Self { ctx, db, home }
    }

    async fn with(rows: &[Feedback]) -> Self {
        let place = Self::new().await;
        place.store(rows).await;
        place
    }

    async fn store(&self, rows: &[Feedback]) {
        let mut tx = self.db.begin().await.unwrap();
        let mut sums = Sums::default();
        for row in rows {
            tb_db::feedback::insert(&mut tx, row, &mut sums).await.unwrap();
        }
        sums.write(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn withdraw(&self, row: &Feedback) {
        let mut tx = self.db.begin().await.unwrap();
        tb_db::feedback::withdraw(&mut tx, &row.id, 9, "asked for").await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn try_run(&self, name: &str, arguments: Value) -> Result<Value, ApiError> {
        commands::dispatch(&self.ctx, name, arguments).await
    }

    async fn run(&self, name: &str, arguments: Value) -> Value {
        self.try_run(name, arguments).await.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Rows of each split, in order of their JSON.
    async fn splits(&self, dataset: &Value) -> BTreeMap<String, Vec<Value>> {
        let mut splits = BTreeMap::new();
        for split in ["train", "validation", "test"] {
            let all = self.run("data_rows", json!({ "id": dataset["id"], "split": split, "limit": 1000 })).await;
            let mut rows: Vec<Value> = all["rows"].as_array().unwrap().clone();
            rows.sort_by_key(|row| row["example"].to_string());
            splits.insert(split.to_owned(), rows);
        }
        splits
    }

    /// The examples of all splits, in order of their JSON.
    async fn examples(&self, dataset: &Value) -> Vec<String> {
        let mut all: Vec<String> =
            self.splits(dataset).await.values().flatten().map(|r| r["example"].to_string()).collect();
        all.sort();
        all
    }

    /// A model version that learnt from a dataset or continues from another model.
    async fn model(&self, n: u32, dataset: Option<&Value>, parent: Option<&Model>) -> Model {
        let model = Model {
            id: ModelId::from_uuid(Uuid::from_u128(n.into())),
            training_job_id: None,
            name: "polite".into(),
            version: n,
            model_type: "tone".into(),
            base_model: "/base".into(),
            path: "/adapter".into(),
            metrics: serde_json::Map::new(),
            status: ModelStatus::Draft,
            lineage: Lineage {
                finetuning_type: FinetuningType::Lora,
                identity: String::new(),
                base_sha256: String::new(),
                dataset_id: dataset.map(|d| d["id"].as_str().unwrap().parse::<DatasetId>().unwrap()),
                data_sha256: String::new(),
                parent: parent.map(|p| p.id.clone()),
                seed: 1,
                code_version: String::new(),
                step: 1,
            },
            files: vec![],
            revision: 0,
            deployed_at_ms: None,
            created_at_ms: n.into(),
        };
        let mut tx = self.db.begin().await.unwrap();
        tb_db::models::insert(&mut tx, &model).await.unwrap();
        tx.commit().await.unwrap();
        model
    }
}

/// Row `n` by the person `who` on the answer `output` to the prompt `input`.
fn row(n: u128, who: &str, input: &str, output: &str, judgement: Judgement) -> Feedback {
    let judgement = Judgement {
        session_id: who.into(),
        input_text: input.into(),
        output_text: output.into(),
        transformation_type: "polite".into(),
        ..judgement
    };
    Feedback {
        id: FeedbackId::from_uuid(Uuid::from_u128(n)),
        user_id: None,
        feedback_type: judgement.check().unwrap(),
        source: FeedbackSource::Api,
        project_id: None,
        item_id: None,
        judgement,
        correction_distance: None,
        idempotency_key: None,
        created_at_ms: 1_000 + n as i64,
        withdrawn_at_ms: None,
        withdrawn_reason: None,
    }
}

fn vote(preferred: Preferred, other: &str) -> Judgement {
    let choice = Choice { preferred, other_text: other.into(), other_model_id: None, shown: ShownOrder::AFirst };
    Judgement { choice: Some(choice), ..Judgement::default() }
}

fn stars(stars: u8) -> Judgement {
    Judgement { rating: Some(Rating::try_from(stars).unwrap()), ..Judgement::default() }
}

const PROMPTS: u128 = 80;

/// Five rows on each of 80 prompts. By the number of the prompt modulo 4: 0 a correction among ratings in the middle, 1 votes of which
/// 3 of 5 are for x, 2 means of 4.5 and 2, 3 ties and one thumb up.
fn feedback() -> Vec<Feedback> {
    let mut rows = vec![];
    for i in 0..PROMPTS {
        let input = format!(" 依頼{i}: can't make it\n");
        let text = |word: &str| format!("{word} {i} ");
        let mut add = |k: u128, output: &str, judgement| {
            rows.push(row(i * 5 + k, &format!("person {k}"), &input, &text(output), judgement));
        };
        match i % 4 {
            0 => {
                let better = Judgement { corrected_text: Some(text("better")), ..Judgement::default() };
                add(1, "x", better);
                (2..=5).for_each(|k| add(k, "x", stars(3)));
            }
            1 => {
                (1..=3).for_each(|k| add(k, "x", vote(Preferred::A, &text("y"))));
                add(4, "y", vote(Preferred::A, &text("x")));
                add(5, "x", vote(Preferred::Tie, &text("y")));
            }
            2 => {
                add(1, "x", stars(5));
                add(2, "x", stars(4));
                (3..=5).for_each(|k| add(k, "y", stars(2)));
            }
            _ => {
                (1..=4).for_each(|k| add(k, "x", vote(Preferred::Tie, &text("y"))));
                add(5, "z", Judgement { thumbs: Some(Thumbs::Up), ..Judgement::default() });
            }
        }
    }
    rows
}

fn ids(i: u128, ks: &[u128]) -> Vec<String> {
    ks.iter().map(|k| FeedbackId::from_uuid(Uuid::from_u128(i * 5 + k)).to_string()).collect()
}

/// What each prompt must give, by hand: example, rows behind it, and margin.
fn expected(kind: &str) -> Vec<(Value, Vec<String>, Option<f64>)> {
    let mut all = vec![];
    for i in 0..PROMPTS {
        let prompt = format!(" 依頼{i}: can't make it\n");
        let text = |word: &str| format!("{word} {i} ");
        let pair = |chosen: &str, rejected: &str| json!({ "prompt": prompt, "chosen": text(chosen), "rejected": text(rejected) });
        let accepted = |word: &str| json!({ "prompt": prompt, "completion": text(word) });
        let judged = |word: &str, label: bool| json!({ "prompt": prompt, "completion": text(word), "label": label });
        let rows: Vec<(Value, &[u128], f64)> = match (kind, i % 4) {
            ("preference" | "reward", 0) => vec![(pair("better", "x"), &[1], 1.0)],
            // (3 - 1) / 5.
            ("preference" | "reward", 1) => vec![(pair("x", "y"), &[1, 2, 3], 0.4)],
            ("preference" | "reward", 2) => vec![(pair("x", "y"), &[1, 2, 3, 4, 5], 2.5)],
            ("sft", 0) => vec![(accepted("better"), &[1], 0.0)],
            ("sft", 1) => vec![(accepted("x"), &[1, 2, 3], 0.0)],
            ("sft", 2) => vec![(accepted("x"), &[1, 2], 0.0)],
            ("sft", 3) => vec![(accepted("z"), &[5], 0.0)],
            ("kto", 0) => vec![(judged("better", true), &[1], 0.0), (judged("x", false), &[1], 0.0)],
            ("kto", 1) => vec![(judged("x", true), &[1, 2, 3], 0.0), (judged("y", false), &[1, 2, 3], 0.0)],
            ("kto", 2) => vec![(judged("x", true), &[1, 2], 0.0), (judged("y", false), &[3, 4, 5], 0.0)],
            ("kto", 3) => vec![(judged("z", true), &[5], 0.0)],
            _ => vec![],
        };
        let margin = |margin| (kind == "reward").then_some(margin);
        all.extend(rows.into_iter().map(|(example, ks, m)| (example, ids(i, ks), margin(m))));
    }
    all.sort_by_key(|(example, ..)| example.to_string());
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_has_exactly_the_rows_that_the_feedback_says() {
    let place = Place::with(&feedback()).await;
    for (kind, shape) in
        [("sft", "prompt_completion"), ("preference", "preference"), ("kto", "unpaired"), ("reward", "preference")]
    {
        let arguments = json!({ "name": kind, "kind": kind, "validation_share": 0.2, "test_share": 0.2 });
        let preview = place.run("preference_preview", arguments.clone()).await;
        for one in preview["examples"].as_array().unwrap() {
            let side = |not: &str| -> String {
                let pieces = one["changes"].as_array().unwrap().iter().filter(|piece| piece["change"] != not);
                pieces.map(|piece| piece["text"].as_str().unwrap()).collect()
            };
            assert_eq!(side("removed"), one["example"]["chosen"].as_str().unwrap_or_default());
            assert_eq!(side("added"), one["example"]["rejected"].as_str().unwrap_or_default());
        }
        let dataset = place.run("preference_build", arguments).await;
        assert_eq!(
            (&dataset["type"], &dataset["shape"], &dataset["version"]),
            (&"feedback".into(), &shape.into(), &1.into())
        );
        let splits = place.splits(&dataset).await;
        let mut found: Vec<_> = splits
            .values()
            .flatten()
            .map(|row| {
                let more = &row["more"];
                assert_eq!(more["transformation_type"], "polite");
                let feedback: Vec<String> = serde_json::from_value(more["feedback"].clone()).unwrap();
                (row["example"].clone(), feedback, more.get("margin").and_then(Value::as_f64))
            })
            .collect();
        found.sort_by_key(|(example, ..)| example.to_string());
        let expected = expected(kind);
        assert_eq!(found, expected, "{kind}");
        assert_eq!(dataset["num_samples"], expected.len());

        let prompts = |split: &str| -> BTreeSet<String> {
            splits[split].iter().map(|row| row["example"]["prompt"].as_str().unwrap().to_owned()).collect()
        };
        let (train, validation, test) = (prompts("train"), prompts("validation"), prompts("test"));
        assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test), "{kind}");
        assert!(!train.is_empty() && !validation.is_empty() && !test.is_empty(), "{kind}");

        let rows: Vec<(String, usize)> = splits.iter().map(|(split, rows)| (split.clone(), rows.len())).collect();
        for told in preview["splits"].as_array().unwrap() {
            assert!(rows.contains(&(told["split"].as_str().unwrap().into(), told["rows"].as_u64().unwrap() as usize)));
        }
        let behind: BTreeSet<&String> = expected.iter().flat_map(|(_, ids, _)| ids).collect();
        let left_out: u64 = preview["left_out"].as_array().unwrap().iter().map(|c| c["rows"].as_u64().unwrap()).sum();
        assert_eq!(preview["feedback_rows"], 400);
        assert_eq!(behind.len() as u64 + left_out, 400, "{kind}");
        let examples = preview["examples"].as_array().unwrap();
        assert!(examples.len() == 20 && examples.iter().all(|e| expected.iter().any(|(x, ..)| *x == e["example"])));
        let provenance = place.run("provenance", json!({ "id": dataset["id"] })).await;
        assert_eq!((&provenance["feedback_rows"], &provenance["withdrawn"]), (&behind.len().into(), &0.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hash_does_not_depend_on_the_order_of_arrival() {
    let mut hashes = BTreeSet::new();
    for stride in [1, 7, 399] {
        let rows = feedback();
        let turned: Vec<Feedback> = (0..rows.len()).map(|i| rows[i * stride % rows.len()].clone()).collect();
        let place = Place::with(&turned).await;
        let dataset = place.run("preference_build", json!({ "name": "d", "kind": "kto" })).await;
        hashes.insert(dataset["sha256"].as_str().unwrap().to_owned());
        let files = std::fs::read_dir(dataset["file_path"].as_str().unwrap()).unwrap();
        let names: BTreeSet<String> = files.map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
        let whole = ["build.json", "left_out.jsonl", "problems.jsonl", "test.jsonl", "train.jsonl", "validation.jsonl"];
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), whole);
    }
    assert_eq!(hashes.len(), 1, "{hashes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_stays_in_its_split_from_version_to_version() {
    let place = Place::with(&feedback()).await;
    let first = json!({ "name": "d", "kind": "sft", "validation_share": 0.2, "test_share": 0.3, "seed": 1 });
    let one = place.run("preference_build", first).await;
    // The same prompts in other letters, and new ones.
    let more: Vec<Feedback> =
        (0..PROMPTS * 2).map(|i| row(10_000 + i, "p", &format!("依頼{i} CAN'T make it!"), "out", stars(5))).collect();
    place.store(&more).await;
    let template = "Rewrite ({transformation_type}): {input}";
    let second = json!({ "name": "d", "kind": "sft", "validation_share": 0.5, "test_share": 0.2, "seed": 2, "template": template });
    let two = place.run("preference_build", second).await;
    assert_eq!(two["version"], 2);
    let number = |row: &Value| -> u32 {
        let prompt = row["example"]["prompt"].as_str().unwrap();
        let digits = prompt.split_once("依頼").unwrap().1;
        digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
    };
    let (one, two) = (place.splits(&one).await, place.splits(&two).await);
    let place_of = |splits: &BTreeMap<String, Vec<Value>>| {
        let mut places: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        for (split, rows) in splits {
            for row in rows {
                places.entry(number(row)).or_default().insert(split.clone());
            }
        }
        places
    };
    let (before, after) = (place_of(&one), place_of(&two));
    assert!(before.len() as u128 == PROMPTS && after.len() as u128 == PROMPTS * 2);
    assert!(after.values().all(|splits| splits.len() == 1), "near duplicates stand together: {after:?}");
    assert!(before.iter().all(|(n, splits)| after[n] == *splits));
    assert!(two.values().flatten().any(|row| row["example"]["prompt"] == "Rewrite (polite): 依頼3 CAN'T make it!"));
    let test: BTreeSet<u32> = two["test"].iter().map(&number).collect();
    assert!(test.iter().any(|n| u128::from(*n) >= PROMPTS), "new prompts are drawn");
    // In a third version under yet another template the key, not the text, tells the prompt.
    let third = json!({ "name": "d", "kind": "kto", "template": "{input}\n\nPolite:", "seed": 3, "test_share": 0.0 });
    let three = place_of(&place.splits(&place.run("preference_build", third).await).await);
    assert!(after.iter().all(|(n, splits)| three[n] == *splits));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawn_rows_mark_datasets_and_models_and_are_not_built_again() {
    let rows = feedback();
    let place = Place::with(&rows).await;
    let arguments = json!({ "name": "d", "kind": "preference" });
    let dataset = place.run("preference_build", arguments.clone()).await;
    let trained = place.model(1, Some(&dataset), None).await;
    let continued = place.model(2, None, Some(&trained)).await;
    place.model(3, None, None).await;
    assert_eq!(place.run("provenance_marks", Value::Null).await, json!([]));
    let from = place.run("provenance", json!({ "id": continued.id })).await;
    assert_eq!(from["datasets"], json!([{ "id": dataset["id"], "name": "d", "version": 1 }]));
    // 20 prompts with 1, 3 and 5 rows each.
    assert_eq!((&from["feedback_rows"], from["rows"].as_array().unwrap().len()), (&180.into(), 180));
    assert_eq!(
        place.run("provenance", json!({ "id": ModelId::from_uuid(Uuid::from_u128(3)) })).await["feedback_rows"],
        0
    );

    // Row 1: the correction of prompt 0. Row 10: a tie, behind nothing.
    place.withdraw(&rows[0]).await;
    place.withdraw(&rows[9]).await;
    let mark = |id: &str| json!({ "id": id, "withdrawn": 1 });
    let marks = place.run("provenance_marks", Value::Null).await;
    assert_eq!(
        marks,
        json!([mark(dataset["id"].as_str().unwrap()), mark(trained.id.as_str()), mark(continued.id.as_str())])
    );
    assert_eq!(place.run("provenance", json!({ "id": dataset["id"] })).await["withdrawn"], 1);

    let again = place.run("preference_build", arguments).await;
    assert_eq!(again["num_samples"].as_u64().unwrap() + 1, dataset["num_samples"].as_u64().unwrap());
    assert!(!place.examples(&again).await.iter().any(|example| example.contains("better 0 ")));
    assert_eq!(place.run("provenance_marks", Value::Null).await, marks, "the new version holds no withdrawn row");

    // What a model learnt from stays; a version that nothing learnt from goes with the list of its rows.
    let refused = place.try_run("data_delete", json!({ "id": dataset["id"] })).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.message.contains(trained.id.as_str()), "{refused}");
    place.run("data_delete", json!({ "id": again["id"] })).await;
    assert_eq!(place.run("provenance", json!({ "id": continued.id })).await["feedback_rows"], 180);
    assert_eq!(place.try_run("provenance", json!({ "id": again["id"] })).await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(place.try_run("provenance", json!({ "id": "x" })).await.unwrap_err().code, ErrorCode::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_choose_the_feedback() {
    let place = Place::with(&feedback()).await;
    let looked_at = async |filter: Value| {
        let mut arguments = json!({ "name": "d", "kind": "sft" });
        arguments.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        place.run("preference_preview", arguments).await["feedback_rows"].as_u64().unwrap()
    };
    assert_eq!(looked_at(json!({})).await, 400);
    assert_eq!(looked_at(json!({ "since_ms": 1_101 })).await, 300);
    assert_eq!(looked_at(json!({ "since_ms": 1_101, "until_ms": 1_111 })).await, 10);
    assert_eq!(looked_at(json!({ "transformation_types": ["polite", "short"] })).await, 400);
    assert_eq!(looked_at(json!({ "transformation_types": ["short"] })).await, 0);
    assert_eq!(looked_at(json!({ "model_ids": [ModelId::from_uuid(Uuid::from_u128(1))] })).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_built_is_refused_with_the_reasons_and_leaves_nothing() {
    let place = Place::with(&feedback()).await;
    let refused = async |arguments: Value| place.try_run("preference_build", arguments).await.unwrap_err();
    let strict = json!({ "name": "d", "kind": "preference", "rules": { "min_reviewers": 9 } });
    let error = refused(strict).await;
    assert_eq!(error.code, ErrorCode::DataInvalid);
    for part in ["400 feedback rows", "stand on too few reviewers", "are ties"] {
        assert!(error.message.contains(part), "{error}");
    }
    let error = refused(json!({ "name": "d", "kind": "sft", "since_ms": 999_999 })).await;
    assert!(error.message.contains("no feedback"), "{error}");
    for (arguments, part) in [
        (json!({ "name": " ", "kind": "sft" }), "name"),
        (json!({ "name": "d", "kind": "sft", "test_share": 0.95 }), "0.95"),
        (json!({ "name": "d", "kind": "sft", "rules": { "min_agreement": 2.0 } }), "min_agreement"),
        (json!({ "name": "d", "kind": "sft", "template": "no place" }), "{input}"),
        (json!({ "name": "d", "kind": "sft", "since_ms": 5, "until_ms": 5 }), "until_ms"),
        (json!({ "name": "d", "kind": "dpo" }), "dpo"),
        (json!({ "name": "d", "kind": "sft", "rules": { "min_rewievers": 1 } }), "min_rewievers"),
    ] {
        let error = refused(arguments.clone()).await;
        assert!(error.code == ErrorCode::InvalidArgument && error.to_string().contains(part), "{arguments}: {error}");
    }
    assert_eq!(place.run("data_list", Value::Null).await, json!([]));
    assert_eq!(std::fs::read_dir(place.home.path().join("datasets")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_learn_from_the_rows_is_refused_before_it_starts() {
    let place = Place::with(&feedback()).await;
    let base = place.home.path().join("base");
    std::fs::create_dir(&base).unwrap();
    std::fs::write(base.join("config.json"), "{}").unwrap();
    for (kind, word) in [("kto", "KTO"), ("preference", "DPO")] {
        let dataset = place.run("preference_build", json!({ "name": kind, "kind": kind })).await;
        let error =
            place.try_run("job_start", json!({ "base_model": base, "dataset_id": dataset["id"] })).await.unwrap_err();
        assert!(error.code == ErrorCode::InvalidArgument && error.message.contains(word), "{error}");
    }
}
