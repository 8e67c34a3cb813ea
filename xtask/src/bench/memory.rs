//! Peak memory of a LoRA step, ours against PEFT's, on the same shapes with random weights: one table with the ratios.

use anyhow::Result;

use super::{json, peer_and_shapes};
use crate::{engine, root, run};

/// What ours may need of the peer's memory.
const BAR: f64 = 0.7;

/// `bench memory [PYTHON [SHAPE]]`: without a Python ours alone; a Python with torch, transformers and peft is the peer.
pub fn memory(args: &[String]) -> Result<()> {
    let (python, shapes) = peer_and_shapes(args)?;
    engine("build", &["--example", "bench_lora"], &[])?;
    let ours = run::target().join("debug/examples/bench_lora").to_string_lossy().into_owned();
    let script = root().join("tests/peers/bench_lora.py").to_string_lossy().into_owned();
    println!("shape  dtype     recomputed  ours MiB  PEFT MiB  ratio");
    let mut worst = 0.0_f64;
    for shape in shapes {
        for dtype in ["float32", "bfloat16"] {
            let model = std::env::temp_dir().join(format!("bench-memory-{}-{dtype}", shape.name));
            let sizes = |flags: &mut Vec<String>| flags.extend(shape.flags(dtype, 2));
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
