//! Which rows of a file came before in it, in bounded memory.

use std::collections::HashMap;

/// Lines that are remembered: a table of 72 MB, grown only as far as a file needs it.
const MOST: usize = 3_600_000;

/// The lines by what they say. Two contents may share a fingerprint, so that it is asked only about rows that are stored already.
#[derive(Default)]
pub(super) struct Seen {
    lines: HashMap<u64, u64>,
}

impl Seen {
    /// Notes a line, unless there are too many.
    pub fn add(&mut self, fingerprint: u64, line: u64) {
        if self.lines.len() < MOST {
            self.lines.entry(fingerprint).or_insert(line);
        }
    }

    /// The line that said this first.
    pub fn line(&self, fingerprint: u64) -> Option<u64> {
        self.lines.get(&fingerprint).copied()
    }
}
