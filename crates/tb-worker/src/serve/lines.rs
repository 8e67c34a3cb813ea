//! Lines in both directions: requests of bounded length from the host, each named if it is none, and replies, whole and at once.

use std::io::{BufRead, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tb_core::ErrorCode;
use tb_core::serving::{MAX_LINE_BYTES, Reply, ReplyBody, Request};

use crate::error::Failure;

/// What a line of the host is.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// A request.
    Request(Request),
    /// None.
    Bad {
        /// Its id, where one can be read.
        id: Option<u64>,
        /// What is wrong.
        failure: Failure,
    },
    /// The host has closed the pipe, or is gone.
    End,
}

/// The lines of the host.
pub struct Lines<R> {
    from: R,
}

impl<R: BufRead> Lines<R> {
    /// Reads from an open pipe.
    pub fn new(from: R) -> Self {
        Self { from }
    }

    /// The next line that is not empty; waits for it.
    pub fn next(&mut self) -> Line {
        loop {
            let mut line = Vec::new();
            // One byte more than allowed tells a line that is too long from one that just fits.
            let mut limited = self.from.by_ref().take(MAX_LINE_BYTES as u64 + 1);
            match limited.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return Line::End,
                Ok(_) if line.len() > MAX_LINE_BYTES && !line.ends_with(b"\n") => {
                    if self.skip_line().is_err() {
                        return Line::End;
                    }
                    return bad(None, format!("it is longer than {MAX_LINE_BYTES} bytes"));
                }
                Ok(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => return parse(&line),
            }
        }
    }

    /// Passes over the rest of a line without keeping it.
    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let held = self.from.fill_buf()?;
            let (used, ended) = match held.iter().position(|b| *b == b'\n') {
                Some(at) => (at + 1, true),
                None => (held.len(), held.is_empty()),
            };
            self.from.consume(used);
            if ended {
                return Ok(());
            }
        }
    }
}

fn parse(line: &[u8]) -> Line {
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => Line::Request(request),
        Err(error) => {
            let id = serde_json::from_slice::<Value>(line).ok().and_then(|v| v.get("id")?.as_u64());
            bad(id, error.to_string())
        }
    }
}

fn bad(id: Option<u64>, why: String) -> Line {
    Line::Bad { id, failure: Failure::new(ErrorCode::InvalidArgument, format!("The line is no request: {why}.")) }
}

/// The worker's standard output: one line at a time, whichever thread says it.
#[derive(Clone, Default)]
pub struct Out(Arc<Mutex<()>>);

impl Out {
    /// Says a line. Without anybody to hear it the worker ends.
    pub fn say(&self, id: Option<u64>, body: ReplyBody) {
        let _whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        let mut line = match serde_json::to_vec(&Reply { id, body }) {
            Ok(line) => line,
            Err(error) => {
                crate::log(format_args!("a reply cannot be written: {error}"));
                return;
            }
        };
        line.push(b'\n');
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;
    use tb_core::serving::Op;

    #[test]
    fn what_is_no_request_is_named_and_the_next_line_is_read() {
        let long = "x".repeat(MAX_LINE_BYTES + 5);
        let text = format!(
            "garbage\n\n  \n{{\"id\":7,\"op\":\"dance\"}}\n{long}\n\u{0}\u{1}\n{{\"id\":8,\"op\":\"cancel\",\"target\":1}}\n{{\"id\":9"
        );
        let mut lines = Lines::new(BufReader::with_capacity(64, text.as_bytes()));
        let mut bad = |what: &str| match lines.next() {
            Line::Bad { id, failure } => {
                assert!(failure.0.message.contains(what), "{failure}");
                assert_eq!(failure.0.code, ErrorCode::InvalidArgument);
                id
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(bad("expected"), None);
        assert_eq!(bad("dance"), Some(7));
        assert_eq!(bad("longer"), None);
        assert_eq!(bad("expected"), None);
        assert_eq!(lines.next(), Line::Request(Request { id: 8, op: Op::Cancel { target: 1 } }));
        assert!(matches!(lines.next(), Line::Bad { id: None, .. }), "a line that the host did not finish");
        assert_eq!(lines.next(), Line::End);
    }

    #[test]
    fn a_line_that_just_fits_is_read() {
        let frame = r#"{"id":1,"op":"generate","adapter":null,"prompt":{"kind":"text","text":""},"decoding":{}}"#;
        let text = "é".repeat((MAX_LINE_BYTES - frame.len()) / 2);
        let line = frame.replace("\"text\":\"\"", &format!("\"text\":\"{text}\"")) + "\n";
        assert!(line.len() <= MAX_LINE_BYTES + 1);
        assert!(matches!(Lines::new(line.as_bytes()).next(), Line::Request(_)));
    }
}
