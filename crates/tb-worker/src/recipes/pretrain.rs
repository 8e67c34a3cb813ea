//! Training of all weights from random ones on documents. Documents never share a row, so none sees another.
//!
//! A row of the data file is `{"text": …}`, every token of which is learnt, or `{"segments": [{"text": …, "supervised": …}, …]}`,
//! whose unsupervised parts are only read (the first copy in a copying task), or `{"ids": […], "labels": […]}`, tokens as they are, with -100
//! where nothing is learnt.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Tensor};
use rayon::prelude::*;
use serde::Deserialize;
use tb_core::ErrorCode;
use tb_core::dataset::{RowProblem, RowProblemKind};
use tb_core::run_folder::names;
use tb_data::tokenize::store::StoreBuilder;
use tb_data::tokenize::{TextTokenizer, targets};
use tb_nn::decoder::{Batch, Decoder, IGNORED, Pass, Row};

use super::{Recipe, write_trained};
use crate::batches::Grouping;
use crate::data::{Notes, PART};
use crate::error::{Failure, Result};
use crate::output;
use crate::rows::TrainingRows;

/// A decoder whose every weight is in training, and its documents.
pub struct Pretrain {
    decoder: Decoder,
    data: Arc<TrainingRows>,
    base: PathBuf,
}

impl Pretrain {
    /// The recipe for a random decoder; `base` holds the tokenizer that the result needs.
    #[must_use]
    pub fn new(decoder: Decoder, data: Arc<TrainingRows>, base: PathBuf) -> Self {
        Self { decoder, data, base }
    }
}

impl Recipe for Pretrain {
    fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    fn data(&self) -> &Arc<TrainingRows> {
        &self.data
    }

    fn loss(&self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        Ok(self.decoder.loss(batch, pass)?)
    }

    fn grouping(&self) -> Grouping {
        Grouping::ByLength
    }

    fn result_folder(&self) -> &'static str {
        names::MODEL
    }

    fn write_result(&self, folder: &Path) -> Result<()> {
        self.decoder.save_full(folder, DType::F16)?;
        output::copy_tokenizer(&self.base, folder)
    }

    fn weights_file(&self) -> &'static str {
        "weights.safetensors"
    }

    fn write_weights(&self, folder: &Path) -> Result<()> {
        write_trained(&self.decoder, &folder.join(self.weights_file()))
    }
}

/// One row of a pretraining file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Segments { segments: Vec<Segment> },
    Text { text: String },
    Tokens { ids: Vec<u32>, labels: Vec<i32> },
}

#[derive(Deserialize)]
struct Segment {
    text: String,
    #[serde(default = "learnt")]
    supervised: bool,
}

fn learnt() -> bool {
    true
}

/// Reads and tokenises a pretraining file. A document longer than `max_length` becomes several rows.
///
/// # Errors
/// The file cannot be read, or the tokenizer fails on a text.
pub fn read_documents(path: &Path, tokenizer: &TextTokenizer, max_length: usize) -> Result<(StoreBuilder, Notes)> {
    let unreadable = |e: std::io::Error| Failure::from(e).within(path.display());
    let file = std::io::BufReader::new(std::fs::File::open(path).map_err(unreadable)?);
    let mut documents = Vec::new();
    let mut notes = Notes::default();
    for (i, line) in file.lines().enumerate() {
        let line = line.map_err(unreadable)?;
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Document>(&line) {
            Ok(document) => documents.push((i as u64 + 1, document)),
            Err(e) => notes.problems.push(problem(i as u64 + 1, RowProblemKind::Unreadable, e.to_string(), &line)),
        }
    }
    let eos = tokenizer.eos_id();
    let mut rows = StoreBuilder::new(tokenizer.vocab_size());
    for part in documents.chunks(PART) {
        let tokenised: Vec<(u64, Row)> = part
            .par_iter()
            .map(|(line, document)| Ok((*line, tokenise(document, tokenizer, eos)?)))
            .collect::<Result<_>>()?;
        for (line, row) in tokenised {
            if row.ids.len() > max_length {
                notes.cut += 1;
            }
            let before = rows.len();
            for (ids, labels) in row.ids.chunks(max_length).zip(row.labels.chunks(max_length)) {
                if targets(labels) > 0 {
                    rows.push(ids, labels).map_err(|e| Failure::from(e).within(format!("line {line}")))?;
                }
            }
            if rows.len() == before {
                let reason = "no token of it is to be learnt".to_owned();
                notes.problems.push(problem(line, RowProblemKind::Empty, reason, ""));
            }
        }
    }
    notes.problems.sort_by_key(|p| p.line);
    Ok((rows, notes))
}

fn tokenise(document: &Document, tokenizer: &TextTokenizer, eos: Option<u32>) -> Result<Row> {
    let mut row = Row::default();
    let mut push = |text: &str, supervised: bool| -> Result<()> {
        for id in tokenizer.encode(text)? {
            row.ids.push(id);
            row.labels.push(if supervised { label(id)? } else { IGNORED });
        }
        Ok(())
    };
    match document {
        Document::Tokens { ids, labels } => {
            if ids.len() != labels.len() {
                let message = format!("a document has {} ids but {} labels.", ids.len(), labels.len());
                return Err(Failure::new(ErrorCode::DataInvalid, message));
            }
            return Ok(Row { ids: ids.clone(), labels: labels.clone() });
        }
        Document::Text { text } => push(text, true)?,
        Document::Segments { segments } => segments.iter().try_for_each(|s| push(&s.text, s.supervised))?,
    }
    // The end is always learnt, so that the model knows when to stop.
    if let Some(eos) = eos
        && row.ids.last().is_some_and(|last| *last != eos)
    {
        row.ids.push(eos);
        row.labels.push(label(eos)?);
    }
    Ok(row)
}

fn label(id: u32) -> Result<i32> {
    i32::try_from(id)
        .map_err(|_| Failure::new(ErrorCode::DataInvalid, format!("the tokenizer gave the impossible token {id}.")))
}

fn problem(line: u64, kind: RowProblemKind, reason: String, row: &str) -> RowProblem {
    RowProblem { line, kind, reason, excerpt: row.chars().take(120).collect() }
}
