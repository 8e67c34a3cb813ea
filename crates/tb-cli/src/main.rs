//! The program `tonebridge`: arguments in, commands of the one table out. Work is done by tb-api and its workers.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod demo;
mod download;
mod export;
mod feedback;
mod hidden;
mod home;
mod label;
mod measure;
mod output;
mod preference;
mod pretrain;
mod progress;
mod serve;
mod stream;
mod table;
mod train;

use std::process::ExitCode;

use clap::Parser;
use tb_core::{ApiError, ErrorCode};

use crate::{
    args::{Args, Task},
    output::Output,
};

fn main() -> ExitCode {
    // Results may be piped into a program that stops reading.
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are answers; everything else is a mistake in the arguments.
            let code = if error.use_stderr() { 2 } else { 0 };
            error.print().ok();
            return ExitCode::from(code);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TONEBRIDGE_LOG").unwrap_or_else(|_| "error".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let output = Output::new(args.json);
    let result = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("The program cannot start: {e}.")))
        .and_then(|runtime| {
            let result = runtime.block_on(run(&args, &output));
            // A file being read in the background must not hold the program after its work.
            runtime.shutdown_timeout(std::time::Duration::from_millis(500));
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        }
    }
}

async fn run(args: &Args, output: &Output) -> Result<(), ApiError> {
    let ctx = home::open(args).await?;
    match &args.task {
        Task::Demo(demo) => demo::run(&ctx, demo, output).await,
        Task::Train(train) => train::run(&ctx, train, output).await,
        Task::Pretrain(pretrain) => pretrain::run(&ctx, pretrain, output).await,
        Task::Score(score) => measure::score(&ctx, score, output).await,
        Task::Generate(generate) => measure::generate(&ctx, generate, output).await,
        Task::Evaluate(evaluate) => measure::evaluate(&ctx, evaluate, output).await,
        Task::Export(export) => export::run(&ctx, export, output).await,
        Task::Serve(serve) => serve::run(&ctx, serve, output).await,
        Task::Doctor => table::doctor(&ctx, output).await,
        Task::Data(words) => table::run(&ctx, "data", &words.words, output).await,
        Task::Base(words) => table::run(&ctx, "base", &words.words, output).await,
        Task::Job(words) => table::run(&ctx, "job", &words.words, output).await,
        Task::Model(words) => table::run(&ctx, "model", &words.words, output).await,
        Task::Eval(words) => table::run(&ctx, "eval", &words.words, output).await,
        Task::Sample(words) => table::run(&ctx, "sample", &words.words, output).await,
        Task::Settings(words) => table::run(&ctx, "settings", &words.words, output).await,
        Task::Secret(words) => table::run(&ctx, "secret", &words.words, output).await,
        Task::User(words) => table::run(&ctx, "user", &words.words, output).await,
        Task::Token(words) => table::run(&ctx, "token", &words.words, output).await,
        Task::Session(words) => table::run(&ctx, "session", &words.words, output).await,
        Task::Audit(words) => table::run(&ctx, "audit", &words.words, output).await,
        Task::Feedback(words) => table::run(&ctx, "feedback", &words.words, output).await,
        Task::Label(words) => table::run(&ctx, "label", &words.words, output).await,
        Task::Preference(words) => table::run(&ctx, "preference", &words.words, output).await,
        Task::Events(words) => table::run(&ctx, "events", &words.words, output).await,
    }
}
