//! Where it binds, how it ends, and a second one on the same home folder.

use std::time::{Duration, Instant};

use serde_json::json;
use tb_api::Actor;
use tb_core::ErrorCode;
use tb_server::{Exposure, Server, ServerConfig};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{Answering, Running, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_quick_whatever_is_open() {
    let server = Running::with(|c| c.limits.shutdown = Duration::from_secs(3)).await;
    let address = server.address;
    let mut events = server.ask("GET", "/events").open().await;
    events.message().await.unwrap();
    let idle = server.ask("GET", "/nowhere.txt").open().await;
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET / HTT").await.unwrap();
    let mut silent = TcpStream::connect(address).await.unwrap();

    let began = Instant::now();
    let (ctx, ended) = server.end().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(ended.cut_off, 0);
    assert!(events.message().await.is_none() && events.closed().await && idle.closed().await);
    assert!(Answering::read(half).await.closed().await);
    silent.write_all(b"GET / HTTP/1.1\r\n\r\n").await.ok();
    assert_eq!(Answering::read(silent).await.status, 0);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    ctx.jobs().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_is_cut_off_in_time() {
    let server = Running::with(|c| c.limits.shutdown = Duration::from_millis(200)).await;
    let ask = server.ask("POST", "/rpc/job_list").header("Content-Type", "application/json");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&ask.header("Content-Length", "10").header("Expect", "100-continue").bytes()).await.unwrap();
    let stream = Answering::read(stream).await;
    assert_eq!(stream.status, 100, "it is at work");
    let began = Instant::now();
    let (_, ended) = server.end().await;
    assert_eq!(ended.cut_off, 1);
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_works_beside_the_first_and_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let first = Running::on(&home, |_| {}).await;
    let second = Running::on(&home, |_| {}).await;
    assert!(first.ctx.jobs().supervises() && !second.ctx.jobs().supervises());
    assert_eq!(first.token, second.token, "one home, one token");
    assert_ne!(first.cookie().await, second.cookie().await, "browsers share cookies among ports");
    let mut events = second.ask("GET", "/events?after_seq=0").open().await;
    first.import("rows").await;
    assert_eq!(events.numbers(1).await, [1], "what one stores, the other sends");
    assert_eq!(second.rpc("data_list", &json!({})).await[0]["name"], "rows");
    let (ctx, _) = first.end().await;
    ctx.jobs().close().await;
    drop(ctx);
    until("the second supervises", || second.ctx.jobs().supervises()).await;
}

#[tokio::test]
async fn other_machines_are_let_in_only_by_an_explicit_word() {
    let home = tempfile::tempdir().unwrap();
    let ctx = tb_api::open(home.path(), &[], Actor::local()).await.unwrap();
    let config =
        |host: &str, exposure| ServerConfig { host: host.into(), port: 0, exposure, ..ServerConfig::default() };
    for host in ["0.0.0.0", "::", "[::]", "192.0.2.1"] {
        let error = Server::bind(ctx.clone(), &config(host, Exposure::ThisMachine)).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{host}");
        assert!(error.message.contains("not encrypted") && error.hint.contains("--expose"), "{error}");
    }
    assert!(Server::bind(ctx.clone(), &config("0.0.0.0", Exposure::Network)).await.is_ok());
    for host in ["127.0.0.1", "localhost", "127.0.0.2"] {
        assert!(Server::bind(ctx.clone(), &config(host, Exposure::ThisMachine)).await.is_ok(), "{host}");
    }
    let taken = Server::bind(ctx.clone(), &config("127.0.0.1", Exposure::ThisMachine)).await.unwrap();
    let again = ServerConfig { port: taken.address().port(), ..ServerConfig::default() };
    let error = Server::bind(ctx.clone(), &again).await.err().unwrap();
    assert!(error.code == ErrorCode::Unavailable && error.hint.contains("--port"), "{error}");
    let unknown = Server::bind(ctx, &config("no such host", Exposure::ThisMachine)).await.err().unwrap();
    assert_eq!(unknown.code, ErrorCode::InvalidArgument);
}
