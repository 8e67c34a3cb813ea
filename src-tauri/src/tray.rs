//! The icon in the tray: the running job with percent and time left, and a way back to the window.

use std::sync::{Mutex, PoisonError};

use tauri::{
    AppHandle, Manager, Wry,
    menu::{MenuBuilder, MenuItem},
    tray::TrayIconBuilder,
};

use crate::{
    close,
    jobs::{LiveJobs, UnderWay, eta_s},
    preferences::Preferences,
    window,
    words::{Language, fill},
};

const ICON: &str = "tray";
const SHOW: &str = "tray.show";
const QUIT: &str = "tray.quit";

/// The parts of the tray that change.
struct Parts {
    status: MenuItem<Wry>,
    show: MenuItem<Wry>,
    quit: MenuItem<Wry>,
    said: Mutex<Said>,
}

/// What the tray says: the line of its menu, and the short text beside its icon where there is room for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    line: String,
    beside: String,
    language: Option<Language>,
}

/// Puts the icon into the tray if the system can show one.
pub fn create_when_possible(app: &AppHandle) {
    if !can_be_made() {
        tracing::info!("no tray: libayatana-appindicator3 is not installed");
        return;
    }
    if let Err(error) = create(app) {
        tracing::warn!("no tray: {error}");
    }
    refresh(app);
}

fn create(app: &AppHandle) -> tauri::Result<()> {
    let words = app.state::<Preferences>().language().words();
    let status = MenuItem::new(app, words.nothing_runs, false, None::<&str>)?;
    let show = MenuItem::with_id(app, SHOW, words.show, true, None::<&str>)?;
    let quit = MenuItem::with_id(app, QUIT, words.quit, true, None::<&str>)?;
    let menu = MenuBuilder::new(app).item(&status).separator().item(&show).item(&quit).build()?;
    TrayIconBuilder::with_id(ICON).icon(tauri::include_image!("../icons/tray.png")).menu(&menu).build(app)?;
    app.manage(Parts { status, show, quit, said: Mutex::default() });
    Ok(())
}

/// Whether the user can see the icon now: a hidden window must have a way back.
pub fn is_visible(app: &AppHandle) -> bool {
    app.tray_by_id(ICON).is_some() && is_shown_by_desktop()
}

/// Does what an item of the tray's menu stands for; false if it is none of them.
pub fn on_event(app: &AppHandle, id: &str) -> bool {
    match id {
        SHOW => window::show(app),
        QUIT => close::quit(app),
        _ => return false,
    }
    true
}

/// Says what is under way now, if that is not said yet.
pub fn refresh(app: &AppHandle) {
    let Some(parts) = app.try_state::<Parts>() else { return };
    let language = app.state::<Preferences>().language();
    let said = say(language, &app.state::<LiveJobs>().under_way());
    {
        let mut before = parts.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *before == said {
            return;
        }
        before.clone_from(&said);
    }
    let words = language.words();
    let changed = [
        parts.status.set_text(&said.line),
        parts.show.set_text(words.show),
        parts.quit.set_text(words.quit),
        app.tray_by_id(ICON).map_or(Ok(()), |icon| icon.set_title(Some(&said.beside))),
        app.tray_by_id(ICON).map_or(Ok(()), |icon| icon.set_tooltip(Some(&said.line))),
    ];
    for error in changed.into_iter().filter_map(Result::err) {
        tracing::warn!("the tray cannot be changed: {error}");
    }
}

fn say(language: Language, under_way: &UnderWay) -> Said {
    let words = language.words();
    let language = Some(language);
    let Some(job) = under_way.running.first() else {
        return Said { line: words.nothing_runs.into(), beside: String::new(), language };
    };
    let percent = (job.progress * 100.0).floor().to_string();
    let line = match eta_s(job).zip(language) {
        Some((eta, language)) => fill(
            words.running_with_eta,
            &[("name", &job.name), ("percent", &percent), ("eta", &language.duration(eta))],
        ),
        None => fill(words.running, &[("name", &job.name), ("percent", &percent)]),
    };
    let others = under_way.running.len() - 1 + under_way.waiting;
    let line = match others {
        0 => line,
        count => fill(words.and_more, &[("line", &line), ("count", &count.to_string())]),
    };
    Said { line, beside: format!("{percent} %"), language }
}

/// Linux shows tray icons through a library that may be missing, and whose absence would end the program.
#[cfg(target_os = "linux")]
fn can_be_made() -> bool {
    ["libayatana-appindicator3.so.1", "libappindicator3.so.1"].iter().any(|name| {
        // SAFETY: the tray icon loads the same library by the same name anyway; loading runs only its initialisers.
        unsafe { libloading::Library::new(name) }.is_ok()
    })
}

#[cfg(not(target_os = "linux"))]
fn can_be_made() -> bool {
    true
}

/// Linux's desktops show tray icons only while this service has an owner; without one the icon is nowhere.
#[cfg(target_os = "linux")]
fn is_shown_by_desktop() -> bool {
    let asked = || -> zbus::Result<bool> {
        let bus = zbus::blocking::Connection::session()?;
        let names = zbus::blocking::fdo::DBusProxy::new(&bus)?;
        Ok(names.name_has_owner("org.kde.StatusNotifierWatcher".try_into()?)?)
    };
    asked().unwrap_or(false)
}

#[cfg(not(target_os = "linux"))]
fn is_shown_by_desktop() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use tb_core::job::JobStatus;

    use super::*;
    use crate::jobs::tests::job;

    #[test]
    fn the_running_job_is_named_with_percent_and_time_left() {
        let mut first = job(1, JobStatus::Running, 1);
        let mut under_way = UnderWay { running: vec![first.clone()], waiting: 0 };
        assert_eq!(say(Language::En, &under_way).line, "polite-1: 42 %");
        first.metrics.insert("eta_s".into(), 766.0.into());
        under_way = UnderWay { running: vec![first, job(2, JobStatus::Running, 1)], waiting: 2 };
        let said = say(Language::En, &under_way);
        assert_eq!(said.line, "polite-1: 42 %, 13 min left (and 3 more)");
        assert_eq!(said.beside, "42 %");
        assert_eq!(say(Language::Ja, &under_way).line, "polite-1: 42 %、残り 13分（ほか 3 件）");
    }

    #[test]
    fn with_nothing_running_it_says_so() {
        let said = say(Language::En, &UnderWay { running: Vec::new(), waiting: 1 });
        assert_eq!((said.line.as_str(), said.beside.as_str()), ("Nothing runs", ""));
    }
}
