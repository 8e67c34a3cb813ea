//! `tonebridge export`.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tb_api::{
    Ctx, ExportItem,
    oneshot::{self, Keep},
    streams,
};
use tb_core::{
    ApiError, ErrorCode,
    run_folder::{DataSource, ExportTask, ModelSource, RunEventBody, Task},
};

use crate::{args::Export, measure::absolute, output::Output, progress::Progress};

/// Runs the command.
pub async fn run(ctx: &Ctx, args: &Export, output: &Output) -> Result<(), ApiError> {
    let out = absolute(&args.out)?;
    let adapter = args.adapter.as_deref().map(absolute).transpose()?;
    let sample = args.data.as_deref().map(absolute).transpose()?.map(|path| DataSource { path, mapping: None });
    let task = Task::Export(ExportTask {
        model: ModelSource { base: absolute(&args.model)?, adapter },
        format: args.format.into(),
        out: out.clone(),
        sample,
        shard_bytes: args.max_shard_mb.map(|mb| mb.saturating_mul(1_000_000)),
        name: args.name.clone(),
    });
    let mut progress = Progress::new(output, "exporting").counting("stages");
    let done = oneshot::run(ctx, task, Keep::No, &mut |event| progress.run_event(&event.body)).await;
    progress.finish();
    let done = done?;
    let certificate = tb_api::certificate(&out)?;
    output.result(
        &json!({ "out": args.out, "files": done.files, "metrics": done.metrics, "certificate": certificate }),
        &format!("{} files written to {}. {}", done.files.len(), args.out.display(), certificate.verdict),
    );
    Ok(())
}

/// `tonebridge model export ID --format FORMAT [--out DIR]`: a registered version, kept with its certificate.
pub async fn registered(ctx: &Ctx, arguments: Value, output: &Output) -> Result<(), ApiError> {
    let mut items = streams::dispatch_stream(ctx, "model_export", arguments).await?;
    let mut progress = Progress::new(output, "exporting").counting("stages");
    let mut made = None;
    while let Some(item) = items.next().await {
        let item: ExportItem = serde_json::from_value(item?)
            .map_err(|e| ApiError::new(ErrorCode::Internal, format!("An item cannot be read: {e}.")))?;
        match item {
            ExportItem::Progress { done, total, .. } => progress.run_event(&RunEventBody::Progress { done, total }),
            ExportItem::Done { export } => made = Some(export),
        }
    }
    progress.finish();
    let export = made.ok_or_else(|| ApiError::new(ErrorCode::Internal, "The export ended without a result."))?;
    let text =
        format!("{} files written to {}. {}", export.certificate.files.len(), export.path, export.certificate.verdict);
    output.result(&json!(export), &text);
    Ok(())
}
