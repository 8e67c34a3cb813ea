//! `soak feedback [ROWS [SEED]]`: many senders post feedback over HTTP while the server is killed at random moments. Every row that
//! was acknowledged must be there once, and the sums must be those of the rows.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{http::Client, in_new_home, tonebridge};

/// Senders at once.
const SENDERS: u64 = 64;
/// One row in so many is sent again although it was acknowledged.
const AGAIN: u64 = 50;
/// How long a server lives at most before it is killed, in milliseconds: some thirty kills in a hundred thousand rows.
const LONGEST_LIFE_MS: u64 = 700;
/// How long a server may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kinds of rewriting of the rows.
const KINDS: [&str; 5] = ["casual_to_polite", "blunt_to_friendly", "notes_to_minutes", "summary", ""];

/// What all rows are counted under; no kind is called so.
const EVERYTHING: &str = "*";

/// Runs it.
pub fn soak(args: &[String]) -> Result<()> {
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |n| n.parse());
    let (Ok(rows), Ok(seed)) = (number(0, 100_000), number(1, 42)) else {
        bail!("usage: cargo xtask soak feedback [ROWS [SEED]]");
    };
    in_new_home("soak-feedback", |program, home| send_and_kill(program, home, rows, seed))
}

/// What all threads share.
struct Soak<'a> {
    seed: u64,
    rows: u64,
    port: u16,
    token: &'a str,
    /// The next row to send.
    next: AtomicU64,
    /// The rows that were acknowledged, with the id that each got.
    told: Mutex<HashMap<u64, String>>,
    failed: AtomicBool,
    sent: AtomicU64,
}

fn send_and_kill(program: &Path, home: &Path, rows: u64, seed: u64) -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = start(program, home, port)?;
    let token = fs::read_to_string(home.join("access-token")).context("the server left no access token")?;
    let soak = Soak {
        seed,
        rows,
        port,
        token: token.trim(),
        next: AtomicU64::new(0),
        told: Mutex::default(),
        failed: AtomicBool::new(false),
        sent: AtomicU64::new(0),
    };
    let began = Instant::now();
    let mut down = Duration::ZERO;
    let mut kills = 0;
    let sending: Result<()> = thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(|| soak.send())).collect();
        let mut random = Random(seed);
        while !senders.iter().all(thread::ScopedJoinHandle::is_finished) {
            let until = Instant::now() + Duration::from_millis(20 + random.below(LONGEST_LIFE_MS));
            while Instant::now() < until && !senders.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(Duration::from_millis(5));
            }
            if senders.iter().all(thread::ScopedJoinHandle::is_finished) {
                break;
            }
            // SIGKILL: nothing of the program runs any more, whatever it was doing.
            server.kill()?;
            server.wait()?;
            kills += 1;
            let stopped = Instant::now();
            match start(program, home, port) {
                Ok(started) => server = started,
                Err(error) => {
                    soak.failed.store(true, SeqCst);
                    return Err(error);
                }
            }
            down += stopped.elapsed();
        }
        for sender in senders {
            sender.join().map_err(|_| anyhow::anyhow!("a sender broke"))??;
        }
        Ok(())
    });
    let took = began.elapsed();
    server.kill()?;
    server.wait()?;
    sending?;
    let told = soak.told.into_inner().unwrap_or_else(PoisonError::into_inner);
    let up = took.saturating_sub(down).as_secs_f64();
    println!(
        "{rows} rows acknowledged in {:.1} s, {up:.1} s of which the server was up: {:.0} durable rows/s; {kills} kills; {} requests",
        took.as_secs_f64(),
        rows as f64 / up,
        soak.sent.load(SeqCst),
    );
    check(program, home, &told, rows, seed)
}

/// Starts the server and waits until it answers.
fn start(program: &Path, home: &Path, port: u16) -> Result<Child> {
    let mut child = Command::new(program)
        .arg("--home")
        .arg(home)
        .args(["serve", "--port", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} could not be started", program.display()))?;
    let limit = Instant::now() + PATIENCE;
    while Instant::now() < limit {
        if let Some(status) = child.try_wait()? {
            bail!("the server ended with {status}");
        }
        if let Ok(mut client) = Client::connect(port)
            && client.get("/", "").is_ok()
        {
            return Ok(child);
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()?;
    bail!("the server did not answer in {} s", PATIENCE.as_secs())
}

impl Soak<'_> {
    /// Sends rows until there are none left.
    fn send(&self) -> Result<()> {
        let mut client = None;
        loop {
            let i = self.next.fetch_add(1, SeqCst);
            if i >= self.rows {
                return Ok(());
            }
            let (status, id) = self.acknowledged(i, &mut client)?;
            ensure!(matches!(status, 200 | 201), "row {i}: {status}");
            self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(i, id.clone());
            if i.is_multiple_of(AGAIN) {
                let (status, same) = self.acknowledged(i, &mut client)?;
                ensure!(status == 200 && same == id, "row {i} sent again: {status}, {same} instead of {id}");
            }
        }
    }

    /// Sends a row again and again until the server says that it is stored.
    fn acknowledged(&self, i: u64, client: &mut Option<Client>) -> Result<(u16, String)> {
        let body = row(self.seed, i).to_string();
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit && !self.failed.load(SeqCst) {
            let connected = match client.take() {
                Some(client) => Ok(client),
                None => Client::connect(self.port),
            };
            let answer = connected.and_then(|mut open| {
                self.sent.fetch_add(1, SeqCst);
                let answer = open.post("/feedback", self.token, &key(self.seed, i), &body)?;
                Ok((open, answer))
            });
            match answer {
                Ok((open, answer)) if answer.status < 500 => {
                    *client = Some(open);
                    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    let id = body["id"].as_str().map(str::to_owned);
                    return match id {
                        Some(id) => Ok((answer.status, id)),
                        None => bail!("row {i} was refused: {} {body}", answer.status),
                    };
                }
                // Killed, or not up yet: what was not acknowledged is sent again, under its key.
                Ok(_) | Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("row {i} was not acknowledged in {} s", PATIENCE.as_secs())
    }
}

fn key(seed: u64, i: u64) -> String {
    format!("soak-{seed}-{i}")
}

/// A row that is a function of its number.
fn row(seed: u64, i: u64) -> Value {
    let mut random = Random(seed ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut row = json!({
        "session_id": format!("session {}", random.below(500)),
        "input_text": format!("row {i} of the soak: please send me the numbers"),
        "output_text": format!("Could you please send me the figures? ({i})"),
        "transformation_type": KINDS[random.below(KINDS.len() as u64) as usize],
    });
    match random.below(4) {
        0 => row["thumbs"] = if random.below(2) == 0 { "up" } else { "down" }.into(),
        1 => {
            row["rating"] = (1 + random.below(5)).into();
            row["corrected_text"] = format!("Would you please send me the figures? ({i})").into();
        }
        _ => row["rating"] = (1 + random.below(5)).into(),
    }
    if random.below(10) == 0 {
        row["flags"] = json!(["look"]);
    }
    row
}

/// Holds what the database has against what was acknowledged, through the program itself.
fn check(program: &Path, home: &Path, told: &HashMap<u64, String>, rows: u64, seed: u64) -> Result<()> {
    ensure!(told.len() as u64 == rows, "{} rows were acknowledged", told.len());
    let doctor = tonebridge(program, home, &["doctor"])?;
    let checks = doctor["checks"].as_array().context("doctor gives no checks")?;
    let database = checks.iter().find(|c| c["name"] == "database").context("doctor does not look at the database")?;
    ensure!(database["state"] == "ok", "the database is damaged: {database}");

    let file = home.join("all.jsonl");
    let exported = tonebridge(program, home, &["feedback", "export", &file.to_string_lossy()])?;
    ensure!(exported["rows"] == rows, "{exported} instead of {rows} rows");
    let mut seen: HashMap<u64, String> = HashMap::new();
    let mut counted: BTreeMap<String, Counts> = BTreeMap::new();
    for line in fs::read_to_string(&file)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let stored_key = row["idempotency_key"].as_str().unwrap_or_default();
        let i: u64 =
            stored_key.rsplit('-').next().unwrap_or_default().parse().context("a row without a key of ours")?;
        ensure!(stored_key.ends_with(&key(seed, i)), "{stored_key} is no key of this soak");
        ensure!(row["source"] == "api", "{stored_key} came by {}", row["source"]);
        let id = row["id"].as_str().unwrap_or_default().to_owned();
        ensure!(told.get(&i) == Some(&id), "{stored_key} is {id}, and was acknowledged as {:?}", told.get(&i));
        ensure!(seen.insert(i, id).is_none(), "{stored_key} is there twice");
        for kind in [EVERYTHING, row["transformation_type"].as_str().unwrap_or_default()] {
            counted.entry(kind.to_owned()).or_default().add(&row);
        }
    }
    ensure!(seen.len() as u64 == rows, "{} of {rows} rows are there", seen.len());

    let stats = tonebridge(program, home, &["feedback", "stats"])?;
    let mut sums: BTreeMap<String, Counts> = BTreeMap::new();
    sums.insert(EVERYTHING.into(), Counts::of(&stats["total"]));
    for kind in stats["transformation_types"].as_array().into_iter().flatten() {
        sums.insert(kind["key"].as_str().unwrap_or_default().to_owned(), Counts::of(&kind["figures"]));
    }
    ensure!(sums == counted, "the sums are not those of the rows:\n{sums:?}\n{counted:?}");
    println!("every acknowledged row is there once, the database is whole, and the sums are those of the rows");
    Ok(())
}

/// Counts of some rows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    rows: u64,
    by_rating: [u64; 5],
    corrections: u64,
    flagged: u64,
}

impl Counts {
    fn add(&mut self, row: &Value) {
        self.rows += 1;
        if let Some(stars) = row["rating"].as_u64().filter(|stars| (1..=5).contains(stars)) {
            self.by_rating[stars as usize - 1] += 1;
        }
        self.corrections += u64::from(row["corrected_text"].is_string());
        self.flagged += u64::from(row["flags"].as_array().is_some_and(|flags| !flags.is_empty()));
    }

    /// As the statistics give them.
    fn of(figures: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
        Self {
            rows: number(&figures["rows"]),
            by_rating: std::array::from_fn(|i| number(&figures["by_rating"][i])),
            corrections: number(&figures["corrections"]),
            flagged: number(&figures["flagged"]),
        }
    }
}

/// Random numbers of a seed (Vigna's splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
