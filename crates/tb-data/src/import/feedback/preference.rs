//! The layouts of public preference sets. Two answers to one prompt: `prompt, chosen, rejected`, each a text or a list of messages,
//! and dialogues without a prompt, in messages or written out (Bai et al. 2022: "\n\nHuman: … \n\nAssistant: …"). One answer with
//! a label that says whether it is good (Ethayarajh et al. 2024): `prompt, completion, label`, or `messages, label`.

use serde_json::Value;
use tb_core::{
    dataset::{ColumnMapping, Example, Message, RowProblemKind, Said},
    feedback::Thumbs,
};

use super::{Bad, Mapped};
use crate::import::{
    Record,
    mapping::{cell, detect_mapping, example, truth},
};

/// What stands before each answer of a dialogue that is written out.
const TURN: &str = "\n\nAssistant:";

/// What a public set says of one prompt.
pub(super) enum Public {
    /// A better and a worse answer.
    Pair {
        /// The prompt.
        prompt: String,
        /// The better one.
        chosen: String,
        /// The worse one.
        rejected: String,
    },
    /// One answer, and what is thought of it.
    Labelled {
        /// The prompt.
        prompt: String,
        /// The answer.
        completion: String,
        /// What is thought of it.
        thumbs: Thumbs,
    },
}

/// What a record of a public set says; none if it is laid out in the fields of a row.
pub(super) fn find(record: &Record) -> Mapped<Option<Public>> {
    if record.contains_key("input_text") {
        return Ok(None);
    }
    let mapping = match detect_mapping([record].into_iter()) {
        Some(mapping @ (ColumnMapping::Preference { .. } | ColumnMapping::Unpaired { .. })) => mapping,
        Some(mapping @ ColumnMapping::Messages { .. }) if record.contains_key("label") => mapping,
        Some(_) | None => return half(record),
    };
    if let ColumnMapping::Preference { prompt: None, chosen, rejected } = &mapping
        && let (Some(Value::String(chosen)), Some(Value::String(rejected))) = (record.get(chosen), record.get(rejected))
        && let Some(pair) = dialogues(chosen, rejected)
    {
        return pair.map(Some);
    }
    match example(&mapping, record)? {
        Example::Preference { prompt, chosen, rejected } => {
            Ok(Some(Public::Pair { prompt: text(prompt)?, chosen: text(chosen)?, rejected: text(rejected)? }))
        }
        Example::Unpaired { prompt, completion, label } => {
            Ok(Some(Public::Labelled { prompt: text(prompt)?, completion: text(completion)?, thumbs: thumbs(label) }))
        }
        Example::Messages { mut messages } => {
            let label = truth("label", cell(record, "label")?)?;
            let answer = messages.pop().filter(|last| last.role == "assistant" && !messages.is_empty());
            let Some(answer) = answer else {
                let reason = "it does not end with an answer of the assistant";
                return Err((RowProblemKind::BadConversation, reason.to_owned()));
            };
            let (prompt, completion) = (text(Said::Messages(messages))?, text(Said::Messages(vec![answer]))?);
            Ok(Some(Public::Labelled { prompt, completion, thumbs: thumbs(label) }))
        }
        Example::PromptCompletion { .. } | Example::Text { .. } => Ok(None),
    }
}

/// Half a pair is named as such, and not as a row without an input.
fn half(record: &Record) -> Mapped<Option<Public>> {
    match ["chosen", "rejected"].iter().find(|column| !record.contains_key(**column)) {
        Some(missing) if record.contains_key("chosen") || record.contains_key("rejected") => {
            Err((RowProblemKind::MissingColumn, format!("column '{missing}' is missing")))
        }
        Some(_) | None => Ok(None),
    }
}

fn thumbs(is_good: bool) -> Thumbs {
    if is_good { Thumbs::Up } else { Thumbs::Down }
}

/// Two dialogues that are written out: up to the last answer that both begin, they are the prompt. What follows is kept to the byte,
/// its first space included, so that prompt and answer together are the dialogue. None if they are no dialogues.
fn dialogues(chosen: &str, rejected: &str) -> Option<Mapped<Public>> {
    let common: usize =
        chosen.chars().zip(rejected.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let at = chosen[..common].rfind(TURN)? + TURN.len();
    let empty =
        |which: &str| Some(Err((RowProblemKind::Empty, format!("the {which} dialogue ends without an answer"))));
    if chosen[at..].trim().is_empty() {
        return empty("chosen");
    }
    if rejected[at..].trim().is_empty() {
        return empty("rejected");
    }
    if chosen == rejected {
        return Some(Err((RowProblemKind::Empty, "the chosen and the rejected answer are the same".into())));
    }
    let part = |text: &str| text.to_owned();
    Some(Ok(Public::Pair { prompt: part(&chosen[..at]), chosen: part(&chosen[at..]), rejected: part(&rejected[at..]) }))
}

/// A text as it is; one message as its content; several written out as a dialogue.
fn text(said: Said) -> Mapped<String> {
    let messages = match said {
        Said::Text(text) => return Ok(text),
        Said::Messages(messages) => messages,
    };
    if messages.iter().any(|message| message.more.contains_key("tool_calls")) {
        let bad: Bad = (RowProblemKind::WrongType, "it calls tools, which the texts of feedback cannot hold".into());
        return Err(bad);
    }
    if let [Message { content, .. }] = &messages[..] {
        return Ok(content.clone());
    }
    Ok(messages.iter().map(|message| format!("\n\n{}: {}", who(&message.role), message.content)).collect())
}

fn who(role: &str) -> &str {
    match role {
        "user" => "Human",
        "assistant" => "Assistant",
        "system" => "System",
        other => other,
    }
}
