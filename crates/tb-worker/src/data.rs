//! Rows as tokens: reads a data file through tb-data, names every row that cannot be used, and counts what was cut.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tb_core::ErrorCode;
use tb_core::dataset::{Row as DataRow, RowProblem, RowProblemKind};
use tb_core::recipe::{Hyperparameters, Method};
use tb_core::run_folder::{DataSource, RunEventBody};
use tb_data::files::{sha256_bytes, sha256_file};
use tb_data::import::{Imported, import};
use tb_data::tokenize::store::{self, StoreBuilder};
use tb_data::tokenize::{RenderOptions, TextTokenizer, render_row_with, targets};
use tb_nn::decoder::Row;

use crate::device;
use crate::error::{Failure, Result};
use crate::output::TOKENIZER_FILES;
use crate::protocol::Session;
use crate::rows::Samples;

/// Problems that an event names; the rest are counted.
const NAMED: usize = 50;

/// Rows that are tokenised at a time.
pub const PART: usize = 4096;

/// The usable rows of a file as tokens, and what happened to the others.
#[derive(Debug, Default)]
pub struct TokenRows {
    /// Each with at least one target.
    pub samples: Samples,
    /// Rows cut at the longest length.
    pub cut: u64,
    /// Rows left out.
    pub problems: Vec<RowProblem>,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// What is kept beside the tokens of a file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Notes {
    /// Rows cut at the longest length.
    pub cut: u64,
    /// Rows left out.
    pub problems: Vec<RowProblem>,
}

impl TokenRows {
    /// Tokens in one pass.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        (0..self.samples.len()).map(|at| self.samples.tokens(at) as u64).sum()
    }

    /// Tokens that carry loss in one pass.
    #[must_use]
    pub fn supervised_tokens(&self) -> u64 {
        (0..self.samples.len()).map(|at| self.samples.supervised(at) as u64).sum()
    }
}

/// Imports a data file.
///
/// # Errors
/// A file that cannot be read as any supported format.
pub fn read(source: &DataSource) -> Result<Imported> {
    Ok(import(&source.path, source.mapping.as_ref())?)
}

/// The folder in which tokenised files are kept: for all runs of a home folder one, for a run that lies elsewhere its own.
#[must_use]
pub fn cache_folder(run: &Path) -> PathBuf {
    match run.parent() {
        Some(runs) if runs.file_name().is_some_and(|name| name == "runs") => {
            runs.with_file_name("cache").join("tokens")
        }
        Some(_) | None => run.join("cache"),
    }
}

/// What the tokens of a file depend on.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The file.
    pub source: &'a DataSource,
    /// The model folder, or the GGUF file, with tokenizer and template.
    pub base: &'a Path,
    /// SHA-256 over its weights.
    pub base_sha256: &'a str,
    /// The method, which says what a row of the file is.
    pub method: Method,
    /// `max_length` and `loss_on` count.
    pub h: &'a Hyperparameters,
}

impl Question<'_> {
    /// A text that changes whenever the tokens may.
    fn key(&self, sha256: &str) -> Result<String> {
        let mut files = Vec::new();
        // A GGUF file holds its tokenizer itself.
        if self.base.is_file() {
            files.push(self.base_sha256.to_owned());
        }
        for name in TOKENIZER_FILES {
            let path = self.base.join(name);
            files.push(if path.is_file() { sha256_file(&path)? } else { String::new() });
        }
        let key = json!({
            "code": device::CODE,
            "data": sha256,
            "loss_on": self.h.loss_on,
            "mapping": self.source.mapping,
            "max_length": self.h.max_length,
            "method": self.method,
            "tokenizer": files,
        });
        Ok(sha256_bytes(key.to_string().as_bytes()))
    }
}

/// The rows of a file as tokens, in the file's order: from `cache` if they are there, else made by `make` and kept there.
///
/// # Errors
/// A file that cannot be read, or a cache that cannot be written.
pub fn read_tokens(
    cache: &Path,
    question: &Question<'_>,
    make: impl FnOnce() -> Result<(StoreBuilder, Notes)>,
) -> Result<TokenRows> {
    let path = &question.source.path;
    let sha256 = sha256_file(path)?;
    let key = question.key(&sha256)?;
    let found = store::open(cache, &key)?;
    let (store, notes) = match found.and_then(|s| Some((serde_json::from_slice::<Notes>(s.notes()).ok()?, s))) {
        Some((notes, store)) => (store, notes),
        None => {
            let (rows, notes) = make()?;
            let text = serde_json::to_vec(&notes).map_err(|e| Failure::new(ErrorCode::Internal, e.to_string()))?;
            let store = rows.write(cache, &key, &text).map_err(|e| {
                Failure::from(e).within("its tokens could not be kept").hint("Free some space, then start again.")
            })?;
            (store, notes)
        }
    };
    Ok(TokenRows { samples: Samples::Stored(store), cut: notes.cut, problems: notes.problems, sha256 })
}

/// Imports a data file and renders every row to tokens.
///
/// # Errors
/// A file that cannot be read.
pub fn render_file(
    source: &DataSource,
    tokenizer: &TextTokenizer,
    h: &Hyperparameters,
) -> Result<(StoreBuilder, Notes)> {
    let options = RenderOptions { max_length: h.max_length as usize, loss_on: h.loss_on };
    let mut rows = StoreBuilder::new(tokenizer.vocab_size());
    let notes = render_rows(source, tokenizer, &options, &mut |row| Ok(rows.push(&row.ids, &row.labels)?))?;
    Ok((rows, notes))
}

/// Imports a data file and gives every usable row as tokens to `take`, in the file's order.
///
/// # Errors
/// A file that cannot be read, or whatever `take` returns.
pub fn render_rows(
    source: &DataSource,
    tokenizer: &TextTokenizer,
    options: &RenderOptions,
    take: &mut dyn FnMut(Row) -> Result<()>,
) -> Result<Notes> {
    let imported = read(source)?;
    let mut notes = Notes { cut: 0, problems: imported.problems };
    let mut all = imported.rows.into_iter();
    loop {
        // A part at a time: the text of a row goes when its tokens are there.
        let part: Vec<DataRow> = all.by_ref().take(PART).collect();
        if part.is_empty() {
            break;
        }
        let rendered: Vec<Rendered> = part.par_iter().map(|row| render(tokenizer, row, options)).collect();
        for rendered in rendered {
            match rendered {
                Rendered::Usable { row, cut } => {
                    take(row)?;
                    notes.cut += u64::from(cut);
                }
                Rendered::Unusable(problem) => notes.problems.push(problem),
            }
        }
    }
    notes.problems.sort_by_key(|p| p.line);
    Ok(notes)
}

/// The first usable rows of a data file as tokens, at most so many; later rows are not tokenised.
///
/// # Errors
/// A file that cannot be read.
pub fn first_rows(
    source: &DataSource,
    tokenizer: &TextTokenizer,
    options: &RenderOptions,
    most: usize,
) -> Result<Vec<Row>> {
    let usable = |row: &DataRow| match render(tokenizer, row, options) {
        Rendered::Usable { row, .. } => Some(row),
        Rendered::Unusable(_) => None,
    };
    Ok(read(source)?.rows.iter().filter_map(usable).take(most).collect())
}

enum Rendered {
    Usable { row: Row, cut: bool },
    Unusable(RowProblem),
}

fn render(tokenizer: &TextTokenizer, row: &DataRow, options: &RenderOptions) -> Rendered {
    let unusable = |kind, reason: String| {
        let text = serde_json::to_string(&row.example).unwrap_or_default();
        let excerpt = text.chars().take(120).collect();
        Rendered::Unusable(RowProblem { line: row.line, kind, reason, excerpt })
    };
    match render_row_with(tokenizer, &row.example, options, row.more.get("tools")) {
        Err(e) => unusable(RowProblemKind::BadConversation, e.to_string()),
        Ok(tokens) => {
            let (cut, row) = (tokens.cut, Row { ids: tokens.ids, labels: tokens.labels });
            match targets(&row.labels) {
                0 if cut => unusable(
                    RowProblemKind::TooLong,
                    format!("after the cut at {} tokens none is left to learn", options.max_length),
                ),
                0 => unusable(RowProblemKind::Empty, "it has no token to learn".to_owned()),
                _ => Rendered::Usable { row, cut },
            }
        }
    }
}

/// Reports the rows of a file that are left out, if any.
///
/// # Errors
/// The event line cannot be written.
pub fn report_problems(session: &mut Session, source: &DataSource, problems: &[RowProblem]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    session.emit(RunEventBody::Problems {
        path: source.path.display().to_string(),
        count: problems.len() as u64,
        problems: problems.iter().take(NAMED).cloned().collect(),
    })
}

/// Refuses a file without any usable row.
///
/// # Errors
/// There is none; the first problem is named.
pub fn refuse_empty(source: &DataSource, rows: usize, problems: &[RowProblem], purpose: &str) -> Result<()> {
    if rows > 0 {
        return Ok(());
    }
    let message = format!("{} has no row {purpose}: {}.", source.path.display(), why_none(problems));
    Err(Failure::new(ErrorCode::DataInvalid, message)
        .hint("Look at the rows with `tonebridge data show`, check loss_on and max_length, and start again."))
}

fn why_none(problems: &[RowProblem]) -> String {
    problems.first().map_or("it has no rows".to_owned(), |p| {
        format!("all {} rows are left out; line {}: {}", problems.len(), p.line, p.reason)
    })
}

/// Refuses a file of which nothing would be learnt, and names the option that masks all of it, if it is one.
///
/// # Errors
/// No row is usable.
pub fn refuse_masked(source: &DataSource, rows: usize, problems: &[RowProblem], h: &Hyperparameters) -> Result<()> {
    if rows > 0 {
        return Ok(());
    }
    let all = |kind| !problems.is_empty() && problems.iter().all(|p| p.kind == kind);
    let n = problems.len();
    let (why, hint) = if all(RowProblemKind::Empty) {
        let why = format!("under loss_on = {} every token of all {n} rows is masked", h.loss_on);
        (why, "Choose another loss_on, or rows in which it finds something to learn.")
    } else if all(RowProblemKind::TooLong) {
        let why = format!("of all {n} rows, no token that is learnt stands before max_length = {}", h.max_length);
        (why, "Raise max_length, or shorten the prompts.")
    } else {
        return refuse_empty(source, rows, problems, "with a token to learn");
    };
    let message = format!("{} has no row with a token to learn: {why}.", source.path.display());
    Err(Failure::new(ErrorCode::DataInvalid, message).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tb_core::recipe::LossOn;

    #[test]
    fn a_homes_runs_share_their_tokens() {
        assert_eq!(cache_folder(Path::new("/home/x/runs/7")), Path::new("/home/x/cache/tokens"));
        assert_eq!(cache_folder(Path::new("/tmp/somewhere/run")), Path::new("/tmp/somewhere/run/cache"));
    }

    #[test]
    fn the_option_that_masks_everything_is_named() {
        let source = DataSource { path: "rows.jsonl".into(), mapping: None };
        let h = Hyperparameters { loss_on: LossOn::Assistant, max_length: 16, ..Hyperparameters::default() };
        let problem = |kind| RowProblem { line: 3, kind, reason: "why".into(), excerpt: String::new() };
        let refused = |problems: &[RowProblem]| refuse_masked(&source, 0, problems, &h).unwrap_err().to_string();
        assert!(refused(&[problem(RowProblemKind::Empty)]).contains("loss_on = assistant"));
        assert!(refused(&[problem(RowProblemKind::TooLong)]).contains("max_length = 16"));
        let mixed = refused(&[problem(RowProblemKind::Empty), problem(RowProblemKind::TooLong)]);
        assert!(mixed.contains("line 3: why"), "{mixed}");
        assert!(refuse_masked(&source, 1, &[], &h).is_ok());
    }
}
