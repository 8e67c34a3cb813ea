//! Benchmarks: ours alone, or in turn with a peer's script, so that both see the same machine at the same minute.

mod feedback;
mod memory;
mod train;
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

impl Shape {
    /// The arguments of the benchmark programs, ours and the peer's.
    fn flags(&self, dtype: &str, steps: u32) -> Vec<String> {
        let sizes = [
            ("--hidden", self.hidden),
            ("--layers", self.layers),
            ("--heads", self.heads),
            ("--kv", self.kv),
            ("--inter", self.inter),
            ("--vocab", self.vocab),
            ("--steps", steps),
        ];
        let sizes = sizes.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]);
        sizes.chain(["--dtype".to_owned(), dtype.to_owned()]).collect()
    }
}

/// The arguments `[PYTHON [SHAPE]]` of a benchmark: the peer's Python, and the shapes to take.
fn peer_and_shapes(args: &[String]) -> Result<(Option<&String>, impl Iterator<Item = &'static Shape>)> {
    let (python, only) = match args {
        [] => (None, None),
        [python] => (Some(python), None),
        [python, shape] => (Some(python), Some(shape.clone())),
        _ => bail!("usage: cargo xtask bench memory | train [PYTHON [30M | 135M | 0.5B]]"),
    };
    let shapes: &'static [Shape] = &SHAPES;
    Ok((python, shapes.iter().filter(move |shape| only.as_deref().is_none_or(|only| shape.name == only))))
}

/// Rounds in which ours and the peer's are timed in turn.
const ROUNDS: usize = 3;

/// `bench memory [PYTHON [SHAPE]]`, `bench train [PYTHON [SHAPE [CASE]]]`, `bench profile SHAPE`, `bench window` or `bench
/// feedback [ROWS]`.
pub fn bench(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("memory") => memory::memory(&args[1..]),
        Some("train") => train::train(&args[1..]),
        Some("profile") => train::profile(&args[1..]),
        Some("window") => window::window(),
        Some("feedback") => feedback::feedback(&args[1..]),
        _ => bail!(
            "usage: cargo xtask bench memory [PYTHON [SHAPE]] | train [PYTHON [SHAPE [CASE]]] | profile SHAPE | window | feedback [ROWS]"
        ),
    }
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
