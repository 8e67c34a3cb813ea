//! The interface's files: kinds, caching, policy, and the page for every view.

use std::{fs, path::Path};

use crate::support::{Answer, Running};

fn build(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("index.html", "<!doctype html><script src=\"/_app/start.js\"></script>");
    write("_app/immutable/chunks/a.B1c2.js", "export {}");
    write("_app/immutable/assets/a.B1c2.css", "a{}");
    write("_app/immutable/assets/inter.woff2", "font");
    write("_app/version.json", "{}");
    write("favicon.svg", "<svg/>");
}

async fn with_build() -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path());
    let path = folder.path().to_owned();
    (Running::with(|c| c.ui_folder = Some(path)).await, folder)
}

async fn get(server: &Running, path: &str) -> Answer {
    server.ask("GET", path).header("Accept", "text/html,*/*").send().await
}

#[tokio::test]
async fn files_have_their_kind_and_hashed_ones_stay_for_ever() {
    let (server, _folder) = with_build().await;
    for (path, kind, for_ever) in [
        ("/", "text/html; charset=utf-8", false),
        ("/index.html", "text/html; charset=utf-8", false),
        ("/_app/immutable/chunks/a.B1c2.js", "text/javascript; charset=utf-8", true),
        ("/_app/immutable/assets/a.B1c2.css", "text/css; charset=utf-8", true),
        ("/_app/immutable/assets/inter.woff2", "font/woff2", true),
        ("/_app/version.json", "application/json", false),
        ("/favicon.svg", "image/svg+xml", false),
    ] {
        let answer = get(&server, path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(answer.header("cache-control").unwrap().contains("immutable"), for_ever, "{path}");
        let etag = answer.header("etag").unwrap().to_owned();
        let again = server.ask("GET", path).header("If-None-Match", &etag).send().await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let head = server.ask("HEAD", path).send().await;
        assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()), "{path}");
    }
}

#[tokio::test]
async fn every_view_gets_the_page_and_no_missing_file_does() {
    let (server, folder) = with_build().await;
    let page = get(&server, "/").await;
    for view in ["/runs", "/runs/job_1", "/runs/", "/settings?tab=keys", "/models/%E6%97%A5"] {
        let answer = get(&server, view).await;
        assert_eq!((answer.status, &answer.body), (200, &page.body), "{view}");
        assert_eq!(answer.header("etag"), page.header("etag"));
    }
    for missing in ["/_app/immutable/gone.js", "/_app/gone", "/robots.txt", "/x/y.map"] {
        assert_eq!(get(&server, missing).await.status, 404, "{missing}");
    }
    assert_eq!(server.ask("POST", "/runs").json("{}").send().await.status, 405);
    let old = page.header("etag").unwrap().to_owned();
    fs::write(folder.path().join("index.html"), "<!doctype html>new").unwrap();
    let new = server.ask("GET", "/").header("If-None-Match", &old).send().await;
    assert_eq!((new.status, new.text().as_str()), (200, "<!doctype html>new"), "read from disk, without a restart");
}

#[tokio::test]
async fn the_page_may_load_itself_and_nothing_else() {
    let (server, _folder) = with_build().await;
    let policy = get(&server, "/runs").await.header("content-security-policy").unwrap().to_owned();
    for part in ["default-src 'self'", "frame-ancestors 'none'", "object-src 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(
        !policy.contains("script-src") && !policy.contains("style-src"),
        "scripts and styles are the default's: {policy}"
    );
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
}

#[tokio::test]
async fn no_address_leads_out_of_the_folder() {
    let (server, folder) = with_build().await;
    let secret = folder.path().parent().unwrap().join("tonebridge-secret.txt");
    fs::write(&secret, "canary").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&secret, folder.path().join("link.txt")).unwrap();
    for path in [
        "/../tonebridge-secret.txt",
        "/%2e%2e/tonebridge-secret.txt",
        "/..%2ftonebridge-secret.txt",
        "/_app/..%2f..%2ftonebridge-secret.txt",
        "/..%5ctonebridge-secret.txt",
        "/%252e%252e%252ftonebridge-secret.txt",
        "//tonebridge-secret.txt",
        "/./../tonebridge-secret.txt",
        "/link.txt",
        "/link.txt/",
        "/%00",
    ] {
        let answer = get(&server, path).await;
        assert!(!answer.text().contains("canary"), "{path}");
        assert_eq!(answer.status, 404, "{path}");
    }
    fs::remove_file(&secret).unwrap();
}

#[tokio::test]
async fn a_program_without_its_interface_says_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("build");
    let server = Running::with(|c| c.ui_folder = Some(path)).await;
    let answer = get(&server, "/runs").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("npm run build") && answer.text().contains("lang=\"ja\""), "{answer:?}");
    assert_eq!(server.rpc("job_list", &serde_json::json!({})).await, serde_json::json!([]), "the API answers");
}
