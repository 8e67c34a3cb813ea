//! The few pages that the server itself writes, in English and Japanese, each whole in one file: a caller who may not load
//! the interface must still be told what to do.

use std::sync::LazyLock;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Nobody is signed in.
    SignIn,
    /// Name and password do not fit.
    WrongPassword,
    /// Too many wrong passwords.
    TooManyPasswords,
    /// The program cannot look at who it is right now.
    Busy,
    /// The link's token is wrong.
    WrongLink,
    /// Too many wrong tokens.
    TooMany,
    /// Called by a name that is not allowed.
    WrongHost,
    /// Sent by another site.
    Foreign,
    /// The token was right; goes on to the interface.
    SignedIn,
    /// This program was built without its interface.
    NoInterface,
}

struct Text {
    title: &'static str,
    lines: &'static [&'static str],
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-content:center;background:Canvas;color:CanvasText;\
font:15px/22px system-ui,\"Noto Sans CJK JP\",\"Hiragino Sans\",\"Yu Gothic UI\",sans-serif}\
main{max-width:60ch;padding:32px}\
h1{font-size:18px;line-height:24px;margin:0 0 8px}\
section+section{margin-top:24px;padding-top:24px;border-top:1px solid GrayText}\
p{margin:0 0 8px}code{font-family:ui-monospace,monospace}\
form{display:grid;gap:12px;max-width:320px;margin:0 0 32px}\
label{display:grid;gap:4px;font-size:13px;line-height:20px}\
input{box-sizing:border-box;width:100%;height:36px;padding:0 8px;border:1px solid GrayText;border-radius:5px;font:inherit}\
button{height:36px;border:1px solid #2b59c8;border-radius:5px;background:#2b59c8;color:#fff;font:inherit;font-weight:500;cursor:pointer}\
:focus-visible{outline:2px solid #2b59c8;outline-offset:2px}\
h1+form{margin-top:16px}\
[role=alert]{border-left:3px solid light-dark(#b3261e,#ff8a80);padding-left:16px;margin-bottom:24px}";

/// What a page may load: its own style. It sends a form only where it has one, and then only to us.
fn policy(form: &str) -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action {form}; frame-ancestors 'none'"
    )
}

static POLICY: LazyLock<String> = LazyLock::new(|| policy("'none'"));
static FORM_POLICY: LazyLock<String> = LazyLock::new(|| policy("'self'"));

/// One form for both languages: a password manager fills one.
const FORM: &str = "\
<form method=\"post\" action=\"/sign-in\">\
<label><span>Name · <span lang=\"ja\">名前</span></span>\
<input name=\"name\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" required maxlength=\"64\"></label>\
<label><span>Password · <span lang=\"ja\">パスワード</span></span>\
<input name=\"password\" type=\"password\" autocomplete=\"current-password\" required maxlength=\"1024\"></label>\
<button>Sign in · <span lang=\"ja\">サインイン</span></button></form>";

const OPEN: &str = r#"<a href="/">Open ToneBridge Workbench</a>"#;
const OPEN_JA: &str = r#"<a href="/">ToneBridge Workbench を開く</a>"#;

impl Page {
    fn english(self) -> Text {
        let (title, lines): (_, &[&str]) = match self {
            Self::SignIn => (
                "Sign in to ToneBridge Workbench",
                &[
                    "An admin of this server gives you a name and a password.",
                    "Is it your own server? Then you need neither, but its access link: the terminal in which the server was started shows it (<code>http://…/?token=…</code>). Open that link once in this browser; it then remembers you.",
                    "Signed in here already?",
                    OPEN,
                ],
            ),
            Self::WrongPassword => (
                "Name and password do not fit",
                &[
                    "Mind capitals, and try again. If you have forgotten the password, an admin of this server gives you a new one.",
                ],
            ),
            Self::TooManyPasswords => (
                "Too many wrong passwords",
                &["They came from this address or for this name. Wait a minute, then try again."],
            ),
            Self::Busy => ("Not right now", &["The server is busy. Try again in a moment."]),
            Self::WrongLink => (
                "This access link is not valid",
                &[
                    "Its token is not that of this server, or no longer. Ask for the link that the server printed at its last start.",
                ],
            ),
            Self::TooMany => (
                "Too many wrong tokens",
                &["Several wrong tokens came from this address. Wait a minute, then open the access link again."],
            ),
            Self::WrongHost => (
                "The server does not go by this name",
                &[
                    "Open the address that it printed at its start. To reach it by another name, start it with <code>--allow-host NAME</code>.",
                ],
            ),
            Self::Foreign => ("Refused: the request comes from another site", &["Open this address directly."]),
            Self::SignedIn => ("Signed in", &[OPEN]),
            Self::NoInterface => (
                "This program was built without its interface",
                &[
                    "Run <code>npm ci</code> and <code>npm run build</code> in the folder <code>ui</code>, build the program again, and reload this page. The API answers meanwhile.",
                ],
            ),
        };
        Text { title, lines }
    }

    fn japanese(self) -> Text {
        let (title, lines): (_, &[&str]) = match self {
            Self::SignIn => (
                "サインイン",
                &[
                    "名前とパスワードは、このサーバーの管理者から受け取ってください。",
                    "自分で起動したサーバーの場合は、アクセス用リンクで開けます。サーバーを起動した端末に <code>http://…/?token=…</code> という形のリンクが表示されています。このブラウザで一度開くと、以後は記憶されます。",
                    "すでにサインイン済みの場合:",
                    OPEN_JA,
                ],
            ),
            Self::WrongPassword => (
                "名前またはパスワードが違います",
                &[
                    "大文字と小文字を確認して、もう一度入力してください。パスワードを忘れた場合は、サーバーの管理者に再設定を依頼してください。",
                ],
            ),
            Self::TooManyPasswords => (
                "誤ったパスワードが続きました",
                &["このアドレスから、またはこの名前に対して繰り返されました。1 分待ってから、もう一度試してください。"],
            ),
            Self::Busy => ("ただいま混み合っています", &["少し待ってから、もう一度試してください。"]),
            Self::WrongLink => (
                "このアクセス用リンクは無効です",
                &[
                    "トークンがこのサーバーのものと一致しません。サーバーの前回の起動時に表示されたリンクを確認してください。",
                ],
            ),
            Self::TooMany => (
                "誤ったトークンが続きました",
                &[
                    "このアドレスから誤ったトークンが繰り返し届きました。1 分待ってから、アクセス用リンクを開き直してください。",
                ],
            ),
            Self::WrongHost => (
                "この名前ではアクセスできません",
                &[
                    "起動時に表示されたアドレスを開いてください。別の名前を使うには <code>--allow-host NAME</code> を付けて起動します。",
                ],
            ),
            Self::Foreign => ("別のサイトからの要求のため拒否しました", &["このアドレスを直接開いてください。"]),
            Self::SignedIn => ("サインインしました", &[OPEN_JA]),
            Self::NoInterface => (
                "このプログラムには画面が含まれていません",
                &[
                    "フォルダー <code>ui</code> で <code>npm ci</code> と <code>npm run build</code> を実行し、プログラムをビルドし直してから、このページを再読み込みしてください。API はそのまま使えます。",
                ],
            ),
        };
        Text { title, lines }
    }

    /// Whether it carries the form.
    fn has_form(self) -> bool {
        match self {
            Self::SignIn | Self::WrongPassword => true,
            Self::TooManyPasswords
            | Self::Busy
            | Self::WrongLink
            | Self::TooMany
            | Self::WrongHost
            | Self::Foreign
            | Self::SignedIn
            | Self::NoInterface => false,
        }
    }

    fn html(self) -> String {
        // The form needs one heading above it, not two below.
        let heading =
            |text: &Text| if self == Self::SignIn { String::new() } else { format!("<h1>{}</h1>", text.title) };
        let section = |language: &str, text: &Text| {
            let lines: String = text.lines.iter().map(|line| format!("<p>{line}</p>")).collect();
            format!("<section lang=\"{language}\">{}{lines}</section>", heading(text))
        };
        let (english, japanese) = (self.english(), self.japanese());
        let goes_on = if self == Self::SignedIn { "<meta http-equiv=\"refresh\" content=\"0;url=/\">" } else { "" };
        let both = format!("{}{}", section("en", &english), section("ja", &japanese));
        let body = match (self.has_form(), self == Self::WrongPassword) {
            (true, true) => format!("<div role=\"alert\">{both}</div>{FORM}"),
            (true, false) => {
                format!("<h1>{} · <span lang=\"ja\">{}</span></h1>{FORM}{both}", english.title, japanese.title)
            }
            (false, _) => both,
        };
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">{goes_on}\
             <title>{} · ToneBridge</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
            english.title,
        )
    }
}

/// A page as an answer.
pub(crate) fn page(status: StatusCode, page: Page) -> Response {
    let mut response = (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.html()).into_response();
    let headers = response.headers_mut();
    let policy = if page.has_form() { &*FORM_POLICY } else { &*POLICY };
    if let Ok(policy) = policy.parse() {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    }
    response
}
