//! A tiny base model, its data, run folders, workers, and what a run left behind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use candle_core::{DType, Device};
use serde_json::json;
use tb_core::random::{Purpose, Stream};
use tb_core::recipe::{Hyperparameters, Method, TargetModules};
use tb_core::run_folder::{DataSource, ModelSource, RunEvent, RunEventBody, RunSpec, SCHEMA, Task, TrainTask};
use tb_data::files::{RunFolder, checkpoints, sha256_file};
use tb_nn::decoder::{Decoder, DecoderConfig};

const WORDS: u64 = 40;

/// A random Llama with a tokenizer of whole words.
pub fn write_base(folder: &Path) {
    let config = json!({
        "model_type": "llama", "vocab_size": 48, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0
    });
    let config = DecoderConfig::from_json(&config).unwrap();
    Decoder::init(config, 5, 0.1, &Device::Cpu).unwrap().save_full(folder, DType::F32).unwrap();
    let special = ["<pad>", "<bos>", "<eos>", "<unk>"];
    let mut vocabulary = serde_json::Map::new();
    for (i, word) in special.iter().map(|s| (*s).to_owned()).chain((0..WORDS).map(|w| format!("w{w}"))).enumerate() {
        vocabulary.insert(word, i.into());
    }
    let added: Vec<_> = special
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let names = json!({"eos_token": "<eos>", "bos_token": "<bos>", "pad_token": "<pad>", "unk_token": "<unk>"});
    std::fs::write(folder.join("tokenizer_config.json"), names.to_string()).unwrap();
}

pub fn write_rows(path: &Path, rows: usize, seed: u64) {
    let mut stream = Stream::new(seed, 0, Purpose::Grammar, 0);
    let mut text = |words: u64| -> String {
        let words: Vec<String> = (0..3 + stream.below(words)).map(|_| format!("w{}", stream.below(WORDS))).collect();
        words.join(" ")
    };
    let lines: Vec<String> =
        (0..rows).map(|_| json!({"prompt": text(8), "completion": format!(" {}", text(8))}).to_string()).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

/// A place with a base model, rows to learn and rows held out.
pub fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_base(&dir.path().join("base"));
    write_rows(&dir.path().join("train.jsonl"), 60, 1);
    write_rows(&dir.path().join("validation.jsonl"), 12, 2);
    dir
}

/// A run of 240 short steps with evaluations and checkpoints.
pub fn settings() -> Hyperparameters {
    Hyperparameters {
        lora_r: 4,
        lora_dropout: 0.1,
        target_modules: TargetModules::Pattern("all-linear".into()),
        learning_rate: 2e-3,
        max_steps: 240,
        per_device_train_batch_size: 4,
        gradient_accumulation_steps: 2,
        max_length: 32,
        save_steps: 7,
        save_total_limit: 2,
        eval_steps: 30,
        load_best_model_at_end: true,
        gradient_checkpointing: false,
        // Two threads would spend their time on waiting for each other.
        num_threads: 1,
        ..Hyperparameters::default()
    }
}

pub fn create(place: &Path, name: &str, hyperparameters: Hyperparameters) -> PathBuf {
    let data = |file: &str| DataSource { path: place.join(file), mapping: None };
    let spec = RunSpec {
        schema: SCHEMA,
        run_id: "same-in-all".to_owned(),
        device: "cpu".to_owned(),
        task: Task::Train(Box::new(TrainTask {
            method: Method::Sft,
            model: ModelSource { base: place.join("base"), adapter: None },
            data: data("train.jsonl"),
            eval_data: Some(data("validation.jsonl")),
            hyperparameters,
        })),
    };
    RunFolder::create(&place.join(name), &spec).unwrap();
    place.join(name)
}

/// A worker on a run, with more environment.
pub fn worker_with(run: &Path, environment: &[(&str, String)]) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(run.join("worker.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_tonebridge-worker"))
        .arg("--run")
        .arg(run)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

pub fn worker(run: &Path) -> Child {
    worker_with(run, &[])
}

pub fn finish(run: &Path) {
    let status = worker(run).wait().unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(run.join("worker.log")).unwrap_or_default());
    let last = events(run).pop().unwrap().body;
    assert!(matches!(last, RunEventBody::Done(_)), "{last:?}");
}

pub fn events(run: &Path) -> Vec<RunEvent> {
    RunFolder::open(run).unwrap().events_after(0).unwrap()
}

pub fn adapter(run: &Path) -> (String, String) {
    let of = |file: &str| sha256_file(&run.join("adapter").join(file)).unwrap();
    (of("adapter_model.safetensors"), of("adapter_config.json"))
}

/// Loss, gradient norm and rate of each step, as the last worker that did it saw them.
pub fn curve(run: &Path) -> Vec<(u64, u64, u64, u64)> {
    let mut by_step = std::collections::BTreeMap::new();
    for event in events(run) {
        if let RunEventBody::Step(p) = event.body {
            by_step.insert(p.step, (p.step, p.loss.to_bits(), p.grad_norm.to_bits(), p.learning_rate.to_bits()));
        }
    }
    by_step.into_values().collect()
}

/// The step of the newest checkpoint that is whole.
pub fn newest(run: &Path) -> Option<u64> {
    let found = checkpoints::newest_valid(&RunFolder::open(run).unwrap()).unwrap();
    found.checkpoint.map(|(_, manifest)| manifest.step)
}

/// The step of the newest checkpoint that a worker said is on disk.
pub fn announced(run: &Path) -> Option<u64> {
    let steps = events(run).into_iter().filter_map(|e| match e.body {
        RunEventBody::Checkpoint { step, .. } => Some(step),
        _ => None,
    });
    steps.max()
}

/// What lies in the folder of checkpoints besides checkpoints.
pub fn leftovers(run: &Path) -> Vec<String> {
    std::fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with("step-"))
        .collect()
}
