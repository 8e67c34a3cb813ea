//! The safety of the file: settings of every connection, schemas of other versions, files that are no database, copies.

use tb_core::ErrorCode;

use super::*;
use crate::{Error, events};

#[tokio::test]
async fn every_connection_has_the_safe_settings() {
    let fixture = Fixture::new().await;
    let (readers, writer) = fixture.db.sqlite();
    let mut held = vec![writer.acquire().await.unwrap()];
    for _ in 0..4 {
        held.push(readers.acquire().await.unwrap());
    }
    for (n, connection) in held.iter_mut().enumerate() {
        let mut numbers = Vec::new();
        for sql in ["PRAGMA synchronous", "PRAGMA foreign_keys", "PRAGMA query_only"] {
            numbers.push(sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut **connection).await.unwrap());
        }
        assert_eq!(numbers, [2, 1, i64::from(n > 0)]);
        let busy_ms: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&mut **connection).await.unwrap();
        assert!(busy_ms >= 5_000);
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut **connection).await.unwrap();
        assert_eq!(mode, "wal");
    }
    drop(held);
    let engine = fixture.db.engine().await.unwrap();
    let version: Vec<u32> = engine.strip_prefix("SQLite ").unwrap().split('.').map(|n| n.parse().unwrap()).collect();
    assert!(version >= vec![3, 51, 3], "{engine}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let fixture = Fixture::filled().await;
    let (_, writer) = fixture.db.sqlite();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', TRUE, X'00', 0)",
    )
    .execute(writer)
    .await
    .unwrap();
    fixture.db.close().await;
    let before = std::fs::read(fixture.path()).unwrap();
    let error = Db::open(&fixture.path()).await.unwrap_err();
    let Error::NewerSchema { found: 9999, known, .. } = &error else { panic!("{error}") };
    assert!(*known >= 1);
    assert!(error.to_string().contains("has schema 9999"), "{error}");
    assert!(error.hint().contains("Update ToneBridge"));
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert_eq!(std::fs::read(fixture.path()).unwrap(), before);
}

#[tokio::test]
async fn an_edited_migration_is_noticed() {
    let fixture = Fixture::new().await;
    let (_, writer) = fixture.db.sqlite();
    sqlx::query("UPDATE _sqlx_migrations SET checksum = X'00' WHERE version = 1").execute(writer).await.unwrap();
    fixture.db.close().await;
    let error = Db::open(&fixture.path()).await.unwrap_err();
    assert!(matches!(&error, Error::Migration { reason, .. } if reason.contains("migration 1")), "{error}");
}

#[tokio::test]
async fn garbage_is_refused_by_name_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    std::fs::write(&path, "Dear Sir or Madam, ".repeat(100)).unwrap();
    let error = Db::open(&path).await.unwrap_err();
    assert!(matches!(error, Error::CannotOpen { .. }), "{error:?}");
    assert!(error.to_string().contains("letter.txt"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "Dear Sir or Madam, ".repeat(100));
    let missing = Db::open(&folder.path().join("no/such/folder/db")).await.unwrap_err();
    assert!(matches!(missing, Error::CannotOpen { .. }), "{missing:?}");
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let fixture = Fixture::filled().await;
    fixture.db.close().await;
    let again = Db::open(&fixture.path()).await.unwrap();
    assert_eq!(jobs::get(&again, &job(1).id).await.unwrap(), Some(job(1)));
    assert_eq!(again.problems().await.unwrap(), Vec::<String>::new());
}

/// What a killed process leaves is the file and its log as they are at that moment: a copy of both must open whole.
#[tokio::test]
async fn a_copy_taken_in_the_middle_of_a_write_holds_what_was_committed() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    jobs::insert(&mut tx, &job(2)).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = fixture.begin().await;
    for n in 3..60 {
        jobs::insert(&mut tx, &job(n)).await.unwrap();
    }
    let killed = fixture.folder.path().join("killed.sqlite");
    std::fs::copy(fixture.path(), &killed).unwrap();
    std::fs::copy(fixture.folder.path().join("workbench.sqlite-wal"), fixture.folder.path().join("killed.sqlite-wal"))
        .unwrap();
    let db = Db::open(&killed).await.unwrap();
    assert_eq!(jobs::pending(&db).await.unwrap(), [job(1), job(2)]);
    assert_eq!(db.problems().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_backup_is_a_whole_database_and_overwrites_nothing() {
    let fixture = Fixture::filled().await;
    let copy = fixture.folder.path().join("copy.sqlite");
    fixture.db.back_up(&copy).await.unwrap();
    assert!(fixture.db.back_up(&copy).await.is_err());
    let restored = Db::open(&copy).await.unwrap();
    assert_eq!(models::get(&restored, &model(2).id).await.unwrap(), Some(model(2)));
    assert_eq!(events::last_seq(&restored).await.unwrap(), 0);
    assert_eq!(restored.problems().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn dangling_references_are_found() {
    let fixture = Fixture::filled().await;
    let (_, writer) = fixture.db.sqlite();
    let mut connection = writer.acquire().await.unwrap();
    sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut *connection).await.unwrap();
    sqlx::query("DELETE FROM datasets").execute(&mut *connection).await.unwrap();
    sqlx::query("PRAGMA foreign_keys = ON").execute(&mut *connection).await.unwrap();
    drop(connection);
    let problems = fixture.db.problems().await.unwrap();
    assert!(problems.iter().any(|p| p == "training_jobs names a missing row of datasets"), "{problems:?}");
}
