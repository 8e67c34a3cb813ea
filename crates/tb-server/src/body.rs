//! Request bodies: read within a size and with no pause longer than allowed. Nothing here unpacks: a packed body is refused.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt;
use tb_core::ErrorCode;

use crate::error::Failure;

/// A request body that is read piece by piece.
pub(crate) struct Pieces {
    body: Body,
    idle: Duration,
    max: u64,
    read: u64,
}

impl Pieces {
    /// A body of at most `max` bytes and pauses of at most `idle`.
    ///
    /// # Errors
    /// A packed body, and one whose announced length is too great.
    pub fn new(headers: &HeaderMap, body: Body, max: u64, idle: Duration) -> Result<Self, Failure> {
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ErrorCode::InvalidArgument,
                "Nothing was done: a packed body (Content-Encoding) is not read.",
            ));
        }
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > max) {
            return Err(too_large(max));
        }
        Ok(Self { body, idle, max, read: 0 })
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// A pause that is too long, more bytes than allowed, a connection that broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = tokio::time::timeout(self.idle, self.body.frame()).await.map_err(|_| {
                Failure::new(
                    StatusCode::REQUEST_TIMEOUT,
                    ErrorCode::Unavailable,
                    format!("Nothing was done: no byte of the request came for {} s.", self.idle.as_secs()),
                )
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| {
                Failure::new(
                    StatusCode::BAD_REQUEST,
                    ErrorCode::InvalidArgument,
                    "Nothing was done: the request broke off.",
                )
            })?;
            // Trailers say nothing here.
            let Ok(piece) = frame.into_data() else { continue };
            self.read = self.read.saturating_add(piece.len() as u64);
            if self.read > self.max {
                return Err(too_large(self.max));
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub async fn all(mut self) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

fn too_large(max: u64) -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::InvalidArgument,
        format!("Nothing was done: the request is larger than {max} bytes."),
    )
}

/// Fails unless the body says that it is JSON: a page of another site can send other kinds without asking first.
pub(crate) fn must_be_json(headers: &HeaderMap) -> Result<(), Failure> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::InvalidArgument,
        "Nothing was done: arguments are sent as JSON.",
    )
    .hint("Set the header Content-Type: application/json."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_passes_as_json() {
        let judge = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            must_be_json(&headers).is_ok()
        };
        assert!(judge("application/json") && judge("Application/JSON; charset=utf-8"));
        for bad in ["text/plain", "application/jsonx", "text/plain;application/json", ""] {
            assert!(!judge(bad), "{bad}");
        }
        assert!(must_be_json(&HeaderMap::new()).is_err());
    }
}
