//! Crashes at every moment, flipped bits, and what pruning keeps.

use tb_core::run_folder::Best;

use super::{super::run_folder::tests::spec, *};

fn manifest(tokens: u64) -> CheckpointManifest {
    CheckpointManifest {
        schema: 0,
        step: 0,
        spec_sha256: String::new(),
        events: 12,
        num_tokens: tokens,
        best: Some(Best { step: 3, eval_loss: 0.1 + 0.2 }),
        evals_without_progress: 1,
        loss_sum: 1.0 / 3.0,
        files: Vec::new(),
    }
}

fn fill(draft: &CheckpointDraft, text: &str) {
    fs::write(draft.dir().join("adapter.bin"), text).unwrap();
    fs::create_dir_all(draft.dir().join("optim")).unwrap();
    fs::write(draft.dir().join("optim/moments.bin"), [7; 100]).unwrap();
}

fn save(run: &RunFolder, step: u64, text: &str) -> PathBuf {
    let draft = begin(run, step).unwrap();
    fill(&draft, text);
    draft.commit(manifest(step)).unwrap()
}

fn new_run() -> (tempfile::TempDir, RunFolder) {
    let dir = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&dir.path().join("run"), &spec("r")).unwrap();
    (dir, run)
}

fn newest(run: &RunFolder) -> Option<(u64, String)> {
    let (path, manifest) = newest_valid(run).unwrap().checkpoint?;
    Some((manifest.step, fs::read_to_string(path.join("adapter.bin")).unwrap()))
}

#[test]
fn a_committed_checkpoint_is_found_and_complete() {
    let (_dir, run) = new_run();
    assert_eq!(newest(&run), None);
    let path = save(&run, 400, "four");
    assert_eq!(path, run.path().join("checkpoints/step-000400"));
    let found = newest_valid(&run).unwrap().checkpoint.unwrap().1;
    assert_eq!(found.spec_sha256, run.spec_sha256());
    let files: Vec<(&str, u64)> = found.files.iter().map(|f| (f.path.as_str(), f.size_bytes)).collect();
    assert_eq!(files, [("adapter.bin", 4), ("optim/moments.bin", 100)]);
    assert_eq!(found.best, manifest(0).best);
}

#[test]
fn a_crash_between_any_two_steps_leaves_the_old_or_the_new() {
    use Moment::{DraftDurable, Durable, FilesDurable, ManifestWritten, Renamed};
    for (moment, new) in [(FilesDurable, 0), (ManifestWritten, 0), (DraftDurable, 0), (Renamed, 1), (Durable, 1)] {
        // Once as the next step, once as the same step again.
        for step in [2, 1] {
            let (_dir, run) = new_run();
            save(&run, 1, "old");
            let draft = begin(&run, step).unwrap();
            fill(&draft, "new");
            let crash = draft.commit_watched(manifest(9), &mut |at| {
                if at == moment { Err(Error::bad_file("crash", "played")) } else { Ok(()) }
            });
            assert!(crash.is_err());
            let expected = if new == 1 { (step, "new".to_owned()) } else { (1, "old".to_owned()) };
            assert_eq!(newest(&run), Some(expected.clone()), "{moment:?} step {step}");
            // The next worker cleans up, sees the same, and can write.
            remove_orphans(&run).unwrap();
            assert_eq!(newest(&run), Some(expected), "{moment:?} step {step}");
            save(&run, 5, "later");
            assert_eq!(newest(&run), Some((5, "later".into())));
            let hidden = entries(&run.checkpoints_dir()).unwrap().into_iter().filter(|n| n.starts_with('.')).count();
            assert_eq!(hidden, 0);
        }
    }
}

#[test]
fn the_same_step_again_replaces_the_earlier_one() {
    let (_dir, run) = new_run();
    save(&run, 7, "first");
    save(&run, 7, "second");
    let last = save(&run, 7, "third");
    assert_eq!(list(&run).unwrap().len(), 1);
    assert_eq!(newest(&run), Some((7, "third".into())));
    assert_eq!(last.file_name().unwrap(), "step-000007.2");
}

#[test]
fn a_draft_that_is_not_committed_disappears() {
    let (_dir, run) = new_run();
    let draft = begin(&run, 1).unwrap();
    fill(&draft, "x");
    drop(draft);
    assert_eq!(fs::read_dir(run.checkpoints_dir()).unwrap().count(), 0);
}

#[test]
fn every_flipped_bit_is_detected_and_the_one_before_is_used() {
    let (_dir, run) = new_run();
    save(&run, 1, "old");
    let path = save(&run, 2, "new");
    for name in ["adapter.bin", "optim/moments.bin", names::MANIFEST] {
        let file = path.join(name);
        let whole = fs::read(&file).unwrap();
        for bit in (0..whole.len() * 8).step_by(7) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &bytes).unwrap();
            let found = newest_valid(&run).unwrap();
            assert_eq!(found.checkpoint.unwrap().1.step, 1, "{name} bit {bit}");
            assert_eq!(found.broken.len(), 1);
        }
        fs::write(&file, &whole).unwrap();
    }
    assert_eq!(newest(&run), Some((2, "new".into())));
}

#[test]
fn cut_and_missing_files_are_named() {
    let (_dir, run) = new_run();
    let path = save(&run, 2, "new");
    fs::write(path.join("adapter.bin"), "ne").unwrap();
    assert!(newest_valid(&run).unwrap().broken[0].reason.contains("adapter.bin"));
    fs::remove_file(path.join("adapter.bin")).unwrap();
    assert!(newest_valid(&run).unwrap().broken[0].reason.contains("adapter.bin"));
    fs::remove_file(path.join(names::MANIFEST)).unwrap();
    assert!(newest_valid(&run).unwrap().broken[0].reason.contains(names::MANIFEST));
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let (dir, run) = new_run();
    save(&run, 2, "mine");
    let other = RunFolder::create(&dir.path().join("other"), &spec("other")).unwrap();
    fs::rename(run.checkpoints_dir(), other.checkpoints_dir()).unwrap();
    let found = newest_valid(&other).unwrap();
    assert_eq!(found.checkpoint, None);
    assert!(found.broken[0].reason.contains("another run"));
}

#[test]
fn pruning_keeps_the_last_the_best_and_the_newest_valid() {
    let (_dir, run) = new_run();
    (1..=6).for_each(|step| drop(save(&run, step, "x")));
    assert_eq!(prune(&run, 0, None).unwrap(), Vec::<u64>::new());
    assert_eq!(prune(&run, 2, Some(3)).unwrap(), [1, 2, 4]);
    // The newest is damaged in a way that only its hash shows: it does not count as the newest.
    fs::write(run.checkpoints_dir().join("step-000006/adapter.bin"), "y").unwrap();
    assert_eq!(prune(&run, 1, Some(3)).unwrap(), Vec::<u64>::new());
    let steps: Vec<u64> = list(&run).unwrap().iter().map(|l| l.step).collect();
    assert_eq!(steps, [3, 5, 6]);
    assert_eq!(newest(&run).unwrap().0, 5);
}

#[test]
fn pruning_never_leaves_a_run_without_its_best_or_newest() {
    // Every pattern of damage over four checkpoints, with falling limits.
    for damage in 0_u32..16 {
        let (_dir, run) = new_run();
        for step in 0..4_u64 {
            let path = save(&run, step, "x");
            if damage & (1 << step) != 0 {
                fs::write(path.join("adapter.bin"), if step % 2 == 0 { "y" } else { "longer" }).unwrap();
            }
        }
        let before = newest(&run);
        for (keep_last, best) in [(3, 2), (2, 2), (1, 2)] {
            drop(prune(&run, keep_last, Some(best)).unwrap());
            assert_eq!(newest(&run), before, "damage {damage:04b}");
        }
        if damage != 15 || before.is_none() {
            assert!(list(&run).unwrap().iter().any(|l| l.step == 2), "the best stays");
        }
    }
}

#[test]
fn losses_that_are_not_finite_and_links_are_refused() {
    let (_dir, run) = new_run();
    let draft = begin(&run, 1).unwrap();
    let bad = CheckpointManifest { loss_sum: f64::NAN, ..manifest(1) };
    assert!(draft.commit(bad).is_err());
    #[cfg(unix)]
    {
        let draft = begin(&run, 1).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", draft.dir().join("link")).unwrap();
        assert!(matches!(draft.commit(manifest(1)), Err(Error::BadFile { .. })));
    }
    assert_eq!(newest(&run), None);
}
