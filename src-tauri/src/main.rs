//! The desktop window of ToneBridge: menu, tray, notifications, native dialogs, and one bridge from the page to tb-api.
//! Nothing is computed or stored here; the page does its work through the same command table as every other face.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod appearance;
mod close;
mod commands;
mod core;
mod delivery;
mod files;
mod jobs;
mod menu;
mod notices;
mod page_tasks;
mod preferences;
mod tray;
mod window;
mod words;

use std::{
    process::ExitCode,
    sync::OnceLock,
    time::{Duration, Instant},
};

use tauri::{Manager, RunEvent, WindowEvent};

use crate::{core::Core, jobs::LiveJobs, page_tasks::PageTasks, preferences::Preferences};

/// When the program started, for the times in the log.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// How long the end of the program may wait for the core to end in good order.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    STARTED.get_or_init(Instant::now);
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TONEBRIDGE_LOG").unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    if !window::has_display() {
        tracing::error!("there is no display for a window; `tonebridge serve` shows the same in a browser");
        return ExitCode::FAILURE;
    }
    match build() {
        Ok(app) => {
            app.run(on_run_event);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("the window cannot be opened: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> tauri::Result<tauri::App> {
    tauri::Builder::default()
        // First: a second start ends here, before it opens anything.
        .plugin(window::single_instance())
        .plugin(window::remembered_state())
        .plugin(tauri_plugin_dialog::init())
        .plugin(tauri_plugin_notification::init())
        .plugin(tauri_plugin_opener::init())
        .manage(Core::default())
        .manage(LiveJobs::default())
        .manage(PageTasks::default())
        .invoke_handler(tauri::generate_handler![
            commands::rpc,
            commands::subscribe,
            commands::stream,
            commands::stream_stop,
            commands::core_state,
            commands::core_retry,
            commands::appearance,
            files::pick_files,
            files::save_file,
            files::reveal,
        ])
        .on_menu_event(menu::on_event)
        .on_page_load(window::on_page_load)
        .on_window_event(|window, event| {
            if let WindowEvent::CloseRequested { api, .. } = event {
                close::requested(window, api);
            }
        })
        .setup(|app| {
            let handle = app.handle();
            app.manage(Preferences::open(handle));
            app.set_menu(menu::build(handle)?)?;
            window::create(handle)?;
            notices::show_on_click(handle);
            tray::create_when_possible(handle);
            core::open(handle);
            Ok(())
        })
        .build(tauri::generate_context!())
}

fn on_run_event(app: &tauri::AppHandle, event: RunEvent) {
    match event {
        RunEvent::Exit => {
            // Workers go on by themselves; this frees the queue for the next program at once.
            let core = app.state::<Core>();
            if tauri::async_runtime::block_on(async { tokio::time::timeout(CLOSE_LIMIT, core.close()).await.is_err() })
            {
                tracing::warn!("the core did not end in time");
            }
        }
        #[cfg(target_os = "macos")]
        RunEvent::Reopen { .. } => window::show(app),
        // Of the many events of a window's life only these concern us; the enum is tauri's and grows.
        _ => {}
    }
}

/// Milliseconds since the program started.
fn elapsed_ms() -> u64 {
    STARTED.get().map_or(0, |start| u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
}
