//! From columns to rows: which mapping fits, and what one record becomes under it. No file formats here.

mod conversation;

use std::borrow::Cow;

use serde_json::Value;
use tb_core::dataset::{ColumnMapping, Example, Message, Row, RowProblem, RowProblemKind, Said};

use super::{Record, columns, problem};
use conversation::messages;

/// The frame of instruction rows; a paragraph whose columns are all empty is left out.
pub const INSTRUCTION_TEMPLATE: &str = "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n";
/// The frame of input/output rows without an instruction.
pub const INPUT_TEMPLATE: &str = "### Input:\n{input}\n\n### Response:\n";

/// What the prompt of a preference file is called, the usual name first: TRL's, Intel/orca_dpo_pairs', LLaMA-Factory's two.
const PROMPTS: [&str; 4] = ["prompt", "question", "instruction", "conversations"];

type Bad = (RowProblemKind, String);
type Mapped<T> = Result<T, Bad>;

/// The mapping that fits the columns of the first records; none if none does. Preference wins over conversations, those over
/// prompt and completion (with a label, if every value of that column is true or false), those over input and output, those over
/// text.
#[must_use]
pub fn detect_mapping<'a>(records: impl Iterator<Item = &'a Record> + Clone) -> Option<ColumnMapping> {
    let names = columns(records.clone());
    let find = |wanted: &str| names.iter().find(|n| n.eq_ignore_ascii_case(wanted)).cloned();
    let both = |a: &str, b: &str| find(a).zip(find(b));
    let pair = both("chosen", "rejected").or_else(|| both("chosen_messages", "rejected_messages"));
    if let Some((chosen, rejected)) = pair {
        return Some(ColumnMapping::Preference {
            prompt: PROMPTS.iter().find_map(|name| find(name)),
            chosen,
            rejected,
        });
    }
    if let Some(messages) = find("messages").or_else(|| find("conversations")).or_else(|| find("conversation")) {
        return Some(ColumnMapping::Messages { messages });
    }
    if let Some((prompt, completion)) = both("prompt", "completion")
        && let Some(label) = find("label")
        && records.clone().all(|record| record.get(&label).is_some_and(is_truth))
    {
        return Some(ColumnMapping::Unpaired { prompt, completion, label });
    }
    for (prompt, completion) in [("prompt", "completion"), ("prompt", "response"), ("question", "answer")] {
        if let Some((prompt, completion)) = both(prompt, completion) {
            return Some(ColumnMapping::PromptCompletion { prompt, completion });
        }
    }
    if let Some(output) = find("output").or_else(|| find("response")) {
        let named = |template: &str, name: &str, column: &str| template.replace(name, &format!("{{{column}}}"));
        match (find("instruction"), find("input")) {
            (Some(instruction), Some(input)) => {
                let template = named(&named(INSTRUCTION_TEMPLATE, "{instruction}", &instruction), "{input}", &input);
                return Some(ColumnMapping::InputOutput { input, output, template });
            }
            (Some(instruction), None) => {
                let template = "### Instruction:\n{instruction}\n\n### Response:\n";
                let template = named(template, "{instruction}", &instruction);
                return Some(ColumnMapping::InputOutput { input: instruction, output, template });
            }
            (None, Some(input)) => {
                let template = named(INPUT_TEMPLATE, "{input}", &input);
                return Some(ColumnMapping::InputOutput { input, output, template });
            }
            (None, None) => {}
        }
    }
    find("text").map(|text| ColumnMapping::Text { text })
}

/// Turns one record into a row.
///
/// # Errors
/// The problem, with `line`, its reason and the beginning of the record.
pub fn map_record(mapping: &ColumnMapping, line: u64, mut record: Record) -> Result<Row, RowProblem> {
    let example = match example(mapping, &record) {
        Ok(example) => example,
        Err((kind, reason)) => return Err(problem(line, kind, reason, &Value::Object(record).to_string())),
    };
    for column in used(mapping) {
        record.shift_remove(column);
    }
    Ok(Row { line, example, more: record })
}

fn used(mapping: &ColumnMapping) -> Vec<&str> {
    match mapping {
        ColumnMapping::Text { text } => vec![text],
        ColumnMapping::Messages { messages } => vec![messages],
        ColumnMapping::PromptCompletion { prompt, completion } => vec![prompt, completion],
        ColumnMapping::Unpaired { prompt, completion, label } => vec![prompt, completion, label],
        // The input stays, so that evaluation can compare the answer with it.
        ColumnMapping::InputOutput { output, .. } => vec![output],
        ColumnMapping::Preference { prompt, chosen, rejected } => {
            prompt.iter().chain([chosen, rejected]).map(String::as_str).collect()
        }
    }
}

pub(super) fn example(mapping: &ColumnMapping, record: &Record) -> Mapped<Example> {
    match mapping {
        ColumnMapping::Text { text } => Ok(Example::Text { text: filled(text, string(record, text)?)? }),
        ColumnMapping::Messages { messages: column } => {
            let messages = messages(column, cell(record, column)?)?;
            if !messages.iter().any(|m| m.role == "assistant") {
                return Err((RowProblemKind::BadConversation, format!("'{column}' has no assistant message")));
            }
            Ok(Example::Messages { messages })
        }
        ColumnMapping::PromptCompletion { prompt, completion } => {
            let (prompt, completion) = alike(said(record, prompt)?, said(record, completion)?);
            Ok(Example::PromptCompletion { prompt, completion })
        }
        ColumnMapping::Unpaired { prompt, completion, label } => {
            let (prompt, completion) = alike(said(record, prompt)?, said(record, completion)?);
            Ok(Example::Unpaired { prompt, completion, label: truth(label, cell(record, label)?)? })
        }
        ColumnMapping::InputOutput { input: _, output, template } => {
            let prompt = fill_template(template, record)?;
            let completion = filled(output, string(record, output)?)?;
            Ok(Example::PromptCompletion { prompt: Said::Text(prompt), completion: Said::Text(completion) })
        }
        ColumnMapping::Preference { prompt, chosen, rejected } => {
            let (chosen, rejected) = (said(record, chosen)?, said(record, rejected)?);
            match (prompt.as_ref().map(|p| said(record, p)).transpose()?, chosen, rejected) {
                (Some(prompt), Said::Text(c), Said::Text(r)) => preference(prompt, Said::Text(c), Said::Text(r)),
                (Some(Said::Messages(p)), c, r) => {
                    let prompt = Said::Messages(p);
                    let (prompt, chosen) = alike(prompt, c);
                    let (prompt, rejected) = alike(prompt, r);
                    preference(prompt, chosen, rejected)
                }
                // A prompt as text beside whole conversations says again what their common beginning says.
                (Some(Said::Text(prompt)), c, r) => match implicit(c.clone(), r.clone()) {
                    Ok(row) => Ok(row),
                    Err(_) if begins_with_answer(&c) && begins_with_answer(&r) => preference(Said::Text(prompt), c, r),
                    Err(bad) => Err(bad),
                },
                (None, chosen, rejected) => implicit(chosen, rejected),
            }
        }
    }
}

fn begins_with_answer(said: &Said) -> bool {
    match said {
        Said::Messages(messages) => messages.first().is_some_and(|m| m.role == "assistant"),
        Said::Text(_) => true,
    }
}

fn preference(prompt: Said, chosen: Said, rejected: Said) -> Mapped<Example> {
    if chosen == rejected {
        return Err((RowProblemKind::Empty, "the chosen and the rejected answer are the same".into()));
    }
    let (prompt, chosen) = alike(prompt, chosen);
    let (prompt, rejected) = alike(prompt, rejected);
    Ok(Example::Preference { prompt, chosen, rejected })
}

/// TRL's `extract_prompt`: the longest common beginning is the prompt; of texts, a space before the difference goes with the answers.
/// Answers that have no beginning in common have lost their prompt, and nothing can be learnt from them.
fn implicit(chosen: Said, rejected: Said) -> Mapped<Example> {
    let nothing = || (RowProblemKind::Empty, "after their common beginning, an answer is empty".to_owned());
    let no_prompt = || {
        let reason = "no column holds the prompt, and the answers have no beginning in common";
        (RowProblemKind::MissingColumn, reason.to_owned())
    };
    match (chosen, rejected) {
        (Said::Text(c), Said::Text(r)) => {
            let common = c.chars().zip(r.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>();
            let at = if c[..common].ends_with(' ') { common - 1 } else { common };
            if at == c.len() || at == r.len() {
                return Err(nothing());
            }
            if at == 0 {
                return Err(no_prompt());
            }
            let text = |t: &str| Said::Text(t.to_owned());
            Ok(Example::Preference { prompt: text(&c[..at]), chosen: text(&c[at..]), rejected: text(&r[at..]) })
        }
        (Said::Messages(mut c), Said::Messages(mut r)) => {
            let at = c.iter().zip(&r).take_while(|(a, b)| a == b).count();
            if at == 0 {
                return Err(no_prompt());
            }
            let (chosen, rejected) = (c.split_off(at), r.split_off(at));
            if chosen.is_empty() || rejected.is_empty() {
                return Err(nothing());
            }
            Ok(Example::Preference {
                prompt: Said::Messages(c),
                chosen: Said::Messages(chosen),
                rejected: Said::Messages(rejected),
            })
        }
        (Said::Text(_), Said::Messages(_)) | (Said::Messages(_), Said::Text(_)) => {
            Err((RowProblemKind::WrongType, "one answer is a text, the other a conversation".into()))
        }
    }
}

/// Makes both sides conversations if one of them is.
fn alike(prompt: Said, answer: Said) -> (Said, Said) {
    let one = |role: &str, content| {
        Said::Messages(vec![Message { role: role.into(), content, more: serde_json::Map::new() }])
    };
    match (prompt, answer) {
        (Said::Text(p), a @ Said::Messages(_)) => (one("user", p), a),
        (p @ Said::Messages(_), Said::Text(a)) => (p, one("assistant", a)),
        same @ ((Said::Text(_), Said::Text(_)) | (Said::Messages(_), Said::Messages(_))) => same,
    }
}

pub(super) fn cell<'a>(record: &'a Record, column: &str) -> Mapped<&'a Value> {
    match record.get(column) {
        None => Err((RowProblemKind::MissingColumn, format!("column '{column}' is missing"))),
        Some(Value::Null) => Err((RowProblemKind::MissingColumn, format!("column '{column}' is null"))),
        Some(value) => Ok(value),
    }
}

fn string<'a>(record: &'a Record, column: &str) -> Mapped<&'a str> {
    match cell(record, column)? {
        Value::String(text) => Ok(text),
        other => Err((RowProblemKind::WrongType, format!("column '{column}' is {}, not a text", kind(other)))),
    }
}

/// Whether a value is true or false beyond doubt: a 1 may as well be the number of a class.
pub(crate) fn is_truth(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::String(word) => ["true", "false"].iter().any(|w| word.trim().eq_ignore_ascii_case(w)),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

pub(super) fn truth(column: &str, value: &Value) -> Mapped<bool> {
    let word = match value {
        Value::Bool(truth) => return Ok(*truth),
        Value::String(word) => word.trim().to_ascii_lowercase(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    };
    match word.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => {
            let reason = format!("column '{column}' is {}, neither true nor false", kind(value));
            Err((RowProblemKind::WrongType, reason))
        }
    }
}

fn filled(column: &str, text: &str) -> Mapped<String> {
    if text.trim().is_empty() {
        return Err((RowProblemKind::Empty, format!("column '{column}' is empty")));
    }
    Ok(text.to_owned())
}

fn said(record: &Record, column: &str) -> Mapped<Said> {
    match cell(record, column)? {
        Value::String(text) => Ok(Said::Text(filled(column, text)?)),
        value @ Value::Array(_) => Ok(Said::Messages(messages(column, value)?)),
        // LLaMA-Factory gives an answer as one message.
        Value::Object(one) => Ok(Said::Messages(messages(column, &Value::Array(vec![Value::Object(one.clone())]))?)),
        other => Err((
            RowProblemKind::WrongType,
            format!("column '{column}' is {}, neither a text nor a list of messages", kind(other)),
        )),
    }
}

/// A frame with the columns of a record in its places.
///
/// # Errors
/// What is wrong with the frame or the record, in words.
pub fn framed(template: &str, record: &Record) -> Result<String, String> {
    fill_template(template, record).map_err(|(_, reason)| reason)
}

/// Puts columns into a frame. `{{` and `}}` stand for braces; a paragraph with columns that are all empty is left out.
fn fill_template(template: &str, record: &Record) -> Mapped<String> {
    let mut paragraphs = Vec::new();
    let mut any = false;
    for paragraph in template.split("\n\n") {
        let (text, columns, full) = fill_paragraph(paragraph, record)?;
        any |= full > 0;
        if columns == 0 || full > 0 {
            paragraphs.push(text);
        }
    }
    if !any {
        return Err((RowProblemKind::Empty, "every column of the frame is empty".into()));
    }
    Ok(paragraphs.join("\n\n"))
}

/// The text of a paragraph, how many columns it names and how many of them are not empty.
fn fill_paragraph(paragraph: &str, record: &Record) -> Mapped<(String, usize, usize)> {
    let bad = |reason: String| (RowProblemKind::MissingColumn, reason);
    let (mut out, mut columns, mut full) = (String::new(), 0, 0);
    let mut rest = paragraph;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..];
        if brace.starts_with("{{") || brace.starts_with("}}") {
            out.push_str(&brace[..1]);
            rest = &brace[2..];
            continue;
        }
        let end = brace.find('}').filter(|end| *end > 0);
        let end = end.ok_or_else(|| bad("the frame has a brace without its partner".into()))?;
        let name = &brace[1..end];
        let text: Cow<'_, str> = match record.get(name) {
            None => return Err(bad(format!("column '{name}' of the frame is missing"))),
            Some(Value::Null) => "".into(),
            Some(Value::String(text)) => text.into(),
            Some(other) => other.to_string().into(),
        };
        columns += 1;
        full += usize::from(!text.trim().is_empty());
        out.push_str(&text);
        rest = &brace[end + 1..];
    }
    out.push_str(rest);
    Ok((out, columns, full))
}

/// The kind of a value, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
