//! The one window: made, found, shown, zoomed, and kept on its own pages.

use std::sync::Once;

use tauri::{
    AppHandle, Emitter, Manager, Theme, Url, Webview, WebviewUrl, WebviewWindow, WebviewWindowBuilder, Wry,
    plugin::TauriPlugin,
    webview::{NewWindowResponse, PageLoadEvent, PageLoadPayload},
};
use tauri_plugin_window_state::StateFlags;

use crate::{appearance::background, core, elapsed_ms, page_tasks::PageTasks, preferences::Preferences};

/// The window's label.
const MAIN: &str = "main";

/// The event that asks the page to go to a path.
const OPEN_EVENT: &str = "open";

/// Whether the system can show a window.
pub fn has_display() -> bool {
    let named = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || named("DISPLAY") || named("WAYLAND_DISPLAY")
}

/// A second start of the program on the same home folder shows the window of the first and ends.
pub fn single_instance() -> TauriPlugin<Wry> {
    let mut builder = tauri_plugin_single_instance::Builder::new().callback(|app, _, _| show(app));
    if let Some(id) = bus_name() {
        builder = builder.dbus_id(id);
    }
    builder.build()
}

/// Another home folder is another workbench, so it has a name of its own; none for the usual one.
fn bus_name() -> Option<String> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let (home, usual) = (core::home_folder().ok()?, tb_api::home::folder(None).ok()?);
    let mut hasher = DefaultHasher::new();
    home.hash(&mut hasher);
    (home != usual).then(|| format!("org.tonebridge.workbench.home_{:016x}", hasher.finish()))
}

/// Place and size as at the last end; whether it was hidden is not remembered.
pub fn remembered_state() -> TauriPlugin<Wry> {
    let flags = StateFlags::SIZE | StateFlags::POSITION | StateFlags::MAXIMIZED | StateFlags::FULLSCREEN;
    tauri_plugin_window_state::Builder::new().with_state_flags(flags).build()
}

/// Makes the window and shows it at once; the page fills it when it has loaded.
///
/// # Errors
/// What the system refuses.
pub fn create(app: &AppHandle) -> tauri::Result<()> {
    let saved = app.state::<Preferences>().get();
    app.set_theme(saved.theme.forced());
    let opener = app.clone();
    // Hidden until the remembered place and size are set, so that it does not jump.
    let window = WebviewWindowBuilder::new(app, MAIN, WebviewUrl::default())
        .title("ToneBridge")
        .inner_size(1440.0, 900.0)
        .min_inner_size(900.0, 600.0)
        .visible(false)
        .background_color(background(saved.theme.forced().unwrap_or(Theme::Light)))
        .on_navigation(is_ours)
        .on_new_window(move |url, _| {
            open_outside(&opener, &url);
            NewWindowResponse::Deny
        })
        .build()?;
    window.set_background_color(Some(background(window.theme()?)))?;
    if saved.zoom != 1.0 {
        window.set_zoom(saved.zoom)?;
    }
    window.show()?;
    tracing::info!("window shown after {} ms", elapsed_ms());
    Ok(())
}

/// The page may only show what is embedded in the program (or what the development server gives).
fn is_ours(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "tauri" => host == "localhost",
        "http" | "https" => host == "tauri.localhost" || (cfg!(dev) && host == "localhost"),
        other => other == "about" && url.path() == "blank",
    }
}

/// A link that leaves the program opens in the user's browser, and only if it is one for a browser.
fn open_outside(app: &AppHandle, url: &Url) {
    use tauri_plugin_opener::OpenerExt;
    if matches!(url.scheme(), "http" | "https")
        && let Err(error) = app.opener().open_url(url.as_str(), None::<&str>)
    {
        tracing::warn!("a link cannot be opened: {error}");
    }
}

/// Ends what ran for the page that is left; the new one starts its own.
pub fn on_page_load(webview: &Webview, payload: &PageLoadPayload<'_>) {
    match payload.event() {
        PageLoadEvent::Started => webview.state::<PageTasks>().stop_all(webview.label()),
        PageLoadEvent::Finished => {
            static FIRST: Once = Once::new();
            FIRST.call_once(|| tracing::info!("page loaded after {} ms", elapsed_ms()));
        }
    }
}

/// The window, unless it is closed.
pub fn main(app: &AppHandle) -> Option<WebviewWindow> {
    app.get_webview_window(MAIN)
}

/// Does something to the window; a system that refuses costs that only, and is logged.
fn with_main(app: &AppHandle, what: &str, act: impl FnOnce(&WebviewWindow) -> tauri::Result<()>) {
    if let Some(window) = main(app)
        && let Err(error) = act(&window)
    {
        tracing::warn!("the window cannot {what}: {error}");
    }
}

/// Brings the window forward from wherever it is.
pub fn show(app: &AppHandle) {
    with_main(app, "be shown", |window| {
        window.unminimize()?;
        window.show()?;
        window.set_focus()
    });
}

/// Brings the window forward and asks the page to go to `path`.
pub fn show_page(app: &AppHandle, path: &str) {
    show(app);
    with_main(app, "change its page", |window| window.emit(OPEN_EVENT, path));
}

/// Whether the user has the window before them.
pub fn is_looked_at(app: &AppHandle) -> bool {
    main(app).is_some_and(|window| window.is_visible().unwrap_or(false) && window.is_focused().unwrap_or(false))
}

/// As the close button.
pub fn close(app: &AppHandle) {
    with_main(app, "be closed", WebviewWindow::close);
}

/// Loads the page anew.
pub fn reload(app: &AppHandle) {
    with_main(app, "be reloaded", WebviewWindow::reload);
}

/// Full screen and back.
pub fn toggle_full_screen(app: &AppHandle) {
    with_main(app, "fill the screen", |window| window.set_fullscreen(!window.is_fullscreen()?));
}

/// A change of the page's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zoom {
    /// Larger.
    In,
    /// Smaller.
    Out,
    /// 100 %.
    Reset,
}

/// Sizes of the page, as browsers have them.
const ZOOMS: [f64; 11] = [0.5, 0.67, 0.75, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0];

/// Makes the page larger or smaller, and remembers it.
pub fn zoom(app: &AppHandle, change: Zoom) {
    let preferences = app.state::<Preferences>();
    let next = zoomed(preferences.get().zoom, change);
    preferences.change(|saved| saved.zoom = next);
    with_main(app, "zoom", |window| window.set_zoom(next));
}

fn zoomed(now: f64, change: Zoom) -> f64 {
    const NEAR: f64 = 1e-6;
    match change {
        Zoom::In => ZOOMS.iter().find(|z| **z > now + NEAR).copied().unwrap_or(now),
        Zoom::Out => ZOOMS.iter().rfind(|z| **z < now - NEAR).copied().unwrap_or(now),
        Zoom::Reset => 1.0,
    }
}

/// An editing command of the menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Undo,
    Redo,
    Cut,
    Copy,
    Paste,
    SelectAll,
}

/// Does it to the text field or the selection of the page.
pub fn edit(app: &AppHandle, command: Edit) {
    // The names of WebKitGTK's editing commands; `document.execCommand` has nearly the same.
    let name = match command {
        Edit::Undo => "Undo",
        Edit::Redo => "Redo",
        Edit::Cut => "Cut",
        Edit::Copy => "Copy",
        Edit::Paste => "Paste",
        Edit::SelectAll => "SelectAll",
    };
    with_main(app, "edit", |window| run_editing_command(window, name));
}

#[cfg(target_os = "linux")]
fn run_editing_command(window: &WebviewWindow, name: &'static str) -> tauri::Result<()> {
    use webkit2gtk::WebViewExt;
    window.with_webview(move |webview| webview.inner().execute_editing_command(name))
}

#[cfg(not(target_os = "linux"))]
fn run_editing_command(window: &WebviewWindow, name: &'static str) -> tauri::Result<()> {
    window.eval(format!("document.execCommand('{name}')"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stays_inside() {
        for (address, inside) in [
            ("tauri://localhost/runs/job_1", true),
            ("http://tauri.localhost/", true),
            ("about:blank", true),
            ("tauri://elsewhere/", false),
            ("https://example.com/", false),
            ("https://tauri.localhost.example.com/", false),
            ("file:///etc/passwd", false),
            ("data:text/html,x", false),
        ] {
            assert_eq!(is_ours(&Url::parse(address).unwrap()), inside, "{address}");
        }
    }

    #[test]
    fn zoom_goes_by_steps_and_stops_at_the_ends() {
        assert_eq!(zoomed(1.0, Zoom::In), 1.1);
        assert_eq!(zoomed(1.0, Zoom::Out), 0.9);
        assert_eq!(zoomed(2.0, Zoom::In), 2.0);
        assert_eq!(zoomed(0.5, Zoom::Out), 0.5);
        assert_eq!(zoomed(1.33, Zoom::Reset), 1.0);
    }
}
