//! `/upload`: whole files in folders of their own, whatever they are called.

use std::{fs, path::Path};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{Running, files, until};

fn stored(answer: &crate::support::Answer) -> std::path::PathBuf {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["path"].as_str().unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_file_can_be_imported() {
    let server = Running::start().await;
    let rows: String = (0..6).map(|i| format!("{{\"prompt\":\"a{i}\",\"completion\":\"b\"}}\n")).collect();
    let path = stored(&server.ask("POST", "/upload?name=%E8%A1%8C.jsonl").body(rows.as_bytes()).send().await);
    assert_eq!(path.file_name().unwrap(), "行.jsonl");
    assert_eq!(fs::read_to_string(&path).unwrap(), rows);
    let preview = server.rpc("data_preview", &json!({ "path": path })).await;
    assert_eq!(preview["num_samples"], 6);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out_of_the_folder_of_uploads() {
    let server = Running::start().await;
    let uploads = server.ctx.home().join("uploads");
    let mut expected = files(server.folder()).len();
    for name in [
        "..%2f..%2fescaped.csv",
        "..%5c..%5cescaped.csv",
        "%2fetc%2fescaped.csv",
        "C%3a%5cescaped.csv",
        "%252e%252e%252fescaped.csv",
        "..%c0%afescaped.csv",
        "%EF%BC%8E%EF%BC%8E%EF%BC%8Fescaped.csv",
        "escaped.csv%00.png",
        ".partial",
        "....%2f%2fescaped.csv",
        "CON",
        "a%0d%0ab.csv",
        "%E2%80%AEvsc.exe",
        "%27%3B%20DROP%20TABLE%20jobs.csv",
    ] {
        let answer = server.ask("POST", &format!("/upload?name={name}")).body(b"a,b\n").send().await;
        if answer.status == 400 {
            continue;
        }
        let path = stored(&answer);
        expected += 1;
        assert_eq!(path.parent().unwrap().parent().unwrap(), uploads, "{name}");
        assert_eq!(fs::read(&path).unwrap(), b"a,b\n", "{name}");
        let last = path.file_name().unwrap().to_str().unwrap();
        assert!(!last.starts_with('.') && !last.chars().any(char::is_control), "{name}: {last:?}");
    }
    for name in ["", ".", "..", "..%2f", "%00", "%2f"] {
        let answer = server.ask("POST", &format!("/upload?name={name}")).body(b"x").send().await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_argument"), "{name:?}");
    }
    assert_eq!(server.ask("POST", "/upload").body(b"x").send().await.status, 400);
    // The database's side files come and go; nothing else may.
    let outside: Vec<_> = files(server.folder())
        .into_iter()
        .filter(|f| f.to_string_lossy().contains("escaped") && !f.starts_with(&uploads))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
    assert!(files(server.folder()).len() <= expected + 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_in_place_of_the_folder_is_not_followed() {
    let server = Running::start().await;
    let elsewhere = server.folder().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, server.ctx.home().join("uploads")).unwrap();
    let answer = server.ask("POST", "/upload?name=x.csv").body(b"x").send().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_and_broken_off_leave_nothing() {
    let server = Running::with(|c| c.limits.upload_bytes = 1000).await;
    let uploads = server.ctx.home().join("uploads");
    stored(&server.ask("POST", "/upload?name=x.csv").body(&[b'x'; 1000]).send().await);
    let over = server.ask("POST", "/upload?name=x.csv").body(&[b'x'; 1001]).send().await;
    assert_eq!((over.status, over.code().as_str()), (413, "invalid_argument"));
    let chunked = server.ask("POST", "/upload?name=x.csv").header("Transfer-Encoding", "chunked").bytes();
    let piece = format!("1f4\r\n{}\r\n", "x".repeat(500)).into_bytes();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&chunked).await.unwrap();
    for _ in 0..3 {
        stream.write_all(&piece).await.unwrap();
    }
    assert_eq!(crate::support::Answering::read(stream).await.status, 413, "counted while it comes");

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&chunked).await.unwrap();
    stream.write_all(&piece).await.unwrap();
    until("the file begins", || files(&uploads).len() == 2).await;
    drop(stream);
    until("the broken upload is removed", || {
        files(&uploads).len() == 1 && fs::read_dir(&uploads).unwrap().count() == 1
    })
    .await;
    let form = server.ask("POST", "/upload?name=x.csv").header("Content-Type", "multipart/form-data; boundary=x");
    assert_eq!(form.body(b"--x").send().await.status, 415);
}
