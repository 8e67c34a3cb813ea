//! The core behind the window: opened in the background while the window already shows, and its state as the page sees it.

use std::path::PathBuf;

use serde::Serialize;
use tauri::{AppHandle, Emitter, Manager};
use tb_api::{Actor, Ctx, home};
use tb_core::{ApiError, ErrorCode};
use tokio::sync::watch;

use crate::{elapsed_ms, jobs};

/// The event that tells the page of every change of [`CoreState`].
pub const EVENT: &str = "core";

/// How far the opening of the core is.
#[derive(Clone)]
enum Stage {
    Opening,
    Open(Ctx),
    Failed(ApiError),
    Closed,
}

/// What the page shows of the opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CoreState {
    /// Database, queue and workers are being opened; calls wait.
    Opening,
    /// Everything works.
    Open,
    /// It cannot be opened; every call fails with this error until a retry succeeds.
    Failed {
        /// Why, and what to do.
        error: ApiError,
    },
}

/// The core of this process.
pub struct Core {
    stage: watch::Sender<Stage>,
}

impl Default for Core {
    fn default() -> Self {
        Self { stage: watch::Sender::new(Stage::Opening) }
    }
}

impl Core {
    /// The open core; waits while it is being opened.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub async fn ctx(&self) -> Result<Ctx, ApiError> {
        let mut stages = self.stage.subscribe();
        let stage = stages.wait_for(|stage| !matches!(stage, Stage::Opening)).await.map(|stage| stage.clone());
        match stage {
            Ok(Stage::Open(ctx)) => Ok(ctx),
            Ok(Stage::Failed(error)) => Err(error),
            Ok(Stage::Opening | Stage::Closed) | Err(_) => {
                Err(ApiError::new(ErrorCode::Unavailable, "Nothing was done: the program is ending."))
            }
        }
    }

    /// What the page shows now.
    pub fn state(&self) -> CoreState {
        shown(&self.stage.borrow())
    }

    /// Ends the supervision in good order. Workers go on.
    pub async fn close(&self) {
        let stage = self.stage.send_replace(Stage::Closed);
        if let Stage::Open(ctx) = stage {
            ctx.jobs().close().await;
        }
    }

    /// Starts an opening; false if there is nothing to open again.
    fn begin(&self) -> bool {
        self.stage.send_if_modified(|stage| match stage {
            Stage::Failed(_) => {
                *stage = Stage::Opening;
                true
            }
            Stage::Opening | Stage::Open(_) | Stage::Closed => false,
        })
    }

    /// Ends an opening, unless the program ended meanwhile.
    fn finish(&self, opened: Result<Ctx, ApiError>) -> bool {
        self.stage.send_if_modified(|stage| match stage {
            Stage::Opening => {
                *stage = opened.map_or_else(Stage::Failed, Stage::Open);
                true
            }
            Stage::Open(_) | Stage::Failed(_) | Stage::Closed => false,
        })
    }
}

fn shown(stage: &Stage) -> CoreState {
    match stage {
        Stage::Opening => CoreState::Opening,
        Stage::Open(_) | Stage::Closed => CoreState::Open,
        Stage::Failed(error) => CoreState::Failed { error: error.clone() },
    }
}

/// Opens the core in the background; the page hears of the end by [`EVENT`].
pub fn open(app: &AppHandle) {
    let app = app.clone();
    // Owned by the program: it ends by itself, and the end of the program cuts it off.
    tauri::async_runtime::spawn(async move {
        let opened = open_home().await;
        match &opened {
            Ok(ctx) => {
                tracing::info!(home = %ctx.home().display(), "core open after {} ms", elapsed_ms());
                jobs::follow(&app, ctx.clone());
            }
            Err(error) => tracing::error!("the core cannot be opened: {error}"),
        }
        if app.state::<Core>().finish(opened) {
            tell(&app);
        }
    });
}

/// Opens the core again after a failure; does nothing in any other state.
pub fn retry(app: &AppHandle) {
    if app.state::<Core>().begin() {
        tell(app);
        open(app);
    }
}

fn tell(app: &AppHandle) {
    // Without a page there is nobody to tell; a page that loads later asks.
    let _ = app.emit(EVENT, app.state::<Core>().state());
}

async fn open_home() -> Result<Ctx, ApiError> {
    let home = home_folder()?;
    tb_api::open(&home, &[], Actor::local()).await
}

/// The home folder of this window.
///
/// # Errors
/// A system that names no data folder.
pub fn home_folder() -> Result<PathBuf, ApiError> {
    let named = std::env::var_os(home::VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    home::folder(named.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_opening_fails_every_call_until_a_retry() {
        let core = Core::default();
        assert_eq!(core.state(), CoreState::Opening);
        assert!(!core.begin(), "it is being opened already");
        let error = ApiError::new(ErrorCode::Unavailable, "The folder cannot be made.");
        assert!(core.finish(Err(error.clone())));
        assert_eq!(core.ctx().await.err(), Some(error.clone()));
        assert_eq!(core.state(), CoreState::Failed { error });
        assert!(core.begin());
        assert_eq!(core.state(), CoreState::Opening);
    }

    #[tokio::test]
    async fn an_opening_that_ends_after_the_program_is_dropped() {
        let core = Core::default();
        core.close().await;
        assert!(!core.finish(Err(ApiError::new(ErrorCode::Internal, "late"))));
        assert_eq!(core.ctx().await.err().map(|e| e.code), Some(ErrorCode::Unavailable));
    }
}
