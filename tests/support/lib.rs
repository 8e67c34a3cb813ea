//! What the trips share: a home folder of its own per test, and the programs as a user runs them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A home folder that is gone after the test.
pub struct Home {
    folder: TempDir,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// The one JSON object that `--json` prints last.
    ///
    /// # Panics
    /// If the run failed or printed none: the test fails with all that was printed.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Checks that the run was refused in an orderly way: exit code 1 or 2, no panic, and a message that names `what`.
    ///
    /// # Panics
    /// If it was not.
    pub fn refused(&self, what: &str) {
        assert!(self.code == 1 || self.code == 2, "exit code: {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert!(self.stderr.contains(what), "the message does not name {what}: {self:?}");
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A new, empty home.
    ///
    /// # Panics
    /// If the system gives no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}")) }
    }

    /// A path in the home's folder, for files of the test.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with this home.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("TONEBRIDGE", "tonebridge"));
        command
            .args(args)
            .env("TONEBRIDGE_HOME", self.path("home"))
            .env("TONEBRIDGE_WORKER", program("TONEBRIDGE_WORKER", "tonebridge-worker"))
            // A test leaves nothing in the keyring of who runs it.
            .env("TONEBRIDGE_KEYRING", "off")
            .env("NO_COLOR", "1");
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap_or_else(|e| panic!("{args:?} cannot be started: {e}"));
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts the program and goes on.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{args:?} cannot be started: {e}"))
    }

    /// The sample's base model, installed.
    ///
    /// # Panics
    /// If the sample cannot be installed.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let installed = self.run(&["sample", "install", "--json"]).json();
        let base = PathBuf::from(installed["base_model"].as_str().unwrap_or_default());
        let folder = base.parent().map(Path::to_owned).unwrap_or_default();
        let first = |name: &str, rows: usize| {
            let text = fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let small: String = text.lines().take(rows).map(|l| format!("{l}\n")).collect();
            let path = self.path(name);
            fs::write(&path, small).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            path
        };
        Sample { train: first("train.jsonl", 96), heldout: first("heldout.jsonl", 12), base }
    }

    /// Waits until `done` gives something; the test fails after ten minutes: machines are shared.
    ///
    /// # Panics
    /// If it takes longer.
    pub fn wait<T>(&self, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = done() {
                return found;
            }
            assert!(start.elapsed() < Duration::from_mins(10), "waited for {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The only job, once there is one.
    #[must_use]
    pub fn job(&self) -> Option<Value> {
        self.run(&["job", "list", "--json"]).json().as_array()?.first().cloned()
    }
}

/// A small base model with a few rows.
pub struct Sample {
    /// Folder of the base model.
    pub base: PathBuf,
    /// 96 training rows.
    pub train: PathBuf,
    /// 12 held-out rows.
    pub heldout: PathBuf,
}

/// Text of a path, for arguments.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// A program from the environment, or beside the test's own binary.
fn program(variable: &str, name: &str) -> PathBuf {
    env::var_os(variable).map_or_else(
        || {
            let test = env::current_exe().unwrap_or_default();
            test.parent().and_then(Path::parent).map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
        },
        PathBuf::from,
    )
}
