//! What every route works with, one per server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tb_api::Ctx;
use tb_core::ApiError;
use tokio::sync::{Semaphore, watch};

use crate::{
    assets::Assets,
    config::{Limits, ServerConfig},
    hosts::Hosts,
    logins::Logins,
    tasks::Tasks,
    token::Token,
};

/// The state of one server.
pub(crate) struct App {
    /// The program, as its owner; requests use it as their own actor.
    pub ctx: Ctx,
    pub limits: Limits,
    pub hosts: Hosts,
    pub token: Token,
    /// Carries the port: browsers share the cookies of all ports of a host.
    pub cookie_name: String,
    pub logins: Mutex<Logins>,
    pub assets: Assets,
    /// Places for event streams.
    pub event_streams: Arc<Semaphore>,
    /// Places for answers of the table of streams.
    pub answers: Arc<Semaphore>,
    pub uploads: Arc<Semaphore>,
    pub tasks: Tasks,
    /// True once the server was told to end.
    pub closing: watch::Receiver<bool>,
}

/// The two ends of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The caller's.
    pub source: SocketAddr,
    /// Ours, where the connection arrived.
    pub local: SocketAddr,
}

impl App {
    pub fn new(
        ctx: Ctx,
        config: &ServerConfig,
        bound: SocketAddr,
        closing: watch::Receiver<bool>,
    ) -> Result<Self, ApiError> {
        let limits = config.limits.clone();
        Ok(Self {
            hosts: Hosts::new(&config.host, bound, &config.allow_hosts)?,
            token: Token::open(ctx.home())?,
            cookie_name: format!("tonebridge_{}", bound.port()),
            logins: Mutex::new(Logins::new(limits.wrong_tokens, limits.sources)),
            assets: Assets::new(config.ui_folder.clone()),
            event_streams: Arc::new(Semaphore::new(limits.event_streams)),
            answers: Arc::new(Semaphore::new(limits.answers)),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            tasks: Tasks::default(),
            closing,
            ctx,
            limits,
        })
    }
}
