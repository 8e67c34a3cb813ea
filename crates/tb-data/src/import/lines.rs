//! Physical lines of a text file, with a limit on their length; what is not text is named. No format knowledge here.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::Manner;
use crate::error::{Error, Result};

/// One physical line without its line end.
pub(crate) enum Line {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// It is longer than the limit; this is its beginning.
    TooLong(Vec<u8>),
}

/// Reads lines one by one, counting from 1.
pub(crate) struct Lines {
    reader: BufReader<File>,
    path: std::path::PathBuf,
    number: u64,
    max_bytes: usize,
    ending: &'static [u8],
}

impl Lines {
    /// Opens a file; skips a UTF-8 byte-order mark, refuses UTF-16.
    pub(crate) fn open(path: &Path, manner: Manner) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let start = reader.fill_buf().map_err(Error::io("read", path))?;
        refuse_utf16(path, start)?;
        if start.starts_with(b"\xef\xbb\xbf") {
            reader.consume(3);
        }
        Ok(Self { reader, path: path.to_path_buf(), number: 0, max_bytes: manner.record_bytes(), ending: b"" })
    }

    /// Number of the line that was read last.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The line end of the line that was read last; empty for a last line without one.
    pub(crate) fn ending(&self) -> &'static [u8] {
        self.ending
    }

    /// The next line; none at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Line>> {
        let mut bytes = Vec::new();
        let limit = self.max_bytes as u64 + 2;
        let n = (&mut self.reader).take(limit).read_until(b'\n', &mut bytes).map_err(Error::io("read", &self.path))?;
        if n == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.ending = b"";
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            self.ending = b"\n";
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
                self.ending = b"\r\n";
            }
        } else if n as u64 == limit {
            self.skip_rest()?;
        }
        Ok(Some(if bytes.len() > self.max_bytes {
            bytes.truncate(1000);
            Line::TooLong(bytes)
        } else {
            Line::Bytes(bytes)
        }))
    }

    fn skip_rest(&mut self) -> Result<()> {
        loop {
            let buffer = self.reader.fill_buf().map_err(Error::io("read", &self.path))?;
            if buffer.is_empty() {
                return Ok(());
            }
            match buffer.iter().position(|b| *b == b'\n') {
                Some(at) => {
                    self.reader.consume(at + 1);
                    return Ok(());
                }
                None => {
                    let all = buffer.len();
                    self.reader.consume(all);
                }
            }
        }
    }
}

/// Refuses a file that begins with a UTF-16 byte-order mark, or looks like UTF-16 without one.
pub(crate) fn refuse_utf16(path: &Path, start: &[u8]) -> Result<()> {
    let marked = start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff");
    let unmarked = match start {
        [a, 0, b, 0, ..] | [0, a, 0, b, ..] => *a != 0 && *b != 0,
        _ => false,
    };
    if marked || unmarked {
        return Err(Error::bad_file(path, "it is UTF-16: save it as UTF-8"));
    }
    Ok(())
}

/// The text of a record, or why it is none.
pub(crate) fn text(bytes: &[u8], manner: Manner) -> std::result::Result<&str, String> {
    match manner {
        Manner::Dataset => {
            if let Some(at) = bytes.iter().position(|b| *b == 0) {
                return Err(format!("a NUL byte at byte {}", at + 1));
            }
        }
        Manner::Exact => {}
    }
    std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to() + 1))
}
