//! The connections: opening with checks and migrations, transactions, and the only place where statements are executed.

use std::{path::Path, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection as _, Database, Encode, Sqlite, SqliteConnection, SqlitePool, Transaction, Type,
    migrate::{MigrateError, Migrator},
    query::Query,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    error::{Error, Result},
    feedback::sums,
    row::Read,
    statement::{Statement, Value},
};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// The first SQLite without the bug that damages a WAL database when two connections write and checkpoint at once.
const OLDEST_SQLITE: &str = "3.51.3";
/// How long a connection waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a task waits for a connection; longer than the wait for a write, so that the queue of writers drains.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(60);
const READERS: u32 = 6;
/// How often opening is tried while another process turns the file into a WAL database, and the pause between.
const OPENING_TRIES: u32 = 100;
const OPENING_PAUSE: Duration = Duration::from_millis(50);

/// The database. Cheap to clone: clones share their connections.
#[derive(Clone, Debug)]
pub enum Db {
    /// The embedded database: one file.
    Sqlite(SqlitePools),
}

/// SQLite has one writer at a time: one connection that tasks queue for in order, and some that only read.
#[derive(Clone, Debug)]
pub struct SqlitePools {
    readers: SqlitePool,
    writer: SqlitePool,
}

/// A transaction that may write. Dropping it undoes what it did.
#[derive(Debug)]
pub enum Tx {
    /// Of the embedded database; it holds the write lock from the beginning.
    Sqlite(Transaction<'static, Sqlite>),
}

/// Where a read looks: at what is committed, or inside a transaction.
#[derive(Debug)]
pub enum Source<'a> {
    /// What is committed.
    Db(&'a Db),
    /// What the transaction sees.
    Tx(&'a mut Tx),
}

impl<'a> From<&'a Db> for Source<'a> {
    fn from(db: &'a Db) -> Self {
        Self::Db(db)
    }
}

impl<'a> From<&'a mut Tx> for Source<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        Self::Tx(tx)
    }
}

/// Runs the same code with the reading connections of whichever database it is.
macro_rules! on_pool {
    ($db:expr, $pool:ident => $body:expr) => {
        match $db {
            Db::Sqlite(SqlitePools { readers: $pool, .. }) => $body,
        }
    };
}

/// Runs the same code with the connection of whichever transaction it is.
macro_rules! on_tx {
    ($tx:expr, $connection:ident => $body:expr) => {
        match $tx {
            Tx::Sqlite(transaction) => {
                let $connection = &mut **transaction;
                $body
            }
        }
    };
}

impl Db {
    /// Opens the database file, makes it if there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::CannotOpen`], [`Error::NewerSchema`] (the file is left as it is), [`Error::Migration`], [`Error::OldSqlite`].
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let cannot_open = |error: sqlx::Error| match Error::from_driver("open", "", error) {
            Error::Driver { source: sqlx::Error::Configuration(reason), .. } if reason.is::<Error>() => {
                *reason.downcast::<Error>().expect("its type was just checked")
            }
            Error::Driver { source, .. } => Error::CannotOpen { path: path.to_owned(), reason: source.to_string() },
            Error::Damaged(reason) => Error::CannotOpen { path: path.to_owned(), reason },
            other => other,
        };
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .min_connections(1)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_connect(|connection, _| Box::pin(check(connection)))
        };
        // The writer first: it turns the file into a WAL database, which the readers then find. Whoever does so at the same
        // moment is refused at once, without SQLite's own waiting.
        let mut tries = 0;
        let writer = loop {
            match pool(1).connect_with(options.clone()).await.map_err(cannot_open) {
                Err(Error::Busy) if tries < OPENING_TRIES => {
                    tries += 1;
                    tokio::time::sleep(OPENING_PAUSE).await;
                }
                result => break result?,
            }
        };
        migrate(&writer, path).await?;
        let readers = pool(READERS).connect_with(options.pragma("query_only", "ON")).await.map_err(cannot_open)?;
        let db = Self::Sqlite(SqlitePools { readers, writer });
        if sums::are_missing(&db).await? {
            let mut tx = db.begin().await?;
            if sums::are_missing(&mut tx).await? {
                sums::make(&mut tx).await?;
            }
            tx.commit().await?;
        }
        Ok(db)
    }

    /// Begins a transaction that may write; it waits for the writers before it.
    ///
    /// Begin no second one while holding one: it would wait for the first.
    ///
    /// # Errors
    /// [`Error::Busy`] if other writers do not end.
    pub async fn begin(&self) -> Result<Tx> {
        match self {
            Self::Sqlite(pools) => pools
                .writer
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map(Tx::Sqlite)
                .map_err(|e| Error::from_driver("begin", "", e)),
        }
    }

    /// What the database finds wrong with itself: damaged pages, dangling references. Empty if it is whole.
    ///
    /// # Errors
    /// The driver's, if it cannot even look.
    pub async fn problems(&self) -> Result<Vec<String>> {
        match self {
            Self::Sqlite(pools) => {
                let failed = |e| Error::from_driver("integrity check", "", e);
                let pages: Vec<String> = sqlx::query_scalar("SELECT integrity_check FROM pragma_integrity_check()")
                    .fetch_all(&pools.readers)
                    .await
                    .map_err(failed)?;
                let keys: Vec<String> = sqlx::query_scalar(
                    "SELECT \"table\" || ' names a missing row of ' || parent FROM pragma_foreign_key_check()",
                )
                .fetch_all(&pools.readers)
                .await
                .map_err(failed)?;
                Ok(pages.into_iter().filter(|p| p != "ok").chain(keys).collect())
            }
        }
    }

    /// Writes a copy of everything committed to a new file, while others read and write.
    ///
    /// # Errors
    /// The driver's, such as a file that exists already.
    pub async fn back_up(&self, to: &Path) -> Result<()> {
        match self {
            Self::Sqlite(pools) => {
                let to = to.to_string_lossy().into_owned();
                let done = sqlx::query("VACUUM INTO $1").bind(to).execute(&pools.writer).await;
                done.map(|_| ()).map_err(|e| Error::from_driver("backup", "", e))
            }
        }
    }

    /// Name and version of the database engine.
    ///
    /// # Errors
    /// The driver's.
    pub async fn engine(&self) -> Result<String> {
        match self {
            Self::Sqlite(pools) => {
                let version: String = sqlx::query_scalar("SELECT sqlite_version()")
                    .fetch_one(&pools.readers)
                    .await
                    .map_err(|e| Error::from_driver("version", "", e))?;
                Ok(format!("SQLite {version}"))
            }
        }
    }

    /// Waits for what is under way and closes the connections.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(pools) => {
                pools.readers.close().await;
                pools.writer.close().await;
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn sqlite(&self) -> (&SqlitePool, &SqlitePool) {
        match self {
            Self::Sqlite(pools) => (&pools.readers, &pools.writer),
        }
    }
}

impl Tx {
    /// Makes everything done in the transaction last.
    ///
    /// # Errors
    /// The driver's; nothing is stored then.
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await.map_err(|e| Error::from_driver("commit", "", e)),
        }
    }

    /// Undoes everything done in the transaction, as dropping it does, and waits for that.
    ///
    /// # Errors
    /// The driver's; nothing is stored all the same.
    pub async fn roll_back(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.rollback().await.map_err(|e| Error::from_driver("rollback", "", e)),
        }
    }

    /// Executes a statement; gives the number of rows changed.
    pub(crate) async fn run(&mut self, statement: Statement) -> Result<u64> {
        let Statement { table, id, sql, values } = statement;
        on_tx!(self, connection => bound(sql, values).execute(connection).await.map(|done| done.rows_affected()))
            .map_err(|e| Error::from_driver(table, &id, e))
    }

    /// Executes an update of one row that must still be as the caller saw it.
    pub(crate) async fn run_on_seen(&mut self, statement: Statement) -> Result<()> {
        let (table, id) = (statement.table, statement.id.clone());
        if self.run(statement).await? == 1 { Ok(()) } else { Err(Error::Stale { table, id }) }
    }

    /// The next number of a sequence without gaps.
    pub(crate) async fn next_number(&mut self, counter: &'static str) -> Result<i64> {
        let statement =
            Statement::new("counters", "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING name, value")
                .bind(counter);
        let next = Source::Tx(self).one(statement, |row| crate::row::Reader::new("counters", row, "name").int("value"));
        next.await?.ok_or(Error::Stale { table: "counters", id: counter.to_owned() })
    }
}

impl Source<'_> {
    /// The same place once more, for a second read.
    pub fn again(&mut self) -> Source<'_> {
        match self {
            Self::Db(db) => Source::Db(db),
            Self::Tx(tx) => Source::Tx(tx),
        }
    }

    /// Every row of a statement.
    pub(crate) async fn all<T>(self, statement: Statement, read: Read<T>) -> Result<Vec<T>> {
        let Statement { table, id, sql, values } = statement;
        match self {
            Self::Db(db) => on_pool!(db, pool => {
                let rows = bound(sql, values).fetch_all(pool).await.map_err(|e| Error::from_driver(table, &id, e))?;
                rows.iter().map(|row| read(row)).collect()
            }),
            Self::Tx(tx) => on_tx!(tx, connection => {
                let rows =
                    bound(sql, values).fetch_all(connection).await.map_err(|e| Error::from_driver(table, &id, e))?;
                rows.iter().map(|row| read(row)).collect()
            }),
        }
    }

    /// The first row of a statement, if there is one.
    pub(crate) async fn one<T>(self, statement: Statement, read: Read<T>) -> Result<Option<T>> {
        Ok(self.all(statement, read).await?.into_iter().next())
    }
}

/// The driver's query for a statement.
fn bound<D: Database>(sql: String, values: Vec<Value>) -> Query<'static, D, D::Arguments>
where
    Option<String>: Encode<'static, D> + Type<D>,
    Option<i64>: Encode<'static, D> + Type<D>,
    Option<f64>: Encode<'static, D> + Type<D>,
    bool: Encode<'static, D> + Type<D>,
{
    // Safe: a Statement's text is made of pieces of the program and numbers of placeholders only.
    values.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::Int(int) => query.bind(int),
        Value::Float(float) => query.bind(float),
        Value::Flag(flag) => query.bind(flag),
    })
}

/// Refuses a connection that could lose or damage data. SQLite ignores a pragma that it cannot obey, so each is read back.
async fn check(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await?;
    if numbers(&version) < numbers(OLDEST_SQLITE) {
        return Err(sqlx::Error::Configuration(Box::new(Error::OldSqlite { found: version, needed: OLDEST_SQLITE })));
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
    let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *connection).await?;
    let busy_ms: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&mut *connection).await?;
    if mode != "wal" || synchronous != 2 || foreign_keys != 1 || busy_ms < 5_000 {
        let found =
            format!("journal_mode={mode} synchronous={synchronous} foreign_keys={foreign_keys} busy_timeout={busy_ms}");
        return Err(sqlx::Error::Configuration(
            format!("SQLite does not accept the safe settings here (a network folder?): {found}").into(),
        ));
    }
    Ok(())
}

/// The numbers of a version, for comparison.
fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|n| n.parse().unwrap_or(0)).collect()
}

/// Applies what is missing, in one transaction: two processes that open a new file at once do it after each other.
async fn migrate(writer: &SqlitePool, path: &Path) -> Result<()> {
    let failed = |reason: String| Error::Migration { path: path.to_owned(), reason };
    let driver = |e: sqlx::Error| match Error::from_driver("migrate", "", e) {
        Error::Driver { source, .. } => failed(source.to_string()),
        other => other,
    };
    let mut connection = writer.acquire().await.map_err(driver)?;
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(driver)?;
    let has_schema: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'")
            .fetch_one(&mut *tx)
            .await
            .map_err(driver)?;
    if has_schema > 0 {
        let found: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut *tx)
            .await
            .map_err(driver)?;
        let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
        if found > known {
            return Err(Error::NewerSchema { path: path.to_owned(), found, known });
        }
    }
    MIGRATIONS.run_direct(None, &mut *tx, false).await.map_err(|error| match error {
        MigrateError::Execute(e) => driver(e),
        MigrateError::VersionMismatch(n) => failed(format!("its migration {n} is not the one that this version has")),
        other => failed(other.to_string()),
    })?;
    tx.commit().await.map_err(driver)
}
