//! What can go wrong with the database, and how the callers above are told. No wording for one command: that is tb-api's.

use std::path::PathBuf;

use tb_core::{ApiError, ErrorCode};

/// The result of every function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Nothing of the transaction it happened in is stored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stored row is not the one that the caller saw: someone else changed it, or it is gone.
    #[error("{table} {id} was changed meanwhile")]
    Stale {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
    },
    /// A row with this id, name and version, or place (the one in production, the one live) exists already.
    #[error("{table} {id} is taken: {detail}")]
    Taken {
        /// The table.
        table: &'static str,
        /// The row that was to be written.
        id: String,
        /// What the database says, with the columns concerned.
        detail: String,
    },
    /// The row names another row that does not exist.
    #[error("{table} {id} names something that does not exist")]
    MissingReference {
        /// The table.
        table: &'static str,
        /// The row that was to be written.
        id: String,
    },
    /// A value that the database cannot hold, such as a number that is not finite.
    #[error("{table} {id} cannot be stored: {column} {reason}")]
    Unstorable {
        /// The table.
        table: &'static str,
        /// The row that was to be written.
        id: String,
        /// The column.
        column: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// A stored row that this version cannot read.
    #[error("table {table}, row {id}, column {column} cannot be read: {reason}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The database was written by a later version of the program.
    #[error("{} has schema {found}; this version knows schemas up to {known}", path.display())]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// The schema of the database is not the one that its number stands for.
    #[error("the schema of {} cannot be brought up to date: {reason}", path.display())]
    Migration {
        /// The database file.
        path: PathBuf,
        /// What the migrator says.
        reason: String,
    },
    /// The file cannot be opened as a database.
    #[error("{} cannot be opened: {reason}", path.display())]
    CannotOpen {
        /// The database file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The SQLite inside this program has a bug that damages files.
    #[error("SQLite {found} can damage a database: at least {needed} is needed")]
    OldSqlite {
        /// Its version.
        found: String,
        /// The first version without the bug.
        needed: &'static str,
    },
    /// Another process or transaction held the database for too long.
    #[error("the database stayed busy")]
    Busy,
    /// The disk is full.
    #[error("the disk that holds the database is full")]
    DiskFull,
    /// The database file is damaged.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Anything else that the driver reports.
    #[error("the database failed at {what}: {source}")]
    Driver {
        /// Table or action.
        what: &'static str,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
}

impl Error {
    /// What programs act on.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Stale { .. } | Self::Taken { .. } => ErrorCode::Conflict,
            Self::MissingReference { .. } => ErrorCode::NotFound,
            Self::Unstorable { .. } => ErrorCode::InvalidArgument,
            Self::BadRow { .. } | Self::Migration { .. } | Self::Damaged(_) => ErrorCode::DataInvalid,
            Self::NewerSchema { .. } | Self::CannotOpen { .. } | Self::Busy => ErrorCode::Unavailable,
            Self::DiskFull => ErrorCode::DiskFull,
            Self::OldSqlite { .. } | Self::Driver { .. } => ErrorCode::Internal,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "Nothing was changed. Look at it again, then decide.",
            Self::Taken { .. } => "Nothing was changed. Choose another name or look at the one that is there.",
            Self::MissingReference { .. } => "Nothing was changed. Check the ids: list what exists first.",
            Self::Unstorable { .. } => "Nothing was changed.",
            Self::BadRow { .. } => {
                "The row is kept as it is. It was probably written by another version of the program: update, or restore a backup."
            }
            Self::NewerSchema { .. } => {
                "The database was left as it is. Update ToneBridge, or start it with another home folder."
            }
            Self::Migration { .. } => {
                "The database was left as it was. Restore a backup, or start with another home folder."
            }
            Self::CannotOpen { .. } => {
                "Check that the path is a ToneBridge database, that the folder exists and that you may write there."
            }
            Self::OldSqlite { .. } => "Build ToneBridge with the SQLite that it brings along.",
            Self::Busy => "Nothing was changed. Close other programs that use the database, then try again.",
            Self::DiskFull => {
                "Nothing of the last change was stored; what was stored before is safe. Free some space, then try again."
            }
            Self::Damaged(_) => "Do not write to it any more. Keep a copy of the file, then restore a backup.",
            Self::Driver { .. } => {
                "Nothing of the last change was stored. Try again; if it stays, `tonebridge doctor` shows more."
            }
        }
    }

    /// The driver's error with what was being done and to which row.
    pub(crate) fn from_driver(table: &'static str, id: &str, source: sqlx::Error) -> Self {
        let sqlx::Error::Database(error) = &source else {
            return match source {
                sqlx::Error::PoolTimedOut => Self::Busy,
                source => Self::Driver { what: table, source },
            };
        };
        if error.is_unique_violation() {
            return Self::Taken { table, id: id.to_owned(), detail: error.message().to_owned() };
        }
        if error.is_foreign_key_violation() {
            return Self::MissingReference { table, id: id.to_owned() };
        }
        if error.is_check_violation() {
            let reason = format!("is out of range ({})", error.message());
            return Self::Unstorable { table, id: id.to_owned(), column: "value", reason };
        }
        // SQLite's extended codes hold the primary code in the low byte.
        match error.code().and_then(|c| c.parse::<i64>().ok()).map(|c| c & 0xff) {
            Some(5 | 6) => Self::Busy,
            Some(11 | 26) => Self::Damaged(error.message().to_owned()),
            Some(13) => Self::DiskFull,
            Some(_) | None => Self::Driver { what: table, source },
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let mut letters = text.chars();
        let sentence = letters.next().map(|c| c.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default();
        Self::new(error.code(), format!("{sentence}.")).hint(error.hint())
    }
}
