//! `tonebridge demo`: the main job on the built-in sample, from import to a registered model.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Map, Value, json};
use tb_api::{BaselineReport, ChartFiles, Ctx, SampleInstalled};
use tb_core::{
    ApiError, ErrorCode,
    eval::{EvalItem, EvalReport, Evaluation, MetricValue},
    job::Job,
};

use crate::{
    args::Demo,
    output::{Output, duration, table},
    train::{call, changes, follow, registered},
};

/// Rewrites shown of each direction, and errors shown at the end.
const SHOWN: usize = 3;
/// The figures of the headline, in order.
const FIGURES: [(&str, &str); 4] =
    [("chrf", "chrF"), ("bleu", "BLEU"), ("exact_match", "exact %"), ("slot_accuracy", "slots %")];

/// Runs the command.
pub async fn run(ctx: &Ctx, args: &Demo, output: &Output) -> Result<(), ApiError> {
    output.say("1/5  Import the built-in sample");
    let sample: SampleInstalled = call(ctx, "sample_install", Value::Null).await?;
    let dataset = &sample.dataset;
    let splits: Vec<String> = dataset.splits.iter().map(|s| format!("{} {}", s.rows, s.name)).collect();
    output.say(&format!(
        "     {} rows ({}), {} left out",
        dataset.num_samples,
        splits.join(", "),
        dataset.num_problems
    ));

    output.say("2/5  Fine-tune the base model with LoRA");
    let start = json!({ "hyperparameters": changes(&args.set)? });
    let seq = ctx.last_seq().await?;
    let job: Job = call(ctx, "sample_start", start).await?;
    let job = follow(ctx, &job, seq, "training", output).await?;
    let model_id = registered(ctx, &job)
        .await?
        .ok_or_else(|| ApiError::new(ErrorCode::Internal, "The run ended without a registered model."))?;

    output.say("3/5  Measure base and tuned model on held-out rows they have not seen");
    let base =
        measure(ctx, json!({ "base_model": sample.base_model }), dataset.id.as_str(), args, output, "base").await?;
    let tuned = measure(ctx, json!({ "model_id": model_id }), dataset.id.as_str(), args, output, "tuned").await?;

    output.say("4/5  Measure the two baselines that need no model");
    let baselines: BaselineReport = call(ctx, "sample_baselines", json!({ "id": dataset.id })).await?;

    output.say("5/5  Draw the loss");
    let chart: ChartFiles = call(ctx, "job_chart", json!({ "id": job.id })).await?;

    let number = |name: &str| job.metrics.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let object = json!({
        "base": figures(&base.report.metrics),
        "tuned": figures(&tuned.report.metrics),
        "copy": figures(&baselines.copy),
        "retrieval": figures(&baselines.retrieval),
        "held_out_rows": tuned.report.rows,
        "overlap": { "verbatim_percent": baselines.overlap_verbatim_percent, "nearest_chrf_p10_p50_p90": baselines.overlap_chrf },
        "train_runtime_s": number("train_runtime_s"),
        "tokens_per_s": number("tokens_per_s"),
        "trainable_percent": number("trainable_percent"),
        "model_id": model_id,
        "job_id": job.id,
        "chart_png": chart.png,
        "chart_svg": chart.svg,
        "run_dir": job.run_dir,
        "samples": tuned.items.iter().filter(|i| i.output.trim() == i.target.trim()).take(6).collect::<Vec<_>>(),
    });
    output.result(&object, &text(&job, &model_id, &base.report, &tuned, &baselines, &chart));
    Ok(())
}

/// An evaluation with the rows it saw.
struct Measured {
    report: EvalReport,
    items: Vec<EvalItem>,
}

async fn measure(
    ctx: &Ctx,
    model: Value,
    dataset_id: &str,
    args: &Demo,
    output: &Output,
    label: &str,
) -> Result<Measured, ApiError> {
    let mut start = json!({ "dataset_id": dataset_id, "limit": args.limit, "batch_size": 32, "decoding": { "max_new_tokens": 96, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 42 } });
    if let (Value::Object(start), Value::Object(model)) = (&mut start, model) {
        start.extend(model);
    }
    let seq = ctx.last_seq().await?;
    let job: Job = call(ctx, "eval_start", start).await?;
    let job = follow(ctx, &job, seq, label, output).await?;
    let all: Vec<Evaluation> = call(ctx, "eval_list", Value::Null).await?;
    let report = all
        .into_iter()
        .find(|e| e.job_id == job.id)
        .map(|e| e.report)
        .ok_or_else(|| ApiError::new(ErrorCode::Internal, "The evaluation ended without a result."))?;
    let items = match &report.items {
        Some(file) => read_items(&Path::new(&job.run_dir).join(file))?,
        None => Vec::new(),
    };
    Ok(Measured { report, items })
}

fn read_items(path: &Path) -> Result<Vec<EvalItem>, ApiError> {
    let text = fs::read_to_string(path)
        .map_err(|e| ApiError::new(ErrorCode::NotFound, format!("{} cannot be read: {e}.", path.display())))?;
    text.lines()
        .map(|line| {
            serde_json::from_str(line).map_err(|e| {
                ApiError::new(ErrorCode::DataInvalid, format!("{} holds a line that is no row: {e}.", path.display()))
            })
        })
        .collect()
}

fn figures(metrics: &[MetricValue]) -> Map<String, Value> {
    metrics.iter().map(|m| (m.name.clone(), Value::from((m.value * 100.0).round() / 100.0))).collect()
}

fn text(
    job: &Job,
    model_id: &str,
    base: &EvalReport,
    tuned: &Measured,
    baselines: &BaselineReport,
    chart: &ChartFiles,
) -> String {
    let number = |name: &str| job.metrics.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let row = |name: &str, metrics: &[MetricValue]| {
        let mut cells = vec![name.to_owned()];
        cells.extend(FIGURES.iter().map(|(key, _)| {
            metrics.iter().find(|m| m.name == *key).map_or_else(|| "–".into(), |m| format!("{:.1}", m.value))
        }));
        cells
    };
    let mut header = vec![""];
    header.extend(FIGURES.iter().map(|(_, title)| *title));
    let rows = [
        row("copy the source", &baselines.copy),
        row("nearest training row", &baselines.retrieval),
        row("base model", &base.metrics),
        row("tuned model", &tuned.report.metrics),
    ];
    let mut text = format!("\nOn {} held-out rows\n\n{}", tuned.report.rows, table(&header, &rows));
    let (p10, p50, p90) = baselines.overlap_chrf;
    text += &format!(
        "\nHeld-out targets found verbatim in training: {:.1} %; chrF of the nearest training target: {p10:.0} / {p50:.0} / {p90:.0} (p10 / p50 / p90).\n",
        baselines.overlap_verbatim_percent
    );
    let mut groups: BTreeMap<&str, Vec<&EvalItem>> = BTreeMap::new();
    for item in &tuned.items {
        groups.entry(item.group.as_deref().unwrap_or("rows")).or_default().push(item);
    }
    for (group, items) in &groups {
        text += &format!("\n{}\n", group.replace('_', " "));
        for item in spread(items, SHOWN) {
            text += &format!("  {}\n  → {}\n", item.source.as_deref().unwrap_or(&item.prompt), item.output.trim());
        }
    }
    let wrong: Vec<&EvalItem> = tuned.items.iter().filter(|i| i.output.trim() != i.target.trim()).collect();
    if !wrong.is_empty() {
        text += &format!(
            "\nWhat still goes wrong ({} of {} rows differ from the target):\n",
            wrong.len(),
            tuned.items.len()
        );
        for item in spread(&wrong, SHOWN) {
            text += &format!(
                "  {}\n  → {}\n  wanted {}\n",
                item.source.as_deref().unwrap_or(&item.prompt),
                item.output.trim(),
                item.target.trim()
            );
        }
    }
    text += &format!(
        "\nTrained {:.0} steps in {} at {:.0} tokens/s; {:.2} % of the weights learn.\n\nModel      {model_id}\nChart      {}\nRun folder {}\n",
        number("step"),
        duration(number("train_runtime_s")),
        number("tokens_per_s"),
        number("trainable_percent"),
        chart.png,
        job.run_dir
    );
    text
}

/// `count` items spread evenly over the list, so that both languages and all kinds are seen.
fn spread<'a>(items: &[&'a EvalItem], count: usize) -> Vec<&'a EvalItem> {
    let n = items.len();
    (0..count.min(n)).map(|i| items[i * n / count.min(n)]).collect()
}
