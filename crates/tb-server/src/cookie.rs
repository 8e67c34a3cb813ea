//! The one cookie: the owner's mark, or the session of a signed-in user.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::app::App;

/// How long a browser keeps it: as long as a session lives without being used.
const SECONDS: i64 = tb_api::SESSION_MS / 1000;

/// The values of the cookies of this name.
pub(crate) fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether the browser came by an encrypted way, as far as it says.
pub(crate) fn is_secure(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

/// The header that has a browser keep `value`: out of reach for scripts, and shown to no page but ours.
pub(crate) fn set(app: &App, value: &str, secure: bool) -> HeaderValue {
    header(&app.cookie_name, value, SECONDS, secure)
}

/// The header that has a browser forget the cookie.
pub(crate) fn clear(app: &App, secure: bool) -> HeaderValue {
    header(&app.cookie_name, "", 0, secure)
}

fn header(name: &str, value: &str, seconds: i64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).expect("a name with a number and letters of base64 are fit for a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "other=1; tonebridge_4310=x;tonebridge_43101=y".parse().unwrap());
        headers.append(header::COOKIE, "tonebridge_4310=z".parse().unwrap());
        assert_eq!(cookies(&headers, "tonebridge_4310").collect::<Vec<_>>(), ["x", "z"]);
    }

    #[test]
    fn a_cookie_is_strict_and_secure_where_the_way_is() {
        let mut headers = HeaderMap::new();
        assert!(!is_secure(&headers));
        headers.insert(header::ORIGIN, "https://bridge.example.org".parse().unwrap());
        let text = header("tonebridge_1", "v", 60, is_secure(&headers));
        assert_eq!(text, "tonebridge_1=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure");
    }
}
