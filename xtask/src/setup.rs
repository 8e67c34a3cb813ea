//! Installs what is missing, says what it does, and does nothing twice. Each task asks only for what it needs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{cargo, root, step, step_with};

/// A Debian package, and how to see that what it brings is there already, from wherever it came.
struct Need {
    package: &'static str,
    is_there: fn() -> bool,
}

/// For every build: a C compiler for SQLite, the tokenizer's regular expressions and zstd.
const BUILD: &[Need] = &[
    Need { package: "build-essential", is_there: || on_path("cc") && on_path("make") },
    Need { package: "pkg-config", is_there: || on_path("pkg-config") },
];

/// For the window. The tray's library is loaded when the window opens; without it there is no tray.
const WINDOW: &[Need] = &[
    Need { package: "libwebkit2gtk-4.1-dev", is_there: || succeeds("pkg-config", &["--exists", "webkit2gtk-4.1"]) },
    Need { package: "libayatana-appindicator3-1", is_there: || has_library("libayatana-appindicator3.so.1") },
];

/// For the package: the bundler asks pkg-config for the tray's library.
const BUNDLE: &[Need] = &[Need {
    package: "libayatana-appindicator3-dev",
    is_there: || succeeds("pkg-config", &["--exists", "ayatana-appindicator3-0.1"]),
}];

/// For the tests that drive the window.
const WINDOW_TESTS: &[Need] = &[
    Need { package: "webkit2gtk-driver", is_there: || on_path("WebKitWebDriver") },
    Need { package: "xvfb", is_there: || on_path("Xvfb") },
    Need { package: "xdotool", is_there: || on_path("xdotool") },
    Need { package: "dbus-daemon", is_there: || on_path("dbus-daemon") },
];

/// For the tests and pictures in a browser. Japanese text needs a font that has it.
const BROWSER: &[Need] = &[
    Need { package: "chromium", is_there: || env::var_os("CHROMIUM").is_some() || on_path("chromium") },
    Need { package: "fonts-noto-cjk", is_there: || succeeds_with_text("fc-list", &[":lang=ja", "family"]) },
];

/// The bridge between the tests and the window; the version is fixed like every other.
const TAURI_DRIVER: &str = "2.1.0";

/// A C tool chain.
pub fn build_tools() -> Result<()> {
    install(BUILD)
}

/// What the window is built from; only Linux needs packages for it.
pub fn window() -> Result<()> {
    install(BUILD)?;
    if cfg!(target_os = "linux") { install(WINDOW) } else { Ok(()) }
}

/// What the installable package is made with.
pub fn bundle() -> Result<()> {
    window()?;
    install(BUNDLE)
}

/// What drives the window in tests. Gives the driver's path; none where the window cannot be driven.
pub fn window_tests() -> Result<Option<PathBuf>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    install(WINDOW_TESTS)?;
    let folder = cache().join(format!("tauri-driver-{TAURI_DRIVER}"));
    let driver = folder.join("bin/tauri-driver");
    if !driver.is_file() {
        eprintln!("Installing tauri-driver {TAURI_DRIVER}, which drives the window in tests.");
        let folder = folder.to_string_lossy();
        let version = ["--version", TAURI_DRIVER];
        let args = [&["install", "tauri-driver", "--locked", "--root", &folder][..], &version].concat();
        // A target folder of its own: the workspace's is not to be filled with it.
        step_with(&cargo(), &args, &root(), &[("CARGO_TARGET_DIR", &format!("{folder}/target"))])?;
        fs::remove_dir_all(Path::new(&*folder).join("target")).ok();
    }
    Ok(Some(driver))
}

/// A browser that the tests may drive.
pub fn browser() -> Result<()> {
    install(BROWSER)
}

/// Installs packages through apt-get on Debian and its kin; elsewhere it names them.
fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> = needs.iter().filter(|need| !(need.is_there)()).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !on_path("apt-get") {
        bail!("missing: {} (the names are Debian's). Install them, then run this again", missing.join(", "));
    }
    eprintln!("Missing Debian packages: {}. They are installed now.", missing.join(" "));
    let as_root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    let mut update = vec!["apt-get", "update"];
    let mut install = vec!["apt-get", "install", "-y", "--no-install-recommends"];
    install.extend(missing);
    if !as_root {
        if !on_path("sudo") {
            bail!("this needs root. Run: {}", install.join(" "));
        }
        update.insert(0, "sudo");
        install.insert(0, "sudo");
    }
    step(update[0], &update[1..])?;
    step(install[0], &install[1..])
}

/// The front end's packages, as package-lock.json pins them.
pub fn npm() -> Result<()> {
    let ui = root().join("ui");
    let lock = fs::read(ui.join("package-lock.json")).context("ui/package-lock.json cannot be read")?;
    let mark = ui.join("node_modules/.installed-from-lock");
    if fs::read(&mark).is_ok_and(|seen| seen == lock) {
        return Ok(());
    }
    if !on_path("npm") {
        bail!("npm was not found. Install Node 20 or newer, then run this again");
    }
    eprintln!("Installing the front end's packages (npm ci).");
    step_with("npm", &["ci", "--no-fund", "--no-audit"], &ui, &[])?;
    fs::write(&mark, lock).context("node_modules cannot be marked as installed")
}

/// The folder for tools that are not the workspace's.
fn cache() -> PathBuf {
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("XDG_CACHE_HOME")
        .or_else(|| named("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("tonebridge-tools")
}

fn on_path(program: &str) -> bool {
    let file = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(&file).is_file()))
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stderr(Stdio::null()).output().is_ok_and(|o| o.status.success())
}

/// Whether a program succeeds and prints something.
fn succeeds_with_text(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|o| o.status.success() && !o.stdout.is_empty())
}

fn has_library(name: &str) -> bool {
    // Not on the path of every user.
    let known = ["ldconfig", "/sbin/ldconfig"].iter().find_map(|program| Command::new(program).arg("-p").output().ok());
    known.is_some_and(|o| String::from_utf8_lossy(&o.stdout).contains(name))
}
