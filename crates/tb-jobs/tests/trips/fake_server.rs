//! A serving worker for tests: speaks the protocol, but answers as its prompt tells it. Its output begins with lines of the test
//! harness, which are no replies.
//!
//! A base named `refused` cannot be loaded, one named `dies` ends the process while it loads. Prompts: `echo TEXT`, `hold` (until it is cancelled), `deaf`
//! (for ever), `die` (some text, then SIGKILL), `mute` (says no more, but goes on), `garbage` (a line that is no reply, then `ok`), `pid`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // It is a program: its output is what is tested.

use std::{
    collections::HashSet,
    io::{BufRead, Write},
    os::fd::FromRawFd,
};

use super::support::LIMIT;

use tb_core::{
    ApiError, ErrorCode,
    run_folder::Framing,
    serving::{Finish, Finished, Loaded, Op, Prompt, Reply, ReplyBody, Request, SCHEMA},
};

/// Does nothing as a test; as a process started by the script it is the worker.
#[test]
fn process() {
    if std::env::var_os("FAKE_SERVE").is_some() {
        serve();
        std::process::exit(0);
    }
}

fn die() -> ! {
    eprintln!("the fake server dies");
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("SIGKILL cannot be survived")
}

fn say(id: Option<u64>, body: ReplyBody) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&Reply { id, body }).unwrap()).unwrap();
    out.flush().unwrap();
}

fn done(id: u64, finish: Finish) {
    let finished = Finished { finish, prompt_tokens: 1, tokens: 1, tokens_per_s: 1.0, first_token_ms: 1, time_ms: 1 };
    say(Some(id), ReplyBody::Done(finished));
}

fn serve() {
    say(None, ReplyBody::Ready { schema: SCHEMA, version: "0".into() });
    let mut held = HashSet::new();
    for line in std::io::stdin().lock().lines() {
        let Request { id, op } = serde_json::from_str(&line.unwrap()).unwrap();
        match op {
            Op::Load(load) => match load.base.file_name().and_then(|n| n.to_str()) {
                Some("refused") => {
                    say(Some(id), ReplyBody::Failed(ApiError::new(ErrorCode::DataInvalid, "The base is damaged.")));
                }
                Some("dies") => die(),
                _ => say(Some(id), ReplyBody::Loaded(Loaded { parameters: 1, context: 8, load_ms: 1 })),
            },
            Op::Generate(generate) => {
                let Prompt::Text { text } = generate.prompt else { panic!("the fake server knows plain prompts") };
                say(Some(id), ReplyBody::Started { prompt_tokens: 1, framing: Framing::Plain });
                let answer = |text: &str| {
                    say(Some(id), ReplyBody::Text { text: text.into() });
                    done(id, Finish::Eos);
                };
                match text.split_once(' ').unwrap_or((&text, "")) {
                    ("echo", words) => answer(words),
                    ("pid", _) => answer(&std::process::id().to_string()),
                    ("hold" | "deaf", _) => {
                        say(Some(id), ReplyBody::Text { text: "…".into() });
                        if text == "hold" {
                            held.insert(id);
                        }
                    }
                    ("die", _) => {
                        say(Some(id), ReplyBody::Text { text: "so far".into() });
                        die();
                    }
                    ("mute", _) => {
                        // SAFETY: nothing of this process uses its output from here on.
                        drop(unsafe { std::fs::File::from_raw_fd(1) });
                        std::thread::sleep(LIMIT);
                    }
                    ("garbage", _) => {
                        println!("{{\"id\": 1, half a line");
                        answer("ok");
                    }
                    _ => say(Some(id), ReplyBody::Failed(ApiError::new(ErrorCode::InvalidArgument, "What?"))),
                }
            }
            Op::Cancel { target } => {
                if held.remove(&target) {
                    done(target, Finish::Stopped);
                }
                say(Some(id), ReplyBody::Cancelled);
            }
            Op::Shutdown => return,
        }
    }
}
