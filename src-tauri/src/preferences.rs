//! What the shell itself remembers for this user of this machine: language, theme, zoom, and what it need not say again.
//! The window's place and size are the window-state plugin's; settings of the work are tb-api's.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tauri::{AppHandle, Manager};

use crate::{appearance::ThemeChoice, words::Language};

/// The file in the program's configuration folder.
const FILE: &str = "desktop.json";

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// The page's language; none until a page has told it.
    pub language: Option<Language>,
    /// The page's theme.
    pub theme: ThemeChoice,
    /// Size of the page, 1 is 100 %.
    pub zoom: f64,
    /// Whether quitting while a run is alive asks first.
    pub ask_before_quit: bool,
}

impl Default for Saved {
    fn default() -> Self {
        Self { language: None, theme: ThemeChoice::System, zoom: 1.0, ask_before_quit: true }
    }
}

/// The remembered values and their file.
pub struct Preferences {
    path: Option<PathBuf>,
    saved: Mutex<Saved>,
}

impl Preferences {
    /// Reads what was saved; what cannot be read counts as never saved.
    pub fn open(app: &AppHandle) -> Self {
        let path = app.path().app_config_dir().map(|folder| folder.join(FILE)).ok();
        let saved = path
            .as_ref()
            .and_then(|path| fs::read(path).ok())
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Self { path, saved: Mutex::new(saved) }
    }

    /// The values now.
    pub fn get(&self) -> Saved {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes and saves them. A file that cannot be written costs the memory of it only, and is logged.
    pub fn change(&self, change: impl FnOnce(&mut Saved)) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let before = saved.clone();
        change(&mut saved);
        if *saved != before
            && let Err(error) = self.write(&saved)
        {
            tracing::warn!("{FILE} cannot be written: {error}");
        }
    }

    fn write(&self, saved: &Saved) -> std::io::Result<()> {
        let Some((path, folder)) = self.path.as_ref().and_then(|path| Some((path, path.parent()?))) else {
            return Ok(());
        };
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(saved)?)?;
        file.persist(path)?;
        Ok(())
    }

    /// The language of menu, tray and notices: the page's, else the system's.
    pub fn language(&self) -> Language {
        self.get().language.unwrap_or_else(Language::of_system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_there_at_the_next_start_and_a_damaged_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join(FILE);
        let preferences = Preferences { path: Some(path.clone()), saved: Mutex::default() };
        preferences.change(|saved| saved.language = Some(Language::Ja));
        preferences.change(|saved| saved.ask_before_quit = false);
        let read: Saved = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, preferences.get());
        assert_eq!((read.language, read.ask_before_quit, read.zoom), (Some(Language::Ja), false, 1.0));
        assert_eq!(serde_json::from_str::<Saved>("{}").unwrap(), Saved::default());
    }
}
