//! Worker programs: where they are found, what they say about themselves, which one fits a device. Starting them on a run is `process`.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tb_core::run_folder::{self, WorkerDescription};
use tokio::process::Command;

use crate::{
    error::{Error, Result},
    process,
};

/// Names a worker program may have, the one with the faster devices first.
pub const PROGRAM_NAMES: [&str; 2] = ["tonebridge-worker-cuda", "tonebridge-worker"];

/// The variable that names one worker program to use instead of all others.
pub const VARIABLE: &str = "TONEBRIDGE_WORKER";

/// How long a worker may take to describe itself.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(60);

/// A worker program and what it can do.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerBinary {
    /// The program.
    pub path: PathBuf,
    /// What it says about itself.
    pub description: WorkerDescription,
}

impl WorkerBinary {
    /// Whether it can use `device`.
    #[must_use]
    pub fn has(&self, device: &str) -> bool {
        self.description.devices.iter().any(|d| d.id == device)
    }
}

/// The worker programs of this machine: the one named by [`VARIABLE`] alone if it is set, else those next to this
/// program (or one folder above, where cargo puts them), else those on the path of commands.
#[must_use]
pub fn find() -> Vec<PathBuf> {
    candidates(
        std::env::var_os(VARIABLE).as_deref(),
        std::env::current_exe().ok().as_deref().and_then(Path::parent),
        std::env::var_os("PATH").as_deref(),
    )
}

fn candidates(named: Option<&OsStr>, exe_dir: Option<&Path>, path: Option<&OsStr>) -> Vec<PathBuf> {
    if let Some(named) = named.filter(|n| !n.is_empty()) {
        return vec![PathBuf::from(named)];
    }
    let near: Vec<PathBuf> =
        exe_dir.into_iter().flat_map(|d| [Some(d), d.parent()]).flatten().map(Path::to_path_buf).collect();
    let on_path: Vec<PathBuf> = path.map(|p| std::env::split_paths(p).collect()).unwrap_or_default();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for name in PROGRAM_NAMES {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        let first = near.iter().chain(&on_path).map(|dir| dir.join(&file)).find(|p| p.is_file());
        found.extend(first.filter(|p| seen.insert(p.clone())));
    }
    found
}

/// Asks a worker program what it can do.
///
/// # Errors
/// The program cannot be started, does not answer within a minute, or speaks another version of the contract.
pub async fn describe(path: &Path) -> Result<WorkerDescription> {
    let fail = |reason: String| Error::BadWorker { path: path.to_path_buf(), reason };
    let mut command = Command::new(path);
    process::clean_environment(command.as_std_mut());
    command.arg("--describe").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(DESCRIBE_LIMIT, command.output())
        .await
        .map_err(|_| fail(format!("it did not describe itself within {} s", DESCRIBE_LIMIT.as_secs())))?
        .map_err(|e| fail(format!("it cannot be started: {e}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(fail(format!("{}; it said: {}", output.status, said.trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default();
    let description: WorkerDescription =
        serde_json::from_str(line).map_err(|e| fail(format!("its description cannot be read: {e}")))?;
    if description.schema != run_folder::SCHEMA {
        return Err(fail(format!(
            "it speaks version {} of the run folder, this program speaks {}",
            description.schema,
            run_folder::SCHEMA
        )));
    }
    Ok(description)
}

/// Describes the worker program at `path`, ready for use.
///
/// # Errors
/// As [`describe`].
pub async fn open(path: &Path) -> Result<WorkerBinary> {
    Ok(WorkerBinary { path: path.to_path_buf(), description: describe(path).await? })
}

/// Every worker program of this machine that describes itself; the others are logged. See [`survey`].
pub async fn find_all() -> Vec<WorkerBinary> {
    let (good, bad) = survey().await;
    for error in bad {
        tracing::warn!("{error}");
    }
    good
}

/// Every worker program of this machine that describes itself, and the errors of those that do not.
pub async fn survey() -> (Vec<WorkerBinary>, Vec<Error>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for path in find() {
        match open(&path).await {
            Ok(worker) => good.push(worker),
            Err(error) => bad.push(error),
        }
    }
    (good, bad)
}

/// The first worker that can use `device`.
#[must_use]
pub fn for_device<'a>(workers: &'a [WorkerBinary], device: &str) -> Option<&'a WorkerBinary> {
    workers.iter().find(|w| w.has(device))
}

/// The device a job takes where the user named none: the CUDA device with the most free memory, else the first device.
#[must_use]
pub fn best_device(workers: &[WorkerBinary]) -> Option<String> {
    let all = || workers.iter().flat_map(|w| &w.description.devices);
    let cuda = all().filter(|d| d.id.starts_with("cuda")).max_by_key(|d| d.free_bytes);
    cuda.or_else(|| all().next()).map(|d| d.id.clone())
}

#[cfg(test)]
mod tests {
    use tb_core::run_folder::DeviceDescription;

    use super::*;

    fn worker(path: &str, devices: &[(&str, u64)]) -> WorkerBinary {
        let devices = devices.iter().map(|(id, free)| DeviceDescription {
            id: (*id).into(),
            name: (*id).into(),
            memory_bytes: *free,
            free_bytes: *free,
            units: 1,
            dtypes: vec![],
            features: vec![],
        });
        let description =
            WorkerDescription { version: "1".into(), schema: run_folder::SCHEMA, devices: devices.collect() };
        WorkerBinary { path: path.into(), description }
    }

    #[test]
    fn the_variable_wins_then_the_near_folder_then_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let (near, deps, far) = (dir.path().join("bin"), dir.path().join("bin/deps"), dir.path().join("usr"));
        for d in [&deps, &far] {
            std::fs::create_dir_all(d).unwrap();
        }
        let name = format!("tonebridge-worker{}", std::env::consts::EXE_SUFFIX);
        let cuda = format!("tonebridge-worker-cuda{}", std::env::consts::EXE_SUFFIX);
        std::fs::write(far.join(&name), "").unwrap();
        let path = std::env::join_paths([&far]).unwrap();
        assert_eq!(candidates(None, Some(&deps), Some(&path)), [far.join(&name)]);
        std::fs::write(near.join(&name), "").unwrap();
        std::fs::write(far.join(&cuda), "").unwrap();
        assert_eq!(candidates(None, Some(&deps), Some(&path)), [far.join(&cuda), near.join(&name)]);
        assert_eq!(candidates(Some(OsStr::new("/x/w")), Some(&deps), Some(&path)), [PathBuf::from("/x/w")]);
        assert!(candidates(None, None, None).is_empty());
    }

    #[test]
    fn a_job_gets_a_worker_that_has_its_device() {
        let workers = [worker("a", &[("cpu", 9)]), worker("b", &[("cuda:0", 1), ("cuda:1", 5), ("cpu", 9)])];
        assert_eq!(for_device(&workers, "cuda:1").unwrap().path, Path::new("b"));
        assert_eq!(for_device(&workers, "cpu").unwrap().path, Path::new("a"));
        assert!(for_device(&workers, "cuda:7").is_none());
        assert_eq!(best_device(&workers).as_deref(), Some("cuda:1"));
        assert_eq!(best_device(&workers[..1]).as_deref(), Some("cpu"));
        assert_eq!(best_device(&[]), None);
    }

    #[tokio::test]
    async fn a_program_that_is_no_worker_is_named() {
        let error = describe(Path::new("/nowhere/tonebridge-worker")).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/tonebridge-worker"), "{error}");
    }
}
