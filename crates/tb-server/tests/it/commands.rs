//! `/rpc`: the command table over HTTP, and the files of a run.

use serde_json::json;
use tb_api::{commands::COMMANDS, streams::STREAMS};

use crate::support::Running;

#[tokio::test]
async fn every_command_of_the_table_is_answered_in_its_own_words() {
    let server = Running::start().await;
    assert_eq!(server.rpc("job_list", &json!({})).await, json!([]));
    for command in COMMANDS {
        // Arguments that no command takes: each must be reached, and refuse them.
        let ask = server.ask("POST", &format!("/rpc/{}", command.name)).json("{\"no such\":1}");
        let answer = ask.send().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_argument"), "{}: {answer:?}", command.name);
        assert!(answer.json()["message"].as_str().unwrap().contains(command.name));
    }
    let unknown = server.ask("POST", "/rpc/job_lst").json("{}").send().await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
    assert!(unknown.json()["message"].as_str().unwrap().contains("job_list"), "it names the nearest");
    let empty = server.ask("POST", "/rpc/job_list").header("Content-Type", "application/json").body(b"").send().await;
    assert_eq!((empty.status, empty.text().as_str()), (200, "[]"));
    let get = server.ask("GET", "/rpc/job_list").send().await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn every_stream_of_the_table_is_answered_in_its_own_words() {
    let server = Running::start().await;
    for stream in STREAMS {
        let answer = server.ask("POST", &format!("/stream/{}", stream.name)).json("{\"no such\":1}").send().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_argument"), "{}: {answer:?}", stream.name);
        assert!(answer.json()["message"].as_str().unwrap().contains(stream.name));
    }
    let unknown = server.ask("POST", "/stream/genrate").json("{}").send().await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not_found"));
    let text = server.ask("POST", "/stream/generate").header("Content-Type", "text/plain").body(b"{}").send().await;
    assert_eq!(text.status, 415);
}

#[tokio::test]
async fn arguments_that_are_no_json_are_refused() {
    let server = Running::start().await;
    for (what, text) in [
        ("half an object", "{\"a\":".to_owned()),
        ("no JSON", "hello".to_owned()),
        ("a deep array", "[".repeat(100_000)),
        ("a deep object", "{\"a\":".repeat(100_000)),
        ("a whole deep array", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
    ] {
        let answer = server.ask("POST", "/rpc/job_list").json(&text).send().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_argument"), "{what}");
    }
    let broken = server.ask("POST", "/rpc/job_list").header("Content-Type", "application/json").body(&[0xff, 0xfe]);
    assert_eq!(broken.send().await.status, 400);
    let packed = server.ask("POST", "/rpc/job_list").header("Content-Encoding", "gzip").json("{}").send().await;
    assert_eq!(packed.status, 415, "nothing is unpacked");
}

#[tokio::test]
async fn only_listed_files_of_jobs_that_exist_are_sent() {
    let server = Running::start().await;
    let job = "job_019b0c5e-0000-7000-8000-000000000000";
    for (path, status) in [
        (format!("/files/{job}/chart.png"), 404),
        (format!("/files/{job}/spec.json"), 404),
        (format!("/files/{job}/worker.log"), 404),
        (format!("/files/{job}/..%2f..%2faccess-token"), 404),
        (format!("/files/{job}/%2e%2e"), 404),
        (format!("/files/{job}/..%5caccess-token"), 404),
        (format!("/files/{job}/chart.png%00.txt"), 404),
        ("/files/..%2f..%2fetc/chart.png".into(), 400),
        ("/files/%2e%2e/chart.png".into(), 400),
        ("/files/job_1%25/chart.png".into(), 400),
        (format!("/files/{}/chart.png", "a".repeat(20_000)), 400),
        ("/files/%ff/chart.png".into(), 400),
    ] {
        let answer = server.ask("GET", &path).send().await;
        assert_eq!(answer.status, status, "{}: {answer:?}", &path[..path.len().min(80)]);
        assert!(!answer.text().contains(&server.token));
    }
}
