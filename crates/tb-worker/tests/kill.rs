//! `kill -9` of the worker at random moments, and at every operation on the files of one checkpoint; a full disk, a broken one, flipped
//! bits: the run goes on from a whole checkpoint and ends with the adapter bytes of the run that was never disturbed.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "kill/faults.rs"]
mod faults;
#[path = "kill/support.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{adapter, announced, create, curve, events, finish, leftovers, newest, place, settings, worker};
use support::{write_base, write_rows};
use tb_core::random::{Purpose, Stream};
use tb_core::recipe::{Dtype, Hyperparameters};
use tb_core::run_folder::RunEventBody;

/// Kills in all; `cargo xtask soak kills N` sets another number.
const KILLS: u32 = 20;
const VARIABLE: &str = "TONEBRIDGE_KILLS";

/// Runs that differ in what a resumed worker has to repeat.
fn variants() -> Vec<(&'static str, Hyperparameters)> {
    vec![
        ("plain", settings()),
        (
            "packed",
            Hyperparameters {
                packing: true,
                neftune_noise_alpha: 5.0,
                gradient_checkpointing: true,
                per_device_train_batch_size: 2,
                ..settings()
            },
        ),
        (
            "narrow",
            Hyperparameters {
                dtype: Dtype::Bf16,
                group_by_length: true,
                gradient_accumulation_steps: 3,
                save_steps: 4,
                ..settings()
            },
        ),
        ("often", Hyperparameters { save_steps: 1, save_total_limit: 3, max_steps: 120, ..settings() }),
    ]
}

#[test]
fn random_kills_do_not_change_a_bit() {
    let kills = std::env::var(VARIABLE).ok().map_or(KILLS, |text| text.parse().unwrap());
    let dir = place();
    let mut moments = Stream::new(u64::from(std::process::id()), 0, Purpose::Sampling, 0);
    let variants = variants();
    let each = kills.div_ceil(variants.len() as u32);
    let (mut done, mut resumed) = (0, 0);
    for (name, h) in variants {
        let uncut = create(dir.path(), &format!("uncut-{name}"), h.clone());
        let started = Instant::now();
        finish(&uncut);
        let whole_ms = started.elapsed().as_millis() as u64;

        let mut killed = create(dir.path(), &format!("killed-{name}"), h.clone());
        let mut runs = 1;
        for _ in 0..each {
            let mut child = worker(&killed);
            // Some kills fall into start-up, others far into the run.
            std::thread::sleep(Duration::from_millis(moments.below(whole_ms / 8 + 60)));
            let over = child.try_wait().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            let (kept, said) = (newest(&killed), announced(&killed));
            assert!(kept >= said, "{name}: the checkpoint of step {said:?} is lost, the newest is {kept:?}");
            done += 1;
            if over.is_some() {
                // It ended before the kill: the next one begins anew.
                same(&killed, &uncut);
                killed = create(dir.path(), &format!("killed-{name}-{runs}"), h.clone());
                runs += 1;
            }
            resumed += u32::from(kept.is_some());
        }
        finish(&killed);
        same(&killed, &uncut);
        eprintln!("{name}: {each} kills in {runs} runs, no checkpoint lost, the same bytes");
    }
    assert!(resumed > 0, "no kill fell behind a checkpoint: the test showed nothing");
    eprintln!("{done} kills, {resumed} behind a checkpoint: 0 checkpoints lost, identical bytes");
}

/// Curve and adapter of two runs are the same bytes, and nothing is left behind.
fn same(run: &std::path::Path, uncut: &std::path::Path) {
    assert_eq!(curve(run), curve(uncut));
    assert_eq!(adapter(run), adapter(uncut));
    let events = events(run);
    assert!(events.iter().enumerate().all(|(i, e)| e.n == i as u64 + 1), "the numbers of the events have a gap");
    assert!(matches!(events.last().unwrap().body, RunEventBody::Done(_)));
    assert_eq!(leftovers(run), Vec::<String>::new(), "temporary folders are left behind");
}

#[test]
fn a_bad_spec_and_bad_data_end_with_a_clear_last_word() {
    let dir = tempfile::tempdir().unwrap();
    write_base(&dir.path().join("base"));
    write_rows(&dir.path().join("validation.jsonl"), 3, 2);
    std::fs::write(dir.path().join("train.jsonl"), "{\"prompt\": \"w1\", \"completion\": \"\"}\n").unwrap();
    let run = create(dir.path(), "empty", settings());
    assert_eq!(worker(&run).wait().unwrap().code(), Some(1));
    let last = events(&run).pop().unwrap().body;
    let RunEventBody::Failed { message, .. } = last else { panic!("{last:?}") };
    assert!(message.starts_with("Training was not started") && message.contains("train.jsonl"), "{message}");

    let weights = dir.path().join("base/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    write_rows(&dir.path().join("train.jsonl"), 8, 1);
    let run = create(dir.path(), "cut-off", settings());
    assert_eq!(worker(&run).wait().unwrap().code(), Some(1));
    let last = events(&run).pop().unwrap().body;
    let RunEventBody::Failed { message, .. } = last else { panic!("{last:?}") };
    assert!(message.contains("model.safetensors"), "{message}");

    let nothing = dir.path().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    assert_eq!(worker(&nothing).wait().unwrap().code(), Some(1));
    std::fs::write(nothing.join("spec.json"), "{\"schema\": 1").unwrap();
    assert_eq!(worker(&nothing).wait().unwrap().code(), Some(1));
}
