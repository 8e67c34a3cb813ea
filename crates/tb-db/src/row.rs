//! Reading a row into domain types. A value that does not fit gives an error with table, row and column.

use std::{fmt::Display, str::FromStr};

use serde::de::DeserializeOwned;
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::error::{Error, Result};

/// The four column types, read from a row of either database.
pub(crate) trait Columns {
    fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error>;
    fn int(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    fn float(&self, column: &str) -> Result<Option<f64>, sqlx::Error>;
    fn flag(&self, column: &str) -> Result<Option<bool>, sqlx::Error>;
}

/// Every database's row has the same reader.
macro_rules! columns {
    ($($row:ty),+) => {$(
        impl Columns for $row {
            fn text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
                self.try_get(column)
            }
            fn int(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
                self.try_get(column)
            }
            fn float(&self, column: &str) -> Result<Option<f64>, sqlx::Error> {
                self.try_get(column)
            }
            fn flag(&self, column: &str) -> Result<Option<bool>, sqlx::Error> {
                self.try_get(column)
            }
        }
    )+};
}
columns!(SqliteRow);

/// Turns a row into a domain type.
pub(crate) type Read<T> = fn(&dyn Columns) -> Result<T>;

/// A row of a known table, with its id for errors.
pub(crate) struct Reader<'r> {
    table: &'static str,
    id: String,
    row: &'r dyn Columns,
}

impl<'r> Reader<'r> {
    /// Reads a row whose key is in `id_column`, as text or as a number.
    pub fn new(table: &'static str, row: &'r dyn Columns, id_column: &'static str) -> Self {
        let text = row.text(id_column).ok().flatten();
        let id = text.or_else(|| row.int(id_column).ok().flatten().map(|n| n.to_string()));
        Self { table, id: id.unwrap_or_else(|| "without a key".into()), row }
    }

    fn bad(&self, column: &'static str, reason: impl Display) -> Error {
        Error::BadRow { table: self.table, id: self.id.clone(), column, reason: reason.to_string() }
    }

    fn there<T>(&self, column: &'static str, value: Result<Option<T>, sqlx::Error>) -> Result<T> {
        value.map_err(|e| self.bad(column, e))?.ok_or_else(|| self.bad(column, "it is NULL"))
    }

    pub fn text(&self, column: &'static str) -> Result<String> {
        self.there(column, self.row.text(column))
    }

    pub fn opt_text(&self, column: &'static str) -> Result<Option<String>> {
        self.row.text(column).map_err(|e| self.bad(column, e))
    }

    pub fn int(&self, column: &'static str) -> Result<i64> {
        self.there(column, self.row.int(column))
    }

    pub fn opt_int(&self, column: &'static str) -> Result<Option<i64>> {
        self.row.int(column).map_err(|e| self.bad(column, e))
    }

    pub fn float(&self, column: &'static str) -> Result<f64> {
        self.there(column, self.row.float(column))
    }

    pub fn opt_float(&self, column: &'static str) -> Result<Option<f64>> {
        self.row.float(column).map_err(|e| self.bad(column, e))
    }

    pub fn flag(&self, column: &'static str) -> Result<bool> {
        self.there(column, self.row.flag(column))
    }

    /// An integer of a narrower type.
    pub fn count<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let value = self.int(column)?;
        T::try_from(value).map_err(|_| self.bad(column, format!("{value} is out of range")))
    }

    /// An id or a word.
    pub fn parse<T: FromStr<Err: Display>>(&self, column: &'static str) -> Result<T> {
        self.text(column)?.parse().map_err(|e| self.bad(column, e))
    }

    /// An id or a word that may be NULL.
    pub fn opt_parse<T: FromStr<Err: Display>>(&self, column: &'static str) -> Result<Option<T>> {
        self.opt_text(column)?.map(|t| t.parse().map_err(|e| self.bad(column, e))).transpose()
    }

    /// A JSON text.
    pub fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|e| self.bad(column, e))
    }

    /// A JSON text that may be NULL.
    pub fn opt_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>> {
        self.opt_text(column)?.map(|text| serde_json::from_str(&text).map_err(|e| self.bad(column, e))).transpose()
    }

    /// A value that a domain type refuses.
    pub fn checked<T, E: Display>(&self, column: &'static str, value: Result<T, E>) -> Result<T> {
        value.map_err(|e| self.bad(column, e))
    }
}
