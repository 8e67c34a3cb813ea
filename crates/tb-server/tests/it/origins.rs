//! Names that the server does not go by, and pages that are not its own.

use serde_json::json;

use crate::support::Running;

#[tokio::test]
async fn only_exact_hosts_are_answered_even_with_the_token() {
    let server = Running::with(|c| c.allow_hosts = vec!["bridge.example.org".into()]).await;
    let port = server.address.port();
    let get = |host: &str| server.bare("GET", "/nowhere.txt").header("Host", host).bearer(&server.token);
    for good in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "bridge.example.org"] {
        assert_eq!(get(&format!("{good}:{port}")).send().await.status, 404, "{good}");
    }
    for bad in [
        "attacker.example".into(),
        format!("attacker.example:{port}"),
        format!("localhost.attacker.example:{port}"),
        format!("127.0.0.1.nip.io:{port}"),
        format!("[::1]evil:{port}"),
        format!("x.local:{port}"),
        format!("x.internal:{port}"),
        format!("0.0.0.0:{port}"),
        format!("127.0.0.2:{port}"),
        format!("127.1:{port}"),
        format!("localhost.:{port}"),
        format!("user@localhost:{port}"),
        format!("localhost:{}", port ^ 1),
        format!("localhost:0{port}"),
        "localhost".into(),
        "127.0.0.1".into(),
        String::new(),
    ] {
        let answer = get(&bad).send().await;
        assert!(matches!(answer.status, 403 | 400), "{bad}: {answer:?}");
        assert!(!answer.text().contains("attacker"), "what the caller sent is not shown");
    }
    let absent = server.bare("GET", "/nowhere.txt").bearer(&server.token).send().await;
    assert_eq!(absent.status, 403);
    let twice = get(&format!("localhost:{port}")).header("Host", "attacker.example").send().await;
    assert!(matches!(twice.status, 403 | 400), "{twice:?}");
    let absolute = server.bare("GET", "http://attacker.example/nowhere.txt").bearer(&server.token);
    let absolute = absolute.header("Host", &format!("localhost:{port}")).send().await;
    assert_eq!(absolute.status, 403);
}

#[tokio::test]
async fn another_page_can_neither_change_nor_read_anything() {
    let server = Running::start().await;
    let host = server.address.to_string();
    let port = server.address.port();
    let cookie = server.cookie().await;
    let own = format!("http://{host}");
    let foreign = [
        "null".into(),
        "file://".into(),
        "https://attacker.example".into(),
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{}", port ^ 1),
        "http://127.0.0.1".into(),
        format!("http://127.0.0.1:{port}.evil"),
        "http://tauri.localhost.evil".into(),
        "tauri://localhost".into(),
        format!("{own}, {own}"),
    ];
    for origin in &foreign {
        for (method, path) in [
            ("POST", "/rpc/sample_install"),
            ("POST", "/stream/generate"),
            ("POST", "/upload?name=x.csv"),
            ("GET", "/events"),
            ("GET", "/"),
        ] {
            let ask = server.bare(method, path).header("Host", &host).header("Cookie", &cookie);
            let answer = ask.header("Origin", origin).json("{}").send().await;
            assert_eq!(answer.status, 403, "{method} {path} from {origin}: {answer:?}");
        }
    }
    let post = |cookie: &str| server.bare("POST", "/rpc/sample_install").header("Host", &host).header("Cookie", cookie);
    assert_eq!(post(&cookie).json("{}").send().await.status, 403, "a browser names its page with every change");
    let marked = post(&cookie).header("Origin", &own).header("Sec-Fetch-Site", "same-site").json("{}").send().await;
    assert_eq!(marked.status, 403);
    // The three kinds of body that a page may send elsewhere without asking first.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let simple = post(&cookie).header("Origin", &own).header("Content-Type", kind).body(b"{}").send().await;
        assert_eq!(simple.status, 415, "{kind}");
    }
    let preflight = server.bare("OPTIONS", "/rpc/sample_install").header("Host", &host).header("Cookie", &cookie);
    let preflight = preflight.header("Origin", "https://attacker.example");
    let preflight = preflight.header("Access-Control-Request-Method", "POST").send().await;
    assert!(preflight.status == 403 && preflight.header("access-control-allow-origin").is_none());
    assert_eq!(server.rpc("data_list", &json!({})).await, json!([]), "nothing was installed by all this");

    let allowed = post(&cookie).header("Origin", &own).json("{}").send().await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
}

#[tokio::test]
async fn a_link_from_elsewhere_opens_a_page_but_no_interface_of_programs() {
    let server = Running::start().await;
    let cookie = server.cookie().await;
    let visit = |path: &str, site: &str| {
        let ask = server.bare("GET", path).header("Host", &server.address.to_string()).header("Cookie", &cookie);
        ask.header("Sec-Fetch-Site", site).header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document")
    };
    for site in ["cross-site", "same-site"] {
        assert_ne!(visit("/runs", site).send().await.status, 403, "{site}");
        assert_eq!(visit("/events", site).send().await.status, 403, "{site}");
        assert_eq!(visit("/files/job_1/chart.png", site).send().await.status, 403, "{site}");
    }
    let image = server.bare("GET", "/runs").header("Host", &server.address.to_string()).header("Cookie", &cookie);
    let image = image.header("Sec-Fetch-Site", "same-site").header("Sec-Fetch-Mode", "no-cors").send().await;
    assert_eq!(image.status, 403);
}
