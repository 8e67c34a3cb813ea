//! Where the server listens, whom it answers, and every bound it keeps. Tests shorten the times here.

use std::{path::PathBuf, time::Duration};

/// The port when none is named.
pub const DEFAULT_PORT: u16 = 4310;

/// Which addresses may be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposure {
    /// Only this machine's own (127.0.0.1, `::1`).
    #[default]
    ThisMachine,
    /// Any: whoever reaches the machine reaches the server.
    Network,
}

/// What a server needs to know before it starts.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Name or address to bind.
    pub host: String,
    /// Port to bind; 0 takes a free one.
    pub port: u16,
    /// Whether other machines may reach it.
    pub exposure: Exposure,
    /// Further names under which it is reached, with or without a port.
    pub allow_hosts: Vec<String>,
    /// A built interface to serve instead of this program's own.
    pub ui_folder: Option<PathBuf>,
    /// The bounds.
    pub limits: Limits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: DEFAULT_PORT,
            exposure: Exposure::ThisMachine,
            allow_hosts: Vec::new(),
            ui_folder: None,
            limits: Limits::default(),
        }
    }
}

/// Bounds on what callers can make the server hold, and for how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once.
    pub connections: usize,
    /// Event streams open at once.
    pub event_streams: usize,
    /// Answers of the table of streams under way at once.
    pub answers: usize,
    /// Uploads under way at once.
    pub uploads: usize,
    /// Bytes of a request's head, and of what is read ahead of a body.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a command's arguments.
    pub arguments_bytes: u64,
    /// Bytes of an uploaded file.
    pub upload_bytes: u64,
    /// How long a request's head may take, and how long a connection may idle between requests.
    pub head_timeout: Duration,
    /// The longest pause in a request's body.
    pub body_idle: Duration,
    /// The longest time in which a reader takes nothing of what is sent.
    pub write_idle: Duration,
    /// How often a quiet stream says that it lives.
    pub heartbeat: Duration,
    /// How often an answer that goes on looks whether its user may still have it.
    pub recheck: Duration,
    /// Wrong tokens and passwords that one source may try in a minute.
    pub wrong_tokens: usize,
    /// Sources whose wrong tries are remembered.
    pub sources: usize,
    /// How long running requests may go on after the server was told to end.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            event_streams: 512,
            answers: 64,
            uploads: 8,
            head_bytes: 32 << 10,
            headers: 100,
            arguments_bytes: 4 << 20,
            upload_bytes: 16 << 30,
            head_timeout: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            write_idle: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            recheck: Duration::from_secs(20),
            wrong_tokens: 10,
            sources: 4096,
            shutdown: Duration::from_secs(3),
        }
    }
}
