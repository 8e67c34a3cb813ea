//! The interface: the files of `ui/build`, embedded in what is shipped and read from disk in debug builds. Every path that is
//! no file of it is a view, which the one page draws.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use tb_core::ErrorCode;

use crate::{
    app::App,
    error::Failure,
    pages::{self, Page},
};

/// The one page.
const INDEX: &str = "index.html";

/// Files under here carry a hash of their content in their name.
const HASHED: &str = "_app/immutable/";

/// What a browser may keep for ever.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// What a browser keeps, but asks about each time.
const ASK_FIRST: &str = "private, no-cache";

/// What the interface may load: itself. Its build leaves no inline script or style in the page. Pictures may come from what it
/// has drawn.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; frame-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// The embedded files; none in a build that reads them from disk.
static EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Where the interface is.
pub(crate) enum Assets {
    /// In a folder, read anew for each request.
    Folder(PathBuf),
    /// In this program.
    Embedded(HashMap<&'static str, Asset>),
}

/// One file.
#[derive(Clone)]
pub(crate) struct Asset {
    bytes: Bytes,
    /// Quoted, as the header carries it.
    etag: String,
}

impl Asset {
    fn new(bytes: Bytes) -> Self {
        let digest = Sha256::digest(&bytes);
        let etag = format!("\"{}\"", STANDARD.encode(&digest[..16]));
        Self { bytes, etag }
    }
}

impl Assets {
    /// The interface in `folder`, else that of this build.
    pub fn new(folder: Option<PathBuf>) -> Self {
        match folder {
            Some(folder) => Self::Folder(folder),
            None if cfg!(embedded_ui) => {
                let asset =
                    |(name, bytes): &(&'static str, &'static [u8])| (*name, Asset::new(Bytes::from_static(bytes)));
                Self::Embedded(EMBEDDED.iter().map(asset).collect())
            }
            None => Self::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/build")),
        }
    }

    /// A file by its clean name.
    async fn find(&self, name: &str) -> Option<Asset> {
        match self {
            Self::Embedded(files) => files.get(name).cloned(),
            Self::Folder(folder) => {
                let (folder, name) = (folder.clone(), name.to_owned());
                let read = tokio::task::spawn_blocking(move || read_below(&folder, &name)).await;
                match read {
                    Ok(Ok(bytes)) => Some(Asset::new(bytes.into())),
                    Ok(Err(_)) | Err(_) => None,
                }
            }
        }
    }
}

/// A file that is truly in the folder, whatever links there are.
fn read_below(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let folder = folder.canonicalize()?;
    let path = folder.join(name).canonicalize()?;
    if path.starts_with(&folder) && path.is_file() { std::fs::read(path) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Serves a file of the interface, or its page.
pub(crate) async fn serve(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Result<Response, Failure> {
    let missing = || Failure::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, "There is nothing at this address.");
    let name = clean(uri.path()).ok_or_else(missing)?;
    if !name.is_empty()
        && let Some(asset) = app.assets.find(&name).await
    {
        return Ok(answer(&name, &asset, &headers));
    }
    // A view's address has no ending; a missing file must not look like a page.
    if name.starts_with("_app/") || name.rsplit('/').next().is_some_and(|last| last.contains('.')) {
        return Err(missing());
    }
    match app.assets.find(INDEX).await {
        Some(page) => Ok(answer(INDEX, &page, &headers)),
        None => Ok(pages::page(StatusCode::SERVICE_UNAVAILABLE, Page::NoInterface)),
    }
}

/// The name of a file below the interface's folder; none for a path that leads elsewhere.
fn clean(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let path = path.trim_start_matches('/');
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(['\\', ':', '\0']);
    if path.is_empty() {
        return Some(String::new());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    (!path.split('/').any(bad)).then(|| path.to_owned())
}

fn answer(name: &str, asset: &Asset, headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|tags| {
        tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag || tag.trim() == "*")
    });
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(asset.bytes.clone()).into_response() };
    let caching = if name.starts_with(HASHED) { FOR_EVER } else { ASK_FIRST };
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(name)));
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    set.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    if let Ok(etag) = asset.etag.parse() {
        set.insert(header::ETAG, etag);
    }
    response
}

/// The media type by a name's ending.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_the_folder_are_clean() {
        assert_eq!(clean("/").as_deref(), Some(""));
        assert_eq!(clean("/runs/job_1/").as_deref(), Some("runs/job_1"));
        assert_eq!(clean("/a%20b.js").as_deref(), Some("a b.js"));
        for bad in
            ["/../x", "/a/../b", "/%2e%2e/x", "/a/%2e%2e%2fx", "/a//b", "/./a", "/a%00", "/..%5cx", "/c:/x", "/%ff"]
        {
            assert_eq!(clean(bad), None, "{bad}");
        }
        // Decoded once: what is left is an odd name, and no way up.
        assert_eq!(clean("/%252e%252e/x").as_deref(), Some("%2e%2e/x"));
    }
}
