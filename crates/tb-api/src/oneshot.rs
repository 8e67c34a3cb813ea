//! Work outside the queue: a worker on a run folder of its own, which dies with its caller (score, generate, evaluate, export).

use std::path::{Path, PathBuf};

use tb_core::{
    ApiError,
    run_folder::{Done, RunEvent, RunSpec, SCHEMA, Task},
};
use tb_data::files::RunFolder;
use uuid::Uuid;

use crate::Ctx;

/// Whether a one-shot run folder is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is deleted when the work is done.
    No,
    /// It is made here and stays.
    At(PathBuf),
}

/// Runs one task to its end on the first worker's first device.
///
/// # Errors
/// No worker, and whatever the worker reports.
pub async fn run(
    ctx: &Ctx,
    task: Task,
    keep: Keep,
    on_event: &mut (dyn FnMut(&RunEvent) + Send),
) -> Result<Done, ApiError> {
    let worker = ctx.worker()?;
    let run_id = format!("once_{}", Uuid::now_v7());
    let path = match &keep {
        Keep::No => ctx.home().join("tmp").join(&run_id),
        Keep::At(path) => path.clone(),
    };
    let device = worker.description.devices.first().map_or_else(|| "cpu".to_owned(), |d| d.id.clone());
    let spec = RunSpec { schema: SCHEMA, run_id, device, task };
    let folder = RunFolder::create(&path, &spec)?;
    let _discarded = (keep == Keep::No).then_some(Discard(&path));
    tb_jobs::process::run_to_end(worker, &folder, on_event).await
}

/// A folder that goes when the work ends, also when nobody waits for it any more.
struct Discard<'a>(&'a Path);

impl Drop for Discard<'_> {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary folder is left behind");
        }
    }
}
