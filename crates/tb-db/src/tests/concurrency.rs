//! Many writers at once: no failure, no lost update, no gap.

use tb_core::{event::EventBody, ids::JobId, job::Job, tag::Tag};

use super::*;
use crate::events;

/// Reads the job, adds 1 to its rank and stores it, `times` times.
async fn count_up(db: Db, times: u32) {
    for _ in 0..times {
        let mut tx = db.begin().await.unwrap();
        let seen = jobs::get(&mut tx, &JobId::from_uuid(uuid(1))).await.unwrap().unwrap();
        jobs::update(&mut tx, &Job { queue_rank: seen.queue_rank + 1, ..seen }).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_writers_lose_nothing() {
    let fixture = Fixture::filled().await;
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(count_up(fixture.db.clone(), 100))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let end = jobs::get(&fixture.db, &JobId::from_uuid(uuid(1))).await.unwrap().unwrap();
    assert_eq!((end.queue_rank, end.version), (801, 800));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_programs_on_one_file_lose_nothing() {
    let fixture = Fixture::filled().await;
    let other = Db::open(&fixture.path()).await.unwrap();
    let tasks: Vec<_> = [&fixture.db, &other, &fixture.db, &other]
        .into_iter()
        .map(|db| tokio::spawn(count_up(db.clone(), 40)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let end = jobs::get(&other, &JobId::from_uuid(uuid(1))).await.unwrap().unwrap();
    assert_eq!((end.queue_rank, end.version), (161, 160));
    assert_eq!(other.problems().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn event_numbers_have_no_gaps_and_a_follower_misses_none() {
    let fixture = Fixture::new().await;
    let other = Db::open(&fixture.path()).await.unwrap();
    let body = EventBody::Stale { tags: vec![Tag::Jobs] };
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let (db, body) = (if writer % 2 == 0 { fixture.db.clone() } else { other.clone() }, body.clone());
            tokio::spawn(async move {
                for n in 0..20 {
                    let mut tx = db.begin().await.unwrap();
                    events::append(&mut tx, writer * 100 + n, &body).await.unwrap();
                    // Every fourth is undone: its number must go to the next.
                    if n % 4 == 3 {
                        drop(tx);
                    } else {
                        tx.commit().await.unwrap();
                    }
                }
            })
        })
        .collect();
    // A follower sees the numbers in order, whatever it catches them at.
    let mut seen = Vec::new();
    while seen.len() < 90 {
        let last = seen.last().copied().unwrap_or(0);
        seen.extend(events::after(&fixture.db, last, 7).await.unwrap().iter().map(|e| e.seq));
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(seen, (1..=90).collect::<Vec<i64>>());
    assert_eq!(events::last_seq(&other).await.unwrap(), 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_file_opened_many_times_at_once_gets_one_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.sqlite");
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let path = path.clone();
            tokio::spawn(async move { Db::open(&path).await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert_eq!(events::last_seq(&task.await.unwrap()).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn readers_see_what_is_committed_while_a_write_is_under_way() {
    let fixture = Fixture::filled().await;
    let id = JobId::from_uuid(uuid(1));
    let mut tx = fixture.begin().await;
    jobs::update(&mut tx, &Job { name: "half done".into(), ..job(1) }).await.unwrap();
    assert_eq!(jobs::get(&mut tx, &id).await.unwrap().unwrap().name, "half done");
    assert_eq!(jobs::get(&fixture.db, &id).await.unwrap().unwrap().name, "job 1");
    tx.commit().await.unwrap();
    assert_eq!(jobs::get(&fixture.db, &id).await.unwrap().unwrap().name, "half done");
}

#[tokio::test]
async fn a_transaction_that_is_dropped_or_whose_task_dies_leaves_nothing() {
    let fixture = Fixture::filled().await;
    let db = fixture.db.clone();
    let (said, heard) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut tx = db.begin().await.unwrap();
        jobs::insert(&mut tx, &job(2)).await.unwrap();
        said.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    heard.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let mut tx = fixture.begin().await;
    assert_eq!(jobs::get(&mut tx, &job(2).id).await.unwrap(), None);
    jobs::insert(&mut tx, &job(2)).await.unwrap();
    drop(tx);
    let mut tx = fixture.begin().await;
    assert_eq!(jobs::get(&mut tx, &job(2).id).await.unwrap(), None);
}
