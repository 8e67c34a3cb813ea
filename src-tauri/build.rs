//! Lists the commands that the page may be allowed to call, and chooses what the window shows: the front end if it was built.

use std::{error::Error, path::Path};

use serde_json::{Value, json};

/// The commands of `src/commands.rs` and `src/files.rs`; each gets a permission that `capabilities/main.json` must name.
const COMMANDS: &[&str] = &[
    "rpc",
    "subscribe",
    "stream",
    "stream_stop",
    "pick_files",
    "save_file",
    "reveal",
    "core_state",
    "core_retry",
    "appearance",
];

/// The front end's built pages.
const UI: &str = "../ui/build";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={UI}");
    println!("cargo:rerun-if-changed=no-ui");
    if !Path::new(UI).join("index.html").is_file() {
        println!("cargo:warning=ui/build is missing: the window will say how to build it (`cargo xtask run` does)");
        // The macro that embeds the pages reads this variable too. What the tauri command line put into it is kept.
        let mut config: Value = match std::env::var("TAURI_CONFIG") {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => json!({}),
        };
        config["build"]["frontendDist"] = "no-ui".into();
        println!("cargo:rustc-env=TAURI_CONFIG={config}");
    }
    tauri_build::try_build(
        tauri_build::Attributes::new().app_manifest(tauri_build::AppManifest::new().commands(COMMANDS)),
    )?;
    Ok(())
}
