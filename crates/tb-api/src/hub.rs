//! Bringing a base model from a Hugging Face hub into the home folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError,
    settings::{Secret, Settings},
};
use tb_data::{
    error::Error,
    hub::{self, HubOptions},
};
use ts_rs::TS;

use crate::{Ctx, ctx::blocking};

/// The folder of downloaded models inside the home folder.
pub(crate) const DOWNLOADS: &str = "hub";

/// Arguments of `model_download`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct DownloadModel {
    /// The model on the hub, `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    #[serde(default = "main_branch")]
    pub revision: String,
}

fn main_branch() -> String {
    "main".to_owned()
}

/// A model of the hub that is here, whole and checked.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct DownloadedModel {
    /// Its name on the hub.
    pub repo: String,
    /// The commit that the revision named.
    pub commit: String,
    /// Its folder: what `--model` takes.
    #[ts(type = "string")]
    pub path: PathBuf,
    /// Bytes of its files.
    #[ts(type = "number")]
    pub size_bytes: u64,
}

pub(crate) async fn download(ctx: &Ctx, args: DownloadModel) -> Result<DownloadedModel, ApiError> {
    let ctx = ctx.clone();
    blocking(move || {
        let options = options(&ctx.settings(), ctx.secret("huggingface_token")?, ctx.home().join(DOWNLOADS));
        let mut told_percent = 0;
        let path = hub::download_model(&args.repo, &args.revision, &options, &mut |progress| {
            let percent = progress.done_bytes * 100 / progress.total_bytes.max(1);
            if percent >= told_percent + 5 {
                told_percent = percent;
                tracing::info!(file = progress.file, percent, "downloading");
            }
        })
        .map_err(|error| refused(error, &args.repo))?;
        let commit = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let size_bytes = std::fs::read_dir(&path)
            .map(|entries| entries.flatten().filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum())
            .unwrap_or(0);
        Ok(DownloadedModel { repo: args.repo, commit, path, size_bytes })
    })
    .await
}

fn options(settings: &Settings, token: Option<Secret>, cache_dir: PathBuf) -> HubOptions {
    HubOptions {
        endpoint: settings
            .hf_endpoint
            .as_deref()
            .map_or_else(|| hub::DEFAULT_ENDPOINT.to_owned(), |e| e.trim_end_matches('/').to_owned()),
        token: token.map(|token| token.reveal().to_owned()),
        offline: settings.offline,
        cache_dir,
    }
}

fn refused(error: Error, repo: &str) -> ApiError {
    let hint = if matches!(error, Error::HubRefused { .. }) {
        format!(
            "Accept the model's terms on the hub if it has any, and set a token that may read {repo}: \
             `tonebridge secret set huggingface_token`, or HF_TOKEN."
        )
    } else if matches!(error, Error::HubNotFound { .. } | Error::BadName { .. }) {
        "Names on the hub look like owner/name; private models need a token: `tonebridge secret set huggingface_token`."
            .to_owned()
    } else if matches!(error, Error::Offline { .. }) {
        "Allow the network with --setting offline=false, or copy the model's folder here.".to_owned()
    } else if matches!(error, Error::HubTransfer { .. }) {
        "Run the same command again: what has arrived is kept.".to_owned()
    } else {
        String::new()
    };
    ApiError::from(error).hint(hint)
}
