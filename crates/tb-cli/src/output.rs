//! What the user sees at the end: text for people, or one JSON object for programs. Everything else goes to standard error.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};
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
}
