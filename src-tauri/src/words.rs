//! Every word that the shell itself shows, in English and Japanese. A missing one does not compile.

use serde::{Deserialize, Serialize};

/// The languages of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    En,
    /// Japanese.
    Ja,
}

impl Language {
    /// From a language tag such as `ja`, `ja-JP` or `en_US.UTF-8`; none for any other language.
    pub fn parse(tag: &str) -> Option<Self> {
        match tag.split(['-', '_', '.']).next() {
            Some("ja") => Some(Self::Ja),
            Some("en") => Some(Self::En),
            Some(_) | None => None,
        }
    }

    /// The language of the system as its environment names it; English for one that we do not speak.
    pub fn of_system() -> Self {
        ["LC_ALL", "LC_MESSAGES", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .and_then(|tag| Self::parse(&tag))
            .unwrap_or(Self::En)
    }

    /// Its words.
    pub fn words(self) -> &'static Words {
        match self {
            Self::En => &EN,
            Self::Ja => &JA,
        }
    }

    /// A time span as people say it: `40 s`, `12 min`, `3 h 5 min`.
    pub fn duration(self, seconds: f64) -> String {
        let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
        let minutes = (seconds / 60.0).round() as u64;
        let (s, min, h) = match self {
            Self::En => (" s", " min", " h "),
            Self::Ja => ("秒", "分", "時間"),
        };
        match (seconds, minutes) {
            (0.0..90.0, _) => format!("{}{s}", seconds.round()),
            (_, 0..90) => format!("{minutes}{min}"),
            (_, _) => format!("{}{h}{}{min}", minutes / 60, minutes % 60),
        }
    }
}

/// A text with `{name}` places filled. What is filled in is never read as a place itself.
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, place)| Some((before, place.split_once('}')?)))
    {
        text += before;
        text += values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        rest = after;
    }
    text + rest
}

macro_rules! words {
    ($($key:ident: $en:literal, $ja:literal;)+) => {
        /// The words of one language.
        #[derive(Debug)]
        pub struct Words {
            $(pub $key: &'static str,)+
        }

        static EN: Words = Words { $($key: $en,)+ };
        static JA: Words = Words { $($key: $ja,)+ };

        #[cfg(test)]
        const PAIRS: &[(&str, &str, &str)] = &[$((stringify!($key), $en, $ja),)+];
    };
}

words! {
    file: "&File", "ファイル(&F)";
    import_data: "Import data…", "データを取り込む…";
    new_run: "New run…", "新しい実行…";
    try_sample: "Try the sample", "サンプルを試す";
    settings: "Settings", "設定";
    close_window: "Close window", "ウィンドウを閉じる";
    quit: "Quit", "終了";

    edit: "&Edit", "編集(&E)";
    undo: "Undo", "元に戻す";
    redo: "Redo", "やり直す";
    cut: "Cut", "切り取り";
    copy: "Copy", "コピー";
    paste: "Paste", "貼り付け";
    select_all: "Select all", "すべて選択";

    view: "&View", "表示(&V)";
    palette: "Command palette…", "コマンドパレット…";
    sidebar: "Show or hide the sidebar", "サイドバーの表示を切り替える";
    zoom_in: "Zoom in", "拡大";
    zoom_out: "Zoom out", "縮小";
    zoom_reset: "Actual size", "実際のサイズ";
    full_screen: "Full screen", "全画面";
    reload: "Reload", "再読み込み";

    go: "&Go", "移動(&G)";
    home: "Home", "ホーム";
    datasets: "Datasets", "データセット";
    runs: "Runs", "実行";
    base_models: "Base models", "ベースモデル";
    models: "Models", "モデル";
    playground: "Playground", "プレイグラウンド";

    help: "&Help", "ヘルプ(&H)";
    shortcuts: "Keyboard shortcuts", "キーボードショートカット";
    home_folder: "Show the data folder", "データフォルダーを開く";
    about: "About ToneBridge", "ToneBridge について";

    show: "Show ToneBridge", "ToneBridge を表示";
    nothing_runs: "Nothing runs", "実行中のものはありません";
    running: "{name}: {percent} %", "{name}: {percent} %";
    running_with_eta: "{name}: {percent} %, {eta} left", "{name}: {percent} %、残り {eta}";
    and_more: "{line} (and {count} more)", "{line}（ほか {count} 件）";

    run_completed: "{name} is done", "{name} が完了しました";
    run_failed: "{name} failed", "{name} が失敗しました";
    run_interrupted: "{name} was interrupted", "{name} が中断されました";
    took: "It took {duration}.", "所要時間は {duration} でした。";

    in_tray_title: "ToneBridge is still there", "ToneBridge は動作を続けています";
    in_tray: "{name} goes on. The window is in the tray, and Quit is there too.",
        "{name} は続行中です。ウィンドウと「終了」はトレイにあります。";

    quit_title: "Quit ToneBridge?", "ToneBridge を終了しますか？";
    quit_running: "{name} goes on by itself. Open ToneBridge again to see it.",
        "{name} はそのまま続行されます。ToneBridge をもう一度開くと確認できます。";
    quit_waiting: "Waiting runs ({count}) start when ToneBridge is open again.",
        "待機中の実行（{count} 件）は、ToneBridge を次に開いたときに始まります。";
    quit_and_do_not_ask: "Quit and do not ask again", "終了し、次回から確認しない";
    stay: "Stay", "終了しない";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<&str> {
        let mut found: Vec<&str> =
            text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn both_languages_fill_the_same_places() {
        for (key, en, ja) in PAIRS {
            assert_eq!(places(en), places(ja), "{key}");
            assert!(!en.is_empty() && !ja.is_empty(), "{key}");
            assert_eq!(en.contains('&'), ja.contains('&'), "{key} needs a mnemonic in both or none");
        }
    }

    #[test]
    fn places_are_filled() {
        assert_eq!(fill(EN.running, &[("name", "a {percent} b"), ("percent", "7")]), "a {percent} b: 7 %");
        assert_eq!(
            fill(JA.quit_waiting, &[("count", "2")]),
            "待機中の実行（2 件）は、ToneBridge を次に開いたときに始まります。"
        );
    }

    #[test]
    fn durations_are_rounded_as_people_say_them() {
        let en: Vec<String> = [0.4, 89.0, 91.0, 5000.0, 11_100.0, f64::NAN].map(|s| Language::En.duration(s)).into();
        assert_eq!(en, ["0 s", "89 s", "2 min", "83 min", "3 h 5 min", "0 s"]);
        assert_eq!(Language::Ja.duration(11_100.0), "3時間5分");
    }

    #[test]
    fn tags_of_every_shape_are_read() {
        for (tag, expected) in
            [("ja_JP.UTF-8", Some(Language::Ja)), ("en-GB", Some(Language::En)), ("C.UTF-8", None), ("", None)]
        {
            assert_eq!(Language::parse(tag), expected, "{tag}");
        }
    }
}
