//! What one caller can make the server hold, and for how long.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answering, Running};

#[tokio::test]
async fn a_body_over_the_limit_is_refused_at_once() {
    let server = Running::with(|c| c.limits.arguments_bytes = 1000).await;
    let fits = format!("{{}}{}", " ".repeat(998));
    assert_eq!(server.ask("POST", "/rpc/job_list").json(&fits).send().await.status, 200);
    let over = server.ask("POST", "/rpc/job_list").json(&format!("{fits} ")).send().await;
    assert_eq!((over.status, over.code().as_str()), (413, "invalid_argument"));
    let announced = server.ask("POST", "/rpc/job_list").header("Content-Type", "application/json");
    let announced = announced.header("Content-Length", "99999999999").open().await;
    assert_eq!(announced.status, 413, "before any byte of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_cut_at_the_limit() {
    let server = Running::with(|c| c.limits.arguments_bytes = 100_000).await;
    let ask = server.ask("POST", "/rpc/job_list").header("Content-Type", "application/json");
    let head = ask.header("Transfer-Encoding", "chunked").bytes();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&head).await.unwrap();
    let piece = format!("1000\r\n{}\r\n", " ".repeat(4096));
    let began = Instant::now();
    let (mut reading, mut writing) = stream.into_split();
    let endless = tokio::spawn(async move { while writing.write_all(piece.as_bytes()).await.is_ok() {} });
    let mut answer = [0; 12];
    reading.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(reading);
    tokio::time::timeout(crate::support::PATIENCE, endless).await.expect("the connection ends").unwrap();
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = Running::start().await;
    let ask = |extra: String| {
        let mut bytes = server.ask("GET", "/nowhere.txt").bytes();
        bytes.truncate(bytes.len() - 2);
        [bytes, extra.into_bytes(), b"\r\n".to_vec()].concat()
    };
    for (what, head) in [
        ("64 KiB in one header", ask(format!("X: {}\r\n", "x".repeat(64 << 10)))),
        ("a million headers", ask("X: x\r\n".repeat(1_000_000))),
        ("101 headers", ask("X: x\r\n".repeat(101))),
        ("a long address", server.ask("GET", &format!("/{}", "x".repeat(64 << 10))).bytes()),
    ] {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let sending = tokio::spawn(async move {
            writing.write_all(&head).await.ok();
            writing
        });
        let mut answer = [0; 12];
        reading.read_exact(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.ends_with(" 431") || answer.ends_with(" 414"), "{what}: {answer}");
        drop(reading);
        drop(sending.await);
    }
    assert_eq!(server.ask("GET", "/nowhere.txt").send().await.status, 404, "others are answered");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let server = Running::with(|c| c.limits.body_idle = Duration::from_millis(100)).await;
    for path in ["/rpc/job_list", "/upload?name=x.csv"] {
        let ask = server.ask("POST", path).header("Content-Type", "application/json").header("Content-Length", "100");
        let began = Instant::now();
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&ask.bytes()).await.unwrap();
        stream.write_all(b"{").await.unwrap();
        assert_eq!(Answering::read(stream).await.status, 408, "{path}");
        assert!(began.elapsed() >= Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_ask_neither_stay_nor_keep_others_out() {
    let server = Running::with(|c| {
        c.limits.connections = 16;
        c.limits.head_timeout = Duration::from_millis(400);
    })
    .await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for i in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        slow.push(stream);
        if i % 20 == 19 {
            let asked = Instant::now();
            assert_eq!(server.ask("GET", "/nowhere.txt").send().await.status, 404);
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?} after {i} slow ones", asked.elapsed());
        }
    }
    for stream in slow {
        assert!(Answering::read(stream).await.closed().await);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let idle = server.ask("GET", "/nowhere.txt").open().await;
    assert_eq!(idle.status, 404);
    assert!(idle.closed().await, "nor do those that asked once and then idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_seat_at_work_a_newcomer_is_told() {
    let server = Running::with(|c| c.limits.connections = 3).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = server.ask("GET", "/events").open().await;
        stream.message().await.unwrap();
        streams.push(stream);
    }
    assert_eq!(server.ask("GET", "/nowhere.txt").send().await.status, 503);
    streams.pop();
    let limit = Instant::now() + crate::support::PATIENCE;
    while server.ask("GET", "/nowhere.txt").send().await.status != 404 {
        assert!(Instant::now() < limit, "the seat is never free again");
    }
    assert_eq!(streams.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    // More than the system's buffers of both ends hold.
    std::fs::File::create(folder.path().join("big.bin")).unwrap().set_len(64 << 20).unwrap();
    let server = Running::with(|c| {
        c.ui_folder = Some(folder.path().to_owned());
        c.limits.write_idle = Duration::from_millis(200);
        c.limits.connections = 1;
    })
    .await;
    let mut stuck = TcpStream::connect(server.address).await.unwrap();
    stuck.write_all(&server.ask("GET", "/big.bin").bytes()).await.unwrap();
    let mut first = [0; 1];
    stuck.read_exact(&mut first).await.unwrap();
    let limit = Instant::now() + crate::support::PATIENCE;
    // Its seat, the only one, is free again.
    while server.ask("GET", "/nowhere.txt").send().await.status != 404 {
        assert!(Instant::now() < limit, "the reader is never cut off");
    }
}
