//! Checkpoints: folders that exist whole or not at all. The manifest, written last, says what belongs to one.
//!
//! A draft is filled under a hidden name, then made durable file by file, then renamed. A checkpoint of a step that has one
//! already gets the next generation (`step-000400.1`), so that at no moment there is none.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use tb_core::run_folder::{CheckpointManifest, FileHash, SCHEMA, names};

use super::{
    RunFolder,
    atomic::{sync_dir, write_synced},
    hash::{hash_and_size, sha256_bytes},
};
use crate::error::{Error, Result};

const PREFIX: &str = "step-";

/// A checkpoint that is being written; dropped without [`Self::commit`], it is deleted.
#[derive(Debug)]
pub struct CheckpointDraft {
    run: RunFolder,
    step: u64,
    dir: PathBuf,
    kept: Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    No,
    Yes,
}

/// The moments between which a crash can fall; tests stop at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    FilesDurable,
    ManifestWritten,
    DraftDurable,
    Renamed,
    Durable,
}

/// A checkpoint folder as found, not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Steps finished.
    pub step: u64,
    /// The folder.
    pub path: PathBuf,
    generation: u32,
}

/// A checkpoint folder that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its step.
    pub step: u64,
    /// The folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What [`newest_valid`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    /// The newest checkpoint whose every byte is as written; none if there is none.
    pub checkpoint: Option<(PathBuf, CheckpointManifest)>,
    /// Newer ones that were passed over.
    pub broken: Vec<Broken>,
}

/// Begins a checkpoint after `step`; what earlier crashes left behind is removed. Hold the run's lock.
///
/// # Errors
/// [`Error::Io`].
pub fn begin(run: &RunFolder, step: u64) -> Result<CheckpointDraft> {
    remove_orphans(run)?;
    let dir = run.checkpoints_dir().join(format!(".{PREFIX}{step:06}.draft"));
    fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    Ok(CheckpointDraft { run: run.clone(), step, dir, kept: Kept::No })
}

impl CheckpointDraft {
    /// The folder to fill; subfolders are allowed, links are not.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the checkpoint: fills in `schema`, `step`, `spec_sha256` and `files` of the manifest, makes every file durable,
    /// writes the manifest, and renames the folder to its name. Gives the folder.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::BadFile`] (a link, a number that is not finite); earlier checkpoints are untouched then.
    pub fn commit(self, manifest: CheckpointManifest) -> Result<PathBuf> {
        self.commit_watched(manifest, &mut |_| Ok(()))
    }

    fn commit_watched(
        mut self,
        mut manifest: CheckpointManifest,
        at: &mut dyn FnMut(Moment) -> Result<()>,
    ) -> Result<PathBuf> {
        let mut folders = Vec::new();
        manifest.files.clear();
        collect(&self.dir, &self.dir, &mut manifest.files, &mut folders)?;
        manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
        manifest.schema = SCHEMA;
        manifest.step = self.step;
        self.run.spec_sha256().clone_into(&mut manifest.spec_sha256);
        self.watched(at, Moment::FilesDurable)?;

        let path = self.dir.join(names::MANIFEST);
        let bytes = seal(&path, &manifest)?;
        write_synced(&path, &bytes)?;
        self.watched(at, Moment::ManifestWritten)?;
        for folder in folders.iter().rev() {
            sync_dir(folder)?;
        }
        self.watched(at, Moment::DraftDurable)?;

        let older: Vec<Listed> = list(&self.run)?.into_iter().filter(|l| l.step == self.step).collect();
        let generation = older.iter().map(|l| l.generation + 1).max().unwrap_or(0);
        let target = folder_of(&self.run, self.step, generation);
        fs::rename(&self.dir, &target).map_err(Error::io("write", &target))?;
        self.kept = Kept::Yes;
        at(Moment::Renamed)?;
        if let Err(error) = sync_dir(&self.run.checkpoints_dir()) {
            // After a failed sync nobody knows what the disk holds: a name that may not be there counts as none.
            let _ = delete(&target);
            return Err(error);
        }
        at(Moment::Durable)?;
        for listed in &older {
            delete(&listed.path)?;
        }
        Ok(target)
    }

    /// A moment at which a crash may be played: the draft then stays as a crash leaves it.
    fn watched(&mut self, at: &mut dyn FnMut(Moment) -> Result<()>, moment: Moment) -> Result<()> {
        at(moment).inspect_err(|_| self.kept = Kept::Yes)
    }
}

impl Drop for CheckpointDraft {
    fn drop(&mut self) {
        if self.kept == Kept::No {
            // Best effort: the next begin removes what is left.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The checkpoint folders of a run, oldest first, not verified.
///
/// # Errors
/// [`Error::Io`].
pub fn list(run: &RunFolder) -> Result<Vec<Listed>> {
    let dir = run.checkpoints_dir();
    let mut found: Vec<Listed> = entries(&dir)?
        .into_iter()
        .filter_map(|name| {
            let (step, generation) = parse_name(&name)?;
            Some(Listed { step, path: dir.join(&name), generation })
        })
        .collect();
    found.sort_by_key(|l| (l.step, l.generation));
    Ok(found)
}

/// The newest checkpoint of this run whose manifest, sizes and hashes are all right, and the broken ones passed over.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be listed; a broken checkpoint is no error.
pub fn newest_valid(run: &RunFolder) -> Result<Newest> {
    let mut broken = Vec::new();
    for listed in list(run)?.into_iter().rev() {
        match verify(run, &listed.path, listed.step) {
            Ok(manifest) => return Ok(Newest { checkpoint: Some((listed.path, manifest)), broken }),
            Err(error) => broken.push(Broken { step: listed.step, path: listed.path, reason: error.to_string() }),
        }
    }
    Ok(Newest { checkpoint: None, broken })
}

/// Checks one checkpoint folder: manifest whole, of this run and step, every file there with its size and hash.
///
/// # Errors
/// [`Error::BadFile`] or [`Error::Io`] with the file and what is wrong.
pub fn verify(run: &RunFolder, dir: &Path, step: u64) -> Result<CheckpointManifest> {
    let manifest = read_manifest(dir)?;
    let path = dir.join(names::MANIFEST);
    if manifest.schema != SCHEMA {
        return Err(Error::OtherSchema { path, found: manifest.schema, known: SCHEMA });
    }
    if manifest.step != step {
        return Err(Error::bad_file(path, format!("it is of step {}, its folder of step {step}", manifest.step)));
    }
    if manifest.spec_sha256 != run.spec_sha256() {
        return Err(Error::bad_file(path, "it belongs to another run: the hash of spec.json differs"));
    }
    for file in &manifest.files {
        let inside = Path::new(&file.path);
        if !inside.components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(Error::bad_file(&path, format!("it names a file outside its folder: {}", file.path)));
        }
        let at = dir.join(inside);
        let (sha256, size_bytes) = hash_and_size(&at)?;
        if size_bytes != file.size_bytes {
            return Err(Error::bad_file(at, format!("it has {size_bytes} bytes instead of {}", file.size_bytes)));
        }
        if sha256 != file.sha256 {
            return Err(Error::bad_file(at, "its contents are not those that were written (SHA-256 differs)"));
        }
    }
    Ok(manifest)
}

/// Reads the manifest of a checkpoint and checks it against its own hash; the files are not looked at.
///
/// # Errors
/// [`Error::Io`], or [`Error::BadFile`] if a byte of it is not as written.
pub fn read_manifest(dir: &Path) -> Result<CheckpointManifest> {
    let path = dir.join(names::MANIFEST);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let manifest: CheckpointManifest =
        serde_json::from_slice(&bytes).map_err(|e| Error::bad_file(&path, e.to_string()))?;
    // The text that this manifest would be written as: any other byte is damage.
    if seal(&path, &manifest)? == bytes {
        Ok(manifest)
    } else {
        Err(Error::bad_file(path, "its contents are not those that were written (SHA-256 differs)"))
    }
}

/// Deletes old checkpoints: the newest `keep_last` whole ones stay (0 keeps all), the one of `keep_best_step` stays, and so
/// does the newest valid one, always. Broken ones older than that go too. Gives the steps deleted, oldest first.
///
/// # Errors
/// [`Error::Io`].
pub fn prune(run: &RunFolder, keep_last: usize, keep_best_step: Option<u64>) -> Result<Vec<u64>> {
    let all = list(run)?;
    let newest = all.iter().rposition(|l| verify(run, &l.path, l.step).is_ok());
    let (Some(newest), false) = (newest, keep_last == 0) else { return Ok(Vec::new()) };
    let mut whole = 0;
    let mut doomed = Vec::new();
    for listed in all[..=newest].iter().rev() {
        if is_whole(&listed.path) {
            whole += 1;
            if whole <= keep_last {
                continue;
            }
        }
        if keep_best_step != Some(listed.step) {
            doomed.push(listed);
        }
    }
    doomed.reverse();
    for listed in &doomed {
        delete(&listed.path)?;
    }
    Ok(doomed.iter().map(|l| l.step).collect())
}

/// Removes drafts and half-deleted checkpoints that a crash left. Gives how many. Hold the run's lock.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_orphans(run: &RunFolder) -> Result<usize> {
    let dir = run.checkpoints_dir();
    let orphans: Vec<String> = entries(&dir)?.into_iter().filter(|n| n.starts_with(&format!(".{PREFIX}"))).collect();
    for name in &orphans {
        let path = dir.join(name);
        fs::remove_dir_all(&path).map_err(Error::io("delete", &path))?;
    }
    Ok(orphans.len())
}

/// Manifest readable and every file there with its size: enough to count it, too little to resume from it.
fn is_whole(dir: &Path) -> bool {
    read_manifest(dir).is_ok_and(|manifest| {
        manifest.files.iter().all(|f| fs::metadata(dir.join(&f.path)).is_ok_and(|m| m.len() == f.size_bytes))
    })
}

/// Takes a checkpoint away by one rename, then deletes it, so that no half of it is ever listed.
fn delete(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hidden = path.with_file_name(format!(".{name}.deleted"));
    fs::rename(path, &hidden).map_err(Error::io("delete", path))?;
    fs::remove_dir_all(&hidden).map_err(Error::io("delete", hidden))
}

/// The manifest's bytes: its JSON with one more key, the hash of the JSON without it.
fn seal(path: &Path, manifest: &CheckpointManifest) -> Result<Vec<u8>> {
    if !manifest.loss_sum.is_finite() || manifest.best.is_some_and(|b| !b.eval_loss.is_finite()) {
        return Err(Error::bad_file(path, "a loss in it is not a finite number"));
    }
    let plain = serde_json::to_string_pretty(manifest).map_err(|e| Error::bad_file(path, e.to_string()))?;
    let hash = sha256_bytes(plain.as_bytes());
    let open = plain.strip_suffix("\n}").expect("pretty JSON of a struct ends in a line with a brace");
    Ok(format!("{open},\n  \"sha256\": \"{hash}\"\n}}\n").into_bytes())
}

/// Lists and syncs the files under `dir`; collects the folders, outer before inner.
fn collect(root: &Path, dir: &Path, files: &mut Vec<FileHash>, folders: &mut Vec<PathBuf>) -> Result<()> {
    folders.push(dir.to_path_buf());
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io("read", &path))?;
        if kind.is_dir() {
            collect(root, &path, files, folders)?;
        } else if kind.is_file() {
            if path == root.join(names::MANIFEST) {
                return Err(Error::bad_file(path, "the manifest is written by the commit, not by its caller"));
            }
            fs::File::open(&path).and_then(|f| f.sync_all()).map_err(Error::io("flush", &path))?;
            let (sha256, size_bytes) = hash_and_size(&path)?;
            files.push(FileHash { path: relative(root, &path)?, size_bytes, sha256 });
        } else {
            return Err(Error::bad_file(path, "a checkpoint holds plain files only"));
        }
    }
    Ok(())
}

fn relative(root: &Path, path: &Path) -> Result<String> {
    let parts: Option<Vec<&str>> =
        path.strip_prefix(root).unwrap_or(path).components().map(|part| part.as_os_str().to_str()).collect();
    Ok(parts.ok_or_else(|| Error::bad_file(path, "its name is not UTF-8"))?.join("/"))
}

fn entries(dir: &Path) -> Result<Vec<String>> {
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", dir)(e)),
    };
    let mut found = Vec::new();
    for entry in read {
        let entry = entry.map_err(Error::io("list", dir))?;
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(entry.file_name().into_string().ok());
        }
    }
    Ok(found)
}

fn folder_of(run: &RunFolder, step: u64, generation: u32) -> PathBuf {
    let name = match generation {
        0 => format!("{PREFIX}{step:06}"),
        later => format!("{PREFIX}{step:06}.{later}"),
    };
    run.checkpoints_dir().join(name)
}

fn parse_name(name: &str) -> Option<(u64, u32)> {
    let rest = name.strip_prefix(PREFIX)?;
    match rest.split_once('.') {
        Some((step, generation)) => Some((step.parse().ok()?, generation.parse().ok()?)),
        None => Some((rest.parse().ok()?, 0)),
    }
}

#[cfg(test)]
mod tests;
