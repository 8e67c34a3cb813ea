//! Typed access to the fields of a JSON object, with errors that name the field. What the values mean is the caller's.

use serde_json::{Map, Value};

use super::{BadConfig, Bias, Result};

/// The largest number of anything, such as the tokens of a window.
const LARGEST: u64 = 1 << 31;

/// A JSON object that is read field by field.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

/// The refusal of one field; whoever read the file puts its path in.
pub(crate) fn refuse(field: &str, problem: impl std::fmt::Display) -> BadConfig {
    BadConfig { field: field.to_owned(), problem: problem.to_string() }
}

/// A value for a message: a long one is cut.
pub(super) fn shown(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        None => text,
        Some((at, _)) => format!("{}...", &text[..at]),
    }
}

/// `value`, if it is finite and above 0.
pub(super) fn positive(field: &str, value: f64) -> Result<f64> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(refuse(field, format!("{value} must be a positive number")))
    }
}

impl<'a> Fields<'a> {
    /// The value of a field that is there and not null.
    pub(super) fn set(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|v| !v.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str> {
        self.optional_text(name)?.ok_or_else(|| refuse(name, "is missing"))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.set(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(refuse(name, format!("must be text, found {}", shown(other)))),
        }
    }

    pub(super) fn optional_count(&self, name: &str) -> Result<Option<usize>> {
        match self.set(name) {
            None => Ok(None),
            Some(v) => match v.as_u64() {
                Some(n) if n > 0 && n < LARGEST => Ok(Some(n as usize)),
                Some(_) | None => Err(refuse(name, format!("must be a whole number from 1, found {}", shown(v)))),
            },
        }
    }

    pub(super) fn count(&self, name: &str) -> Result<usize> {
        self.optional_count(name)?.ok_or_else(|| refuse(name, "is missing"))
    }

    /// A count of at most `most`.
    pub(super) fn bounded(&self, name: &str, most: usize) -> Result<usize> {
        at_most(name, self.count(name)?, most)
    }

    /// `absent` where the field is not there; nothing where it is null.
    pub(super) fn nullable_count(&self, name: &str, absent: Option<usize>) -> Result<Option<usize>> {
        if self.0.contains_key(name) { self.optional_count(name) } else { Ok(absent) }
    }

    pub(super) fn optional_number(&self, name: &str) -> Result<Option<f64>> {
        match self.set(name) {
            None => Ok(None),
            Some(v) => {
                v.as_f64().map(Some).ok_or_else(|| refuse(name, format!("must be a number, found {}", shown(v))))
            }
        }
    }

    /// A positive number; `absent` where the field is not there, nothing where it is null.
    pub(super) fn nullable_positive(&self, name: &str, absent: Option<f64>) -> Result<Option<f64>> {
        if !self.0.contains_key(name) {
            return Ok(absent);
        }
        self.optional_number(name)?.map(|v| positive(name, v)).transpose()
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.set(name) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(refuse(name, format!("must be true or false, found {}", shown(other)))),
        }
    }

    pub(super) fn bias(&self, name: &str) -> Result<Bias> {
        Ok(match self.flag(name)? {
            Some(true) => Bias::Present,
            Some(false) | None => Bias::Absent,
        })
    }

    /// A table that is there and not empty.
    pub(super) fn table(&self, name: &str) -> Result<Option<Fields<'a>>> {
        match self.set(name) {
            None => Ok(None),
            Some(Value::Object(m)) if m.is_empty() => Ok(None),
            Some(Value::Object(m)) => Ok(Some(Fields(m))),
            Some(other) => Err(refuse(name, format!("must be a table, found {}", shown(other)))),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>> {
        match self.set(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(refuse(name, format!("must be a list, found {}", shown(other)))),
        }
    }

    /// A list of exactly `length` positive numbers.
    pub(super) fn positives(&self, name: &str, length: usize) -> Result<Vec<f64>> {
        let items = self.list(name)?.ok_or_else(|| refuse(name, "is missing"))?;
        if items.len() != length {
            return Err(refuse(name, format!("must hold {length} numbers, found {}", items.len())));
        }
        let number =
            |v: &Value| v.as_f64().ok_or_else(|| refuse(name, format!("must hold numbers, found {}", shown(v))));
        items.iter().map(|v| positive(name, number(v)?)).collect()
    }

    pub(super) fn token_ids(&self, name: &str) -> Result<Vec<u32>> {
        token_ids(self.0.get(name)).ok_or_else(|| refuse(name, "must be a token id or a list of them"))
    }
}

/// `value`, if it is at most `most`.
pub(super) fn at_most(name: &str, value: usize, most: usize) -> Result<usize> {
    if value > most {
        Err(refuse(name, format!("{value} is more than the {most} that can be used")))
    } else {
        Ok(value)
    }
}

/// A token id, a list of them, or nothing; `None` if the value is something else. Negative ids mean "none" in old files.
#[must_use]
pub fn token_ids(value: Option<&Value>) -> Option<Vec<u32>> {
    let one = |v: &Value| match v.as_i64() {
        Some(n) if n < 0 => Some(None),
        Some(n) => u32::try_from(n).ok().map(Some),
        None => None,
    };
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(one).collect::<Option<Vec<_>>>().map(|v| v.into_iter().flatten().collect())
        }
        Some(v) => one(v).map(|id| id.into_iter().collect()),
    }
}
