//! A registered model in another form, with its certificate: one worker, at once, kept with the version.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::SplitName,
    export::{CERTIFICATE, Export, ExportCertificate},
    ids::{ExportId, ModelId},
    model::Model,
    run_folder::{DataSource, ExportFormat, ExportTask, RunEvent, RunEventBody, Task},
    tag::Tag,
};
use tokio::sync::mpsc;
use ts_rs::TS;
use uuid::Uuid;

use crate::{
    Ctx, commands,
    ctx::now_ms,
    datasets, found, models,
    oneshot::{self, Keep},
    streams,
};

/// Arguments of `model_export`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ExportModel {
    /// The model version.
    pub id: ModelId,
    /// The form.
    pub format: ExportFormat,
    /// Folder to write, new or empty; one below `exports` in the home folder if none.
    #[serde(default)]
    #[ts(type = "string | null")]
    pub out: Option<PathBuf>,
    /// Largest weight file of a merged model, in bytes.
    #[serde(default)]
    #[ts(type = "number | null")]
    pub shard_bytes: Option<u64>,
}

/// What comes out of `model_export`: `progress` until `done`. Dropping the stream ends the work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExportItem {
    /// How far it is.
    Progress {
        /// What is being done.
        stage: ExportStage,
        /// Stages that are done.
        #[ts(type = "number")]
        done: u64,
        /// Stages in all.
        #[ts(type = "number")]
        total: u64,
    },
    /// It is written, compared and kept with the version.
    Done {
        /// The export.
        export: Box<Export>,
    },
}

/// A stage of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ExportStage {
    /// The model is loaded, and answers the samples.
    Loading,
    /// Its files are written.
    Writing,
    /// What was written is loaded and compared.
    Comparing,
}

type Item = Result<ExportItem, ApiError>;

/// Exports a model version. The certificate compares on the held-out rows of the dataset that the version learnt from.
pub(crate) async fn export(ctx: &Ctx, args: ExportModel) -> Result<BoxStream<'static, Item>, ApiError> {
    let task = task(ctx, &args).await?;
    let ctx = ctx.clone();
    // The worker ends with the wish to read.
    Ok(streams::spawn(move |out: mpsc::Sender<Item>, reader_gone| async move {
        let unfinished = unfinished(&task.out);
        let work = work(&ctx, args, task, out.clone());
        let last = tokio::select! {
            result = work => result.map(|export| ExportItem::Done { export: Box::new(export) }),
            _ = reader_gone => return clear(&unfinished).await,
        };
        // Whoever wanted it may be gone.
        out.send(last).await.ok();
    }))
}

/// Where a worker writes before all is there (tb-worker's `output::write_folder`).
fn unfinished(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.partial"))
}

/// Deletes what a worker that was ended has left. It may write for a moment longer, so one look is not enough.
async fn clear(folder: &Path) {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !folder.exists() {
            return;
        }
        std::fs::remove_dir_all(folder).ok();
    }
    tracing::warn!(path = %folder.display(), "an unfinished export is left behind");
}

async fn task(ctx: &Ctx, args: &ExportModel) -> Result<ExportTask, ApiError> {
    let model = found::model(ctx.db(), &args.id).await?;
    let (source, _) = models::source(ctx, Some(&args.id), None, None).await?;
    let out = match &args.out {
        Some(out) => std::path::absolute(out).unwrap_or_else(|_| out.clone()),
        None => ctx.home().join("exports").join(format!("{}-v{}-{}", slug(&model.name), model.version, args.format)),
    };
    Ok(ExportTask {
        model: source,
        format: args.format,
        out,
        sample: held_out(ctx, &model).await?,
        shard_bytes: args.shard_bytes,
        name: Some(format!("{} v{}", model.name, model.version)),
    })
}

async fn work(ctx: &Ctx, args: ExportModel, task: ExportTask, said: mpsc::Sender<Item>) -> Result<Export, ApiError> {
    let kept = commands::write(&args)?;
    let out = task.out.clone();
    let mut on_event = |event: &RunEvent| {
        if let RunEventBody::Progress { done, total } = event.body {
            let stage = match done {
                0 => ExportStage::Loading,
                1 => ExportStage::Writing,
                _ => ExportStage::Comparing,
            };
            // A reader that is behind gets the next one: each says all.
            said.try_send(Ok(ExportItem::Progress { stage, done, total })).ok();
        }
    };
    oneshot::run(ctx, Task::Export(task), Keep::No, &mut on_event).await?;
    let export = Export {
        id: ExportId::from_uuid(Uuid::now_v7()),
        model_id: args.id,
        path: out.to_string_lossy().into_owned(),
        certificate: certificate(&out)?,
        created_at_ms: now_ms(),
    };
    let mut tx = ctx.db().begin().await?;
    tb_db::exports::insert(&mut tx, &export).await?;
    tx.commit().await?;
    ctx.changed("model_export", kept, &commands::write(&export)?, &[Tag::Models]).await?;
    Ok(export)
}

/// The test rows of the version's dataset, else its validation rows, else none.
async fn held_out(ctx: &Ctx, model: &Model) -> Result<Option<DataSource>, ApiError> {
    let dataset = match &model.lineage.dataset_id {
        Some(id) => tb_db::datasets::get(ctx.db(), id).await?,
        None => None,
    };
    let file = dataset.and_then(|dataset| {
        datasets::split_file(&dataset, SplitName::Test)
            .or_else(|_| datasets::split_file(&dataset, SplitName::Validation))
            .ok()
    });
    Ok(file.filter(|path| path.is_file()).map(|path| DataSource { path, mapping: None }))
}

/// The certificate that lies in an export's folder.
///
/// # Errors
/// It is not there, or no certificate.
pub fn certificate(folder: &Path) -> Result<ExportCertificate, ApiError> {
    let path = folder.join(CERTIFICATE);
    let bytes = std::fs::read(&path).map_err(|e| e.to_string());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string())).map_err(|e| {
        ApiError::new(
            ErrorCode::Internal,
            format!("The export was written, but {} is not readable: {e}.", path.display()),
        )
    })
}

/// A name as a part of a path.
fn slug(name: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let text: String = name.chars().map(kept).take(64).collect();
    let text = text.trim_matches(['.', '-']);
    if text.is_empty() { "model".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_inside_its_folder() {
        assert_eq!(slug("support mail / formal"), "support-mail---formal");
        assert_eq!(slug("../../etc"), "etc");
        assert_eq!(slug("敬語モデル"), "敬語モデル");
        assert_eq!(slug(".."), "model");
    }
}
