//! A running server, and a client that says exactly what a test wants it to say, right or wrong.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tb_api::{Actor, Ctx, PasswordCost};
use tb_server::{Ended, Server, ServerConfig};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The password of every user in these tests.
pub const PASSWORD: &str = "correct horse";

/// Opens a home whose passwords cost little.
pub async fn open(home: &Path) -> Ctx {
    let cost = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };
    tb_api::open_with_cost(home, &[], Actor::local(), cost).await.unwrap()
}

/// A server at work in this process.
pub struct Running {
    /// Its program.
    pub ctx: Ctx,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its token.
    pub token: String,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Ended>,
    /// Removed when the server is dropped, if the home is its own.
    _folder: Option<TempDir>,
}

impl Running {
    /// A server with a home of its own.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with another configuration.
    pub async fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Self::on(&folder.path().join("home"), change).await;
        running._folder = Some(folder);
        running
    }

    /// A server on a given home.
    pub async fn on(home: &Path, change: impl FnOnce(&mut ServerConfig)) -> Self {
        fs::create_dir_all(home).unwrap();
        let ctx = open(home).await;
        let mut config = ServerConfig { port: 0, ..ServerConfig::default() };
        change(&mut config);
        let server = Server::bind(ctx.clone(), &config).await.unwrap();
        let address = server.address();
        let url = server.access_url();
        let token = url.split_once("/?token=").unwrap().1.to_owned();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(async {
            stopped.await.ok();
        }));
        Self { ctx, address, token, stop, ended, _folder: None }
    }

    /// The folder around the home.
    pub fn folder(&self) -> &Path {
        self.ctx.home().parent().unwrap()
    }

    /// Tells the server to end, and waits for it.
    pub async fn end(self) -> (Ctx, Ended) {
        self.stop.send(()).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.ended).await.unwrap().unwrap();
        (self.ctx, ended)
    }

    /// A request of the one who holds the token.
    pub fn ask(&self, method: &str, target: &str) -> Ask {
        self.bare(method, target).header("Host", &self.address.to_string()).bearer(&self.token)
    }

    /// A request that says nothing by itself.
    pub fn bare(&self, method: &str, target: &str) -> Ask {
        Ask { to: self.address, head: format!("{method} {target} HTTP/1.1\r\n"), body: Vec::new() }
    }

    /// Runs a command and gives its result.
    pub async fn rpc(&self, name: &str, arguments: &Value) -> Value {
        let answer = self.ask("POST", &format!("/rpc/{name}")).json(&arguments.to_string()).send().await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        answer.json()
    }

    /// The cookie that signing in gives.
    pub async fn cookie(&self) -> String {
        let target = format!("/?token={}", self.token);
        let answer = self.bare("GET", &target).header("Host", &self.address.to_string()).send().await;
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }

    /// Adds a user, and gives their id.
    pub async fn add(&self, name: &str, role: &str) -> String {
        let user = self.rpc("user_add", &serde_json::json!({ "name": name, "role": role, "password": PASSWORD })).await;
        user["id"].as_str().unwrap().to_owned()
    }

    /// A token of a user.
    pub async fn token_of(&self, name: &str) -> String {
        let token = self.rpc("token_create", &serde_json::json!({ "name": "test", "user": name })).await;
        token["secret"].as_str().unwrap().to_owned()
    }

    /// What this server's own page sends.
    pub fn own(&self, method: &str, target: &str) -> Ask {
        let host = self.address.to_string();
        self.bare(method, target).header("Host", &host).header("Origin", &format!("http://{host}"))
    }

    /// Fills the form of the door.
    pub async fn sign_in(&self, name: &str, password: &str) -> Answer {
        let form = format!("name={name}&password={}", password.replace(' ', "+"));
        self.own("POST", "/sign-in").form(&form).send().await
    }

    /// The cookie of a user who signs in.
    pub async fn session(&self, name: &str) -> String {
        let answer = self.sign_in(name, PASSWORD).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }

    /// Stores one event: imports a dataset of a few rows.
    pub async fn import(&self, name: &str) {
        let rows: String = (0..4).map(|i| format!("{{\"prompt\":\"{name} {i}\",\"completion\":\"b\"}}\n")).collect();
        let file = self.folder().join(format!("{name}.jsonl"));
        fs::write(&file, rows).unwrap();
        self.rpc("data_import", &serde_json::json!({ "path": file, "name": name })).await;
    }
}

/// A request in the making.
pub struct Ask {
    to: SocketAddr,
    head: String,
    body: Vec<u8>,
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn json(self, text: &str) -> Self {
        self.header("Content-Type", "application/json").body(text.as_bytes())
    }

    pub fn form(self, text: &str) -> Self {
        self.header("Content-Type", "application/x-www-form-urlencoded").body(text.as_bytes())
    }

    pub fn body(mut self, bytes: &[u8]) -> Self {
        self.body = bytes.to_vec();
        self.header("Content-Length", &bytes.len().to_string())
    }

    /// All that would be sent.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// Opens the connection, sends the request and reads the head of the answer.
    pub async fn open(self) -> Answering {
        let mut stream = TcpStream::connect(self.to).await.unwrap();
        // A server that refuses early may close while the rest is still being sent.
        stream.write_all(&self.bytes()).await.ok();
        Answering::read(stream).await
    }

    /// Sends the request and reads the whole answer.
    pub async fn send(self) -> Answer {
        let no_body = self.head.starts_with("HEAD ");
        self.header("Connection", "close").open().await.whole(no_body).await
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code of the error in the body.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// An answer whose body is still coming.
pub struct Answering {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    stream: TcpStream,
    /// Read and not yet used.
    rest: Vec<u8>,
}

impl Answering {
    /// Reads the head of an answer; status 0 if the connection ended without one.
    pub async fn read(stream: TcpStream) -> Self {
        let mut this = Self { status: 0, headers: Vec::new(), stream, rest: Vec::new() };
        let end = loop {
            if let Some(at) = find(&this.rest, b"\r\n\r\n") {
                break at;
            }
            if !this.more().await {
                return this;
            }
        };
        let head: Vec<u8> = this.rest.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        this.status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        this.headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        this
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Reads on; false at the end.
    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.rest)).await;
        matches!(read.expect("the server says nothing"), Ok(n) if n > 0)
    }

    /// The next chunk of a chunked body; none at its end, or where it breaks off.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = loop {
            if let Some(at) = find(&self.rest, b"\r\n") {
                break at;
            }
            if !self.more().await {
                return None;
            }
        };
        let size = usize::from_str_radix(std::str::from_utf8(&self.rest[..line]).unwrap(), 16).unwrap();
        let whole = line + 2 + size + 2;
        while self.rest.len() < whole {
            if !self.more().await {
                return None;
            }
        }
        let chunk = self.rest[line + 2..line + 2 + size].to_vec();
        self.rest.drain(..whole);
        (size > 0).then_some(chunk)
    }

    /// The rest of the answer.
    pub async fn whole(mut self, no_body: bool) -> Answer {
        let mut body = Vec::new();
        let length = self.header("content-length").map(|l| l.parse::<usize>().unwrap());
        if self.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                body.extend(chunk);
            }
        } else if !no_body && self.status != 304 {
            while length.is_none_or(|length| self.rest.len() < length) {
                if !self.more().await {
                    break;
                }
            }
            body = self.rest;
        }
        Answer { status: self.status, headers: self.headers, body }
    }

    /// Whether the server has closed the connection.
    pub async fn closed(mut self) -> bool {
        while self.more().await {}
        true
    }

    /// The next message of an event stream; its lines without the field names. None at the end.
    pub async fn message(&mut self) -> Option<Message> {
        let chunk = self.chunk().await?;
        let text = String::from_utf8(chunk).unwrap();
        assert!(text.ends_with("\n\n"), "{text:?}");
        let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
        Some(Message { id: field("id:").map(|id| id.parse().unwrap()), data: field("data:"), text })
    }

    /// The numbers of the next `count` events; each must carry the event of its number.
    pub async fn numbers(&mut self, count: usize) -> Vec<i64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let message = self.message().await.expect("the stream goes on");
            if let Some(data) = message.data {
                let event: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(event["seq"].as_i64(), message.id);
                numbers.extend(message.id);
            }
        }
        numbers
    }
}

/// One message of an event stream.
#[derive(Debug)]
pub struct Message {
    pub id: Option<i64>,
    pub data: Option<String>,
    pub text: String,
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// Looks again and again until it is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < limit, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
