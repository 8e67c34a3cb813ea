//! `tonebridge preference …`: what training data would be, or was, made of feedback, as people read it.

use serde_json::Value;

use crate::output::{list, short, table, text};

/// Rows of a preview that are shown.
const EXAMPLES: usize = 5;
/// Characters of each text of such a row.
const LENGTH: usize = 160;

/// A result as people read it; none for commands whose fields say enough.
pub fn shown(name: &str, value: &Value) -> Option<String> {
    match name {
        "preference_preview" => Some(preview(value)),
        "preference_build" => Some(format!(
            "{} version {} ({}): {}\nIn {}\n",
            text(&value["name"]),
            value["version"],
            text(&value["id"]),
            splits(list(&value["splits"]), "name"),
            text(&value["file_path"])
        )),
        _ => None,
    }
}

fn splits(splits: &[Value], named: &str) -> String {
    let rows: u64 = splits.iter().filter_map(|split| split["rows"].as_u64()).sum();
    let each = splits.iter().map(|split| format!("{} {}", text(&split[named]), split["rows"]));
    format!("{rows} rows ({})", each.collect::<Vec<_>>().join(", "))
}

fn preview(value: &Value) -> String {
    let made = splits(list(&value["splits"]), "split");
    let mut out = format!("{} rows of feedback would make {made}.\n", value["feedback_rows"]);
    let left_out: Vec<Vec<String>> = list(&value["left_out"])
        .iter()
        .map(|one| {
            let example = list(&one["examples"]).first().map(text).unwrap_or_default();
            vec![text(&one["reason"]).replace('_', " "), one["rows"].to_string(), example.to_owned()]
        })
        .collect();
    if !left_out.is_empty() {
        out += &format!("\n{}", table(&["left out", "rows", "such as"], &left_out));
    }
    list(&value["examples"]).iter().take(EXAMPLES).for_each(|one| out += &example(one));
    out
}

/// A row of any of the shapes that are made: `+` is learned, `-` is what it is preferred over or should become unlikely.
fn example(one: &Value) -> String {
    let row = &one["example"];
    let is_bad = row["label"].as_bool() == Some(false);
    let mut out = format!("\n{}: {}\n", text(&one["split"]), short(&row["prompt"], LENGTH));
    for (field, mark) in [("chosen", '+'), ("rejected", '-'), ("completion", if is_bad { '-' } else { '+' })] {
        if row[field].is_string() {
            out += &format!("  {mark} {}\n", short(&row[field], LENGTH));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_preview_tells_what_is_made_and_what_is_left_out() {
        let value = json!({
            "feedback_rows": 12,
            "splits": [{"split": "train", "rows": 3}, {"split": "test", "rows": 1}],
            "left_out": [{"reason": "no_signal", "rows": 8, "examples": ["fbk_1"]}],
            "examples": [
                {"split": "train", "example": {"prompt": "p", "chosen": "good", "rejected": "bad"}, "feedback": []},
                {"split": "test", "example": {"prompt": "q", "completion": "meh", "label": false}, "feedback": []}
            ]
        });
        assert_eq!(
            shown("preference_preview", &value).unwrap(),
            "12 rows of feedback would make 4 rows (train 3, test 1).\n\n\
             left out   rows  such as\nno signal     8  fbk_1\n\
             \ntrain: p\n  + good\n  - bad\n\ntest: q\n  - meh\n"
        );
    }
}
