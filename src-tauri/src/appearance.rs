//! Language and theme of what the page does not draw itself: menu, tray, notices, title bar and dialogs.

use serde::{Deserialize, Serialize};
use tauri::{AppHandle, Manager, Theme, window::Color};
use tb_core::{ApiError, ErrorCode};

use crate::{menu, preferences::Preferences, tray, words::Language};

/// A theme as the user chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeChoice {
    /// What the system has.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl ThemeChoice {
    /// The theme to ask the system for; none leaves it to the system.
    pub fn forced(self) -> Option<Theme> {
        match self {
            Self::System => None,
            Self::Light => Some(Theme::Light),
            Self::Dark => Some(Theme::Dark),
        }
    }
}

/// What the page has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appearance {
    /// Language of every word.
    pub language: Language,
    /// Light or dark.
    pub theme: ThemeChoice,
}

impl Appearance {
    /// Reads the page's words for both.
    ///
    /// # Errors
    /// A word that is neither.
    pub fn parse(language: &str, theme: &str) -> Result<Self, ApiError> {
        let bad = |what: &str| ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was changed: {what}."));
        Ok(Self {
            language: Language::parse(language).ok_or_else(|| bad(&format!("'{language}' is neither en nor ja")))?,
            theme: match theme {
                "system" => ThemeChoice::System,
                "light" => ThemeChoice::Light,
                "dark" => ThemeChoice::Dark,
                other => return Err(bad(&format!("'{other}' is none of system, light and dark"))),
            },
        })
    }
}

/// Applies a choice at once and remembers it.
///
/// # Errors
/// A menu that the system refuses.
pub fn apply(app: &AppHandle, wanted: Appearance) -> tauri::Result<()> {
    let preferences = app.state::<Preferences>();
    let (language_before, theme_before) = (preferences.language(), preferences.get().theme);
    preferences.change(|saved| {
        saved.language = Some(wanted.language);
        saved.theme = wanted.theme;
    });
    if wanted.theme != theme_before {
        app.set_theme(wanted.theme.forced());
    }
    if wanted.language != language_before {
        app.set_menu(menu::build(app)?)?;
        tray::refresh(app);
    }
    Ok(())
}

/// The colour of the page before it has drawn anything: `--bg-0` of ui/src/styles/tokens.css, so that nothing flashes.
pub fn background(theme: Theme) -> Color {
    match theme {
        Theme::Dark => Color(0x0f, 0x10, 0x12, 0xff),
        // The enum is tauri's and may grow; anything else is as light as the page.
        _ => Color(0xf4, 0xf5, 0xf7, 0xff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_are_taken() {
        let japanese_dark = Appearance { language: Language::Ja, theme: ThemeChoice::Dark };
        assert_eq!(Appearance::parse("ja", "dark"), Ok(japanese_dark));
        assert!(Appearance::parse("fr", "dark").is_err());
        assert!(Appearance::parse("en", "blue").is_err());
    }
}
