//! `GET /files/{job_id}/{name}`: a run's chart and its adapter, and nothing else of its folder. Names are compared with a list,
//! never joined as they came; links inside the run folder are not followed.

use std::{fs, io, path::Path, sync::Arc};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path as Parts, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde_json::json;
use tb_api::{Actor, commands::dispatch};
use tb_core::{ApiError, ErrorCode, job::Job, run_folder::names};
use tokio::io::AsyncReadExt;

use crate::{app::App, error::Failure};

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// A file that may be taken.
struct File {
    /// Its name, in the address and on disk.
    name: &'static str,
    /// Its folder in the run folder; empty for the run folder itself.
    folder: &'static str,
    kind: &'static str,
}

const FILES: &[File] = &[
    File { name: "chart.png", folder: "", kind: "image/png" },
    File { name: "chart.svg", folder: "", kind: "image/svg+xml" },
    File { name: "chart.dark.png", folder: "", kind: "image/png" },
    File { name: "chart.dark.svg", folder: "", kind: "image/svg+xml" },
    File { name: "adapter_config.json", folder: names::ADAPTER, kind: "application/json" },
    File { name: "adapter_model.safetensors", folder: names::ADAPTER, kind: "application/octet-stream" },
    File { name: "README.md", folder: names::ADAPTER, kind: "text/markdown; charset=utf-8" },
];

/// Sends one file of a run.
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Extension(actor): Extension<Actor>,
    Parts((job_id, name)): Parts<(String, String)>,
) -> Result<Response, Failure> {
    let file = FILES.iter().find(|f| f.name == name).ok_or_else(|| {
        let names = FILES.iter().map(|f| f.name).collect::<Vec<_>>().join(", ");
        ApiError::new(ErrorCode::NotFound, "There is no such file of a run.").hint(format!("There are {names}."))
    })?;
    let job = dispatch(&app.ctx.as_actor(actor), "job_get", json!({ "id": job_id })).await?;
    let job: Job = serde_json::from_value(job)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("The job cannot be read: {e}.")))?;
    let opened = open(Path::new(&job.run_dir), file).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => ApiError::new(ErrorCode::NotFound, format!("{} has no {} yet.", job.id, file.name))
            .hint("The command job_chart draws the charts; the adapter is there when the run has ended."),
        _ => ApiError::new(ErrorCode::Unavailable, format!("{} of {} cannot be read: {e}.", file.name, job.id)),
    })?;
    let size = opened.metadata().map_or(0, |m| m.len());
    let opened = tokio::fs::File::from_std(opened).take(size);
    let body = Body::from_stream(stream::try_unfold(opened, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut file).take(PIECE as u64).read_to_end(&mut piece).await?;
        Ok::<_, io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
    }));
    let mut response = ([(header::CONTENT_TYPE, file.kind)], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, size.into());
    // Saved, never shown as a page of ours: an SVG could carry script.
    let named = format!("attachment; filename=\"{}\"", file.name);
    headers.insert(header::CONTENT_DISPOSITION, named.parse().unwrap_or(HeaderValue::from_static("attachment")));
    Ok(response)
}

#[cfg(unix)]
fn open(run: &Path, file: &File) -> io::Result<fs::File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let folder = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, run, folder, Mode::empty())?;
    if !file.folder.is_empty() {
        at = openat(&at, file.folder, folder | OFlags::NOFOLLOW, Mode::empty())?;
    }
    // Not waiting: a pipe in its place must not hold the request.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    only_file(fs::File::from(openat(&at, file.name, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open(run: &Path, file: &File) -> io::Result<fs::File> {
    let path = run.join(file.folder).join(file.name);
    if fs::symlink_metadata(&path)?.file_type().is_symlink() {
        return Err(io::Error::other("it is a link"));
    }
    only_file(fs::File::open(path)?)
}

fn only_file(file: fs::File) -> io::Result<fs::File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn links_inside_the_run_folder_are_not_followed() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let (run, secret) = (home.path().join("run"), home.path().join("secret"));
        fs::create_dir_all(&run).unwrap();
        fs::create_dir_all(&secret).unwrap();
        fs::write(secret.join("adapter_config.json"), "secret").unwrap();
        let (chart, adapter) = (&FILES[0], &FILES[4]);
        assert_eq!(open(&run, chart).unwrap_err().kind(), io::ErrorKind::NotFound);
        symlink(secret.join("adapter_config.json"), run.join(chart.name)).unwrap();
        symlink(&secret, run.join(adapter.folder)).unwrap();
        assert!(open(&run, chart).is_err() && open(&run, adapter).is_err());
        fs::remove_file(run.join(chart.name)).unwrap();
        fs::create_dir(run.join(chart.name)).unwrap();
        assert!(open(&run, chart).is_err());
        fs::remove_dir(run.join(chart.name)).unwrap();
        fs::write(run.join(chart.name), "png").unwrap();
        assert!(open(&run, chart).is_ok());
    }
}
