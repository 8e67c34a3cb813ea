//! A registered model in another form, with its certificate: one worker, at once, kept with the version.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::SplitName,
    export::{CERTIFICATE, Export, ExportCertificate},
    ids::{ExportId, ModelId},
    model::Model,
    run_folder::{DataSource, ExportFormat, ExportTask, Task},
};
use ts_rs::TS;
use uuid::Uuid;

use crate::{
    Ctx,
    ctx::now_ms,
    datasets, found, models,
    oneshot::{self, Keep},
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

/// Exports a model version. The certificate compares on the held-out rows of the dataset that the version learnt from.
pub(crate) async fn export(ctx: &Ctx, args: ExportModel) -> Result<Export, ApiError> {
    let model = found::model(ctx.db(), &args.id).await?;
    let (source, _) = models::source(ctx, Some(&args.id), None, None).await?;
    let out = match &args.out {
        Some(out) => std::path::absolute(out).unwrap_or_else(|_| out.clone()),
        None => ctx.home().join("exports").join(format!("{}-v{}-{}", slug(&model.name), model.version, args.format)),
    };
    let task = ExportTask {
        model: source,
        format: args.format,
        out: out.clone(),
        sample: held_out(ctx, &model).await?,
        shard_bytes: args.shard_bytes,
        name: Some(format!("{} v{}", model.name, model.version)),
    };
    oneshot::run(ctx, Task::Export(task), Keep::No, &mut |_| {}).await?;
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
fn certificate(folder: &std::path::Path) -> Result<ExportCertificate, ApiError> {
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
