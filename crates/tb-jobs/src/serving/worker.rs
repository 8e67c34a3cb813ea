//! One serving worker: its process, the lines to and from it, and the attendant that owns both. The attendant hears orders and replies,
//! and when the worker is gone, however that came, it tells every caller.

use std::{
    collections::HashMap,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use tb_core::{
    ApiError, ErrorCode,
    serving::{Generate, Load, MAX_LINE_BYTES, Op, Reply, ReplyBody, Request, SCHEMA},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use super::answer::{Inbox, Place};
use crate::{
    error::{Error, Result},
    process,
    workers::WorkerBinary,
};

/// The id of the one load.
const LOAD: u64 = 0;

/// Replies read ahead of the attendant.
const READ_AHEAD: usize = 64;

/// How long a generation that nobody wants may go on. It ends between two tokens, or after another prompt is read: beyond this the
/// worker hangs.
const FORGET_LIMIT: Duration = Duration::from_secs(120);

/// How long a worker may take to leave once its pipe is closed.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// What the attendant is asked for.
pub(super) enum Order {
    /// An answer.
    Ask { generate: Box<Generate>, inbox: Arc<Inbox>, place: Place },
    /// Nobody wants this answer any more.
    Forget(Arc<Inbox>),
    /// The worker is to leave now.
    Leave,
}

/// How far a worker is.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// It loads.
    Starting,
    /// It answers.
    Loaded,
    /// It is gone, and why.
    Ended(ApiError),
}

/// A worker that was started.
pub(super) struct Started {
    pub orders: mpsc::UnboundedSender<Order>,
    pub state: watch::Receiver<State>,
    pub pid: Option<u32>,
    /// To be run by whoever owns the worker; dropping it kills the process.
    pub attendant: BoxFuture<'static, ()>,
}

/// Starts a worker that loads a base. It dies with this process: it reads from a pipe that the system closes.
pub(super) fn start(program: &WorkerBinary, load: &Load) -> Result<Started> {
    let mut command = Command::new(&program.path);
    process::clean_environment(command.as_std_mut());
    command.arg("--serve").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // Ctrl-C in this terminal is for the host, which then closes the worker.
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(windows)]
    {
        // CREATE_NO_WINDOW
        command.creation_flags(0x0800_0000);
    }
    let fail = |source| Error::Spawn { path: program.path.clone(), source };
    let mut child = command.spawn().map_err(fail)?;
    process::prefer_for_oom_kill(&child);
    let pid = child.id();
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(fail(std::io::Error::other("its pipes are not there")));
    };
    let (orders, heard) = mpsc::unbounded_channel();
    let (tell, state) = watch::channel(State::Starting);
    let attendant = attend(child, (stdin, stdout, stderr), load.clone(), heard, tell).boxed();
    Ok(Started { orders, state, pid, attendant })
}

/// Why an attendant stops.
enum Why {
    /// It was told to, or nobody holds the worker any more.
    Left,
    /// The worker closed its output.
    Lost,
    /// The worker cannot be used, as this says.
    Refused(ApiError),
    /// It does not let go of an answer that nobody wants.
    Hung,
}

async fn attend(
    mut child: Child,
    (stdin, stdout, stderr): (ChildStdin, ChildStdout, ChildStderr),
    load: Load,
    mut orders: mpsc::UnboundedReceiver<Order>,
    tell: watch::Sender<State>,
) {
    // The set ends with this function, and the tasks with it.
    let mut pipes = JoinSet::new();
    let mut log = JoinSet::new();
    let (lines, to_write) = mpsc::unbounded_channel();
    let (read, mut replies) = mpsc::channel(READ_AHEAD);
    pipes.spawn(write_lines(stdin, to_write));
    pipes.spawn(read_replies(stdout, read));
    log.spawn(process::last_lines_of(stderr));
    let base = load.base.display().to_string();
    let mut desk = Desk { lines: Some(lines), last_id: LOAD, open: HashMap::new() };
    let asked_to_load = desk.send(LOAD, Op::Load(load));
    let why = loop {
        if let Err(error) = &asked_to_load {
            break Why::Refused(error.clone());
        }
        let overdue = desk.forgotten_at().map(|at| at + FORGET_LIMIT);
        tokio::select! {
            reply = replies.recv() => match reply {
                Some(Reply { id: Some(LOAD), body: ReplyBody::Loaded(loaded) }) => {
                    tracing::info!(base, load_ms = loaded.load_ms, "serving worker is ready");
                    // Nobody listening means that the orders end next.
                    let _ = tell.send(State::Loaded);
                }
                Some(Reply { id: Some(LOAD), body: ReplyBody::Failed(error) }) => break Why::Refused(error),
                Some(Reply { id: None, body: ReplyBody::Ready { schema, version } }) if schema != SCHEMA => {
                    break Why::Refused(
                        ApiError::new(
                            ErrorCode::Unavailable,
                            format!("Nothing was generated: the worker {version} serves in version {schema}, this program in {SCHEMA}."),
                        )
                        .hint("Install worker and program of the same version."),
                    );
                }
                Some(reply) => desk.hear(reply),
                None => break Why::Lost,
            },
            order = orders.recv() => match order {
                Some(Order::Ask { generate, inbox, place }) => desk.ask(generate, inbox, place),
                Some(Order::Forget(inbox)) => desk.forget(&inbox),
                Some(Order::Leave) | None => break Why::Left,
            },
            () = tokio::time::sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => break Why::Hung,
        }
    };
    // The writer ends with its last line, the pipe with the writer, the worker with the pipe.
    desk.lines = None;
    let exit = end(&mut child, &why).await;
    let said = match tokio::time::timeout(LEAVE_LIMIT, log.join_next()).await {
        Ok(Some(Ok(said))) => said,
        Ok(Some(Err(_)) | None) | Err(_) => String::new(),
    };
    let error = match why {
        Why::Left => ApiError::new(ErrorCode::Cancelled, "The answer was cut off: the serving worker was ended."),
        Why::Refused(error) => error,
        Why::Lost => lost(exit, &said),
        Why::Hung => {
            ApiError::new(ErrorCode::WorkerLost, "The serving worker did not react any more and was ended.").hint(AGAIN)
        }
    };
    match error.code {
        ErrorCode::Cancelled => tracing::info!(base, "serving worker ended"),
        _ => tracing::warn!(base, said, "serving worker ended: {error}"),
    }
    let _ = tell.send(State::Ended(error.clone()));
    for open in desk.open.into_values() {
        open.inbox.put(ReplyBody::Failed(error.clone()));
    }
    // Orders that came while the worker went: from here on none is taken any more.
    orders.close();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Ask { inbox, .. } => inbox.put(ReplyBody::Failed(error.clone())),
            Order::Forget(_) | Order::Leave => {}
        }
    }
}

/// Waits for the process to be gone, and sees to it.
async fn end(child: &mut Child, why: &Why) -> Option<ExitStatus> {
    match why {
        Why::Left | Why::Lost | Why::Refused(_) => {
            if let Ok(Ok(exit)) = tokio::time::timeout(LEAVE_LIMIT, child.wait()).await {
                return Some(exit);
            }
        }
        Why::Hung => {}
    }
    // It fails only if the process has just gone.
    let _ = child.kill().await;
    child.wait().await.ok()
}

const AGAIN: &str = "Ask again: it starts by itself.";

fn lost(exit: Option<ExitStatus>, said: &str) -> ApiError {
    let how = exit.map_or_else(String::new, |e| format!(" ({e})"));
    let said = if said.is_empty() { String::new() } else { format!(" Its last lines: {said}") };
    let hint = if process::was_killed(exit) {
        format!("{AGAIN} The system ends a process when memory runs out: then use a smaller model.")
    } else {
        AGAIN.to_owned()
    };
    ApiError::new(ErrorCode::WorkerLost, format!("The serving worker ended unexpectedly{how}.{said}")).hint(hint)
}

/// For a caller that comes while the worker goes.
pub(super) fn gone() -> ApiError {
    ApiError::new(ErrorCode::WorkerLost, "The serving worker has just ended.").hint(AGAIN)
}

/// The requests that the worker has.
struct Desk {
    lines: Option<mpsc::UnboundedSender<Vec<u8>>>,
    last_id: u64,
    open: HashMap<u64, Open>,
}

struct Open {
    inbox: Arc<Inbox>,
    forgotten: Option<Instant>,
    _place: Place,
}

impl Desk {
    fn send(&self, id: u64, op: Op) -> std::result::Result<(), ApiError> {
        let refuse = |code, why: String| ApiError::new(code, format!("Nothing was generated: {why}."));
        let mut line =
            serde_json::to_vec(&Request { id, op }).map_err(|e| refuse(ErrorCode::Internal, e.to_string()))?;
        if line.len() > MAX_LINE_BYTES {
            return Err(refuse(ErrorCode::InvalidArgument, format!("the prompt has {} bytes", line.len())));
        }
        line.push(b'\n');
        if let Some(lines) = &self.lines {
            // A writer that is gone means a worker that is gone: its output ends next.
            let _ = lines.send(line);
        }
        Ok(())
    }

    fn ask(&mut self, generate: Box<Generate>, inbox: Arc<Inbox>, place: Place) {
        self.last_id += 1;
        match self.send(self.last_id, Op::Generate(generate)) {
            Ok(()) => {
                self.open.insert(self.last_id, Open { inbox, forgotten: None, _place: place });
            }
            Err(error) => inbox.put(ReplyBody::Failed(error)),
        }
    }

    fn forget(&mut self, inbox: &Arc<Inbox>) {
        let Some((target, open)) = self.open.iter_mut().find(|(_, open)| Arc::ptr_eq(&open.inbox, inbox)) else {
            return;
        };
        open.forgotten = Some(Instant::now());
        let target = *target;
        self.last_id += 1;
        // A short line always goes.
        let _ = self.send(self.last_id, Op::Cancel { target });
    }

    fn hear(&mut self, Reply { id, body }: Reply) {
        let last = body.is_last();
        let Some(id) = id else {
            match body {
                ReplyBody::Failed(error) => tracing::warn!("the serving worker did not understand: {error}"),
                _ => tracing::debug!("the serving worker says {body:?}"),
            }
            return;
        };
        if let Some(open) = self.open.get(&id) {
            open.inbox.put(body);
        }
        if last {
            self.open.remove(&id);
        }
    }

    /// When the answer that is unwanted longest was forgotten.
    fn forgotten_at(&self) -> Option<Instant> {
        self.open.values().filter_map(|open| open.forgotten).min()
    }
}

async fn write_lines(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Reads replies to the end of the output; a line that is none is passed over.
async fn read_replies(stdout: ChildStdout, replies: mpsc::Sender<Reply>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stdout).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).await {
            Ok(n) if n > 0 && line.ends_with(b"\n") => {}
            // The end, or a line that no worker of ours writes.
            Ok(_) | Err(_) => return,
        }
        match serde_json::from_slice(&line) {
            Ok(reply) => {
                if replies.send(reply).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "a line of the serving worker is no reply"),
        }
    }
}
