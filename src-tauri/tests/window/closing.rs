//! A run and the desktop around it: tray, notification, closing and quitting while it is alive.

use serde_json::json;

use crate::{
    desktop::{Desktop, wait},
    services::{NotificationServer, Tray},
};

#[tokio::test]
async fn the_end_of_a_run_is_told_and_a_click_leads_to_it() {
    let desktop = Desktop::start().await;
    let notifications = NotificationServer::start(desktop.bus());
    let tray = Tray::start(desktop.bus());
    let window = desktop.open().await;
    window.listen("open").await;

    wait("an idle tray", async || tray.menu().filter(|menu| menu.contains("Nothing runs"))).await;
    let id = window.start_run("polite <b>", 40).await;
    let menu = wait("the run in the tray", async || tray.menu().filter(|menu| menu.contains("polite"))).await;
    assert!(menu.contains('%') && menu.contains("Show ToneBridge") && menu.contains("Quit"), "{menu}");
    desktop.look_away();
    window.wait_for(&id, "completed").await;

    let told = wait("a notification", async || notifications.shown().into_iter().next()).await;
    assert_eq!(told.title, "polite <b> is done");
    assert!(told.body.starts_with("It took"), "{told:?}");
    assert!(told.actions.contains(&"default".to_owned()), "{told:?}");
    notifications.click(&told);
    let opened = wait("the page of the run", async || window.heard("open").await.pop()).await;
    assert_eq!(opened, format!("/runs/{id}"));
    wait("an idle tray", async || tray.menu().filter(|menu| menu.contains("Nothing runs"))).await;

    // Tray and menu speak the page's language from now on.
    window.invoke("appearance", json!({ "language": "ja", "theme": "dark" })).await.unwrap();
    wait("Japanese", async || tray.menu().filter(|menu| menu.contains("実行中のものはありません"))).await;
}

#[tokio::test]
async fn a_run_outlives_the_window_that_is_closed() {
    let desktop = Desktop::start().await;
    let notifications = NotificationServer::start(desktop.bus());
    let tray = Tray::start(desktop.bus());
    let window = desktop.open().await;
    window.listen("action").await;
    wait("the tray", async || tray.menu()).await;
    let id = window.start_run("long", 2_000).await;
    window.wait_for(&id, "running").await;
    wait("the run in the tray", async || tray.menu().filter(|menu| menu.contains("long"))).await;

    // An action of the menu goes to the page; closing hides the window and says where it is.
    desktop.press("^ToneBridge$", "ctrl+k");
    wait("the menu's action", async || window.heard("action").await.pop().filter(|id| id == "palette.open")).await;
    desktop.press("^ToneBridge$", "ctrl+w");
    wait("no window", async || desktop.windows("^ToneBridge$").is_empty().then_some(())).await;
    let told = wait("a notification", async || notifications.shown().into_iter().next()).await;
    assert!(told.title.contains("still there") && told.body.contains("long"), "{told:?}");
    window.wait_for(&id, "running").await;

    // A second start brings it back; without a tray, closing asks, and staying keeps everything.
    assert!(desktop.ask(crate::desktop::PROGRAM, &[]).status.success());
    wait("the window again", async || (desktop.windows("^ToneBridge$").len() == 1).then_some(())).await;
    drop(tray);
    desktop.press("^ToneBridge$", "ctrl+w");
    wait("the question", async || desktop.windows("^Quit ToneBridge").pop()).await;
    desktop.press("^Quit ToneBridge", "Escape");
    wait("the question gone", async || desktop.windows("^Quit ToneBridge").is_empty().then_some(())).await;
    window.wait_for(&id, "running").await;

    // The program killed: the run goes on, and the next window has every step of it.
    drop(window);
    let window = desktop.open().await;
    window.wait_for(&id, "running").await;
    let steps = |curves: serde_json::Value| -> Vec<u64> {
        curves["steps"].as_array().unwrap().iter().map(|point| point["step"].as_u64().unwrap()).collect()
    };
    let before = steps(window.rpc("job_metrics", json!({ "id": id })).await).len();
    let after = wait("further steps", async || {
        let steps = steps(window.rpc("job_metrics", json!({ "id": id })).await);
        (steps.len() > before + 1).then_some(steps)
    })
    .await;
    assert_eq!(after, (1..=after.len() as u64).collect::<Vec<_>>(), "every step once");
    window.rpc("job_stop", json!({ "id": id })).await;
    window.wait_for(&id, "stopped").await;
}
