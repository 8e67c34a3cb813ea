//! `tonebridge model download`: the stream `model_download` as a bar of bytes, or one object at the end for programs.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tb_api::{Ctx, DownloadItem, DownloadedModel, OfferedFile, streams};
use tb_core::{ApiError, ErrorCode};

use crate::output::{Output, duration, table};

/// Between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(15);

/// Downloads, and says where the model is.
pub async fn run(ctx: &Ctx, arguments: Value, output: &Output) -> Result<(), ApiError> {
    let model = follow(ctx, arguments, output).await?;
    let object = json!(model);
    let text = format!(
        "{}\n{} of {} at commit {}\nTrain from it: tonebridge train --model {} …",
        model.path.display(),
        size(model.size_bytes),
        model.repo,
        model.commit,
        model.path.display(),
    );
    output.result(&object, &text);
    Ok(())
}

async fn follow(ctx: &Ctx, arguments: Value, output: &Output) -> Result<DownloadedModel, ApiError> {
    let mut items = streams::dispatch_stream(ctx, "model_download", arguments).await?;
    let mut shown = Shown::new(output);
    while let Some(item) = items.next().await {
        let item: DownloadItem = serde_json::from_value(item?)
            .map_err(|e| ApiError::new(ErrorCode::Internal, format!("An item cannot be read: {e}.")))?;
        match item {
            DownloadItem::Progress { file, done_bytes, total_bytes, bytes_per_s, .. } => {
                shown.progress(&file, done_bytes, total_bytes, bytes_per_s);
            }
            DownloadItem::Choice { files } => return Err(choice(&files, output)),
            DownloadItem::Done { model } => return Ok(model),
        }
    }
    Err(ApiError::new(ErrorCode::Internal, "The download ended without a result."))
}

fn choice(files: &[OfferedFile], output: &Output) -> ApiError {
    let rows: Vec<Vec<String>> = files.iter().map(|f| vec![f.name.clone(), size(f.size_bytes)]).collect();
    output.say(&table(&["file", "size"], &rows));
    let first = files.first().map_or("", |f| &f.name);
    ApiError::new(ErrorCode::InvalidArgument, "Nothing was downloaded: the repository holds several GGUF files.")
        .hint(format!("Name the one that you want: --file {first}"))
}

/// A bar in a terminal, a line now and then elsewhere; gone when it is dropped.
struct Shown<'a> {
    output: &'a Output,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl<'a> Shown<'a> {
    fn new(output: &'a Output) -> Self {
        let bar = output.is_live().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{bar:32.cyan/white.dim} {percent:>3} % {msg}") {
                bar.set_style(style.progress_chars("━━─"));
            }
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { output, bar, last_line: Instant::now() }
    }

    fn progress(&mut self, file: &str, done_bytes: u64, total_bytes: u64, bytes_per_s: Option<f64>) {
        let pace = bytes_per_s.filter(|pace| *pace > 0.0).map_or_else(String::new, |pace| {
            let left = total_bytes.saturating_sub(done_bytes) as f64 / pace;
            format!("  {}/s  {} left", size(pace as u64), duration(left))
        });
        let text = format!("{} of {}{pace}  {file}", size(done_bytes), size(total_bytes));
        if let Some(bar) = &self.bar {
            bar.set_length(total_bytes);
            bar.set_position(done_bytes);
            bar.set_message(text);
        } else if self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            self.output.say(&format!("downloading: {text}"));
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Bytes in decimal units, as hubs count them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
