//! The host is killed: the run goes on, and the next host has every point exactly once.

use serde_json::Value;
use tonebridge_tests::{Home, text};

#[test]
fn a_killed_host_does_not_end_the_run_and_no_point_is_lost() {
    let home = Home::new();
    let sample = home.sample();
    let mut host = home.start(&[
        "train",
        "--model",
        text(&sample.base),
        "--data",
        text(&sample.train),
        "--set",
        "max_steps=60",
        "--set",
        "per_device_train_batch_size=4",
        "--set",
        "save_steps=10",
    ]);
    let job = home.wait("a running job with points", || {
        let job = home.job()?;
        let steps = home.run(&["job", "metrics", job["id"].as_str()?, "--json"]).json()["steps"].as_array()?.len();
        (steps >= 3).then_some(job)
    });
    let id = job["id"].as_str().expect("an id").to_owned();
    host.kill().expect("the host is killed");
    host.wait().expect("the host is gone");

    // Each command is a new host: it re-attaches, catches up and leaves again.
    let ended = home.wait("the run to end", || {
        let job = home.run(&["job", "get", &id, "--json"]).json();
        (job["status"] == "completed").then_some(job)
    });
    assert_eq!(ended["progress"], 1.0, "{ended}");
    let curves = home.run(&["job", "metrics", &id, "--json"]).json();
    let steps: Vec<u64> =
        curves["steps"].as_array().expect("points").iter().filter_map(|p| p["step"].as_u64()).collect();
    assert_eq!(steps, (1..=60).collect::<Vec<_>>(), "every step once");
    let models = home.run(&["model", "list", "--json"]).json();
    assert_eq!(models.as_array().map(Vec::len), Some(1), "registered once: {models}");
    let events = home.run(&["events", "after", "0", "--limit", "100000", "--json"]).json();
    let numbers: Vec<i64> = events.as_array().expect("events").iter().filter_map(|e| e["seq"].as_i64()).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "the stream has no gap");
    assert!(!matches!(events, Value::Null));
}
