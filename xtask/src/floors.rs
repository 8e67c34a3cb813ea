//! The design's floors: an arrow between crates may only point down, and each heavy dependency has its sole users.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{cargo, root};

/// Crate, and which of ours it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("tb-core", &[]),
    ("tb-stats", &[]),
    ("tb-db", &["tb-core"]),
    ("tb-data", &["tb-core"]),
    ("tb-nn", &["tb-core"]),
    ("tb-report", &["tb-core", "tb-stats"]),
    ("tb-jobs", &["tb-core", "tb-db", "tb-data"]),
    ("tb-api", &["tb-core", "tb-stats", "tb-db", "tb-data", "tb-jobs", "tb-report"]),
    ("tb-worker", &["tb-core", "tb-stats", "tb-data", "tb-nn"]),
    ("tb-server", &["tb-core", "tb-api"]),
    ("tb-cli", &["tb-core", "tb-api", "tb-server"]),
    ("tonebridge-workbench", &["tb-core", "tb-api", "tb-server"]),
    ("tonebridge-tests", &[]),
    ("xtask", &[]),
];

/// Heavy dependency, and who alone may use it.
const SOLE_USERS: &[(&str, &[&str])] = &[
    ("sqlx", &["tb-db"]),
    ("tokenizers", &["tb-data"]),
    ("hf-hub", &["tb-data"]),
    ("candle-core", &["tb-nn", "tb-worker"]),
    ("candle-nn", &["tb-nn", "tb-worker"]),
    ("cudarc", &["tb-nn"]),
    ("candle-transformers", &["tb-nn", "tb-worker"]),
    ("plotters", &["tb-report"]),
    ("keyring", &["tb-api"]),
    ("argon2", &["tb-api"]),
    ("axum", &["tb-server"]),
    ("clap", &["tb-cli"]),
    ("tauri", &["tonebridge-workbench"]),
];

/// Crates of pure work: no `async`.
const NO_ASYNC: &[&str] = &["tb-core", "tb-stats", "tb-nn", "tb-report"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Fails on the first arrow that points up, and on any other breach.
pub fn floors() -> Result<()> {
    let output = Command::new(cargo())
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(root())
        .output()
        .context("cargo metadata could not be started")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not as expected")?;
    let mut breaches = breaches(&metadata);
    for name in NO_ASYNC {
        find_async(&root().join("crates").join(name).join("src"), &mut breaches)?;
    }
    ensure!(breaches.is_empty(), "the floors of the design are broken:\n  {}", breaches.join("\n  "));
    println!("floors: {} crates, every arrow points down", metadata.packages.len());
    Ok(())
}

fn breaches(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
            found.push(format!("{} has no floor: add it to xtask/src/floors.rs and to ARCHITECTURE.md", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = MAY_USE.iter().any(|(name, _)| *name == dependency.name);
            if ours && !allowed.contains(&dependency.name.as_str()) {
                found.push(format!("{} may not use {}", package.name, dependency.name));
            }
            // An oracle in tests may use what the crate itself may not.
            let shipped = dependency.kind.as_deref() != Some("dev");
            if let Some((heavy, users)) = SOLE_USERS.iter().find(|(heavy, _)| *heavy == dependency.name)
                && shipped
                && !users.contains(&package.name.as_str())
            {
                found.push(format!("{} may not use {heavy}: only {} may", package.name, users.join(" and ")));
            }
        }
    }
    found
}

fn find_async(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find_async(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path)?;
            if text.lines().any(|line| line.contains("async fn") || line.contains("async move")) {
                found.push(format!("{} is async, in a crate of pure work", path.display()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependency: &str, kind: Option<&str>) -> Metadata {
        Metadata {
            packages: vec![Package {
                name: name.into(),
                dependencies: vec![Dependency { name: dependency.into(), kind: kind.map(String::from) }],
            }],
        }
    }

    #[test]
    fn arrows_up_and_foreign_heavies_are_breaches() {
        assert!(breaches(&package("tb-api", "tb-db", None)).is_empty());
        assert_eq!(breaches(&package("tb-db", "tb-api", None)).len(), 1);
        assert_eq!(breaches(&package("tb-api", "sqlx", None)).len(), 1);
        assert_eq!(breaches(&package("tb-api", "candle-core", Some("build"))).len(), 1);
        assert!(breaches(&package("tb-api", "candle-core", Some("dev"))).is_empty());
        assert_eq!(breaches(&package("tb-new", "serde", None)).len(), 1);
    }
}
