//! Feedback at size: statistics, the next item to judge, and durable submissions, on a database of ten million rows.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{cargo, root, run, step_with};

/// What statistics and the next item may take, in milliseconds.
const STATS_MS: f64 = 300.0;
const ITEM_MS: f64 = 50.0;

/// `bench feedback [ROWS]`: makes a database, measures, and deletes it. `TONEBRIDGE_BENCH_HOME` names a folder that is kept, and
/// measured again as it is if it is there.
pub fn feedback(args: &[String]) -> Result<()> {
    let rows: u64 = match args {
        [] => 10_000_000,
        [rows] => rows.parse().context("usage: cargo xtask bench feedback [ROWS]")?,
        _ => bail!("usage: cargo xtask bench feedback [ROWS]"),
    };
    let kept = std::env::var_os("TONEBRIDGE_BENCH_HOME").map(std::path::PathBuf::from);
    let home =
        kept.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("bench-feedback-{}", std::process::id())));
    let program = |name: &str| run::target().join("release/examples").join(name).to_string_lossy().into_owned();
    let build = ["build", "--locked", "--release", "--example", "feedback_rows", "--example", "bench_feedback"];
    step_with(&cargo(), &build, &root(), &[])?;
    let database = home.join("tonebridge.db");
    if !database.exists() {
        fs::create_dir_all(&home)?;
        let items = (rows / 10).max(1000).to_string();
        let made = step_with(
            &program("feedback_rows"),
            &[&*database.to_string_lossy(), &rows.to_string(), &items],
            &root(),
            &[],
        );
        if made.is_err() {
            fs::remove_dir_all(&home)?;
        }
        made?;
    }
    let measured = super::json(&program("bench_feedback"), &[&*home.to_string_lossy()]);
    if kept.is_none() {
        fs::remove_dir_all(&home)?;
    }
    judge(&measured?)
}

fn judge(found: &Value) -> Result<()> {
    let mut slow = Vec::new();
    for (name, figures) in found.as_object().context("no figures")? {
        let bar = if name.starts_with("stats") { STATS_MS } else { ITEM_MS };
        if let Some(max) = figures["max_ms"].as_f64() {
            println!("{name:32} p50 {:8.2}  p95 {:8.2}  max {max:8.2} ms", figures["p50_ms"], figures["p95_ms"]);
            if figures["p95_ms"].as_f64().is_none_or(|p95| p95 >= bar) {
                slow.push(format!("{name} over {bar} ms"));
            }
        } else if let Some(rate) = figures["rows_per_s"].as_f64() {
            println!("{name:32} {rate:8.0} durable rows/s");
        }
    }
    ensure!(slow.is_empty(), "too slow: {}", slow.join("; "));
    Ok(())
}
