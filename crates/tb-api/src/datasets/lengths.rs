//! How long the rows of a file are in tokens: computed once per file and tokenizer, kept beside a frozen dataset, else in memory.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    dataset::{ColumnMapping, Row},
    recipe::LossOn,
};
use tb_data::{
    files::{atomic_write, sha256_bytes, sha256_file},
    gguf, import,
    tokenize::{RenderOptions, TextTokenizer, render_row_with},
};

/// Files whose lengths are held in memory.
const HELD: usize = 8;

/// One row in tokens, uncut: how many, how many of them carry loss, and the place of the first that does (after the first token,
/// which nothing predicts). A row that cannot be rendered has 0 tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub(crate) struct RowLength {
    pub tokens: u32,
    pub supervised: u32,
    pub first: u32,
}

impl From<(u32, u32, u32)> for RowLength {
    fn from((tokens, supervised, first): (u32, u32, u32)) -> Self {
        Self { tokens, supervised, first }
    }
}

impl From<RowLength> for (u32, u32, u32) {
    fn from(row: RowLength) -> Self {
        (row.tokens, row.supervised, row.first)
    }
}

impl RowLength {
    /// The row cut at `max_length`; none if no token that carries loss is left.
    pub fn cut(self, max_length: u32) -> Option<Self> {
        let tokens = self.tokens.min(max_length);
        if self.supervised == 0 || self.first >= tokens {
            return None;
        }
        let supervised = self.supervised.min(tokens - self.first);
        Some(Self { tokens, supervised, first: self.first })
    }
}

/// The rows of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lengths {
    /// What they were computed from: file, tokenizer, and which tokens carry loss.
    key: String,
    /// The rows that can be imported, in the file's order.
    pub rows: Vec<RowLength>,
    /// Size of the file.
    pub file_bytes: u64,
}

/// Lengths held in memory, the last used ones.
#[derive(Debug, Default)]
pub(crate) struct HeldLengths(Mutex<Vec<Arc<Lengths>>>);

impl HeldLengths {
    fn find(&self, key: &str) -> Option<Arc<Lengths>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = held.iter().position(|l| l.key == key)?;
        let found = held.remove(at);
        held.push(Arc::clone(&found));
        Some(found)
    }

    fn keep(&self, lengths: &Arc<Lengths>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= HELD {
            held.remove(0);
        }
        held.push(Arc::clone(lengths));
    }
}

/// What is to be measured.
pub(crate) struct Question<'a> {
    /// The file.
    pub path: &'a Path,
    /// How its columns are read; found if none.
    pub mapping: Option<&'a ColumnMapping>,
    /// Folder of the model whose tokenizer counts.
    pub model: &'a Path,
    /// Which tokens carry loss.
    pub loss_on: LossOn,
    /// Folder of the frozen dataset that the file belongs to, if it does.
    pub beside: Option<&'a Path>,
}

impl Question<'_> {
    /// Changes when the answer may. A file's size and time of change stand for its contents, a tokenizer is hashed.
    fn key(&self) -> Result<String, ApiError> {
        let meta = std::fs::metadata(self.path).map_err(|e| unreadable(self.path, &e))?;
        let changed = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let mut parts = vec![
            self.path.to_string_lossy().into_owned(),
            meta.len().to_string(),
            changed.map_or_else(String::new, |t| t.as_nanos().to_string()),
            serde_json::to_string(&self.mapping).unwrap_or_default(),
            self.loss_on.to_string(),
        ];
        if gguf::is_gguf(self.model) {
            // Too large to be hashed each time: as for the rows, size and time stand for it.
            let meta = std::fs::metadata(self.model).map_err(|e| unreadable(self.model, &e))?;
            parts.push(format!("{} {:?}", meta.len(), meta.modified().ok()));
        }
        for name in [
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "chat_template.jinja",
            "chat_template.json",
        ] {
            let file = self.model.join(name);
            parts.push(if file.is_file() { sha256_file(&file)? } else { "-".into() });
        }
        Ok(sha256_bytes(parts.join("\n").as_bytes()))
    }

    fn cache(&self, key: &str) -> Option<PathBuf> {
        let stem = self.path.file_stem()?.to_string_lossy().into_owned();
        Some(self.beside?.join("cache").join(format!("lengths-{stem}-{}.json", &key[..16])))
    }
}

/// The lengths of a file's rows: held, stored, or computed now. Blocks.
///
/// # Errors
/// A file or tokenizer that cannot be read.
pub(crate) fn lengths(held: &HeldLengths, question: &Question<'_>) -> Result<Arc<Lengths>, ApiError> {
    let key = question.key()?;
    if let Some(found) = held.find(&key) {
        return Ok(found);
    }
    let cache = question.cache(&key);
    let stored = cache.as_ref().and_then(|path| std::fs::read(path).ok());
    let stored = stored.and_then(|bytes| serde_json::from_slice::<Lengths>(&bytes).ok()).filter(|l| l.key == key);
    let lengths = match stored {
        Some(lengths) => Arc::new(lengths),
        None => {
            let lengths = Arc::new(measure(question, key)?);
            if let Some(path) = &cache {
                // A disk that refuses costs time at the next look, nothing else.
                let written = std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).is_ok()
                    && atomic_write(path, &serde_json::to_vec(lengths.as_ref()).unwrap_or_default()).is_ok();
                if !written {
                    tracing::warn!(path = %path.display(), "the lengths of rows could not be kept");
                }
            }
            lengths
        }
    };
    held.keep(&lengths);
    Ok(lengths)
}

fn measure(question: &Question<'_>, key: String) -> Result<Lengths, ApiError> {
    let imported = import::import(question.path, question.mapping)?;
    let tokenizer = TextTokenizer::load(question.model)?;
    let rows = in_parallel(&imported.rows, |row| length(&tokenizer, row, question.loss_on));
    Ok(Lengths { key, rows, file_bytes: imported.size_bytes })
}

fn length(tokenizer: &TextTokenizer, row: &Row, loss_on: LossOn) -> RowLength {
    let options = RenderOptions { max_length: usize::MAX, loss_on };
    let Ok(tokens) = render_row_with(tokenizer, &row.example, &options, row.more.get("tools")) else {
        return RowLength::default();
    };
    let learnt = |label: &i32| *label != tb_data::tokenize::IGNORED;
    let rest = tokens.labels.get(1..).unwrap_or_default();
    RowLength {
        tokens: tokens.ids.len() as u32,
        supervised: rest.iter().filter(|l| learnt(l)).count() as u32,
        first: rest.iter().position(learnt).map_or(0, |at| at as u32 + 1),
    }
}

/// Applies `one` to every item on all processors, in order.
fn in_parallel<T: Sync, R: Send>(items: &[T], one: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let piece = items.len().div_ceil(threads).max(64);
    std::thread::scope(|scope| {
        let tasks: Vec<_> =
            items.chunks(piece).map(|chunk| scope.spawn(|| chunk.iter().map(&one).collect::<Vec<R>>())).collect();
        tasks
            .into_iter()
            .flat_map(|task| task.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

pub(crate) fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::DataInvalid, format!("{} cannot be read: {error}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_what_stands_before_it() {
        let row = RowLength { tokens: 10, supervised: 4, first: 6 };
        assert_eq!(row.cut(20), Some(row));
        assert_eq!(row.cut(8), Some(RowLength { tokens: 8, supervised: 2, first: 6 }));
        assert_eq!(row.cut(6), None);
        assert_eq!(RowLength::default().cut(5), None);
    }

    #[test]
    fn work_on_all_processors_keeps_the_order() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(in_parallel(&items, |n| n * 2), items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert!(in_parallel(&[], |n: &u32| *n).is_empty());
    }
}
