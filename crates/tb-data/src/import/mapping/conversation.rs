//! Conversations as files hold them: `role`/`content`, ShareGPT's `from`/`value`, or JSON text of either.

use std::borrow::Cow;

use serde_json::{Map, Value};
use tb_core::dataset::{Message, RowProblemKind};

use super::{Mapped, kind};

/// The messages in a cell.
pub(super) fn messages(column: &str, value: &Value) -> Mapped<Vec<Message>> {
    let wrong = |what: String| (RowProblemKind::WrongType, format!("column '{column}': {what}"));
    let value: Cow<'_, Value> = match value {
        // CSV has no lists; some Parquet files keep theirs as text too.
        Value::String(text) => {
            Cow::Owned(serde_json::from_str(text).map_err(|_| wrong("a text that is no JSON list of messages".into()))?)
        }
        other => Cow::Borrowed(other),
    };
    let Value::Array(items) = value.as_ref() else {
        return Err(wrong(format!("{} where a list of messages was expected", kind(&value))));
    };
    if items.is_empty() {
        return Err((RowProblemKind::Empty, format!("column '{column}' has no messages")));
    }
    let mut messages = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let at = |reason: String| format!("column '{column}', message {}: {reason}", i + 1);
        let Value::Object(item) = item else {
            return Err((RowProblemKind::WrongType, at(format!("{} where an object was expected", kind(item)))));
        };
        let message = message(item).map_err(|(kind, reason)| (kind, at(reason)))?;
        if message.role == "system" && i > 0 {
            return Err((RowProblemKind::BadConversation, at("a system message can only come first".into())));
        }
        messages.push(message);
    }
    Ok(messages)
}

fn message(item: &Map<String, Value>) -> Mapped<Message> {
    let mut more = item.clone();
    // Parquet gives every field of the struct to every message, empty ones as null.
    more.retain(|_, value| !value.is_null());
    let (role_key, content_key) = if item.contains_key("role") { ("role", "content") } else { ("from", "value") };
    let said_role = more.shift_remove(role_key);
    let Some(Value::String(said_role)) = said_role else {
        return Err((RowProblemKind::BadConversation, format!("it has no '{role_key}'")));
    };
    let role = role(&said_role)
        .ok_or_else(|| (RowProblemKind::BadConversation, format!("the role '{said_role}' is unknown")))?;
    let calls = more.get("tool_calls").is_some_and(|c| c.as_array().is_some_and(|c| !c.is_empty()));
    let content = match more.shift_remove(content_key) {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => text_parts(&parts)?,
        None if calls => String::new(),
        None => return Err((RowProblemKind::MissingColumn, format!("it has no '{content_key}'"))),
        Some(other) => {
            return Err((RowProblemKind::WrongType, format!("its '{content_key}' is {}, not a text", kind(&other))));
        }
    };
    // An empty system message says nothing and harms nothing; an empty turn is a hole in the conversation.
    if content.trim().is_empty() && !calls && matches!(role, "user" | "assistant") {
        return Err((RowProblemKind::Empty, format!("the {role} says nothing")));
    }
    Ok(Message { role: role.to_owned(), content, more })
}

fn role(said: &str) -> Option<&'static str> {
    match said.to_ascii_lowercase().as_str() {
        "system" | "developer" => Some("system"),
        "user" | "human" => Some("user"),
        "assistant" | "gpt" | "chatgpt" | "bot" | "model" => Some("assistant"),
        "tool" | "function" | "observation" | "ipython" => Some("tool"),
        _ => None,
    }
}

/// The text of content given in parts (`[{"type": "text", "text": …}]`, LLaMA-Factory's with `value`); anything else is no text.
fn text_parts(parts: &[Value]) -> Mapped<String> {
    parts
        .iter()
        .map(|part| match (part.get("type").and_then(Value::as_str), part.get("text").or_else(|| part.get("value"))) {
            (Some("text"), Some(Value::String(text))) => Ok(text.as_str()),
            (_, _) => Err((RowProblemKind::WrongType, "only text can be learnt from, not images or sound".to_owned())),
        })
        .collect()
}
