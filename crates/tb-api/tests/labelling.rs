//! The trip of feedback through the table of commands: submitting, labelling with two reviewers, agreement, decisions, taking back.

// Helpers outside #[test] functions fail the test that calls them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tb_api::{Actor, Ctx, commands};
use tb_core::{
    ApiError, ErrorCode,
    ids::UserId,
    user::{Role, User},
};

struct Place {
    ctx: Ctx,
    home: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ctx = tb_api::open(home.path(), &[], Actor::local()).await.unwrap();
        Self { ctx, home }
    }

    async fn run(&self, name: &str, arguments: Value) -> Value {
        self.refused(name, arguments).await.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    async fn refused(&self, name: &str, arguments: Value) -> Result<Value, ApiError> {
        commands::dispatch(&self.ctx, name, arguments).await
    }

    /// The same program for a reviewer who is in the database.
    async fn reviewer(&self, n: u128) -> Self {
        let id = UserId::from_uuid(uuid::Uuid::from_u128(n));
        let user = User {
            id: id.clone(),
            name: format!("reviewer {n}"),
            role: Role::Reviewer,
            created_at_ms: 0,
            disabled_at_ms: None,
            last_seen_at_ms: None,
        };
        let db = tb_db::Db::open(&self.home.path().join("tonebridge.db")).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        tb_db::users::insert(&mut tx, &user).await.unwrap();
        tx.commit().await.unwrap();
        let ctx = self.ctx.as_actor(Actor { user_id: Some(id), ..Actor::with_role(Role::Reviewer) });
        Self { ctx, home: tempfile::tempdir().unwrap() }
    }

    /// A dataset of `rows` prompts with a completion each, or with two answers.
    async fn dataset(&self, rows: usize, pairs: bool) -> Value {
        let path = self.home.path().join(format!("rows-{rows}-{pairs}.jsonl"));
        let lines: String = (0..rows)
            .map(|i| match pairs {
                true => json!({ "prompt": format!("in {i}"), "chosen": format!("good {i}"), "rejected": format!("bad {i} x") }),
                false => json!({ "prompt": format!("in {i}"), "completion": format!("out {i}") }),
            })
            .map(|row| format!("{row}\n"))
            .collect();
        std::fs::write(&path, lines).unwrap();
        let data = json!({ "path": path, "validation_share": 0.0, "test_share": 0.0 });
        self.run("data_import", data).await
    }

    /// A dataset of these rows.
    async fn rows(&self, rows: &[Value]) -> Value {
        let path = self.home.path().join("given.jsonl");
        std::fs::write(&path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
        self.run("data_import", json!({ "path": path, "validation_share": 0.0, "test_share": 0.0 })).await
    }

    /// The rows of a KTO dataset, built of a project's feedback, on a prompt, and the feedback behind each.
    async fn learned(&self, project: &Value, prompt: &str) -> Vec<(Value, Vec<Value>)> {
        let data = json!({ "name": "judged", "kind": "kto", "project_ids": [project], "validation_share": 0.0, "test_share": 0.0 });
        let dataset = self.run("preference_build", data).await;
        let rows = self.run("data_rows", json!({ "id": dataset["id"], "split": "train", "limit": 100 })).await;
        let on_prompt = rows["rows"].as_array().unwrap().iter().filter(|row| row["example"]["prompt"] == prompt);
        on_prompt
            .map(|row| {
                let mut feedback = row["more"]["feedback"].as_array().unwrap().clone();
                feedback.sort_by_key(Value::to_string);
                (row["example"].clone(), feedback)
            })
            .collect()
    }

    async fn project(&self, dataset: &Value, more: Value) -> Value {
        let mut form = json!({
            "name": "Polite",
            "source": { "kind": "dataset", "dataset_id": dataset["id"], "split": "train" },
        });
        form.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.run("label_project_create", form).await
    }
}

fn tasks(hand: &Value) -> &Vec<Value> {
    hand["tasks"].as_array().unwrap()
}

/// The number in a text such as `in 12`.
fn number(text: &Value) -> u64 {
    text.as_str().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn feedback_is_stored_once_per_key_and_counted() {
    let place = Place::new().await;
    let row = json!({ "input_text": "in", "output_text": "out", "rating": 4, "idempotency_key": "k" });
    let first = place.run("feedback_submit", row.clone()).await;
    assert_eq!(place.run("feedback_submit", row.clone()).await["id"], first["id"]);
    let mut other = row.clone();
    other["rating"] = json!(1);
    assert_eq!(place.refused("feedback_submit", other).await.unwrap_err().code, ErrorCode::Conflict);
    let bad = json!({ "input_text": "in", "output_text": "out", "stars": 4 });
    let error = place.refused("feedback_submit", bad).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("stars"), "{error}");
    let nothing = place.refused("feedback_submit", json!({ "input_text": "in", "output_text": "out" })).await;
    assert_eq!(nothing.unwrap_err().code, ErrorCode::InvalidArgument);
    // Keys of one sender say nothing about those of another.
    let reviewer = place.reviewer(1).await;
    assert_ne!(reviewer.run("feedback_submit", row).await["id"], first["id"]);
    let stats = place.run("feedback_stats", json!({})).await;
    assert_eq!((stats["total"]["rows"].as_u64(), stats["total"]["by_rating"][3].as_u64()), (Some(2), Some(2)));
    let seen = reviewer.run("feedback_list", json!({})).await;
    assert_eq!(seen.as_array().unwrap().len(), 1, "reviewers see their own");
    assert_eq!(
        reviewer.refused("feedback_get", json!({ "id": first["id"] })).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    place.run("feedback_withdraw", json!({ "id": first["id"], "reason": "slip" })).await;
    let stats = place.run("feedback_stats", json!({})).await;
    assert_eq!(stats["total"]["rows"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_senders_at_once_share_commits_and_lose_nothing() {
    let place = Place::new().await;
    let senders = (0..100).map(|n| {
        let ctx = place.ctx.clone();
        tokio::spawn(async move {
            let row = json!({ "input_text": format!("in {n}"), "output_text": "out", "rating": 1 + n % 5 });
            commands::dispatch(&ctx, "feedback_submit", row).await
        })
    });
    // One that hangs up before its turn takes nobody's row with it.
    for (n, sender) in senders.enumerate().collect::<Vec<_>>() {
        if n % 10 == 9 {
            sender.abort();
        } else {
            sender.await.unwrap().unwrap();
        }
    }
    let rows = place.run("feedback_list", json!({ "limit": 500 })).await;
    let rows = rows.as_array().unwrap();
    let texts: std::collections::BTreeSet<&str> = rows.iter().map(|r| r["input_text"].as_str().unwrap()).collect();
    assert!((90..=100).contains(&rows.len()) && texts.len() == rows.len());
    let stats = place.run("feedback_stats", json!({})).await;
    assert_eq!(stats["total"]["rows"].as_u64(), Some(rows.len() as u64));
}

#[tokio::test]
async fn two_reviewers_judge_each_item_once_and_their_agreement_is_told() {
    let place = Place::new().await;
    let dataset = place.dataset(12, false).await;
    let project = place.project(&dataset, json!({ "overlap": 2 })).await;
    assert_eq!((project["status"].as_str(), project["num_items"].as_u64()), (Some("active"), Some(12)));
    let id = &project["id"];
    let mut given: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
    for reviewer_id in [1, 2, 3] {
        let reviewer = place.reviewer(reviewer_id).await;
        let mut hand = reviewer.run("label_take", json!({ "project_id": id, "hold": 3 })).await;
        while let Some(task) = tasks(&hand).first().cloned() {
            let n = number(&task["input_text"]);
            given.entry(reviewer_id).or_default().push(n);
            // The second reviewer is milder by one on every fourth item, and wide off on item 0.
            let stars = match (reviewer_id, n) {
                (2, 0) => 5,
                (2, n) if n % 4 == 1 => 1 + (n % 4) + 1,
                (_, n) => 1 + n % 4,
            };
            let answers = json!({ "rating": stars });
            let submit = json!({ "item_id": task["item_id"], "answers": answers, "duration_ms": 2000, "hold": 3 });
            let submitted = reviewer.run("label_submit", submit.clone()).await;
            // A second try after a lost reply is the same answer.
            assert_eq!(reviewer.run("label_submit", submit).await["feedback_id"], submitted["feedback_id"]);
            hand = submitted["hand"].clone();
        }
        let progress = &hand["progress"];
        let judged = if reviewer_id == 3 { 0 } else { 12 };
        assert_eq!((progress["mine"].as_u64(), progress["left"].as_u64()), (Some(judged), Some(0)));
    }
    let all: Vec<u64> = (0..12).collect();
    for reviewer in [1, 2] {
        let mut seen = given[&reviewer].clone();
        assert_ne!(seen, all, "the order is drawn");
        seen.sort_unstable();
        assert_eq!(seen, all);
    }
    assert!(!given.contains_key(&3), "two reviewers are enough");
    let summary = place.run("label_project_get", json!({ "id": id })).await;
    assert_eq!(
        (summary["project"]["num_done"].as_u64(), summary["project"]["num_answers"].as_u64()),
        (Some(12), Some(24))
    );

    let report = place.run("label_agreement", json!({ "project_id": id })).await;
    let question = &report["questions"][0];
    assert_eq!((report["overlapped"].as_u64(), report["disagreed"].as_u64()), (Some(12), Some(1)));
    // krippendorff 0.9.0: alpha([[1,2,3,4]*3, [5,3,3,4,1,3,3,4,1,3,3,4]], ordinal / interval).
    let close = |value: &Value, expected: f64| (value["value"].as_f64().unwrap() - expected).abs() < 1e-9;
    assert!(close(&question["alpha"], ORDINAL), "{question}");
    assert!(close(&question["alpha_interval"], INTERVAL), "{question}");
    // sklearn 1.9.1: cohen_kappa_score(weights="quadratic"), statsmodels 0.15.0: fleiss_kappa.
    assert!(close(&question["cohen_kappa"], COHEN), "{question}");
    assert!(close(&question["fleiss_kappa"], FLEISS), "{question}");
    assert!(close(&question["same"], 8.0 / 12.0) && question["same"]["n"] == 12, "{question}");
    let (low, high) = (question["same"]["low"].as_f64().unwrap(), question["same"]["high"].as_f64().unwrap());
    assert!(0.0 < low && low < 8.0 / 12.0 && 8.0 / 12.0 < high && high <= 1.0, "{question}");
    let bias = &report["reviewers"][1]["bias"];
    assert!((bias["value"].as_f64().unwrap() - 7.0 / 12.0).abs() < 1e-12, "{report}");

    let decide = place.run("label_items", json!({ "project_id": id, "show": "disagreed" })).await;
    assert_eq!(decide.as_array().unwrap().len(), 1);
    assert_eq!(decide[0]["differs"], json!(["rating"]));
    let item = decide[0]["item"]["id"].clone();
    assert_eq!(place.learned(id, "in 0").await, [] as [(Value, Vec<Value>); 0], "one says 1, the other 5");
    place.run("label_adjudicate", json!({ "item_id": item, "answers": { "rating": 1 } })).await;
    let left = place.run("label_items", json!({ "project_id": id, "show": "disagreed" })).await;
    assert_eq!(left, json!([]));
    let example = json!({ "prompt": "in 0", "completion": "out 0", "label": false });
    let agrees = decide[0]["answers"].as_array().unwrap().iter().find(|by| by["answers"]["rating"] == 1).unwrap();
    let behind = vec![agrees["feedback_id"].clone()];
    assert_eq!(place.learned(id, "in 0").await, [(example, behind)], "the decision, and who said the same");
    let reviewer = place.ctx.as_actor(Actor {
        user_id: Some(UserId::from_uuid(uuid::Uuid::from_u128(1))),
        ..Actor::with_role(Role::Reviewer)
    });
    let others = decide[0]["answers"][1]["feedback_id"].clone();
    assert!(
        commands::dispatch(&reviewer, "feedback_get", json!({ "id": others })).await.is_ok(),
        "decided: open to both"
    );
    let own = commands::dispatch(&reviewer, "label_own_agreement", json!({ "project_id": id })).await.unwrap();
    assert_eq!(own["items"], 12);
    assert!((own["same"].as_f64().unwrap() - 8.0 / 12.0).abs() < 1e-12, "{own}");
    assert!((own["within_one"].as_f64().unwrap() - 11.0 / 12.0).abs() < 1e-12, "{own}");
}

const ORDINAL: f64 = 0.503_889_674_681_753_9;
const INTERVAL: f64 = 0.430_247_718_383_311_66;
const COHEN: f64 = 0.441_176_470_588_235_3;
const FLEISS: f64 = 0.547_169_811_320_754_8;

#[tokio::test]
async fn sides_are_shuffled_and_choices_are_stored_as_the_item_has_them() {
    let place = Place::new().await;
    let dataset = place.dataset(40, true).await;
    let project = place.project(&dataset, json!({ "overlap": 1, "order": "oldest" })).await;
    let mut hand = place.run("label_take", json!({ "project_id": project["id"] })).await;
    let mut first = 0;
    while let Some(task) = tasks(&hand).first().cloned() {
        let good_first = task["outputs"][0].as_str().unwrap().starts_with("good");
        first += u32::from(good_first);
        assert!(task.get("model_id").is_none());
        let answers = json!({ "better": if good_first { "a" } else { "b" } });
        hand =
            place.run("label_submit", json!({ "item_id": task["item_id"], "answers": answers })).await["hand"].clone();
    }
    assert!((8..=32).contains(&first), "{first} of 40");
    let rows = place.run("feedback_list", json!({ "limit": 100 })).await;
    assert_eq!(rows.as_array().unwrap().len(), 40);
    for row in rows.as_array().unwrap() {
        assert_eq!(row["choice"]["preferred"], "a");
        assert!(row["output_text"].as_str().unwrap().starts_with("good"));
        let shown = if row["choice"]["shown"] == "a_first" { 1 } else { 0 };
        first -= shown;
    }
    assert_eq!(first, 0, "the order that was shown is stored");
}

#[tokio::test]
async fn an_answer_is_compared_with_what_was_to_be_rewritten_and_a_correction_with_the_answer() {
    let place = Place::new().await;
    let asked = |source: &str| json!({ "prompt": "Rewrite politely:\nsend the report", "completion": "Please send the report", "source": source });
    let mut second = asked("web crawl");
    second["prompt"] = json!("Rewrite politely:\nsend the plan");
    let dataset = place.rows(&[asked("send the report"), second]).await;
    let project = place.project(&dataset, json!({ "overlap": 1, "order": "oldest" })).await;
    let hand = place.run("label_take", json!({ "project_id": project["id"] })).await;
    let task = &tasks(&hand)[0];
    assert_eq!(task["input_text"], "Rewrite politely:\nsend the report");
    assert_eq!(task["source_text"], "send the report");
    let pieces = |change: &str, text: &str| json!({ "change": change, "text": text });
    assert_eq!(task["diffs"][0], json!([pieces("added", "Please "), pieces("same", "send the report")]));
    let other = &tasks(&hand)[1];
    assert_eq!(other["source_text"], Value::Null, "a word about the row is no part of its prompt");
    assert_eq!(other["diffs"][0][0], pieces("removed", "Rewrite politely:\n"));

    let answers = json!({ "rating": 4, "correction": "Please send me the report" });
    place.run("label_submit", json!({ "item_id": task["item_id"], "answers": answers })).await;
    let done = place.run("label_done", json!({ "project_id": project["id"], "limit": 5 })).await;
    assert_eq!(done[0]["input_start"], "send the report");
    let items = place.run("label_items", json!({ "project_id": project["id"] })).await;
    let changed = json!([pieces("same", "Please send "), pieces("added", "me "), pieces("same", "the report")]);
    assert_eq!(items[0]["answers"][0]["corrected"], changed);
    let row = place.run("feedback_list", json!({})).await[0].clone();
    assert_eq!(row["input_text"], "Rewrite politely:\nsend the report", "training learns from the whole prompt");
    let page = place.run("feedback_get", json!({ "id": row["id"] })).await;
    assert_eq!(page["output_diff"], task["diffs"][0]);
}

#[tokio::test]
async fn skipping_flagging_drafts_and_undo_lose_nothing() {
    let place = Place::new().await;
    let dataset = place.dataset(3, false).await;
    let project = place.project(&dataset, json!({ "order": "oldest" })).await;
    let take = json!({ "project_id": project["id"], "hold": 2 });
    let hand = place.run("label_take", take.clone()).await;
    let held: Vec<Value> = tasks(&hand).iter().map(|t| t["item_id"].clone()).collect();
    assert_eq!(held.len(), 2);
    place.run("label_draft", json!({ "item_id": held[0], "answers": { "rating": 2, "note": "half" } })).await;
    place.run("label_flag", json!({ "item_id": held[0], "note": "odd" })).await;
    let again = place.run("label_take", take.clone()).await;
    assert_eq!(tasks(&again)[0]["draft"], json!({ "rating": 2, "note": "half" }));
    assert_eq!(tasks(&again)[0]["flagged"], true);
    let submit = json!({ "item_id": held[0], "answers": { "rating": 3, "correction": "better", "note": "whole" } });
    let first = place.run("label_submit", submit).await;
    let row = place.run("feedback_get", json!({ "id": first["feedback_id"] })).await;
    assert_eq!(row["feedback"]["corrected_text"], "better");
    assert_eq!(row["feedback"]["flags"], json!(["flagged"]));
    assert_eq!(row["feedback"]["correction_distance"], 1.0);

    let flagged = json!({ "project_id": project["id"], "show": "flagged" });
    let items = place.run("label_items", flagged.clone()).await;
    assert_eq!((&items[0]["item"]["id"], &items[0]["item"]["flagged"]), (&held[0], &json!(1)));
    let count =
        || async { place.run("label_agreement", json!({ "project_id": project["id"] })).await["flagged"].as_u64() };
    assert_eq!(count().await, Some(1));
    let cleared = place.run("label_clear_flags", json!({ "item_id": held[0] })).await;
    let theirs = &cleared["answers"][0];
    assert_eq!(
        (&theirs["flagged"], &theirs["note"], &cleared["item"]["flagged"]),
        (&json!(false), &json!("odd"), &json!(0))
    );
    assert_eq!(place.run("label_items", flagged).await, json!([]));
    assert_eq!(count().await, Some(0));
    let report = place.run("label_agreement", json!({ "project_id": project["id"] })).await;
    assert_eq!(report["questions"][0]["no_alpha"], json!("nothing_to_compare"), "one reviewer so far");

    let undone = place.run("label_undo", json!({ "project_id": project["id"] })).await;
    assert_eq!(tasks(&undone)[0]["item_id"], held[0]);
    assert_eq!(tasks(&undone)[0]["draft"], json!({ "rating": 3, "correction": "better", "note": "whole" }));
    let rows = place.run("feedback_list", json!({ "selection": { "withdrawn": false } })).await;
    assert_eq!(rows, json!([]));
    assert_eq!(place.run("feedback_stats", json!({})).await["total"]["rows"], 0);
    let nothing = place.refused("label_undo", json!({ "project_id": project["id"] })).await;
    assert_eq!(nothing.unwrap_err().code, ErrorCode::Conflict);

    let skipped = place.run("label_skip", json!({ "item_id": held[0], "note": "no idea" })).await;
    assert!(!tasks(&skipped).iter().any(|t| t["item_id"] == held[0]));
    let reviewer = place.reviewer(5).await;
    let theirs = reviewer.run("label_take", json!({ "project_id": project["id"], "hold": 9 })).await;
    assert_eq!(tasks(&theirs).iter().map(|t| &t["item_id"]).collect::<Vec<_>>(), [&held[0]], "passed on to others");
    let wrong = json!({ "item_id": held[0], "answers": { "rating": 9 } });
    assert_eq!(reviewer.refused("label_submit", wrong).await.unwrap_err().code, ErrorCode::InvalidArgument);
    let open = json!({ "item_id": held[0], "answers": { "note": "x" } });
    assert!(reviewer.refused("label_submit", open).await.unwrap_err().message.contains("Rating"));

    let read = project["revision"].as_i64().unwrap();
    let paused = place.run("label_project_update", json!({ "id": project["id"], "status": "paused" })).await;
    assert_eq!(paused["revision"], json!(read + 1));
    let late = json!({ "id": project["id"], "revision": read, "guidelines": "Mine" });
    let refused = place.refused("label_project_update", late).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.contains("Nothing was changed")),
        (ErrorCode::Conflict, true),
        "{refused}"
    );
    let named = json!({ "id": project["id"], "revision": read + 1, "guidelines": "Mine" });
    assert_eq!(place.run("label_project_update", named).await["guidelines"], json!("Mine"));
    assert_eq!(place.run("label_take", take.clone()).await["tasks"], json!([]));
    place.run("label_project_update", json!({ "id": project["id"], "status": "active", "overlap": 2 })).await;
    let more = place.run("label_take", json!({ "project_id": project["id"], "hold": 9 })).await;
    assert_eq!(tasks(&more).len(), 2);
    assert_eq!(
        reviewer.refused("label_project_update", json!({ "id": project["id"] })).await.unwrap_err().code,
        ErrorCode::Forbidden
    );
}

#[tokio::test]
async fn items_come_from_traffic_and_the_widest_apart_first() {
    let place = Place::new().await;
    for (output, n) in [("a b c d", 0), ("a b c x", 1), ("w x y z", 2)] {
        let row =
            json!({ "input_text": "a b c d", "output_text": output, "thumbs": "down", "session_id": format!("s{n}") });
        let api = place.ctx.via(tb_core::feedback::FeedbackSource::Api);
        let stored = commands::dispatch(&api, "feedback_submit", row).await.unwrap();
        assert_eq!(stored["user_id"], Value::Null, "another program's user");
    }
    let form = json!({ "name": "Live", "source": { "kind": "traffic" }, "order": "disagreement" });
    let project = place.run("label_project_create", form).await;
    let hand = place.run("label_take", json!({ "project_id": project["id"] })).await;
    let outputs: Vec<&str> = tasks(&hand).iter().map(|t| t["outputs"][0].as_str().unwrap()).collect();
    assert_eq!(outputs, ["w x y z", "a b c x", "a b c d"]);
    let none = json!({ "name": "None", "source": { "kind": "traffic", "since_ms": 9_000_000_000_000_i64 } });
    assert_eq!(place.refused("label_project_create", none).await.unwrap_err().code, ErrorCode::DataInvalid);
    let listed = place.run("label_project_list", json!({})).await;
    assert_eq!(listed[0]["project"]["status"], "failed");
    let choice = json!([{ "name": "better", "title": "Which?", "required": true, "kind": "choice" }]);
    let bad = json!({ "name": "One", "source": { "kind": "traffic" }, "questions": choice });
    assert!(place.refused("label_project_create", bad).await.unwrap_err().message.contains("one answer"));
}
