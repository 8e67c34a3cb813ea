//! `/sign-in` and `/sign-out`: the form, right and wrong passwords, and what no other page may do.

use serde_json::json;

use crate::support::{PASSWORD, Running};

#[tokio::test]
async fn a_user_signs_in_works_and_signs_out() {
    let server = Running::start().await;
    server.add("yuki", "reviewer").await;
    let form = server.own("GET", "/sign-in").send().await;
    assert_eq!(form.status, 200);
    assert!(form.text().contains("action=\"/sign-in\"") && form.text().contains("パスワード"));
    let policy = form.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self'") && policy.contains("default-src 'none'"), "{policy}");
    assert!(!form.text().contains("<script") && !form.text().contains(" style="));

    let answer = server.sign_in("yuki", PASSWORD).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(
        ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=2592000"].iter().all(|p| cookie.contains(p)),
        "{cookie}"
    );
    assert!(!cookie.contains("Secure"), "over http a browser would not send it back");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let ask = |name: &str| server.own("POST", &format!("/rpc/{name}")).header("Cookie", &cookie).json("{}");
    let who = ask("whoami").send().await.json();
    assert_eq!(
        (&who["user"]["name"], &who["role"], &who["owner"]),
        (&json!("yuki"), &json!("reviewer"), &json!(false))
    );
    assert_eq!(ask("settings_get").send().await.status, 403);

    let out = server.own("POST", "/sign-out").header("Cookie", &cookie).send().await;
    assert_eq!((out.status, out.header("location")), (303, Some("/sign-in")));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(ask("whoami").send().await.status, 401, "the session itself is gone, whoever kept the cookie");
}

#[tokio::test]
async fn behind_tls_the_cookie_is_secure_and_the_way_back_is_kept() {
    let server = Running::with(|c| c.allow_hosts = vec!["bridge.example.org".into()]).await;
    server.add("yuki", "viewer").await;
    let ask = server.bare("POST", "/sign-in").header("Host", "bridge.example.org");
    let ask =
        ask.header("Origin", "https://bridge.example.org").header("Referer", "https://bridge.example.org/runs?tab=1");
    let answer = ask.form("name=yuki&password=correct%20horse").send().await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/runs?tab=1")));
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"));
}

#[tokio::test]
async fn what_is_wrong_is_not_told_and_no_cookie_is_given() {
    let server = Running::start().await;
    server.add("yuki", "viewer").await;
    let id = server.add("ken", "viewer").await;
    server.rpc("user_disable", &json!({ "id": id })).await;
    server.rpc("user_add", &json!({ "name": "bot", "role": "viewer" })).await;
    let mut said = Vec::new();
    for (name, password) in
        [("yuki", "wrong horse"), ("nobody", PASSWORD), ("ken", PASSWORD), ("bot", PASSWORD), ("", "")]
    {
        let answer = server.sign_in(name, password).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, None), "{name}");
        said.push(answer.text());
    }
    assert!(said.iter().all(|text| *text == said[0] && text.contains("do not fit") && text.contains("違います")));
    for form in ["", "name=yuki", "password=x", "name=yuki&password=", "%ff%00=%", "name=yuki&name=ken&password=x"] {
        let answer = server.own("POST", "/sign-in").form(form).send().await;
        assert!(matches!(answer.status, 401 | 429), "{form}: {answer:?}");
    }
}

#[tokio::test]
async fn ten_wrong_passwords_close_the_door_but_not_to_those_inside() {
    let server = Running::start().await;
    server.add("yuki", "viewer").await;
    server.add("ken", "viewer").await;
    let (cookie, token) = (server.session("yuki").await, server.token_of("ken").await);
    for _ in 0..10 {
        assert_eq!(server.sign_in("yuki", "the same wrong one").await.status, 401);
    }
    for name in ["yuki", "ken"] {
        let answer = server.sign_in(name, PASSWORD).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")), "the source tried too many");
        assert!(answer.text().contains("Too many") && answer.text().contains("続きました"));
    }
    let inside = server.own("POST", "/rpc/whoami").header("Cookie", &cookie).json("{}").send().await;
    assert_eq!(inside.status, 200);
    let script = server.own("POST", "/rpc/whoami").bearer(&token).json("{}").send().await;
    assert_eq!(script.status, 200, "a right token is no guess");
    let wrong = token.replace(&token[10..14], "AAAA");
    assert_eq!(server.own("POST", "/rpc/whoami").bearer(&wrong).json("{}").send().await.status, 429);
}

#[tokio::test]
async fn an_account_is_closed_from_every_source() {
    let server = Running::with(|c| c.limits.wrong_tokens = 1000).await;
    server.add("yuki", "viewer").await;
    server.add("ken", "viewer").await;
    let guesses: Vec<String> = (0..30).map(|n| format!("guess {n}")).collect();
    let answers = futures_util::future::join_all(guesses.iter().map(|guess| server.sign_in("yuki", guess))).await;
    assert_eq!(answers.iter().filter(|a| a.status == 401).count(), 10, "many at once are no way around");
    assert_eq!(answers.iter().filter(|a| a.status == 429).count(), 20);
    assert_eq!(server.sign_in("yuki", PASSWORD).await.status, 429);
    assert_eq!(server.sign_in("ken", PASSWORD).await.status, 303, "others come in");
}

#[tokio::test]
async fn no_other_page_can_sign_anyone_in_or_out() {
    let server = Running::start().await;
    server.add("yuki", "viewer").await;
    let (cookie, host) = (server.session("yuki").await, server.address.to_string());
    let form = format!("name=yuki&password={}", PASSWORD.replace(' ', "+"));
    let bare = |target: &str| server.bare("POST", target).header("Host", &host).header("Cookie", &cookie);
    for origin in ["null", "https://attacker.example", "http://localhost:1"] {
        assert_eq!(bare("/sign-in").header("Origin", origin).form(&form).send().await.status, 403, "{origin}");
        assert_eq!(bare("/sign-out").header("Origin", origin).form("").send().await.status, 403, "{origin}");
    }
    // A browser names the page; what names none is no form of ours.
    assert_eq!(bare("/sign-in").form(&form).send().await.status, 403);
    assert_eq!(bare("/sign-out").form("").send().await.status, 403);
    let marked = bare("/sign-in").header("Origin", &format!("http://{host}")).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(marked.form(&form).send().await.status, 403);
    let elsewhere = server.bare("POST", "/sign-in").header("Host", "evil").header("Origin", "http://evil").form(&form);
    assert_eq!(elsewhere.send().await.status, 403);
    let inside = server.own("POST", "/rpc/whoami").header("Cookie", &cookie).json("{}").send().await;
    assert_eq!(inside.status, 200, "nobody was signed out");
    for (kind, status) in [("application/json", 415), ("text/plain", 415), ("multipart/form-data; boundary=x", 415)] {
        let ask = server.own("POST", "/sign-in").header("Content-Type", kind).body(form.as_bytes());
        assert_eq!(ask.send().await.status, status, "{kind}");
    }
    let long = server.own("POST", "/sign-in").form(&format!("name={}", "x".repeat(9000))).send().await;
    assert_eq!(long.status, 413);
    // A link from elsewhere may show the form.
    let visit = server.bare("GET", "/sign-in").header("Host", &host).header("Sec-Fetch-Site", "cross-site");
    let visit = visit.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document").send().await;
    assert_eq!(visit.status, 200);
}

#[tokio::test]
async fn a_session_is_always_new_and_belongs_to_one_home() {
    let (server, other) = (Running::start().await, Running::start().await);
    server.add("yuki", "viewer").await;
    other.add("yuki", "viewer").await;
    let planted = format!("tonebridge_{}=tbs_{}", server.address.port(), "A".repeat(43));
    let form = format!("name=yuki&password={}", PASSWORD.replace(' ', "+"));
    let answer = server.own("POST", "/sign-in").header("Cookie", &planted).form(&form).send().await;
    assert_eq!(answer.status, 303);
    let given = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_ne!(given, planted, "what the browser brought has no part in it");
    let who = |cookie: &str| server.own("POST", "/rpc/whoami").header("Cookie", cookie).json("{}").send();
    assert_eq!(who(&planted).await.status, 401);
    assert_eq!(who(&given).await.status, 200);
    assert_ne!(server.session("yuki").await, given);
    let theirs = other.session("yuki").await;
    let value = theirs.split_once('=').unwrap().1;
    assert_eq!(who(&format!("tonebridge_{}={value}", server.address.port())).await.status, 401, "of another home");
    // As a token it opens nothing, and a token is no cookie.
    let own = given.split_once('=').unwrap().1;
    assert_eq!(server.own("POST", "/rpc/whoami").bearer(own).json("{}").send().await.status, 401);
    let token = server.token_of("yuki").await;
    assert_eq!(who(&format!("tonebridge_{}={token}", server.address.port())).await.status, 401);
    // Of several cookies the right one counts, wherever it stands.
    assert_eq!(who(&format!("{planted}; {given}")).await.status, 200);
}
