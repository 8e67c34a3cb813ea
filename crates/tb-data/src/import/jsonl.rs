//! JSON lines: one object per line. A bad line costs that line only.

use std::path::Path;

use serde_json::Value;
use tb_core::dataset::{RowProblem, RowProblemKind};

use super::{
    Flow, Manner, Record, Sink,
    lines::{Line, Lines, text},
    problem,
};
use crate::error::Result;

pub(super) fn read(path: &Path, manner: Manner, sink: &mut Sink<'_>) -> Result<()> {
    let mut lines = Lines::open(path, manner)?;
    while let Some(line) = lines.next()? {
        let number = lines.number();
        let record = match line {
            Line::Bytes(bytes) if bytes.trim_ascii().is_empty() => continue,
            Line::Bytes(bytes) => parse(number, &bytes, manner),
            Line::TooLong(start) => Err(problem(
                number,
                RowProblemKind::TooLong,
                format!("longer than {} bytes", manner.record_bytes()),
                &String::from_utf8_lossy(&start),
            )),
        };
        if sink(number, record) == Flow::Stop {
            break;
        }
    }
    Ok(())
}

fn parse(line: u64, bytes: &[u8], manner: Manner) -> std::result::Result<Record, RowProblem> {
    let unreadable = |reason| problem(line, RowProblemKind::Unreadable, reason, &String::from_utf8_lossy(bytes));
    let text = text(bytes, manner).map_err(unreadable)?;
    match serde_json::from_str(text) {
        Ok(Value::Object(record)) => Ok(record),
        Ok(other) => Err(unreadable(format!("a JSON object was expected, this is {}", super::mapping::kind(&other)))),
        // serde_json counts lines within this line; only the column says something.
        Err(e) => Err(unreadable(format!("not JSON at column {}: {}", e.column(), reason(&e)))),
    }
}

/// serde_json's words without its position.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.clone(), |at| text[..at].to_owned())
}
