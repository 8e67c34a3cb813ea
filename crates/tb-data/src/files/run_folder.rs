//! A run folder on disk: spec, wishes, and the way to its events, lock and checkpoints.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tb_core::run_folder::{Control, LockHolder, RunEvent, RunSpec, SCHEMA, names};

use super::{
    atomic::atomic_write,
    events::{self, EventTail, EventWriter},
    hash::sha256_bytes,
    lock::RunLock,
};
use crate::error::{Error, Result};

/// A folder that holds one run: what to do, what happened, what the host wants, and the results.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    spec: RunSpec,
    spec_sha256: String,
}

impl RunFolder {
    /// Makes the folder and writes `spec.json`. The same spec again is no error.
    ///
    /// # Errors
    /// [`Error::Exists`] if the folder holds another spec, [`Error::Io`].
    pub fn create(path: &Path, spec: &RunSpec) -> Result<Self> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        let file = path.join(names::SPEC);
        let bytes = serde_json::to_vec_pretty(spec)
            .map_err(|e| Error::bad_file(&file, format!("the spec does not become JSON: {e}")))?;
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        match fs::read(&file) {
            Ok(old) if old == bytes => {}
            Ok(_) => return Err(Error::Exists { path }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => atomic_write(&file, &bytes)?,
            Err(e) => return Err(Error::io("read", &file)(e)),
        }
        Self::open(&path)
    }

    /// Opens a folder that holds a `spec.json`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::BadFile`] for a damaged spec, [`Error::OtherSchema`] for one of another version.
    pub fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        let file = path.join(names::SPEC);
        let bytes = fs::read(&file).map_err(Error::io("read", &file))?;
        // The version is read first: a spec of another version may have another shape.
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| Error::bad_file(&file, e.to_string()))?;
        let found = value.get("schema").and_then(serde_json::Value::as_u64);
        if let Some(found) = found.filter(|found| *found != u64::from(SCHEMA)) {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(Error::OtherSchema { path: file, found, known: SCHEMA });
        }
        let spec = serde_json::from_slice(&bytes).map_err(|e| Error::bad_file(&file, e.to_string()))?;
        Ok(Self { path, spec, spec_sha256: sha256_bytes(&bytes) })
    }

    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to do.
    #[must_use]
    pub fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// SHA-256 of `spec.json` as it is on disk; checkpoints carry it.
    #[must_use]
    pub fn spec_sha256(&self) -> &str {
        &self.spec_sha256
    }

    /// The folder of checkpoints; it may not exist yet.
    #[must_use]
    pub fn checkpoints_dir(&self) -> PathBuf {
        self.path.join(names::CHECKPOINTS)
    }

    /// Replaces what the host wants of the worker.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_control(&self, control: &Control) -> Result<()> {
        let bytes = serde_json::to_vec(control).expect("a control record is plain data and always becomes JSON");
        atomic_write(&self.path.join(names::CONTROL), &bytes)
    }

    /// What the host wants now: the default if it has said nothing yet.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::BadFile`] if the file is damaged.
    pub fn control(&self) -> Result<Control> {
        let file = self.path.join(names::CONTROL);
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::bad_file(&file, e.to_string())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Control::default()),
            Err(e) => Err(Error::io("read", &file)(e)),
        }
    }

    /// Takes the run for this process.
    ///
    /// # Errors
    /// [`Error::Busy`] with the holder, or [`Error::Io`].
    pub fn lock(&self, holder: &LockHolder) -> Result<RunLock> {
        RunLock::take(&self.path.join(names::LOCK), holder)
    }

    /// Who holds the run now; none if nobody does.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn holder(&self) -> Result<Option<LockHolder>> {
        RunLock::holder(&self.path.join(names::LOCK))
    }

    /// Opens `events.jsonl` for appending; a torn last line is dropped and the numbers go on. Hold the lock.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::BadLine`] if an earlier line is damaged.
    pub fn event_writer(&self) -> Result<EventWriter> {
        EventWriter::open(&self.path.join(names::EVENTS))
    }

    /// The events after number `n` (0 gives all); a torn last line is left out.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::BadLine`] if an earlier line is damaged.
    pub fn events_after(&self, n: u64) -> Result<Vec<RunEvent>> {
        events::read_after(&self.path.join(names::EVENTS), n)
    }

    /// A reader that gives the events after number `n`, then, at each poll, those that came since.
    #[must_use]
    pub fn tail(&self, n: u64) -> EventTail {
        EventTail::new(self.path.join(names::EVENTS), n)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tb_core::run_folder::{Decoding, Framing, GenerateTask, ModelSource, Task, Want};

    use super::*;

    pub(crate) fn spec(id: &str) -> RunSpec {
        RunSpec {
            schema: SCHEMA,
            run_id: id.into(),
            device: "cpu".into(),
            task: Task::Generate(GenerateTask {
                model: ModelSource { base: "base".into(), adapter: None },
                prompts: vec!["こんにちは".into()],
                framing: Framing::Plain,
                decoding: Decoding::default(),
                dtype: tb_core::recipe::Dtype::Auto,
            }),
        }
    }

    #[test]
    fn a_spec_is_written_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let made = RunFolder::create(&path, &spec("a")).unwrap();
        assert_eq!(RunFolder::create(&path, &spec("a")).unwrap().spec_sha256(), made.spec_sha256());
        assert_eq!(RunFolder::open(&path).unwrap().spec(), &spec("a"));
        assert!(matches!(RunFolder::create(&path, &spec("b")), Err(Error::Exists { .. })));
        assert_eq!(RunFolder::open(&path).unwrap().spec().run_id, "a");
    }

    #[test]
    fn another_version_and_a_cut_spec_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(names::SPEC);
        fs::write(&file, br#"{"schema":99,"shape":"unknown"}"#).unwrap();
        assert!(matches!(RunFolder::open(dir.path()), Err(Error::OtherSchema { found: 99, .. })));
        let whole = serde_json::to_vec(&spec("a")).unwrap();
        for cut in 0..whole.len() {
            fs::write(&file, &whole[..cut]).unwrap();
            let error = RunFolder::open(dir.path()).unwrap_err();
            assert!(error.to_string().contains(names::SPEC), "{error}");
        }
    }

    #[test]
    fn wishes_start_at_the_default_and_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunFolder::create(dir.path(), &spec("a")).unwrap();
        assert_eq!(run.control().unwrap(), Control::default());
        let wish = Control { want: Want::Pause, evaluate_now: 2, checkpoint_now: 1 };
        run.write_control(&wish).unwrap();
        assert_eq!(run.control().unwrap(), wish);
    }
}
