//! Downloading models from a Hugging Face hub: what a model needs and nothing that runs code, resumed where it was cut, checked
//! byte by byte, complete or not there. HTTP itself is hf-hub's.
//!
//! ```text
//! <cache>/<owner>--<name>/refs/<revision>        the commit that a revision named when it was last asked for
//!                         snapshots/<commit>/…   the files; .complete last, or <file>.complete beside a single GGUF file
//!                         .lock                  held while a process downloads
//! ```

mod transfer;

use std::{
    env,
    fs::{self, File, TryLockError},
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    thread,
    time::Duration,
};

use futures_util::{
    TryStreamExt,
    future::{Either, select},
};
use hf_hub::{
    HFClient, HFError,
    repository::{HFRepository, RepoTreeEntry, RepoTypeModel},
};
use tokio::time::{sleep, timeout};

use crate::{
    error::{Error, Result},
    files::atomic_write,
};

pub use transfer::blob_id;

/// The public hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const COMPLETE: &str = ".complete";
/// A hub that sends nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(45);

/// Waits for the lock of a download that is about to end.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

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
    /// Room on the disk of that folder, where it is known.
    pub room_bytes: Option<u64>,
    /// How long the hub may send nothing before the transfer counts as cut.
    pub silence: Duration,
}

/// What of a repository is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The model, `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// One GGUF file of it instead of a model in safetensors.
    pub file: Option<String>,
}

impl HubOptions {
    /// Options from `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn from_env(cache_dir: PathBuf) -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let offline = set("HF_HUB_OFFLINE")
            .is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"));
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        Self { endpoint, token: set("HF_TOKEN"), offline, cache_dir, room_bytes: None, silence: SILENCE }
    }
}

/// How far a download has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubProgress {
    /// The file that is being read.
    pub file: String,
    /// Bytes of it that are here.
    pub file_done_bytes: u64,
    /// Its bytes.
    pub file_bytes: u64,
    /// Bytes of all files that are here, those of earlier tries included.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Bytes that came over the network in this call.
    pub received_bytes: u64,
}

/// A file that a hub offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
}

/// A download that has not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The model, `owner/name`.
    pub repo: String,
    /// The commit that was being read.
    pub commit: String,
    /// The one file that was wanted, of a GGUF repository.
    pub file: Option<String>,
    /// The folder with what has arrived.
    pub folder: PathBuf,
    /// Bytes that have arrived.
    pub kept_bytes: u64,
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

/// Downloads config, tokenizer, chat template, model card and safetensors of a model, or one GGUF file, and gives the folder or the
/// file. A model that is here already is not asked for again, except which commit the revision names now. When `cancelled` comes
/// first, the transfer ends where it is, and what has arrived is kept.
///
/// # Errors
/// [`Error::BadName`], [`Error::Offline`], [`Error::HubNotFound`], [`Error::HubChoice`], [`Error::HubRefused`],
/// [`Error::HubTransfer`] (what has arrived is kept), [`Error::HubCancelled`], [`Error::HubDamaged`], [`Error::HubBusy`],
/// [`Error::NoRoom`], [`Error::Io`].
pub fn download_model(
    wanted: &Wanted,
    options: &HubOptions,
    on_progress: &mut (dyn FnMut(HubProgress) + Send),
    cancelled: impl Future<Output = ()> + Send,
) -> Result<PathBuf> {
    let place = Place::of(wanted, options)?;
    if options.offline {
        let what = format!("{} ({})", wanted.repo, wanted.revision);
        return place.cached().ok_or_else(|| Error::Offline { what, cache: options.cache_dir.clone() });
    }
    // A thread of its own: the caller may already be inside an async runtime, where another cannot be entered.
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::io("start the network for", &options.cache_dir))?;
            runtime.block_on(async {
                let download = pin!(download(&place, options, on_progress));
                match select(download, pin!(cancelled)).await {
                    Either::Left((result, _)) => result,
                    Either::Right(((), _)) => Err(Error::HubCancelled { what: place.repo.clone() }),
                }
            })
        });
        worker.join().unwrap_or_else(|_| {
            Err(transfer_error(&place, options, &place.repo, 0, "the network library gave up".to_owned()))
        })
    })
}

/// The models that are whole in a cache: `owner/name` and the folder or GGUF file of each downloaded commit, in order of their paths.
#[must_use]
pub fn downloaded(cache_dir: &Path) -> Vec<(String, PathBuf)> {
    let whole = |folder: &Path| {
        let single = entries(folder).into_iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(COMPLETE)?.to_owned();
            (!name.is_empty()).then(|| folder.join(name))
        });
        let all = folder.join(COMPLETE).is_file().then(|| folder.to_owned());
        all.into_iter().chain(single).collect::<Vec<_>>()
    };
    let mut all: Vec<(String, PathBuf)> = snapshots(cache_dir)
        .into_iter()
        .flat_map(|(repo, folder)| whole(&folder).into_iter().map(move |path| (repo.clone(), path)))
        .collect();
    all.sort();
    all
}

/// The downloads in a cache that have not come to their end, in order of their folders.
#[must_use]
pub fn unfinished(cache_dir: &Path) -> Vec<Unfinished> {
    let mut all: Vec<Unfinished> = snapshots(cache_dir)
        .into_iter()
        .filter(|(_, folder)| !folder.join(COMPLETE).is_file())
        .flat_map(|(repo, folder)| parts(repo, &folder))
        .collect();
    all.sort_by(|a, b| (&a.folder, &a.file).cmp(&(&b.folder, &b.file)));
    all
}

/// What is unfinished in one snapshot: each GGUF file by itself, everything else together.
fn parts(repo: String, folder: &Path) -> Vec<Unfinished> {
    let commit = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let of = |file: Option<String>, kept_bytes| Unfinished {
        repo: repo.clone(),
        commit: commit.clone(),
        file,
        folder: folder.to_owned(),
        kept_bytes,
    };
    let (mut found, mut model_bytes) = (Vec::new(), 0);
    for path in entries(folder) {
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let size_bytes = fs::metadata(&path).map_or(0, |m| m.len());
        let file = part_of(name).unwrap_or(name);
        if file.ends_with(".gguf") {
            if !folder.join(format!("{file}{COMPLETE}")).is_file() {
                found.push(of(Some(file.to_owned()), size_bytes));
            }
        } else if file != CARD && !file.ends_with(COMPLETE) {
            model_bytes += size_bytes;
        }
    }
    if model_bytes > 0 {
        found.push(of(None, model_bytes));
    }
    found
}

/// The file that a part file grows into.
fn part_of(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_suffix(".part")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// `owner/name` and folder of every commit in a cache.
fn snapshots(cache_dir: &Path) -> Vec<(String, PathBuf)> {
    let named = |dir: &PathBuf| {
        let (owner, name) = dir.file_name()?.to_str()?.split_once("--")?;
        Some(format!("{owner}/{name}"))
    };
    entries(cache_dir)
        .iter()
        .filter_map(|dir| Some((named(dir)?, entries(&dir.join("snapshots")))))
        .flat_map(|(repo, folders)| folders.into_iter().map(move |folder| (repo.clone(), folder)))
        .collect()
}

async fn download(
    place: &Place,
    options: &HubOptions,
    on_progress: &mut (dyn FnMut(HubProgress) + Send),
) -> Result<PathBuf> {
    let client = client(place, options)?;
    let repo = client.model(&place.owner, &place.name);
    let failed = |e: HFError| hub_error(place, options, &place.repo, e);
    let silent =
        |_| transfer_error(place, options, &place.repo, 0, format!("no answer for {} s", options.silence.as_secs()));
    let asked = repo.info().revision(place.revision.clone()).send();
    let commit = timeout(options.silence, asked).await.map_err(silent)?.map_err(failed)?.sha;
    let commit = commit.filter(|c| plain_name(c)).ok_or_else(|| {
        transfer_error(place, options, &place.repo, 0, "the hub did not say which commit the revision names".to_owned())
    })?;
    let folder = place.snapshot(&commit);
    if !place.is_whole(&folder) {
        let _held = place.hold().await?;
        let listed = timeout(options.silence, list(&repo, &commit)).await.map_err(silent)?.map_err(failed)?;
        let listed = place.choose(listed, options)?;
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let mut here: Vec<u64> = listed.iter().map(|file| transfer::kept_bytes(&folder, file)).collect();
        let total_bytes: u64 = listed.iter().map(|f| f.size_bytes).sum();
        let missing = total_bytes.saturating_sub(here.iter().sum());
        if let Some(room_bytes) = options.room_bytes.filter(|room| *room < missing) {
            return Err(Error::NoRoom { path: options.cache_dir.clone(), needed_bytes: missing, room_bytes });
        }
        let mut received_bytes = 0;
        for (at, file) in listed.iter().enumerate() {
            let mut report = |have: u64, chunk: u64| {
                here[at] = have;
                received_bytes += chunk;
                on_progress(HubProgress {
                    file: file.name.clone(),
                    file_done_bytes: have,
                    file_bytes: file.size_bytes,
                    done_bytes: here.iter().sum(),
                    total_bytes,
                    received_bytes,
                });
            };
            let from = transfer::Source { repo: &repo, commit: &commit, place, options };
            transfer::fetch(&from, file, &folder, &mut report).await?;
        }
        let names: String = listed.iter().map(|f| format!("{} {}\n", f.size_bytes, f.name)).collect();
        atomic_write(&place.mark(&folder), names.as_bytes())?;
    }
    place.remember(&commit)?;
    Ok(place.result(folder))
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
        RepoTreeEntry::File { oid, size, path, lfs, .. } if plain_name(&path) => {
            let storage = if lfs.is_some() { Storage::Lfs } else { Storage::Git };
            Some(Listed { name: path, size_bytes: size, oid, storage })
        }
        _ => None,
    });
    Ok(files.collect())
}

/// The model card: it names the licence.
const CARD: &str = "README.md";

/// What a model needs. Pickles (`.bin`, `.pt`) run code when they are opened and are never fetched.
fn needed(name: &str) -> bool {
    name == CARD || [".json", ".safetensors", ".jinja"].iter().any(|end| name.ends_with(end))
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
    file: Option<String>,
    dir: PathBuf,
}

impl Place {
    fn of(wanted: &Wanted, options: &HubOptions) -> Result<Self> {
        let Wanted { repo, revision, file } = wanted;
        let bad = |text: &str, what| Error::BadName { text: text.to_owned(), what };
        let (owner, name) = repo.split_once('/').ok_or_else(|| bad(repo, "model name (owner/name)"))?;
        if !plain_name(owner) || !plain_name(name) {
            return Err(bad(repo, "model name (owner/name)"));
        }
        if !revision.split('/').all(plain_name) {
            return Err(bad(revision, "revision"));
        }
        if let Some(file) = file.as_ref().filter(|file| !plain_name(file) || !file.ends_with(".gguf")) {
            return Err(bad(file, "GGUF file of a repository"));
        }
        let dir = options.cache_dir.join(format!("{owner}--{name}"));
        let (owner, name) = (owner.to_owned(), name.to_owned());
        Ok(Self { repo: repo.clone(), owner, name, revision: revision.clone(), file: file.clone(), dir })
    }

    /// The files to fetch among those of the hub.
    fn choose(&self, listed: Vec<Listed>, options: &HubOptions) -> Result<Vec<Listed>> {
        let missing = |what: &str| Error::HubNotFound {
            endpoint: options.endpoint.clone(),
            what: format!("{what} in {}", self.repo),
        };
        if let Some(file) = &self.file {
            let chosen: Vec<Listed> = listed.into_iter().filter(|f| f.name == *file || f.name == CARD).collect();
            return if chosen.iter().any(|f| f.name == *file) { Ok(chosen) } else { Err(missing(file)) };
        }
        if listed.iter().any(|f| f.name == "config.json") && listed.iter().any(|f| f.name.ends_with(".safetensors")) {
            return Ok(listed.into_iter().filter(|f| needed(&f.name)).collect());
        }
        let offered = listed.iter().filter(|f| f.name.ends_with(".gguf"));
        let files: Vec<HubFile> = offered.map(|f| HubFile { name: f.name.clone(), size_bytes: f.size_bytes }).collect();
        if !files.is_empty() {
            return Err(Error::HubChoice { repo: self.repo.clone(), files });
        }
        let has_config = listed.iter().any(|f| f.name == "config.json");
        Err(missing(if has_config { "safetensors weights" } else { "config.json" }))
    }

    /// Keeps other processes from writing the same files until it is dropped. A download that was just stopped is waited for.
    async fn hold(&self) -> Result<File> {
        fs::create_dir_all(&self.dir).map_err(Error::io("create", &self.dir))?;
        let path = self.dir.join(".lock");
        let file = File::create(&path).map_err(Error::io("open", &path))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
            }
        }
        Err(Error::HubBusy { repo: self.repo.clone() })
    }

    /// The file that says that everything wanted is here.
    fn mark(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}{COMPLETE}", self.file.as_deref().unwrap_or_default()))
    }

    fn is_whole(&self, folder: &Path) -> bool {
        self.mark(folder).is_file()
    }

    /// What the caller gets: the folder, or the one file in it.
    fn result(&self, folder: PathBuf) -> PathBuf {
        match &self.file {
            Some(file) => folder.join(file),
            None => folder,
        }
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

    /// The folder or file of the revision, if it was downloaded whole; a revision may be a commit itself.
    fn cached(&self) -> Option<PathBuf> {
        let remembered = fs::read_to_string(self.reference()).ok();
        [remembered, Some(self.revision.clone())]
            .into_iter()
            .flatten()
            .filter(|commit| plain_name(commit))
            .map(|commit| self.snapshot(&commit))
            .find(|folder| self.is_whole(folder))
            .map(|folder| self.result(folder))
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
