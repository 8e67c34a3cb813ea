//! Tokens per second of greedy decoding on a random model: the counterpart of `tests/peers/bench_decode.py`. Prints one JSON line.
//!
//! `--make FILE` writes the model as a GGUF file in q8_0 without a tokenizer; `--model FILE` times it: `--batch` rows that grow together,
//! after prompts of 16 tokens. `--weights kept` leaves q8_0 as it is in memory, `expanded` widens it to the `--dtype`.
//!
//! `--device cuda` times a model, of a folder too, on the first GPU; `--rank N` puts a LoRA adapter on every linear, as a server has it;
//! `--profile true` says which operations take how long, started one by one.
//!
//! `--prefix N` times `--batch` prompts of N tokens and 16 of their own instead, from the first token on: as one batch, and asked one behind
//! the other as a serving worker is. `--prompts alike` gives them the same N tokens, `different` a first token of their own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device};
use serde_json::json;
use tb_core::gguf::Value;
use tb_nn::decoder::{Decoder, DecoderConfig};
use tb_nn::generate::{Answering, Flow, GenerationConfig, Prefixes, Step, generate};
use tb_nn::{AdapterUse, GgufFormat, LoraConfig, LoraInit, TargetModules, profile};

type AnyError = Box<dyn std::error::Error>;

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> Result<(), AnyError> {
    tb_nn::threads::leave_to_rayon();
    let (mut make, mut model, mut dtype, mut kept) = (None, None, DType::F32, true);
    let (mut batch, mut tokens) = (1, 64);
    let (mut prefix, mut alike) = (0, true);
    let (mut device, mut rank, mut profiled) = (Device::Cpu, 0, false);
    let mut sizes = json!({"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "intermediate_size": 1536, "vocab_size": 49_152});
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--make" => make = Some(PathBuf::from(value)),
            "--model" => model = Some(PathBuf::from(value)),
            "--dtype" if value == "float32" => dtype = DType::F32,
            "--dtype" if value == "bfloat16" => dtype = DType::BF16,
            "--weights" if value == "kept" => kept = true,
            "--weights" if value == "expanded" => kept = false,
            "--batch" => batch = value.parse()?,
            "--tokens" => tokens = value.parse()?,
            "--prefix" => prefix = value.parse()?,
            "--prompts" if value == "alike" => alike = true,
            "--prompts" if value == "different" => alike = false,
            "--device" if value == "cpu" => device = Device::Cpu,
            #[cfg(feature = "cuda")]
            "--device" if value == "cuda" => device = tb_nn::cuda::open(0)?,
            "--rank" => rank = value.parse()?,
            "--profile" => profiled = value.parse()?,
            "--layers" => sizes["num_hidden_layers"] = json!(value.parse::<u32>()?),
            _ => return Err(format!("unknown argument {name} {value}").into()),
        }
    }
    if let Some(path) = make {
        let mut config = json!({"model_type": "llama", "tie_word_embeddings": true, "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5, "rope_theta": 10_000.0});
        config.as_object_mut().ok_or("sizes")?.extend(sizes.as_object().ok_or("sizes")?.clone());
        let decoder = Decoder::init(DecoderConfig::from_json(&config)?, 0, 0.02, &Device::Cpu)?;
        let tokenizer = [("tokenizer.ggml.model".to_owned(), Value::Text("none".into()))];
        decoder.save_gguf(&path, GgufFormat::Q8_0, "random", &tokenizer)?;
        println!("{}", json!({ "made": path }));
        return Ok(());
    }
    let model = model.ok_or("--model or --make is needed")?;
    let load = if kept { Decoder::load_to_answer } else { Decoder::load_as };
    let mut decoder = load(&model, dtype, None, &device)?;
    if rank > 0 {
        wear_random(&mut decoder, &model, rank)?;
    }
    let prompts: Vec<Vec<u32>> = (0..batch).map(|row| (0..16).map(|t| 100 + row * 31 + t * 7).collect()).collect();
    let config = GenerationConfig { max_new_tokens: tokens + 1, ..GenerationConfig::default() };
    if prefix > 0 {
        let first = |row: u32| if alike { 99 } else { 100 + row };
        let common = |row| std::iter::once(first(row)).chain((1..prefix).map(|t| 100 + t * 13));
        let prompts: Vec<Vec<u32>> =
            prompts.iter().zip(0..).map(|(own, row)| common(row).chain(own.iter().copied()).collect()).collect();
        return time_prompts(&decoder, &prompts, &config);
    }
    let mut times = Vec::new();
    for round in 0..3 {
        if profiled && round == 2 {
            profile::start();
        }
        let (mut first, mut heard) = (Instant::now(), 0);
        generate(&decoder, &prompts, &config, &mut |_, _| {
            heard += 1;
            // The prompts are read when each row has its first token.
            if heard == batch {
                first = Instant::now();
            }
            Flow::Continue
        })?;
        times.push(first.elapsed().as_secs_f64());
    }
    if profiled {
        for (name, entry) in profile::stop() {
            eprintln!("{:8.3} ms  {:5} x  {name}", entry.seconds * 1e3, entry.calls);
        }
    }
    times.sort_by(f64::total_cmp);
    println!("{}", json!({ "batch": batch, "tokens": tokens, "tok_s": f64::from(batch) * tokens as f64 / times[1] }));
    Ok(())
}

/// Puts a random adapter of this rank on every linear of the model, read from its files.
fn wear_random(decoder: &mut Decoder, model: &Path, rank: usize) -> Result<(), AnyError> {
    let folder = std::env::temp_dir().join(format!("bench-decode-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let target_modules = TargetModules::AllLinear;
    let config = LoraConfig { r: rank, target_modules, init: LoraInit::Random, ..LoraConfig::default() };
    let mut bare = Decoder::load(model, decoder.dtype(), &Device::Cpu)?;
    bare.add_lora(&config, 0)?;
    bare.save_adapter(&folder, "random")?;
    decoder.load_adapter(&folder, AdapterUse::Frozen)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Milliseconds to the first token and to the end, of a batch and of one request behind the other.
#[allow(clippy::print_stdout)]
fn time_prompts(decoder: &Decoder, prompts: &[Vec<u32>], config: &GenerationConfig) -> Result<(), AnyError> {
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let (begun, mut first, mut heard) = (Instant::now(), 0.0, 0);
    let answers = generate(decoder, prompts, config, &mut |_, _| {
        heard += 1;
        if heard == prompts.len() {
            first = ms(begun);
        }
        Flow::Continue
    })?;
    let batch = json!({ "first_ms": first.round(), "total_ms": ms(begun).round() });
    let (begun, mut firsts, mut kept) = (Instant::now(), Vec::new(), Prefixes::new(1 << 28));
    for (prompt, answered) in prompts.iter().zip(answers) {
        let asked = Instant::now();
        let go_on = &mut || Flow::Continue;
        let mut answer = Answering::begin(decoder, prompt, config.clone(), &mut kept.of(0), go_on)?.ok_or("stopped")?;
        let mut ids = Vec::new();
        while let Step::Token(id) = answer.step(decoder)? {
            if ids.is_empty() {
                firsts.push(ms(asked));
            }
            ids.push(id);
        }
        if ids != answered.ids {
            return Err("the batch gave another answer".into());
        }
    }
    let total = ms(begun);
    let later = firsts[1..].iter().sum::<f64>() / (prompts.len() - 1) as f64;
    let served =
        json!({ "first_request_ms": firsts[0].round(), "later_requests_ms": later.round(), "total_ms": total.round() });
    println!(
        "{}",
        json!({ "prompts": prompts.len(), "batch": batch, "served": served, "kept_mib": kept.bytes() >> 20 })
    );
    Ok(())
}
