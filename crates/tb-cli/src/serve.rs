//! `tonebridge serve`: the interface in a browser, and the API for scripts, until a signal ends it. Runs go on without it.

use std::time::Duration;

use serde_json::json;
use tb_api::{Ctx, commands::dispatch};
use tb_core::{ApiError, ErrorCode, job::Job};
use tb_server::{Exposure, Server, ServerConfig};
use tokio::sync::oneshot;

use crate::{args::Serve, output::Output};

/// How long the queue may take to be handed over at the end.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Runs the command.
pub async fn run(ctx: &Ctx, args: &Serve, output: &Output) -> Result<(), ApiError> {
    let mut config = ServerConfig {
        host: args.host.clone(),
        port: args.port,
        exposure: if args.expose { Exposure::Network } else { Exposure::ThisMachine },
        allow_hosts: args.allow_host.clone(),
        ui_folder: args.ui.clone(),
        ..ServerConfig::default()
    };
    config.limits.upload_bytes = u64::from(args.max_upload_mib) << 20;
    // Listened for before the address is told, so that whoever reads it can end the server at once.
    let mut signals = Signals::listen()?;
    let (told, first) = oneshot::channel();
    let server = Server::bind(ctx.clone(), &config).await?;
    if !server.address().ip().is_loopback() {
        output.say(
            "Other machines can reach this server. What it sends and receives is not encrypted, and whoever has the link\n\
             can do everything that you can. Behind a proxy with TLS, keep 127.0.0.1 and use --allow-host.",
        );
    }
    if !ctx.jobs().supervises() {
        output.say(
            "Another program on this home folder runs the queue; this one works beside it and takes over when it ends.",
        );
    }
    output.result(
        &json!({ "url": server.access_url(), "address": server.address().to_string(), "pid": std::process::id() }),
        &server.access_url(),
    );
    output.say("Open this link once in each browser: it holds the access token. Ctrl-C ends the server; runs go on.");

    let stop = async {
        // A sender that is gone means the end as well.
        let _ = first.await;
    };
    let twice = async {
        signals.next().await;
        let _ = told.send(());
        signals.next().await;
    };
    let ended = tokio::select! {
        ended = server.run(stop) => ended,
        // A second signal does not wait.
        () = twice => return Ok(()),
    };
    if ended.cut_off > 0 {
        output.say(&format!("{} requests were cut off.", ended.cut_off));
    }
    let running: Vec<Job> = match dispatch(ctx, "job_list", json!({ "status": "running" })).await {
        Ok(jobs) => serde_json::from_value(jobs).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    // What was not handed over in time is taken over by the next program all the same: the system frees the lock.
    let _ = tokio::time::timeout(HAND_OVER, ctx.close()).await;
    output.say(&match running.len() {
        0 => "The server has ended.".to_owned(),
        1 => format!("The server has ended. One run goes on without it: {}.", running[0].id),
        n => format!("The server has ended. {n} runs go on without it; `tonebridge job list` shows them."),
    });
    Ok(())
}

/// What ends a server: Ctrl-C, and what service managers send.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn listen() -> Result<Self, ApiError> {
        use tokio::signal::unix::{SignalKind, signal};
        let fail = |e: std::io::Error| {
            ApiError::new(ErrorCode::Internal, format!("The server was not started: signals cannot be heard: {e}."))
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(fail)?,
            terminate: signal(SignalKind::terminate()).map_err(fail)?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn listen() -> Result<Self, ApiError> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
