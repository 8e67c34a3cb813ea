//! Throughput and peak memory of a LoRA step on a random model: the counterpart of the PEFT benchmark with the same
//! arguments. Prints one JSON line.
//!
//! `--model DIR` names a folder that is made on the first run (random weights) and loaded, frozen, by the later ones, so
//! that making the weights is not part of the measured process. `--load-in nf4|fp4|int8` holds the base in fewer bits.
//! `--device cuda` computes on the first GPU (feature `cuda`), and gives the share of its peak that is used (`--peak-tflops`).
//! `--profile true` says where the time of the last step went, by operation.
//! `--lengths 38,256,...` makes a step of rows of those lengths, `--batch` at a time, packed into rows of `--seq` tokens.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device};
use serde_json::json;
use tb_core::packing::best_fit_decreasing;
use tb_core::quantization::{
    Quantization::{self, EightBit, FourBit},
    Scales,
};
use tb_core::random::{Purpose, Stream};
use tb_core::recipe::Dtype;
use tb_nn::decoder::{Batch, Checkpointing, Decoder, DecoderConfig, Pass, Row};
use tb_nn::lora::{LoraConfig, TargetModules};
use tb_nn::optim::Gradients;
use tb_nn::optim::adamw::{AdamW, AdamWConfig};
use tb_nn::profile;

struct Args {
    model: PathBuf,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv: usize,
    inter: usize,
    vocab: usize,
    batch: usize,
    seq: usize,
    lengths: Vec<usize>,
    prompt_frac: f64,
    dtype: DType,
    quantization: Option<Quantization>,
    steps: usize,
    recompute: bool,
    profile: bool,
    device: Device,
    peak_tflops: f64,
}

type AnyError = Box<dyn std::error::Error>;

fn args() -> Result<Args, AnyError> {
    let mut a = Args {
        model: std::env::temp_dir().join("bench-lora-model"),
        hidden: 576,
        layers: 12,
        heads: 9,
        kv: 3,
        inter: 1536,
        vocab: 49152,
        batch: 4,
        seq: 256,
        lengths: Vec::new(),
        prompt_frac: 0.5,
        dtype: DType::F32,
        quantization: None,
        steps: 6,
        recompute: false,
        profile: false,
        device: Device::Cpu,
        peak_tflops: 989.0,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--model" => a.model = value.into(),
            "--hidden" => a.hidden = value.parse()?,
            "--layers" => a.layers = value.parse()?,
            "--heads" => a.heads = value.parse()?,
            "--kv" => a.kv = value.parse()?,
            "--inter" => a.inter = value.parse()?,
            "--vocab" => a.vocab = value.parse()?,
            "--batch" => a.batch = value.parse()?,
            "--seq" => a.seq = value.parse()?,
            "--lengths" => a.lengths = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--prompt-frac" => a.prompt_frac = value.parse()?,
            "--dtype" if value == "float32" => a.dtype = DType::F32,
            "--dtype" if value == "bfloat16" => a.dtype = DType::BF16,
            "--load-in" => {
                let kind = value.parse().map(|kind| FourBit { kind, scales: Scales::Double, compute: Dtype::Auto });
                a.quantization = Some(if value == "int8" { EightBit } else { kind? });
            }
            "--steps" => a.steps = value.parse()?,
            "--device" if value == "cpu" => {}
            #[cfg(feature = "cuda")]
            "--device" if value == "cuda" => a.device = tb_nn::cuda::open(0)?,
            "--peak-tflops" => a.peak_tflops = value.parse()?,
            "--profile" => a.profile = value.parse()?,
            "--recompute" => a.recompute = value.parse()?,
            _ => return Err(format!("unknown argument {name} {value}").into()),
        }
    }
    Ok(a)
}

/// A number of kilobytes from /proc/self/status, in bytes; 0 where there is no such file.
fn status_bytes(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Seconds of user and kernel time this process has used.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| after.split_whitespace().nth(n).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) + field(12)) / 100.0
}

/// Floating-point operations of a LoRA step per token, without what is recomputed: two forward and two backward per frozen weight, attention's
/// causal half forward and two and a half times that backward, the output layer where there is something to learn.
fn flops_per_token(config: &DecoderConfig, a: &Args) -> f64 {
    let (c, f) = (config.hidden_size as f64, config.intermediate_size as f64);
    let (q, kv) = config.query_key_widths();
    let block = c * (2.0 * q as f64 + 2.0 * kv as f64) + 3.0 * c * f;
    let layers = config.num_hidden_layers as f64;
    let attention = 2.0 * a.seq as f64 * q as f64 * layers;
    let head = 4.0 * config.vocab_size as f64 * c * (1.0 - a.prompt_frac);
    4.0 * block * layers + 3.5 * attention + head
}

#[cfg(feature = "cuda")]
fn peak_gpu_bytes(device: &Device) -> Result<u64, AnyError> {
    Ok(tb_nn::cuda::peak_bytes(device)?)
}

#[cfg(not(feature = "cuda"))]
fn peak_gpu_bytes(_: &Device) -> Result<u64, AnyError> {
    Ok(0)
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> Result<(), AnyError> {
    tb_nn::threads::leave_to_rayon();
    let a = args()?;
    if !a.model.join("config.json").exists() {
        let config = DecoderConfig::from_json(&json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
            "hidden_size": a.hidden, "num_hidden_layers": a.layers, "num_attention_heads": a.heads,
            "num_key_value_heads": a.kv, "intermediate_size": a.inter, "vocab_size": a.vocab,
            "tie_word_embeddings": true, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        }))?;
        Decoder::init(config, 0, 0.02, &Device::Cpu)?.save_full(&a.model, a.dtype)?;
        println!("{}", json!({ "made": a.model }));
        return Ok(());
    }
    let mut decoder = Decoder::load_as(&a.model, a.dtype, a.quantization, &a.device)?;
    let config = decoder.config();
    let (vocab, params) = (config.vocab_size as u64, config.parameter_count());
    let flops = flops_per_token(config, &a);
    let targets = ["q_proj", "k_proj", "v_proj", "o_proj"].map(String::from).to_vec();
    let lora = LoraConfig {
        r: 8,
        lora_alpha: 32.0,
        lora_dropout: 0.1,
        target_modules: TargetModules::List(targets),
        ..LoraConfig::default()
    };
    decoder.add_lora(&lora, 0)?;
    decoder.set_checkpointing(if a.recompute { Checkpointing::PerBlock } else { Checkpointing::Off });
    let parameters = decoder.trainable();
    let mut adamw = AdamW::new(parameters.clone(), AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() });
    let mut random = Stream::new(0, 0, Purpose::Shuffle, 0);
    let mut row = |length: usize| {
        let ids: Vec<u32> = (0..length).map(|_| random.below(vocab) as u32).collect();
        let mut labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        labels[..(length as f64 * a.prompt_frac) as usize].fill(-100);
        Row { ids, labels }
    };
    let batches = if a.lengths.is_empty() {
        let rows: Vec<Row> = (0..a.batch).map(|_| row(a.seq)).collect();
        vec![Batch::from_rows(&rows, 0)?]
    } else {
        let rows: Vec<Row> = a.lengths.iter().map(|length| row(*length)).collect();
        let lengths: Vec<u32> = rows.iter().map(|row| row.ids.len() as u32).collect();
        let packs: Vec<Vec<Row>> = best_fit_decreasing(&lengths, a.seq as u32)
            .iter()
            .map(|pack| pack.iter().map(|at| rows[*at as usize].clone()).collect())
            .collect();
        packs.chunks(a.batch).map(|packs| Batch::packed(packs, 0)).collect::<Result<_, _>>()?
    };
    let tokens: usize = batches.iter().map(Batch::real_tokens).sum();
    let supervised = batches.iter().map(Batch::supervised_tokens).sum::<usize>() as f64;
    let (mut times, mut cpu, mut loss) = (Vec::new(), Vec::new(), 0.0);
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for step in 0..a.steps {
        if a.profile && step + 1 == a.steps {
            profile::start();
        }
        let (start, cpu_start) = (Instant::now(), cpu_seconds());
        let mut gradients = Gradients::new();
        let (mut in_forward, mut in_backward) = (0.0, 0.0);
        loss = 0.0;
        for batch in &batches {
            let begun = Instant::now();
            let mean = (decoder.loss(batch, Pass::Train { seed: 0, step: step as u64, first_row: 0 })? / supervised)?;
            in_forward += begun.elapsed().as_secs_f64();
            let store = mean.backward()?;
            gradients.add(&parameters, &store)?;
            loss += f64::from(mean.to_scalar::<f32>()?);
            in_backward += begun.elapsed().as_secs_f64();
        }
        forward.push(in_forward);
        backward.push(in_backward);
        adamw.step(&gradients, 2e-4)?;
        a.device.synchronize()?;
        times.push(start.elapsed().as_secs_f64());
        cpu.push(cpu_seconds() - cpu_start);
    }
    let median = |all: &mut Vec<f64>| {
        let mut rest = all.split_off(1.min(all.len().saturating_sub(1)));
        rest.sort_by(f64::total_cmp);
        rest[rest.len() / 2]
    };
    if a.profile {
        let whole = times.last().copied().unwrap_or(0.0);
        for (name, entry) in profile::stop() {
            let share = 100.0 * entry.seconds / whole;
            eprintln!("{share:5.1} %  {:8.3} ms  {:5} x  {name}", entry.seconds * 1e3, entry.calls);
        }
    }
    let step_s = median(&mut times);
    println!(
        "{}",
        json!({
            "params": params, "dtype": format!("{:?}", a.dtype), "load_in": format!("{:?}", a.quantization), "batch": a.batch, "seq": a.seq, "step_s": step_s,
            "tok_s": tokens as f64 / step_s, "forward_s": median(&mut forward), "forward_backward_s": median(&mut backward),
            "cpu_s": median(&mut cpu), "peak_rss_bytes": status_bytes("VmHWM:"), "loss": loss, "peak_gpu_bytes": peak_gpu_bytes(&a.device)?,
            "mfu": flops * tokens as f64 / step_s / a.peak_tflops / 1e12,
        })
    );
    Ok(())
}
