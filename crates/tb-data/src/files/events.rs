//! `events.jsonl`: numbered lines, appended by one writer and read by many, at any moment and after any crash.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use tb_core::run_folder::{RunEvent, RunEventBody};

use crate::error::{Error, Result};

/// Longest line that is accepted; an evaluation report stays far below it.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Appends events; each becomes one line by one write call.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    last_n: u64,
}

impl EventWriter {
    /// Opens the file, making it if it is missing; what a crash left of the last line is dropped (nobody could read it).
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::BadLine`] if a line before the last is damaged: nothing is changed then.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = read_all(path)?;
        let mut lines = Lines::new(path, 0);
        let events = lines.parse(&bytes)?;
        let whole = lines.offset;
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(Error::io("open", path))?;
        if whole < bytes.len() as u64 {
            file.set_len(whole).and_then(|()| file.sync_all()).map_err(Error::io("write", path))?;
        }
        file.seek(SeekFrom::End(0)).map_err(Error::io("read", path))?;
        let last_n = events.last().map_or(0, |e| e.n);
        Ok(Self { path: path.to_path_buf(), file, size_bytes: whole, last_n })
    }

    /// Number of the last event; 0 before the first.
    #[must_use]
    pub fn last_n(&self) -> u64 {
        self.last_n
    }

    /// Appends one event and gives it back with its number. A reader sees it at once; [`Self::sync`] makes it durable.
    ///
    /// # Errors
    /// [`Error::Io`] (a full disk, say): the file then ends after the event before, and the number is used again.
    pub fn append(&mut self, at_ms: i64, body: RunEventBody) -> Result<RunEvent> {
        let event = RunEvent { n: self.last_n + 1, at_ms, body };
        let mut line = serde_json::to_vec(&event)
            .map_err(|e| Error::bad_file(&self.path, format!("an event does not become JSON: {e}")))?;
        line.push(b'\n');
        if let Err(source) = self.file.write_all(&line) {
            // What was written of it would be a torn line in the middle of the file.
            let _ = self.file.set_len(self.size_bytes);
            return Err(Error::io("write", &self.path)(source));
        }
        self.size_bytes += line.len() as u64;
        self.last_n = event.n;
        Ok(event)
    }

    /// Waits until everything appended is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("flush", &self.path))
    }
}

/// Reads events as they come, remembering how far it has read.
#[derive(Clone, Debug)]
pub struct EventTail {
    lines: Lines,
    after: u64,
}

impl EventTail {
    /// A reader of `path` that gives only the events after number `n`. The file may not exist yet.
    #[must_use]
    pub fn new(path: PathBuf, n: u64) -> Self {
        Self { lines: Lines { path, offset: 0, last_n: 0, damage: None }, after: n }
    }

    /// Where the next read begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.lines.offset
    }

    /// The events that came since the last poll; a line that is not whole yet waits for the next one.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::BadLine`] if a line in the middle is damaged; [`Error::BadFile`] if the file shrank.
    pub fn poll(&mut self) -> Result<Vec<RunEvent>> {
        let path = self.lines.path.clone();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.lines.offset == 0 => return Ok(Vec::new()),
            Err(e) => return Err(Error::io("open", &path)(e)),
        };
        let size_bytes = file.metadata().map_err(Error::io("read", &path))?.len();
        if size_bytes < self.lines.offset {
            return Err(Error::bad_file(path, "the file became shorter than what was already read of it"));
        }
        let mut given = Vec::new();
        loop {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(self.lines.offset))
                .and_then(|_| (&mut file).take(MAX_LINE_BYTES as u64).read_to_end(&mut bytes))
                .map_err(Error::io("read", &path))?;
            let before = self.lines.offset;
            // A damaged last line may be one that the next writer drops: it is looked at again.
            self.lines.damage = None;
            let events = self.lines.parse(&bytes)?;
            let whole_file = bytes.len() < MAX_LINE_BYTES;
            given.extend(events.into_iter().filter(|e| e.n > self.after));
            if whole_file {
                return Ok(given);
            }
            if self.lines.offset == before {
                return Err(Error::bad_file(path, format!("a line is longer than {MAX_LINE_BYTES} bytes")));
            }
        }
    }
}

/// The events after number `n` in a file that may not exist yet.
pub(super) fn read_after(path: &Path, n: u64) -> Result<Vec<RunEvent>> {
    EventTail::new(path.to_path_buf(), n).poll()
}

/// Takes whole, valid, gap-free lines; stops at the first that is not.
#[derive(Clone, Debug)]
struct Lines {
    path: PathBuf,
    /// End of the last good line.
    offset: u64,
    last_n: u64,
    /// The first bad line and why, until it is known whether another line follows it.
    damage: Option<(u64, String)>,
}

impl Lines {
    fn new(path: &Path, offset: u64) -> Self {
        Self { path: path.to_path_buf(), offset, last_n: 0, damage: None }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Vec<RunEvent>> {
        let mut events = Vec::new();
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let line_number = self.last_n + 1;
            let parsed = serde_json::from_slice::<RunEvent>(text).map_err(|e| e.to_string()).and_then(|event| {
                if event.n == line_number { Ok(event) } else { Err(format!("it has number {}", event.n)) }
            });
            match (parsed, &self.damage) {
                // Only a last line can be torn: a whole one after it means that the file was damaged later.
                (Ok(_), Some(_)) | (Err(_), Some(_)) => self.refuse_damage()?,
                (Ok(event), None) => {
                    self.offset += line.len() as u64;
                    self.last_n = event.n;
                    events.push(event);
                }
                (Err(reason), None) => self.damage = Some((line_number, reason)),
            }
        }
        Ok(events)
    }

    fn refuse_damage(&mut self) -> Result<()> {
        match self.damage.take() {
            Some((line, reason)) => Err(Error::BadLine { path: self.path.clone(), line, reason }),
            None => Ok(()),
        }
    }
}

fn read_all(path: &Path) -> Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

#[cfg(test)]
mod tests;
