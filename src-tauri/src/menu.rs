//! The native menu. An item either belongs to the page, and sends its action's id there as an `action` event, or to the window.

use tauri::{
    AppHandle, Emitter, Manager, Wry,
    menu::{AboutMetadataBuilder, Menu, MenuEvent, MenuItem, PredefinedMenuItem, Submenu},
};

use crate::{
    close, core,
    preferences::Preferences,
    tray,
    window::{self, Edit, Zoom},
    words::Words,
};

/// The event that carries an action's id to the page.
pub const EVENT: &str = "action";

/// One line of a menu.
enum Line {
    /// An action of the page's registry (ui/src/lib/actions), with the keys that the menu takes before the page does.
    Action(&'static str, fn(&Words) -> &'static str, Option<&'static str>),
    /// Something the window does itself.
    Own(Own, fn(&Words) -> &'static str, Option<&'static str>),
    /// The system's dialog about the program.
    About,
    Separator,
}

/// What the window does itself, with the id of its item.
macro_rules! own {
    ($($variant:ident = $id:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Own { $($variant),+ }

        impl Own {
            const ALL: &[Self] = &[$(Self::$variant),+];

            fn id(self) -> &'static str {
                match self { $(Self::$variant => $id),+ }
            }
        }
    };
}

own! {
    Close = "window.close",
    Quit = "window.quit",
    Undo = "window.undo",
    Redo = "window.redo",
    Cut = "window.cut",
    Copy = "window.copy",
    Paste = "window.paste",
    SelectAll = "window.select_all",
    ZoomIn = "window.zoom_in",
    ZoomOut = "window.zoom_out",
    ZoomReset = "window.zoom_reset",
    FullScreen = "window.full_screen",
    Reload = "window.reload",
    HomeFolder = "window.home_folder",
}

use Line::{About, Action, Own as Ours, Separator};

const FILE: &[Line] = &[
    Action("dataset.import", |w| w.import_data, None),
    Action("run.new", |w| w.new_run, None),
    Action("sample.start", |w| w.try_sample, None),
    Separator,
    Action("go.settings", |w| w.settings, None),
    Separator,
    Ours(Own::Close, |w| w.close_window, Some("CmdOrCtrl+W")),
    Ours(Own::Quit, |w| w.quit, Some("CmdOrCtrl+Q")),
];

// No keys here: the page gets them itself, in its text fields and outside.
const EDIT: &[Line] = &[
    Ours(Own::Undo, |w| w.undo, None),
    Ours(Own::Redo, |w| w.redo, None),
    Separator,
    Ours(Own::Cut, |w| w.cut, None),
    Ours(Own::Copy, |w| w.copy, None),
    Ours(Own::Paste, |w| w.paste, None),
    Separator,
    Ours(Own::SelectAll, |w| w.select_all, None),
];

const VIEW: &[Line] = &[
    Action("palette.open", |w| w.palette, Some("CmdOrCtrl+K")),
    Action("view.sidebar", |w| w.sidebar, Some("CmdOrCtrl+B")),
    Separator,
    Ours(Own::ZoomIn, |w| w.zoom_in, Some("CmdOrCtrl+=")),
    Ours(Own::ZoomOut, |w| w.zoom_out, Some("CmdOrCtrl+-")),
    Ours(Own::ZoomReset, |w| w.zoom_reset, Some("CmdOrCtrl+0")),
    Separator,
    Ours(Own::FullScreen, |w| w.full_screen, Some("F11")),
    Ours(Own::Reload, |w| w.reload, Some("CmdOrCtrl+R")),
];

const GO: &[Line] = &[
    Action("go.home", |w| w.home, None),
    Separator,
    Action("go.datasets", |w| w.datasets, None),
    Action("go.runs", |w| w.runs, None),
    Action("go.base_models", |w| w.base_models, None),
    Separator,
    Action("go.models", |w| w.models, None),
    Action("go.playground", |w| w.playground, None),
];

const HELP: &[Line] =
    &[Action("sheet.open", |w| w.shortcuts, None), Ours(Own::HomeFolder, |w| w.home_folder, None), Separator, About];

/// A menu's title and its lines.
type Part = (fn(&Words) -> &'static str, &'static [Line]);

const PARTS: &[Part] =
    &[(|w| w.file, FILE), (|w| w.edit, EDIT), (|w| w.view, VIEW), (|w| w.go, GO), (|w| w.help, HELP)];

/// The menu in the language of the page.
///
/// # Errors
/// What the system refuses.
pub fn build(app: &AppHandle) -> tauri::Result<Menu<Wry>> {
    let words = app.state::<Preferences>().language().words();
    let menu = Menu::new(app)?;
    for (title, lines) in PARTS {
        let part = Submenu::new(app, title(words), true)?;
        for line in *lines {
            match line {
                Action(id, text, keys) => part.append(&MenuItem::with_id(app, *id, text(words), true, *keys)?)?,
                Ours(own, text, keys) => part.append(&MenuItem::with_id(app, own.id(), text(words), true, *keys)?)?,
                About => part.append(&about(app, words)?)?,
                Separator => part.append(&PredefinedMenuItem::separator(app)?)?,
            }
        }
        menu.append(&part)?;
    }
    Ok(menu)
}

fn about(app: &AppHandle, words: &Words) -> tauri::Result<PredefinedMenuItem<Wry>> {
    let facts = AboutMetadataBuilder::new()
        .name(Some("ToneBridge Workbench"))
        .version(Some(env!("CARGO_PKG_VERSION")))
        .license(Some(env!("CARGO_PKG_LICENSE")))
        .icon(app.default_window_icon().cloned())
        .build();
    PredefinedMenuItem::about(app, Some(words.about), Some(facts))
}

/// Does what an item of the menu or of the tray stands for.
pub fn on_event(app: &AppHandle, event: MenuEvent) {
    let id = event.id().as_ref();
    if tray::on_event(app, id) {
        return;
    }
    match Own::ALL.iter().find(|own| own.id() == id) {
        Some(own) => run(app, *own),
        // Everything else is the page's. Without a page there is nothing that could run it.
        None => {
            let _ = app.emit(EVENT, id);
        }
    }
}

fn run(app: &AppHandle, own: Own) {
    match own {
        Own::Close => window::close(app),
        Own::Quit => close::quit(app),
        Own::Undo => window::edit(app, Edit::Undo),
        Own::Redo => window::edit(app, Edit::Redo),
        Own::Cut => window::edit(app, Edit::Cut),
        Own::Copy => window::edit(app, Edit::Copy),
        Own::Paste => window::edit(app, Edit::Paste),
        Own::SelectAll => window::edit(app, Edit::SelectAll),
        Own::ZoomIn => window::zoom(app, Zoom::In),
        Own::ZoomOut => window::zoom(app, Zoom::Out),
        Own::ZoomReset => window::zoom(app, Zoom::Reset),
        Own::FullScreen => window::toggle_full_screen(app),
        Own::Reload => window::reload(app),
        Own::HomeFolder => {
            if let Ok(home) = core::home_folder()
                && let Err(error) = tauri_plugin_opener::open_path(home, None::<&str>)
            {
                tracing::warn!("the data folder cannot be shown: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<&'static str> {
        PARTS
            .iter()
            .flat_map(|(_, lines)| lines.iter())
            .filter_map(|line| match line {
                Action(id, _, _) => Some(*id),
                Ours(own, _, _) => Some(own.id()),
                About | Separator => None,
            })
            .collect()
    }

    #[test]
    fn every_item_stands_once_and_everything_the_window_does_has_one() {
        let ids = ids();
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id), "{id} twice");
        }
        for own in Own::ALL {
            assert!(ids.contains(&own.id()), "{} is in no menu", own.id());
        }
    }

    /// The entries of the page's registry, each a line `{ id: "…", …, keys: "…" }`.
    fn registered() -> String {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/src/lib/actions");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn the_page_knows_every_action_of_the_menu_and_by_the_same_keys() {
        let registered = registered();
        for (_, lines) in PARTS {
            for line in *lines {
                let Action(id, _, keys) = line else { continue };
                let entry = registered.lines().find(|line| line.contains(&format!("id: \"{id}\"")));
                let entry = entry.unwrap_or_else(|| panic!("the page has no action {id}"));
                if let Some(keys) = keys {
                    let keys = keys.to_lowercase().replace("cmdorctrl", "mod");
                    assert!(entry.contains(&format!("keys: \"{keys}\"")), "{id} has other keys: {entry}");
                }
            }
        }
    }
}
