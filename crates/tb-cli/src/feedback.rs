//! `tonebridge feedback …`: words as the feedback commands take them, and what they give as people read it.

use serde_json::{Map, Value};
use tb_api::moment;
use tb_core::{ApiError, ErrorCode};

use crate::output::{list, mean, pieces, plain, short, table, text, time};

/// Options whose value is a text whatever it looks like.
pub const TEXTS: [&str; 9] = [
    "session_id",
    "input_text",
    "output_text",
    "corrected_text",
    "other_text",
    "transformation_type",
    "critique",
    "reason",
    "idempotency_key",
];

/// The columns that make a choice.
const CHOICE: [&str; 4] = ["preferred", "other_text", "other_model_id", "shown"];

/// Arguments as a command takes them: the options that select rows, those of a choice, times, and a single flag.
pub fn arguments(name: &str, mut given: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    for (word, field) in [("since", "since_ms"), ("until", "until_ms")] {
        if let Some(value) = given.remove(word) {
            given.insert(field.to_owned(), ms(word, &value)?);
        }
    }
    match name {
        "feedback_list" => Ok(selected(given, &["after", "limit"])),
        "feedback_export" => Ok(selected(given, &["path"])),
        "feedback_submit" => {
            let mut choice = Map::new();
            for column in CHOICE {
                if let Some(value) = given.remove(column) {
                    choice.insert(column.to_owned(), value);
                }
            }
            if !choice.is_empty() {
                given.insert("choice".to_owned(), Value::Object(choice));
            }
            if let Some(one @ Value::String(_)) = given.get_mut("flags") {
                *one = Value::Array(vec![one.take()]);
            }
            Ok(given)
        }
        _ => Ok(given),
    }
}

/// A time as people write it, such as `2026-03-01`, or in milliseconds.
fn ms(word: &str, value: &Value) -> Result<Value, ApiError> {
    let parsed =
        if value.is_i64() { Some(value.clone()) } else { value.as_str().and_then(moment::parse).map(Value::from) };
    parsed.ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was done: --{word} {value} is no time."))
            .hint("Give a day, such as 2026-03-01, or a time, such as 2026-03-01T09:30:00+09:00.")
    })
}

/// Everything but the command's own fields selects rows.
fn selected(given: Map<String, Value>, own: &[&str]) -> Map<String, Value> {
    let (mut kept, mut selection): (Map<String, Value>, Map<String, Value>) =
        given.into_iter().partition(|(field, _)| own.contains(&field.as_str()) || field == "selection");
    if !selection.is_empty() {
        if let Some(Value::Object(whole)) = kept.remove("selection") {
            selection.extend(whole);
        }
        kept.insert("selection".to_owned(), Value::Object(selection));
    }
    kept
}

/// A result as people read it; none for commands whose fields say enough.
pub fn shown(name: &str, value: &Value) -> Option<String> {
    match name {
        "feedback_list" => Some(rows(value.as_array()?)),
        "feedback_get" => Some(row(value)),
        "feedback_stats" => Some(statistics(value)),
        "feedback_import" => Some(imported(value)),
        "feedback_export" => Some(format!("{} rows in {}", value["rows"], text(&value["path"]))),
        "feedback_withdraw" => Some(format!("{} is withdrawn.\n{}", text(&value["id"]), learned(&value["learned"]))),
        "provenance" => Some(made_of(value)),
        "text_diff" => Some(format!("{}\ndistance {:.3}", pieces(&value["pieces"]), value["distance"].as_f64()?)),
        _ => None,
    }
}

fn rows(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "No feedback yet.".into();
    }
    let cells = |row: &Value| {
        vec![
            text(&row["id"]).to_owned(),
            time(&row["created_at_ms"]),
            text(&row["source"]).to_owned(),
            said(row),
            short(&row["input_text"], 32),
            short(&row["output_text"], 32),
            if row["withdrawn_at_ms"].is_null() { String::new() } else { "withdrawn".to_owned() },
        ]
    };
    table(&["id", "time", "from", "says", "input", "output", ""], &rows.iter().map(cells).collect::<Vec<_>>())
}

/// What a row says, in a few words.
fn said(row: &Value) -> String {
    let mut words = Vec::new();
    if let Some(stars) = row["rating"].as_u64() {
        words.push(format!("{stars}/5"));
    }
    if let Some(thumbs) = row["thumbs"].as_str() {
        words.push(thumbs.to_owned());
    }
    if let Some(preferred) = row["choice"]["preferred"].as_str() {
        words.push(format!("prefers {preferred}"));
    }
    for (field, word) in [("corrected_text", "corrected"), ("critique", "critique")] {
        if row[field].is_string() {
            words.push(word.to_owned());
        }
    }
    words.extend(row["flags"].as_array().into_iter().flatten().map(|flag| format!("!{}", short(flag, 16))));
    words.join(" ")
}

fn row(page: &Value) -> String {
    let row = &page["feedback"];
    let mut lines = vec![
        ("id", text(&row["id"]).to_owned()),
        ("time", time(&row["created_at_ms"])),
        ("by", page["user_name"].as_str().unwrap_or("–").to_owned()),
        ("from", text(&row["source"]).to_owned()),
        ("says", said(row)),
        ("session", text(&row["session_id"]).to_owned()),
        ("model", text(&row["model_id"]).to_owned()),
        ("type", text(&row["transformation_type"]).to_owned()),
        ("input", plain(text(&row["input_text"]))),
        ("output", plain(text(&row["output_text"]))),
    ];
    if page["correction_diff"].is_array() {
        lines.push(("corrected", pieces(&page["correction_diff"])));
    }
    if let Some(other) = row["choice"]["other_text"].as_str() {
        lines.push(("other output", plain(other)));
    }
    if let Some(critique) = row["critique"].as_str() {
        lines.push(("critique", plain(critique)));
    }
    if !row["withdrawn_at_ms"].is_null() {
        let why = plain(text(&row["withdrawn_reason"]));
        lines.push(("withdrawn", format!("{} {why}", time(&row["withdrawn_at_ms"]))));
    }
    let lines: String = lines
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:<14}{value}\n"))
        .collect();
    lines + &learned(&page["learned"])
}

/// Which feedback a dataset version or a model was made of.
fn made_of(value: &Value) -> String {
    let rows = list(&value["rows"]);
    let mut out =
        format!("{} rows of feedback, {} of them withdrawn since.\n", value["feedback_rows"], value["withdrawn"]);
    let datasets = versions(&value["datasets"]);
    if !datasets.is_empty() {
        out += &format!("By way of {datasets}.\n");
    }
    rows.iter().for_each(|id| out += &format!("{}\n", text(id)));
    if value["feedback_rows"].as_u64() > Some(rows.len() as u64) {
        out += "…\n";
    }
    out
}

/// Names with their versions.
fn versions(all: &Value) -> String {
    let named = |one: &Value| format!("{} version {}", text(&one["name"]), one["version"]);
    list(all).iter().map(named).collect::<Vec<_>>().join(", ")
}

/// Which dataset versions and models learned from a row.
pub fn learned_from(value: &Value) -> String {
    let learned = learned(&value["learned"]);
    if learned.is_empty() { "No dataset version and no model learned from it.".into() } else { learned }
}

fn learned(learned: &Value) -> String {
    [("datasets", "In the datasets"), ("models", "Learned by the models")]
        .into_iter()
        .map(|(kind, says)| (says, versions(&learned[kind])))
        .filter(|(_, names)| !names.is_empty())
        .map(|(says, names)| format!("{says}: {names}\n"))
        .collect()
}

fn imported(value: &Value) -> String {
    let number = |field: &str| value[field].as_u64().unwrap_or(0);
    let mut out = format!(
        "{} rows stored, {} known from before, {} cannot be used.\n",
        number("stored"),
        number("known"),
        number("num_problems")
    );
    let problems = value["problems"].as_array().map_or(&[][..], Vec::as_slice);
    if problems.is_empty() {
        return out;
    }
    let rows: Vec<Vec<String>> = problems
        .iter()
        .map(|p| {
            vec![p["line"].to_string(), text(&p["kind"]).to_owned(), short(&p["reason"], 80), short(&p["excerpt"], 40)]
        })
        .collect();
    out.push('\n');
    out += &table(&["line", "kind", "reason", "beginning"], &rows);
    if number("num_problems") > problems.len() as u64 {
        out += "…\n";
    }
    out + &format!("All of them: {}\n", text(&value["problems_path"]))
}

fn statistics(report: &Value) -> String {
    const HEAD: [&str; 8] = ["rows", "rating", "thumbs up", "won", "choices", "corrected", "distance", "flagged"];
    let figures = |f: &Value| {
        let choices: u64 = f["choices"].as_array().into_iter().flatten().filter_map(Value::as_u64).sum();
        vec![
            f["rows"].to_string(),
            mean(&f["rating"], 1.0, ""),
            mean(&f["thumbs_up"], 100.0, " %"),
            mean(&f["win_rate"], 100.0, " %"),
            choices.to_string(),
            f["corrections"].to_string(),
            mean(&f["correction_distance"], 1.0, ""),
            f["flagged"].to_string(),
        ]
    };
    let mut out = table(&HEAD, &[figures(&report["total"])]);
    let stars: Vec<String> = (1..)
        .zip(report["total"]["by_rating"].as_array().into_iter().flatten())
        .map(|(stars, rows)| format!("{stars}: {rows}"))
        .collect();
    out += &format!("ratings  {}\n", stars.join("  "));
    for (title, list) in [("model", "models"), ("type", "transformation_types"), ("reviewer", "reviewers")] {
        let rows: Vec<Vec<String>> = report[list]
            .as_array()
            .into_iter()
            .flatten()
            .map(|group| {
                let version = group["version"].as_u64().map(|version| format!(" {version}")).unwrap_or_default();
                let name = [text(&group["name"]), "–"].into_iter().find(|name| !name.is_empty()).unwrap_or_default();
                [vec![format!("{}{version}", plain(name))], figures(&group["figures"])].concat()
            })
            .collect();
        if !rows.is_empty() {
            out += &format!("\n{}", table(&[&[title], &HEAD[..]].concat(), &rows));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(name: &str, given: Value) -> Value {
        let Value::Object(given) = given else { panic!("an object") };
        Value::Object(arguments(name, given).unwrap())
    }

    #[test]
    fn options_go_where_the_command_wants_them() {
        assert_eq!(
            of("feedback_list", json!({"model_id": "m", "limit": 5, "since": "1970-01-02"})),
            json!({"limit": 5, "selection": {"model_id": "m", "since_ms": 86_400_000}})
        );
        assert_eq!(of("feedback_export", json!({"path": "a.csv"})), json!({"path": "a.csv"}));
        assert_eq!(of("feedback_stats", json!({"until": 5})), json!({"until_ms": 5}));
        assert_eq!(
            of("feedback_submit", json!({"input_text": "a", "preferred": "a", "other_text": "b", "flags": "tone"})),
            json!({"input_text": "a", "flags": ["tone"], "choice": {"preferred": "a", "other_text": "b"}})
        );
        let Value::Object(bad) = json!({"since": "soon"}) else { panic!("an object") };
        assert!(arguments("feedback_stats", bad).is_err());
    }

    #[test]
    fn an_import_shows_its_problems_as_a_table() {
        let value = json!({"stored": 2, "known": 1, "num_problems": 1, "problems_path": "/p", "problems": [
            {"line": 3, "kind": "wrong_type", "reason": "column 'rating': 9 is no rating", "excerpt": "{\u{1b}[31m\"a\""}]});
        let out = shown("feedback_import", &value).unwrap();
        assert!(out.starts_with("2 rows stored, 1 known from before, 1 cannot be used.\n"), "{out}");
        assert!(out.contains("   3  wrong_type  column 'rating': 9 is no rating  { [31m\"a\""), "{out}");
        assert!(out.ends_with("All of them: /p\n"), "{out}");
    }
}
