//! Speed and peak memory of a LoRA step, ours and PEFT's in turn on the same shapes with random weights: one row per case, with the ratio of
//! the medians.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{ROUNDS, SHAPES, Shape, json, median, peer_and_shapes};
use crate::{cargo, root, run, step};

/// Lengths of the rows of one step of the mixed cases: a few long ones among many short, in no order.
const MIXED: &str = "38,256,16,90,52,12,200,28,115,20,60,33,150,24,45,72";

/// One row of the table.
struct Case {
    name: &'static str,
    dtype: &'static str,
    /// For both, besides the sizes.
    both: &'static [&'static str],
    ours: &'static [&'static str],
    peer: &'static [&'static str],
}

const CASES: [Case; 8] = [
    Case { name: "f32", dtype: "float32", both: &[], ours: &[], peer: &[] },
    Case { name: "f32, recomputed", dtype: "float32", both: &[], ours: &["--recompute", "true"], peer: &["--ckpt"] },
    Case { name: "f32, mixed lengths", dtype: "float32", both: &["--lengths", MIXED], ours: &[], peer: &[] },
    Case { name: "bf16", dtype: "bfloat16", both: &[], ours: &[], peer: &[] },
    Case { name: "bf16, recomputed", dtype: "bfloat16", both: &[], ours: &["--recompute", "true"], peer: &["--ckpt"] },
    Case { name: "bf16, mixed lengths", dtype: "bfloat16", both: &["--lengths", MIXED], ours: &[], peer: &[] },
    // PEFT has no 4-bit products on a CPU that are worth a wait: the peer is PEFT in bf16.
    Case { name: "nf4 by bf16", dtype: "bfloat16", both: &[], ours: &["--load-in", "nf4"], peer: &[] },
    Case { name: "int8 by bf16", dtype: "bfloat16", both: &[], ours: &["--load-in", "int8"], peer: &[] },
];

/// `bench train [PYTHON [SHAPE [CASE]]]`: without a Python ours alone; a Python with torch, transformers and peft is the peer. With a case
/// only those whose names begin so.
pub fn train(args: &[String]) -> Result<()> {
    let (args, only) = args.split_at(args.len().min(2));
    let (python, shapes) = peer_and_shapes(args)?;
    let ours = ours()?;
    let script = root().join("tests/peers/bench_lora.py").to_string_lossy().into_owned();
    println!("| shape | case | ours tokens/s | PEFT tokens/s | speed | ours MiB | PEFT MiB | memory |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for shape in shapes {
        for case in CASES.iter().filter(|case| only.iter().all(|start| case.name.starts_with(start.as_str()))) {
            let (of_ours, of_peer) = measure(shape, case, &ours, python.map(|python| (python.as_str(), &*script)))?;
            let figures = |runs: &[Value]| -> Result<(f64, f64)> {
                Ok((median(runs, "tok_s")?, median(runs, "peak_rss_bytes")? / f64::from(1 << 20)))
            };
            let (speed, memory) = figures(&of_ours)?;
            if of_peer.is_empty() {
                println!("| {} | {} | {speed:.0} | | | {memory:.0} | | |", shape.name, case.name);
                continue;
            }
            let (peer_speed, peer_memory) = figures(&of_peer)?;
            println!(
                "| {} | {} | {speed:.0} | {peer_speed:.0} | {:.2} | {memory:.0} | {peer_memory:.0} | {:.2} |",
                shape.name,
                case.name,
                speed / peer_speed,
                memory / peer_memory
            );
        }
    }
    Ok(())
}

/// `bench profile [SHAPE]`: where the time of a step goes, by operation, in f32 and in bf16.
pub fn profile(args: &[String]) -> Result<()> {
    let [shape] = args else { bail!("usage: cargo xtask bench profile SHAPE") };
    let shape =
        SHAPES.iter().find(|known| known.name == shape).with_context(|| format!("there is no shape {shape}"))?;
    let ours = ours()?;
    for dtype in ["float32", "bfloat16"] {
        let model = std::env::temp_dir().join(format!("bench-profile-{}-{dtype}", shape.name));
        let named = ["--model".to_owned(), model.to_string_lossy().into_owned()];
        let flags = [shape.flags(dtype, 4), named.to_vec(), owned(&["--profile", "true"])].concat();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        // The first call makes the model.
        for _ in 0..if model.join("config.json").exists() { 1 } else { 2 } {
            println!("{} {dtype}", shape.name);
            json(&ours, &flags)?;
        }
    }
    Ok(())
}

/// Builds our benchmark for release; where it is.
fn ours() -> Result<String> {
    step(&cargo(), &["build", "--locked", "--release", "-p", "tb-nn", "--example", "bench_lora"])?;
    Ok(run::target().join("release/examples/bench_lora").to_string_lossy().into_owned())
}

/// The runs of both, in turn.
fn measure(shape: &Shape, case: &Case, ours: &str, peer: Option<(&str, &str)>) -> Result<(Vec<Value>, Vec<Value>)> {
    let model = std::env::temp_dir().join(format!("bench-train-{}-{}", shape.name, case.dtype));
    let common = [shape.flags(case.dtype, 5), owned(case.both)].concat();
    let our_flags =
        [common.clone(), owned(case.ours), vec!["--model".to_owned(), model.to_string_lossy().into_owned()]].concat();
    let our_flags: Vec<&str> = our_flags.iter().map(String::as_str).collect();
    if !model.join("config.json").exists() {
        // The first call makes the model and measures nothing.
        json(ours, &our_flags)?;
    }
    let (mut of_ours, mut of_peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_ours.push(json(ours, &our_flags)?);
        if let Some((python, script)) = peer {
            let flags = [vec![script.to_owned()], common.clone(), owned(case.peer)].concat();
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            of_peer.push(json(python, &flags)?);
        }
    }
    Ok((of_ours, of_peer))
}

fn owned(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}
