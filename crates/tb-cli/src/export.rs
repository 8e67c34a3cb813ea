//! `tonebridge export`.

use serde_json::json;
use tb_api::{
    Ctx,
    oneshot::{self, Keep},
};
use tb_core::{
    ApiError,
    run_folder::{ExportTask, ModelSource, Task},
};

use crate::{args::Export, measure::absolute, output::Output, progress::Progress};

/// Runs the command.
pub async fn run(ctx: &Ctx, args: &Export, output: &Output) -> Result<(), ApiError> {
    let task = Task::Export(ExportTask {
        model: ModelSource { base: absolute(&args.model)?, adapter: Some(absolute(&args.adapter)?) },
        format: args.format.into(),
        out: absolute(&args.out)?,
    });
    let mut progress = Progress::new(output, "exporting");
    let done = oneshot::run(ctx, task, Keep::No, &mut |event| progress.run_event(&event.body)).await;
    progress.finish();
    let done = done?;
    output.result(
        &json!({ "out": args.out, "files": done.files, "metrics": done.metrics }),
        &format!("{} files written to {}", done.files.len(), args.out.display()),
    );
    Ok(())
}
