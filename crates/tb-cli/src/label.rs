//! `tonebridge label …`: words as the labelling commands take them, and what they give as people read it.

use serde_json::{Map, Value, json};
use tb_core::{ApiError, ErrorCode};

use crate::output::{list, mean, pieces, plain, short, table, text};

/// The argument that a bare word is.
pub fn bare(name: &str) -> Option<&'static str> {
    match name {
        "label_take" | "label_undo" | "label_done" | "label_own_agreement" | "label_agreement" | "label_items" => {
            Some("project_id")
        }
        "label_draft" | "label_submit" | "label_skip" | "label_flag" | "label_adjudicate" | "label_clear_flags"
        | "label_gold" => Some("item_id"),
        "label_project_create" => Some("name"),
        _ => None,
    }
}

/// Arguments as a command takes them: where a new project's items come from, and answers as `--answer question=value`.
pub fn arguments(name: &str, mut given: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    match name {
        "label_project_create" if !given.contains_key("source") => {
            let source = source(&mut given);
            given.insert("source".to_owned(), source);
        }
        "label_draft" | "label_submit" | "label_adjudicate" | "label_gold" => {
            let words: Vec<Value> = match given.remove("answer") {
                None => return Ok(given),
                Some(Value::Array(words)) => words,
                Some(word) => vec![word],
            };
            let mut answers = Map::new();
            for word in words {
                let (question, value) = word.as_str().and_then(|word| word.split_once('=')).ok_or_else(|| {
                    ApiError::new(
                        ErrorCode::InvalidArgument,
                        format!("Nothing was stored: --answer {word} names no question."),
                    )
                    .hint("Write --answer rating=4, once for each question.")
                })?;
                answers.insert(question.to_owned(), answer(value));
            }
            given.insert("answers".to_owned(), Value::Object(answers));
        }
        _ => {}
    }
    Ok(given)
}

/// A dataset's rows, what one model or two answer to them, or without a dataset what came from production.
fn source(given: &mut Map<String, Value>) -> Value {
    let mut take = |name: &str| given.remove(name).unwrap_or(Value::Null);
    let (dataset, model, other) = (take("dataset_id"), take("model_id"), take("other_model_id"));
    if dataset.is_null() {
        return json!({ "kind": "traffic", "model_id": model, "since_ms": take("since_ms").as_i64().unwrap_or(0) });
    }
    let split = match take("split") {
        Value::Null => json!(if model.is_null() { "train" } else { "test" }),
        split => split,
    };
    match (model.is_null(), other.is_null()) {
        (true, _) => json!({ "kind": "dataset", "dataset_id": dataset, "split": split }),
        (false, true) => json!({ "kind": "outputs", "dataset_id": dataset, "split": split, "model_id": model }),
        (false, false) => {
            json!({ "kind": "pair", "dataset_id": dataset, "split": split, "model_a_id": model, "model_b_id": other })
        }
    }
}

/// A number of stars, a list in JSON, or a text.
fn answer(value: &str) -> Value {
    match serde_json::from_str(value) {
        Ok(parsed @ (Value::Number(_) | Value::Array(_))) => parsed,
        Ok(Value::Null | Value::Bool(_) | Value::String(_) | Value::Object(_)) | Err(_) => {
            Value::String(value.to_owned())
        }
    }
}

/// A result as people read it; none for commands whose fields say enough.
pub fn shown(name: &str, value: &Value) -> Option<String> {
    match name {
        "label_project_list" => Some(projects(list(value))),
        "label_project_get" => Some(project(&value["project"], list(&value["source_names"]))),
        "label_project_create" | "label_project_update" => Some(project(value, &[])),
        "label_take" | "label_undo" | "label_skip" => Some(hand(value)),
        "label_submit" => Some(format!("Stored as {}.\n\n{}", text(&value["feedback_id"]), hand(&value["hand"]))),
        "label_items" => Some(items(list(value))),
        "label_agreement" => Some(agreement(value)),
        _ => None,
    }
}

fn projects(all: &[Value]) -> String {
    if all.is_empty() {
        return "No labelling project yet.".into();
    }
    let cells = |one: &Value| {
        let project = &one["project"];
        vec![
            text(&project["id"]).to_owned(),
            short(&project["name"], 40),
            text(&project["status"]).to_owned(),
            format!("{} of {}", project["num_done"], project["num_items"]),
            project["num_answers"].to_string(),
            one["progress"]["left"].to_string(),
            source_of(project, list(&one["source_names"])),
        ]
    };
    let head = ["id", "name", "state", "judged", "answers", "left for you", "from"];
    table(&head, &all.iter().map(cells).collect::<Vec<_>>())
}

/// What a project's items come from: the names, where they are known.
fn source_of(project: &Value, names: &[Value]) -> String {
    let names: Vec<String> = names.iter().map(|name| plain(text(name))).collect();
    if names.is_empty() { text(&project["source"]["kind"]).to_owned() } else { names.join(", ") }
}

fn project(project: &Value, from: &[Value]) -> String {
    let mut out = format!("{}  {}, {}", text(&project["id"]), plain(text(&project["name"])), text(&project["status"]));
    if let Some(message) = project["message"].as_str() {
        out += &format!(": {}", plain(message));
    }
    let from = source_of(project, from);
    out += &format!(
        "\n{} of {} items judged by {} each, from {from}, order {}, revision {}\n\n",
        project["num_done"],
        project["num_items"],
        project["overlap"],
        text(&project["order"]),
        project["revision"]
    );
    let asked = |question: &Value| {
        let needed = if question["required"] == true { "required" } else { "" };
        [text(&question["name"]), text(&question["kind"]), needed].map(str::to_owned).to_vec()
    };
    out += &table(&["question", "kind", ""], &list(&project["questions"]).iter().map(asked).collect::<Vec<_>>());
    match text(&project["guidelines"]) {
        "" => out,
        guidelines => out + &format!("\n{}\n", guidelines.lines().map(plain).collect::<Vec<_>>().join("\n")),
    }
}

fn hand(hand: &Value) -> String {
    let progress = &hand["progress"];
    let mut out = format!("{} judged, {} left for you.\n", progress["mine"], progress["left"]);
    for task in list(&hand["tasks"]) {
        out += &format!("\n{}  {}\n", text(&task["item_id"]), plain(text(&task["transformation_type"])));
        out += &format!("  input   {}\n", plain(text(&task["input_text"])));
        let outputs = list(&task["outputs"]);
        for (side, output) in outputs.iter().enumerate() {
            let name = if outputs.len() == 1 { "answer" } else { ["a", "b"][side.min(1)] };
            out += &format!("  {name:<8}{}\n", plain(text(output)));
        }
    }
    out
}

fn items(all: &[Value]) -> String {
    if all.is_empty() {
        return "No such item.".into();
    }
    let mut out = String::new();
    for one in all {
        let item = &one["item"];
        out += &format!(
            "{:>5}  {}  {}\n",
            item["place"].as_i64().unwrap_or(0),
            text(&item["id"]),
            short(if item["source_text"].is_string() { &item["source_text"] } else { &item["input_text"] }, 60)
        );
        for by in list(&one["answers"]) {
            let flag =
                if by["flagged"] == true { format!(" !flagged {}", plain(text(&by["note"]))) } else { String::new() };
            out += &format!("       {:<16}{}{flag}\n", plain(text(&by["user_name"])), said(by));
        }
        let differs: Vec<&str> = list(&one["differs"]).iter().map(text).collect();
        if item["resolution"].is_object() {
            let decided =
                item["resolution"].as_object().into_iter().flatten().map(|(name, answer)| answer_of(name, answer));
            out += &format!("       {:<16}{}\n", "decided", decided.collect::<Vec<_>>().join("; "));
        } else if !differs.is_empty() {
            out += &format!("       {:<16}{}\n", "they differ on", differs.join(", "));
        }
    }
    out
}

/// What a reviewer said of an item; a correction as what it changed.
fn said(by: &Value) -> String {
    let kept = list(&by["corrected"]).iter().filter(|piece| piece["change"] != "removed");
    let corrected: String = kept.map(|piece| text(&piece["text"])).collect();
    let one = |(question, answer): (&String, &Value)| match answer.as_str() {
        Some(words) if words == corrected => format!("{question}={}", pieces(&by["corrected"])),
        Some(_) | None => answer_of(question, answer),
    };
    by["answers"].as_object().into_iter().flatten().map(one).collect::<Vec<_>>().join("; ")
}

fn answer_of(question: &str, answer: &Value) -> String {
    format!("{question}={}", if answer.is_string() { short(answer, 60) } else { answer.to_string() })
}

fn agreement(report: &Value) -> String {
    let questions: Vec<Vec<String>> = list(&report["questions"])
        .iter()
        .map(|one| {
            vec![
                plain(text(&one["question"])),
                mean(&one["alpha"], 1.0, ""),
                text(&one["metric"]).to_owned(),
                one["alpha"]["items"].as_u64().map_or_else(|| "–".into(), |n| n.to_string()),
                mean(&one["cohen_kappa"], 1.0, ""),
                mean(&one["fleiss_kappa"], 1.0, ""),
                mean(&one["same"], 100.0, " %"),
                text(&one["no_alpha"]).replace('_', " "),
            ]
        })
        .collect();
    let head = ["question", "alpha", "metric", "items", "Cohen's kappa", "Fleiss' kappa", "same", ""];
    let mut out = table(&head, &questions);
    let reviewers: Vec<Vec<String>> = list(&report["reviewers"])
        .iter()
        .map(|one| {
            vec![
                plain(text(&one["name"])),
                one["items"].to_string(),
                mean(&one["bias"], 1.0, ""),
                mean(&one["same"], 100.0, " %"),
                mean(&one["gold"], 100.0, " %"),
                one["weight"].as_f64().map_or_else(|| "–".into(), |w| format!("{w:.2}")),
                one["seconds_each"].as_f64().map_or_else(|| "–".into(), |s| format!("{s:.0}")),
            ]
        })
        .collect();
    if !reviewers.is_empty() {
        let head = ["reviewer", "items", "bias", "same", "gold right", "weight", "seconds each"];
        out += &format!("\n{}", table(&head, &reviewers));
    }
    out + &format!(
        "\n{} items judged by two or more, {} to decide, {} flagged.\n",
        report["overlapped"], report["disagreed"], report["flagged"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, given: Value) -> Result<Value, ApiError> {
        let Value::Object(given) = given else { panic!("an object") };
        arguments(name, given).map(Value::Object)
    }

    #[test]
    fn a_project_says_in_a_few_words_where_its_items_come_from() {
        let source = |given: Value| of("label_project_create", given).unwrap()["source"].clone();
        assert_eq!(source(json!({"dataset_id": "d"})), json!({"kind": "dataset", "dataset_id": "d", "split": "train"}));
        assert_eq!(
            source(json!({"dataset_id": "d", "model_id": "m"})),
            json!({"kind": "outputs", "dataset_id": "d", "split": "test", "model_id": "m"})
        );
        assert_eq!(
            source(json!({"dataset_id": "d", "model_id": "m", "other_model_id": "n", "split": "validation"})),
            json!({"kind": "pair", "dataset_id": "d", "split": "validation", "model_a_id": "m", "model_b_id": "n"})
        );
        assert_eq!(
            source(json!({"model_id": "m", "since_ms": 5})),
            json!({"kind": "traffic", "model_id": "m", "since_ms": 5})
        );
        assert_eq!(source(json!({"source": {"kind": "traffic"}})), json!({"kind": "traffic"}));
    }

    #[test]
    fn answers_are_given_by_question() {
        let given =
            json!({"item_id": "i", "answer": ["rating=4", "note=2 of 3", "problems=[\"tone\"]", "correction=a=b"]});
        assert_eq!(
            of("label_submit", given).unwrap(),
            json!({"item_id": "i", "answers": {"rating": 4, "note": "2 of 3", "problems": ["tone"], "correction": "a=b"}})
        );
        assert!(of("label_gold", json!({"item_id": "i", "answer": "4"})).is_err());
    }

    #[test]
    fn items_show_who_said_what_and_what_a_correction_changed() {
        let value = json!([{
            "item": {"id": "itm_1", "place": 9, "input_text": "in\u{1b}", "resolution": null},
            "differs": ["rating"],
            "answers": [{
                "user_name": "aki", "flagged": false, "note": null,
                "answers": {"correction": "a c", "rating": 1},
                "corrected": [{"change": "same", "text": "a "}, {"change": "removed", "text": "b"}, {"change": "added", "text": "c"}]
            }]
        }]);
        let out = shown("label_items", &value).unwrap();
        assert_eq!(
            out,
            "    9  itm_1  in \n       aki             correction=a [-b-]{+c+}; rating=1\n       they differ on  rating\n"
        );
    }

    #[test]
    fn agreement_says_why_a_figure_is_missing() {
        let out = shown(
            "label_agreement",
            &json!({"questions": [{"question": "rating", "metric": "ordinal", "alpha": null, "no_alpha": "nothing_to_compare"}],
                "reviewers": [], "overlapped": 0, "disagreed": 0, "flagged": 1}),
        );
        assert!(out.unwrap().contains("nothing to compare\n\n0 items judged by two or more, 0 to decide, 1 flagged."));
    }
}
