//! `POST /upload?name=FILE`: the raw body becomes a file under `uploads/<uuid>/` in the home folder, whole or not at all.
//! Uploading imports nothing; a command then reads the path that is given back.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Extension,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;
use tb_api::Actor;
use tb_core::{ApiError, ErrorCode, user::Role};
use tokio::io::{AsyncWriteExt, BufWriter};
use uuid::Uuid;

use crate::{app::App, body::Pieces, error, error::Failure};

/// The folder in the home folder.
const FOLDER: &str = "uploads";

/// The file's name until it is whole; no upload can have it, since safe names do not begin with a dot.
const PARTIAL: &str = ".partial";

/// Bytes of a name.
const NAME_BYTES: usize = 120;

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// The file's name as the caller knows it.
#[derive(Deserialize)]
pub(crate) struct Named {
    name: String,
}

/// Stores the body and gives its path.
pub(crate) async fn receive(
    State(app): State<Arc<App>>,
    Extension(actor): Extension<Actor>,
    named: Result<Query<Named>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    actor.require(Role::Trainer, "upload")?;
    let unnamed = || {
        ApiError::new(ErrorCode::InvalidArgument, "Nothing was stored: the upload has no file name that can be used.")
            .hint("Send it to /upload?name=FILE.")
    };
    let Query(named) = named.map_err(|_| unnamed())?;
    let name = safe_name(&named.name).ok_or_else(unnamed)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::InvalidArgument,
            "Nothing was stored: the body is the file itself, not a form.",
        ));
    }
    let _permit = Arc::clone(&app.uploads).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::Unavailable, "Nothing was stored: too many uploads are under way.")
            .hint("Try again when one has ended.")
    })?;
    let mut pieces = Pieces::new(&headers, body, app.limits.upload_bytes, app.limits.body_idle)?;
    let mut place = Place::make(app.ctx.home()).map_err(|e| not_stored(&e))?;
    let file = place.create().map_err(|e| not_stored(&e))?;
    let mut file = BufWriter::with_capacity(WRITE_BYTES, tokio::fs::File::from_std(file));
    while let Some(piece) = pieces.next().await? {
        file.write_all(&piece).await.map_err(|e| not_stored(&e))?;
    }
    file.flush().await.map_err(|e| not_stored(&e))?;
    file.get_ref().sync_all().await.map_err(|e| not_stored(&e))?;
    drop(file);
    let path = place.keep(&name).map_err(|e| not_stored(&e))?;
    Ok(error::json(&json!({ "path": path })))
}

/// A folder of its own for one upload; dropped before it is kept, nothing stays of it.
struct Place {
    folder: PathBuf,
    kept: bool,
}

impl Place {
    fn make(home: &Path) -> io::Result<Self> {
        let uploads = home.join(FOLDER);
        match private_folder(&uploads) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if !fs::symlink_metadata(&uploads)?.is_dir() {
            return Err(io::Error::other(format!("{} is no folder", uploads.display())));
        }
        let folder = uploads.join(Uuid::now_v7().to_string());
        private_folder(&folder)?;
        Ok(Self { folder, kept: false })
    }

    /// A new file in a folder that nobody else knows: neither can be there already, nor be a link.
    fn create(&self) -> io::Result<fs::File> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        }
        options.open(self.folder.join(PARTIAL))
    }

    fn keep(&mut self, name: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::rename(self.folder.join(PARTIAL), &path)?;
        #[cfg(unix)]
        fs::File::open(&self.folder)?.sync_all()?;
        self.kept = true;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "a broken upload cannot be removed");
        }
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(path)
}

fn not_stored(error: &io::Error) -> ApiError {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
        _ => ErrorCode::Unavailable,
    };
    ApiError::new(code, format!("Nothing was stored: the upload cannot be written: {error}."))
}

/// Removes what uploads left that a crash cut off. Called once, before the first request.
pub(crate) fn remove_broken(home: &Path) {
    for folder in fs::read_dir(home.join(FOLDER)).into_iter().flatten().filter_map(Result::ok) {
        let partial = folder.path().join(PARTIAL);
        // Another server on this home may be receiving it just now.
        let is_old = |modified: std::time::SystemTime| modified.elapsed().is_ok_and(|age| age.as_secs() > 24 * 3600);
        if fs::symlink_metadata(&partial).and_then(|m| m.modified()).is_ok_and(is_old)
            && let Err(error) = fs::remove_dir_all(folder.path())
        {
            tracing::warn!(folder = %folder.path().display(), %error, "a broken upload cannot be removed");
        }
    }
}

/// The last part of a name, without what any file system or terminal takes for more than a name; none if nothing is left.
pub(crate) fn safe_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last
        .chars()
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .map(|c| if matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '%') { '_' } else { c })
        .collect();
    let plain = plain.trim().trim_start_matches('.').trim_end_matches(['.', ' ']).trim_start();
    if plain.is_empty() {
        return None;
    }
    let (stem, ending) = match plain.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && ending.len() <= 16 => (stem, format!(".{ending}")),
        _ => (plain, String::new()),
    };
    let mut end = stem.len().min(NAME_BYTES - ending.len());
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    let stem = stem[..end].trim_end();
    let first = stem.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    // Windows takes these for devices, whatever the ending.
    let numbered = |device: &str| first.strip_prefix(device).is_some_and(|n| n.len() == 1 && n != "0");
    let is_device = matches!(first.as_str(), "CON" | "PRN" | "AUX" | "NUL") || numbered("COM") || numbered("LPT");
    Some(format!("{}{stem}{ending}", if is_device { "_" } else { "" }))
}

/// Characters that change how a name is shown and are not seen themselves (Unicode's bidirectional and other format controls).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_what_is_a_name_and_lose_what_is_a_path() {
        for (given, kept) in [
            ("rows.jsonl", "rows.jsonl"),
            ("丁寧語 データ.csv", "丁寧語 データ.csv"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\windows\\win.ini", "win.ini"),
            ("C:\\data\\rows.csv", "rows.csv"),
            ("C:rows.csv", "C_rows.csv"),
            ("/etc/passwd", "passwd"),
            ("%2e%2e%2frows.csv", "_2e_2e_2frows.csv"),
            (".hidden", "hidden"),
            ("...rows", "rows"),
            ("rows.csv. . .", "rows.csv"),
            ("a\0b\nc.csv", "abc.csv"),
            ("gpj\u{202e}.exe", "gpj.exe"),
            ("CON", "_CON"),
            ("nul.csv", "_nul.csv"),
            ("com1.jsonl", "_com1.jsonl"),
            ("common.csv", "common.csv"),
            ("a<b>:\"|?*.csv", "a_b______.csv"),
        ] {
            assert_eq!(safe_name(given).as_deref(), Some(kept), "{given:?}");
        }
        for nothing in ["", ".", "..", "...", "/", "../", "..\\", "\0", " ", "\u{202e}", ". ."] {
            assert_eq!(safe_name(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters_and_keep_their_ending() {
        let name = safe_name(&format!("{}.jsonl", "文".repeat(30_000))).unwrap();
        assert!(name.len() <= NAME_BYTES && name.ends_with("文.jsonl"), "{name}");
        let name = safe_name(&format!("a.{}", "b".repeat(65_536))).unwrap();
        assert_eq!(name.len(), NAME_BYTES);
    }

    #[test]
    fn nothing_stays_of_an_upload_that_is_not_kept() {
        let home = tempfile::tempdir().unwrap();
        let place = Place::make(home.path()).unwrap();
        place.create().unwrap();
        drop(place);
        assert_eq!(fs::read_dir(home.path().join(FOLDER)).unwrap().count(), 0);
        let mut place = Place::make(home.path()).unwrap();
        place.create().unwrap();
        let path = place.keep("rows.csv").unwrap();
        drop(place);
        assert!(path.is_file() && path.starts_with(home.path().join(FOLDER)));
    }
}
