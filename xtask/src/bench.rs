//! Benchmarks: ours alone, or in turn with a peer's script, so that both see the same machine at the same minute.

mod memory;
mod window;

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{cargo, run, step};

/// Rounds in which ours and the peer's are timed in turn.
const ROUNDS: usize = 5;

/// `bench lora [--peer PYTHON SCRIPT]`, `bench memory [PYTHON [SHAPE]]` or `bench window`.
pub fn bench(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("lora") => lora(&args[1..]),
        Some("memory") => memory::memory(&args[1..]),
        Some("window") => window::window(),
        _ => bail!("usage: cargo xtask bench lora [--peer PYTHON SCRIPT] | memory [PYTHON [SHAPE]] | window"),
    }
}

fn lora(args: &[String]) -> Result<()> {
    step(&cargo(), &["build", "--locked", "--release", "-p", "tb-nn", "--example", "bench_lora"])?;
    let ours = run::target().join("release/examples/bench_lora").to_string_lossy().into_owned();
    let peer = match args {
        [flag, python, script] if flag == "--peer" => Some((python.clone(), script.clone())),
        [] => None,
        _ => bail!("usage: cargo xtask bench lora [--peer PYTHON SCRIPT]"),
    };
    let (mut our_runs, mut peer_runs) = (Vec::new(), Vec::new());
    // The first call makes the random model and times nothing.
    json(&ours, &[])?;
    let rounds = if peer.is_some() { ROUNDS } else { 1 };
    for round in 0..rounds {
        our_runs.push(json(&ours, &[])?);
        if let Some((python, script)) = &peer {
            peer_runs.push(json(python, &[script])?);
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!("ours  {}", our_runs[our_runs.len() / 2]);
    if peer.is_some() {
        println!("peer  {}", peer_runs[peer_runs.len() / 2]);
        let ratio = median(&peer_runs, "step_s")? / median(&our_runs, "step_s")?;
        println!("speed: {ratio:.2} x the peer's (ratio of the median step times of {rounds} rounds in turn)");
        let memory = median(&our_runs, "peak_rss_bytes")? / median(&peer_runs, "peak_rss_bytes")?;
        println!("peak memory: {memory:.2} x the peer's");
    }
    Ok(())
}

/// Runs a program that prints one JSON object last, and adds its peak memory as the system counts it, for ours and the
/// peer's alike.
fn json(program: &str, args: &[&str]) -> Result<Value> {
    let mut child = Command::new(program)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} could not be started"))?;
    let status = format!("/proc/{}/status", child.id());
    // VmHWM only ever grows, so the last look before the end is the peak up to 20 ms.
    let watch = thread::spawn(move || {
        let mut peak = 0.0_f64;
        while let Ok(text) = fs::read_to_string(&status) {
            let Some(kb) =
                text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<f64>().ok())
            else {
                break;
            };
            peak = peak.max(kb * 1024.0);
            thread::sleep(Duration::from_millis(20));
        }
        peak
    });
    let mut text = String::new();
    child.stdout.take().context("no output")?.read_to_string(&mut text)?;
    let status = child.wait()?;
    ensure!(status.success(), "{program} ended with {status}");
    let line = text.lines().last().unwrap_or_default();
    let mut found: Value = serde_json::from_str(line).with_context(|| format!("{program} printed no JSON object"))?;
    found["peak_rss_bytes"] = watch.join().unwrap_or(0.0).into();
    Ok(found)
}

fn median(runs: &[Value], key: &str) -> Result<f64> {
    let mut values: Vec<f64> = runs.iter().filter_map(|run| run.get(key).and_then(Value::as_f64)).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().with_context(|| format!("no run gives {key}"))
}
