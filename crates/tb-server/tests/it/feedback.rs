//! Feedback for other programs: its two addresses, each answer that they can get, and the views that share them.

use serde_json::{Value, json};

use crate::support::{Answer, Running};

fn row(rating: u64) -> Value {
    json!({"session_id": "s", "input_text": "in", "output_text": "out", "rating": rating, "transformation_type": "polite"})
}

async fn post(server: &Running, key: &str, body: &Value) -> Answer {
    let ask = server.ask("POST", "/feedback").json(&body.to_string());
    let ask = if key.is_empty() { ask } else { ask.header("Idempotency-Key", key) };
    ask.send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_stored_once_and_each_repeat_is_told_from_the_first() {
    let server = Running::start().await;
    let first = post(&server, "k1", &row(4)).await;
    assert_eq!(first.status, 201, "{first:?}");
    let told = first.json();
    assert!(told["id"].as_str().unwrap().starts_with("fbk_") && told["created_at_ms"].is_number(), "{told}");
    let again = post(&server, "k1", &row(4)).await;
    assert_eq!((again.status, again.json()), (200, told.clone()));
    let mut by_field = row(4);
    by_field["idempotency_key"] = "k1".into();
    let again = post(&server, "", &by_field).await;
    assert_eq!((again.status, again.json()), (200, told.clone()));
    let other = post(&server, "k1", &row(5)).await;
    assert_eq!((other.status, other.code().as_str()), (409, "conflict"));
    assert_eq!(post(&server, "k2", &row(4)).await.status, 201, "another key is another row");
    assert_eq!(post(&server, "", &row(4)).await.status, 201, "without a key each is a row of its own");

    let stored = server.rpc("feedback_list", &json!({})).await;
    let stored = stored.as_array().unwrap();
    assert_eq!(stored.len(), 3);
    assert!(stored.iter().all(|row| row["source"] == "api"), "{stored:?}");
    server.rpc("feedback_submit", &row(1)).await;
    let newest = server.rpc("feedback_list", &json!({ "limit": 1 })).await;
    assert_eq!(newest[0]["source"], "workbench");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_named_by_its_fields() {
    let server = Running::start().await;
    let refused = post(&server, "", &json!({"input_text": "", "output_text": "out", "rating": 3})).await;
    assert_eq!((refused.status, refused.json()["fields"].clone()), (422, json!({"input_text": "it is empty"})));
    let refused = post(&server, "", &json!({"output_text": 3, "rating": 6, "stars": 3})).await;
    assert_eq!(refused.status, 422);
    let fields = refused.json()["fields"].clone();
    assert_eq!(fields["input_text"], "it is missing");
    assert_eq!(fields["rating"], "6 is no rating: use 1 to 5");
    assert!(fields["output_text"].as_str().unwrap().contains("expected a string"), "{fields}");
    assert!(fields["stars"].as_str().unwrap().contains("unknown field"), "{fields}");
    let mut unknown = row(3);
    unknown["model_id"] = "mdl_00000000-0000-0000-0000-000000000001".into();
    let refused = post(&server, "", &unknown).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.text().contains("mdl_0000"), "{refused:?}");
    for (body, status) in [("[1]", 400), ("{\"input_text\":", 400), ("", 400)] {
        let answer = server.ask("POST", "/feedback").json(body).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, "invalid_argument"), "{body}: {answer:?}");
    }
    let form = server.ask("POST", "/feedback").header("Content-Type", "text/plain").body(b"{}").send().await;
    assert_eq!(form.status, 415);
    let mut both = row(3);
    both["idempotency_key"] = "b".into();
    assert_eq!(post(&server, "a", &both).await.status, 400);
    let foreign = server.ask("POST", "/feedback").header("Origin", "http://evil.example").json("{}").send().await;
    assert_eq!(foreign.status, 403);
    assert_eq!(server.rpc("feedback_list", &json!({})).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_take_their_filter_from_the_query() {
    let server = Running::start().await;
    for rating in [2, 4, 5] {
        assert_eq!(post(&server, "", &row(rating)).await.status, 201);
    }
    let mut other = row(1);
    other["transformation_type"] = "a b&c".into();
    assert_eq!(post(&server, "", &other).await.status, 201);
    let stats =
        |query: &str| server.ask("GET", &format!("/feedback/stats{query}")).header("Accept", "application/json");
    let all = stats("").send().await;
    assert_eq!(
        (all.status, all.header("content-type"), all.header("vary")),
        (200, Some("application/json"), Some("accept"))
    );
    assert_eq!(all.json()["total"]["by_rating"], json!([1, 1, 0, 1, 1]));
    let kind = stats("?transformation_type=a+b%26c").send().await.json();
    assert_eq!(kind["total"]["rows"], 1);
    let later = stats("?since_ms=4000000000000").send().await.json();
    assert_eq!(later["total"]["rows"], 0);
    for bad in ["?since_ms=soon", "?colour=red", "?model_id=x", "?model_id=a&model_id=b", "?since_ms=1&since_ms=2"] {
        let answer = stats(bad).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_argument"), "{bad}: {answer:?}");
    }
    assert_eq!(server.ask("POST", "/feedback/stats").json("{}").send().await.status, 405);
    assert_eq!(server.ask("DELETE", "/feedback").send().await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_the_view_at_either_address_and_a_link_from_elsewhere_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<!doctype html>the page").unwrap();
    let path = folder.path().to_owned();
    let server = Running::with(|c| c.ui_folder = Some(path)).await;
    let cookie = server.cookie().await;
    let host = server.address.to_string();
    let html = "text/html,application/xhtml+xml,*/*;q=0.8";
    for view in ["/feedback", "/feedback/", "/feedback/stats", "/feedback/stats/", "/feedback/fbk_1"] {
        let answer = server.ask("GET", view).header("Accept", html).send().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "<!doctype html>the page"), "{view}");
        let link = server.bare("GET", view).header("Host", &host).header("Accept", html).header("Cookie", &cookie);
        let link = link.header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "navigate");
        let answer = link.header("Sec-Fetch-Dest", "document").send().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "<!doctype html>the page"), "a link to {view}");
    }
    // What is no page is not to be reached from elsewhere, whatever the caller says that it is.
    let cross = server.bare("GET", "/feedback/stats").header("Host", &host).header("Cookie", &cookie);
    let cross =
        cross.header("Accept", "*/*").header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "navigate");
    assert_eq!(cross.header("Sec-Fetch-Dest", "document").send().await.status, 403);
    let script = server.bare("GET", "/feedback/stats").header("Host", &host).header("Cookie", &cookie);
    let script = script.header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "no-cors");
    assert_eq!(script.header("Sec-Fetch-Dest", "script").send().await.status, 403);
}
