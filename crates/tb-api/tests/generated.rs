//! The generated part of ui/src is what the types, the command table and the palette give.
//! `cargo xtask gen` runs this with TONEBRIDGE_GENERATE=write, which writes instead of comparing.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

/// Folders and files under ui/src that are generated, whole.
const GENERATED: [&str; 2] = ["lib/api/generated", "styles/series.css"];

#[test]
fn the_front_end_has_the_present_types_commands_and_colours() {
    let fresh = tempfile::tempdir().expect("a temporary folder");
    let types = fresh.path().join(GENERATED[0]);
    let styles = fresh.path().join(GENERATED[1]);
    fs::create_dir_all(&types).expect("a folder");
    fs::create_dir_all(styles.parent().expect("a parent")).expect("a folder");
    tb_api::commands::write_typescript(&types).expect("types are written");
    tb_api::streams::write_typescript(&types).expect("streams are written");
    fs::write(&styles, tb_report::palette::series_css()).expect("colours are written");

    let ui = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../ui/src");
    let write = env::var("TONEBRIDGE_GENERATE").is_ok_and(|v| v == "write");
    for path in GENERATED {
        let (new, old) = (files(&fresh.path().join(path)), files(&ui.join(path)));
        if write {
            if ui.join(path).is_dir() {
                fs::remove_dir_all(ui.join(path)).expect("old files go");
            }
            for (name, bytes) in &new {
                let file = if name.is_empty() { ui.join(path) } else { ui.join(path).join(name) };
                fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
                fs::write(file, bytes).expect("a file");
            }
        } else {
            let changed: Vec<&String> = new.keys().chain(old.keys()).filter(|n| new.get(*n) != old.get(*n)).collect();
            assert!(changed.is_empty(), "ui/src/{path} is out of date ({changed:?}): run `cargo xtask gen` and commit");
        }
    }
}

/// Every file under `path` by relative name; `path` itself, if a file, under the empty name.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    if path.is_file() {
        found.insert(String::new(), fs::read(path).expect("a file"));
    } else if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            for (below, bytes) in files(&entry.path()) {
                found.insert(if below.is_empty() { name.clone() } else { format!("{name}/{below}") }, bytes);
            }
        }
    }
    found
}
