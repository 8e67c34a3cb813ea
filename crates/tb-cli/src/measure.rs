//! `tonebridge score | generate | evaluate`: one worker, one answer, no queue.

use serde_json::json;
use tb_api::{
    Ctx, StartEval, evaluation,
    oneshot::{self, Keep},
};
use tb_core::{
    ApiError, ErrorCode,
    eval::{EvalReport, MetricValue},
    recipe::Dtype,
    run_folder::{DataSource, Decoding, GenerateTask, ModelSource, RunEventBody, ScoreTask, Task},
};

use crate::{
    args::{Evaluate, Generate, ModelArgs, Score},
    output::{Output, table},
    progress::Progress,
    stream,
};

/// `tonebridge score`.
pub async fn score(ctx: &Ctx, args: &Score, output: &Output) -> Result<(), ApiError> {
    let task = Task::Score(ScoreTask {
        model: source(&args.model)?,
        data: DataSource { path: absolute(&args.data)?, mapping: None },
        out: absolute(&args.out)?,
        max_length: args.max_length,
        batch_size: args.batch_size,
        dtype: Dtype::Auto,
    });
    let mut progress = Progress::new(output, "scoring");
    let done = oneshot::run(ctx, task, Keep::No, &mut |event| progress.run_event(&event.body)).await;
    progress.finish();
    let done = done?;
    let number = |name: &str| done.metrics.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    output.result(
        &json!({ "out": args.out, "metrics": done.metrics }),
        &format!(
            "{:.0} rows, perplexity {:.3}, mean log-probability {:.4} nats a token.\nWritten to {}",
            number("rows"),
            number("perplexity"),
            number("mean_logprob"),
            args.out.display()
        ),
    );
    Ok(())
}

/// `tonebridge generate`.
pub async fn generate(ctx: &Ctx, args: &Generate, output: &Output) -> Result<(), ApiError> {
    let decoding = Decoding {
        max_new_tokens: args.max_new_tokens,
        temperature: args.temperature,
        top_p: args.top_p,
        top_k: args.top_k,
        seed: args.seed,
    };
    if args.stream {
        return stream::generate(ctx, args, &decoding, output).await;
    }
    let task = Task::Generate(GenerateTask {
        model: source(&args.model)?,
        prompts: vec![args.prompt.clone()],
        framing: args.framing(),
        decoding,
        dtype: Dtype::Auto,
    });
    let mut answer = None;
    let done = oneshot::run(ctx, task, Keep::No, &mut |event| {
        if let RunEventBody::Generated { text, tokens, finish, .. } = &event.body {
            answer = Some((text.clone(), *tokens, finish.clone()));
        }
    })
    .await?;
    let (text, tokens, finish) =
        answer.ok_or_else(|| ApiError::new(ErrorCode::Internal, "The worker ended without an answer."))?;
    output.result(&json!({ "text": text, "tokens": tokens, "finish_reason": finish, "metrics": done.metrics }), &text);
    Ok(())
}

/// `tonebridge evaluate`.
pub async fn evaluate(ctx: &Ctx, args: &Evaluate, output: &Output) -> Result<(), ApiError> {
    let start = StartEval {
        model_id: None,
        base_model: Some(args.model.model.clone()),
        adapter: args.model.adapter.clone(),
        dataset_id: None,
        data: Some(args.data.clone()),
        mapping: None,
        metrics: args.metrics.clone(),
        limit: args.limit,
        batch_size: Some(args.batch_size),
        decoding: Decoding { max_new_tokens: args.max_new_tokens, ..Decoding::default() },
        device: None,
    };
    let (task, _) = evaluation::task(ctx, &start).await?;
    let keep = match &args.out {
        Some(out) => Keep::At(absolute(out)?),
        None => Keep::No,
    };
    let mut progress = Progress::new(output, "evaluating");
    let mut report: Option<EvalReport> = None;
    let done = oneshot::run(ctx, Task::Evaluate(task), keep, &mut |event| {
        if let RunEventBody::Evaluated(found) = &event.body {
            report = Some((**found).clone());
        }
        progress.run_event(&event.body);
    })
    .await;
    progress.finish();
    done?;
    let report = report.ok_or_else(|| ApiError::new(ErrorCode::Internal, "The worker ended without a result."))?;
    output.result(&json!(report), &report_text(&report));
    Ok(())
}

/// A report as a table, corpus first, then groups.
pub fn report_text(report: &EvalReport) -> String {
    let mut rows: Vec<Vec<String>> = report.metrics.iter().map(|m| metric_row("all", m)).collect();
    for group in &report.groups {
        rows.extend(group.metrics.iter().map(|m| metric_row(&group.name, m)));
    }
    table(&["rows", "metric", "value", "95 % interval", "n"], &rows)
}

fn metric_row(group: &str, metric: &MetricValue) -> Vec<String> {
    let interval = metric.interval.map_or_else(|| "–".to_owned(), |(low, high)| format!("{low:.1} – {high:.1}"));
    vec![group.into(), metric.name.clone(), format!("{:.2}", metric.value), interval, metric.n.to_string()]
}

/// The base and its adapter, as absolute paths.
pub fn source(args: &ModelArgs) -> Result<ModelSource, ApiError> {
    Ok(ModelSource { base: absolute(&args.model)?, adapter: args.adapter.as_deref().map(absolute).transpose()? })
}

/// An absolute path: the worker has another working folder.
pub fn absolute(path: &std::path::Path) -> Result<std::path::PathBuf, ApiError> {
    std::path::absolute(path).map_err(|e| {
        ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was done: {} is no path: {e}.", path.display()))
    })
}
