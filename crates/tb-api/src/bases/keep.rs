//! Putting a base model on the list by its path, and taking one off it. Only what this program downloaded is ever deleted.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tb_core::{ApiError, ErrorCode, job::JobStatus};
use tb_db::{Page, jobs::JobFilter, models::ModelFilter};
use ts_rs::TS;

use super::{BaseModel, BaseSource, InspectBase, inspect, known};
use crate::{
    Ctx,
    ctx::{blocking, now_ms},
    hub::DOWNLOADS,
};

/// A base model that is off the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct BaseRemoved {
    /// Its folder or file.
    pub path: String,
    /// Bytes that were deleted; 0 if its files are somebody else's and stay.
    #[ts(type = "number")]
    pub freed_bytes: u64,
}

pub(crate) async fn add(ctx: &Ctx, args: InspectBase) -> Result<BaseModel, ApiError> {
    let model = inspect(ctx, args).await?;
    if model.source == BaseSource::Added {
        let mut tx = ctx.db().begin().await?;
        tb_db::base_folders::put(&mut tx, &model.path, now_ms()).await?;
        tx.commit().await?;
    }
    Ok(model)
}

pub(crate) async fn remove(ctx: &Ctx, args: InspectBase) -> Result<BaseRemoved, ApiError> {
    let path = std::path::absolute(&args.path).unwrap_or_else(|_| args.path.clone());
    let shown = path.to_string_lossy().into_owned();
    let refuse = |why: String| ApiError::new(ErrorCode::Conflict, format!("Nothing was removed: {why}"));
    let downloads = ctx.home().join(DOWNLOADS);
    if !path.starts_with(&downloads) {
        let known = known(ctx).await?;
        if !known.added.contains(&shown) {
            return Err(refuse(format!("{shown} was not put on the list by hand.")).hint(
                "What lies in the folder of models, came with the sample or was used by a run is listed by itself.",
            ));
        }
        let mut tx = ctx.db().begin().await?;
        tb_db::base_folders::delete(&mut tx, &shown).await?;
        tx.commit().await?;
        return Ok(BaseRemoved { path: shown, freed_bytes: 0 });
    }
    let snapshot = snapshot(&downloads, &path)
        .ok_or_else(|| refuse(format!("{shown} is no downloaded model.")).hint("`tonebridge base list` shows them."))?;
    let versions = tb_db::models::list(ctx.db(), &ModelFilter::default(), &Page::first(10_000)).await?;
    if let Some(model) = versions.iter().find(|m| m.base_model == shown) {
        return Err(refuse(format!("{} v{} was trained from it and needs it.", model.name, model.version)));
    }
    let statuses = vec![JobStatus::Pending, JobStatus::Running, JobStatus::Paused, JobStatus::Interrupted];
    let filter = JobFilter { statuses, ..JobFilter::default() };
    let jobs = tb_db::jobs::list(ctx.db(), &filter, &Page::first(10_000)).await?;
    if let Some(job) = jobs.iter().find(|j| j.base_model == shown) {
        return Err(refuse(format!("the run {} is not at its end and needs it.", job.name)).hint("Stop the run first."));
    }
    let freed_bytes = blocking(move || delete(&snapshot, &path)).await?;
    Ok(BaseRemoved { path: shown, freed_bytes })
}

/// The snapshot's folder, `<downloads>/<owner>--<name>/snapshots/<commit>`, of a model in it.
fn snapshot(downloads: &Path, path: &Path) -> Option<PathBuf> {
    let inside: Vec<_> = path.strip_prefix(downloads).ok()?.components().collect();
    let is_plain = inside.iter().all(|part| matches!(part, std::path::Component::Normal(_)));
    let fits = is_plain && matches!(inside.len(), 3 | 4) && inside.get(1)?.as_os_str() == "snapshots";
    (fits && path.exists()).then(|| downloads.components().chain(inside.into_iter().take(3)).collect())
}

/// Deletes a snapshot, or one GGUF file of it with its mark; what is left empty goes too.
fn delete(snapshot: &Path, path: &Path) -> Result<u64, ApiError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e: std::io::Error| {
            ApiError::new(ErrorCode::Unavailable, format!("{} cannot be deleted: {e}.", path.display()))
        }
    };
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect()
    };
    let mut freed_bytes = 0;
    if path == snapshot {
        freed_bytes += entries(snapshot).iter().map(|file| size(file)).sum::<u64>();
        std::fs::remove_dir_all(snapshot).map_err(failed(snapshot))?;
    } else {
        let mut mark = path.as_os_str().to_owned();
        mark.push(".complete");
        // The mark first: half a file must not count as whole.
        std::fs::remove_file(&mark).or_else(ignore_missing).map_err(failed(path))?;
        freed_bytes += size(path);
        std::fs::remove_file(path).map_err(failed(path))?;
        let is_weights = |p: &PathBuf| p.extension().is_some_and(|e| e == "gguf" || e == "safetensors" || e == "part");
        if !entries(snapshot).iter().any(is_weights) {
            std::fs::remove_dir_all(snapshot).map_err(failed(snapshot))?;
        }
    }
    // The repository's folder, with what it remembers, goes with its last snapshot.
    if let Some(repository) = snapshot.ancestors().nth(2)
        && entries(&repository.join("snapshots")).is_empty()
    {
        std::fs::remove_dir_all(repository).map_err(failed(repository))?;
    }
    Ok(freed_bytes)
}

fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_snapshots_of_the_downloads_are_deleted_and_one_file_leaves_the_others() {
        let home = tempfile::tempdir().unwrap();
        let downloads = home.path().join(DOWNLOADS);
        let commit = downloads.join("a--b/snapshots/c1");
        std::fs::create_dir_all(&commit).unwrap();
        std::fs::create_dir_all(downloads.join("a--b/refs")).unwrap();
        for (name, bytes) in [("x.gguf", 10), ("x.gguf.complete", 1), ("y.gguf", 20), ("README.md", 3)] {
            std::fs::write(commit.join(name), vec![0; bytes]).unwrap();
        }
        for path in
            [&downloads, &downloads.join("a--b"), &downloads.join("a--b/refs"), &downloads.join("a--b/snapshots/c9")]
        {
            assert_eq!(snapshot(&downloads, path), None, "{}", path.display());
        }
        let up = downloads.join("a--b/snapshots/c1/../../../..");
        assert_eq!(snapshot(&downloads, &up), None);
        let file = commit.join("x.gguf");
        assert_eq!(snapshot(&downloads, &file).as_deref(), Some(commit.as_path()));
        assert_eq!(delete(&commit, &file).unwrap(), 10);
        assert!(commit.join("y.gguf").exists() && !commit.join("x.gguf.complete").exists());
        assert_eq!(delete(&commit, &commit).unwrap(), 23);
        assert!(!downloads.join("a--b").exists() && downloads.exists());
    }
}
