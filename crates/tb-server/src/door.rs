//! `/sign-in` and `/sign-out`: the door for users with a name and a password. Works without a script in the page.

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use tb_api::{Actor, SignIn, sign_in, sign_out};
use tb_core::{ErrorCode, settings::Secret};

use crate::{
    app::{App, Ends},
    body::Pieces,
    cookie,
    error::Failure,
    pages::{self, Page},
    router::SIGN_IN,
};

/// Bytes of a filled form.
const FORM_BYTES: u64 = 8 << 10;

const FORM: &str = "application/x-www-form-urlencoded";

/// Shows the form.
pub(crate) async fn show() -> Response {
    pages::page(StatusCode::OK, Page::SignIn)
}

/// Takes the form, and signs its user in or says that it does not fit.
pub(crate) async fn enter(
    State(app): State<Arc<App>>,
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let (name, password) = form(&app, &headers, body).await?;
    let source = ends.source.ip();
    let begun = app.logins.lock().unwrap_or_else(PoisonError::into_inner).begin(source, Instant::now());
    let Some(attempt) = begun else { return Ok(too_many()) };
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let result = sign_in(&app.ctx, &name, &password, agent).await;
    if matches!(result, Ok(SignIn::In(_)) | Err(_)) {
        app.logins.lock().unwrap_or_else(PoisonError::into_inner).forgive(&attempt);
    }
    Ok(match result {
        Ok(SignIn::In(signed)) => {
            // Their browser may hold the session of another: that one goes on for whoever else has it, but not here.
            let cookie = cookie::set(&app, signed.cookie.reveal(), cookie::is_secure(&headers));
            let to = back(&headers);
            (StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, cookie)]).into_response()
        }
        Ok(SignIn::Wrong) => {
            // Neither the name nor anything else of the form: either may be a password in the wrong field.
            tracing::warn!(%source, "a sign-in was refused");
            pages::page(StatusCode::UNAUTHORIZED, Page::WrongPassword)
        }
        Ok(SignIn::TooMany) => too_many(),
        Err(error) => {
            tracing::error!(%error, "a sign-in failed");
            pages::page(StatusCode::SERVICE_UNAVAILABLE, Page::Busy)
        }
    })
}

/// Ends the session of this browser, and has it forget its cookie.
pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    sign_out(&app.ctx, &actor).await?;
    let cookie = cookie::clear(&app, cookie::is_secure(&headers));
    let to = HeaderValue::from_static(SIGN_IN);
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::SET_COOKIE, cookie)]).into_response())
}

/// Name and password of a filled form.
async fn form(app: &App, headers: &HeaderMap, body: Body) -> Result<(String, Secret), Failure> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM) {
        let message = "Nothing was done: signing in takes a filled form.";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::InvalidArgument, message)
            .hint("Scripts send a token as Authorization: Bearer instead."));
    }
    let text = Pieces::new(headers, body, FORM_BYTES, app.limits.body_idle)?.all().await?;
    let field = |wanted: &str| {
        let mut found = form_urlencoded::parse(&text).filter(|(name, _)| name == wanted);
        found.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    Ok((field("name"), Secret::from(field("password"))))
}

fn too_many() -> Response {
    let mut response = pages::page(StatusCode::TOO_MANY_REQUESTS, Page::TooManyPasswords);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

/// Where to go on: the page of ours on which the form stood, else the first one. The gate has made sure that the form is our own.
fn back(headers: &HeaderMap) -> HeaderValue {
    let first = HeaderValue::from_static("/");
    let from = headers.get(header::REFERER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<Uri>().ok());
    let Some(path) = from.as_ref().and_then(Uri::path_and_query) else { return first };
    // `//host` and `/\\host` would lead elsewhere; a token in the query was not right, or there would have been no form.
    let is_ours = path.as_str().starts_with('/')
        && !path.as_str().starts_with("//")
        && !path.as_str().contains(['\\', '\n', '\r'])
        && path.path() != SIGN_IN
        && path.query().is_none_or(|query| !query.contains("token="));
    if is_ours { HeaderValue::from_str(path.as_str()).unwrap_or(first) } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_back_to_a_page_of_ours_and_nowhere_else() {
        for (referer, to) in [
            ("http://localhost:4310/runs/job_1?tab=log", "/runs/job_1?tab=log"),
            ("http://localhost:4310/", "/"),
            ("http://localhost:4310", "/"),
            ("http://localhost:4310/sign-in", "/"),
            ("http://localhost:4310/?token=wrong", "/"),
            ("http://localhost:4310//evil.example", "/"),
            ("http://localhost:4310/\\evil.example", "/"),
            ("nonsense", "/"),
            ("", "/"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::REFERER, HeaderValue::from_str(referer).unwrap());
            assert_eq!(back(&headers), to, "{referer}");
        }
        assert_eq!(back(&HeaderMap::new()), "/");
    }
}
