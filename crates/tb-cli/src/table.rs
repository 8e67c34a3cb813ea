//! `tonebridge <noun> <verb>`: every command of the table, by name. New commands appear here by themselves.

use serde_json::{Map, Value};
use tb_api::{
    CheckState, Ctx, DoctorReport,
    commands::{COMMANDS, dispatch},
    streams::STREAMS,
};
use tb_core::{ApiError, ErrorCode};

use crate::{
    download, export, feedback, hidden, label,
    output::{Output, table, time},
    preference,
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
    let name = command_name(noun, verb);
    let arguments = match name.as_str() {
        "job_start" | "job_estimate" | "job_limits" | "sample_start" => form(arguments(&name, rest)?)?,
        "settings_set" => settings(rest)?,
        "secret_set" => hidden::secret(arguments(&name, rest)?, &mut hidden::Standard)?,
        "user_add" => hidden::of_new_user(arguments(&name, rest)?, &mut hidden::Standard)?,
        "user_set_password" => hidden::of_user(arguments(&name, rest)?, &mut hidden::Standard)?,
        _ => label::arguments(&name, feedback::arguments(&name, arguments(&name, rest)?)?)?,
    };
    match name.as_str() {
        "model_download" => return download::run(ctx, Value::Object(arguments), output).await,
        "model_export" => return export::registered(ctx, Value::Object(arguments), output).await,
        _ => {}
    }
    ctx.settle().await?;
    // Asked of a row of feedback, the question goes the other way: what learned from it.
    if name == "provenance" && arguments.get("id").and_then(Value::as_str).is_some_and(|id| id.starts_with("fbk_")) {
        let row = dispatch(ctx, "feedback_get", Value::Object(arguments)).await?;
        output.result(&row["learned"], &feedback::learned_from(&row));
        return Ok(());
    }
    let result = dispatch(ctx, &name, Value::Object(arguments)).await?;
    if matches!(name.as_str(), "job_start" | "job_resume" | "sample_start" | "eval_start") {
        ctx.settle().await?;
    }
    let special = [feedback::shown, label::shown, preference::shown];
    let text = special.iter().find_map(|shown| shown(&name, &result)).unwrap_or_else(|| shown(&result));
    output.result(&result, &text);
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

/// Commands whose names do not begin with the noun under which they are found.
const ELSEWHERE: [(&str, &str, &str); 8] = [
    ("feedback", "diff", "text_diff"),
    ("feedback", "provenance", "provenance"),
    ("feedback", "marks", "provenance_marks"),
    ("settings", "fields", "training_fields"),
    ("settings", "devices", "devices"),
    ("settings", "status", "status"),
    ("settings", "storage", "storage"),
    ("user", "whoami", "whoami"),
];

/// The command of a noun and a verb.
fn command_name(noun: &str, verb: &str) -> String {
    let found = ELSEWHERE.iter().find(|(n, v, _)| (*n, *v) == (noun, verb));
    found.map_or_else(|| format!("{noun}_{}", verb.replace('-', "_")), |(_, _, name)| (*name).to_owned())
}

/// The verb of a command under a noun, if it is found there.
fn verb_of(noun: &str, command: &str) -> Option<String> {
    match ELSEWHERE.iter().find(|(_, _, name)| *name == command) {
        Some((n, verb, _)) => (*n == noun).then(|| (*verb).to_owned()),
        None => command.strip_prefix(noun)?.strip_prefix('_').map(|verb| verb.replace('_', "-")),
    }
}

fn help(noun: &str) -> String {
    let mut text = format!("usage: tonebridge {noun} VERB [ID or PATH] [--name value]...\n\n");
    let streams = STREAMS.iter().map(|stream| (stream.name, stream.help));
    for (name, help) in COMMANDS.iter().map(|command| (command.name, command.help)).chain(streams) {
        if let Some(verb) = verb_of(noun, name) {
            text += &format!("  {verb:<16}{}\n", help.trim());
        }
    }
    text
}

/// A training form: `--spec FILE` is its beginning, every other option goes over it, and `--set key=value` over its hyperparameters.
fn form(mut given: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let refuse = |why: String| ApiError::new(ErrorCode::InvalidArgument, format!("No run was started: {why}."));
    let sets: Vec<String> = match given.remove("set") {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
    };
    let mut form = match given.remove("spec") {
        None => Map::new(),
        Some(path) => {
            let path = path.as_str().map(str::to_owned).unwrap_or_else(|| path.to_string());
            let text = std::fs::read_to_string(&path).map_err(|e| refuse(format!("{path} cannot be read: {e}")))?;
            serde_json::from_str(&text).map_err(|e| refuse(format!("{path} is no spec file: {e}")))?
        }
    };
    form.extend(given);
    let changes = crate::train::changes(&sets)?;
    if !changes.is_empty() {
        match form.entry("hyperparameters").or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(all) => all.extend(changes),
            other => *other = Value::Object(changes),
        }
    }
    Ok(form)
}

/// `name=value …` as the changes of `settings_set`; `name=` goes back to the default.
fn settings(words: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let mut changes = Map::new();
    for word in words {
        let (name, value) = crate::home::key_value(word)?;
        changes.insert(name, if value.is_empty() { Value::Null } else { Value::String(value) });
    }
    Ok(Map::from_iter([("changes".to_owned(), Value::Object(changes))]))
}

/// Words as the command's arguments: the first bare word is its id, path or repository; `--name value` is any other.
/// A value that is JSON is taken as JSON, everything else as text; a name given twice makes a list.
fn arguments(name: &str, words: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let bare = match name {
        "data_preview" | "data_import" | "base_inspect" | "base_add" | "base_remove" | "base_template"
        | "feedback_import" | "feedback_export" => "path",
        "secret_set" | "secret_clear" | "user_add" | "token_create" => "name",
        "audit_list" => "subject",
        "events_after" => "seq",
        "model_download" => "repo",
        _ => label::bare(name).unwrap_or("id"),
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
            "revision" if name == "model_download" => Value::String(text),
            "id" | "path" | "test_path" | "name" | "description" | "repo" | "file" | "set" | "answer"
            | "guidelines" | "note" | "base_model" | "data" | "eval_data" | "adapter" | "model" | "dataset_id"
            | "model_id" | "spec" | "value" | "password" | "old" | "user" | "actor" | "subject" | "command" => {
                Value::String(text)
            }
            text_only if feedback::TEXTS.contains(&text_only) => Value::String(text),
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
                .map(|item| {
                    columns.iter().map(|c| item.get(*c).and_then(|v| named(c, v)).unwrap_or_default()).collect()
                })
                .collect();
            table(&columns.iter().map(|c| title(c)).collect::<Vec<_>>(), &rows)
        }
        Value::Object(map) => {
            let mut text = String::new();
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("card", Value::String(card)) => text += &format!("\n{card}\n"),
                    _ => {
                        text +=
                            &format!("{:<20} {}\n", title(key), named(key, value).unwrap_or_else(|| value.to_string()))
                    }
                }
            }
            text
        }
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            cell(value).unwrap_or_else(|| value.to_string())
        }
    }
}

/// A field's name as people read it: a moment is no number of milliseconds.
fn title(key: &str) -> &str {
    key.strip_suffix("_at_ms").unwrap_or(if key == "at_ms" { "time" } else { key })
}

/// A field's value as one cell.
fn named(key: &str, value: &Value) -> Option<String> {
    if (key == "at_ms" || key.ends_with("_at_ms")) && value.is_i64() { Some(time(value)) } else { cell(value) }
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
    fn every_command_is_found_under_a_noun() {
        use clap::CommandFactory;
        let program = crate::args::Args::command();
        let nouns: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
        // `doctor` and `generate` are words of their own.
        let names = COMMANDS.iter().map(|c| c.name).chain(STREAMS.iter().map(|s| s.name));
        for name in names.filter(|name| !["doctor", "generate"].contains(name)) {
            let found = nouns.iter().find_map(|noun| Some((*noun, verb_of(noun, name)?)));
            let (noun, verb) = found.unwrap_or_else(|| panic!("{name} cannot be reached"));
            assert_eq!(command_name(noun, &verb), name);
        }
    }

    #[test]
    fn a_spec_file_is_the_beginning_of_a_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spec.json");
        std::fs::write(&path, r#"{"name": "a", "base_model": "/m", "hyperparameters": {"lora_r": 4, "seed": 1}}"#)
            .unwrap();
        let words = ["--spec", path.to_str().unwrap(), "--name", "b", "--set", "seed=2"];
        let form = form(arguments("job_start", &words).unwrap()).unwrap();
        assert_eq!(
            Value::Object(form),
            json!({"name": "b", "base_model": "/m", "hyperparameters": {"lora_r": 4, "seed": "2"}})
        );
        assert!(super::form(arguments("job_start", &["--spec", "/nowhere.json"]).unwrap()).is_err());
    }

    #[test]
    fn settings_are_pairs() {
        let changes = settings(&["lora_r=16", "offline="]).unwrap();
        assert_eq!(Value::Object(changes), json!({"changes": {"lora_r": "16", "offline": null}}));
    }

    #[test]
    fn users_are_called_by_names_that_may_be_numbers() {
        let map = arguments("user_add", &["7", "--role", "viewer"]).unwrap();
        assert_eq!(Value::Object(map), json!({"name": "7", "role": "viewer"}));
        let map = arguments("token_create", &["nightly", "--user", "7", "--expires-in-days", "90"]).unwrap();
        assert_eq!(Value::Object(map), json!({"name": "nightly", "user": "7", "expires_in_days": 90}));
    }

    #[test]
    fn cells_show_no_control_characters() {
        assert_eq!(cell(&json!("a\u{1b}[31mb\n")).unwrap(), "a [31mb ");
    }

    #[test]
    fn moments_are_shown_as_times() {
        let users = json!([{"name": "aki", "created_at_ms": 86_400_000, "last_seen_at_ms": null}]);
        assert_eq!(shown(&users), "name  created           last_seen\naki   1970-01-02 00:00          –\n");
    }

    #[test]
    fn a_bare_word_is_what_the_command_is_about() {
        let map = |name, words: &[&str]| Value::Object(arguments(name, words).unwrap());
        assert_eq!(map("label_agreement", &["lbl_1"]), json!({"project_id": "lbl_1"}));
        assert_eq!(map("label_flag", &["itm_1", "--note", "7"]), json!({"item_id": "itm_1", "note": "7"}));
        assert_eq!(map("label_project_update", &["lbl_1", "--revision", "3"]), json!({"id": "lbl_1", "revision": 3}));
        assert_eq!(map("model_download", &["a/b", "--revision", "3"]), json!({"repo": "a/b", "revision": "3"}));
    }
}
