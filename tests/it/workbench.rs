//! What the window shows of a run: its page, its samples, its log, and the state of the machine.

use serde_json::Value;
use tonebridge_tests::Home;

#[test]
fn the_page_of_the_samples_run_tells_its_whole_story() {
    let home = Home::new();
    let sets = "max_steps=6 eval_steps=3 save_steps=3 eval_samples=2";
    let sets: Vec<&str> = sets.split(' ').flat_map(|pair| ["--set", pair]).collect();
    let job = home.run(&[&["sample", "start", "--json"][..], &sets].concat()).json();
    let id = job["id"].as_str().unwrap_or_default().to_owned();
    let page = home.wait("the run", || {
        let page = home.run(&["job", "page", &id, "--json"]).json();
        (page["job"]["status"] == "completed").then_some(page)
    });
    assert_eq!(page["plan"]["total_steps"], 6);
    assert_eq!(page["certificate"]["frozen_with_gradient"], 0);
    let steps = |list: &str, key: &str| -> Vec<u64> {
        page[list].as_array().into_iter().flatten().filter_map(|c| c[key].as_u64()).collect()
    };
    assert_eq!(steps("checkpoints", "step"), [3, 6]);
    assert!(page["checkpoints"][0]["eval_loss"].is_number());
    // Two rows before the first step and at each of the two evaluations.
    assert_eq!(steps("samples", "step"), [0, 0, 3, 3, 6, 6]);
    let row = |at: usize, key: &str| page["samples"][at][key].as_str().unwrap_or_default().to_owned();
    assert_eq!((row(0, "prompt"), row(0, "reference")), (row(4, "prompt"), row(4, "reference")));
    assert!(!row(0, "prompt").is_empty() && !row(0, "reference").is_empty());
    let codes: Vec<&str> =
        page["timeline"].as_array().into_iter().flatten().filter_map(|t| t["code"].as_str()).collect();
    assert_eq!(codes.first(), Some(&"queued"));
    assert_eq!(codes.last(), Some(&"completed"));
    for code in ["started", "plan", "certificate", "checkpoint"] {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    let model = home.run(&["model", "get", page["registered_model"].as_str().unwrap_or_default(), "--json"]).json();
    assert_eq!((&model["job"]["id"], &model["dataset"]["id"]), (&job["id"], &page["job"]["dataset_id"]));
    assert!(
        model["files"]
            .as_array()
            .is_some_and(|f| f.iter().all(|f| f["sha256"].as_str().is_some_and(|h| h.len() == 64)))
    );
    // Whoever holds a list of models is told that it is out of date.
    let events = home.run(&["events", "after", "0", "--json"]).json();
    let stale = |e: &Value| {
        let body = &e["body"];
        body["type"] == "stale" && body["tags"].as_array().is_some_and(|tags| tags.contains(&"models".into()))
    };
    assert!(events.as_array().is_some_and(|all| all.iter().any(stale)), "nobody is told");

    // The same seed writes the same samples, and what is only looked at changes no weight.
    let sets: Vec<&str> = sets.iter().map(|s| if *s == "eval_samples=2" { "eval_samples=0" } else { *s }).collect();
    let other = home.run(&[&["sample", "start", "--json"][..], &sets].concat()).json();
    let other = home.wait("the second run", || {
        let page = home.run(&["job", "page", other["id"].as_str().unwrap_or_default(), "--json"]).json();
        (page["job"]["status"] == "completed").then_some(page)
    });
    assert_eq!(other["samples"].as_array().map(Vec::len), Some(0));
    assert_eq!(other["plan"]["identity"], page["plan"]["identity"]);
    let hash = |page: &Value| {
        let model = home.run(&["model", "get", page["registered_model"].as_str().unwrap_or_default(), "--json"]).json();
        let files = model["files"].as_array().cloned().unwrap_or_default();
        files
            .into_iter()
            .find(|f| f["path"].as_str().is_some_and(|p| p.ends_with(".safetensors")))
            .map(|f| f["sha256"].clone())
    };
    assert_eq!(hash(&other), hash(&page));

    let log = home.run(&["job", "log", &id, "--json"]).json();
    assert_eq!(log["end"], log["size"]);
    let status = home.run(&["settings", "status", "--json"]).json();
    assert!(status["running"].is_null() && status["home_size_bytes"].as_u64().is_some_and(|n| n > 0), "{status}");
    let storage = home.run(&["settings", "storage", "--json"]).json();
    let of =
        |what: &str| storage.as_array().into_iter().flatten().find(|i| i["what"] == what).cloned().unwrap_or_default();
    assert!(of("checkpoints")["count"].as_u64() == Some(4) && of("runs")["count"].as_u64() == Some(2), "{storage}");
}

#[test]
fn a_waiting_run_knows_its_place() {
    let home = Home::new();
    let start = || home.run(&["sample", "start", "--set", "max_steps=400", "--json"]).json();
    let (first, second) = (start(), start());
    let page = home.run(&["job", "page", second["id"].as_str().unwrap_or_default(), "--json"]).json();
    assert_eq!((&page["job"]["status"], &page["queue_position"]), (&"pending".into(), &0.into()), "{page}");
    assert!(page["plan"].is_null() && page["samples"].as_array().is_some_and(Vec::is_empty));
    for id in [&second, &first] {
        assert_eq!(home.run(&["job", "stop", id["id"].as_str().unwrap_or_default()]).code, 0);
    }
    home.wait("the end", || {
        let job = home.run(&["job", "get", first["id"].as_str().unwrap_or_default(), "--json"]).json();
        (job["status"] == "stopped").then_some(())
    });
    let page = home.run(&["job", "page", first["id"].as_str().unwrap_or_default(), "--json"]).json();
    assert!(page["timeline"].as_array().is_some_and(|t| t.iter().any(|t| t["code"] == "asked")), "{page}");
}
