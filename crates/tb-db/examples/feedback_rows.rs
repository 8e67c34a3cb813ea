//! `feedback_rows DATABASE ROWS ITEMS`: fills a database with that many feedback rows over three years, skewed over 20 model versions,
//! 12 kinds of rewriting and 200 reviewers, and with a labelling project of that many items of which three reviewers have judged
//! hundreds of thousands. For benchmarks alone: it writes without syncing, and past the functions that keep the sums, which
//! are made when it opens the database at the end. Rows are functions of their number.
#![allow(clippy::print_stdout)]

use std::{error::Error, path::PathBuf, time::Instant};

use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tb_core::{
    ids::{ModelId, UserId},
    model::{Lineage, Model, ModelStatus},
    user::{Role, User},
};
use tb_db::Db;

/// Rows of one transaction.
const AT_ONCE: u64 = 100_000;
/// The first row's time, and how long the rows go on: 2023 to 2025.
const FIRST_MS: u64 = 1_672_531_200_000;
const SPAN_MS: u64 = 3 * 365 * 86_400_000;
const MODELS: u128 = 20;
const REVIEWERS: u128 = 200;
/// The project of the items, and how many of them the first three reviewers have judged, in thousandths.
const PROJECT: &str = "lbl_00000000-0000-0000-0000-000000000001";
const JUDGED: [u64; 3] = [400, 300, 200];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, rows, items] = &args[..] else { return Err("usage: feedback_rows DATABASE ROWS ITEMS".into()) };
    let (path, rows, items): (PathBuf, u64, u64) = (path.into(), rows.parse()?, items.parse()?);
    let began = Instant::now();
    let told = |what: &str| println!("{:7.1} s  {what}", began.elapsed().as_secs_f64());

    let db = Db::open(&path).await?;
    people_and_models(&db).await?;
    db.close().await;

    let options = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off)
        .pragma("cache_size", "-400000")
        .pragma("temp_store", "FILE")
        .foreign_keys(false);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND (tbl_name = 'feedback' \
         OR tbl_name LIKE 'label_%' OR tbl_name = 'feedback_sums') ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await?;
    for (name, _) in &indexes {
        run(&mut connection, &format!("DROP INDEX {name}")).await?;
    }
    for from in (0..rows).step_by(AT_ONCE as usize) {
        run(&mut connection, &feedback(from, AT_ONCE.min(rows - from), rows)).await?;
        if from % (AT_ONCE * 20) == 0 {
            told(&format!("{from} rows"));
        }
    }
    told("the rows are stored");
    project(&mut connection, items, rows).await?;
    told("the labelling project is stored");
    connection.close().await?;
    // Opened by the program, a database without sums gets them.
    Db::open(&path).await?.close().await;
    told("the sums are made");
    let mut connection = SqliteConnection::connect_with(&options).await?;
    for (name, sql) in &indexes {
        run(&mut connection, sql).await?;
        told(name);
    }
    run(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)").await?;
    // What SQLite's own optimiser may know of the tables is left as a program's database has it: nothing.
    connection.close().await?;
    let size = std::fs::metadata(&path)?.len();
    told(&format!("{:.2} GB", size as f64 / 1e9));
    Ok(())
}

/// A UUID with a number in its last places.
fn uuid(n: u128) -> String {
    format!("00000000-0000-0000-0000-{n:012x}")
}

async fn run(connection: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
    // Safe: made of this file's pieces and of numbers alone.
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(|_| ())
}

async fn people_and_models(db: &Db) -> Result<(), Box<dyn Error>> {
    let mut tx = db.begin().await?;
    for n in 1..=REVIEWERS {
        let id: UserId = format!("usr_{}", uuid(n)).parse()?;
        let user = User {
            id,
            name: format!("reviewer {n}"),
            role: Role::Reviewer,
            created_at_ms: FIRST_MS as i64,
            disabled_at_ms: None,
            last_seen_at_ms: None,
        };
        tb_db::users::insert(&mut tx, &user).await?;
    }
    for n in 1..=MODELS {
        let id: ModelId = format!("mdl_{}", uuid(n)).parse()?;
        let model = Model {
            id,
            training_job_id: None,
            name: format!("model {}", n.div_ceil(2)),
            version: 1 + (n as u32 + 1) % 2,
            model_type: "tone_adjustment".into(),
            base_model: "base".into(),
            path: "path".into(),
            metrics: serde_json::Map::new(),
            status: ModelStatus::Draft,
            lineage: Lineage::default(),
            files: Vec::new(),
            revision: 0,
            deployed_at_ms: None,
            created_at_ms: FIRST_MS as i64 + n as i64,
        };
        tb_db::models::insert(&mut tx, &model).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// A number in 0..1 that looks random, of row `i`: Lehmer's generator, a few steps from a start that the row and the place make.
fn unit(place: u64) -> String {
    let start = format!("((i * {} + {}) % 2147483647)", 48_271 + 2 * place, 1_234_577 * (place + 1));
    let mixed = format!("(({start} * 48271 + {start} / 9973) % 2147483647)");
    format!("(({mixed} * 69621 + {mixed} / 127) % 2147483647) / 2147483647.0")
}

/// The id of row `i`, stored at `t`.
const ID: &str = "'fbk_' || printf('%08x-%04x-7%03x-8%03x-%012x', t >> 16, t & 65535, i % 4096, (i / 4096) % 4096, i)";

fn feedback(from: u64, count: u64, rows: u64) -> String {
    let step = SPAN_MS / rows.max(1);
    let units: Vec<String> = (1..=9).map(|place| format!("{} AS u{place}", unit(place))).collect();
    format!(
        "INSERT INTO feedback (id, user_id, session_id, model_id, input_text, output_text, corrected_text, transformation_type, rating, \
         feedback_type, source, thumbs, preferred, other_text, other_model_id, shown, critique, flags, answers, duration_ms, \
         correction_distance, created_at_ms, withdrawn_at_ms, withdrawn_reason) \
         WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n LIMIT {count}), \
         u AS (SELECT i, {FIRST_MS} + i * {step} AS t, {units} FROM n), \
         r AS (SELECT *, CASE WHEN u7 < 0.6 THEN 'rating' WHEN u7 < 0.72 THEN 'thumbs' WHEN u7 < 0.84 THEN 'correction' \
         WHEN u7 < 0.94 THEN 'choice' WHEN u7 < 0.97 THEN 'critique' ELSE 'flag' END AS kind FROM u) \
         SELECT {ID}, \
         CASE WHEN u1 >= 0.4 THEN printf('usr_00000000-0000-0000-0000-%012x', 1 + CAST({REVIEWERS} * u2 * u2 AS INT)) END, \
         's' || CAST(50000 * u3 AS INT), \
         CASE WHEN u4 >= 0.02 THEN printf('mdl_00000000-0000-0000-0000-%012x', 1 + CAST({MODELS} * u5 * u5 AS INT)) END, \
         'send me the figures of case ' || i, 'Could you send me case ' || i || '?', \
         CASE kind WHEN 'correction' THEN 'Would you please send me case ' || i || '?' END, \
         'kind_' || CAST(12 * u6 * u6 AS INT), \
         CASE WHEN kind IN ('rating', 'correction') THEN 5 - CAST(5 * u8 * u8 AS INT) END, kind, \
         CASE WHEN u1 >= 0.4 THEN 'workbench' ELSE 'api' END, \
         CASE kind WHEN 'thumbs' THEN CASE WHEN u8 < 0.7 THEN 'up' ELSE 'down' END END, \
         CASE kind WHEN 'choice' THEN CASE WHEN u8 < 0.45 THEN 'a' WHEN u8 < 0.8 THEN 'b' WHEN u8 < 0.95 THEN 'tie' \
         ELSE 'both_bad' END END, \
         CASE kind WHEN 'choice' THEN 'Send case ' || i || ', please.' END, \
         CASE kind WHEN 'choice' THEN printf('mdl_00000000-0000-0000-0000-%012x', 1 + CAST({MODELS} * u9 * u9 AS INT)) END, \
         CASE kind WHEN 'choice' THEN CASE WHEN u3 < 0.5 THEN 'a_first' ELSE 'b_first' END END, \
         CASE kind WHEN 'critique' THEN 'too stiff' END, CASE kind WHEN 'flag' THEN '[\"look\"]' ELSE '[]' END, '{{}}', \
         CASE WHEN u1 >= 0.4 THEN 2000 + CAST(60000 * u9 AS INT) END, CASE kind WHEN 'correction' THEN 0.4 END, t, \
         CASE WHEN u9 < 0.01 THEN t + 1000 END, CASE WHEN u9 < 0.01 THEN 'by mistake' END FROM r",
        units = units.join(", "),
    )
}

/// A project with a rating for each item by three reviewers. The first three reviewers have judged its beginning: what all three have
/// is closed, what fewer have is open to others.
async fn project(connection: &mut SqliteConnection, items: u64, rows: u64) -> Result<(), sqlx::Error> {
    let judged = |n: usize| items * JUDGED[n] / 1000;
    let (first, second, third) = (judged(0), judged(1), judged(2));
    let step = SPAN_MS / rows.max(1);
    let times = format!("(place <= {first}) + (place <= {second}) + (place <= {third})");
    run(
        connection,
        &format!(
            "INSERT INTO label_projects (id, name, guidelines, source, questions, overlap, item_order, seed, status, \
             transformation_type, max_items, num_items, num_done, num_answers, revision, created_at_ms) VALUES ('{PROJECT}', 'large', \
             '', '{{\"kind\":\"traffic\",\"since_ms\":0}}', \
             '[{{\"name\":\"rating\",\"title\":\"How good?\",\"required\":true,\"kind\":\"rating\",\"labels\":[]}}]', 3, 'random', 42, \
             'active', '', {items}, {items}, {third}, {}, 0, {FIRST_MS})",
            first + second + third
        ),
    )
    .await?;
    run(
        connection,
        &format!(
            "INSERT INTO label_items (id, project_id, place, input_text, output_text, model_id, transformation_type, disagreement, held, \
             submitted, flagged, is_open) \
             WITH RECURSIVE n(place) AS (SELECT 1 UNION ALL SELECT place + 1 FROM n LIMIT {items}) \
             SELECT printf('itm_00000000-0000-0000-0000-%012x', place), '{PROJECT}', place, 'send me case ' || place, \
             'Could you send me case ' || place || '?', 'mdl_{}', '', 0.5, {times}, {times}, 0, {times} < 3 FROM n",
            uuid(1)
        ),
    )
    .await?;
    for (n, count) in [first, second, third].into_iter().enumerate() {
        let user = format!("usr_{}", uuid(n as u128 + 1));
        run(
            connection,
            &format!(
                "INSERT INTO label_assignments (item_id, project_id, user_id, state, shown, feedback_id, is_flagged, taken_at_ms, \
                 changed_at_ms) \
                 SELECT item, '{PROJECT}', '{user}', 'submitted', 'a_first', {ID}, 0, {FIRST_MS} + place * 9000, \
                 {FIRST_MS} + place * 9000 + 8000 FROM (SELECT id AS item, place, i, {FIRST_MS} + i * {step} AS t \
                 FROM (SELECT id, place, (3 * place + {n}) % {rows} AS i FROM label_items WHERE place <= {count}))"
            ),
        )
        .await?;
        run(
            connection,
            &format!("INSERT INTO label_cursors (project_id, user_id, place, judged, passed) VALUES ('{PROJECT}', '{user}', {count}, {count}, 0)"),
        )
        .await?;
    }
    Ok(())
}
