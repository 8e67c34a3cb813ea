//! Listening, and the life of a connection: its seat, its times, its orderly end. What is answered is the router's.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Request, Response},
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tb_api::Ctx;
use tb_core::{ApiError, ErrorCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower::ServiceExt;

use crate::{
    app::{App, Ends},
    config::{Exposure, Limits, ServerConfig},
    hosts::bracketed,
    patient_io::PatientIo,
    router,
    seats::{Busy, Seat, Seats},
    upload,
};

/// How long to wait before the next accept when the system has no more files to give.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// How long, and for how many bytes, an answered caller may still send what is thrown away. Closing at once would reset the
/// connection, and the answer could be lost on its way.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 << 20;

/// What a caller gets when every seat is at work.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\nRetry-After: 1\r\n\r\n";

/// A server that is bound and not yet running.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    host: String,
    app: Arc<App>,
    closing: watch::Sender<bool>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Connections that were cut off because their request took too long.
    pub cut_off: usize,
}

impl Server {
    /// Binds the address, and reads or makes the access token of the home folder.
    ///
    /// # Errors
    /// An address that other machines reach without [`Exposure::Network`], a taken port, a name that is none.
    pub async fn bind(ctx: Ctx, config: &ServerConfig) -> Result<Self, ApiError> {
        let wanted = resolve(&config.host, config.port).await?;
        if !wanted.ip().is_loopback() && config.exposure == Exposure::ThisMachine {
            return Err(ApiError::new(
                ErrorCode::InvalidArgument,
                format!(
                    "The server was not started: {} can be reached from other machines. What it sends and receives is not \
                     encrypted, and whoever has the access link can do everything that you can.",
                    config.host
                ),
            )
            .hint("Add --expose if that is what you want; behind a proxy with TLS, keep 127.0.0.1 and use --allow-host."));
        }
        let fail = |e: &io::Error| {
            let error = ApiError::new(
                ErrorCode::Unavailable,
                format!("The server was not started: {wanted} cannot be bound: {e}."),
            );
            match e.kind() {
                io::ErrorKind::AddrInUse => error.hint("Name another port with --port; 0 takes a free one."),
                _ => error,
            }
        };
        let listener = TcpListener::bind(wanted).await.map_err(|e| fail(&e))?;
        let address = listener.local_addr().map_err(|e| fail(&e))?;
        let (closing, closed) = watch::channel(false);
        upload::remove_broken(ctx.home());
        let app = Arc::new(App::new(ctx, config, address, closed)?);
        Ok(Self { listener, address, host: config.host.clone(), app, closing })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a browser finds it, without the token.
    #[must_use]
    pub fn origin(&self) -> String {
        let host = if self.address.ip().is_unspecified() { "localhost".into() } else { bracketed(&self.host) };
        format!("http://{host}:{}", self.address.port())
    }

    /// The address with the access token: for the owner's terminal and nowhere else.
    #[must_use]
    pub fn access_url(&self) -> String {
        format!("{}/?token={}", self.origin(), self.app.token.reveal())
    }

    /// Serves until `stop` ends; running requests then have a moment to end, event streams end at once.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let limits = self.app.limits.clone();
        let router = router::router(&self.app);
        let seats = Seats::new(limits.connections);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, source)) => {
                        let local = stream.local_addr().unwrap_or(self.address);
                        let connection = Connection { ends: Ends { source, local }, limits: limits.clone(), router: router.clone() };
                        match seats.take() {
                            Some(seat) => {
                                connections.spawn(connection.serve(stream, seat, self.closing.subscribe()));
                            }
                            None => { connections.spawn(turn_away(stream)); }
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(AFTER_ERROR).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        // Nobody listening means that no connection is open.
        let _ = self.closing.send(true);
        seats.clear_waiting();
        let drained = async {
            while connections.join_next().await.is_some() {}
            self.app.tasks.finish().await;
        };
        let in_time = tokio::time::timeout(limits.shutdown, drained).await.is_ok();
        let cut_off = if in_time { 0 } else { connections.len() };
        connections.shutdown().await;
        Ended { cut_off }
    }
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr, ApiError> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok((ip, port).into());
    }
    let found = tokio::net::lookup_host((bare, port)).await.ok().and_then(|mut all| all.next());
    found.ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidArgument, format!("The server was not started: there is no host '{host}'."))
    })
}

/// Answers that there is no seat.
async fn turn_away(mut stream: TcpStream) {
    // The caller may be gone; either way the connection ends here.
    let _ = tokio::time::timeout(LINGER, async {
        stream.write_all(FULL).await?;
        stream.shutdown().await
    })
    .await;
}

/// One accepted connection.
struct Connection {
    ends: Ends,
    limits: Limits,
    router: Router,
}

impl Connection {
    async fn serve(self, stream: TcpStream, seat: Arc<Seat>, mut closing: watch::Receiver<bool>) {
        // Small answers and events leave at once.
        let _ = stream.set_nodelay(true);
        let Self { ends, limits, router } = self;
        let at_work = Arc::clone(&seat);
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = at_work.begin();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ends);
            let answer = router.clone().oneshot(request);
            Box::pin(async move {
                let answer: Response<Body> = answer.await?;
                Ok::<_, Infallible>(answer.map(|body| Watched { body, _busy: busy }))
            })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_headers(limits.headers)
            .max_buf_size(limits.head_bytes)
            .serve_connection(TokioIo::new(PatientIo::new(stream, limits.write_idle)), service);
        let ended = {
            let run = pin!(poll_fn(|cx| connection.poll_without_shutdown(cx)));
            tokio::select! {
                ended = run => Some(ended),
                () = seat.asked_to_leave() => return,
                _ = closing.wait_for(|closing| *closing) => None,
            }
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                Pin::new(&mut connection).graceful_shutdown();
                // A head that is half here is no request: it is not waited for.
                tokio::select! {
                    ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
                    () = seat.asked_to_leave() => return,
                }
            }
        };
        // Errors are the caller's: a head too slow or too large, a line that broke.
        if let Err(error) = ended {
            tracing::debug!(source = %ends.source, %error, "a connection ended");
        }
        let stream = connection.into_parts().io.into_inner().into_inner();
        tokio::select! {
            () = linger(stream) => {}
            () = seat.asked_to_leave() => {}
        }
    }
}

/// Closes the sending side and takes what the caller still sends.
async fn linger(mut stream: TcpStream) {
    let _ = tokio::time::timeout(LINGER, async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    })
    .await;
}

/// A body that keeps its connection at work until it is sent.
struct Watched {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
