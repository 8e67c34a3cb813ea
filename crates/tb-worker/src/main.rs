//! `tonebridge-worker`: one job per process. `--run DIR` works on a run folder, `--serve` holds a model and answers prompts, `--describe`
//! tells the host what this worker can use.

mod batches;
mod certificate;
mod checkpoint;
mod data;
mod device;
mod error;
mod evaluate;
mod export;
mod feed;
mod generate;
mod identity;
mod ladder;
mod memory;
mod models;
mod output;
mod protocol;
mod recipes;
mod rows;
mod samples;
mod score;
mod serve;
#[cfg(test)]
mod testing;
mod train;
mod train_loop;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use tb_core::run_folder::Task;

/// Steps that run out of memory end with an error instead of the process.
#[global_allocator]
static ALLOCATOR: memory::limit::Counting = memory::limit::Counting;

const USAGE: &str = "usage: tonebridge-worker --run DIR | --serve | --describe | --version";

fn main() -> ExitCode {
    tb_nn::threads::leave_to_rayon();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--run", folder] => protocol::run(Path::new(folder), work),
        ["--serve"] => serve::run(),
        ["--describe"] => match serde_json::to_string(&device::describe()) {
            Ok(text) => print(&text),
            Err(error) => {
                log(format_args!("{error}"));
                ExitCode::FAILURE
            }
        },
        ["--version"] => print(&format!("tonebridge-worker {}", device::VERSION)),
        _ => {
            log(format_args!("{USAGE}"));
            ExitCode::from(2)
        }
    }
}

/// Does what the spec of an open run folder asks for.
fn work(session: &mut protocol::Session) -> error::Result<()> {
    match session.spec().task.clone() {
        Task::Train(task) => train::run(session, &task),
        Task::Evaluate(task) => evaluate::run(session, &task),
        Task::Score(task) => score::run(session, &task),
        Task::Generate(task) => generate::run(session, &task),
        Task::Export(task) => export::run(session, &task),
    }
}

fn print(line: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes a line for developers; the host keeps it in the run folder's `worker.log`.
fn log(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
