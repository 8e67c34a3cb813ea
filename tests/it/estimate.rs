//! What the form says before the start is what the run then is.

use serde_json::Value;
use tonebridge_tests::Home;

fn number(value: &Value, at: &str) -> f64 {
    value.pointer(at).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {at} in {value}"))
}

#[test]
fn the_samples_run_is_as_estimated() {
    let home = Home::new();
    let sample = home.run(&["sample", "install", "--json"]).json();
    let (id, base) =
        (sample["dataset"]["id"].as_str().unwrap_or_default(), sample["base_model"].as_str().unwrap_or_default());
    let set = "lora_r=16 lora_dropout=0 target_modules=all-linear per_device_train_batch_size=12 max_length=160 \
               group_by_length=true gradient_checkpointing=false max_steps=8 eval_steps=4";
    let sets: Vec<&str> = set.split_whitespace().flat_map(|pair| ["--set", pair]).collect();
    let form = [&["--base-model", base, "--dataset-id", id, "--json"][..], &sets].concat();
    let of = |verb: &str| home.run(&[&["job", verb][..], &form].concat()).json();
    let before = of("estimate");
    assert_eq!(before["time"], Value::Null, "no run has told yet: {before}");
    let job = of("start");
    let job_id = job["id"].as_str().unwrap_or_default().to_owned();
    let page = home.wait("the run", || {
        let page = home.run(&["job", "page", &job_id, "--json"]).json();
        (page["job"]["status"] == "completed").then_some(page)
    });

    let plan = &page["plan"];
    for (said, done) in [
        ("/total_steps", "/total_steps"),
        ("/rows", "/rows"),
        ("/eval_rows", "/eval_rows"),
        ("/tokens_per_epoch", "/tokens"),
        ("/cut_rows", "/cut_rows"),
        ("/trainable_parameters", "/trainable_parameters"),
        ("/total_parameters", "/total_parameters"),
    ] {
        assert_eq!(number(&before, said), number(plan, done), "{said}");
    }
    let peak = number(&page, "/job/metrics/peak_memory_bytes");
    let (low, high) = (number(&before, "/memory/low_bytes"), number(&before, "/memory/high_bytes"));
    // Eight steps seldom meet the longest rows, which the estimate is for; tb-worker's tests/memory.rs holds both sides on those.
    assert!(low < high && peak <= high, "measured {peak}, estimated {low} to {high}: {}", before["memory"]);

    // The next estimate knows how long such a run takes, and its line starts the same run.
    let after = of("estimate");
    if number(&page, "/job/metrics/train_runtime_s") >= 2.0 {
        assert!(number(&after, "/time/seconds") > 0.0 && after["time"]["from_runs"] == 1, "{after}");
    }
    let line = after["command_line"].as_str().unwrap_or_default();
    assert!(line.starts_with("tonebridge job start") && line.contains("--set lora_r=16"), "{line}");
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let again = home.run(&[&words[..], &["--json"]].concat()).json();
    assert_eq!(again["config"]["task"], job["config"]["task"]);
}

#[test]
fn a_form_that_would_fail_says_what_to_change() {
    let home = Home::new();
    let sample = home.run(&["sample", "install", "--json"]).json();
    let (id, base) =
        (sample["dataset"]["id"].as_str().unwrap_or_default(), sample["base_model"].as_str().unwrap_or_default());
    let estimate = |sets: &[&str]| {
        let form = [&["job", "estimate", "--base-model", base, "--dataset-id", id, "--json"][..], sets].concat();
        home.run(&form)
    };
    let state = |value: &Value, code: &str| {
        let checks = value["checks"].as_array().into_iter().flatten();
        checks.filter(|c| c["code"] == code).map(|c| c["state"].as_str().unwrap_or_default().to_owned()).next()
    };
    let huge = estimate(&["--set", "per_device_train_batch_size=4096", "--set", "gradient_checkpointing=false"]).json();
    assert_eq!(state(&huge, "memory").as_deref(), Some(if huge["memory"]["fits"] == true { "ok" } else { "bad" }));
    assert!(number(&huge, "/memory/total_bytes") > 4e9, "{}", huge["memory"]);
    let smaller = huge["alternatives"].as_array().expect("a list");
    assert!(smaller.iter().any(|a| a["title_key"] == "half_batch" && number(a, "/total_bytes") < number(&huge, "/memory/total_bytes")));
    let short = estimate(&["--set", "max_length=20"]).json();
    assert!(number(&short, "/cut_rows") > 0.0 && state(&short, "cut_rows").as_deref() == Some("warn"), "{short}");
    estimate(&["--set", "target_modules=nowhere"]).refused("nowhere");
    estimate(&["--set", "lora_rank=2"]).refused("lora_r");
}
