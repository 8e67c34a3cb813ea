//! Peak memory of a LoRA step, ours against PEFT's, on the same shapes with random weights: one table with the ratios.

use anyhow::{Result, bail};

use super::json;
use crate::{engine, root, run};

/// What ours may need of the peer's memory.
const BAR: f64 = 0.7;

/// A decoder's sizes: SmolLM2-135M's, Qwen2.5-0.5B's, and a small one's.
struct Shape {
    name: &'static str,
    hidden: u32,
    layers: u32,
    heads: u32,
    kv: u32,
    inter: u32,
    vocab: u32,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "30M", hidden: 384, layers: 12, heads: 6, kv: 2, inter: 1024, vocab: 32_000 },
    Shape { name: "135M", hidden: 576, layers: 30, heads: 9, kv: 3, inter: 1536, vocab: 49_152 },
    Shape { name: "0.5B", hidden: 896, layers: 24, heads: 14, kv: 2, inter: 4864, vocab: 151_936 },
];

/// `bench memory [PYTHON [SHAPE]]`: without a Python ours alone; a Python with torch, transformers and peft is the peer.
pub fn memory(args: &[String]) -> Result<()> {
    let (python, only) = match args {
        [] => (None, None),
        [python] => (Some(python), None),
        [python, shape] => (Some(python), Some(shape.as_str())),
        _ => bail!("usage: cargo xtask bench memory [PYTHON [30M | 135M | 0.5B]]"),
    };
    engine("build", &["--example", "bench_lora"], &[])?;
    let ours = run::target().join("debug/examples/bench_lora").to_string_lossy().into_owned();
    let script = root().join("tests/peers/bench_lora.py").to_string_lossy().into_owned();
    println!("shape  dtype     recomputed  ours MiB  PEFT MiB  ratio");
    let mut worst = 0.0_f64;
    for shape in SHAPES.iter().filter(|s| only.is_none_or(|only| s.name == only)) {
        for dtype in ["float32", "bfloat16"] {
            let model = std::env::temp_dir().join(format!("bench-memory-{}-{dtype}", shape.name));
            let sizes = |flags: &mut Vec<String>| {
                let all = [
                    ("--hidden", shape.hidden),
                    ("--layers", shape.layers),
                    ("--heads", shape.heads),
                    ("--kv", shape.kv),
                    ("--inter", shape.inter),
                    ("--vocab", shape.vocab),
                    ("--steps", 2),
                ];
                flags.extend(all.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]));
                flags.extend(["--dtype".to_owned(), dtype.to_owned()]);
            };
            for recomputed in [false, true] {
                let mut flags = vec!["--model".to_owned(), model.to_string_lossy().into_owned()];
                sizes(&mut flags);
                flags.extend(["--recompute".to_owned(), recomputed.to_string()]);
                let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                if !model.join("config.json").exists() {
                    // The first call makes the model and measures nothing.
                    json(&ours, &flags)?;
                }
                let of_ours = peak_mib(&json(&ours, &flags)?);
                let Some(python) = python else {
                    println!("{:6} {dtype:9} {recomputed:10} {of_ours:9.0}", shape.name);
                    continue;
                };
                let mut flags = vec![script.clone()];
                sizes(&mut flags);
                if recomputed {
                    flags.push("--ckpt".to_owned());
                }
                let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                let of_peer = peak_mib(&json(python, &flags)?);
                let ratio = of_ours / of_peer;
                worst = worst.max(ratio);
                println!("{:6} {dtype:9} {recomputed:10} {of_ours:9.0} {of_peer:9.0} {ratio:6.2}", shape.name);
            }
            std::fs::remove_dir_all(&model)?;
        }
    }
    if python.is_some() {
        println!("worst ratio {worst:.2}; the bar is {BAR}");
    }
    Ok(())
}

fn peak_mib(found: &serde_json::Value) -> f64 {
    found["peak_rss_bytes"].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20)
}
