//! The main job, shortened: import, fine-tune, evaluate, register, chart; then the pieces one by one.

use std::{fs, path::Path};

use tonebridge_tests::{Home, text};

#[test]
fn the_demo_gives_every_figure_and_leaves_a_registered_model() {
    let home = Home::new();
    let short = ["demo", "--set", "max_steps=6", "--set", "eval_steps=3", "--limit", "6", "--json"];
    let found = home.run(&short).json();
    for path in [
        "/base/chrf",
        "/tuned/chrf",
        "/tuned/exact_match",
        "/tuned/slot_accuracy",
        "/copy/chrf",
        "/retrieval/chrf",
        "/tokens_per_s",
        "/trainable_percent",
    ] {
        assert!(found.pointer(path).is_some_and(|v| v.as_f64().is_some_and(f64::is_finite)), "{path}: {found}");
    }
    let chart = fs::read(found["chart_png"].as_str().unwrap_or_default()).expect("the chart is there");
    assert_eq!(&chart[..8], b"\x89PNG\r\n\x1a\n");
    let run = Path::new(found["run_dir"].as_str().unwrap_or_default()).to_owned();
    assert!(run.join("adapter/adapter_model.safetensors").is_file());

    let page = home.run(&["model", "get", found["model_id"].as_str().unwrap_or_default(), "--json"]).json();
    assert_eq!(page["model"]["status"], "draft");
    assert_eq!(page["model"]["lineage"]["identity"].as_str().map(str::len), Some(64));
    assert!(page["model"]["metrics"]["chrf"].is_number(), "{page}");
    assert!(page["card"].as_str().is_some_and(|c| c.contains("tone-demo")));

    // A second demo works on the same dataset and makes the next version.
    let again = home.run(&short).json();
    assert_eq!(again["tuned"]["chrf"], found["tuned"]["chrf"], "the same seed gives the same model");
    assert_eq!(home.run(&["data", "list", "--json"]).json().as_array().map(Vec::len), Some(1));
    assert_eq!(home.run(&["model", "list", "--json"]).json().as_array().map(Vec::len), Some(2));
}

#[test]
fn train_continue_score_generate_evaluate_and_export() {
    let home = Home::new();
    let sample = home.sample();
    let (base, data, heldout) = (text(&sample.base), text(&sample.train), text(&sample.heldout));
    let (first, second) = (home.path("first"), home.path("second"));
    let set = ["--set", "max_steps=4", "--set", "learning_rate=1e-3", "--set", "per_device_train_batch_size=4"];
    let train = |more: &[&str]| {
        let args = [&["train", "--model", base, "--data", data, "--json"][..], &set, more].concat();
        home.run(&args).json()
    };
    train(&["--out", text(&first)]);
    for name in ["adapter_config.json", "adapter_model.safetensors", "events.jsonl"] {
        assert!(first.join(name).is_file(), "{name}");
    }
    let events = fs::read_to_string(first.join("events.jsonl")).expect("events");
    let steps = events.lines().filter(|l| l.contains("\"type\":\"step\"")).count();
    assert_eq!(steps, 4, "{events}");
    train(&["--out", text(&second)]);
    let bytes = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).expect("adapter");
    assert_eq!(bytes(&first), bytes(&second), "the same spec gives the same bytes");

    let third = home.path("third");
    train(&["--out", text(&third), "--adapter", text(&first), "--eval-data", heldout]);
    assert_ne!(bytes(&first), bytes(&third));

    let scores = home.path("scores.jsonl");
    home.run(&[
        "score",
        "--model",
        base,
        "--adapter",
        text(&first),
        "--data",
        heldout,
        "--out",
        text(&scores),
        "--json",
    ])
    .json();
    assert_eq!(fs::read_to_string(&scores).expect("scores").lines().count(), 12);

    let generated = home
        .run(&[
            "generate",
            "--model",
            base,
            "--adapter",
            text(&first),
            "--prompt",
            "Hello",
            "--chat",
            "--max-new-tokens",
            "8",
            "--json",
        ])
        .json();
    assert!(generated["text"].is_string() && generated["tokens"].as_u64() <= Some(8), "{generated}");

    let report = home
        .run(&[
            "evaluate",
            "--model",
            base,
            "--data",
            heldout,
            "--metrics",
            "chrf,perplexity",
            "--max-new-tokens",
            "16",
            "--json",
        ])
        .json();
    assert_eq!(report["rows"], 12);
    assert_eq!(report["metrics"].as_array().map(Vec::len), Some(2), "{report}");

    // The merged model answers as base and adapter do.
    let merged = home.path("merged");
    home.run(&[
        "export",
        "--model",
        base,
        "--adapter",
        text(&first),
        "--format",
        "merged",
        "--out",
        text(&merged),
        "--json",
    ])
    .json();
    let both = home
        .run(&[
            "evaluate",
            "--model",
            text(&merged),
            "--data",
            heldout,
            "--metrics",
            "perplexity",
            "--max-new-tokens",
            "1",
            "--json",
        ])
        .json();
    let live = home
        .run(&[
            "evaluate",
            "--model",
            base,
            "--adapter",
            text(&first),
            "--data",
            heldout,
            "--metrics",
            "perplexity",
            "--max-new-tokens",
            "1",
            "--json",
        ])
        .json();
    let perplexity = |report: &serde_json::Value| report["metrics"][0]["value"].as_f64().unwrap_or(0.0);
    assert!((perplexity(&both) / perplexity(&live) - 1.0).abs() < 2e-3, "{both} {live}");
}
