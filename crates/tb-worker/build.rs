//! Hashes the sources that decide what a run's result is, for its identity.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose code is part of a result.
const CRATES: [&str; 4] = ["tb-core", "tb-data", "tb-nn", "tb-worker"];

fn main() {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let crates = here.parent().expect("a crate lies in a folder");
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for name in CRATES {
        let folder = crates.join(name).join("src");
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files = Vec::new();
        collect(&folder, &mut files);
        files.sort();
        for file in files {
            let path = file.strip_prefix(crates).expect("the file lies in it").to_string_lossy().replace('\\', "/");
            let text = fs::read(&file).expect("a source can be read");
            // FNV-1a; line ends are not part of the code.
            for byte in path.bytes().chain([0]).chain(text.into_iter().filter(|b| *b != b'\r')).chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    println!("cargo::rustc-env=TB_SOURCES={hash:016x}");
}

/// The Rust and CUDA files below a folder, tests left out.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources can be listed") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if name != "tests" {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|e| e == "rs" || e == "cu" || e == "cuh") && name != "tests.rs" {
            files.push(path);
        }
    }
}
