//! The migrations: only the types that both databases share, and an index behind every list.

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::*;

/// Every migration without its comments, with its file name.
fn migrations() -> Vec<(String, String)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations"));
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap_or("")).collect();
            (path.file_name().unwrap().to_string_lossy().into_owned(), code.join("\n"))
        })
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// What is not the same in both databases, found in a text.
fn forbidden(sql: &str) -> Vec<String> {
    const WORDS: &[&str] = &[
        "INTEGER",
        "INT",
        "SMALLINT",
        "REAL",
        "FLOAT",
        "NUMERIC",
        "DECIMAL",
        "BLOB",
        "BYTEA",
        "JSON",
        "JSONB",
        "UUID",
        "DATE",
        "DATETIME",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "SERIAL",
        "BIGSERIAL",
        "VARCHAR",
        "CHAR",
        "AUTOINCREMENT",
        "ROWID",
        "STRICT",
        "PRAGMA",
        "GLOB",
        "IFNULL",
        "ILIKE",
        "ARRAY",
        "TRUE",
        "FALSE",
        "CURRENT_TIMESTAMP",
        "NOW",
        "DEFAULT",
        "TRIGGER",
    ];
    let upper = sql.to_uppercase();
    upper
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| WORDS.contains(word))
        .map(String::from)
        .chain(upper.contains('?').then(|| "?".to_owned()))
        .collect()
}

#[test]
fn migrations_use_only_what_both_databases_have() {
    for (file, sql) in migrations() {
        assert_eq!(forbidden(&sql), Vec::<String>::new(), "{file}");
    }
    // The scan sees what it should.
    assert_eq!(
        forbidden("CREATE TABLE t (a JSONB, b TEXT, at TIMESTAMP, \"n\" integer)"),
        ["JSONB", "TIMESTAMP", "INTEGER"]
    );
}

#[tokio::test]
async fn columns_have_only_the_four_types() {
    let fixture = Fixture::new().await;
    let (readers, _) = fixture.db.sqlite();
    let types: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'",
    )
    .fetch_all(readers)
    .await
    .unwrap();
    assert!(types.len() > 100, "{}", types.len());
    for (table, column, kind) in &types {
        assert!(["TEXT", "BIGINT", "BOOLEAN", "DOUBLE PRECISION"].contains(&kind.as_str()), "{table}.{column}: {kind}");
        let is_time = column.ends_with("_ms");
        assert!(!is_time || kind == "BIGINT", "{table}.{column}: {kind}");
    }
    let tables: BTreeSet<&str> = types.iter().map(|(table, ..)| table.as_str()).collect();
    for table in ["training_jobs", "models", "datasets", "feedback", "ab_tests"] {
        assert!(tables.contains(table), "the service's table {table} is missing");
    }
}

/// SQLite's plan for a list: no sort of a whole table, no scan where a key is given.
#[tokio::test]
async fn lists_walk_an_index() {
    let fixture = Fixture::new().await;
    let (readers, _) = fixture.db.sqlite();
    for (sql, index) in [
        (
            "SELECT id FROM training_jobs WHERE 1 = 1 ORDER BY created_at_ms DESC, id DESC LIMIT 9",
            "training_jobs_by_time",
        ),
        (
            "SELECT id FROM training_jobs WHERE status = 'pending' ORDER BY queue_rank, created_at_ms, id",
            "training_jobs_by_queue",
        ),
        ("SELECT COUNT(*) AS num FROM label_items WHERE project_id = 'a' AND flagged > 0", "label_items_flagged"),
        (
            "SELECT id FROM label_items WHERE project_id = 'a' AND place > 3 AND flagged > 0 ORDER BY place LIMIT 9",
            "label_items_flagged",
        ),
        ("SELECT id FROM models ORDER BY created_at_ms DESC, id DESC LIMIT 9", "models_by_time"),
        ("SELECT id FROM models WHERE name = 'a' AND status = 'production'", "models_one_in_production"),
        ("SELECT id FROM datasets ORDER BY created_at_ms DESC, id DESC LIMIT 9", "datasets_by_time"),
        (
            "SELECT id FROM feedback WHERE model_id = 'a' ORDER BY created_at_ms DESC, id DESC LIMIT 9",
            "feedback_by_model",
        ),
        (
            "SELECT id FROM feedback WHERE (created_at_ms, id) < (SELECT p.created_at_ms, p.id FROM feedback p WHERE p.id = 'a') \
          ORDER BY created_at_ms DESC, id DESC LIMIT 9",
            "feedback_by_time",
        ),
        (
            "SELECT id FROM ab_tests WHERE status = 'active' ORDER BY created_at_ms DESC, id DESC LIMIT 9",
            "ab_tests_by_status",
        ),
        (
            "SELECT id FROM deployments WHERE name = 'a' ORDER BY created_at_ms DESC, id DESC LIMIT 9",
            "deployments_by_name",
        ),
        (
            "SELECT id FROM evaluations WHERE model_id = 'a' ORDER BY created_at_ms DESC, id DESC LIMIT 9",
            "evaluations_by_model",
        ),
        ("SELECT seq FROM events WHERE job_id = 'a' AND seq > 3 ORDER BY seq LIMIT 9", "events_by_job"),
        (
            "SELECT child_id FROM lineage WHERE parent_kind = 'job' AND parent_id = 'a' ORDER BY child_id",
            "lineage_by_parent",
        ),
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(readers).await.unwrap();
        let plan: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
        assert!(plan.iter().any(|step| step.contains(index)), "{sql}\n{plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}\n{plan:?}");
    }
}

#[test]
fn statements_list_their_columns_and_use_numbered_places() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        seen += usize::from(text.contains("SELECT "));
        assert!(!text.contains("SELECT *"), "{}", path.display());
        assert!(!text.contains("= ?"), "{}", path.display());
    }
    assert!(seen > 10, "{seen}");
}
