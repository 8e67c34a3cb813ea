//! What the tests share: a screen, a session bus and folders of their own, the program started on them, and its page.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::sleep,
};

/// The window.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tonebridge-workbench");

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// One window at a time: the machine may have two cores only.
static TURN: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// A process group that ends with the test.
struct Group(Child);

impl Group {
    fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        Self(
            command.process_group(0).spawn().unwrap_or_else(|e| panic!("{} cannot be started: {e}", program.display())),
        )
    }

    /// The first line that it prints.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The whole group: the driver starts a driver that starts the program.
        let group = format!("-{}", self.0.id());
        Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status().ok();
        self.0.wait().ok();
    }
}

/// A desktop of its own.
pub struct Desktop {
    folder: TempDir,
    display: String,
    bus: String,
    _bus: Group,
    _screen: Group,
    _turn: MutexGuard<'static, ()>,
}

impl Desktop {
    /// A screen and a bus with nothing on them.
    pub async fn start() -> Self {
        let turn = TURN.lock().await;
        let quiet = |program: &str| {
            let mut command = Command::new(program);
            command.stdout(Stdio::piped()).stderr(Stdio::null());
            command
        };
        let screen = ["-displayfd", "1", "-screen", "0", "1500x960x24", "-nolisten", "tcp"];
        let mut screen = Group::start(quiet("Xvfb").args(screen));
        let mut bus = Group::start(quiet("dbus-daemon").args(["--session", "--nofork", "--print-address=1"]));
        Self {
            folder: tempfile::tempdir().unwrap(),
            display: format!(":{}", screen.first_line()),
            bus: bus.first_line(),
            _bus: bus,
            _screen: screen,
            _turn: turn,
        }
    }

    /// A path of the test's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The home folder of the program.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The address of the session bus.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// A program on this desktop.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env("DISPLAY", &self.display)
            .env_remove("WAYLAND_DISPLAY")
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .env("TONEBRIDGE_HOME", self.home())
            .env("TONEBRIDGE_LOG", "tonebridge_workbench=info,warn")
            .env("XDG_RUNTIME_DIR", self.folder("run"))
            .env("XDG_CONFIG_HOME", self.folder("config"))
            .env("XDG_DATA_HOME", self.folder("data"))
            .env("XDG_CACHE_HOME", self.folder("cache"))
            .env("NO_AT_BRIDGE", "1")
            .env("LANG", "C.UTF-8");
        command
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// What a tool of the desktop answers.
    pub fn ask(&self, program: &str, args: &[&str]) -> Output {
        self.command(program).args(args).output().unwrap_or_else(|e| panic!("{program} cannot be started: {e}"))
    }

    /// The visible windows whose title matches.
    pub fn windows(&self, title: &str) -> Vec<String> {
        let found = self.ask("xdotool", &["search", "--onlyvisible", "--name", title]);
        String::from_utf8_lossy(&found.stdout).lines().map(String::from).collect()
    }

    /// Points beside the window: without a window manager the window under the pointer is the one that is looked at.
    pub fn look_away(&self) {
        assert!(self.ask("xdotool", &["mousemove", "1490", "950"]).status.success());
    }

    /// Presses keys in the window of that title.
    pub fn press(&self, title: &str, keys: &str) {
        let window = self.windows(title).pop().unwrap_or_else(|| panic!("no window {title}"));
        let done = self.ask("xdotool", &["windowfocus", "--sync", &window, "key", keys]);
        assert!(done.status.success(), "{done:?}");
    }

    /// Starts the program under the driver and waits for its page.
    pub async fn open(&self) -> Window {
        // One that was killed is gone from the screen a moment later.
        wait("no window of before", async || self.windows("ToneBridge").is_empty().then_some(())).await;
        let driver = env::var_os("TAURI_DRIVER").filter(|v| !v.is_empty()).unwrap_or_else(|| "tauri-driver".into());
        let (port, native_port) = (free_port(), free_port());
        let ports = ["--port", &port.to_string(), "--native-port", &native_port.to_string()];
        let log = fs::File::create(self.path("window.log")).unwrap();
        let mut command = self.command(&driver);
        command.args(ports).stdout(Stdio::null()).stderr(log);
        let group = Group::start(&mut command);
        let mut wanted = Map::new();
        wanted.insert("tauri:options".into(), json!({ "application": PROGRAM }));
        let start = Instant::now();
        let client = loop {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            match builder.capabilities(wanted.clone()).connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => break client,
                // The drivers refuse until both listen.
                Err(error) if start.elapsed() < LIMIT => {
                    assert!(self.windows("ToneBridge").is_empty(), "the window is there, but not its driver: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    panic!("no session: {error}; `cargo xtask test` installs what this needs. Logged: {}", self.log())
                }
            }
        };
        Window { client, _driver: group }
    }

    /// What the program logged.
    fn log(&self) -> String {
        fs::read_to_string(self.path("window.log")).unwrap_or_default()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map(|address| address.port()).unwrap()
}

/// Waits until `done` gives something.
pub async fn wait<T>(what: &str, done: impl AsyncFnMut() -> Option<T>) -> T {
    within(LIMIT, done).await.unwrap_or_else(|| panic!("waited for {what}"))
}

/// What `done` gives within the limit, if anything.
async fn within<T>(limit: Duration, mut done: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = done().await {
            return Some(found);
        }
        if start.elapsed() > limit {
            return None;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The open window's page.
pub struct Window {
    client: Client,
    _driver: Group,
}

impl Window {
    /// The browser's side of it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until `done` gives something; in vain, it says what the page shows.
    pub async fn wait<T>(&self, limit: Duration, what: &str, done: impl AsyncFnMut() -> Option<T>) -> T {
        if let Some(found) = within(limit, done).await {
            return found;
        }
        let shown = self.run("return `${location.pathname}\\n${document.body.innerText}`", &[]).await;
        panic!("waited for {what}; shown: {}", shown.as_str().unwrap_or_default());
    }

    /// Runs script in the page.
    pub async fn run(&self, script: &str, args: &[Value]) -> Value {
        self.client.execute(script, args.to_vec()).await.unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// Calls a command of the window as its page does: the answer, or the refusal.
    pub async fn invoke(&self, command: &str, args: Value) -> Result<Value, Value> {
        const SCRIPT: &str = "const [command, args, done] = arguments;
            window.__TAURI_INTERNALS__.invoke(command, args).then(
                (answer) => done({ answer: answer ?? null }),
                (refusal) => done({ refusal: refusal?.message ? { ...refusal } : String(refusal) }),
            );";
        let mut found = self.client.execute_async(SCRIPT, vec![command.into(), args]).await.unwrap();
        match found.get_mut("answer") {
            Some(answer) => Ok(answer.take()),
            None => Err(found["refusal"].take()),
        }
    }

    /// Runs a command of the core's table.
    pub async fn rpc(&self, name: &str, args: Value) -> Value {
        let found = self.invoke("rpc", json!({ "name": name, "args": args })).await;
        found.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Keeps the payloads of an event of the window under the same name.
    pub async fn listen(&self, event: &str) {
        const SCRIPT: &str = "const [event] = arguments;
            const heard = ((window.heard ??= {})[event] = []);
            const handler = window.__TAURI_INTERNALS__.transformCallback(({ payload }) => heard.push(payload));
            window.__TAURI_INTERNALS__.invoke('plugin:event|listen', { event, target: { kind: 'Any' }, handler });";
        self.run(SCRIPT, &[event.into()]).await;
    }

    /// Subscribes to the core's events after a number and keeps them as `events`; gives the subscription's number.
    pub async fn subscribe(&self, after_seq: i64) -> u64 {
        const SCRIPT: &str = "const [afterSeq, done] = arguments;
            const events = ((window.heard ??= {}).events = []);
            const next = window.__TAURI_INTERNALS__.transformCallback((line) => 'message' in line && events.push(line.message));
            window.__TAURI_INTERNALS__.invoke('subscribe', { afterSeq, channel: `__CHANNEL__:${next}` }).then(done);";
        self.client.execute_async(SCRIPT, vec![after_seq.into()]).await.unwrap().as_u64().unwrap()
    }

    /// What was heard so far of an event, or of the subscription (`events`).
    pub async fn heard(&self, event: &str) -> Vec<Value> {
        let heard = self.run("return window.heard[arguments[0]]", &[event.into()]).await;
        heard.as_array().cloned().unwrap_or_default()
    }

    /// A short training run of the built-in sample; gives its id once it is queued.
    pub async fn start_run(&self, name: &str, max_steps: u32) -> String {
        let sample = self.rpc("sample_install", json!({})).await;
        let started = self.rpc(
            "job_start",
            json!({
                "name": name,
                "base_model": sample["base_model"],
                "dataset_id": sample["dataset"]["id"],
                "hyperparameters": { "max_steps": max_steps, "per_device_train_batch_size": 2, "eval_steps": 100_000 },
            }),
        );
        started.await["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the job has this state.
    pub async fn wait_for(&self, id: &str, status: &str) {
        wait(&format!("a {status} job"), async || {
            let job = self.rpc("job_get", json!({ "id": id })).await;
            (job["status"] == status).then_some(())
        })
        .await;
    }
}
