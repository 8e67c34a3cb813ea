//! The full trip against a small server of ours that answers as the hub does, and every way in which it can go wrong.

use std::{
    collections::HashMap,
    future::{pending, ready},
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::json;

use super::{
    transfer::{blob_id, lfs_pointer},
    *,
};
use crate::files::sha256_bytes;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does with the next requests for a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Sends so many bytes of each answer, then hangs up.
    Cut(usize),
    /// Sends other bytes of the same length.
    Wrong,
    /// Sends the whole file, whatever range was asked for.
    IgnoresRange,
    /// Sends so many bytes of each answer, then nothing, and keeps the line open.
    Silent(usize),
    /// As it should.
    Fine,
}

struct Hub {
    address: String,
    files: HashMap<&'static str, Vec<u8>>,
    mood: Mutex<Mood>,
    token: Option<&'static str>,
    /// Ranges asked for, or `-` for the whole, by file.
    asked: Mutex<Vec<String>>,
}

impl Hub {
    fn start(token: Option<&'static str>) -> Arc<Self> {
        let weights: Vec<u8> = (0..200_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let files = HashMap::from([
            ("config.json", b"{\"model_type\": \"llama\"}\n".to_vec()),
            ("tokenizer.json", b"{}\n".to_vec()),
            ("model.safetensors", weights),
            ("pytorch_model.bin", b"never fetched".to_vec()),
            ("README.md", b"---\nlicense: mit\n---\n".to_vec()),
            ("notes.txt", b"not needed".to_vec()),
        ]);
        Self::with(files, token)
    }

    fn with(files: HashMap<&'static str, Vec<u8>>, token: Option<&'static str>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Arc::new(Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            files,
            mood: Mutex::new(Mood::Fine),
            token,
            asked: Mutex::new(Vec::new()),
        });
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

    fn options(&self, cache: &Path) -> HubOptions {
        HubOptions {
            endpoint: self.address.clone(),
            token: Some("right".into()),
            offline: false,
            cache_dir: cache.to_path_buf(),
            room_bytes: None,
            silence: Duration::from_secs(20),
        }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.trim().split_once(": ") {
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let path = path.split('?').next().unwrap_or("");
        let allowed = self.token.is_none_or(|t| headers.get("authorization") == Some(&format!("Bearer {t}")));
        let answer = if allowed { self.answer(path, headers.get("range")) } else { Answer::status("401 Unauthorized") };
        let Answer { status, body, sent } = answer;
        let falls_silent = sent < body.len() && matches!(*self.mood.lock().unwrap(), Mood::Silent(_));
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/json\r\nX-Repo-Commit: {COMMIT}\r\n\
             ETag: \"x\"\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let sent = if method == "HEAD" { 0 } else { sent };
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
        if falls_silent {
            // Until the other side gives up.
            let _ = reader.read_line(&mut String::new());
        }
    }

    fn answer(&self, path: &str, range: Option<&String>) -> Answer {
        if path.starts_with("/api/models/me/tiny/tree/") {
            return Answer::whole(json!(self.tree()).to_string().into_bytes());
        }
        if path.starts_with("/api/models/me/tiny") {
            return Answer::whole(json!({"id": "me/tiny", "_id": "1", "sha": COMMIT}).to_string().into_bytes());
        }
        let name = path.strip_prefix(&format!("/me/tiny/resolve/{COMMIT}/"));
        let Some((name, bytes)) = name.and_then(|n| self.files.get_key_value(n)) else {
            return Answer::status("404 Not Found");
        };
        let mood = *self.mood.lock().unwrap();
        if let Some(range) = range {
            self.asked.lock().unwrap().push(format!("{name} {range}"));
        }
        let from = range.and_then(|r| r.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok()).unwrap_or(0);
        let (status, body) = match mood {
            Mood::IgnoresRange => ("200 OK", bytes.clone()),
            Mood::Wrong => ("200 OK", bytes.iter().map(|b| b ^ 1).collect()),
            Mood::Cut(_) | Mood::Silent(_) | Mood::Fine if from > 0 => ("206 Partial Content", bytes[from..].to_vec()),
            Mood::Cut(_) | Mood::Silent(_) | Mood::Fine => ("200 OK", bytes.clone()),
        };
        let sent = match mood {
            Mood::Cut(n) | Mood::Silent(n) => n.min(body.len()),
            Mood::Wrong | Mood::IgnoresRange | Mood::Fine => body.len(),
        };
        Answer { status, body, sent }
    }

    fn tree(&self) -> Vec<serde_json::Value> {
        let mut names: Vec<_> = self.files.iter().collect();
        names.sort();
        let mut tree: Vec<serde_json::Value> = names
            .into_iter()
            .map(|(name, bytes)| {
                let size = bytes.len();
                if name.ends_with(".safetensors") || name.ends_with(".gguf") {
                    let sha256 = sha256_bytes(bytes);
                    let pointer = lfs_pointer(&sha256, size as u64);
                    let oid = blob_id(pointer.len() as u64, pointer.as_bytes()).unwrap();
                    let lfs = json!({"oid": sha256, "size": size, "pointerSize": pointer.len()});
                    json!({"type": "file", "oid": oid, "size": size, "path": name, "lfs": lfs})
                } else {
                    let oid = blob_id(size as u64, bytes.as_slice()).unwrap();
                    json!({"type": "file", "oid": oid, "size": size, "path": name})
                }
            })
            .collect();
        tree.push(json!({"type": "directory", "oid": "0", "path": "onnx"}));
        tree
    }
}

struct Answer {
    status: &'static str,
    body: Vec<u8>,
    sent: usize,
}

impl Answer {
    fn whole(body: Vec<u8>) -> Self {
        let sent = body.len();
        Self { status: "200 OK", body, sent }
    }

    fn status(status: &'static str) -> Self {
        Self { status, ..Self::whole(b"{\"error\":\"no\"}".to_vec()) }
    }
}

fn wanted(repo: &str, revision: &str, file: Option<&str>) -> Wanted {
    Wanted { repo: repo.into(), revision: revision.into(), file: file.map(str::to_owned) }
}

fn fetch(repo: &str, revision: &str, options: &HubOptions) -> Result<PathBuf> {
    download_model(&wanted(repo, revision, None), options, &mut |_| {}, pending())
}

fn get(hub: &Hub, cache: &Path) -> Result<PathBuf> {
    fetch("me/tiny", "main", &hub.options(cache))
}

#[test]
fn ids_are_those_of_git() {
    // echo hello | git hash-object --stdin
    assert_eq!(blob_id(6, &b"hello\n"[..]).unwrap(), "ce013625030ba8dba906f756967f9e9ca394464a");
}

#[test]
fn a_model_arrives_whole_without_pickles_and_is_then_there_offline() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    let mut seen = Vec::new();
    let options = hub.options(cache.path());
    let folder = download_model(&wanted("me/tiny", "main", None), &options, &mut |p| seen.push(p), pending()).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors", "README.md"] {
        assert_eq!(&fs::read(folder.join(name)).unwrap(), &hub.files[name]);
    }
    assert!(!folder.join("pytorch_model.bin").exists() && !folder.join("notes.txt").exists());
    assert!(unfinished(cache.path()).is_empty());
    let last = seen.last().unwrap();
    assert_eq!((last.done_bytes, last.received_bytes), (last.total_bytes, last.total_bytes));
    assert!(seen.windows(2).all(|w| w[0].done_bytes <= w[1].done_bytes));
    let offline = HubOptions { offline: true, endpoint: "http://127.0.0.1:1".into(), ..options };
    assert_eq!(fetch("me/tiny", "main", &offline).unwrap(), folder);
    assert_eq!(fetch("me/tiny", COMMIT, &offline).unwrap(), folder);
    assert_eq!(downloaded(cache.path()), [("me/tiny".to_owned(), folder)]);
    assert!(matches!(fetch("me/tiny", "other", &offline), Err(Error::Offline { .. })));
}

#[test]
fn a_cut_transfer_goes_on_where_it_was_cut() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    hub.set(Mood::Cut(90_000));
    let folder = get(&hub, cache.path()).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), hub.files["model.safetensors"]);
    let asked = hub.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|a| a.starts_with("model.safetensors bytes=90000-")), "{asked:?}");
}

#[test]
fn what_arrived_is_kept_for_the_next_call() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    let folder = cache.path().join("me--tiny/snapshots").join(COMMIT);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(".model.safetensors.part"), &hub.files["model.safetensors"][..150_000]).unwrap();
    assert_eq!(get(&hub, cache.path()).unwrap(), folder);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), hub.files["model.safetensors"]);
    assert_eq!(*hub.asked.lock().unwrap(), ["model.safetensors bytes=150000-199999"]);
}

#[test]
fn a_hub_that_always_hangs_up_is_given_up_and_nothing_half_is_given() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    hub.set(Mood::Cut(0));
    let error = get(&hub, cache.path()).unwrap_err();
    assert!(matches!(error, Error::HubTransfer { .. }), "{error}");
    let offline = HubOptions { offline: true, ..hub.options(cache.path()) };
    assert!(matches!(fetch("me/tiny", "main", &offline), Err(Error::Offline { .. })));
    hub.set(Mood::Fine);
    get(&hub, cache.path()).unwrap();
}

#[test]
fn wrong_bytes_are_noticed_and_deleted() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    hub.set(Mood::Wrong);
    let error = get(&hub, cache.path()).unwrap_err();
    assert!(matches!(error, Error::HubDamaged { .. }) && error.to_string().contains("README.md"), "{error}");
    hub.set(Mood::Fine);
    let folder = get(&hub, cache.path()).unwrap();
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), hub.files["config.json"]);
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_beginning() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    let folder = cache.path().join("me--tiny/snapshots").join(COMMIT);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(".model.safetensors.part"), [0; 1000]).unwrap();
    hub.set(Mood::IgnoresRange);
    get(&hub, cache.path()).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), hub.files["model.safetensors"]);
}

#[test]
fn refusals_and_unknown_names_say_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub::start(Some("right"));
    get(&hub, cache.path()).unwrap();
    let wrong = HubOptions { token: Some("wrong".into()), ..hub.options(cache.path()) };
    let error = fetch("me/tiny", "main", &wrong).unwrap_err();
    assert!(matches!(error, Error::HubRefused { .. }) && error.to_string().contains("HF_TOKEN"), "{error}");
    let error = fetch("me/none", "main", &hub.options(cache.path())).unwrap_err();
    assert!(matches!(error, Error::HubNotFound { .. }) && error.to_string().contains("me/none"), "{error}");
    for (repo, revision) in
        [("tiny", "main"), ("../x", "main"), ("a/b/c", "main"), ("a/b", "../../x"), ("a/.b", "main")]
    {
        let bad = fetch(repo, revision, &hub.options(cache.path()));
        assert!(matches!(bad, Err(Error::BadName { .. })), "{repo} {revision}");
    }
}

#[test]
fn it_works_inside_an_async_runtime() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { get(&hub, cache.path()).map(drop) }).unwrap();
}

#[test]
fn a_download_that_is_stopped_keeps_what_has_arrived_and_goes_on_later() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    hub.set(Mood::Silent(90_000));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let mut stop = Some(stop);
    let mut on_progress = |p: HubProgress| {
        if p.file == "model.safetensors" && p.file_done_bytes == 90_000 {
            stop.take().unwrap().send(()).unwrap();
        }
    };
    let model = wanted("me/tiny", "main", None);
    let error = download_model(&model, &hub.options(cache.path()), &mut on_progress, async {
        let _ = stopped.await;
    })
    .unwrap_err();
    assert!(matches!(error, Error::HubCancelled { .. }), "{error}");
    let left = unfinished(cache.path());
    let (kept, expected) = (left[0].kept_bytes, 90_000 + hub.files["config.json"].len() as u64);
    assert_eq!((left.len(), left[0].repo.as_str(), left[0].commit.as_str(), kept), (1, "me/tiny", COMMIT, expected));
    assert!(downloaded(cache.path()).is_empty());

    hub.set(Mood::Fine);
    let mut seen = Vec::new();
    download_model(&model, &hub.options(cache.path()), &mut |p| seen.push(p), pending()).unwrap();
    // The card, and what was missing of the weights and the tokenizer.
    let missing = 110_000 + hub.files["tokenizer.json"].len() + hub.files["README.md"].len();
    let first = seen.iter().find(|p| p.file == "model.safetensors").unwrap();
    assert!(first.file_done_bytes == 90_000 && first.file_bytes == 200_000, "{first:?}");
    assert!(seen.last().unwrap().received_bytes <= missing as u64, "{:?}", seen.last());
    assert!(unfinished(cache.path()).is_empty() && downloaded(cache.path()).len() == 1);
}

#[test]
fn a_hub_that_falls_silent_is_given_up() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    hub.set(Mood::Silent(0));
    let options = HubOptions { silence: Duration::from_millis(100), ..hub.options(cache.path()) };
    let error = fetch("me/tiny", "main", &options).unwrap_err();
    assert!(matches!(error, Error::HubTransfer { .. }) && error.to_string().contains("nothing came"), "{error}");
}

#[test]
fn two_downloads_never_write_the_same_files() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    let dir = cache.path().join("me--tiny");
    fs::create_dir_all(&dir).unwrap();
    let held = File::create(dir.join(".lock")).unwrap();
    held.lock().unwrap();
    assert!(matches!(get(&hub, cache.path()), Err(Error::HubBusy { .. })));
    drop(held);
    get(&hub, cache.path()).unwrap();
}

#[test]
fn a_full_disk_is_known_before_anything_is_written() {
    let (hub, cache) = (Hub::start(None), tempfile::tempdir().unwrap());
    let options = HubOptions { room_bytes: Some(150_000), ..hub.options(cache.path()) };
    let error = fetch("me/tiny", "main", &options).unwrap_err();
    assert!(matches!(error, Error::NoRoom { room_bytes: 150_000, .. }), "{error}");
    // What is here already needs no room.
    let folder = cache.path().join("me--tiny/snapshots").join(COMMIT);
    fs::write(folder.join(".model.safetensors.part"), &hub.files["model.safetensors"][..150_000]).unwrap();
    fetch("me/tiny", "main", &options).unwrap();
}

#[test]
fn of_a_gguf_repository_one_file_is_chosen() {
    let files = HashMap::from([
        ("a-Q4_K_M.gguf", vec![1; 3000]),
        ("a-Q8_0.gguf", vec![2; 5000]),
        ("README.md", b"---\nlicense: mit\n---\n".to_vec()),
    ]);
    let (hub, cache) = (Hub::with(files, None), tempfile::tempdir().unwrap());
    let Err(Error::HubChoice { files, .. }) = get(&hub, cache.path()) else { panic!("it chose by itself") };
    assert_eq!(files[0], HubFile { name: "a-Q4_K_M.gguf".into(), size_bytes: 3000 });
    assert_eq!(files.len(), 2);
    let options = hub.options(cache.path());
    let one = |file| download_model(&wanted("me/tiny", "main", Some(file)), &options, &mut |_| {}, ready(()));
    assert!(matches!(one("a-Q8_0.gguf"), Err(Error::HubCancelled { .. })));
    let one = |file| download_model(&wanted("me/tiny", "main", Some(file)), &options, &mut |_| {}, pending());
    let path = one("a-Q8_0.gguf").unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![2; 5000]);
    assert!(!path.with_file_name("a-Q4_K_M.gguf").exists() && path.with_file_name("README.md").exists());
    assert_eq!(downloaded(cache.path()), [("me/tiny".to_owned(), path)]);
    assert!(unfinished(cache.path()).is_empty());
    assert!(matches!(one("b.gguf"), Err(Error::HubNotFound { .. })));
    assert!(matches!(one("model.safetensors"), Err(Error::BadName { .. })));
}
