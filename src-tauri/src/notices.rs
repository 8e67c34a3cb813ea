//! Notifications of the desktop: a job's end, and that a run goes on behind a hidden window. A click brings the window forward.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tauri::{AppHandle, Manager};
use tauri_plugin_notification::NotificationExt;
use tb_core::job::{Job, JobKind, JobStatus};

use crate::{
    preferences::Preferences,
    window,
    words::{Language, fill},
};

/// The entry of a notification's extra data that names the page to show.
const PAGE: &str = "page";

/// A notification's text.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    title: String,
    body: String,
}

/// Tells the user that a job ended, unless they look at the window anyway.
pub fn job_ended(app: &AppHandle, job: &Job) {
    let Some(text) = text_of_end(app.state::<Preferences>().language(), job) else { return };
    if !window::is_looked_at(app) {
        show(app, &text, &page_of(job));
    }
}

/// Tells, once per start of the program, that it stays in the tray.
pub fn is_in_tray(app: &AppHandle, job: &Job) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        let words = app.state::<Preferences>().language().words();
        let text = Text { title: words.in_tray_title.into(), body: fill(words.in_tray, &[("name", &job.name)]) };
        show(app, &text, &page_of(job));
    }
}

/// From now on a click on a notification shows the window on the page that it is about.
pub fn show_on_click(app: &AppHandle) {
    let handle = app.clone();
    let registered = app.notification().on_action(move |action| {
        let page = action.notification().and_then(|n| n.extra().get(PAGE)).and_then(Value::as_str);
        window::show_page(&handle, page.unwrap_or("/"));
    });
    if let Err(error) = registered {
        tracing::warn!("clicks on notifications are not heard: {error}");
    }
}

fn show(app: &AppHandle, text: &Text, page: &str) {
    let shown = app.notification().builder().title(&text.title).body(escaped(&text.body)).extra(PAGE, page).show();
    if let Err(error) = shown {
        tracing::warn!("a notification cannot be shown: {error}");
    }
}

/// The page that is about a job; an evaluation has none of its own.
fn page_of(job: &Job) -> String {
    match job.kind {
        JobKind::Train => format!("/runs/{}", job.id),
        JobKind::Evaluate => job.model_id.as_ref().map_or_else(|| "/".to_owned(), |id| format!("/models/{id}")),
    }
}

/// None for an end that the user brought about.
fn text_of_end(language: Language, job: &Job) -> Option<Text> {
    let words = language.words();
    let title = match job.status {
        JobStatus::Completed => words.run_completed,
        JobStatus::Failed => words.run_failed,
        JobStatus::Interrupted => words.run_interrupted,
        JobStatus::Pending | JobStatus::Running | JobStatus::Paused | JobStatus::Stopped => return None,
    };
    let took = job
        .started_at_ms
        .zip(job.completed_at_ms)
        .map(|(start, end)| fill(words.took, &[("duration", &language.duration((end - start) as f64 / 1000.0))]));
    let body = job.error_message.clone().or(took).unwrap_or_default();
    Some(Text { title: fill(title, &[("name", &job.name)]), body })
}

/// Bodies may hold markup on Linux's desktops; a path or a message is none.
fn escaped(body: &str) -> String {
    if cfg!(target_os = "linux") {
        body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    } else {
        body.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::tests::job;

    #[test]
    fn ends_that_the_user_did_not_bring_about_are_told() {
        let mut done = job(1, JobStatus::Completed, 1);
        (done.started_at_ms, done.completed_at_ms) = (Some(1_000), Some(121_000));
        assert_eq!(
            text_of_end(Language::En, &done),
            Some(Text { title: "polite-1 is done".into(), body: "It took 2 min.".into() })
        );
        let mut failed = job(2, JobStatus::Failed, 1);
        failed.error_message = Some("The GPU ran out of memory at step 412.".into());
        let told = text_of_end(Language::Ja, &failed).unwrap();
        assert_eq!(told.title, "polite-2 が失敗しました");
        assert_eq!(told.body, "The GPU ran out of memory at step 412.");
        assert!(text_of_end(Language::En, &job(3, JobStatus::Interrupted, 1)).is_some());
        for quiet in [JobStatus::Pending, JobStatus::Running, JobStatus::Paused, JobStatus::Stopped] {
            assert_eq!(text_of_end(Language::En, &job(4, quiet, 1)), None, "{quiet}");
        }
    }

    #[test]
    fn a_click_leads_to_the_run() {
        let ended = job(7, JobStatus::Completed, 1);
        assert_eq!(page_of(&ended), format!("/runs/{}", ended.id));
    }
}
