//! CSV with a header, RFC 4180. Records are cut from physical lines here, so that their line numbers are true and a quote that
//! is never closed is named. A line end within quotes stays as it is.

use std::path::Path;

use serde_json::Value;
use tb_core::dataset::{RowProblem, RowProblemKind};

use super::{
    Flow, Manner, Record, Sink,
    lines::{Line, Lines, text},
    problem,
};
use crate::error::{Error, Result};

/// Columns of the widest file that is read.
const MAX_COLUMNS: usize = 4096;

pub(super) fn read(path: &Path, manner: Manner, sink: &mut Sink<'_>) -> Result<()> {
    let mut lines = Lines::open(path, manner)?;
    let Some((_, first)) = next_record(&mut lines, b',', manner)? else { return Ok(()) };
    let first = first.map_err(|p| Error::bad_file(path, format!("its header cannot be read: {}", p.reason)))?;
    let delimiter = delimiter(&first);
    let header =
        fields(&first, delimiter).map_err(|e| Error::bad_file(path, format!("its header cannot be read: {e}")))?;
    let header: Vec<String> = header.into_iter().map(|name| name.trim().to_owned()).collect();
    check_header(path, &header)?;
    while let Some((line, record)) = next_record(&mut lines, delimiter, manner)? {
        if sink(line, record.and_then(|text| parse(line, &header, &text, delimiter, manner))) == Flow::Stop {
            break;
        }
    }
    Ok(())
}

/// The next record with the line it begins in: the text of its lines, or why it cannot be read.
fn next_record(
    lines: &mut Lines,
    delimiter: u8,
    manner: Manner,
) -> Result<Option<(u64, std::result::Result<String, RowProblem>)>> {
    let max_bytes = manner.record_bytes();
    let mut bytes: Vec<u8> = Vec::new();
    let mut quotes = Quotes::default();
    let mut first = 0;
    loop {
        let ending = lines.ending();
        let line = lines.next()?;
        let number = lines.number();
        let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(1000)]).into_owned();
        match line {
            None if first == 0 => return Ok(None),
            None => {
                let reason = format!("a quote is not closed: lines {first} to {number} cannot be read");
                return Ok(Some((first, Err(problem(first, RowProblemKind::Unreadable, reason, &shown(&bytes))))));
            }
            Some(Line::Bytes(line)) if first == 0 && line.trim_ascii().is_empty() => {}
            Some(Line::Bytes(line)) if bytes.len() + line.len() < max_bytes => {
                if first == 0 {
                    first = number;
                } else {
                    bytes.extend(ending);
                }
                quotes.feed(&line, delimiter);
                bytes.extend(line);
                if !quotes.open {
                    let text = text(&bytes, manner).map(str::to_owned);
                    let record =
                        text.map_err(|reason| problem(first, RowProblemKind::Unreadable, reason, &shown(&bytes)));
                    return Ok(Some((first, record)));
                }
            }
            Some(Line::Bytes(line) | Line::TooLong(line)) => {
                if first == 0 {
                    first = number;
                    bytes = line;
                }
                let reason = format!("longer than {max_bytes} bytes: lines {first} to {number} are left out");
                return Ok(Some((first, Err(problem(first, RowProblemKind::TooLong, reason, &shown(&bytes))))));
            }
        }
    }
}

/// Whether a quoted field is open at the end of a line.
#[derive(Default)]
struct Quotes {
    open: bool,
}

impl Quotes {
    fn feed(&mut self, line: &[u8], delimiter: u8) {
        let mut at_field_start = !self.open;
        let mut bytes = line.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            if self.open {
                if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
                    self.open = false;
                }
                continue;
            }
            self.open = byte == b'"' && at_field_start;
            at_field_start = byte == delimiter;
        }
    }
}

fn parse(
    line: u64,
    header: &[String],
    text: &str,
    delimiter: u8,
    manner: Manner,
) -> std::result::Result<Record, RowProblem> {
    let unreadable = |reason: String| problem(line, RowProblemKind::Unreadable, reason, text);
    let fields: Vec<Value> = match manner {
        Manner::Dataset => fields(text, delimiter).map_err(unreadable)?.into_iter().map(Value::String).collect(),
        Manner::Exact => exact_fields(text, delimiter),
    };
    if fields.len() != header.len() {
        return Err(unreadable(format!("{} fields where the header has {}", fields.len(), header.len())));
    }
    Ok(header.iter().cloned().zip(fields).collect())
}

/// The cells of a record, to the byte: within quotes a line end of any kind stays as it is, and an empty cell without quotes is
/// none, so that it differs from an empty text (`""`).
fn exact_fields(text: &str, delimiter: u8) -> Vec<Value> {
    let delimiter = char::from(delimiter);
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut cell = String::new();
        let quoted = rest.starts_with('"');
        if quoted {
            rest = &rest[1..];
            // What a quote that is not doubled ends; next_record has seen that there is one.
            loop {
                let at = rest.find('"').unwrap_or(rest.len());
                cell.push_str(&rest[..at]);
                rest = rest.get(at + 1..).unwrap_or_default();
                match rest.strip_prefix('"') {
                    Some(after) => {
                        cell.push('"');
                        rest = after;
                    }
                    None => break,
                }
            }
        }
        let end = rest.find(delimiter);
        cell.push_str(&rest[..end.unwrap_or(rest.len())]);
        fields.push(if cell.is_empty() && !quoted { Value::Null } else { Value::String(cell) });
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => return fields,
        }
    }
}

fn fields(text: &str, delimiter: u8) -> std::result::Result<Vec<String>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter)
        .buffer_capacity(text.len().max(1))
        .from_reader(text.as_bytes());
    let record = reader.records().next().transpose().map_err(|e| e.to_string())?;
    Ok(record.map(|r| r.iter().map(str::to_owned).collect()).unwrap_or_default())
}

/// Comma, unless the header has none and has semicolons or tabs.
fn delimiter(header: &str) -> u8 {
    if header.contains(',') {
        return b',';
    }
    [b'\t', b';'].into_iter().find(|d| header.as_bytes().contains(d)).unwrap_or(b',')
}

fn check_header(path: &Path, header: &[String]) -> Result<()> {
    if header.len() > MAX_COLUMNS {
        return Err(Error::bad_file(path, format!("it has {} columns, at most {MAX_COLUMNS} are read", header.len())));
    }
    for (i, name) in header.iter().enumerate() {
        if name.is_empty() {
            return Err(Error::bad_file(path, format!("column {} has no name in the header", i + 1)));
        }
        if header[..i].contains(name) {
            return Err(Error::bad_file(path, format!("two columns are named '{name}'")));
        }
    }
    Ok(())
}
