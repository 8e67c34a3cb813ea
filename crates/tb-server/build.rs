//! Lists the built interface (`ui/build`) for embedding. Debug builds read it from disk instead, so that a change of the
//! interface needs no build of the program; a checkout without it still compiles and serves a page that says what to run.
//! `TONEBRIDGE_EMBED_UI=1` embeds it in a debug build as well.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=TONEBRIDGE_EMBED_UI");
    println!("cargo:rustc-check-cfg=cfg(embedded_ui)");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let built = here.join("../../ui/build");
    let mut rows = String::new();
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") || env::var_os("TONEBRIDGE_EMBED_UI").is_some() {
        println!("cargo:rustc-cfg=embedded_ui");
        println!("cargo:rerun-if-changed={}", built.display());
        if built.is_dir() {
            let built = built.canonicalize()?;
            let mut files = Vec::new();
            list(&built, &mut files)?;
            files.sort();
            for path in files {
                let name = path.strip_prefix(&built).map_err(io::Error::other)?;
                let name = name.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
                rows += &format!("    ({name:?}, include_bytes!({:?})),\n", path.display().to_string());
            }
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("embedded.rs"), format!("&[\n{rows}]\n"))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
