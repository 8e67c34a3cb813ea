//! `tonebridge <noun> <verb>`: every command of the table, by name. New commands appear here by themselves.

use serde_json::{Map, Value};
use tb_api::{
    CheckState, Ctx, DoctorReport,
    commands::{COMMANDS, dispatch},
};
use tb_core::{ApiError, ErrorCode};

use crate::{
    output::{Output, table},
    train::call,
};

/// Runs `noun verb …`.
pub async fn run(ctx: &Ctx, noun: &str, words: &[String], output: &Output) -> Result<(), ApiError> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The words are taken whole, so the global flag may stand among them.
    let json = output.is_json() || words.contains(&"--json");
    words.retain(|w| *w != "--json");
    let output = &Output::new(json);
    let Some((verb, rest)) = words.split_first().filter(|(verb, _)| !verb.starts_with('-')) else {
        output.say(&help(noun));
        return Err(ApiError::new(ErrorCode::InvalidArgument, format!("`tonebridge {noun}` needs a verb.")));
    };
    let name = match (noun, *verb) {
        ("settings", "fields") => "training_fields".to_owned(),
        ("settings", "devices") => "devices".to_owned(),
        _ => format!("{noun}_{}", verb.replace('-', "_")),
    };
    let mut arguments = arguments(&name, rest)?;
    if name == "job_start"
        && let Some(sets) = arguments.remove("set")
    {
        let sets: Vec<String> = match sets {
            Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::String(one) => vec![one],
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        };
        arguments.insert("hyperparameters".into(), Value::Object(crate::train::changes(&sets)?));
    }
    ctx.settle().await?;
    let result = dispatch(ctx, &name, Value::Object(arguments)).await?;
    if matches!(name.as_str(), "job_start" | "job_resume" | "eval_start") {
        ctx.settle().await?;
    }
    output.result(&result, &shown(&result));
    Ok(())
}

/// `tonebridge doctor`.
pub async fn doctor(ctx: &Ctx, output: &Output) -> Result<(), ApiError> {
    let report: DoctorReport = call(ctx, "doctor", Value::Null).await?;
    let mut text = format!("ToneBridge {}\n", report.version);
    for check in &report.checks {
        let mark = match check.state {
            CheckState::Ok => "✓",
            CheckState::Warn => "!",
            CheckState::Fail => "✗",
        };
        text += &format!("{mark} {:<12} {}", check.name, check.detail);
        if !check.hint.is_empty() {
            text += &format!("\n  {:<12} {}", "", check.hint);
        }
        text.push('\n');
    }
    let value = serde_json::to_value(&report).unwrap_or(Value::Null);
    output.result(&value, &text);
    if report.is_well() {
        Ok(())
    } else {
        Err(ApiError::new(ErrorCode::Unavailable, "Something that the work needs is missing: see the lines with ✗."))
    }
}

fn help(noun: &str) -> String {
    let mut text = format!("usage: tonebridge {noun} VERB [ID or PATH] [--name value]...\n\n");
    for command in COMMANDS.iter().filter(|c| c.name.starts_with(&format!("{noun}_"))) {
        let verb = command.name.trim_start_matches(noun).trim_start_matches('_').replace('_', "-");
        text += &format!("  {verb:<16}{}\n", command.help.trim());
    }
    text
}

/// Words as the command's arguments: the first bare word is its id, path or repository; `--name value` is any other.
/// A value that is JSON is taken as JSON, everything else as text; a name given twice makes a list.
fn arguments(name: &str, words: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let bare = match name {
        "data_preview" | "data_import" => "path",
        "events_after" => "seq",
        "model_download" => "repo",
        _ => "id",
    };
    let mut map = Map::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (key, text) = match word.strip_prefix("--") {
            None => (bare.to_owned(), Some((*word).to_owned())),
            Some(flag) => match flag.split_once('=') {
                Some((key, value)) if key != "set" => (key.replace('-', "_"), Some(value.to_owned())),
                Some(_) | None => (flag.replace('-', "_"), words.next().map(|w| (*w).to_owned())),
            },
        };
        let text = text.ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was done: {word} needs a value."))
        })?;
        let value = match key.as_str() {
            // A name or a path that looks like a number is still text.
            "id" | "path" | "test_path" | "name" | "description" | "repo" | "revision" | "set" | "base_model"
            | "data" | "eval_data" | "adapter" | "model" | "dataset_id" | "model_id" => Value::String(text),
            _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        };
        match map.get_mut(&key) {
            None => {
                map.insert(key, value);
            }
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Ok(map)
}

/// A result for people: lists of things as a table of their short fields, one thing as its fields.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().all(Value::is_object) => {
            let Some(Value::Object(first)) = items.first() else { return "Nothing yet.".into() };
            let columns: Vec<&String> = first
                .keys()
                .filter(|key| items.iter().all(|item| item.get(*key).is_none_or(|v| cell(v).is_some())))
                .take(9)
                .collect();
            let rows: Vec<Vec<String>> = items
                .iter()
                .map(|item| columns.iter().map(|c| item.get(*c).and_then(cell).unwrap_or_default()).collect())
                .collect();
            table(&columns.iter().map(|c| c.as_str()).collect::<Vec<_>>(), &rows)
        }
        Value::Object(map) => {
            let mut text = String::new();
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("card", Value::String(card)) => text += &format!("\n{card}\n"),
                    _ => text += &format!("{key:<20} {}\n", cell(value).unwrap_or_else(|| value.to_string())),
                }
            }
            text
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            cell(value).unwrap_or_else(|| value.to_string())
        }
    }
}

/// A short value as one cell; none for anything that would fill more than one.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("–".into()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        Value::String(s) => {
            let line: String = s.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
            Some(if s.chars().count() > 60 { format!("{line}…") } else { line })
        }
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_become_arguments() {
        let map = arguments(
            "data_import",
            &["f.csv", "--test-share", "0.1", "--name", "7", "--mapping", r#"{"shape":"text","text":"t"}"#],
        )
        .unwrap();
        assert_eq!(
            Value::Object(map),
            json!({"path": "f.csv", "test_share": 0.1, "name": "7", "mapping": {"shape": "text", "text": "t"}})
        );
        assert!(arguments("job_get", &["--id"]).is_err());
        let map = arguments("job_start", &["--set", "a=1", "--set", "b=2"]).unwrap();
        assert_eq!(map["set"], json!(["a=1", "b=2"]));
    }

    #[test]
    fn cells_show_no_control_characters() {
        assert_eq!(cell(&json!("a\u{1b}[31mb\n")).unwrap(), "a [31mb ");
    }
}
