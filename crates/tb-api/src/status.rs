//! The state of this machine and of the program on it: the status bar, and what fills the disk.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sysinfo::{Disks, System};
use tb_core::{
    ApiError,
    ids::JobId,
    job::{Job, JobKind},
};
use ts_rs::TS;

use crate::{Ctx, commands::Nothing, ctx::blocking};

/// How long the size of the home folder is taken for known: walking it is not for every look at the status bar.
const SIZE_HOLDS: Duration = Duration::from_secs(30);

/// What the status bar shows.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct StatusView {
    /// Version of the program.
    pub version: String,
    /// The folder where everything lives.
    pub home: String,
    /// Its size, at most half a minute old.
    #[ts(type = "number")]
    pub home_size_bytes: u64,
    /// Room on its disk; none where the system does not tell.
    #[ts(type = "number | null")]
    pub disk_free_bytes: Option<u64>,
    /// Memory of this machine.
    #[ts(type = "number")]
    pub memory_total_bytes: u64,
    /// Memory that is in use.
    #[ts(type = "number")]
    pub memory_used_bytes: u64,
    /// Devices of every worker.
    pub devices: Vec<DeviceStatus>,
    /// The job that runs; of several, the one that was taken first.
    pub running: Option<RunningJob>,
    /// Jobs that wait.
    pub queue: u32,
    /// Whether this process runs the queue.
    pub supervises: bool,
}

/// A device now.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct DeviceStatus {
    /// `cpu` or `cuda:0`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Memory in all.
    #[ts(type = "number")]
    pub memory_bytes: u64,
    /// Memory in use; none where only a worker could tell.
    #[ts(type = "number | null")]
    pub used_bytes: Option<u64>,
}

/// A job that a worker holds.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
pub struct RunningJob {
    /// The job.
    pub job_id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// Its name.
    pub name: String,
    /// Share done, 0 to 1.
    pub progress: f64,
    /// Seconds until its end, at the present pace.
    pub eta_s: Option<f64>,
    /// Steps finished.
    #[ts(type = "number")]
    pub step: u64,
    /// Steps in all; 0 while that is unknown or the job has none.
    #[ts(type = "number")]
    pub total_steps: u64,
}

/// One kind of thing that fills the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct StorageItem {
    /// What: `runs`, `checkpoints`, `datasets`, `models`, `downloads`, `sample`, `uploads`, `database`, `temporary`
    /// or `other`.
    pub what: String,
    /// Where.
    pub path: String,
    /// How much.
    #[ts(type = "number")]
    pub size_bytes: u64,
    /// How many: folders of their own where there are such, else files.
    #[ts(type = "number")]
    pub count: u64,
}

/// The size of the home folder and when it was taken.
#[derive(Debug, Default)]
pub(crate) struct HomeSize(std::sync::Mutex<Option<(Instant, u64)>>);

impl HomeSize {
    fn known(&self) -> Option<u64> {
        let held = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (*held).filter(|(at, _)| at.elapsed() < SIZE_HOLDS).map(|(_, size)| size)
    }

    fn set(&self, size: u64) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((Instant::now(), size));
    }
}

pub(crate) async fn get(ctx: &Ctx, _: Nothing) -> Result<StatusView, ApiError> {
    let known = ctx.home_size().known();
    let home = ctx.home().to_owned();
    let (size, disk_free_bytes, memory) =
        blocking(move || Ok((known.unwrap_or_else(|| size_of(&home).bytes), disk_free(&home), memory()))).await?;
    if known.is_none() {
        ctx.home_size().set(size);
    }
    let devices = ctx.jobs().workers().iter().flat_map(|w| &w.description.devices).map(|device| DeviceStatus {
        id: device.id.clone(),
        name: device.name.clone(),
        memory_bytes: device.memory_bytes,
        used_bytes: (device.id == "cpu").then_some(memory.used_bytes),
    });
    let running = tb_db::jobs::running(ctx.db()).await?;
    Ok(StatusView {
        version: env!("CARGO_PKG_VERSION").into(),
        home: ctx.home().to_string_lossy().into_owned(),
        home_size_bytes: size,
        disk_free_bytes,
        memory_total_bytes: memory.total_bytes,
        memory_used_bytes: memory.used_bytes,
        devices: devices.collect(),
        running: running.first().map(running_job),
        queue: tb_db::jobs::pending(ctx.db()).await?.len() as u32,
        supervises: ctx.jobs().supervises(),
    })
}

fn running_job(job: &Job) -> RunningJob {
    let count = |name: &str| job.metrics.get(name).and_then(Value::as_u64).unwrap_or(0);
    RunningJob {
        job_id: job.id.clone(),
        kind: job.kind,
        name: job.name.clone(),
        progress: job.progress,
        eta_s: job.metrics.get("eta_s").and_then(Value::as_f64),
        step: count("step"),
        total_steps: count("total_steps"),
    }
}

/// Memory of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub total_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
}

/// Memory now; zeros where the system does not tell.
pub(crate) fn memory() -> Memory {
    let Ok(mut system) = System::new() else { return Memory::default() };
    system.refresh_memory();
    let (mut total_bytes, mut free_bytes) = (system.total_memory(), system.available_memory());
    // In a container its own limit counts, where it is the lower one.
    if let Some(limits) = system.cgroup_limits().filter(|l| l.total_memory > 0 && l.total_memory < total_bytes) {
        (total_bytes, free_bytes) = (limits.total_memory, limits.free_memory.min(free_bytes));
    }
    Memory { total_bytes, used_bytes: total_bytes.saturating_sub(free_bytes), free_bytes }
}

/// Room on the disk of a folder: of the mount whose path is the longest beginning of it.
pub(crate) fn disk_free(folder: &Path) -> Option<u64> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let disks = Disks::new_with_refreshed_list().ok()?;
    let mounts = disks.iter().filter(|disk| folder.starts_with(disk.mount_point()));
    mounts.max_by_key(|disk| disk.mount_point().components().count()).map(sysinfo::Disk::available_space)
}

/// Files of a folder and below.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    bytes: u64,
    files: u64,
}

/// What lies in a folder, or the size of a file; links are not followed, what cannot be read counts nothing.
fn size_of(path: &Path) -> Size {
    let mut sum = Size::default();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            open.extend(entries(&path));
        } else {
            sum.bytes += meta.len();
            sum.files += 1;
        }
    }
    sum
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect()
}

pub(crate) async fn storage(ctx: &Ctx, _: Nothing) -> Result<Vec<StorageItem>, ApiError> {
    let home = ctx.home().to_owned();
    blocking(move || Ok(storage_of(&home))).await
}

/// Everything in the home folder, each file counted once.
fn storage_of(home: &Path) -> Vec<StorageItem> {
    const FOLDERS: [(&str, &str); 7] = [
        ("runs", "runs"),
        ("datasets", "datasets"),
        ("models", crate::bases::MODELS),
        ("downloads", crate::hub::DOWNLOADS),
        ("sample", "sample"),
        ("uploads", "uploads"),
        ("temporary", "tmp"),
    ];
    let item = |what: &str, path: &Path, size_bytes, count| StorageItem {
        what: what.into(),
        path: path.to_string_lossy().into_owned(),
        size_bytes,
        count,
    };
    let mut items = Vec::new();
    for (what, name) in FOLDERS {
        let path = home.join(name);
        let size = size_of(&path);
        let folders = entries(&path);
        if what == "runs" {
            let checkpoints = folders.iter().map(|run| run.join(tb_core::run_folder::names::CHECKPOINTS));
            let (mut bytes, mut count) = (0, 0);
            for folder in checkpoints {
                bytes += size_of(&folder).bytes;
                count += entries(&folder).len() as u64;
            }
            items.push(item("checkpoints", &path, bytes, count));
            items.push(item(what, &path, size.bytes - bytes, folders.len() as u64));
        } else {
            items.push(item(what, &path, size.bytes, folders.len() as u64));
        }
    }
    let (mut database, mut other) = (Size::default(), Size::default());
    for path in entries(home) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if FOLDERS.iter().any(|(_, folder)| *folder == name) {
            continue;
        }
        let size = size_of(&path);
        let into = if name.starts_with("tonebridge.db") { &mut database } else { &mut other };
        into.bytes += size.bytes;
        into.files += size.files;
    }
    items.push(item("database", &home.join("tonebridge.db"), database.bytes, database.files));
    items.push(item("other", home, other.bytes, other.files));
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        for (path, bytes) in [
            ("runs/job_1/events.jsonl", 10),
            ("runs/job_1/checkpoints/step-1/a", 100),
            ("runs/job_1/checkpoints/step-2/a", 100),
            ("runs/job_2/events.jsonl", 10),
            ("datasets/d/train.jsonl", 7),
            ("tonebridge.db", 5),
            ("tonebridge.db-wal", 3),
            ("settings.toml", 2),
        ] {
            std::fs::create_dir_all(home.join(path).parent().unwrap()).unwrap();
            std::fs::write(home.join(path), vec![0; bytes]).unwrap();
        }
        let items = storage_of(home);
        let of = |what: &str| items.iter().find(|i| i.what == what).map(|i| (i.size_bytes, i.count)).unwrap();
        assert_eq!(of("runs"), (20, 2));
        assert_eq!(of("checkpoints"), (200, 2));
        assert_eq!(of("datasets"), (7, 1));
        assert_eq!(of("database"), (8, 2));
        assert_eq!(of("other"), (2, 1));
        assert_eq!(items.iter().map(|i| i.size_bytes).sum::<u64>(), size_of(home).bytes);
    }

    #[test]
    fn the_machine_has_memory_and_a_disk() {
        let memory = memory();
        assert!(memory.total_bytes >= memory.used_bytes && memory.used_bytes > 0);
        let dir = tempfile::tempdir().unwrap();
        assert!(disk_free(dir.path()).is_some_and(|free| free > 0));
    }
}
