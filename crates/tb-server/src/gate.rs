//! The one gate before every route: host, origin, token, in this order; and the headers that every answer carries.
//! Nothing is read of a body, and no route is chosen, for a caller who does not pass.

use std::{panic::AssertUnwindSafe, sync::Arc, sync::PoisonError, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tb_api::Actor;
use tb_core::ErrorCode;

use crate::{
    app::{App, Ends},
    error::Failure,
    hosts::{Sender, sender},
    logins::Try,
    pages::{self, Page},
};

/// How long a browser keeps its cookie: 30 days.
const COOKIE_SECONDS: u32 = 30 * 24 * 3600;

/// What an answer that is no page may load: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// What became of a request at the gate.
enum Verdict {
    /// It goes on as this actor.
    Enter(Actor),
    /// It brought the token and gets the cookie.
    SignIn(Sender),
}

/// A refusal, and the page that tells it to a person.
struct Refused {
    failure: Failure,
    page: Page,
}

/// Lets a request through to its route, or answers it.
pub(crate) async fn gate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let mut response = match judge(&app, &request) {
        Ok(Verdict::Enter(actor)) => {
            request.extensions_mut().insert(actor);
            // A fault in one route must not tear down the connection without an answer.
            AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| broke())
        }
        Ok(Verdict::SignIn(sender)) => sign_in(&app, sender),
        Err(refused) => refused.answer(&request),
    };
    harden(response.headers_mut());
    response
}

fn judge(app: &App, request: &Request) -> Result<Verdict, Refused> {
    let headers = request.headers();
    let ends = *request.extensions().get::<Ends>().expect("the accept loop gives every request its ends");
    let host = app.hosts.allowed(headers, request.uri(), ends.local).ok_or_else(wrong_host)?;
    let sender = sender(request.method(), headers, host);
    let is_page = request.extensions().get::<MatchedPath>().is_none();
    match sender {
        Sender::Foreign => return Err(foreign()),
        Sender::Link if !is_page => return Err(foreign()),
        Sender::Link | Sender::Own | Sender::Nobody => {}
    }
    if *request.method() == Method::GET
        && request.uri().path() == "/"
        && let Some(token) = request.uri().query().and_then(token_in_query)
    {
        return match app.check(ends, token) {
            Check::Right => Ok(Verdict::SignIn(sender)),
            Check::Wrong => Err(unauthenticated(Page::WrongLink)),
            Check::TooMany => Err(too_many()),
        };
    }
    if cookies(headers, &app.cookie_name).any(|value| app.token.is_cookie(value)) {
        // Browsers name the page behind every change they are asked for.
        return match (sender, request.method().is_safe()) {
            (Sender::Own, _) | (_, true) => Ok(Verdict::Enter(Actor::local())),
            (Sender::Nobody | Sender::Link | Sender::Foreign, false) => Err(foreign()),
        };
    }
    let given = bearer(headers).or_else(|| cookies(headers, &app.cookie_name).next());
    match given.map(|token| app.check(ends, token)) {
        Some(Check::Right) => Ok(Verdict::Enter(Actor::local())),
        Some(Check::TooMany) => Err(too_many()),
        Some(Check::Wrong) | None => Err(unauthenticated(Page::SignIn)),
    }
}

/// What a given token is.
enum Check {
    Right,
    Wrong,
    TooMany,
}

impl App {
    /// Compares a token, unless its source has tried too many.
    fn check(&self, ends: Ends, token: &str) -> Check {
        let now = Instant::now();
        let source = ends.source.ip();
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        match logins.judge(source, token, now) {
            Try::TooMany => Check::TooMany,
            Try::KnownWrong => Check::Wrong,
            Try::Compare if self.token.is(token) => Check::Right,
            Try::Compare => {
                logins.wrong(source, token, now);
                Check::Wrong
            }
        }
    }
}

fn token_in_query(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn sign_in(app: &App, sender: Sender) -> Response {
    let cookie = format!(
        "{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={COOKIE_SECONDS}",
        app.cookie_name,
        app.token.cookie()
    );
    let mut response = match sender {
        // A browser that came by a link from elsewhere withholds a strict cookie while it is redirected; from a page of
        // our own it goes on with it.
        Sender::Link => pages::page(StatusCode::OK, Page::SignedIn),
        Sender::Own | Sender::Nobody | Sender::Foreign => {
            (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()
        }
    };
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

impl Refused {
    fn answer(self, request: &Request) -> Response {
        let accepts = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let for_people = *request.method() == Method::GET && accepts.contains("text/html");
        let status = self.failure.status;
        let mut response = if for_people { pages::page(status, self.page) } else { self.failure.into_response() };
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response
    }
}

fn wrong_host() -> Refused {
    let failure = Failure::new(
        StatusCode::FORBIDDEN,
        ErrorCode::Forbidden,
        "Nothing was done: the server does not go by the name in the Host header.",
    );
    Refused { failure: failure.hint("Start it with --allow-host NAME."), page: Page::WrongHost }
}

fn foreign() -> Refused {
    let message = "Nothing was done: the request comes from another site.";
    Refused { failure: Failure::new(StatusCode::FORBIDDEN, ErrorCode::Forbidden, message), page: Page::Foreign }
}

fn unauthenticated(page: Page) -> Refused {
    let failure = Failure::new(
        StatusCode::UNAUTHORIZED,
        ErrorCode::Unauthenticated,
        "Nothing was done: the request brings no valid access token.",
    );
    let hint = "Open the address that the server printed at its start, or send its token as Authorization: Bearer.";
    Refused { failure: failure.hint(hint), page }
}

fn too_many() -> Refused {
    let failure = Failure::new(
        StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable,
        "Nothing was done: too many wrong tokens came from this address.",
    );
    Refused { failure: failure.hint("Wait a minute."), page: Page::TooMany }
}

fn broke() -> Response {
    tracing::error!("a route broke; the fault was printed where it happened");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Internal, "The request broke a part of the program.")
        .hint("What is stored is whole. The server's log says more.")
        .into_response()
}

/// Sets what no answer may lack; a route that set its own policy or caching keeps it.
fn harden(headers: &mut HeaderMap) {
    let always = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for name in ["cross-origin-resource-policy", "cross-origin-opener-policy"] {
        headers.insert(name, HeaderValue::from_static("same-origin"));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NOTHING));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_where_they_belong() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.insert(header::AUTHORIZATION, "bearer abc".parse().unwrap());
        assert_eq!(bearer(&headers), Some("abc"));
        headers.insert(header::AUTHORIZATION, "Basic abc".parse().unwrap());
        assert_eq!(bearer(&headers), None);
        headers.append(header::COOKIE, "other=1; tonebridge_4310=x;tonebridge_43101=y".parse().unwrap());
        headers.append(header::COOKIE, "tonebridge_4310=z".parse().unwrap());
        assert_eq!(cookies(&headers, "tonebridge_4310").collect::<Vec<_>>(), ["x", "z"]);
        assert_eq!(token_in_query("a=b&token=t&c"), Some("t"));
        assert_eq!(token_in_query("a=b&xtoken=t"), None);
    }
}
