//! The one gate before every route: host, origin, then who it is, in this order; and the headers that every answer carries.
//! Nothing is read of a body, and no route is chosen, for a caller who does not pass; only the door itself, `/sign-in`, opens to
//! nobody in particular. No password is compared here: that is slow on purpose, and happens at the door alone.

use std::{panic::AssertUnwindSafe, sync::Arc, sync::PoisonError, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tb_api::{Actor, Identity};
use tb_core::ErrorCode;

use crate::{
    app::{App, Ends},
    cookie::{self, cookies},
    error::Failure,
    hosts::{Sender, sender},
    logins::Try,
    pages::{self, Page},
    router::{SIGN_IN, is_view},
};

/// Cookies of one name that are looked at: a browser may send several, of several paths and domains.
const COOKIES: usize = 4;

/// What an answer that is no page may load: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// What became of a request at the gate.
enum Verdict {
    /// It goes on as this actor; their browser's cookie may be to be prolonged.
    Enter(Actor, Option<HeaderValue>),
    /// It goes on as nobody, to the door.
    Door,
    /// It brought the owner's token and gets the cookie.
    SignIn(Sender),
}

/// A refusal, and the page that tells it to a person.
struct Refused {
    failure: Failure,
    page: Page,
}

/// Lets a request through to its route, or answers it.
pub(crate) async fn gate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let verdict = judge(&app, &parts).await;
    let mut response = match verdict {
        Ok(Verdict::Enter(actor, prolonged)) => {
            parts.extensions.insert(actor);
            let mut response = go_on(Request::from_parts(parts, body), next).await;
            // The route may have set one of its own: signing out must not be undone.
            if let Some(cookie) = prolonged {
                response.headers_mut().entry(header::SET_COOKIE).or_insert(cookie);
            }
            response
        }
        Ok(Verdict::Door) => go_on(Request::from_parts(parts, body), next).await,
        Ok(Verdict::SignIn(sender)) => sign_in(&app, sender),
        Err(refused) => refused.answer(&parts),
    };
    harden(response.headers_mut());
    response
}

/// A fault in one route must not tear down the connection without an answer.
async fn go_on(request: Request, next: Next) -> Response {
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| broke())
}

async fn judge(app: &App, request: &Parts) -> Result<Verdict, Refused> {
    let headers = &request.headers;
    let ends = *request.extensions.get::<Ends>().expect("the accept loop gives every request its ends");
    let host = app.hosts.allowed(headers, &request.uri, ends.local).ok_or_else(wrong_host)?;
    let sender = sender(&request.method, headers, host);
    let matched = request.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let is_door = matched == Some(SIGN_IN);
    match sender {
        Sender::Foreign => return Err(foreign()),
        Sender::Link if !is_door && !is_view(matched, &request.method, headers) => return Err(foreign()),
        Sender::Link | Sender::Own | Sender::Nobody => {}
    }
    let is_safe = request.method.is_safe();
    if is_door {
        // Nobody is to be signed in by another site's form, not even as themselves.
        return if is_safe || sender == Sender::Own { Ok(Verdict::Door) } else { Err(foreign()) };
    }
    if request.method == Method::GET
        && request.uri.path() == "/"
        && let Some(token) = request.uri.query().and_then(token_in_query)
    {
        return match app.check(ends, token) {
            Check::Right => Ok(Verdict::SignIn(sender)),
            Check::Wrong => Err(unauthenticated(Page::WrongLink)),
            Check::TooMany => Err(too_many()),
        };
    }
    // Browsers name the page behind every change they are asked for.
    let by_cookie = |actor, prolonged| match (sender, is_safe) {
        (Sender::Own, _) | (_, true) => Ok(Verdict::Enter(actor, prolonged)),
        (Sender::Nobody | Sender::Link | Sender::Foreign, false) => Err(foreign()),
    };
    if cookies(headers, &app.cookie_name).any(|value| app.token.is_cookie(value)) {
        return by_cookie(Actor::local(), None);
    }
    let mut refused = None;
    for value in cookies(headers, &app.cookie_name).take(COOKIES).filter(|v| tb_api::is_session(v)) {
        match app.identify(ends, value).await {
            Ok(identity) => {
                // Only where the browser says by which scheme it came: a secure cookie stays one.
                let prolong = identity.prolonged && headers.contains_key(header::ORIGIN);
                return by_cookie(identity.actor, prolong.then(|| cookie::set(app, value, cookie::is_secure(headers))));
            }
            Err(why) => refused = Some(why),
        }
    }
    if let Some(token) = bearer(headers).filter(|token| tb_api::is_user_token(token)) {
        return app.identify(ends, token).await.map(|identity| Verdict::Enter(identity.actor, None));
    }
    let given = bearer(headers).or_else(|| cookies(headers, &app.cookie_name).find(|v| !tb_api::is_session(v)));
    match given.map(|token| app.check(ends, token)) {
        Some(Check::Right) => Ok(Verdict::Enter(Actor::local(), None)),
        Some(Check::TooMany) => Err(too_many()),
        Some(Check::Wrong) => Err(unauthenticated(Page::SignIn)),
        None => Err(refused.unwrap_or_else(|| unauthenticated(Page::SignIn))),
    }
}

/// What a given token is.
enum Check {
    Right,
    Wrong,
    TooMany,
}

impl App {
    /// Compares the owner's token, unless its source has tried too many.
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

    /// Finds the user behind a token or a session. Nobody guesses these, so that a right one gets in however many wrong ones came
    /// from the same source; a wrong one counts, and is not looked up again for a while.
    async fn identify(&self, ends: Ends, shown: &str) -> Result<Identity, Refused> {
        let source = ends.source.ip();
        // What was wrong as the owner's token may be right as a user's.
        let mark = format!("user {shown}");
        let judge = || self.logins.lock().unwrap_or_else(PoisonError::into_inner).judge(source, &mark, Instant::now());
        if judge() == Try::KnownWrong {
            return Err(unauthenticated(Page::SignIn));
        }
        match self.ctx.identify(shown).await {
            Ok(Some(identity)) => Ok(identity),
            Ok(None) if judge() == Try::TooMany => Err(too_many()),
            Ok(None) => {
                let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
                logins.wrong(source, &mark, Instant::now());
                Err(unauthenticated(Page::SignIn))
            }
            Err(error) => {
                tracing::error!(%error, "a token or session cannot be looked up");
                Err(Refused { failure: error.into(), page: Page::Busy })
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

fn sign_in(app: &App, sender: Sender) -> Response {
    let mut response = match sender {
        // A browser that came by a link from elsewhere withholds a strict cookie while it is redirected; from a page of
        // our own it goes on with it.
        Sender::Link => pages::page(StatusCode::OK, Page::SignedIn),
        Sender::Own | Sender::Nobody | Sender::Foreign => {
            (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()
        }
    };
    // A link tells nothing of the scheme by which it was opened.
    response.headers_mut().insert(header::SET_COOKIE, cookie::set(app, app.token.cookie(), false));
    response
}

impl Refused {
    fn answer(self, request: &Parts) -> Response {
        let accepts = request.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let for_people = request.method == Method::GET && accepts.contains("text/html");
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
    let hint = "Sign in at /sign-in, open the address that the server printed at its start, or send a token as Authorization: Bearer.";
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
        assert_eq!(token_in_query("a=b&token=t&c"), Some("t"));
        assert_eq!(token_in_query("a=b&xtoken=t"), None);
    }
}
