//! `bench_feedback HOME [SECONDS]`: times the feedback commands on a home folder that `feedback_rows` has filled, through the one
//! command table: statistics with every filter, the next item to judge, and durable submissions by 1 to 256 senders at once.
//! Prints one JSON object last.
#![allow(clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    error::Error,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tb_api::{Actor, Ctx, commands::dispatch};
use tb_core::{ApiError, feedback::FeedbackSource, user::Role};

/// Calls of each kind.
const CALLS: usize = 20;
/// Items judged for the time of the next item.
const ITEMS: usize = 300;
const PROJECT: &str = "lbl_00000000-0000-0000-0000-000000000001";
/// Three years after the first row; two and a half; two.
const DAY_MS: i64 = 86_400_000;
const LAST_MS: i64 = 1_672_531_200_000 + 3 * 365 * DAY_MS;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (home, seconds) = match &args[..] {
        [home] => (home, 5),
        [home, seconds] => (home, seconds.parse()?),
        _ => return Err("usage: bench_feedback HOME [SECONDS]".into()),
    };
    let ctx = tb_api::open(Path::new(home), &[], Actor::local()).await?;
    let mut found = BTreeMap::new();
    stats(&ctx, &mut found).await?;
    items(&ctx, &mut found).await?;
    for senders in [1, 16, 64, 256] {
        let rate = submit(&ctx, senders, Duration::from_secs(seconds)).await?;
        println!("{senders:4} senders: {rate:8.0} durable rows/s");
        found.insert(format!("submit {senders}"), json!({ "rows_per_s": rate }));
    }
    ctx.close().await;
    println!("{}", json!(found));
    Ok(())
}

fn id(prefix: &str, n: u32) -> String {
    format!("{prefix}_00000000-0000-0000-0000-{n:012x}")
}

/// Statistics without a filter, with each, and with several. Number 1 of everything has the most rows, by far.
async fn stats(ctx: &Ctx, found: &mut BTreeMap<String, Value>) -> Result<(), ApiError> {
    let (model, user, kind) = (id("mdl", 1), id("usr", 1), "kind_0");
    let month = json!({ "since_ms": LAST_MS - 30 * DAY_MS });
    let year = json!({ "since_ms": LAST_MS - 730 * DAY_MS, "until_ms": LAST_MS - 365 * DAY_MS });
    let cases = [
        ("nothing", json!({})),
        ("month", month.clone()),
        ("year", year.clone()),
        ("model", json!({ "model_id": model })),
        ("rare model", json!({ "model_id": id("mdl", 20) })),
        ("type", json!({ "transformation_type": kind })),
        ("reviewer", json!({ "user_id": user })),
        ("rare reviewer", json!({ "user_id": id("usr", 200) })),
        ("model, type", json!({ "model_id": model, "transformation_type": kind })),
        ("model, month", with(&month, "model_id", &model)),
        ("type, year", with(&year, "transformation_type", kind)),
        ("reviewer, month", with(&month, "user_id", &user)),
        ("reviewer, year", with(&year, "user_id", &user)),
        ("reviewer, model", json!({ "user_id": user, "model_id": model })),
        ("reviewer, type", json!({ "user_id": user, "transformation_type": kind })),
        ("all four", with(&with(&with(&year, "user_id", &user), "model_id", &model), "transformation_type", kind)),
    ];
    println!("feedback_stats                 p50 ms   p95 ms   max ms");
    for (name, arguments) in cases {
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let began = Instant::now();
            dispatch(ctx, "feedback_stats", arguments.clone()).await?;
            times.push(began.elapsed());
        }
        told(&format!("stats {name}"), times, found);
    }
    Ok(())
}

fn with(arguments: &Value, name: &str, value: &str) -> Value {
    let mut arguments = arguments.clone();
    arguments[name] = value.into();
    arguments
}

/// A reviewer who has judged hundreds of thousands, one in the middle of it, and one who begins: the hand, and each next item.
async fn items(ctx: &Ctx, found: &mut BTreeMap<String, Value>) -> Result<(), Failed> {
    println!("next item                      p50 ms   p95 ms   max ms");
    for (name, n) in [("400,000 judged", 1), ("200,000 judged", 3), ("none judged", 50)] {
        let mut actor = Actor::local();
        actor.user_id = Some(id("usr", n).parse()?);
        actor.role = Role::Reviewer;
        let ctx = ctx.as_actor(actor);
        let mut taking = Vec::new();
        let mut hand = Value::Null;
        for _ in 0..CALLS {
            let began = Instant::now();
            hand = dispatch(&ctx, "label_take", json!({ "project_id": PROJECT, "hold": 10 })).await?;
            taking.push(began.elapsed());
        }
        told(&format!("take, {name}"), taking, found);
        let mut next = Vec::new();
        for _ in 0..ITEMS {
            let item = hand["tasks"][0]["item_id"].clone();
            let arguments = json!({ "item_id": item, "answers": { "rating": 4 }, "duration_ms": 5000, "hold": 10 });
            let began = Instant::now();
            let mut submitted = dispatch(&ctx, "label_submit", arguments).await?;
            next.push(began.elapsed());
            hand = submitted["hand"].take();
        }
        told(&format!("next, {name}"), next, found);
    }
    Ok(())
}

fn told(name: &str, mut times: Vec<Duration>, found: &mut BTreeMap<String, Value>) {
    times.sort();
    let ms = |share: f64| {
        let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
        times[at].as_secs_f64() * 1000.0
    };
    let (p50, p95, max) = (ms(0.5), ms(0.95), ms(1.0));
    println!("  {name:27} {p50:8.2} {p95:8.2} {max:8.2}");
    found.insert(name.to_owned(), json!({ "p50_ms": p50, "p95_ms": p95, "max_ms": max }));
}

/// Rows per second that were synced to the disk before they were acknowledged.
async fn submit(ctx: &Ctx, senders: u64, span: Duration) -> Result<f64, Failed> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Keys of this run: the same home may be measured again.
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let stored = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut tasks = Vec::new();
    for sender in 0..senders {
        let (ctx, stored) = (ctx.via(FeedbackSource::Api), Arc::clone(&stored));
        tasks.push(tokio::spawn(async move {
            while began.elapsed() < span {
                let n = NUMBER.fetch_add(1, Relaxed);
                let row = json!({
                    "session_id": format!("s{sender}"), "model_id": id("mdl", 1 + (n % 20) as u32), "input_text": format!("case {n}"),
                    "output_text": "Could you send me the figures?", "transformation_type": format!("kind_{}", n % 12),
                    "rating": 1 + n % 5, "idempotency_key": format!("bench {run} {n}"),
                });
                dispatch(&ctx, "feedback_submit", row).await?;
                stored.fetch_add(1, Relaxed);
            }
            Ok::<(), ApiError>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(stored.load(Relaxed) as f64 / began.elapsed().as_secs_f64())
}
