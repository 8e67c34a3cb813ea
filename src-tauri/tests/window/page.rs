//! The page and the core behind it: calls, refusals, events, reloads.

use serde_json::json;

use crate::desktop::{Desktop, wait};

#[tokio::test]
async fn the_page_calls_the_core_and_hears_its_events_once() {
    let desktop = Desktop::start().await;
    let window = desktop.open().await;

    assert!(window.client().title().await.unwrap().contains("ToneBridge"));
    let doctor = window.rpc("doctor", json!({})).await;
    assert_eq!(doctor["version"], env!("CARGO_PKG_VERSION"), "{doctor}");
    assert_eq!(window.invoke("core_state", json!({})).await.unwrap()["state"], "open");

    // A refusal arrives as the core's error, with its code.
    let refused = window.invoke("rpc", json!({ "name": "job_lst", "args": {} })).await.unwrap_err();
    assert_eq!(refused["code"], "not_found", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("job_list"), "{refused}");

    // Stored events first, then live ones; each once and in order.
    window.rpc("sample_install", json!({})).await;
    let subscription = window.subscribe(0).await;
    window.rpc("sample_install", json!({})).await;
    let numbers = wait("two events", async || {
        let events = window.heard("events").await;
        (events.len() >= 2).then(|| events.iter().map(|e| e["seq"].as_i64().unwrap()).collect::<Vec<_>>())
    })
    .await;
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());

    // After a reload nothing of the old page is left, and the new one goes on where it wants.
    window.client().refresh().await.unwrap();
    assert_eq!(window.run("return window.heard ?? null", &[]).await, json!(null));
    let last = *numbers.last().unwrap();
    let next = window.subscribe(last).await;
    assert_ne!(next, subscription);
    window.rpc("sample_install", json!({})).await;
    let events = wait("the next event", async || {
        let events = window.heard("events").await;
        (!events.is_empty()).then_some(events)
    })
    .await;
    assert_eq!(events[0]["seq"], last + 1);

    // A subscription that was stopped is silent.
    window.invoke("stream_stop", json!({ "id": next })).await.unwrap();
    let before = window.heard("events").await.len();
    window.rpc("sample_install", json!({})).await;
    window.subscribe(last).await;
    wait("the events of the new subscription", async || (window.heard("events").await.len() > before).then_some(()))
        .await;
}

#[tokio::test]
async fn the_page_may_do_nothing_but_what_it_needs() {
    let desktop = Desktop::start().await;
    let window = desktop.open().await;

    for command in
        ["plugin:opener|open_path", "plugin:dialog|open", "plugin:window|close", "plugin:webview|create_webview_window"]
    {
        let refused = window.invoke(command, json!({ "path": "/etc/passwd" })).await.unwrap_err();
        assert!(refused.to_string().contains("not allowed"), "{command}: {refused}");
    }
    // No Tauri object for scripts, and nothing but the program's own files is loaded or run.
    assert_eq!(window.run("return typeof window.__TAURI__", &[]).await, "undefined");
    let blocked = window
        .client()
        .execute_async(
            "const done = arguments[0];
            addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'window.injected = true';
            document.head.append(script);",
            vec![],
        )
        .await
        .unwrap();
    assert!(blocked.as_str().unwrap().starts_with("script-src"), "{blocked}");
    let reached = window
        .client()
        .execute_async(
            "const done = arguments[0];
            fetch('http://127.0.0.1:9/').then(() => done('reached'), () => done('refused'));",
            vec![],
        )
        .await
        .unwrap();
    assert_eq!(reached, "refused");
    // A link that leaves the program does not take the window with it.
    let here = window.client().current_url().await.unwrap();
    window.run("location.href = 'http://127.0.0.1:9/'", &[]).await;
    assert_eq!(window.client().current_url().await.unwrap(), here);
    let saved = window.invoke("reveal", json!({ "path": "/no/such/file" })).await.unwrap_err();
    assert_eq!(saved["code"], "not_found");
}
