//! Rows as tokens: reads a data file through tb-data, names every row that cannot be used, and counts what was cut.

use rayon::prelude::*;
use tb_core::ErrorCode;
use tb_core::dataset::{Row as DataRow, RowProblem, RowProblemKind};
use tb_core::recipe::LossOn;
use tb_core::run_folder::{DataSource, RunEventBody};
use tb_data::import::{Imported, import};
use tb_data::tokenize::{RenderOptions, TextTokenizer, render_row_with};
use tb_nn::decoder::{IGNORED, Row};

use crate::error::{Failure, Result};
use crate::protocol::Session;

/// Problems that an event names; the rest are counted.
const NAMED: usize = 50;

/// The usable rows of a file as tokens, and what happened to the others.
#[derive(Clone, Debug, Default)]
pub struct TokenRows {
    /// Each with at least one target.
    pub rows: Vec<Row>,
    /// Rows cut at the longest length.
    pub cut: u64,
    /// Rows left out.
    pub problems: Vec<RowProblem>,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl TokenRows {
    /// Tokens in one pass.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.rows.iter().map(|r| r.ids.len() as u64).sum()
    }

    /// Tokens that carry loss in one pass.
    #[must_use]
    pub fn supervised_tokens(&self) -> u64 {
        self.rows.iter().map(|r| supervised(r) as u64).sum()
    }
}

/// Targets of a row: a label at the first position has nothing before it to be learnt from.
#[must_use]
pub fn supervised(row: &Row) -> usize {
    row.labels.iter().skip(1).filter(|label| **label != IGNORED).count()
}

/// Imports a data file.
///
/// # Errors
/// A file that cannot be read as any supported format.
pub fn read(source: &DataSource) -> Result<Imported> {
    Ok(import(&source.path, source.mapping.as_ref())?)
}

/// Reads a data file and renders every row to tokens, in the file's order.
///
/// # Errors
/// A file that cannot be read.
pub fn read_tokens(
    source: &DataSource,
    tokenizer: &TextTokenizer,
    max_length: u32,
    loss_on: LossOn,
) -> Result<TokenRows> {
    let imported = read(source)?;
    let options = RenderOptions { max_length: max_length as usize, loss_on };
    let rendered: Vec<Rendered> = imported.rows.par_iter().map(|row| render(tokenizer, row, &options)).collect();
    let mut out = TokenRows { problems: imported.problems, sha256: imported.sha256, ..TokenRows::default() };
    for rendered in rendered {
        match rendered {
            Rendered::Usable { row, cut } => {
                out.rows.push(row);
                out.cut += u64::from(cut);
            }
            Rendered::Unusable(problem) => out.problems.push(problem),
        }
    }
    out.problems.sort_by_key(|p| p.line);
    Ok(out)
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
            match supervised(&row) {
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
    let why = problems.first().map_or("it has no rows".to_owned(), |p| {
        format!("all {} rows are left out; line {}: {}", problems.len(), p.line, p.reason)
    });
    let message = format!("{} has no row {purpose}: {why}.", source.path.display());
    Err(Failure::new(ErrorCode::DataInvalid, message)
        .hint("Look at the rows with `tonebridge data show`, check loss_on and max_length, and start again."))
}
