//! The memory that `tb_core::footprint` foretells is what a worker's process really takes at its peak.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use candle_core::{DType, Device};
use serde_json::json;
use tb_core::adapter::{Unmatched, plan};
use tb_core::footprint::{Activations, BatchShape, Dropout, Footprint, Trained, Where, Workload, footprint};
use tb_core::packing::best_fit_decreasing;
use tb_core::recipe::{self, Dtype, FinetuningType, Hyperparameters, Method, Optim};
use tb_core::run_folder::{
    DataSource, IncidentKind, MicroBatches, ModelSource, RunEvent, RunEventBody, RunSpec, SCHEMA, StepPoint, Task,
    TrainTask,
};
use tb_data::files::RunFolder;
use tb_data::import::import;
use tb_data::model_folder;
use tb_data::sample;
use tb_data::tokenize::{RenderOptions, TextTokenizer, render_row};
use tb_nn::decoder::{Decoder, DecoderConfig};

/// How far a measured peak may lie from the estimate.
const TOLERANCE: f64 = 0.10;

/// A base with the sample's tokenizer.
fn write_base(folder: &Path, tokenizer: &Path, hidden: usize, layers: usize) {
    let config = json!({
        "model_type": "llama", "vocab_size": 3072, "hidden_size": hidden, "intermediate_size": hidden * 5 / 2,
        "num_hidden_layers": layers, "num_attention_heads": hidden / 64, "num_key_value_heads": hidden / 128,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0
    });
    let config = DecoderConfig::from_json(&config).unwrap();
    save_base(folder, tokenizer, config);
}

/// A small base of another family: its blocks keep other things.
fn write_family(folder: &Path, tokenizer: &Path, more: serde_json::Value) {
    let mut config = json!({
        "vocab_size": 3072, "hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 6, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 0
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    save_base(folder, tokenizer, DecoderConfig::from_json(&config).unwrap());
}

fn save_base(folder: &Path, tokenizer: &Path, config: DecoderConfig) {
    Decoder::init(config, 5, 0.02, &Device::Cpu).unwrap().save_full(folder, DType::F16).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tokenizer.join(name), folder.join(name)).unwrap();
    }
}

/// A base whose tokenizer has as many tokens as a real one: letters, and merges of two and three of them.
fn write_large_vocabulary(folder: &Path) {
    let letters: Vec<String> = ('a'..='z').chain('A'..='Z').chain('0'..='9').map(String::from).collect();
    let pairs: Vec<(String, String)> =
        letters.iter().flat_map(|a| letters.iter().map(move |b| (a.clone(), b.clone()))).collect();
    let triples = pairs.iter().flat_map(|(a, b)| letters.iter().map(move |c| (format!("{a}{b}"), c.clone())));
    let merges: Vec<(String, String)> = pairs.iter().cloned().chain(triples).take(60_000).collect();
    let mut vocabulary = serde_json::Map::new();
    for token in ["<pad>", "<bos>", "<eos>"].map(String::from).into_iter().chain(letters.iter().cloned()) {
        vocabulary.insert(token, vocabulary.len().into());
    }
    for (a, b) in &merges {
        vocabulary.insert(format!("{a}{b}"), vocabulary.len().into());
    }
    let config = json!({
        "model_type": "llama", "vocab_size": vocabulary.len(), "hidden_size": 256, "intermediate_size": 640,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0
    });
    let config = DecoderConfig::from_json(&config).unwrap();
    Decoder::init(config, 5, 0.02, &Device::Cpu).unwrap().save_full(folder, DType::F16).unwrap();
    let merges: Vec<_> = merges.iter().map(|(a, b)| json!([a, b])).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges}
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let names = json!({"eos_token": "<eos>", "bos_token": "<bos>", "pad_token": "<pad>"});
    std::fs::write(folder.join("tokenizer_config.json"), names.to_string()).unwrap();
}

/// The longest rows of a file: what a whole run meets sooner or later.
fn write_longest(from: &Path, to: &Path, rows: usize) {
    let text = std::fs::read_to_string(from).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
    std::fs::write(to, lines[..rows].join("\n")).unwrap();
}

/// Rows of about `words` words each.
fn write_rows(path: &Path, rows: usize, words: usize) {
    let text = |seed: usize| -> String {
        (0..words / 2)
            .map(|w| ["the", "report", "is", "late", "please", "send", "it"][(seed + w) % 7])
            .collect::<Vec<_>>()
            .join(" ")
    };
    let lines: Vec<String> =
        (0..rows).map(|r| json!({"prompt": text(r), "completion": format!(" {}", text(r + 3))}).to_string()).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

/// Figures of a file's rows: how many, their tokens, and the largest batch of so many rows or packs.
fn figures(path: &Path, base: &Path, h: &Hyperparameters, batch: u32) -> (u64, u64, BatchShape) {
    let tokenizer = TextTokenizer::load(base).unwrap();
    let options = RenderOptions { max_length: h.max_length as usize, loss_on: h.loss_on };
    let imported = import(path, None).unwrap();
    let mut rows: Vec<(u64, u64)> = imported
        .rows
        .iter()
        .map(|row| render_row(&tokenizer, &row.example, &options).unwrap())
        .map(|row| (row.ids.len() as u64, row.supervised() as u64))
        .collect();
    let (number, tokens) = (rows.len() as u64, rows.iter().map(|r| r.0).sum());
    if h.packing {
        let lengths: Vec<u32> = rows.iter().map(|row| row.0 as u32).collect();
        let sum = |pack: &Vec<u32>| {
            pack.iter().map(|at| rows[*at as usize]).fold((0, 0), |all, row| (all.0 + row.0, all.1 + row.1))
        };
        rows = best_fit_decreasing(&lengths, h.max_length).iter().map(sum).collect();
    }
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(*row));
    let taken = u64::from(batch).min(rows.len() as u64);
    let shape =
        BatchShape { rows: taken, width: rows[0].0, supervised: rows.iter().take(taken as usize).map(|r| r.1).sum() };
    (number, tokens, shape)
}

fn estimate(base: &Path, train: &Path, eval: Option<&Path>, h: &Hyperparameters) -> Footprint {
    let config = model_folder::read_config(base).unwrap();
    let (rows, tokens, shape) = figures(train, base, h, h.per_device_train_batch_size);
    let (eval_rows, eval_tokens, eval_shape) =
        eval.map(|path| figures(path, base, h, h.per_device_eval_batch_size)).unwrap_or((0, 0, BatchShape::default()));
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    let workload = Workload {
        place: Where::Host,
        trained: match h.finetuning_type {
            FinetuningType::Full => Trained::All,
            FinetuningType::Lora => Trained::Adapter {
                plan: plan(&config, &h.lora_config(), Unmatched::Refused).unwrap(),
                dropout: if h.lora_dropout > 0.0 { Dropout::On } else { Dropout::Off },
            },
        },
        weight_bytes: if h.dtype == Dtype::Bf16 { 2 } else { 4 },
        quantization: h.quantization(),
        optim: h.optim,
        file_bytes: model_folder::stored_weights(base).unwrap().size_bytes,
        activations: if h.gradient_checkpointing { Activations::Recomputed } else { Activations::Kept },
        train: shape,
        eval: eval_shape,
        data_rows: rows + eval_rows,
        data_tokens: tokens + eval_tokens,
        data_bytes: size(train) + eval.map_or(0, size),
        threads: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
    };
    footprint(&config, &workload)
}

/// The peak of a real run of a few steps.
fn measured(place: &Path, name: &str, base: &Path, train: &Path, eval: Option<&Path>, h: &Hyperparameters) -> u64 {
    let events = run(place, name, (base, train, eval), h, None);
    let done = events.into_iter().rev().find_map(|e| match e.body {
        RunEventBody::Done(done) => Some(done),
        _ => None,
    });
    done.unwrap().metrics["peak_memory_bytes"].as_f64().unwrap() as u64
}

/// The model, the rows to learn and the rows held out.
type Files<'a> = (&'a Path, &'a Path, Option<&'a Path>);

/// The folder of a run.
fn prepared(place: &Path, name: &str, (base, train, eval): Files<'_>, h: &Hyperparameters) -> PathBuf {
    let data = |path: &Path| DataSource { path: path.to_owned(), mapping: None };
    let spec = RunSpec {
        schema: SCHEMA,
        run_id: "measured".to_owned(),
        device: "cpu".to_owned(),
        task: Task::Train(Box::new(TrainTask {
            method: Method::Sft,
            model: ModelSource { base: base.to_owned(), adapter: None },
            data: data(train),
            eval_data: eval.map(data),
            hyperparameters: h.clone(),
        })),
    };
    let run = place.join(name);
    RunFolder::create(&run, &spec).unwrap();
    run
}

/// What a worker says of a run, with no more memory than `limit` if there is one.
fn run(place: &Path, name: &str, files: Files<'_>, h: &Hyperparameters, limit: Option<u64>) -> Vec<RunEvent> {
    let run = prepared(place, name, files, h);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tonebridge-worker"));
    if let Some(bytes) = limit {
        command.env("TONEBRIDGE_MEMORY_LIMIT", bytes.to_string());
    }
    let output = command.arg("--run").arg(&run).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    RunFolder::open(&run).unwrap().events_after(0).unwrap()
}

#[test]
fn peak_memory_is_as_estimated() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let bundled = sample::write_bundled(&place.join("sample")).unwrap();
    let (wide, deep) = (place.join("wide"), place.join("deep"));
    write_base(&wide, &bundled.base, 512, 4);
    write_base(&deep, &bundled.base, 256, 12);
    let (gemma, phi, olmo) = (place.join("gemma2"), place.join("phi3"), place.join("olmo2"));
    write_family(
        &gemma,
        &bundled.base,
        json!({"model_type": "gemma2", "query_pre_attn_scalar": 64, "sliding_window": 100}),
    );
    write_family(&phi, &bundled.base, json!({"model_type": "phi3", "tie_word_embeddings": true}));
    write_family(&olmo, &bundled.base, json!({"model_type": "olmo2", "attention_bias": true}));
    let large = place.join("large");
    write_large_vocabulary(&large);
    let (sample_rows, many) = (place.join("sample.jsonl"), place.join("many.jsonl"));
    write_longest(&bundled.train, &sample_rows, 96);
    write_rows(&many, 40_000, 40);
    let (short, long) = (place.join("short.jsonl"), place.join("long.jsonl"));
    write_rows(&short, 64, 60);
    write_rows(&long, 32, 300);
    let common = Hyperparameters {
        lora_r: 16,
        lora_dropout: 0.0,
        target_modules: recipe::TargetModules::Pattern("all-linear".into()),
        max_steps: 2,
        per_device_train_batch_size: 8,
        max_length: 512,
        shuffle: false,
        gradient_checkpointing: false,
        ..Hyperparameters::default()
    };
    let attention = recipe::TargetModules::Suffixes(vec!["q_proj".into(), "v_proj".into()]);
    let cases: [(&str, &PathBuf, &PathBuf, Option<&PathBuf>, Hyperparameters); 29] = [
        ("vocabulary", &large, &short, None, common.clone()),
        ("many rows", &bundled.base, &many, None, Hyperparameters { per_device_train_batch_size: 2, ..common.clone() }),
        ("small", &bundled.base, &short, None, Hyperparameters { per_device_train_batch_size: 1, ..common.clone() }),
        (
            "sample",
            &bundled.base,
            &sample_rows,
            Some(&bundled.heldout),
            Hyperparameters {
                per_device_train_batch_size: 12,
                max_length: 160,
                group_by_length: true,
                eval_steps: 2,
                ..common.clone()
            },
        ),
        ("kept", &wide, &long, None, common.clone()),
        ("recomputed", &wide, &long, Some(&short), Hyperparameters { gradient_checkpointing: true, ..common.clone() }),
        (
            "dropout",
            &wide,
            &long,
            None,
            Hyperparameters { lora_dropout: 0.1, target_modules: attention.clone(), ..common.clone() },
        ),
        ("bfloat16", &wide, &long, None, Hyperparameters { dtype: Dtype::Bf16, ..common.clone() }),
        (
            "4 bits",
            &wide,
            &long,
            Some(&short),
            Hyperparameters {
                load_in_4bit: true,
                optim: Optim::Adamw8bit,
                lora_r: 128,
                gradient_checkpointing: true,
                ..common.clone()
            },
        ),
        ("8 bits", &wide, &short, None, Hyperparameters { load_in_8bit: true, ..common.clone() }),
        ("deep", &deep, &long, Some(&long), Hyperparameters { lora_r: 64, ..common.clone() }),
        (
            "large batch",
            &deep,
            &short,
            Some(&short),
            Hyperparameters { per_device_train_batch_size: 64, target_modules: attention, ..common.clone() },
        ),
        ("packed", &wide, &short, Some(&long), Hyperparameters { packing: true, ..common.clone() }),
        (
            "packed, recomputed",
            &deep,
            &short,
            Some(&short),
            Hyperparameters {
                packing: true,
                gradient_checkpointing: true,
                lora_dropout: 0.1,
                neftune_noise_alpha: 5.0,
                ..common.clone()
            },
        ),
        (
            "recomputed bfloat16",
            &wide,
            &long,
            Some(&long),
            Hyperparameters { gradient_checkpointing: true, dtype: Dtype::Bf16, ..common.clone() },
        ),
        (
            "PiSSA",
            &wide,
            &long,
            None,
            Hyperparameters { init_lora_weights: "pissa".into(), lora_r: 128, ..common.clone() },
        ),
        (
            "PiSSA, dropout",
            &wide,
            &long,
            None,
            Hyperparameters { init_lora_weights: "pissa".into(), lora_dropout: 0.1, ..common.clone() },
        ),
        (
            "OLoRA, 8 bits",
            &deep,
            &long,
            Some(&short),
            Hyperparameters {
                init_lora_weights: "olora".into(),
                load_in_8bit: true,
                gradient_checkpointing: true,
                lora_r: 64,
                ..common.clone()
            },
        ),
        (
            "DoRA, 4 bits",
            &wide,
            &long,
            None,
            Hyperparameters { use_dora: true, load_in_4bit: true, lora_dropout: 0.1, ..common.clone() },
        ),
        ("full", &deep, &short, None, Hyperparameters { finetuning_type: FinetuningType::Full, ..common.clone() }),
        (
            "full, recomputed, 8-bit moments",
            &wide,
            &short,
            Some(&short),
            Hyperparameters {
                finetuning_type: FinetuningType::Full,
                gradient_checkpointing: true,
                optim: Optim::Adamw8bit,
                ..common.clone()
            },
        ),
        (
            "saved ends",
            &deep,
            &short,
            Some(&short),
            Hyperparameters { modules_to_save: vec!["lm_head".into(), "embed_tokens".into()], ..common.clone() },
        ),
        (
            "adapted ends",
            &deep,
            &short,
            None,
            Hyperparameters {
                target_modules: recipe::TargetModules::Suffixes(vec![
                    "q_proj".into(),
                    "embed_tokens".into(),
                    "lm_head".into(),
                ]),
                lora_dropout: 0.1,
                ..common.clone()
            },
        ),
        (
            "adapted head, no dropout",
            &deep,
            &short,
            None,
            Hyperparameters {
                target_modules: recipe::TargetModules::Suffixes(vec!["q_proj".into(), "lm_head".into()]),
                ..common.clone()
            },
        ),
        (
            "adapted head, long",
            &wide,
            &long,
            None,
            Hyperparameters {
                target_modules: recipe::TargetModules::Suffixes(vec!["q_proj".into(), "lm_head".into()]),
                lora_dropout: 0.1,
                ..common.clone()
            },
        ),
        ("Gemma 2", &gemma, &long, None, Hyperparameters { lora_dropout: 0.05, ..common.clone() }),
        ("Phi-3", &phi, &long, None, common.clone()),
        ("OLMo 2, DoRA", &olmo, &long, Some(&short), Hyperparameters { use_dora: true, ..common.clone() }),
        (
            "large evaluation",
            &wide,
            &long,
            Some(&long),
            Hyperparameters { per_device_train_batch_size: 2, per_device_eval_batch_size: 32, ..common.clone() },
        ),
    ];
    let mut worst = 0.0_f64;
    let mut table = String::new();
    for (name, base, train, eval, h) in &cases {
        let found = estimate(base, train, eval.map(PathBuf::as_path), h);
        let peak = measured(place, name, base, train, eval.map(PathBuf::as_path), h);
        let (mib, total) = (f64::from(1 << 20), found.total_bytes());
        let off = total as f64 / peak as f64 - 1.0;
        worst = worst.max(off.abs());
        let parts: Vec<String> =
            found.parts.iter().map(|p| format!("{} {:.1}", p.name, p.bytes as f64 / mib)).collect();
        let line = format!(
            "{name:19} measured {:7.1} MiB, estimated {:7.1} ({:+.1} %) at {}: {}\n",
            peak as f64 / mib,
            total as f64 / mib,
            100.0 * off,
            found.phase,
            parts.join(", ")
        );
        eprint!("{line}");
        table += &line;
    }
    assert!(worst <= TOLERANCE, "\n{table}");
}

#[test]
fn an_evaluation_takes_no_more_than_the_training_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let bundled = sample::write_bundled(&place.join("sample")).unwrap();
    let base = place.join("base");
    write_base(&base, &bundled.base, 256, 6);
    let rows = place.join("rows.jsonl");
    write_rows(&rows, 32, 100);
    let h = Hyperparameters {
        target_modules: recipe::TargetModules::Pattern("all-linear".into()),
        max_steps: 2,
        per_device_train_batch_size: 4,
        per_device_eval_batch_size: 64,
        gradient_checkpointing: true,
        eval_samples: 0,
        ..Hyperparameters::default()
    };
    let alone = measured(place, "alone", &base, &rows, None, &h);
    for packing in [false, true] {
        let h = Hyperparameters { packing, max_length: 512, ..h.clone() };
        let alone = if packing { measured(place, "packed-alone", &base, &rows, None, &h) } else { alone };
        let with = measured(place, &format!("with-{packing}"), &base, &rows, Some(&rows), &h);
        // Besides the held-out tokens themselves (32 rows of some 100) there is nothing more; a page's worth of noise.
        assert!(with as f64 <= 1.03 * alone as f64, "packing {packing}: {with} with, {alone} without an evaluation");
    }
}

fn steps(events: &[RunEvent]) -> Vec<StepPoint> {
    let point = |e: &RunEvent| if let RunEventBody::Step(point) = &e.body { Some(point.clone()) } else { None };
    events.iter().filter_map(point).collect()
}

fn rungs(events: &[RunEvent]) -> Vec<(u64, MicroBatches)> {
    let rung = |e: &RunEvent| match &e.body {
        RunEventBody::Incident(i) if i.kind == IncidentKind::OutOfMemory => Some((i.step, i.batch.unwrap())),
        _ => None,
    };
    events.iter().filter_map(rung).collect()
}

#[test]
fn a_run_under_a_limit_goes_on_in_smaller_micro_batches_with_the_same_loss() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let bundled = sample::write_bundled(&place.join("sample")).unwrap();
    let base = place.join("base");
    write_base(&base, &bundled.base, 256, 4);
    let rows = place.join("rows.jsonl");
    write_rows(&rows, 16, 150);
    let h = Hyperparameters {
        target_modules: recipe::TargetModules::Pattern("all-linear".into()),
        lora_dropout: 0.1,
        max_steps: 2,
        per_device_train_batch_size: 8,
        save_steps: 1,
        gradient_checkpointing: false,
        eval_samples: 0,
        ..Hyperparameters::default()
    };
    let files = (base.as_path(), rows.as_path(), Some(rows.as_path()));
    let roomy = run(place, "roomy", files, &h, None);
    assert_eq!(rungs(&roomy), []);
    let whole = peak(&roomy);
    let one = peak(&run(place, "one", files, &Hyperparameters { per_device_train_batch_size: 1, ..h.clone() }, None));
    assert!(one * 2 < whole, "the limit below would say nothing: {one} {whole}");
    let limit = one + (whole - one) * 45 / 100;
    // Seen before the first step; and, in a run that goes on from its first step, only by the step itself.
    for (name, words) in [("fresh", "would need about"), ("resumed", "Memory ran out in step 2.")] {
        let folder = prepared(place, name, files, &h);
        let fresh = name == "fresh";
        if !fresh {
            std::fs::create_dir_all(folder.join("checkpoints")).unwrap();
            let first = "checkpoints/step-000001";
            std::fs::rename(place.join("roomy").join(first), folder.join(first)).unwrap();
        }
        let tight = run(place, name, files, &h, Some(limit));
        let taken = rungs(&tight);
        eprintln!("whole {whole}, one row {one}, limit {limit}: {taken:?}, peak {}", peak(&tight));
        let batch = taken.last().expect("memory ran out").1;
        assert_eq!(batch.per_device_train_batch_size * batch.gradient_accumulation_steps, 8);
        assert!(messages(&tight).iter().any(|m| m.contains(words)), "{:?}", messages(&tight));
        // The limit is one of memory of its own; the peak counts the mapped files of program and weights as well.
        assert!(peak(&tight) <= limit + (16 << 20), "{} of {limit}", peak(&tight));
        let (a, b) = (steps(&roomy), steps(&tight));
        let a = if fresh { a } else { a[1..].to_vec() };
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert!((a.loss - b.loss).abs() <= 1e-5 * a.loss, "step {}: {} {}", a.step, a.loss, b.loss);
            assert_eq!((a.step, a.tokens), (b.step, b.tokens));
        }
    }
}

fn messages(events: &[RunEvent]) -> Vec<String> {
    let message = |e: &RunEvent| if let RunEventBody::Incident(i) = &e.body { Some(i.message.clone()) } else { None };
    events.iter().filter_map(message).collect()
}

fn peak(events: &[RunEvent]) -> u64 {
    steps(events).iter().map(|p| p.peak_memory_bytes).max().unwrap()
}
