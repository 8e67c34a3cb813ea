//! Worker processes: started detached on a run folder, or run to their end for a one-shot task. What their lines mean is `ingest`'s.

use std::{
    fs::OpenOptions,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tb_core::{
    ApiError, ErrorCode,
    run_folder::{Done, RunEvent, RunEventBody, names},
};
use tb_data::files::RunFolder;
use tokio::process::{Child, Command};

use crate::{
    error::{Error, Result},
    workers::WorkerBinary,
};

/// How often a one-shot task's folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// Bytes of worker.log that an error quotes at most.
const QUOTED_LOG_BYTES: usize = 800;

/// Parts of a variable's name that mark a secret. A worker needs none: it never goes to the network nor to the database.
const SECRET_PARTS: [&str; 9] =
    ["TOKEN", "PASSWORD", "PASSWD", "SECRET", "CREDENTIAL", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY", "DATABASE_URL"];

/// Whether a variable of this name may hold a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_uppercase();
    SECRET_PARTS.iter().any(|part| name.contains(part))
        || name.ends_with("_KEY")
        || name.ends_with("_DSN")
        || name.starts_with("POSTGRES_")
        || name.starts_with("REDIS_")
}

/// Takes every variable that may hold a secret out of a command's environment, and sets what exact repetition on CUDA needs.
pub(crate) fn clean_environment(command: &mut std::process::Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_none_or(is_secret) {
            command.env_remove(&name);
        }
    }
    if std::env::var_os("CUBLAS_WORKSPACE_CONFIG").is_none() {
        command.env("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
    }
}

fn command(worker: &WorkerBinary, run: &RunFolder) -> Result<Command> {
    let fail = |source| Error::Spawn { path: worker.path.clone(), source };
    let log = OpenOptions::new().create(true).append(true).open(run.path().join(names::LOG)).map_err(fail)?;
    let mut command = Command::new(&worker.path);
    clean_environment(command.as_std_mut());
    command
        .arg("--run")
        .arg(std::path::absolute(run.path()).map_err(fail)?)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(fail)?)
        .stderr(log);
    Ok(command)
}

/// Starts `worker` on `run` so that it outlives this process: in a process group of its own (a Ctrl-C in this terminal does
/// not reach it), its output in `worker.log`, without the secrets of this process. Dropping the child does not end it.
///
/// # Errors
/// The program cannot be started, or worker.log cannot be written.
pub fn spawn_detached(worker: &WorkerBinary, run: &RunFolder) -> Result<Child> {
    let mut command = command(worker, run)?;
    command.kill_on_drop(false);
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(windows)]
    {
        // CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW
        command.creation_flags(0x0000_0200 | 0x0800_0000);
    }
    let child = command.spawn().map_err(|source| Error::Spawn { path: worker.path.clone(), source })?;
    prefer_for_oom_kill(&child);
    Ok(child)
}

/// When memory runs out, the system shall end the worker, not the app or the desktop around it.
pub(crate) fn prefer_for_oom_kill(child: &Child) {
    #[cfg(target_os = "linux")]
    if let Some(pid) = child.id() {
        // Only a wish: without it the run goes on just as well.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "500");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = child;
}

/// Runs a one-shot task (score, generate, evaluate, export) outside the queue and gives every event line to `on_event`.
/// The worker belongs to this process's group, so Ctrl-C ends both; dropping the future ends the worker as well.
///
/// # Errors
/// What the worker reported, or `worker_lost` with the end of worker.log if it left without a last word.
pub async fn run_to_end(
    worker: &WorkerBinary,
    run: &RunFolder,
    on_event: &mut (dyn FnMut(&RunEvent) + Send),
) -> std::result::Result<Done, ApiError> {
    let mut tail = run.tail(run.events_after(0).map_err(Error::from)?.last().map_or(0, |line| line.n));
    let mut command = command(worker, run)?;
    command.kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| Error::Spawn { path: worker.path.clone(), source })?;
    prefer_for_oom_kill(&child);
    let mut last_word = None;
    loop {
        let exit = match tokio::time::timeout(LOOK_EVERY, child.wait()).await {
            Ok(exit) => Some(exit.map_err(|source| Error::Spawn { path: worker.path.clone(), source })?),
            Err(_) => None,
        };
        // Read after the look at the process: what it wrote before it left is read for certain.
        for event in tail.poll().map_err(Error::from)? {
            on_event(&event);
            if let Some(word) = LastWord::of(&event.body) {
                last_word = Some(word);
            }
        }
        if let Some(exit) = exit {
            return match last_word {
                Some(LastWord::Done(done)) => Ok(done),
                Some(LastWord::Failed(error)) => Err(error),
                Some(LastWord::Paused { trouble: Some(error), .. }) => Err(error),
                Some(LastWord::Paused { step, trouble: None }) => {
                    Err(ApiError::new(ErrorCode::Cancelled, format!("The work was paused after step {step}."))
                        .hint("Start it again to go on from there."))
                }
                None => Err(lost(run.path(), Some(exit))),
            };
        }
    }
}

/// How a worker took its leave.
#[derive(Clone, Debug, PartialEq)]
pub enum LastWord {
    /// The result is whole.
    Done(Done),
    /// It failed.
    Failed(ApiError),
    /// It left, and the run can go on.
    Paused {
        /// After this step.
        step: u64,
        /// What has to be dealt with first; none if the host wanted the pause.
        trouble: Option<ApiError>,
    },
}

impl LastWord {
    /// The last word in a line, if the line is one.
    #[must_use]
    pub fn of(body: &RunEventBody) -> Option<Self> {
        match body {
            RunEventBody::Done(done) => Some(Self::Done(done.clone())),
            RunEventBody::Failed { code, message, hint } => {
                Some(Self::Failed(ApiError { code: *code, message: message.clone(), hint: hint.clone() }))
            }
            RunEventBody::Paused { step, trouble } => Some(Self::Paused { step: *step, trouble: trouble.clone() }),
            RunEventBody::Started { .. }
            | RunEventBody::Plan(_)
            | RunEventBody::Certificate(_)
            | RunEventBody::Step(_)
            | RunEventBody::Eval(_)
            | RunEventBody::Checkpoint { .. }
            | RunEventBody::CheckpointDeleted { .. }
            | RunEventBody::Problems { .. }
            | RunEventBody::Progress { .. }
            | RunEventBody::Generated { .. }
            | RunEventBody::Sample(_)
            | RunEventBody::Note { .. }
            | RunEventBody::Incident(_)
            | RunEventBody::Evaluated(_) => None,
        }
    }
}

/// The error of a worker that left without a last word: how it ended, and the end of its log.
pub(crate) fn lost(run: &Path, exit: Option<ExitStatus>) -> ApiError {
    let how = exit.map_or_else(String::new, |e| format!(" ({e})"));
    let log = log_end(&run.join(names::LOG));
    let said = if log.is_empty() { String::new() } else { format!(" Its last lines: {log}") };
    let hint = if was_killed(exit) {
        "The system ends a process when memory runs out: try a smaller batch or a shorter max_length.".to_owned()
    } else {
        format!("The whole log is {}.", run.join(names::LOG).display())
    };
    ApiError::new(ErrorCode::WorkerLost, format!("The worker process ended without a result{how}.{said}")).hint(hint)
}

/// Whether a process was ended by SIGKILL, as the system does when memory runs out.
pub(crate) fn was_killed(exit: Option<ExitStatus>) -> bool {
    #[cfg(unix)]
    return exit.is_some_and(|e| std::os::unix::process::ExitStatusExt::signal(&e) == Some(9));
    #[cfg(not(unix))]
    {
        let _ = exit;
        false
    }
}

/// The last lines of a log as one line, from its last [`QUOTED_LOG_BYTES`]; empty if there are none.
fn log_end(path: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(QUOTED_LOG_BYTES as u64)))?;
        let mut bytes = Vec::new();
        file.take(QUOTED_LOG_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    last_lines(&read().unwrap_or_default())
}

/// The last lines that come out of a pipe until it ends, as one line, from its last [`QUOTED_LOG_BYTES`].
pub(crate) async fn last_lines_of(mut pipe: impl tokio::io::AsyncRead + Unpin) -> String {
    use tokio::io::AsyncReadExt;
    let (mut kept, mut piece) = (Vec::new(), [0; QUOTED_LOG_BYTES]);
    while let Ok(n) = pipe.read(&mut piece).await
        && n > 0
    {
        kept.extend_from_slice(&piece[..n]);
        kept.drain(..kept.len().saturating_sub(QUOTED_LOG_BYTES));
    }
    last_lines(&kept)
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name() {
        for name in ["HF_TOKEN", "OPENAI_API_KEY", "POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY", "redis_host", "X_DSN"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PATH", "HOME", "CUDA_VISIBLE_DEVICES", "RAYON_NUM_THREADS", "LD_LIBRARY_PATH", "LANG"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn the_end_of_a_log_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker.log");
        assert_eq!(log_end(&path), "");
        std::fs::write(&path, "x".repeat(5000) + "\n\none\ntwo\n thread panicked\n").unwrap();
        let end = log_end(&path);
        assert!(
            end.len() < QUOTED_LOG_BYTES + 3 * " | ".len() && end.ends_with("| one | two | thread panicked"),
            "{end}"
        );
    }
}
