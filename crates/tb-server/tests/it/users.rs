//! What each role may do on each route, and how soon a change counts.

use std::time::Duration;

use serde_json::json;
use tb_api::{commands::COMMANDS, commands::dispatch, streams::STREAMS};
use tb_core::user::Role;
use tb_server::{Admits, routes};

use crate::support::{Ask, PASSWORD, Running, open};

/// An example of every route, with what a role is answered that may use it.
fn example(path: &str) -> (&'static str, &'static [u16]) {
    match path {
        "/sign-in" => ("/sign-in", &[200]),
        "/sign-out" => ("/sign-out", &[303]),
        "/rpc/{name}" => ("/rpc/status", &[200]),
        // Every role that may answers arguments that are none with their refusal.
        "/stream/{name}" => ("/stream/generate", &[400]),
        "/events" => ("/events", &[200]),
        "/upload" => ("/upload?name=rows.csv", &[200]),
        "/files/{job_id}/{name}" => ("/files/job_019b0c5e-0000-7000-8000-000000000000/chart.png", &[404]),
        // A submission that says nothing is refused by its fields.
        "/feedback" => ("/feedback", &[422]),
        "/feedback/stats" => ("/feedback/stats", &[200]),
        "/{*page}" => ("/runs", &[200, 503]),
        other => panic!("{other} has no example: say what each role may do with it"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_gets_from_every_route_what_it_may() {
    let server = Running::start().await;
    for role in Role::ALL {
        server.add(role.as_str(), role.as_str()).await;
        let token = server.token_of(role.as_str()).await;
        let cookie = server.session(role.as_str()).await;
        // Signing out last: it ends the session.
        let mut routes = routes();
        routes.sort_by_key(|route| route.path == "/sign-out");
        for route in routes.into_iter().filter(|route| route.to != Admits::Anybody) {
            let (path, good) = example(route.path);
            let needed = match route.to {
                Admits::Role(needed) => needed,
                Admits::Anybody | Admits::Users if ["/stream/{name}", "/feedback"].contains(&route.path) => {
                    Role::Reviewer
                }
                Admits::Anybody | Admits::Users => Role::Viewer,
            };
            let ask = || {
                let ask = server.own(route.method.as_str(), path).header("Connection", "close");
                if route.method == "GET" {
                    ask
                } else {
                    ask.json(if path.starts_with("/stream") { "[]" } else { "{}" })
                }
            };
            for (by, ask) in [("token", ask().bearer(&token)), ("session", ask().header("Cookie", &cookie))] {
                let status = ask.open().await.status;
                let expected = if role.covers(needed) { good } else { &[403] };
                assert!(expected.contains(&status), "{role} by {by}: {} {path}: {status}", route.method);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_gets_from_every_command_what_it_may() {
    let server = Running::start().await;
    let commands = COMMANDS.iter().map(|c| (format!("/rpc/{}", c.name), c.role));
    let all: Vec<(String, Role)> =
        commands.chain(STREAMS.iter().map(|s| (format!("/stream/{}", s.name), s.role))).collect();
    for role in Role::ALL {
        server.add(role.as_str(), role.as_str()).await;
        let token = server.token_of(role.as_str()).await;
        for (path, needed) in &all {
            // Arguments that no command takes: each refuses them, unless the role is refused first.
            let answer = server.own("POST", path).bearer(&token).json("{\"no such\":1}").send().await;
            assert_eq!(answer.status, if role.covers(*needed) { 400 } else { 403 }, "{role} {path}: {answer:?}");
        }
    }
}

fn whoami(server: &Running) -> Ask {
    server.own("POST", "/rpc/whoami").json("{}")
}

#[tokio::test]
async fn a_change_counts_with_the_next_request() {
    let server = Running::start().await;
    let id = server.add("ken", "trainer").await;
    let (token, cookie) = (server.token_of("ken").await, server.session("ken").await);
    assert_eq!(whoami(&server).bearer(&token).send().await.json()["role"], "trainer");
    server.rpc("user_set_role", &json!({ "id": id, "role": "viewer" })).await;
    assert_eq!(whoami(&server).bearer(&token).send().await.json()["role"], "viewer");
    assert_eq!(whoami(&server).header("Cookie", &cookie).send().await.json()["role"], "viewer");

    let tokens = server.rpc("token_list", &json!({ "id": id })).await;
    server.rpc("token_revoke", &json!({ "id": tokens[0]["id"] })).await;
    assert_eq!(whoami(&server).bearer(&token).send().await.status, 401);
    let again = server.token_of("ken").await;
    assert_eq!(whoami(&server).bearer(&again).send().await.status, 200);

    server.rpc("user_disable", &json!({ "id": id })).await;
    assert_eq!(whoami(&server).bearer(&again).send().await.status, 401);
    assert_eq!(whoami(&server).header("Cookie", &cookie).send().await.status, 401);
    assert_eq!(server.sign_in("ken", PASSWORD).await.status, 401);
}

#[tokio::test]
async fn a_users_cookie_changes_nothing_for_a_page_that_is_not_ours() {
    let server = Running::start().await;
    server.add("ken", "admin").await;
    let (cookie, host) = (server.session("ken").await, server.address.to_string());
    let add = json!({ "name": "mallory", "role": "admin" }).to_string();
    let post = || server.bare("POST", "/rpc/user_add").header("Host", &host).header("Cookie", &cookie);
    assert_eq!(post().json(&add).send().await.status, 403, "a browser names its page with every change");
    assert_eq!(post().header("Origin", "https://evil.example").json(&add).send().await.status, 403);
    let users = server.rpc("user_list", &json!({})).await;
    assert_eq!(users.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_stream_ends_with_the_session_it_came_by() {
    let server = Running::start().await;
    let id = server.add("ken", "viewer").await;
    let (token, cookie) = (server.token_of("ken").await, server.session("ken").await);
    let mut by_token = server.own("GET", "/events").bearer(&token).open().await;
    let mut by_session = server.own("GET", "/events").header("Cookie", &cookie).open().await;
    let mut owners = server.ask("GET", "/events").open().await;
    for stream in [&mut by_token, &mut by_session, &mut owners] {
        assert_eq!(stream.status, 200);
        stream.message().await.expect("an opening");
    }
    server.rpc("user_disable", &json!({ "id": id })).await;
    while by_token.message().await.is_some() {}
    while by_session.message().await.is_some() {}
    assert!(owners.message().await.is_some(), "the owner's goes on");
}

#[tokio::test]
async fn what_another_process_changes_ends_a_stream_soon() {
    let server = Running::with(|c| c.limits.recheck = Duration::from_millis(50)).await;
    server.add("ken", "viewer").await;
    let token = server.token_of("ken").await;
    let mut stream = server.own("GET", "/events").bearer(&token).open().await;
    stream.message().await.expect("an opening");
    let other = open(server.ctx.home()).await;
    let tokens = dispatch(&other, "token_list", json!({})).await.unwrap();
    dispatch(&other, "token_revoke", json!({ "id": tokens[0]["id"] })).await.unwrap();
    while stream.message().await.is_some() {}
    other.close().await;
}

#[tokio::test]
async fn no_secret_of_a_user_is_told_to_anyone() {
    let server = Running::start().await;
    server.add("ken", "viewer").await;
    let cookie = server.session("ken").await;
    let token = server.token_of("ken").await;
    let mut told = String::new();
    for name in ["user_list", "token_list", "session_list", "audit_list", "whoami", "status", "doctor"] {
        told += &server.rpc(name, &json!({})).await.to_string();
    }
    told += &server.rpc("events_after", &json!({ "seq": 0 })).await.to_string();
    let session = cookie.split_once('=').unwrap().1;
    for secret in [PASSWORD, session, &token, "argon2"] {
        assert!(!told.contains(secret), "{secret}");
    }
}
