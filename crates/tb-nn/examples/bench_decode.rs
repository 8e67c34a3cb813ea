//! Tokens per second of greedy decoding on a random model: the counterpart of `tests/peers/bench_decode.py`. Prints one JSON line.
//!
//! `--make FILE` writes the model as a GGUF file in q8_0 without a tokenizer; `--model FILE` times it: `--batch` rows that grow together,
//! after prompts of 16 tokens. `--weights kept` leaves q8_0 as it is in memory, `expanded` widens it to the `--dtype`.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device};
use serde_json::json;
use tb_core::gguf::Value;
use tb_nn::GgufFormat;
use tb_nn::decoder::{Decoder, DecoderConfig};
use tb_nn::generate::{Flow, GenerationConfig, generate};

type AnyError = Box<dyn std::error::Error>;

#[allow(clippy::print_stdout)]
fn main() -> Result<(), AnyError> {
    tb_nn::threads::leave_to_rayon();
    let (mut make, mut model, mut dtype, mut kept) = (None, None, DType::F32, true);
    let (mut batch, mut tokens) = (1, 64);
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
    let decoder = load(&model, dtype, None, &Device::Cpu)?;
    let prompts: Vec<Vec<u32>> = (0..batch).map(|row| (0..16).map(|t| 100 + row * 31 + t * 7).collect()).collect();
    let config = GenerationConfig { max_new_tokens: tokens + 1, ..GenerationConfig::default() };
    let mut times = Vec::new();
    for _ in 0..3 {
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
    times.sort_by(f64::total_cmp);
    println!("{}", json!({ "batch": batch, "tokens": tokens, "tok_s": f64::from(batch) * tokens as f64 / times[1] }));
    Ok(())
}
