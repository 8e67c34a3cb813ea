//! Log-probabilities of completions: one line a row, in the file's order.

use std::io::Write;

use serde_json::json;
use tb_core::recipe::LossOn;
use tb_core::run_folder::{Done, Outcome, RunEventBody, ScoreTask};
use tb_data::files::atomic_write;
use tb_data::tokenize::{RenderOptions, TextTokenizer};
use tb_nn::decoder::{Batch, Decoder, IGNORED, Row};

use crate::error::{Failure, Result};
use crate::protocol::Session;
use crate::{data, models, output};

/// Runs a scoring task.
///
/// # Errors
/// A model or file that cannot be used.
pub fn run(session: &mut Session, task: &ScoreTask) -> Result<()> {
    session.started(None)?;
    let tokenizer = models::tokenizer(&task.model.base)?;
    let options = RenderOptions { max_length: task.max_length as usize, loss_on: LossOn::Auto };
    let mut rows: Vec<Row> = Vec::new();
    let notes = data::render_rows(&task.data, &tokenizer, &options, &mut |row| {
        rows.push(row);
        Ok(())
    })?;
    data::report_problems(session, &task.data, &notes.problems)?;
    data::refuse_empty(&task.data, rows.len(), &notes.problems, "to score")?;
    let decoder = models::frozen(&task.model, task.dtype, &session.spec().device)?;
    let started = std::time::Instant::now();
    let scores = logprobs(&decoder, &rows, models::pad_id(&tokenizer), task.batch_size as usize, &mut |done| {
        session.emit(RunEventBody::Progress { done: done as u64, total: rows.len() as u64 })
    })?;
    let seconds = started.elapsed().as_secs_f64().max(1e-9);

    let mut text = Vec::new();
    let (mut sum, mut tokens) = (0.0, 0usize);
    for (row, logprobs) in rows.iter().zip(&scores) {
        let line = line(&tokenizer, row, logprobs);
        serde_json::to_writer(&mut text, &line)
            .map_err(|e| Failure::new(tb_core::ErrorCode::Internal, e.to_string()))?;
        writeln!(text)?;
        sum += logprobs.iter().map(|v| f64::from(*v)).sum::<f64>();
        tokens += logprobs.len();
    }
    if let Some(parent) = task.out.parent() {
        std::fs::create_dir_all(parent)?;
    }
    atomic_write(&task.out, &text)?;
    let mut metrics = serde_json::Map::new();
    metrics.insert("mean_logprob".to_owned(), (sum / tokens.max(1) as f64).into());
    metrics.insert("rows".to_owned(), (rows.len() as f64).into());
    metrics
        .insert("tokens_per_s".to_owned(), (rows.iter().map(|r| r.ids.len()).sum::<usize>() as f64 / seconds).into());
    let inside = task.out.strip_prefix(session.folder()).unwrap_or(&task.out);
    let files = vec![output::file_hash(&task.out, inside.to_string_lossy().replace('\\', "/"))?];
    session.emit(RunEventBody::Done(Done { outcome: Outcome::Completed, step: 0, metrics, files }))?;
    session.sync()
}

fn line(tokenizer: &TextTokenizer, row: &Row, logprobs: &[f32]) -> serde_json::Value {
    let ids: Vec<u32> = row
        .labels
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, label)| **label != IGNORED)
        .map(|(t, _)| row.ids[t])
        .collect();
    let texts: Vec<String> = ids.iter().map(|id| tokenizer.token_text(*id).unwrap_or_default()).collect();
    let sum: f64 = logprobs.iter().map(|v| f64::from(*v)).sum();
    json!({
        "tokens": texts,
        "token_ids": ids,
        "logprobs": logprobs,
        "sum": sum,
        "mean": sum / logprobs.len().max(1) as f64,
    })
}

/// Log-probability of every target of every row, in the rows' order; `progress` hears how many rows are done.
///
/// # Errors
/// A token outside the vocabulary, or whatever `progress` returns.
pub fn logprobs(
    decoder: &Decoder,
    rows: &[Row],
    pad_id: u32,
    batch_size: usize,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Vec<f32>>> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(rows[*i].ids.len()));
    let mut out = vec![Vec::new(); rows.len()];
    let mut done = 0;
    for chunk in order.chunks(batch_size.max(1)) {
        let batch: Vec<Row> = chunk.iter().map(|i| rows[*i].clone()).collect();
        let scores = decoder.token_logprobs(&Batch::from_rows(&batch, pad_id)?)?;
        for (i, row) in chunk.iter().zip(scores) {
            out[*i] = row;
        }
        done += chunk.len();
        progress(done)?;
    }
    Ok(out)
}
