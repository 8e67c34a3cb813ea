//! A statement with its values, written once for every database. No execution: that is `pool`.

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};

/// Part of a list that is sorted newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<I> {
    /// Only what comes after this one in the list: the last id of the page before. None starts at the newest.
    pub after: Option<I>,
    /// How many at most.
    pub limit: u32,
}

impl<I> Page<I> {
    /// The newest `limit`.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// The `limit` that follow `id`.
    #[must_use]
    pub fn after(id: I, limit: u32) -> Self {
        Self { after: Some(id), limit }
    }
}

impl<I> Default for Page<I> {
    fn default() -> Self {
        Self::first(100)
    }
}

/// A value of one of the four column types; each may be NULL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Float(Option<f64>),
    Flag(bool),
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::Text(Some(v.to_owned()))
    }
}

impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::Text(Some(v))
    }
}

impl From<Option<&str>> for Value {
    fn from(v: Option<&str>) -> Self {
        Self::Text(v.map(str::to_owned))
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Int(Some(v))
    }
}

impl From<u32> for Value {
    fn from(v: u32) -> Self {
        Self::Int(Some(i64::from(v)))
    }
}

impl From<Option<i64>> for Value {
    fn from(v: Option<i64>) -> Self {
        Self::Int(v)
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Float(Some(v))
    }
}

impl From<Option<f64>> for Value {
    fn from(v: Option<f64>) -> Self {
        Self::Float(v)
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Flag(v)
    }
}

/// SQL made of pieces that are part of the program, never of values: those are bound to `$1`, `$2` … in order.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub table: &'static str,
    /// The row it writes, for errors; empty for reads.
    pub id: String,
    pub sql: String,
    pub values: Vec<Value>,
}

impl Statement {
    /// A statement about one table.
    pub fn new(table: &'static str, sql: &'static str) -> Self {
        Self { table, id: String::new(), sql: sql.to_owned(), values: Vec::new() }
    }

    /// Names the row that is written, for errors.
    pub fn about(mut self, id: impl std::fmt::Display) -> Self {
        self.id = id.to_string();
        self
    }

    /// The value of the next placeholder.
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// More text.
    pub fn then(mut self, sql: &'static str) -> Self {
        self.sql.push_str(sql);
        self
    }

    /// More text with a placeholder at its end and its value, if there is one.
    pub fn then_if(mut self, sql: &'static str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.values.push(value.into());
            self.sql.push_str(sql);
            self.sql.push_str(&format!("${}", self.values.len()));
        }
        self
    }

    /// `column IN (…)`, unless there are no values to choose from.
    pub fn then_in(mut self, sql: &'static str, values: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if !values.is_empty() {
            self = self.then_places(sql, values.len());
            self.values.extend(values);
        }
        self
    }

    /// `($1, $2, …)`: placeholders for so many values, which are bound next.
    pub fn then_places(mut self, sql: &'static str, count: usize) -> Self {
        let start = self.values.len();
        let places: Vec<String> = (start + 1..=start + count).map(|n| format!("${n}")).collect();
        self.sql.push_str(&format!("{sql}({})", places.join(", ")));
        self
    }

    /// `VALUES ($1, $2), ($1, $3) …`: rows of two columns that share the first.
    pub fn then_values<'v>(mut self, first: &str, seconds: impl IntoIterator<Item = &'v str>) -> Self {
        self.values.push(first.into());
        let shared = self.values.len();
        let mut separator = " VALUES ";
        for second in seconds {
            self.values.push(second.into());
            self.sql.push_str(&format!("{separator}(${shared}, ${})", self.values.len()));
            separator = ", ";
        }
        self
    }

    /// Newest first, from after the row `after` on. The table must have `id` and `created_at_ms`, and the text so far a WHERE.
    pub fn newest_first(mut self, after: Option<&str>, limit: u32) -> Self {
        let table = self.table;
        if let Some(after) = after {
            self.values.push(after.into());
            let place = self.values.len();
            self.sql.push_str(&format!(
                " AND (created_at_ms, id) < (SELECT p.created_at_ms, p.id FROM {table} p WHERE p.id = ${place})"
            ));
        }
        self.values.push(limit.into());
        self.sql.push_str(&format!(" ORDER BY created_at_ms DESC, id DESC LIMIT ${}", self.values.len()));
        self
    }

    /// A count as BIGINT.
    pub fn bind_count(self, column: &'static str, value: u64) -> Result<Self> {
        match i64::try_from(value) {
            Ok(value) => Ok(self.bind(value)),
            Err(_) => Err(self.unstorable(column, format!("{value} is over 2^63"))),
        }
    }

    /// A number that must be finite: the databases disagree about the others.
    pub fn bind_finite(self, column: &'static str, value: f64) -> Result<Self> {
        if value.is_finite() { Ok(self.bind(value)) } else { Err(self.unstorable(column, format!("is {value}"))) }
    }

    /// A value as JSON that reads back (a NaN, say, would become `null` and make the row unreadable).
    pub fn bind_json<T: Serialize + DeserializeOwned>(self, column: &'static str, value: &T) -> Result<Self> {
        match serde_json::to_string(value).and_then(|text| serde_json::from_str::<T>(&text).map(|_| text)) {
            Ok(text) => Ok(self.bind(text)),
            Err(error) => Err(self.unstorable(column, format!("does not read back from JSON: {error}"))),
        }
    }

    /// As [`Self::bind_json`], or NULL.
    pub fn bind_opt_json<T: Serialize + DeserializeOwned>(
        self,
        column: &'static str,
        value: Option<&T>,
    ) -> Result<Self> {
        match value {
            Some(value) => self.bind_json(column, value),
            None => Ok(self.bind(None::<&str>)),
        }
    }

    /// As [`Self::bind_finite`], or NULL.
    pub fn bind_opt_finite(self, column: &'static str, value: Option<f64>) -> Result<Self> {
        match value {
            Some(value) => self.bind_finite(column, value),
            None => Ok(self.bind(None::<f64>)),
        }
    }

    fn unstorable(&self, column: &'static str, reason: String) -> Error {
        Error::Unstorable { table: self.table, id: self.id.clone(), column, reason }
    }
}
