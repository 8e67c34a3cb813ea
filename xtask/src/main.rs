//! `cargo xtask …`: what a developer runs. Each task is a file; this one reads the arguments.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod browser;
mod bundle;
mod check;
mod floors;
mod generate;
mod gpu;
mod run;
mod setup;
mod soak;
mod ui;

use std::{env, path::PathBuf, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask <task>

  demo [ARGS]     set everything up and run the main job on the built-in sample
  run             build everything and open the window; with no display, serve it for a browser
  run -- ARGS     build and run `tonebridge ARGS`
  bundle          build the .deb: window, command line and worker
  test            set everything up and run every test
  e2e             try the main trip and every page in Chromium
  screenshots     picture every page in both themes and languages [FOLDER]
  check           what must be green before a commit: format, lints, floors, generated files, tests
  gen [--check]   write (or compare) the generated TypeScript and CSS of ui/
  floors          compare the crates' dependencies with the design's floors
  bench train     time a LoRA step [PYTHON [SHAPE]] in turn with PEFT's: speed and peak memory
  bench profile S say where the time of such a step goes on the shape S, by operation
  bench memory    peak memory of a LoRA step on three shapes [PYTHON [SHAPE]], against PEFT's
  soak kills N    kill training workers N times at random; nothing may be lost or differ
  soak feedback   kill the server at random while feedback comes in [ROWS [SEED]]; no row may be lost or doubled
  soak import     read public preference sets FILE... in and out again; every row is stored to the byte or named as bad
  gpu-check       build the CUDA worker and, where there is a GPU, check every kernel and time a step [PYTHON]
  bench window    time the opening of the release window
  bench feedback  time statistics, the next item and submissions on ten million feedback rows [ROWS]
  base [DIR]      make the sample's data, tokenizer and base model again from the seed";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (task, rest) = args.split_first().map_or(("", &[][..]), |(task, rest)| (task.as_str(), rest));
    let result = match task {
        "demo" => setup::build_tools().and_then(|()| run::tonebridge(&[&["demo".to_owned()], rest].concat())),
        "run" => setup::build_tools().and_then(|()| run(rest)),
        "bundle" => bundle::bundle(rest),
        "test" => setup::build_tools().and_then(|()| check::test()),
        "e2e" => setup::build_tools().and_then(|()| browser::test()),
        "screenshots" => setup::build_tools().and_then(|()| browser::screenshots(rest)),
        "check" => setup::build_tools().and_then(|()| check::check()),
        "gen" => generate::generate(if rest.iter().any(|a| a == "--check") {
            generate::Mode::Compare
        } else {
            generate::Mode::Write
        }),
        "floors" => floors::floors(),
        "bench" => bench::bench(rest),
        "soak" => soak::soak(rest),
        "gpu-check" => setup::build_tools().and_then(|()| gpu::check(rest)),
        "base" => run::make_base(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The window, or a command of the command line. A first `--` is there for cargo's habit only.
fn run(args: &[String]) -> anyhow::Result<()> {
    match args.strip_prefix(&["--".to_owned()]).unwrap_or(args) {
        [] => run::open(),
        args => run::tonebridge(args),
    }
}

/// The repository's root: of the checkout that cargo runs us for, which need not be the one that we were built in where
/// several share a target folder.
fn root() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Runs a program in the root, showing what is run; fails if it fails.
fn step(program: &str, args: &[&str]) -> anyhow::Result<()> {
    step_with(program, args, &root(), &[])
}

/// Runs a program in `folder` with extra environment.
fn step_with(program: &str, args: &[&str], folder: &std::path::Path, envs: &[(&str, &str)]) -> anyhow::Result<()> {
    eprintln!("$ {program} {}", args.join(" "));
    let status = std::process::Command::new(program)
        .args(args)
        .envs(envs.iter().copied())
        .current_dir(folder)
        .status()
        .map_err(|e| anyhow::anyhow!("{program} could not be started: {e}"))?;
    anyhow::ensure!(status.success(), "`{program} {}` ended with {status}", args.join(" "));
    Ok(())
}

/// A cargo command on the engine's crates alone: those that `cargo test` builds, so that Candle is not built once more.
fn engine(command: &str, args: &[&str], envs: &[(&str, &str)]) -> anyhow::Result<()> {
    let packages = [command, "--locked", "-p", "tb-core", "-p", "tb-data", "-p", "tb-nn", "-p", "tb-worker"];
    step_with(&cargo(), &[&packages, args].concat(), &root(), envs)
}

/// The cargo that runs us.
fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
