//! Every loader given truncated or garbage files answers with a clear error that names the file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tonebridge_tests::{Home, Sample, text};

/// A copy of the sample's base model with one file replaced.
fn base_with(home: &Home, sample: &Sample, name: &str, bytes: &[u8], tag: &str) -> PathBuf {
    let folder = home.path(&format!("base-{tag}-{name}"));
    fs::create_dir_all(&folder).expect("a folder");
    for entry in fs::read_dir(&sample.base).expect("the base model") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), folder.join(entry.file_name())).expect("a copy");
    }
    fs::write(folder.join(name), bytes).expect("the broken file");
    folder
}

fn variants(path: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let whole = fs::read(path).expect("a whole file");
    let mut flipped = whole.clone();
    flipped[..16].reverse();
    vec![
        ("empty", Vec::new()),
        ("garbage", b"\x00\xff\xfe garbage \x9d\x80".repeat(40)),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("head", flipped),
    ]
}

#[test]
fn broken_model_files_are_refused_by_name() {
    let home = Home::new();
    let sample = home.sample();
    for name in ["model.safetensors", "tokenizer.json", "config.json"] {
        for (tag, bytes) in variants(&sample.base.join(name)) {
            let base = base_with(&home, &sample, name, &bytes, tag);
            let generate = ["generate", "--model", text(&base), "--prompt", "hi", "--max-new-tokens", "2"];
            home.run(&generate).refused(name);
        }
    }
}

#[test]
fn broken_adapters_are_refused_by_name() {
    let home = Home::new();
    let sample = home.sample();
    let out = home.path("adapter");
    let (base, data) = (text(&sample.base), text(&sample.train));
    home.run(&["train", "--model", base, "--data", data, "--out", text(&out), "--set", "max_steps=1", "--json"]).json();
    for name in ["adapter_model.safetensors", "adapter_config.json"] {
        let whole = fs::read(out.join(name)).expect("a whole file");
        for (tag, bytes) in variants(&out.join(name)) {
            fs::write(out.join(name), bytes).expect("a broken file");
            let ran = home.run(&["generate", "--model", base, "--adapter", text(&out), "--prompt", "hi"]);
            assert!(!tag.is_empty());
            ran.refused(name);
        }
        fs::write(out.join(name), whole).expect("the whole file again");
    }
}

#[test]
fn broken_data_is_refused_by_name_and_bad_rows_by_line() {
    let home = Home::new();
    for name in ["rows.parquet", "rows.json"] {
        let path = home.path(name);
        for bytes in [&b""[..], b"PAR1\x00\x00", b"[{\"prompt\": \"a\", ", b"\x00\xff\x9d\x80"] {
            fs::write(&path, bytes).expect("a broken file");
            home.run(&["data", "import", text(&path)]).refused(name);
        }
    }
    let path = home.path("rows.jsonl");
    let good = r#"{"prompt":"a","completion":"b"}"#;
    let lines = [
        good,
        "{broken",
        r#"{"prompt":"c"}"#,
        r#"{"prompt":"d","completion":7}"#,
        "",
        r#"{"prompt":"e","completion":"f"}"#,
        good,
    ];
    fs::write(&path, lines.join("\n")).expect("a file with bad rows");
    let dataset =
        home.run(&["data", "import", text(&path), "--test-share", "0", "--validation-share", "0", "--json"]).json();
    assert_eq!(dataset["num_samples"], 2, "{dataset}");
    let problems = home.run(&["data", "problems", dataset["id"].as_str().unwrap_or_default(), "--json"]).json();
    let lines: Vec<u64> = problems.as_array().expect("problems").iter().filter_map(|p| p["line"].as_u64()).collect();
    assert_eq!(lines, [2, 3, 4, 7], "{problems}");
}

#[test]
fn columns_that_are_not_understood_can_be_looked_at() {
    let home = Home::new();
    let path = home.path("mail.csv");
    fs::write(&path, "nr,vorher,nachher\n1,a,b\n2,c,d\n3,a,b\n").expect("a file");
    let look = |mapping: Value| {
        home.run(&["data", "preview", text(&path), "--mapping", &mapping.to_string(), "--json"]).json()
    };
    let unread = look(Value::Null);
    assert_eq!(unread["columns"], json!(["nr", "vorher", "nachher"]), "{unread}");
    assert_eq!(unread["records"][0]["vorher"], "a");
    assert_eq!((&unread["mapping"], &unread["num_samples"]), (&Value::Null, &json!(0)));
    let read = look(json!({ "shape": "prompt_completion", "prompt": "vorher", "completion": "nachher" }));
    assert_eq!((&read["num_samples"], &read["num_problems"]), (&json!(2), &json!(1)), "{read}");
    assert_eq!((&read["problems"][0]["line"], &read["problems"][0]["kind"]), (&json!(4), &json!("duplicate")));
    let wrong = look(json!({ "shape": "text", "text": "gone" }));
    assert_eq!((&wrong["num_samples"], &wrong["num_problems"]), (&json!(0), &json!(3)), "{wrong}");
}
