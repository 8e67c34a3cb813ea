//! Importing a file: format by name, columns by mapping, each bad row named with its line. Formats are in `import/`.

mod csv;
pub mod feedback;
mod json;
mod jsonl;
mod lines;
pub mod mapping;
pub mod moment;
mod parquet;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tb_core::dataset::{ColumnMapping, DatasetFormat, Row, RowProblem, RowProblemKind};

use crate::{
    error::{Error, Result},
    files::sha256_file,
};
pub use mapping::{detect_mapping, framed, map_record};

/// Longest line or record of a dataset that is read.
pub const MAX_RECORD_BYTES: usize = 16 << 20;
/// Longest line or record that is read to the byte: what the five longest texts of a feedback row take as JSON, where a control
/// character takes six bytes.
const MAX_EXACT_BYTES: usize = 128 << 20;
/// Rows looked at before the columns' mapping is chosen.
const DETECT_ROWS: usize = 100;
/// Characters of a bad row that are shown.
const EXCERPT_CHARS: usize = 120;

/// A file as imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The rows that can be used, in file order.
    pub rows: Vec<Row>,
    /// The rows that cannot, in file order.
    pub problems: Vec<RowProblem>,
    /// Rows read: those of `rows` and those of `problems`.
    pub num_read: u64,
    /// The mapping that was given, or the one that was found.
    pub mapping: ColumnMapping,
    /// Format of the file.
    pub format: DatasetFormat,
    /// Size of the file.
    pub size_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// The beginning of a file, to choose a mapping by.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Names of the columns in order of appearance.
    pub columns: Vec<String>,
    /// The mapping that was given or found; none if none fits.
    pub mapping: Option<ColumnMapping>,
    /// The first records as they are in the file.
    pub records: Vec<Record>,
    /// The first rows as the mapping reads them.
    pub rows: Vec<Row>,
    /// Problems among the first rows.
    pub problems: Vec<RowProblem>,
}

/// One record of a file, before any mapping.
pub type Record = Map<String, Value>;

/// How texts are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// To learn from: a NUL byte is no text, and a cell of CSV is always a text.
    Dataset,
    /// To the byte: a NUL byte stays, and an empty cell of CSV without quotes is none.
    Exact,
}

impl Manner {
    /// Longest line or record that is read.
    fn record_bytes(self) -> usize {
        match self {
            Self::Dataset => MAX_RECORD_BYTES,
            Self::Exact => MAX_EXACT_BYTES,
        }
    }
}

/// What a format reader does with each record; [`Flow::Stop`] ends the reading.
pub(crate) type Sink<'a> = dyn FnMut(u64, std::result::Result<Record, RowProblem>) -> Flow + 'a;

/// Whether a reader goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    More,
    /// No.
    Stop,
}

/// Imports a whole file.
///
/// # Errors
/// [`Error::UnknownFormat`], [`Error::Io`], [`Error::BadFile`] if the file as a whole cannot be read,
/// [`Error::NoMapping`] if no mapping was given and none fits, [`Error::NoRows`] if no row can be used.
pub fn import(path: &Path, mapping: Option<&ColumnMapping>) -> Result<Imported> {
    let format = format_of(path)?;
    let mut import = Reading { mapping: mapping.cloned(), waiting: Vec::new(), rows: Vec::new(), problems: Vec::new() };
    read(path, format, Manner::Dataset, &mut |line, record| {
        import.take(line, record);
        Flow::More
    })?;
    import.settle();
    let Reading { mapping, waiting, rows, mut problems } = import;
    let Some(mapping) = mapping else {
        if waiting.is_empty() {
            return Err(no_rows(path, &problems));
        }
        return Err(Error::NoMapping { path: path.to_path_buf(), columns: columns(waiting.iter().map(|(_, r)| r)) });
    };
    if rows.is_empty() {
        return Err(no_rows(path, &problems));
    }
    problems.sort_by_key(|p| p.line);
    let size_bytes = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    let sha256 = sha256_file(path)?;
    let num_read = (rows.len() + problems.len()) as u64;
    Ok(Imported { rows, problems, num_read, mapping, format, size_bytes, sha256 })
}

/// Reads the first `n` records of a file and shows them raw and mapped.
///
/// # Errors
/// As [`import`], but a mapping that does not fit is no error.
pub fn preview(path: &Path, mapping: Option<&ColumnMapping>, n: usize) -> Result<Preview> {
    let mut records = Vec::new();
    let mut problems = Vec::new();
    read(path, format_of(path)?, Manner::Dataset, &mut |line, record| {
        match record {
            Ok(record) => records.push((line, record)),
            Err(problem) => problems.push(problem),
        }
        if records.len() + problems.len() < n { Flow::More } else { Flow::Stop }
    })?;
    let mapping = mapping.cloned().or_else(|| detect_mapping(records.iter().map(|(_, r)| r)));
    let mut rows = Vec::new();
    if let Some(mapping) = &mapping {
        for (line, record) in &records {
            match map_record(mapping, *line, record.clone()) {
                Ok(row) => rows.push(row),
                Err(problem) => problems.push(problem),
            }
        }
    }
    problems.sort_by_key(|p| p.line);
    let columns = columns(records.iter().map(|(_, r)| r));
    Ok(Preview { columns, mapping, records: records.into_iter().map(|(_, r)| r).collect(), rows, problems })
}

/// The format that a file's name says.
///
/// # Errors
/// [`Error::UnknownFormat`].
pub fn format_of(path: &Path) -> Result<DatasetFormat> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "json" => Ok(DatasetFormat::Json),
        "jsonl" | "ndjson" => Ok(DatasetFormat::Jsonl),
        "csv" | "tsv" => Ok(DatasetFormat::Csv),
        "parquet" => Ok(DatasetFormat::Parquet),
        _ => Err(Error::UnknownFormat { path: path.to_path_buf() }),
    }
}

fn read(path: &Path, format: DatasetFormat, manner: Manner, sink: &mut Sink<'_>) -> Result<()> {
    match format {
        DatasetFormat::Json => json::read(path, sink),
        DatasetFormat::Jsonl => jsonl::read(path, manner, sink),
        DatasetFormat::Csv => csv::read(path, manner, sink),
        DatasetFormat::Parquet => parquet::read(path, sink),
    }
}

/// Records wait until the mapping is known; then each becomes a row or a problem at once.
struct Reading {
    mapping: Option<ColumnMapping>,
    waiting: Vec<(u64, Record)>,
    rows: Vec<Row>,
    problems: Vec<RowProblem>,
}

impl Reading {
    fn take(&mut self, line: u64, record: std::result::Result<Record, RowProblem>) {
        match record {
            Ok(record) => {
                self.waiting.push((line, record));
                if self.mapping.is_some() || self.waiting.len() == DETECT_ROWS {
                    self.settle();
                }
            }
            Err(problem) => self.problems.push(problem),
        }
    }

    fn settle(&mut self) {
        if self.mapping.is_none() {
            self.mapping = detect_mapping(self.waiting.iter().map(|(_, r)| r));
        }
        let Some(mapping) = &self.mapping else { return };
        for (line, record) in self.waiting.drain(..) {
            match map_record(mapping, line, record) {
                Ok(row) => self.rows.push(row),
                Err(problem) => self.problems.push(problem),
            }
        }
    }
}

fn no_rows(path: &Path, problems: &[RowProblem]) -> Error {
    let first = problems.iter().min_by_key(|p| p.line);
    let first = first.map_or("the file is empty".to_owned(), |p| format!("line {}: {}", p.line, p.reason));
    Error::NoRows { path: PathBuf::from(path), problems: problems.len() as u64, first }
}

/// Names of the columns of records, in order of appearance.
pub(crate) fn columns<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for record in records {
        for name in record.keys() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// A problem with the beginning of the row it is about.
#[must_use]
pub fn problem(line: u64, kind: RowProblemKind, reason: impl Into<String>, row: &str) -> RowProblem {
    let mut excerpt: String = row.chars().take(EXCERPT_CHARS).collect();
    if excerpt.len() < row.len() {
        excerpt.push('…');
    }
    RowProblem { line, kind, reason: reason.into(), excerpt }
}

#[cfg(test)]
mod tests;
