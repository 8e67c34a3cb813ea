//! Downloading models from a Hugging Face hub: what a model needs and nothing that runs code, resumed where it was cut, checked
//! byte by byte, complete or not there. HTTP itself is hf-hub's.
//!
//! ```text
//! <cache>/<owner>--<name>/refs/<revision>        the commit that a revision named when it was last asked for
//!                         snapshots/<commit>/…   the files; .complete last
//! ```

mod transfer;

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
};

use futures_util::TryStreamExt;
use hf_hub::{
    HFClient, HFError,
    repository::{HFRepository, RepoTreeEntry, RepoTypeModel},
};

use crate::{
    error::{Error, Result},
    files::atomic_write,
};

/// The public hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const COMPLETE: &str = ".complete";

/// How to reach the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubOptions {
    /// Address of the hub, without a slash at its end.
    pub endpoint: String,
    /// Token for private and gated models.
    pub token: Option<String>,
    /// Never go to the network: give what the cache has, or an error.
    pub offline: bool,
    /// Folder of downloaded models.
    pub cache_dir: PathBuf,
}

impl HubOptions {
    /// Options from `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn from_env(cache_dir: PathBuf) -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let offline = set("HF_HUB_OFFLINE")
            .is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        Self { endpoint, token: set("HF_TOKEN"), offline, cache_dir }
    }
}

/// How far a download has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubProgress {
    /// The file that is being read.
    pub file: String,
    /// Bytes of all files that are here.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// One file as the hub lists it.
pub(crate) struct Listed {
    pub name: String,
    pub size_bytes: u64,
    /// Git's object id: of the file, or of the pointer to it.
    pub oid: String,
    pub storage: Storage,
}

/// Where the hub keeps a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In git itself.
    Git,
    /// In large-file storage; git has a pointer with its SHA-256.
    Lfs,
}

/// Downloads config, tokenizer, chat template and safetensors of a model (`owner/name`) and gives their folder. A model that is
/// here already is not asked for again, except which commit the revision names now.
///
/// # Errors
/// [`Error::BadName`], [`Error::Offline`], [`Error::HubNotFound`], [`Error::HubRefused`], [`Error::HubTransfer`] (what has arrived
/// is kept), [`Error::HubDamaged`], [`Error::Io`].
pub fn download_model(
    repo: &str,
    revision: &str,
    options: &HubOptions,
    on_progress: &mut (dyn FnMut(HubProgress) + Send),
) -> Result<PathBuf> {
    let place = Place::of(repo, revision, options)?;
    if options.offline {
        return place
            .cached()
            .ok_or_else(|| Error::Offline { what: format!("{repo} ({revision})"), cache: options.cache_dir.clone() });
    }
    // A thread of its own: the caller may already be inside an async runtime, where another cannot be entered.
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::io("start the network for", &options.cache_dir))?;
            runtime.block_on(download(&place, options, on_progress))
        });
        worker
            .join()
            .unwrap_or_else(|_| Err(transfer_error(&place, options, repo, 0, "the network library gave up".to_owned())))
    })
}

/// The models that are whole in a cache: `owner/name` and the folder of each downloaded commit, in order of their folders.
#[must_use]
pub fn downloaded(cache_dir: &Path) -> Vec<(String, PathBuf)> {
    let below = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let mut all: Vec<(String, PathBuf)> = below(cache_dir)
        .iter()
        .flat_map(|dir| below(&dir.join("snapshots")))
        .filter(|folder| folder.join(COMPLETE).is_file())
        .filter_map(|folder| {
            let (owner, name) = folder.ancestors().nth(2)?.file_name()?.to_str()?.split_once("--")?;
            Some((format!("{owner}/{name}"), folder.clone()))
        })
        .collect();
    all.sort();
    all
}

async fn download(
    place: &Place,
    options: &HubOptions,
    on_progress: &mut (dyn FnMut(HubProgress) + Send),
) -> Result<PathBuf> {
    let client = client(place, options)?;
    let repo = client.model(&place.owner, &place.name);
    let failed = |e: HFError| hub_error(place, options, &place.repo, e);
    let commit = repo.info().revision(place.revision.clone()).send().await.map_err(failed)?.sha;
    let commit = commit.filter(|c| plain_name(c)).ok_or_else(|| {
        transfer_error(place, options, &place.repo, 0, "the hub did not say which commit the revision names".to_owned())
    })?;
    let folder = place.snapshot(&commit);
    if !folder.join(COMPLETE).is_file() {
        let listed = list(&repo, &commit).await.map_err(failed)?;
        if !listed.iter().any(|f| f.name == "config.json") {
            return Err(Error::HubNotFound {
                endpoint: options.endpoint.clone(),
                what: format!("config.json in {}", place.repo),
            });
        }
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let total_bytes = listed.iter().map(|f| f.size_bytes).sum();
        let mut before = 0;
        for file in &listed {
            let mut report = |bytes: u64| {
                on_progress(HubProgress { file: file.name.clone(), done_bytes: before + bytes, total_bytes });
            };
            let from = transfer::Source { repo: &repo, commit: &commit, place, options };
            transfer::fetch(&from, file, &folder, &mut report).await?;
            before += file.size_bytes;
        }
        let names: String = listed.iter().map(|f| format!("{} {}\n", f.size_bytes, f.name)).collect();
        atomic_write(&folder.join(COMPLETE), names.as_bytes())?;
    }
    place.remember(&commit)?;
    Ok(folder)
}

fn client(place: &Place, options: &HubOptions) -> Result<HFClient> {
    let mut builder =
        HFClient::builder().endpoint(options.endpoint.as_str()).cache_enabled(false).retry_max_attempts(2);
    if let Some(token) = &options.token {
        builder = builder.token(token.as_str());
    }
    builder.build().map_err(|e| hub_error(place, options, &place.repo, e))
}

async fn list(repo: &HFRepository<RepoTypeModel>, commit: &str) -> hf_hub::HFResult<Vec<Listed>> {
    let entries: Vec<RepoTreeEntry> = repo.list_tree().revision(commit).send()?.try_collect().await?;
    let files = entries.into_iter().filter_map(|entry| match entry {
        RepoTreeEntry::File { oid, size, path, lfs, .. } if wanted(&path) => {
            let storage = if lfs.is_some() { Storage::Lfs } else { Storage::Git };
            Some(Listed { name: path, size_bytes: size, oid, storage })
        }
        _ => None,
    });
    Ok(files.collect())
}

/// What a model needs. Pickles (`.bin`, `.pt`) run code when they are opened and are never fetched.
fn wanted(name: &str) -> bool {
    plain_name(name) && [".json", ".safetensors", ".jinja"].iter().any(|end| name.ends_with(end))
}

/// A name that stays inside its folder.
fn plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Where a model lies in the cache.
pub(crate) struct Place {
    pub repo: String,
    owner: String,
    name: String,
    revision: String,
    dir: PathBuf,
}

impl Place {
    fn of(repo: &str, revision: &str, options: &HubOptions) -> Result<Self> {
        let bad = |text: &str, what| Error::BadName { text: text.to_owned(), what };
        let (owner, name) = repo.split_once('/').ok_or_else(|| bad(repo, "model name (owner/name)"))?;
        if !plain_name(owner) || !plain_name(name) {
            return Err(bad(repo, "model name (owner/name)"));
        }
        if !revision.split('/').all(plain_name) {
            return Err(bad(revision, "revision"));
        }
        let dir = options.cache_dir.join(format!("{owner}--{name}"));
        let (owner, name) = (owner.to_owned(), name.to_owned());
        Ok(Self { repo: repo.to_owned(), owner, name, revision: revision.to_owned(), dir })
    }

    fn snapshot(&self, commit: &str) -> PathBuf {
        self.dir.join("snapshots").join(commit)
    }

    fn reference(&self) -> PathBuf {
        self.dir.join("refs").join(self.revision.replace('/', "--"))
    }

    fn remember(&self, commit: &str) -> Result<()> {
        let path = self.reference();
        let parent = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        atomic_write(&path, commit.as_bytes())
    }

    /// The folder of the revision, if it was downloaded whole; a revision may be a commit itself.
    fn cached(&self) -> Option<PathBuf> {
        let remembered = fs::read_to_string(self.reference()).ok();
        [remembered, Some(self.revision.clone())]
            .into_iter()
            .flatten()
            .filter(|commit| plain_name(commit))
            .map(|commit| self.snapshot(&commit))
            .find(|folder| folder.join(COMPLETE).is_file())
    }
}

/// The hub's answer in our words.
pub(crate) fn hub_error(place: &Place, options: &HubOptions, what: &str, error: HFError) -> Error {
    let (endpoint, what) = (options.endpoint.clone(), what.to_owned());
    let status = match &error {
        HFError::AuthRequired { .. } | HFError::Forbidden { .. } => Some(401),
        HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } | HFError::EntryNotFound { .. } => Some(404),
        HFError::Http { context } => Some(context.status.as_u16()),
        _ => None,
    };
    match status {
        Some(401 | 403) => Error::HubRefused { endpoint, what },
        Some(404) => Error::HubNotFound { endpoint, what: format!("{what} ({})", place.revision) },
        Some(_) | None => transfer_error(place, options, &what, 0, error.to_string()),
    }
}

pub(crate) fn transfer_error(
    place: &Place,
    options: &HubOptions,
    what: &str,
    kept_bytes: u64,
    reason: String,
) -> Error {
    let what = if what == place.repo { what.to_owned() } else { format!("{what} of {}", place.repo) };
    Error::HubTransfer { endpoint: options.endpoint.clone(), what, kept_bytes, reason }
}

#[cfg(test)]
mod tests;
