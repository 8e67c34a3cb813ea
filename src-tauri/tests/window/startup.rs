//! Starting: a second start, a home folder that cannot be opened, and what the first window remembers.

use std::fs;

use serde_json::json;

use crate::desktop::{Desktop, PROGRAM, wait};

#[tokio::test]
async fn a_second_start_shows_the_first_window_and_ends() {
    let desktop = Desktop::start().await;
    let window = desktop.open().await;
    window.rpc("doctor", json!({})).await;

    let second = desktop.ask(PROGRAM, &[]);
    assert!(second.status.success(), "{second:?}");
    assert_eq!(desktop.windows("^ToneBridge$").len(), 1);
    window.rpc("doctor", json!({})).await;
}

#[tokio::test]
async fn a_home_that_cannot_be_opened_is_said_in_the_window_and_can_be_tried_again() {
    let desktop = Desktop::start().await;
    fs::write(desktop.home(), "a file where the folder should be").unwrap();
    let window = desktop.open().await;

    let refused = window.invoke("rpc", json!({ "name": "job_list", "args": {} })).await.unwrap_err();
    assert_eq!(refused["code"], "unavailable", "{refused}");
    let state = window.invoke("core_state", json!({})).await.unwrap();
    assert_eq!(state["state"], "failed");
    assert_eq!(state["error"], refused);
    let hint = state["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("TONEBRIDGE_HOME"), "{hint}");

    window.listen("core").await;
    fs::remove_file(desktop.home()).unwrap();
    window.invoke("core_retry", json!({})).await.unwrap();
    assert_eq!(window.rpc("job_list", json!({})).await, json!([]));
    let heard = wait("both states", async || {
        let heard = window.heard("core").await;
        (heard.len() == 2).then_some(heard)
    })
    .await;
    assert_eq!(heard, [json!({ "state": "opening" }), json!({ "state": "open" })]);
}

#[tokio::test]
async fn a_settings_file_with_a_mistake_is_named() {
    let desktop = Desktop::start().await;
    fs::create_dir_all(desktop.home()).unwrap();
    fs::write(desktop.home().join("settings.toml"), "lora_rank = 3").unwrap();
    let window = desktop.open().await;
    let refused = window.invoke("rpc", json!({ "name": "job_list", "args": {} })).await.unwrap_err();
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("settings.toml") && message.contains("lora_rank"), "{message}");
}
