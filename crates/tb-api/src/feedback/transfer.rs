//! Feedback out of files and into files: rows by themselves, whatever came of them in this home. Training data is made of feedback
//! in `preferences`.

mod rows;
mod seen;

use std::path::PathBuf;

use tb_core::{ApiError, ErrorCode, feedback::Feedback, ids::FeedbackId};
use tb_data::{
    feedback_file::FeedbackFormat,
    files::NewFile,
    import::{self, feedback::Defaults},
};
use tb_db::Page;

use super::types::{ExportFeedback, ExportedFeedback, ImportFeedback, ImportedFeedback};
use crate::{Ctx, ctx::blocking, found};

/// Rows of a page of an export: as many as have come to about this many bytes so far.
const PAGE_BYTES: usize = 16 << 20;
/// Rows of the first page, before anything is known of their size.
const FIRST_PAGE: u32 = 16;
/// Rows of a page at most.
const LARGEST_PAGE: u32 = 1000;

/// Reads a file in pieces of some hundred rows, each stored in one transaction. Stopped at any moment, it has stored whole pieces, and
/// the same import again goes on: what is stored already is known.
pub(crate) async fn import(ctx: &Ctx, args: ImportFeedback) -> Result<ImportedFeedback, ApiError> {
    if let Some(id) = &args.model_id {
        found::model(ctx.db(), id).await?;
    }
    let defaults = Defaults { model_id: args.model_id, transformation_type: args.transformation_type };
    let (path, mut pieces, reading) = rows::read(args.path, defaults);
    let mut storing = rows::Storing::new(ctx, if args.dry_run { rows::Mode::Look } else { rows::Mode::Store });
    while let Some(piece) = pieces.recv().await {
        if let Err(error) = storing.take(piece).await {
            return Err(storing.cut_off(&path, error));
        }
    }
    match reading.await {
        Ok(()) => storing.done(),
        Err(error) => Err(storing.cut_off(&path, error)),
    }
}

/// Writes rows newest first, a page at a time. A row that is stored meanwhile stands before the first page and is left out, unless it
/// tells of an earlier time; a row that is withdrawn meanwhile is written as it was when its page was read.
pub(crate) async fn export(ctx: &Ctx, args: ExportFeedback) -> Result<ExportedFeedback, ApiError> {
    let format = format_of(&args.path)?;
    let filter = super::filter(ctx, args.selection)?;
    // The folder that the pages propose is made; others are the user's to make. What stands in its way, creating the file tells.
    let (path, proposed) = (args.path.clone(), ctx.home().join("exports"));
    let mut file = blocking(move || {
        if path.parent() == Some(&proposed) {
            std::fs::create_dir_all(&proposed).ok();
        }
        let mut file = NewFile::create(&path).map_err(nothing_written)?;
        file.write(format.head().as_bytes())?;
        Ok(file)
    })
    .await?;
    let (mut rows, mut bytes) = (0_u64, 0_usize);
    let mut page: Page<FeedbackId> = Page::first(FIRST_PAGE);
    loop {
        let batch = tb_db::feedback::list(ctx.db(), &filter, &page).await?;
        let Some(last) = batch.last().map(|row| row.id.clone()) else { break };
        rows += batch.len() as u64;
        let is_last = (batch.len() as u64) < u64::from(page.limit);
        let written;
        (file, written) = blocking(move || write(file, format, &batch)).await?;
        bytes += written;
        if is_last {
            break;
        }
        page = Page::after(last, page_size(rows, bytes));
    }
    blocking(move || file.finish().map_err(nothing_written)).await?;
    Ok(ExportedFeedback { path: args.path, rows })
}

/// Rows for the next page, by the mean size of those that were written.
fn page_size(rows: u64, bytes: usize) -> u32 {
    let each = (bytes as u64 / rows.max(1)).max(1);
    u32::try_from(PAGE_BYTES as u64 / each).unwrap_or(LARGEST_PAGE).clamp(1, LARGEST_PAGE)
}

fn write(mut file: NewFile, format: FeedbackFormat, batch: &[Feedback]) -> Result<(NewFile, usize), ApiError> {
    let mut text = String::new();
    for row in batch {
        format
            .row(row, &mut text)
            .map_err(|e| ApiError::new(ErrorCode::Internal, format!("{} cannot be written: {e}.", row.id)))?;
    }
    file.write(text.as_bytes())?;
    Ok((file, text.len()))
}

fn format_of(path: &std::path::Path) -> Result<FeedbackFormat, ApiError> {
    import::format_of(path).ok().and_then(FeedbackFormat::of).ok_or_else(|| {
        ApiError::new(
            ErrorCode::InvalidArgument,
            format!("Nothing was written: {} ends in neither .jsonl nor .csv.", path.display()),
        )
    })
}

fn nothing_written(error: tb_data::Error) -> ApiError {
    let error = ApiError::from(error);
    let hint = match error.code {
        ErrorCode::Conflict => "Name a file that does not exist yet.",
        ErrorCode::NotFound => "Make the folder first, or choose one that exists.",
        _ => "",
    };
    ApiError::new(error.code, format!("Nothing was written: {}", error.message)).hint(hint)
}

/// Where the problems of imports are listed.
fn problems_folder(ctx: &Ctx) -> PathBuf {
    ctx.home().join("feedback-imports")
}

#[cfg(test)]
mod tests;
