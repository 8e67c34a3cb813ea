//! How long the release window takes from the start of the process until it shows, until its page answers, and until the
//! core behind it is open. Each round has a home folder of its own that is empty at first, as on a first launch.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{bundle, run, setup, ui};

/// Rounds that are timed; the first one after a build warms the disk and is not.
const ROUNDS: usize = 5;

/// How long one opening may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What the program logs, and what it means.
const MARKS: [(&str, &str); 4] = [
    ("window shown", "window on the screen"),
    ("page loaded", "page loaded"),
    ("first call", "page's first call"),
    ("core open", "core open"),
];

/// `bench window`.
pub fn window() -> Result<()> {
    setup::window()?;
    ui::build()?;
    bundle::build_release()?;
    let program = run::target().join("release/tonebridge-workbench");
    let screen = if run::has_display() { None } else { Some(Screen::start()?) };
    let display = screen.as_ref().map(|screen| screen.display.clone());
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..=ROUNDS {
        let found = opening(&program.to_string_lossy(), display.as_deref())?;
        eprintln!("round {round} of {ROUNDS}: {found:?}");
        if round > 0 {
            for (mark, ms) in found {
                times.entry(mark).or_default().push(ms);
            }
        }
    }
    for (mark, meaning) in MARKS {
        if let Some(times) = times.get_mut(mark) {
            times.sort_by(f64::total_cmp);
            println!("{meaning}: {:.0} ms (median of {} starts)", times[times.len() / 2], times.len());
        }
    }
    println!("program: {:.1} MB", bundle::megabytes(&program)?);
    Ok(())
}

/// One start of the program: milliseconds from the start of its process to each mark.
fn opening(program: &str, display: Option<&str>) -> Result<BTreeMap<&'static str, f64>> {
    let home = std::env::temp_dir().join(format!("tonebridge-bench-{}", std::process::id()));
    fs::remove_dir_all(&home).ok();
    fs::create_dir_all(&home)?;
    let mut command = Command::new(program);
    command
        .env("TONEBRIDGE_HOME", home.join("home"))
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("TONEBRIDGE_LOG", "tonebridge_workbench=info")
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped());
    if let Some(display) = display {
        command.env("DISPLAY", display);
    }
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{program} could not be started"))?;
    let stderr = child.stderr.take().context("no log")?;
    let (send, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if send.send((start.elapsed(), line)).is_err() {
                return;
            }
        }
    });
    let mut found = BTreeMap::new();
    while found.len() < MARKS.len() && start.elapsed() < LIMIT {
        // A page without a front end in it makes no call: the other marks are then enough.
        let patience = if found.len() + 1 == MARKS.len() { Duration::from_secs(3) } else { LIMIT };
        let Ok((at, line)) = lines.recv_timeout(patience) else { break };
        if let Some((mark, _)) = MARKS.iter().find(|(mark, _)| line.contains(mark)) {
            found.entry(*mark).or_insert(at.as_secs_f64() * 1000.0);
        }
    }
    child.kill().ok();
    child.wait()?;
    reader.join().ok();
    fs::remove_dir_all(&home).ok();
    ensure!(found.contains_key("page loaded"), "the window did not open: {found:?}");
    Ok(found)
}

/// A virtual screen, for a machine without one.
struct Screen {
    server: Child,
    display: String,
}

impl Screen {
    fn start() -> Result<Self> {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1440x900x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("there is no display, and Xvfb could not be started")?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("no output")?).read_line(&mut line)?;
        if line.trim().is_empty() {
            server.kill().ok();
            bail!("Xvfb found no free display");
        }
        Ok(Self { server, display: format!(":{}", line.trim()) })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
