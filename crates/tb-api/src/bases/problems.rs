//! What cannot be used of the base models on this machine, and why; and downloads that have not come to their end.

use serde::{Deserialize, Serialize};
use tb_core::ApiError;
use tb_data::hub;
use ts_rs::TS;

use super::{BaseSource, known, look, name, places};
use crate::{Ctx, commands::Nothing, ctx::blocking, hub::DOWNLOADS};

/// A base model that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct BaseProblem {
    /// Its folder or file.
    pub path: String,
    /// Its name, as far as the path tells.
    pub name: String,
    /// Why it is looked at.
    pub source: BaseSource,
    /// What is wrong with it.
    pub error: ApiError,
}

/// A download that was cut or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct UnfinishedDownload {
    /// The model, `owner/name`.
    pub repo: String,
    /// The commit that was being read: `revision` of the download that goes on.
    pub commit: String,
    /// The one GGUF file that was wanted.
    pub file: Option<String>,
    /// The folder with what has arrived.
    pub path: String,
    /// Bytes that have arrived.
    #[ts(type = "number")]
    pub kept_bytes: u64,
}

/// What is there and cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct BaseProblems {
    /// Models that are refused, in order of their paths.
    pub refused: Vec<BaseProblem>,
    /// Downloads that can go on, in order of their folders. One that is under way is among them.
    pub unfinished: Vec<UnfinishedDownload>,
}

pub(crate) async fn list(ctx: &Ctx, _: Nothing) -> Result<BaseProblems, ApiError> {
    let known = known(ctx).await?;
    let home = ctx.home().to_owned();
    blocking(move || {
        let unfinished = hub::unfinished(&home.join(DOWNLOADS)).into_iter().map(|left| UnfinishedDownload {
            repo: left.repo,
            commit: left.commit,
            file: left.file,
            path: left.folder.to_string_lossy().into_owned(),
            kept_bytes: left.kept_bytes,
        });
        let refused = places(&home, &known).into_iter().filter_map(|(path, source)| {
            // A run outlives its base: one that is gone is no problem until a run wants it again.
            if source == BaseSource::Used && !path.exists() {
                return None;
            }
            let error = look(&path, source, &known).err()?;
            let name = name(&path, source);
            Some(BaseProblem { path: path.to_string_lossy().into_owned(), name, source, error })
        });
        Ok(BaseProblems { refused: refused.collect(), unfinished: unfinished.collect() })
    })
    .await
}
