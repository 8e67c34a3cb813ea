//! The event stream: no gap, no doubles, however slow the subscriber and whoever commits.

use std::time::Duration;

use futures_util::StreamExt;
use tb_core::{event::EventBody, tag::Tag};

use super::support::{Home, LIMIT, all_events, new_job, rest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_gets_every_event_once_in_order() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let mut fast = jobs.subscribe(0);
    let mut slow = jobs.subscribe(0);
    // More events than the live stream holds: the slow one must read on from the database.
    let job = jobs.submit(new_job("steps=40,ms=5,notes=1500")).await.unwrap();
    assert_eq!(slow.next().await.unwrap().seq, 1);
    rest(&jobs, &job.id).await;
    let late = jobs.subscribe(1000).into_stream();
    let db = home.db().await;
    let last = all_events(&db).await.last().unwrap().seq;
    assert!(last > 1500);
    let read = async {
        for wanted in 1..=last {
            assert_eq!(fast.next().await.unwrap().seq, wanted);
        }
        for wanted in 2..=last {
            assert_eq!(slow.next().await.unwrap().seq, wanted);
        }
        let rest: Vec<i64> = late.take((last - 1000) as usize).map(|e| e.seq).collect().await;
        assert_eq!(rest, (1001..=last).collect::<Vec<_>>());
    };
    tokio::time::timeout(LIMIT, read).await.unwrap();

    // Committed by someone else, without a word to this process.
    let mut tx = db.begin().await.unwrap();
    tb_db::events::append(&mut tx, 1, &EventBody::Stale { tags: vec![Tag::Users] }).await.unwrap();
    tx.commit().await.unwrap();
    let event = tokio::time::timeout(LIMIT, fast.next()).await.unwrap().unwrap();
    assert_eq!((event.seq, event.body), (last + 1, EventBody::Stale { tags: vec![Tag::Users] }));
    assert_eq!(slow.next().await.unwrap().seq, last + 1);
    assert!(tokio::time::timeout(Duration::from_millis(300), fast.next()).await.is_err(), "nothing comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_from_another_database_waits_for_what_comes() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=1")).await.unwrap();
    rest(&jobs, &job.id).await;
    let mut events = jobs.subscribe(1_000_000);
    let seen = tokio::time::timeout(Duration::from_millis(300), events.next()).await;
    assert!(seen.is_err(), "{seen:?}");
    let second = jobs.submit(new_job("steps=1")).await.unwrap();
    let event = tokio::time::timeout(LIMIT, events.next()).await.unwrap().unwrap();
    assert!(matches!(event.body, EventBody::Job { job } if job.id == second.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_with_the_jobs() {
    let home = Home::new();
    let jobs = home.jobs().await;
    let job = jobs.submit(new_job("steps=1")).await.unwrap();
    rest(&jobs, &job.id).await;
    let events = jobs.subscribe(0).into_stream();
    jobs.close().await;
    drop(jobs);
    let all: Vec<i64> = tokio::time::timeout(LIMIT, events.map(|e| e.seq).collect()).await.unwrap();
    assert_eq!(all, (1..=all.len() as i64).collect::<Vec<_>>());
    assert!(all.len() > 4);
}
