//! The server as a user runs it: a run started over HTTP, followed as events, its files taken; ended by a signal in the middle
//! of another run, which goes on.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tonebridge_tests::{Home, Sample};

/// A running `tonebridge serve`.
struct Served {
    child: Child,
    address: String,
    token: String,
}

impl Served {
    fn start(home: &Home) -> Self {
        let mut command = home.command(&["serve", "--port", "0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let (origin, token) = line.trim_end().split_once("/?token=").unwrap_or_else(|| panic!("no link: {line}"));
        Self { child, address: origin.trim_start_matches("http://").to_owned(), token: token.to_owned() }
    }

    fn open(&self, method: &str, target: &str, body: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a limit");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("it is sent");
        BufReader::new(stream)
    }

    /// Status and body of an answer.
    fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Vec<u8>) {
        let mut answer = Vec::new();
        self.open(method, target, body).read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let status = String::from_utf8_lossy(&answer[9..12]).parse().expect("a status");
        let body = answer.split_off(end + 4);
        (status, body)
    }

    fn rpc(&self, name: &str, arguments: &Value) -> Value {
        let (status, body) = self.ask("POST", &format!("/rpc/{name}"), &arguments.to_string());
        assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).expect("JSON")
    }

    fn start_run(&self, sample: &Sample, steps: u32) -> String {
        let hyperparameters = json!({ "max_steps": steps, "per_device_train_batch_size": 4, "save_steps": 5 });
        let start = json!({ "base_model": sample.base, "data": sample.train, "hyperparameters": hyperparameters });
        self.rpc("job_start", &start)["id"].as_str().expect("an id").to_owned()
    }

    /// Events after a number, until `last` is one.
    fn follow(&self, after: i64, mut last: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        for line in self.open("GET", &format!("/events?after_seq={after}"), "").lines() {
            let line = line.expect("the stream goes on");
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(data).expect("JSON");
            let is_last = last(&event);
            events.push(event);
            if is_last {
                return events;
            }
        }
        panic!("the stream ended early: {events:?}");
    }

    /// Ends it as a service manager does; what it said.
    fn terminate(mut self) -> String {
        let began = Instant::now();
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(told.success());
        let status = self.child.wait().expect("its end");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let mut said = String::new();
        self.child.stderr.take().expect("its errors").read_to_string(&mut said).expect("text");
        assert!(status.success(), "{status}: {said}");
        said
    }
}

fn is_end_of(id: &str, event: &Value) -> bool {
    let job = &event["body"]["job"];
    job["id"] == id && job["status"] == "completed"
}

#[test]
fn a_run_is_started_followed_and_taken_over_http_and_outlives_the_server() {
    let home = Home::new();
    let sample = home.sample();
    let server = Served::start(&home);
    let id = server.start_run(&sample, 6);
    let events = server.follow(0, |event| is_end_of(&id, event));
    let numbers: Vec<i64> = events.iter().filter_map(|e| e["seq"].as_i64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "no gap, no doubles");
    let steps: Vec<u64> = events
        .iter()
        .filter(|e| e["body"]["type"] == "points")
        .flat_map(|e| e["body"]["points"].as_array().into_iter().flatten().filter_map(|p| p["step"].as_u64()))
        .collect();
    assert_eq!(steps, (1..=6).collect::<Vec<_>>());

    assert_eq!(server.ask("GET", &format!("/files/{id}/chart.png"), "").0, 404, "not drawn yet");
    server.rpc("job_chart", &json!({ "id": id }));
    for (name, begins) in [
        ("chart.png", &b"\x89PNG"[..]),
        ("chart.svg", b"<svg"),
        ("adapter_config.json", b"{"),
        ("adapter_model.safetensors", b""),
    ] {
        let (status, body) = server.ask("GET", &format!("/files/{id}/{name}"), "");
        assert!(
            status == 200 && body.len() > 100 && body.starts_with(begins),
            "{name}: {status}, {} bytes",
            body.len()
        );
    }
    assert_eq!(server.ask("GET", &format!("/files/{id}/spec.json"), "").0, 404);

    let model = server.rpc("model_list", &json!({}))[0]["id"].clone();
    let sides = json!([{ "base_model": sample.base }, { "model_id": model }]);
    let ask = json!({ "sides": sides, "prompt": "<|user|>hello<|assistant|>", "decoding": { "max_new_tokens": 4 } });
    let mut kinds = Vec::new();
    for line in server.open("POST", "/stream/generate", &ask.to_string()).lines() {
        // Sizes of the pieces stand between the items.
        let line = line.expect("the answer goes on");
        if let Some(item) = line.starts_with('{').then(|| serde_json::from_str::<Value>(&line).expect("JSON")) {
            kinds.push(format!("{} {}", item["side"], item["type"].as_str().unwrap_or_default()));
        }
    }
    for side in 0..2 {
        for kind in ["started", "done"] {
            assert!(kinds.contains(&format!("{side} {kind}")), "{side} {kind}: {kinds:?}");
        }
    }

    let second = server.start_run(&sample, 40);
    let seen = server.follow(numbers.len() as i64, |e| e["body"]["job_id"] == *second && e["body"]["type"] == "points");
    let last = seen.last().and_then(|e| e["seq"].as_i64()).expect("a number");
    let said = server.terminate();
    assert!(said.contains(&format!("One run goes on without it: {second}")), "{said}");
    let server = Served::start(&home);
    let rest = server.follow(last, |event| is_end_of(&second, event));
    assert_eq!(rest.first().and_then(|e| e["seq"].as_i64()), Some(last + 1), "it goes on where it stopped");
    let curves = server.rpc("job_metrics", &json!({ "id": second }));
    let steps: Vec<u64> =
        curves["steps"].as_array().expect("points").iter().filter_map(|p| p["step"].as_u64()).collect();
    assert_eq!(steps, (1..=40).collect::<Vec<_>>(), "every step once");
    server.terminate();
}
