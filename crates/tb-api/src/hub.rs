//! Bringing a base model from a Hugging Face hub into the home folder: the stream `model_download`. Transfer, checks and resuming are
//! tb-data's; here are settings, pace, permissions' trail and words.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError,
    settings::{Secret, Settings},
    tag::Tag,
};
use tb_data::{
    error::Error,
    hub::{self, HubOptions, HubProgress, Wanted},
};
use tokio::sync::{mpsc, oneshot, watch};
use ts_rs::TS;

use crate::{Ctx, commands, ctx::blocking, status, streams};

/// The folder of downloaded models inside the home folder.
pub(crate) const DOWNLOADS: &str = "hub";
/// Between two items of progress.
const EVERY: Duration = Duration::from_millis(200);
/// Between two items that say that nothing came.
const QUIET: Duration = Duration::from_secs(2);
/// The pace is that of the last so many seconds.
const PACE_OVER: Duration = Duration::from_secs(8);

/// Arguments of the stream `model_download`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct DownloadModel {
    /// The model on the hub, `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    #[serde(default = "main_branch")]
    pub revision: String,
    /// One GGUF file of the repository instead of a model in safetensors.
    #[serde(default)]
    #[ts(optional)]
    pub file: Option<String>,
}

fn main_branch() -> String {
    "main".to_owned()
}

/// A file that a hub offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct OfferedFile {
    /// Its name.
    pub name: String,
    /// Its size.
    #[ts(type = "number")]
    pub size_bytes: u64,
}

/// What comes out of `model_download`: `progress` until `done`, or one `choice`. Dropping the stream stops the transfer; what has
/// arrived is kept, and the same arguments go on from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DownloadItem {
    /// How far it is.
    Progress {
        /// The file that is being read.
        file: String,
        /// Bytes of it that are here.
        #[ts(type = "number")]
        file_done_bytes: u64,
        /// Its bytes.
        #[ts(type = "number")]
        file_bytes: u64,
        /// Bytes of all files that are here, those of earlier tries included.
        #[ts(type = "number")]
        done_bytes: u64,
        /// Bytes of all files.
        #[ts(type = "number")]
        total_bytes: u64,
        /// Bytes that came over the network since this stream began.
        #[ts(type = "number")]
        received_bytes: u64,
        /// The pace of the last seconds; none until it is known.
        bytes_per_s: Option<f64>,
    },
    /// The repository holds GGUF files: name one of them as `file`. Nothing was downloaded.
    Choice {
        /// The files.
        files: Vec<OfferedFile>,
    },
    /// It is here, whole and checked.
    Done {
        /// The model.
        model: DownloadedModel,
    },
}

/// A model of the hub that is here, whole and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct DownloadedModel {
    /// Its name on the hub.
    pub repo: String,
    /// The commit that the revision named.
    pub commit: String,
    /// Its folder or GGUF file: what `--model` takes.
    #[ts(type = "string")]
    pub path: PathBuf,
    /// Bytes of its files.
    #[ts(type = "number")]
    pub size_bytes: u64,
}

type Item = Result<DownloadItem, ApiError>;

pub(crate) async fn download(ctx: &Ctx, args: DownloadModel) -> Result<BoxStream<'static, Item>, ApiError> {
    let ctx = ctx.clone();
    // That nobody reads any more, the transfer takes as the wish to stop.
    Ok(streams::spawn(move |out, reader_gone| async move {
        let (told, progress) = watch::channel(None);
        let transfer = transfer(&ctx, &args, told, reader_gone);
        let last = match tell(transfer, progress, &out).await {
            Ok(Ok(path)) => finished(&ctx, &args, path).await,
            Ok(Err(Error::HubChoice { files, .. })) => {
                let offered = |f: hub::HubFile| OfferedFile { name: f.name, size_bytes: f.size_bytes };
                Ok(DownloadItem::Choice { files: files.into_iter().map(offered).collect() })
            }
            Ok(Err(error)) => Err(refused(error, &args.repo)),
            Err(error) => Err(error),
        };
        // Whoever wanted it may be gone.
        out.send(last).await.ok();
    }))
}

/// Tells how far a transfer is until it ends: what is new a few times a second, and now and then that nothing is.
async fn tell<T>(
    transfer: impl Future<Output = T>,
    mut progress: watch::Receiver<Option<HubProgress>>,
    out: &mpsc::Sender<Item>,
) -> T {
    let mut pace = Pace::default();
    let mut every = tokio::time::interval(EVERY);
    let mut transfer = pin!(transfer);
    loop {
        let ended = tokio::select! {
            result = &mut transfer => Some(result),
            _ = every.tick() => None,
        };
        let is_new = progress.has_changed().unwrap_or(true);
        let seen = progress.borrow_and_update().clone();
        if let Some(item) = seen.and_then(|seen| pace.item(seen, is_new || ended.is_some(), Instant::now())) {
            // A reader that is behind gets the next one: each says all.
            out.try_send(Ok(item)).ok();
        }
        if let Some(result) = ended {
            return result;
        }
    }
}

/// The outer error is about this program, the inner one about the hub.
async fn transfer(
    ctx: &Ctx,
    args: &DownloadModel,
    told: watch::Sender<Option<HubProgress>>,
    reader_gone: oneshot::Receiver<()>,
) -> Result<Result<PathBuf, Error>, ApiError> {
    let wanted = Wanted { repo: args.repo.clone(), revision: args.revision.clone(), file: args.file.clone() };
    let ctx = ctx.clone();
    blocking(move || {
        let token = ctx.secret("huggingface_token")?;
        let options = options(&ctx.settings(), token, ctx.home());
        let mut on_progress = |progress: HubProgress| {
            told.send_replace(Some(progress));
        };
        Ok(hub::download_model(&wanted, &options, &mut on_progress, async {
            reader_gone.await.ok();
        }))
    })
    .await
}

/// Keeps the trail: one line in the audit, and views read the list of base models again.
async fn finished(ctx: &Ctx, args: &DownloadModel, path: PathBuf) -> Item {
    let snapshot = if path.is_file() { path.parent().unwrap_or(&path) } else { &path };
    let commit = snapshot.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let size_bytes = size_bytes(&path);
    let model = DownloadedModel { repo: args.repo.clone(), commit, path, size_bytes };
    ctx.changed("model_download", commands::write(args)?, &commands::write(&model)?, &[Tag::Models]).await?;
    Ok(DownloadItem::Done { model })
}

fn size_bytes(path: &Path) -> u64 {
    if path.is_file() {
        return std::fs::metadata(path).map_or(0, |m| m.len());
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}

fn options(settings: &Settings, token: Option<Secret>, home: &Path) -> HubOptions {
    let from_env = HubOptions::from_env(home.join(DOWNLOADS));
    HubOptions {
        endpoint: settings
            .hf_endpoint
            .as_deref()
            .map_or_else(|| hub::DEFAULT_ENDPOINT.to_owned(), |e| e.trim_end_matches('/').to_owned()),
        token: token.map(|token| token.reveal().to_owned()),
        offline: settings.offline,
        room_bytes: status::disk_free(home),
        ..from_env
    }
}

/// Turns progress into items with the pace of the last seconds.
#[derive(Default)]
struct Pace {
    /// When how many bytes had been received.
    seen: VecDeque<(Instant, u64)>,
    last: Option<Instant>,
}

impl Pace {
    /// None while there is nothing to say: nothing new came, and that was said a moment ago.
    fn item(&mut self, progress: HubProgress, is_new: bool, now: Instant) -> Option<DownloadItem> {
        if !is_new && self.last.is_some_and(|last| now.duration_since(last) < QUIET) {
            return None;
        }
        self.last = Some(now);
        self.seen.push_back((now, progress.received_bytes));
        while self.seen.len() > 2 && self.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > PACE_OVER) {
            self.seen.pop_front();
        }
        let bytes_per_s = self.seen.front().and_then(|(at, bytes)| {
            let seconds = now.duration_since(*at).as_secs_f64();
            (seconds >= EVERY.as_secs_f64()).then(|| progress.received_bytes.saturating_sub(*bytes) as f64 / seconds)
        });
        let HubProgress { file, file_done_bytes, file_bytes, done_bytes, total_bytes, received_bytes } = progress;
        Some(DownloadItem::Progress {
            file,
            file_done_bytes,
            file_bytes,
            done_bytes,
            total_bytes,
            received_bytes,
            bytes_per_s,
        })
    }
}

fn refused(error: Error, repo: &str) -> ApiError {
    let hint = if matches!(error, Error::HubRefused { .. }) {
        format!(
            "Accept the model's terms on the hub if it has any, and set a token that may read {repo}: \
             in the settings, with `tonebridge secret set huggingface_token`, or as HF_TOKEN."
        )
    } else if matches!(error, Error::HubNotFound { .. } | Error::BadName { .. }) {
        "Names on the hub look like owner/name; private models need a token: `tonebridge secret set huggingface_token`."
            .to_owned()
    } else if matches!(error, Error::Offline { .. }) {
        "Switch offline off in the settings (or --setting offline=false), or copy the model's folder here.".to_owned()
    } else if matches!(error, Error::HubTransfer { .. } | Error::HubCancelled { .. }) {
        "Download it again to go on from there: nothing that has arrived is read twice.".to_owned()
    } else if matches!(error, Error::HubBusy { .. }) {
        "Wait for the other download, or stop it.".to_owned()
    } else if matches!(error, Error::NoRoom { .. } | Error::Io { .. }) {
        "Free some space, then download it again: what has arrived is kept.".to_owned()
    } else {
        String::new()
    };
    ApiError::from(error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(file: &str, received_bytes: u64) -> HubProgress {
        let (file, done_bytes) = (file.to_owned(), 500 + received_bytes);
        HubProgress { file, file_done_bytes: 0, file_bytes: 0, done_bytes, total_bytes: 10_000, received_bytes }
    }

    fn pace_of(item: Option<DownloadItem>) -> Option<f64> {
        match item {
            Some(DownloadItem::Progress { bytes_per_s, .. }) => bytes_per_s,
            Some(DownloadItem::Choice { .. } | DownloadItem::Done { .. }) | None => panic!("{item:?}"),
        }
    }

    #[test]
    fn the_pace_is_that_of_what_comes_now_and_silence_is_told_now_and_then() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(pace_of(pace.item(progress("a", 0), true, at(0))), None, "kept bytes are no pace");
        assert_eq!(pace_of(pace.item(progress("a", 1000), true, at(500))), Some(2000.0));
        assert_eq!(pace.item(progress("a", 1000), false, at(700)), None, "nothing new");
        assert_eq!(
            pace_of(pace.item(progress("a", 1000), false, at(2500))),
            Some(400.0),
            "it falls while nothing comes"
        );
        assert!(pace.item(progress("b", 1010), true, at(2510)).is_some());
        // A stop of half a minute ends the old pace.
        assert_eq!(pace_of(pace.item(progress("b", 1010), false, at(32_510))), Some(0.0));
    }

    #[tokio::test]
    async fn what_came_last_is_told_also_when_nothing_follows_it() {
        let (told, seen) = watch::channel(None);
        let (out, mut items) = mpsc::channel(16);
        let (heard, is_heard) = oneshot::channel();
        let transfer = async {
            for bytes in [1, 2, 3] {
                told.send_replace(Some(progress("a", bytes)));
            }
            // It goes on without another byte.
            is_heard.await.ok();
        };
        let reader = async {
            let item = items.recv().await;
            heard.send(()).ok();
            item
        };
        let ((), item) = tokio::join!(tell(transfer, seen, &out), reader);
        let Some(Ok(DownloadItem::Progress { received_bytes, .. })) = item else { panic!("{item:?}") };
        assert_eq!(received_bytes, 3);
    }
}
