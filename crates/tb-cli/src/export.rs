//! `tonebridge export`.

use serde_json::json;
use tb_api::{
    Ctx,
    oneshot::{self, Keep},
};
use tb_core::{
    ApiError, ErrorCode,
    export::{CERTIFICATE, ExportCertificate},
    run_folder::{DataSource, ExportTask, ModelSource, Task},
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
    let mut progress = Progress::new(output, "exporting");
    let done = oneshot::run(ctx, task, Keep::No, &mut |event| progress.run_event(&event.body)).await;
    progress.finish();
    let done = done?;
    let certificate = certificate(&out.join(CERTIFICATE))?;
    output.result(
        &json!({ "out": args.out, "files": done.files, "metrics": done.metrics, "certificate": certificate }),
        &format!("{} files written to {}. {}", done.files.len(), args.out.display(), certificate.verdict),
    );
    Ok(())
}

fn certificate(path: &std::path::Path) -> Result<ExportCertificate, ApiError> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string());
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()))
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("{} is not readable: {e}.", path.display())))
}
