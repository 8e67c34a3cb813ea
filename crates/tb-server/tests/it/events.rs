//! `/events`: stored events first, then live ones, and on from any number.

use std::time::Duration;

use crate::support::Running;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_broke_goes_on_without_gap_and_without_doubles() {
    let server = Running::start().await;
    for name in ["a", "b", "c"] {
        server.import(name).await;
    }
    let mut stream = server.ask("GET", "/events?after_seq=0").open().await;
    assert_eq!(stream.status, 200);
    let opening = stream.message().await.unwrap();
    assert_eq!((opening.id, opening.data), (Some(0), None));
    let first = stream.numbers(3).await;
    assert_eq!(first, [1, 2, 3]);
    server.import("d").await;
    assert_eq!(stream.numbers(1).await, [4], "live after stored");
    drop(stream);

    server.import("e").await;
    server.import("f").await;
    // A browser repeats its first address and says how far it came.
    let again = server.ask("GET", "/events?after_seq=0").header("Last-Event-ID", "4");
    let mut stream = again.open().await;
    server.import("g").await;
    assert_eq!(stream.numbers(3).await, [5, 6, 7]);

    let mut second = server.ask("GET", "/events?after_seq=6").open().await;
    assert_eq!(second.numbers(1).await, [7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_number_a_stream_begins_now_and_says_where_now_is() {
    let server = Running::start().await;
    server.import("a").await;
    let mut stream = server.ask("GET", "/events").open().await;
    assert_eq!(stream.message().await.unwrap().id, Some(1));
    let mut beyond = server.ask("GET", "/events?after_seq=999999").open().await;
    assert_eq!(beyond.message().await.unwrap().id, Some(1), "a number of another home");
    server.import("b").await;
    assert_eq!(stream.numbers(1).await, [2]);
    assert_eq!(beyond.numbers(1).await, [2]);
    for bad in ["/events?after_seq=x", "/events?after_seq=", "/events?after_seq=1e3"] {
        assert_eq!(server.ask("GET", bad).send().await.status, 400, "{bad}");
    }
    let bad = server.ask("GET", "/events").header("Last-Event-ID", "x").send().await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_lives() {
    let server = Running::with(|c| c.limits.heartbeat = Duration::from_millis(20)).await;
    let mut stream = server.ask("GET", "/events").open().await;
    let headers = stream.headers.clone();
    assert!(headers.contains(&("content-type".into(), "text/event-stream".into())), "{headers:?}");
    assert!(headers.contains(&("x-accel-buffering".into(), "no".into())));
    stream.message().await.unwrap();
    for _ in 0..3 {
        assert_eq!(stream.message().await.unwrap().text, ":\n\n");
    }
}

#[tokio::test]
async fn streams_are_counted_and_a_closed_one_makes_room() {
    let server = Running::with(|c| {
        c.limits.event_streams = 2;
        c.limits.heartbeat = Duration::from_millis(10);
    })
    .await;
    let first = server.ask("GET", "/events").open().await;
    let _second = server.ask("GET", "/events").open().await;
    let third = server.ask("GET", "/events").send().await;
    assert_eq!((third.status, third.code().as_str()), (503, "unavailable"));
    drop(first);
    // The server notices at the latest when it next writes.
    let limit = tokio::time::Instant::now() + crate::support::PATIENCE;
    while server.ask("GET", "/events").open().await.status != 200 {
        assert!(tokio::time::Instant::now() < limit, "the place is never free again");
    }
}
