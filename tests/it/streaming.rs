//! `generate --stream`: the same answer as without, and a worker that does not outlive its program.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tonebridge_tests::{Home, text};

#[test]
fn an_answer_is_the_same_at_once_and_word_by_word() {
    let home = Home::new();
    let sample = home.sample();
    let base = text(&sample.base);
    let ask =
        ["generate", "--model", base, "--chat", "--max-new-tokens", "60", "--prompt", "文章にする：\n・見積書、金曜"];
    let whole = home.run(&[&ask[..], &["--json"]].concat()).json();
    let streamed = home.run(&[&ask[..], &["--json", "--stream"]].concat()).json();
    let answer = |of: &Value| (of["text"].clone(), of["tokens"].clone(), of["finish_reason"].clone());
    assert_eq!(answer(&streamed), answer(&whole));
    assert!(streamed["metrics"]["first_token_ms"].is_u64(), "{streamed}");
    let shown = home.run(&[&ask[..], &["--stream"]].concat());
    assert_eq!(Some(shown.stdout.trim_end_matches('\n')), whole["text"].as_str(), "{shown:?}");

    home.run(&["generate", "--stream", "--model", "/nonexistent", "--prompt", "a"]).refused("/nonexistent");
    home.run(&["generate", "--stream", "--model", text(&sample.base), "--prompt", "a", "--temperature=-1"])
        .refused("temperature");
}

#[cfg(target_os = "linux")]
#[test]
fn the_serving_worker_dies_with_its_host() {
    let home = Home::new();
    let endless = endless(&home, &home.sample().base);
    let ask = ["generate", "--stream", "--model", text(&endless), "--prompt", "Hi", "--max-new-tokens", "900000"];
    let mut host = home.start(&ask);
    let worker = home.wait("a serving worker that computes", || {
        let worker = child_of(host.id())?;
        (cpu_ticks(worker)? > 20).then_some(worker)
    });
    host.kill().expect("the host can be killed");
    host.wait().expect("the host is gone");
    home.wait("the end of the worker", || (!runs(worker)).then_some(()));
}

/// The base with a large context and an end token that it never gives.
#[cfg(target_os = "linux")]
fn endless(home: &Home, base: &Path) -> PathBuf {
    let folder = home.path("endless");
    fs::create_dir(&folder).expect("a folder");
    for file in fs::read_dir(base).expect("the base") {
        let file = file.expect("a file");
        fs::copy(file.path(), folder.join(file.file_name())).expect("a copy");
    }
    let mut config: Value =
        serde_json::from_slice(&fs::read(folder.join("config.json")).expect("config.json")).expect("JSON");
    config["max_position_embeddings"] = 1_000_000.into();
    fs::write(folder.join("config.json"), config.to_string()).expect("config.json");
    fs::write(folder.join("generation_config.json"), json!({ "eos_token_id": 0 }).to_string()).expect("a file");
    folder
}

/// The fields of a process's `stat` after its name: state, parent, …; none if it is gone.
#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

#[cfg(target_os = "linux")]
fn child_of(parent: u32) -> Option<u32> {
    let pids = fs::read_dir("/proc").ok()?.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid| stat(*pid).is_some_and(|fields| fields[1] == parent.to_string()))
}

/// User time of a process, in hundredths of a second.
#[cfg(target_os = "linux")]
fn cpu_ticks(pid: u32) -> Option<u64> {
    stat(pid)?.get(11)?.parse().ok()
}

#[cfg(target_os = "linux")]
fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}
