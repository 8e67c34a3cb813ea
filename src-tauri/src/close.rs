//! What closing and quitting do while work is under way: the work goes on in any case, and the user is told so.
//!
//! Closing the window hides it when the tray shows a way back, so that waiting runs start and ends are told. Without a tray
//! it quits: running workers need no host, and the next start finds them. Quitting with work under way asks first, until the
//! user says that it need not.

use tauri::{AppHandle, CloseRequestApi, Manager, Window};
use tauri_plugin_dialog::{DialogExt, MessageDialogButtons, MessageDialogKind, MessageDialogResult};
use tb_core::job::Job;

use crate::{
    jobs::{LiveJobs, UnderWay},
    notices,
    preferences::Preferences,
    tray, window,
    words::{Words, fill},
};

/// What to do about a wish to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// End the program.
    Quit,
    /// Ask, then end the program.
    Ask,
    /// Hide the window; the program goes on in the tray.
    Hide,
}

fn on_close(busy: bool, tray_is_visible: impl FnOnce() -> bool, ask: bool) -> Answer {
    if busy && tray_is_visible() { Answer::Hide } else { on_quit(busy, ask) }
}

fn on_quit(busy: bool, ask: bool) -> Answer {
    if busy && ask { Answer::Ask } else { Answer::Quit }
}

/// Answers the window's close button.
pub fn requested(window: &Window, api: &CloseRequestApi) {
    let app = window.app_handle();
    let under_way = app.state::<LiveJobs>().under_way();
    let ask = app.state::<Preferences>().get().ask_before_quit;
    match on_close(is_busy(&under_way), || tray::is_visible(app), ask) {
        // The last window's end is the program's.
        Answer::Quit => {}
        Answer::Ask => {
            api.prevent_close();
            ask_and_quit(app, &under_way);
        }
        Answer::Hide => {
            api.prevent_close();
            match (window.hide(), under_way.running.first()) {
                (Ok(()), Some(job)) => notices::is_in_tray(app, job),
                (Ok(()), None) => {}
                (Err(error), _) => tracing::warn!("the window cannot be hidden: {error}"),
            }
        }
    }
}

/// Ends the program, asking first if work is under way.
pub fn quit(app: &AppHandle) {
    let under_way = app.state::<LiveJobs>().under_way();
    match on_quit(is_busy(&under_way), app.state::<Preferences>().get().ask_before_quit) {
        Answer::Quit | Answer::Hide => app.exit(0),
        Answer::Ask => {
            window::show(app);
            ask_and_quit(app, &under_way);
        }
    }
}

fn is_busy(under_way: &UnderWay) -> bool {
    !under_way.running.is_empty() || under_way.waiting > 0
}

fn ask_and_quit(app: &AppHandle, under_way: &UnderWay) {
    let words = app.state::<Preferences>().language().words();
    let mut dialog =
        app.dialog().message(question(words, under_way)).title(words.quit_title).kind(MessageDialogKind::Info).buttons(
            MessageDialogButtons::YesNoCancelCustom(
                words.quit.into(),
                words.quit_and_do_not_ask.into(),
                words.stay.into(),
            ),
        );
    if let Some(main) = window::main(app) {
        dialog = dialog.parent(&main);
    }
    let app = app.clone();
    dialog.show_with_result(move |answer| match answer {
        MessageDialogResult::Yes => app.exit(0),
        MessageDialogResult::Custom(button) if button == words.quit => app.exit(0),
        MessageDialogResult::Custom(button) if button == words.quit_and_do_not_ask => {
            app.state::<Preferences>().change(|saved| saved.ask_before_quit = false);
            app.exit(0);
        }
        MessageDialogResult::Custom(_)
        | MessageDialogResult::No
        | MessageDialogResult::Ok
        | MessageDialogResult::Cancel => {}
    });
}

fn question(words: &Words, under_way: &UnderWay) -> String {
    let running = under_way.running.iter().map(|job: &Job| fill(words.quit_running, &[("name", &job.name)]));
    let waiting =
        (under_way.waiting > 0).then(|| fill(words.quit_waiting, &[("count", &under_way.waiting.to_string())]));
    running.chain(waiting).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use tb_core::job::JobStatus;

    use super::*;
    use crate::{jobs::tests::job, words::Language};

    #[test]
    fn work_is_never_hidden_without_a_way_back() {
        assert_eq!(on_close(false, || panic!("nobody needs to know"), true), Answer::Quit);
        assert_eq!(on_close(true, || true, true), Answer::Hide);
        assert_eq!(on_close(true, || false, true), Answer::Ask);
        assert_eq!(on_close(true, || false, false), Answer::Quit);
        assert_eq!(on_quit(true, true), Answer::Ask);
        assert_eq!(on_quit(true, false), Answer::Quit);
        assert_eq!(on_quit(false, true), Answer::Quit);
    }

    #[test]
    fn the_question_names_what_goes_on_and_what_waits() {
        let under_way = UnderWay { running: vec![job(1, JobStatus::Running, 1)], waiting: 2 };
        assert_eq!(
            question(Language::En.words(), &under_way),
            "polite-1 goes on by itself. Open ToneBridge again to see it.\n\
             Waiting runs (2) start when ToneBridge is open again."
        );
    }
}
