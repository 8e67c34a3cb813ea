//! Faults at every operation on the files of one checkpoint, played by a library that is loaded before the system's (`shim.rs`).

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tb_core::ErrorCode;
use tb_core::random::{Purpose, Stream};
use tb_core::recipe::Hyperparameters;
use tb_core::run_folder::RunEventBody;
use tb_data::files::{RunFolder, checkpoints};

use crate::support::{adapter, create, curve, events, finish, leftovers, newest, place, settings, worker, worker_with};

const NO_SPACE: &str = "28";
const IO_ERROR: &str = "5";

/// The library, built once.
fn shim() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libshim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kill/shim.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let built = Command::new(rustc)
            .args(["--edition", "2024", "--crate-type", "cdylib", "-C", "panic=abort", "-C", "opt-level=1", "-o"])
            .arg(&path)
            .arg(source)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        (dir, path)
    });
    path
}

/// The environment of a worker that meets a fault at its `at`-th operation of these kinds on files of checkpoints.
fn fault(kinds: &str, at: usize, what: &str, log: Option<&Path>) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("LD_PRELOAD", shim().display().to_string()),
        ("FAULT_UNDER", "/checkpoints".to_owned()),
        ("FAULT_KINDS", kinds.to_owned()),
        ("FAULT_AT", at.to_string()),
        ("FAULT_DO", what.to_owned()),
    ];
    if let Some(log) = log {
        all.push(("FAULT_LOG", log.display().to_string()));
    }
    all
}

/// Two steps, a checkpoint after each.
fn short() -> Hyperparameters {
    Hyperparameters {
        max_steps: 2,
        save_steps: 1,
        save_total_limit: 1,
        load_best_model_at_end: false,
        eval_steps: 100,
        eval_samples: 0,
        ..settings()
    }
}

/// An undisturbed run, and the numbers and lines of its operations from the second checkpoint on.
fn undisturbed(place: &Path, kinds: &str) -> (PathBuf, Vec<(usize, String)>) {
    let uncut = create(place, "uncut", short());
    let log = place.join("operations");
    let status = worker_with(&uncut, &fault(kinds, 0, "", Some(&log))).wait().unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(uncut.join("worker.log")).unwrap());
    let text = std::fs::read_to_string(&log).unwrap();
    let numbered = text.lines().map(str::to_owned).enumerate().map(|(i, line)| (i + 1, line));
    (uncut, numbered.skip_while(|(_, line)| !line.contains("step-000002")).collect())
}

fn same(run: &Path, uncut: &Path, what: &str) {
    assert_eq!(curve(run), curve(uncut), "{what}");
    assert_eq!(adapter(run), adapter(uncut), "{what}");
    assert_eq!(leftovers(run), Vec::<String>::new(), "{what}");
}

#[test]
fn a_kill_at_every_operation_of_a_save_leaves_the_old_checkpoint_or_the_new() {
    let dir = place();
    let (uncut, operations) = undisturbed(dir.path(), "wsrmou");
    let kinds: std::collections::BTreeSet<char> =
        operations.iter().filter_map(|(_, line)| line.chars().next()).collect();
    assert_eq!(kinds.into_iter().collect::<String>(), "morsuw");
    let mut found = [0, 0];
    for (at, line) in &operations {
        let run = create(dir.path(), &format!("kill-{at}"), short());
        let status = worker_with(&run, &fault("wsrmou", *at, "kill", None)).wait().unwrap();
        assert!(!status.success());
        let step = newest(&run).unwrap_or(0);
        assert!(step == 1 || step == 2, "killed at {line}: the newest checkpoint is of step {step}");
        found[step as usize - 1] += 1;
        assert!(leftovers(&run).len() <= 1, "killed at {line}: {:?}", leftovers(&run));
        finish(&run);
        same(&run, &uncut, line);
    }
    eprintln!(
        "killed at {} operations: {} times the old checkpoint, {} times the new",
        operations.len(),
        found[0],
        found[1]
    );
    assert!(found[0] > 5 && found[1] > 0);
}

#[test]
fn a_disk_that_is_full_at_any_write_of_a_save_pauses_the_run() {
    let dir = place();
    // What needs room: data, and new names. Once the draft has its name, the checkpoint is whole.
    let (uncut, operations) = undisturbed(dir.path(), "wrmo");
    for (at, line) in operations.iter().filter(|(_, line)| line.contains("step-000002.draft")) {
        let run = create(dir.path(), &format!("full-{at}"), short());
        let status = worker_with(&run, &fault("wrmo", *at, NO_SPACE, None)).wait().unwrap();
        assert_eq!(newest(&run), Some(1), "{line}");
        assert_eq!(leftovers(&run), Vec::<String>::new(), "{line}");
        let last = events(&run).pop().unwrap().body;
        let RunEventBody::Paused { step: 1, trouble: Some(error) } = last else { panic!("{line}: {last:?}") };
        assert!(error.code == ErrorCode::DiskFull && error.message.contains("step 1 is safe"), "{line}: {error}");
        assert!(error.hint.contains("Free some space"), "{line}: {error}");
        assert_eq!(status.code(), Some(1));
        // There is room again.
        finish(&run);
        same(&run, &uncut, line);
    }
    eprintln!("full at each of {} operations: paused and gone on", operations.len());
}

#[test]
fn a_disk_that_cannot_keep_what_it_took_fails_closed() {
    let dir = place();
    let (uncut, operations) = undisturbed(dir.path(), "s");
    assert!(operations.len() >= 5, "{operations:?}");
    for (at, line) in &operations {
        let run = create(dir.path(), &format!("broken-{at}"), short());
        assert_eq!(worker_with(&run, &fault("s", *at, IO_ERROR, None)).wait().unwrap().code(), Some(1));
        // What was not synced does not count, however whole it looks.
        assert_eq!(newest(&run), Some(1), "{line}");
        assert_eq!(leftovers(&run), Vec::<String>::new(), "{line}");
        let last = events(&run).pop().unwrap().body;
        assert!(matches!(last, RunEventBody::Failed { .. }), "{line}: {last:?}");
        finish(&run);
        same(&run, &uncut, line);
    }
}

#[test]
fn a_thousand_flipped_bits_are_all_noticed() {
    let dir = place();
    let run = create(dir.path(), "run", short());
    finish(&run);
    let folder = RunFolder::open(&run).unwrap();
    let listed = checkpoints::list(&folder).unwrap().pop().unwrap();
    let files: Vec<PathBuf> = std::fs::read_dir(&listed.path).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(files.len() >= 5, "{files:?}");
    let mut stream = Stream::new(9, 0, Purpose::Grammar, 0);
    for file in &files {
        let whole = std::fs::read(file).unwrap();
        for _ in 0..1000 {
            let bit = stream.below(whole.len() as u64 * 8) as usize;
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(file, &bytes).unwrap();
            assert!(checkpoints::verify(&folder, &listed.path, listed.step).is_err(), "{} bit {bit}", file.display());
        }
        std::fs::write(file, &whole).unwrap();
    }
    checkpoints::verify(&folder, &listed.path, listed.step).unwrap();
    // A worker passes the damaged one over, says so, and has none other: it begins anew and ends with the same bytes.
    let bytes = adapter(&run);
    let mut damaged = std::fs::read(&files[0]).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&files[0], damaged).unwrap();
    let again = create(dir.path(), "again", short());
    std::fs::rename(run.join("checkpoints"), again.join("checkpoints")).unwrap();
    assert!(worker(&again).wait().unwrap().success());
    assert!(
        events(&again)
            .iter()
            .any(|e| matches!(&e.body, RunEventBody::Note { message, .. } if message.contains("was passed over")))
    );
    assert_eq!(adapter(&again), bytes);
}
