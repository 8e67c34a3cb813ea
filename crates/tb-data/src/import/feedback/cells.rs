//! One cell of a feedback row, as JSON gives it or as CSV writes it: numbers, lists and objects may be texts.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tb_core::{
    dataset::RowProblemKind::{self, Empty, MissingColumn, WrongType},
    feedback::{Choice, Preferred, Rating, ShownOrder, Thumbs},
    ids::ModelId,
    labelling::Answers,
};

use super::{Bad, Mapped};
use crate::import::{Record, jsonl::reason, mapping::kind, moment};

/// The last millisecond of the year 9999.
const LATEST_MS: i64 = 253_402_300_799_999;
/// Before it, a number called `created_at` must have meant seconds: 1973 in milliseconds, 5138 in seconds.
const EARLIEST_NAMELESS_MS: i64 = 100_000_000_000;

/// The cells of one record.
pub(super) struct Cells<'r>(pub &'r Record);

impl<'r> Cells<'r> {
    fn get(&self, column: &str) -> Option<&'r Value> {
        self.0.get(column).filter(|value| !value.is_null())
    }

    /// A text, to the byte.
    pub fn text(&self, column: &str) -> Mapped<Option<String>> {
        match self.get(column) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(wrong(column, other, "a text")),
        }
    }

    /// A text that must be there; it may be empty where the judgement allows that.
    pub fn required_text(&self, column: &str) -> Mapped<String> {
        // An empty cell of CSV is none, and is an empty text here.
        match (self.text(column)?, self.0.contains_key(column)) {
            (Some(text), _) => Ok(text),
            (None, true) => Err((Empty, format!("column '{column}' is empty"))),
            (None, false) => Err((MissingColumn, format!("column '{column}' is missing"))),
        }
    }

    /// A name: a text, or a number taken as one.
    pub fn name(&self, column: &str) -> Mapped<Option<String>> {
        match self.get(column) {
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            _ => self.text(column),
        }
    }

    /// An id or another word; an empty text is none.
    pub fn word<T: FromStr>(&self, column: &str) -> Mapped<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        match self.text(column)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|e: T::Err| (WrongType, format!("column '{column}': {e}"))),
        }
    }

    /// A word, if the cell holds one that is known; whatever else it holds is somebody else's.
    pub fn own_word<T: FromStr>(&self, column: &str) -> Option<T> {
        self.get(column)?.as_str()?.parse().ok()
    }

    /// A whole number, or the text of one; an empty text is none.
    pub fn int(&self, column: &str) -> Mapped<Option<i64>> {
        let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
        let parsed = match self.get(column) {
            None => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::Number(number)) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Some(Value::String(text)) => text.trim().parse().ok().or_else(|| whole(text.trim().parse().ok()?)),
            Some(other) => return Err(wrong(column, other, "a number")),
        };
        match (parsed, self.get(column)) {
            (Some(number), _) => Ok(Some(number)),
            (None, Some(given)) => Err((WrongType, format!("column '{column}' is {given}, not a whole number"))),
            (None, None) => Ok(None),
        }
    }

    pub fn rating(&self) -> Mapped<Option<Rating>> {
        let Some(stars) = self.int("rating")? else { return Ok(None) };
        let rating = u8::try_from(stars).ok().and_then(|stars| Rating::try_from(stars).ok());
        rating.map(Some).ok_or_else(|| (WrongType, format!("column 'rating': {stars} is no rating: use 1 to 5")))
    }

    /// `up` or `down`; true and false mean the same.
    pub fn thumbs(&self) -> Mapped<Option<Thumbs>> {
        match self.get("thumbs") {
            Some(Value::Bool(true)) => Ok(Some(Thumbs::Up)),
            Some(Value::Bool(false)) => Ok(Some(Thumbs::Down)),
            _ => self.word("thumbs"),
        }
    }

    /// A choice: an object `choice`, or the columns `preferred` (or `choice`), `other_text`, `other_model_id` and `shown`.
    pub fn choice(&self) -> Mapped<Option<Choice>> {
        let column = if self.get("choice").is_some() { "choice" } else { "preferred" };
        match self.get(column) {
            Some(Value::Object(_)) => return self.json(column, "an object with 'preferred' and 'other_text'"),
            Some(Value::String(text)) if text.trim_start().starts_with('{') => {
                return self.json(column, "an object with 'preferred' and 'other_text'");
            }
            Some(_) | None => {}
        }
        let Some(preferred) = self.word::<Preferred>(column)? else {
            return match self.text("other_text")?.filter(|text| !text.is_empty()) {
                None => Ok(None),
                Some(_) => Err((MissingColumn, "it has 'other_text', but not which is 'preferred'".into())),
            };
        };
        let Some(other_text) = self.text("other_text")? else {
            return Err((MissingColumn, format!("it has '{column}', but no 'other_text'")));
        };
        Ok(Some(Choice {
            preferred,
            other_text,
            other_model_id: self.word::<ModelId>("other_model_id")?,
            shown: self.word("shown")?.unwrap_or(ShownOrder::AFirst),
        }))
    }

    /// A list of texts; a text that is no JSON list is one flag.
    pub fn flags(&self) -> Mapped<Vec<String>> {
        match self.get("flags") {
            Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Value::String(text)) if !text.trim_start().starts_with('[') => Ok(vec![text.clone()]),
            _ => Ok(self.json("flags", "a list of texts")?.unwrap_or_default()),
        }
    }

    pub fn answers(&self) -> Mapped<Answers> {
        // A column of this name in a file of somebody else's is no answer to a question of ours.
        match self.get("answers") {
            Some(Value::Object(_)) => Ok(self.json("answers", "answers by question")?.unwrap_or_default()),
            Some(Value::String(text)) if text.trim_start().starts_with('{') => {
                Ok(self.json("answers", "answers by question")?.unwrap_or_default())
            }
            Some(_) | None => Ok(Answers::new()),
        }
    }

    /// A value of JSON, or the text of one.
    fn json<T: DeserializeOwned>(&self, column: &str, wanted: &str) -> Mapped<Option<T>> {
        let parsed = match self.get(column) {
            None => return Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text),
            Some(value) => serde_json::from_value(value.clone()),
        };
        parsed.map(Some).map_err(|e| (WrongType, format!("column '{column}' is not {wanted}: {}", reason(&e))))
    }

    /// `created_at_ms`, or `created_at` in milliseconds or RFC 3339.
    pub fn created_at(&self) -> Mapped<Option<i64>> {
        if let Some(at_ms) = self.moment("created_at_ms")? {
            return Ok(Some(at_ms));
        }
        match self.moment("created_at")? {
            Some(at_ms) if at_ms < EARLIEST_NAMELESS_MS && self.int("created_at").is_ok() => {
                Err((WrongType, format!("column 'created_at' is {at_ms}, which is no time in milliseconds since 1970")))
            }
            at_ms => Ok(at_ms),
        }
    }

    /// Milliseconds since 1970 UTC, or a time in RFC 3339.
    pub fn moment(&self, column: &str) -> Mapped<Option<i64>> {
        let bad = |given: &Value| -> Bad {
            (WrongType, format!("column '{column}' is {given}, neither milliseconds since 1970 nor a time in RFC 3339"))
        };
        let at_ms = match (self.int(column), self.get(column)) {
            (Ok(at_ms), _) => at_ms,
            (Err(_), Some(given)) => Some(given.as_str().and_then(moment::parse).ok_or_else(|| bad(given))?),
            (Err(bad), None) => return Err(bad),
        };
        match (at_ms.filter(|at_ms| !(0..=LATEST_MS).contains(at_ms)), self.get(column)) {
            (Some(_), Some(given)) => Err(bad(given)),
            (Some(_) | None, _) => Ok(at_ms),
        }
    }
}

fn wrong(column: &str, value: &Value, wanted: &str) -> (RowProblemKind, String) {
    (WrongType, format!("column '{column}' is {}, not {wanted}", kind(value)))
}
