//! Evaluation of one model on held-out rows: generates, measures, reports. How each metric adds up is in `evaluate/measure.rs`.

mod measure;

use serde_json::Value;
use tb_core::ErrorCode;
use tb_core::dataset::{Row as DataRow, RowProblem, RowProblemKind};
use tb_core::eval::{EvalItem, EvalReport, GroupReport, ITEMS};
use tb_core::recipe::LossOn;
use tb_core::run_folder::{Done, EvaluateTask, KeepItems, Outcome, RunEventBody};
use tb_data::files::atomic_write;
use tb_data::tokenize::{RenderOptions, TextTokenizer, prompt_ids, prompt_text, render_row, target_text};
use tb_nn::decoder::Row;

use crate::error::{Failure, Result};
use crate::protocol::Session;
use crate::{data, generate, models, output, score};
use measure::{Metric, RowScore};

/// A row that can be measured.
struct Question {
    index: u32,
    prompt_ids: Vec<u32>,
    prompt: String,
    target: String,
    source: Option<String>,
    group: Option<String>,
    language: Option<String>,
    slots: Vec<String>,
    /// Prompt and target as tokens, for the perplexity of the target.
    scored: Row,
}

/// Runs an evaluation task.
///
/// # Errors
/// A model, file or metric that cannot be used.
pub fn run(session: &mut Session, task: &EvaluateTask) -> Result<()> {
    session.started(None)?;
    let wanted = Metric::wanted(&task.metrics)?;
    let tokenizer = models::tokenizer(&task.model.base)?;
    let imported = data::read(&task.data)?;
    let (mut questions, problems) = questions(&tokenizer, &imported.rows, imported.problems);
    data::report_problems(session, &task.data, &problems)?;
    data::refuse_empty(&task.data, questions.len(), &problems, "with a prompt and a completion")?;
    if task.limit > 0 {
        questions.truncate(task.limit as usize);
    }
    let decoder = models::frozen(&task.model, task.dtype, &session.spec().device)?;

    let started = std::time::Instant::now();
    let config = generate::config(&task.decoding, &task.model.base, &tokenizer)?;
    let batch_size = (task.batch_size as usize).max(1);
    let (mut outputs, mut tokens) = (Vec::with_capacity(questions.len()), 0usize);
    let mut prefixes = generate::prefixes();
    for chunk in questions.chunks(batch_size) {
        let prompts: Vec<Vec<u32>> = chunk.iter().map(|q| q.prompt_ids.clone()).collect();
        for answer in generate::answers(&decoder, &prompts, &config, outputs.len() as u64, &mut prefixes)? {
            tokens += answer.ids.len();
            outputs.push(tokenizer.decode(&answer.ids)?);
        }
        session.emit(RunEventBody::Progress { done: outputs.len() as u64, total: questions.len() as u64 })?;
    }
    let seconds = started.elapsed().as_secs_f64().max(1e-9);

    let logprobs = if wanted.contains(&Metric::Perplexity) {
        let rows: Vec<Row> = questions.iter().map(|q| q.scored.clone()).collect();
        score::logprobs(&decoder, &rows, models::pad_id(&tokenizer), batch_size, &mut |_| Ok(()))?
    } else {
        vec![Vec::new(); questions.len()]
    };
    let scores: Vec<RowScore> = questions
        .iter()
        .zip(outputs.iter().zip(&logprobs))
        .map(|(q, (output, logprobs))| RowScore::new(output, &q.target, q.language.as_deref(), &q.slots, logprobs))
        .collect();

    let seed = task.decoding.seed;
    let report = EvalReport {
        rows: questions.len() as u32,
        metrics: measure::metrics(&wanted, &scores.iter().collect::<Vec<_>>(), seed, "")?,
        groups: groups(&wanted, &questions, &scores, seed)?,
        tokens_per_s: tokens as f64 / seconds,
        data_sha256: imported.sha256,
        items: match task.keep_items {
            KeepItems::Yes => Some(ITEMS.to_owned()),
            KeepItems::No => None,
        },
    };
    let mut files = Vec::new();
    if report.items.is_some() {
        let path = session.folder().join(ITEMS);
        atomic_write(&path, &items(&wanted, &questions, &outputs, &scores)?)?;
        files.push(output::file_hash(&path, ITEMS.to_owned())?);
    }
    let metrics = report.metrics.iter().map(|m| (m.name.clone(), m.value.into())).collect();
    session.emit(RunEventBody::Evaluated(Box::new(report)))?;
    session.emit(RunEventBody::Done(Done { outcome: Outcome::Completed, step: 0, metrics, files }))?;
    session.sync()
}

fn questions(
    tokenizer: &TextTokenizer,
    rows: &[DataRow],
    mut problems: Vec<RowProblem>,
) -> (Vec<Question>, Vec<RowProblem>) {
    let mut questions = Vec::new();
    for row in rows {
        match question(tokenizer, row, questions.len() + problems.len()) {
            Ok(question) => questions.push(question),
            Err(reason) => problems.push(RowProblem {
                line: row.line,
                kind: RowProblemKind::WrongType,
                reason,
                excerpt: serde_json::to_string(&row.example).unwrap_or_default().chars().take(120).collect(),
            }),
        }
    }
    problems.sort_by_key(|p| p.line);
    (questions, problems)
}

/// The question of a row, or why there is none.
fn question(tokenizer: &TextTokenizer, row: &DataRow, index: usize) -> std::result::Result<Question, String> {
    let target = target_text(&row.example).filter(|t| !t.is_empty()).ok_or("it has no completion to compare with")?;
    let prompt_ids = prompt_ids(tokenizer, &row.example).map_err(|e| e.to_string())?;
    if prompt_ids.is_empty() {
        return Err("its prompt has no token".to_owned());
    }
    let options = RenderOptions { max_length: usize::MAX, loss_on: LossOn::Auto };
    let tokens = render_row(tokenizer, &row.example, &options).map_err(|e| e.to_string())?;
    let prompt = prompt_text(tokenizer, &row.example, &prompt_ids).map_err(|e| e.to_string())?;
    let text = |name: &str| row.more.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Question {
        index: index as u32,
        prompt_ids,
        prompt,
        target,
        source: text("source"),
        group: text("direction").or_else(|| text("group")),
        language: text("language"),
        slots: slots(row.more.get("slots")),
        scored: Row { ids: tokens.ids, labels: tokens.labels },
    })
}

/// The slots of a row: a list of texts, or an object whose values are texts.
fn slots(value: Option<&Value>) -> Vec<String> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
        Some(Value::Object(map)) => map.values().filter_map(text).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => Vec::new(),
    }
}

fn groups(wanted: &[Metric], questions: &[Question], scores: &[RowScore], seed: u64) -> Result<Vec<GroupReport>> {
    let mut names: Vec<&str> = questions.iter().filter_map(|q| q.group.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let rows: Vec<&RowScore> = questions
                .iter()
                .zip(scores)
                .filter(|(q, _)| q.group.as_deref() == Some(name))
                .map(|(_, score)| score)
                .collect();
            let metrics = measure::metrics(wanted, &rows, seed, name)?;
            Ok(GroupReport { name: name.to_owned(), rows: rows.len() as u32, metrics })
        })
        .collect()
}

fn items(wanted: &[Metric], questions: &[Question], outputs: &[String], scores: &[RowScore]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for ((q, output), score) in questions.iter().zip(outputs).zip(scores) {
        let item = EvalItem {
            index: q.index,
            prompt: q.prompt.clone(),
            source: q.source.clone(),
            target: q.target.clone(),
            output: output.clone(),
            group: q.group.clone(),
            metrics: wanted.iter().filter_map(|m| Some((m.as_str().to_owned(), m.of_row(score)?.into()))).collect(),
        };
        serde_json::to_writer(&mut text, &item).map_err(|e| Failure::new(ErrorCode::Internal, e.to_string()))?;
        text.push(b'\n');
    }
    Ok(text)
}
