//! Who gets in: the token, the cookie, and nobody else, on every route.

use tb_server::{Admits, routes};

use crate::support::Running;

/// Every route but the door, with example parts in its path, and some addresses that are none.
fn addresses() -> Vec<(String, String)> {
    let open = routes().into_iter().filter(|r| r.to == Admits::Anybody).count();
    assert_eq!(open, 1, "the door alone");
    let mut all: Vec<(String, String)> = routes()
        .iter()
        .filter(|r| r.to != Admits::Anybody)
        .map(|r| {
            (
                r.method.to_string(),
                r.path.replace("{name}", "job_list").replace("{job_id}", "job_1").replace("{*page}", "runs"),
            )
        })
        .collect();
    assert!(all.len() >= 6 && !all.iter().any(|(_, path)| path.contains('{')), "{all:?}");
    for path in ["/", "/index.html", "/_app/immutable/x.js", "/favicon.ico", "/rpc", "/nowhere"] {
        all.push(("GET".into(), path.into()));
    }
    for (_, path) in all.clone() {
        all.extend(["HEAD", "OPTIONS", "PUT", "DELETE"].map(|method| (method.into(), path.clone())));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_answers_a_caller_without_the_token() {
    let server = Running::with(|c| c.limits.wrong_tokens = 1000).await;
    let host = server.address.to_string();
    let cookie = server.cookie().await;
    let (name, value) = cookie.split_once('=').unwrap();
    for (method, path) in addresses() {
        let ask = || server.bare(&method, &path).header("Host", &host);
        let in_query = server.bare(&method, &format!("{path}?token={}", server.token)).header("Host", &host);
        let mut tries = vec![
            ("nothing", ask()),
            ("an empty token", ask().bearer("")),
            ("a wrong token", ask().bearer("wrong")),
            ("the token and more", ask().bearer(&format!("{}x", server.token))),
            ("part of the token", ask().bearer(&server.token[..42])),
            ("another scheme", ask().header("Authorization", &format!("Basic {}", server.token))),
            ("the cookie's value as a token", ask().bearer(value)),
            ("a wrong cookie", ask().header("Cookie", &format!("{name}=wrong"))),
            ("a cookie by another name", ask().header("Cookie", &format!("tonebridge={value}"))),
        ];
        if path != "/" {
            tries.push(("the token in the query", in_query));
        }
        for (what, ask) in tries {
            let answer = ask.send().await;
            assert_eq!(answer.status, 401, "{method} {path} with {what}: {answer:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{method} {path}");
            assert!(answer.header("set-cookie").is_none(), "{method} {path} with {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_the_one_who_holds_the_token() {
    let server = Running::start().await;
    let cookie = server.cookie().await;
    let host = server.address.to_string();
    for (method, path) in addresses() {
        let ask = server.ask(&method, &path).header("Connection", "close").open().await;
        assert!(!matches!(ask.status, 0 | 401 | 403 | 500), "{method} {path}: {}", ask.status);
        let origin = format!("http://{host}");
        let ask = server.bare(&method, &path).header("Host", &host).header("Origin", &origin).header("Cookie", &cookie);
        let status = ask.open().await.status;
        assert!(!matches!(status, 0 | 401 | 403 | 500), "{method} {path} with the cookie: {status}");
    }
}

#[tokio::test]
async fn the_link_gives_a_strict_cookie_and_goes_on_to_the_page() {
    let server = Running::start().await;
    let host = server.address.to_string();
    let target = format!("/?token={}", server.token);
    let answer = server.bare("GET", &target).header("Host", &host).send().await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with(&format!("tonebridge_{}=", server.address.port())), "{cookie}");
    assert!(["HttpOnly", "SameSite=Strict", "Path=/"].iter().all(|part| cookie.contains(part)), "{cookie}");
    assert!(!cookie.contains(&server.token), "the cookie is not the token");
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    // From a link on another site the browser would withhold the new cookie while it is redirected.
    let visit = server.bare("GET", &target).header("Host", &host).header("Sec-Fetch-Site", "cross-site");
    let visit = visit.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document").send().await;
    assert_eq!(visit.status, 200);
    assert!(visit.header("set-cookie").is_some() && visit.text().contains("0;url=/"), "{visit:?}");

    let wrong = server.bare("GET", "/?token=wrong").header("Host", &host).send().await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let head = server.bare("HEAD", &target).header("Host", &host).send().await;
    assert_eq!((head.status, head.header("set-cookie")), (401, None), "only a visit signs in");
}

#[tokio::test]
async fn people_are_told_in_two_languages_and_programs_in_json() {
    let server = Running::start().await;
    let ask = || server.bare("GET", "/runs").header("Host", &server.address.to_string());
    let page = ask().header("Accept", "text/html,application/xhtml+xml").send().await;
    assert_eq!((page.status, page.header("content-type")), (401, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("access link") && page.text().contains("アクセス用リンク"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("style-src 'sha256-"), "{policy}");
    assert!(!page.text().contains("<script") && !page.text().contains("style="), "nothing that the policy forbids");
    let object = ask().send().await;
    assert_eq!((object.status, object.code().as_str()), (401, "unauthenticated"));
}

#[tokio::test]
async fn too_many_wrong_tokens_close_the_door_but_not_to_those_inside() {
    let server = Running::start().await;
    let host = server.address.to_string();
    let cookie = server.cookie().await;
    let with = |token: &str| server.bare("GET", &format!("/?token={token}")).header("Host", &host);
    for i in 0..10 {
        assert_eq!(with(&format!("guess{i}")).send().await.status, 401);
    }
    for _ in 0..20 {
        assert_eq!(with("guess3").send().await.status, 401, "the same wrong token is no new try");
    }
    let refused = with("guess10").send().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")));
    assert_eq!(with(&server.token).send().await.status, 429, "a right guess would be no different");
    assert_eq!(server.ask("GET", "/events").send().await.status, 429, "nor would one in a header");
    let inside = server.bare("GET", "/nowhere.txt").header("Host", &host).header("Cookie", &cookie).send().await;
    assert_eq!(inside.status, 404);
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_browsers_need() {
    let server = Running::start().await;
    let host = server.address.to_string();
    for answer in [
        server.ask("POST", "/rpc/job_list").json("{}").send().await,
        server.ask("GET", "/").send().await,
        server.ask("GET", "/nowhere.txt").send().await,
        server.bare("GET", "/").header("Host", &host).send().await,
        server.bare("GET", "/").header("Host", "evil").send().await,
    ] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
        assert!(answer.header("cache-control").is_some());
        assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control-")), "{answer:?}");
    }
}
