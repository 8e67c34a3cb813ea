//! Base models from the hub.

use serde::{Deserialize, Serialize};
use tb_core::{ApiError, settings::Secret};
use tb_data::hub::{self, HubOptions};
use ts_rs::TS;

use crate::{Ctx, ctx::blocking};

/// Arguments of `model_download`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct DownloadModel {
    /// The repository, such as `HuggingFaceTB/SmolLM2-135M`.
    pub repo: String,
    /// A branch, tag or commit; `main` if none.
    #[serde(default)]
    pub revision: Option<String>,
}

/// A base model that is here now.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct Downloaded {
    /// Its folder.
    pub path: String,
}

pub(crate) async fn download(ctx: &Ctx, args: DownloadModel) -> Result<Downloaded, ApiError> {
    let settings = ctx.settings();
    let options = HubOptions {
        endpoint: settings.hf_endpoint.clone(),
        token: settings.huggingface_token.as_ref().map(Secret::reveal).map(str::to_owned),
        offline: settings.offline,
        cache_dir: ctx.home().join("hub"),
    };
    blocking(move || {
        let revision = args.revision.as_deref().unwrap_or("main");
        let path = hub::download_model(&args.repo, revision, &options, &mut |_| {})?;
        Ok(Downloaded { path: path.to_string_lossy().into_owned() })
    })
    .await
}
