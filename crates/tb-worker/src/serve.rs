//! `--serve`: one base model in memory, prompts answered with it, bare or through adapters. This file takes requests and gives every
//! answer its turn; lines are in `serve/lines.rs`, the model in `serve/resident.rs`, one answer in `serve/answer.rs`.
//!
//! Two threads. One reads requests and hears what cannot wait: a wish to cancel, the end of the host. The other does the work, one
//! token of each answer in turn, so that answers to several prompts, or of several adapters to one prompt, grow side by side. Each is
//! computed alone: what runs beside it never changes a text. Memory is bounded: so many answers at once, each within the model's
//! context, so many requests that wait, and so much for adapters.

mod answer;
mod lines;
mod resident;

use std::collections::HashMap;
use std::io::BufRead;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tb_core::ErrorCode;
use tb_core::serving::{Generate, Load, Op, ReplyBody, Request, SCHEMA};

use crate::device;
use crate::error::{Failure, Result};
use answer::{Answer, Turn};
use lines::{Line, Lines, Out};
use resident::Resident;

/// Answers that grow at once; each holds its keys and values.
const AT_ONCE: usize = 8;

/// Requests that wait for their turn.
const WAITING: usize = 64;

/// A request on its way to the working thread.
struct Ask {
    id: u64,
    what: What,
    at: Instant,
}

enum What {
    Load(Load),
    Generate(Box<Generate>, Wanted),
}

/// Whether an answer is still wanted.
#[derive(Clone, Debug)]
struct Wanted(Arc<AtomicBool>);

impl Wanted {
    fn still(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The generations that have not ended, by id.
#[derive(Clone, Default)]
struct Open(Arc<Mutex<HashMap<u64, Wanted>>>);

impl Open {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<u64, Wanted>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves until the host closes the pipe, asks for the end, or is gone.
pub fn run() -> ExitCode {
    let out = Out::default();
    out.say(None, ReplyBody::Ready { schema: SCHEMA, version: device::VERSION.to_owned() });
    let (send, asked) = sync_channel(WAITING);
    let open = Open::default();
    let listener = {
        let (out, open) = (out.clone(), open.clone());
        move || {
            listen(&mut Lines::new(std::io::stdin().lock()), &send, &open, &out);
            // Nothing is on disk and nobody reads on: there is nothing to finish, whatever the other thread does.
            std::process::exit(0);
        }
    };
    match std::thread::Builder::new().name("requests".to_owned()).spawn(listener) {
        Ok(_) => work(&asked, &open, &out),
        Err(error) => crate::log(format_args!("the thread that reads requests cannot be started: {error}")),
    }
    ExitCode::FAILURE
}

/// Reads requests until there are no more or one asks for the end.
fn listen(lines: &mut Lines<impl BufRead>, send: &SyncSender<Ask>, open: &Open, out: &Out) {
    loop {
        let request = match lines.next() {
            Line::Request(request) => request,
            Line::Bad { id, failure } => {
                out.say(id, ReplyBody::Failed(failure.0));
                continue;
            }
            Line::End => return,
        };
        let Request { id, op } = request;
        let what = match op {
            Op::Shutdown => return,
            Op::Cancel { target } => {
                if let Some(wanted) = open.with(|open| open.get(&target).cloned()) {
                    wanted.0.store(false, Ordering::Release);
                }
                out.say(Some(id), ReplyBody::Cancelled);
                continue;
            }
            Op::Load(load) => What::Load(load),
            Op::Generate(generate) => {
                let wanted = Wanted(Arc::new(AtomicBool::new(true)));
                if open.with(|open| open.contains_key(&id)) {
                    // Under its own id the refusal would be taken for the end of the first.
                    let message = format!("The request {id} was refused: its id is in use.");
                    out.say(None, ReplyBody::Failed(Failure::new(ErrorCode::Conflict, message).0));
                    continue;
                }
                open.with(|open| open.insert(id, wanted.clone()));
                What::Generate(generate, wanted)
            }
        };
        // Full, or the working thread is gone with the whole program.
        if send.try_send(Ask { id, what, at: Instant::now() }).is_err() {
            open.with(|open| open.remove(&id));
            let failure = Failure::new(ErrorCode::Unavailable, format!("Nothing was done: {WAITING} requests wait."));
            out.say(Some(id), ReplyBody::Failed(failure.hint("Try again in a moment.").0));
        }
    }
}

/// Takes requests and gives each answer its turn, for ever.
fn work(asked: &Receiver<Ask>, open: &Open, out: &Out) {
    let mut resident: Option<Resident> = None;
    let mut answers: Vec<Answer> = Vec::new();
    loop {
        while answers.len() < AT_ONCE {
            let ask = if answers.is_empty() {
                let Ok(ask) = asked.recv() else { return };
                ask
            } else {
                match asked.try_recv() {
                    Ok(ask) => ask,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            };
            let Ask { id, what, at } = ask;
            let begun = guarded(|| match what {
                What::Load(load) => {
                    Resident::load_into(&mut resident, &load).map(|loaded| Begun::Ended(ReplyBody::Loaded(loaded)))
                }
                What::Generate(generate, wanted) => match resident.as_mut() {
                    Some(resident) => begin(resident, id, &generate, wanted, at, out),
                    None => Err(Failure::new(ErrorCode::Conflict, "Nothing was generated: no model is loaded.")),
                },
            });
            match begun {
                Ok(Begun::Answer(answer)) => answers.push(*answer),
                Ok(Begun::Ended(body)) => end(id, body, open, out),
                Err(failure) => end(id, ReplyBody::Failed(failure.0), open, out),
            }
        }
        let Some(resident) = resident.as_mut() else { continue };
        answers.retain_mut(|answer| match guarded(|| answer.turn(resident)) {
            Ok(Turn::More(text)) => {
                if !text.is_empty() {
                    out.say(Some(answer.id), ReplyBody::Text { text });
                }
                true
            }
            Ok(Turn::End { text, finished }) => {
                if !text.is_empty() {
                    out.say(Some(answer.id), ReplyBody::Text { text });
                }
                end(answer.id, ReplyBody::Done(finished), open, out);
                false
            }
            Err(failure) => {
                end(answer.id, ReplyBody::Failed(failure.0), open, out);
                false
            }
        });
    }
}

enum Begun {
    Answer(Box<Answer>),
    Ended(ReplyBody),
}

fn begin(
    resident: &mut Resident,
    id: u64,
    generate: &Generate,
    wanted: Wanted,
    at: Instant,
    out: &Out,
) -> Result<Begun> {
    let mut started = |prompt_tokens, framing| out.say(Some(id), ReplyBody::Started { prompt_tokens, framing });
    let answer = Answer::begin(resident, id, generate, wanted, at, &mut started)?;
    Ok(match answer {
        answer::Begun::Answer(answer) => Begun::Answer(answer),
        answer::Begun::Stopped(finished) => Begun::Ended(ReplyBody::Done(finished)),
    })
}

/// Says the last line of a request.
fn end(id: u64, body: ReplyBody, open: &Open, out: &Out) {
    open.with(|open| open.remove(&id));
    out.say(Some(id), body);
}

/// A fault of the program ends one request, not the worker.
fn guarded<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        Err(Failure::new(ErrorCode::Internal, "Nothing came of it: a fault of the program.")
            .hint("If it happens again, please report it with what was asked."))
    })
}
