//! A base model from a hub, from the stream to the list and off it again, against a small server of ours that gives the sample's base.

// Helpers outside #[test] functions fail the test that calls them.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tb_api::{Actor, BaseModel, BaseProblems, BaseSource, Ctx, DownloadItem, commands, streams};
use tb_core::{ApiError, ErrorCode, user::Role};
use tb_data::hub::blob_id;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Longest time anything may take; only a broken program needs it.
const LIMIT: Duration = Duration::from_secs(60);

/// A hub with the repository `me/tiny`, which sends the last part of the weights only while it is open.
struct Hub {
    address: String,
    files: BTreeMap<String, Vec<u8>>,
    open: AtomicBool,
}

impl Hub {
    fn start(base: &Path) -> Arc<Self> {
        let mut files: BTreeMap<String, Vec<u8>> = std::fs::read_dir(base)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
            .collect();
        files.insert("README.md".into(), b"---\nlicense: apache-2.0\n---\n# Tiny\n".to_vec());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Self { address, files, open: AtomicBool::new(true) });
        // The threads end with the test process: they wait for connections that never come.
        let served = Arc::clone(&hub);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                thread::spawn(move || served.serve(stream));
            }
        });
        hub
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let range =
            head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let path = first.split(' ').nth(1).unwrap_or("").split('?').next().unwrap_or("");
        let file = path.strip_prefix(&format!("/me/tiny/resolve/{COMMIT}/")).and_then(|n| self.files.get_key_value(n));
        let (status, body, holds_back) = if path.starts_with("/api/models/me/tiny/tree/") {
            ("200 OK", self.tree(), false)
        } else if path.starts_with("/api/models/me/tiny") {
            ("200 OK", json!({ "id": "me/tiny", "_id": "1", "sha": COMMIT }).to_string().into_bytes(), false)
        } else if let Some((name, bytes)) = file {
            let from = range.and_then(|r| r.split('-').next()?.parse::<usize>().ok()).unwrap_or(0);
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            (status, bytes[from..].to_vec(), name.ends_with(".safetensors"))
        } else {
            ("404 Not Found", b"{}".to_vec(), false)
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/json\r\nX-Repo-Commit: {COMMIT}\r\n\
             ETag: \"x\"\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let half = if holds_back && !self.open.load(Ordering::SeqCst) { body.len() / 2 } else { body.len() };
        let mut sent = stream.write_all(head.as_bytes());
        for piece in body[..half].chunks(half.div_ceil(4).max(1)) {
            sent = sent.and_then(|()| stream.write_all(piece));
            if half < body.len() {
                // Slow enough to be told in steps.
                thread::sleep(Duration::from_millis(250));
            }
        }
        while sent.is_ok() && half < body.len() && !self.open.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn tree(&self) -> Vec<u8> {
        let entry = |(name, bytes): (&String, &Vec<u8>)| {
            let oid = blob_id(bytes.len() as u64, bytes.as_slice()).unwrap();
            json!({ "type": "file", "oid": oid, "size": bytes.len(), "path": name })
        };
        json!(self.files.iter().map(entry).collect::<Vec<_>>()).to_string().into_bytes()
    }
}

struct Place {
    ctx: Ctx,
    hub: Arc<Hub>,
    _home: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let hub = Hub::start(&tb_data::sample::write_bundled(&home.path().join("source")).unwrap().base);
        let endpoint = [("hf_endpoint".to_owned(), hub.address.clone())];
        let ctx = tb_api::open(&home.path().join("home"), &endpoint, Actor::local()).await.unwrap();
        Self { ctx, hub, _home: home }
    }

    async fn download(&self, arguments: Value) -> Result<Vec<DownloadItem>, ApiError> {
        let items = streams::dispatch_stream(&self.ctx, "model_download", arguments).await?;
        let items: Vec<_> = tokio::time::timeout(LIMIT, items.collect()).await.expect("the stream ends");
        items.into_iter().map(|item| Ok(serde_json::from_value(item?).unwrap())).collect()
    }

    async fn call(&self, name: &str, arguments: Value) -> Result<Value, ApiError> {
        commands::dispatch(&self.ctx, name, arguments).await
    }

    async fn bases(&self) -> Vec<BaseModel> {
        serde_json::from_value(self.call("base_list", Value::Null).await.unwrap()).unwrap()
    }

    async fn problems(&self) -> BaseProblems {
        serde_json::from_value(self.call("base_problems", Value::Null).await.unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_comes_with_progress_is_listed_with_its_licence_and_can_be_deleted() {
    let place = Place::new().await;
    let items = place.download(json!({ "repo": "me/tiny" })).await.unwrap();
    let Some(DownloadItem::Done { model }) = items.last() else { panic!("{items:?}") };
    assert_eq!((model.repo.as_str(), model.commit.as_str()), ("me/tiny", COMMIT));
    let last = items.iter().rev().find_map(|item| match item {
        DownloadItem::Progress { done_bytes, total_bytes, .. } => Some((*done_bytes, *total_bytes)),
        DownloadItem::Choice { .. } | DownloadItem::Done { .. } => None,
    });
    let size: usize = place.hub.files.values().map(Vec::len).sum();
    assert_eq!(last, Some((size as u64, size as u64)));

    let base = &place.bases().await[0];
    assert_eq!(
        (base.name.as_str(), base.source, base.licence.as_deref()),
        ("me/tiny", BaseSource::Hub, Some("apache-2.0"))
    );
    assert_eq!(base.hub.as_ref().map(|h| h.commit.as_str()), Some(COMMIT));
    let template = place.call("base_template", json!({ "path": base.path })).await.unwrap();
    assert!(template["example"].as_str().unwrap().contains("Hello"), "{template}");

    let removed = place.call("base_remove", json!({ "path": base.path })).await.unwrap();
    assert!(removed["freed_bytes"].as_u64().unwrap() >= size as u64, "{removed}");
    assert!(place.bases().await.is_empty() && !Path::new(&base.path).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_dropped_stops_and_its_model_goes_on_from_there() {
    let place = Place::new().await;
    place.hub.open.store(false, Ordering::SeqCst);
    let mut items = streams::dispatch_stream(&place.ctx, "model_download", json!({ "repo": "me/tiny" })).await.unwrap();
    let half = place.hub.files["model.safetensors"].len() as u64 / 2;
    let reaches = async {
        while let Some(item) = items.next().await {
            let item: DownloadItem = serde_json::from_value(item.unwrap()).unwrap();
            if matches!(item, DownloadItem::Progress { file_done_bytes, .. } if file_done_bytes > half / 2) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, reaches).await.expect("half of the weights come");
    drop(items);
    assert!(place.bases().await.is_empty());
    let left = place.problems().await.unfinished;
    assert!(left.len() == 1 && left[0].repo == "me/tiny" && left[0].kept_bytes > half / 2, "{left:?}");

    place.hub.open.store(true, Ordering::SeqCst);
    let again = place.download(json!({ "repo": "me/tiny", "revision": left[0].commit })).await.unwrap();
    let Some(DownloadItem::Progress { done_bytes, received_bytes, .. }) = again.iter().rev().nth(1) else {
        panic!("{again:?}")
    };
    assert!(received_bytes + half / 2 <= *done_bytes, "{received_bytes} of {done_bytes}");
    assert!(place.problems().await.unfinished.is_empty());
    assert_eq!(place.bases().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_downloaded_says_what_to_do() {
    let place = Place::new().await;
    let error = place.download(json!({ "repo": "me/none" })).await.unwrap_err();
    assert!(error.code == ErrorCode::NotFound && error.hint.contains("owner/name"), "{error}");
    let error = place.download(json!({ "repo": "none" })).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    let viewer = place.ctx.as_actor(Actor::with_role(Role::Viewer));
    let refused = streams::dispatch_stream(&viewer, "model_download", json!({ "repo": "me/tiny" })).await.err();
    assert_eq!(refused.map(|e| e.code), Some(ErrorCode::Forbidden));
    assert!(place.problems().await.unfinished.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_put_on_the_list_by_its_path_and_its_files_stay_when_it_is_taken_off() {
    let place = Place::new().await;
    let outside = place.ctx.home().parent().unwrap().join("outside");
    let base = tb_data::sample::write_bundled(&outside).unwrap().base;
    let added = place.call("base_add", json!({ "path": base })).await.unwrap();
    assert_eq!(added["source"], "added");
    place.call("base_add", json!({ "path": base })).await.unwrap();
    assert_eq!(place.bases().await.len(), 1);

    // A folder that is damaged later is named with what is wrong, not left out in silence.
    std::fs::remove_file(base.join("model.safetensors")).unwrap();
    assert!(place.bases().await.is_empty());
    let refused = place.problems().await.refused;
    assert!(refused.len() == 1 && refused[0].error.message.contains("model.safetensors"), "{refused:?}");

    let removed = place.call("base_remove", json!({ "path": base })).await.unwrap();
    assert_eq!(removed["freed_bytes"], 0);
    assert!(base.join("config.json").exists() && place.problems().await.refused.is_empty());
    let error = place.call("base_remove", json!({ "path": base })).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    let error = place.call("base_add", json!({ "path": outside })).await.unwrap_err();
    assert!(error.message.contains("config.json"), "{error}");
}
