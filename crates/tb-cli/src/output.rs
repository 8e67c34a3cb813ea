//! What the user sees at the end: text for people, or one JSON object for programs. Everything else goes to standard error.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};
use tb_api::moment;
use tb_core::ApiError;

/// Where results go.
pub struct Output {
    json: bool,
}

impl Output {
    /// For people, or with `json` for programs.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read it.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The result: the object for programs, the text for people.
    pub fn result(&self, object: &Value, text: &str) {
        let line = if self.json { object.to_string() } else { text.trim_end().to_owned() };
        // A reader that went away is no failure of the work.
        writeln!(std::io::stdout(), "{line}").ok();
    }

    /// A part of the result for people, shown at once; programs get the whole at the end.
    pub fn piece(&self, text: &str) {
        if !self.json {
            let mut out = std::io::stdout();
            write!(out, "{text}").and_then(|()| out.flush()).ok();
        }
    }

    /// Something on the way, for people.
    pub fn say(&self, text: &str) {
        if !self.json {
            writeln!(std::io::stderr(), "{text}").ok();
        }
    }

    /// The error: for programs an object with `error`, for people what happened and what to do next.
    pub fn error(&self, error: &ApiError) {
        if self.json {
            writeln!(std::io::stdout(), "{}", json!({ "error": error })).ok();
        }
        let mut text = error.message.clone();
        if !error.hint.is_empty() {
            text = format!("{text}\n{}", error.hint);
        }
        writeln!(std::io::stderr(), "{text}").ok();
    }

    /// Whether a progress bar makes sense.
    pub fn is_live(&self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }
}

/// Rows as a table with a header; numbers to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.len();
    let width = |text: &str| text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum::<usize>();
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().map(|r| width(&r[c])).chain([width(header[c])]).max().unwrap_or(0)).collect();
    let numeric: Vec<bool> = (0..columns)
        .map(|c| {
            !rows.is_empty()
                && rows
                    .iter()
                    .all(|r| r[c].chars().all(|ch| ch.is_ascii_digit() || ".+-–%e, ".contains(ch)) && !r[c].is_empty())
        })
        .collect();
    let line = |cells: &[String]| {
        let cells: Vec<String> = (0..columns)
            .map(|c| {
                let gap = " ".repeat(widths[c].saturating_sub(width(&cells[c])));
                if numeric[c] { format!("{gap}{}", cells[c]) } else { format!("{}{gap}", cells[c]) }
            })
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    let mut text = line(&header.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>());
    for row in rows {
        text += &line(row);
    }
    text
}

/// Whether a terminal gives the character two columns (East Asian wide and full-width forms).
fn is_wide(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE4F | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x20000..=0x3FFFD)
}

/// Seconds in words: `41 s`, `2 min 05 s`, `1 h 12 min`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// A text; empty for anything else.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A moment in milliseconds, to the minute.
pub fn time(ms: &Value) -> String {
    ms.as_i64().map(|ms| moment::text(ms)[..16].replace('T', " ")).unwrap_or_default()
}

/// A text in one line without anything that a terminal would obey.
pub fn plain(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if obeyed(c) { ' ' } else { c }).collect()
}

/// The beginning of a text in one line.
pub fn short(value: &Value, most: usize) -> String {
    let text = text(value);
    let line: String = plain(&text.chars().take(most).collect::<String>());
    if text.chars().count() > most { format!("{line}…") } else { line }
}

/// The elements of a list; none for anything else.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Changes as `wdiff` marks them.
pub fn pieces(pieces: &Value) -> String {
    let piece = |piece: &Value| {
        let text = plain(text(&piece["text"]));
        match piece["change"].as_str() {
            Some("removed") => format!("[-{text}-]"),
            Some("added") => format!("{{+{text}+}}"),
            _ => text,
        }
    };
    pieces.as_array().into_iter().flatten().map(piece).collect()
}

/// A mean with its interval.
pub fn mean(figure: &Value, times: f64, unit: &str) -> String {
    let number = |field: &str| figure[field].as_f64().map(|value| value * times);
    let digits = if unit.is_empty() { 2 } else { 1 };
    match (number("value"), number("low"), number("high")) {
        (Some(value), Some(low), Some(high)) => format!("{value:.digits$}{unit} ({low:.digits$}–{high:.digits$})"),
        (Some(value), _, _) => format!("{value:.digits$}{unit}"),
        (None, _, _) => "–".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_with_wide_characters_and_numbers() {
        let text = table(&["name", "n"], &[vec!["日本".into(), "5".into()], vec!["a".into(), "12".into()]]);
        assert_eq!(text, "name   n\n日本   5\na     12\n");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(41.2), "41 s");
        assert_eq!(duration(125.0), "2 min 05 s");
        assert_eq!(duration(4320.0), "1 h 12 min");
    }

    #[test]
    fn means_have_their_interval() {
        assert_eq!(mean(&json!({"value": 4.123, "low": 4.0, "high": 4.25, "n": 9}), 1.0, ""), "4.12 (4.00–4.25)");
        assert_eq!(mean(&json!({"value": 0.5, "low": null, "high": null, "n": 1}), 100.0, " %"), "50.0 %");
        assert_eq!(mean(&Value::Null, 1.0, ""), "–");
    }
}
