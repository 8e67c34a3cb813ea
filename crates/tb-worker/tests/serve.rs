//! The serving worker as a process, on the sample's base model: the same text as the one-shot worker, whole characters, answers side by
//! side, an end to what is not wanted, and a host that may say anything or die.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use candle_core::{DType, Device};
use serde_json::{Value, json};
use tb_core::ErrorCode;
use tb_core::dataset::Message;
use tb_core::recipe::Dtype;
use tb_core::run_folder::{
    Decoding, Framing, GenerateTask, ModelSource, RunEventBody, RunSpec, SCHEMA as RUN_SCHEMA, Task,
};
use tb_core::serving::{Finish, Finished, Generate, Load, Op, Prompt, Reply, ReplyBody, Request, SCHEMA};
use tb_data::files::RunFolder;
use tb_data::sample::{SEED, rows, write_bundled};
use tb_nn::decoder::Decoder;
use tb_nn::{LoraConfig, LoraInit, TargetModules};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tonebridge-worker");

/// Longest time anything may take; only a broken program needs it.
const LIMIT: Duration = Duration::from_secs(60);

/// The sample's base and, beside it, a random adapter and a model that never ends.
struct Place {
    dir: tempfile::TempDir,
    base: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = write_bundled(dir.path()).unwrap().base;
        Self { dir, base }
    }

    fn adapter(&self) -> PathBuf {
        let folder = self.dir.path().join("adapter");
        let mut decoder = Decoder::load(&self.base, DType::F32, &Device::Cpu).unwrap();
        let target_modules = TargetModules::List(vec!["v_proj".into(), "down_proj".into()]);
        let config = LoraConfig { r: 2, target_modules, init: LoraInit::Random, ..LoraConfig::default() };
        decoder.add_lora(&config, 5).unwrap();
        decoder.save_adapter(&folder, "base").unwrap();
        folder
    }

    /// The base with a large context and an end token that it never gives.
    fn endless(&self) -> PathBuf {
        let folder = self.dir.path().join("endless");
        std::fs::create_dir(&folder).unwrap();
        for file in std::fs::read_dir(&self.base).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        config["max_position_embeddings"] = 1_000_000.into();
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        std::fs::write(folder.join("generation_config.json"), json!({"eos_token_id": 0}).to_string()).unwrap();
        folder
    }
}

struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    last_id: u64,
}

/// What came of a generation.
#[derive(Debug)]
struct Made {
    parts: Vec<String>,
    framing: Framing,
    finished: Finished,
}

impl Made {
    fn text(&self) -> String {
        self.parts.concat()
    }
}

impl Worker {
    /// A worker that has said that it is ready.
    fn start() -> Self {
        let mut child = Command::new(PROGRAM)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut worker = Self { child, stdin, stdout, last_id: 0 };
        let Reply { id: None, body: ReplyBody::Ready { schema: SCHEMA, .. } } = worker.reply() else {
            panic!("the first line says that the worker is ready")
        };
        worker
    }

    /// A worker that holds a base.
    fn with(base: &Path) -> Self {
        let mut worker = Self::start();
        let id = worker.ask(Op::Load(Load {
            device: "cpu".into(),
            base: base.to_owned(),
            dtype: Dtype::Auto,
            quantization: None,
        }));
        let reply = worker.reply();
        assert!(reply.id == Some(id) && matches!(reply.body, ReplyBody::Loaded(_)), "{reply:?}");
        worker
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn ask(&mut self, op: Op) -> u64 {
        self.last_id += 1;
        let line = serde_json::to_string(&Request { id: self.last_id, op }).unwrap();
        self.say(&line);
        self.last_id
    }

    fn generate(&mut self, adapter: Option<&Path>, prompt: &Prompt, decoding: &Decoding) -> u64 {
        self.ask(Op::Generate(Box::new(Generate {
            adapter: adapter.map(Path::to_owned),
            prompt: prompt.clone(),
            decoding: decoding.clone(),
        })))
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the worker has ended");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    /// Reads to the last line of a request and gives its lines; lines of others are passed over.
    fn lines(&mut self, id: u64) -> Vec<ReplyBody> {
        let mut found = Vec::new();
        loop {
            let reply = self.reply();
            if reply.id == Some(id) {
                let last = reply.body.is_last();
                found.push(reply.body);
                if last {
                    return found;
                }
            }
        }
    }

    fn made(&mut self, id: u64) -> Made {
        made(self.lines(id))
    }

    fn refused(&mut self, id: u64) -> (ErrorCode, String) {
        match self.lines(id).pop().unwrap() {
            ReplyBody::Failed(error) => (error.code, error.message),
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(start.elapsed() < LIMIT, "the worker does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn made(lines: Vec<ReplyBody>) -> Made {
    let mut lines = lines.into_iter();
    let framing = match lines.next() {
        Some(ReplyBody::Started { framing, .. }) => framing,
        other => panic!("{other:?}"),
    };
    let mut parts = Vec::new();
    for line in lines {
        match line {
            ReplyBody::Text { text } => parts.push(text),
            ReplyBody::Done(finished) => return Made { parts, framing, finished },
            other => panic!("{other:?}"),
        }
    }
    panic!("no last line")
}

fn text(text: &str) -> Prompt {
    Prompt::Text { text: text.to_owned() }
}

fn user(content: &str) -> Prompt {
    let message = Message { role: "user".into(), content: content.into(), more: serde_json::Map::new() };
    Prompt::Messages { messages: vec![message] }
}

fn greedy() -> Decoding {
    Decoding { max_new_tokens: 64, ..Decoding::default() }
}

fn sampled(seed: u64) -> Decoding {
    Decoding { temperature: 1.0, top_p: 0.9, seed, ..greedy() }
}

/// The answers of the one-shot worker, each prompt in a run of its own.
fn one_shot(place: &Place, adapter: Option<&Path>, prompt: &str, decoding: &Decoding) -> (String, u32, String) {
    let name = format!("run-{}", std::fs::read_dir(place.dir.path()).unwrap().count());
    let task = Task::Generate(GenerateTask {
        model: ModelSource { base: place.base.clone(), adapter: adapter.map(Path::to_owned) },
        prompts: vec![prompt.to_owned()],
        framing: Framing::Plain,
        decoding: decoding.clone(),
        dtype: Dtype::Auto,
    });
    let spec = RunSpec { schema: RUN_SCHEMA, run_id: name.clone(), device: "cpu".into(), task };
    let run = RunFolder::create(&place.dir.path().join(name), &spec).unwrap();
    let status = Command::new(PROGRAM).arg("--run").arg(run.path()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let events = run.events_after(0).unwrap();
    let answer = events.into_iter().find_map(|event| match event.body {
        RunEventBody::Generated { text, tokens, finish, .. } => Some((text, tokens, finish)),
        _ => None,
    });
    answer.unwrap()
}

#[test]
fn answers_are_those_of_the_one_shot_worker_in_whole_characters() {
    let place = Place::new();
    let mut worker = Worker::with(&place.base);
    let rows = rows(SEED).heldout;
    let of = |language: &str| {
        let rows = rows.iter().filter(|r| r.id.contains(language));
        rows.max_by_key(|r| r.prompt.len()).unwrap().prompt.clone()
    };
    let cut = Decoding { max_new_tokens: 7, ..greedy() };
    let cases = [(of("-ja-"), greedy()), (of("-ja-"), cut), (of("-en-"), sampled(1)), (of("-ja-"), sampled(2))];
    let mut parts = 0;
    for (prompt, decoding) in cases {
        let id = worker.generate(None, &text(&prompt), &decoding);
        let made = worker.made(id);
        let (expected, tokens, finish) = one_shot(&place, None, &prompt, &decoding);
        assert_eq!(made.text(), expected, "{prompt}");
        assert_eq!((made.finished.tokens, made.finished.finish.as_str()), (tokens, finish.as_str()));
        parts += made.parts.len();
        assert!(made.parts.iter().all(|p| !p.is_empty() && !p.ends_with('\u{fffd}')), "{:?}", made.parts);
    }
    assert!(parts > 12, "four answers stream: {parts} parts");
}

#[test]
fn prompts_that_begin_alike_are_answered_as_if_each_were_the_first() {
    let place = Place::new();
    let adapter = place.adapter();
    let mut worker = Worker::with(&place.base);
    // About a hundred of the base's hundred and sixty tokens: a block that is kept, and more.
    let instruction = "Rewrite politely, and keep every name, number and date as it is: ".repeat(5);
    let short = Decoding { max_new_tokens: 12, ..greedy() };
    for own in ["send me the file", "call Ann at 3 pm", "send me the file"] {
        for adapter in [None, Some(adapter.as_path())] {
            let prompt = format!("{instruction}{own}");
            let id = worker.generate(adapter, &text(&prompt), &short);
            let made = worker.made(id);
            assert!(made.finished.prompt_tokens > 64 + 17, "{}: nothing could be kept", made.finished.prompt_tokens);
            let (expected, tokens, _) = one_shot(&place, adapter, &prompt, &short);
            assert_eq!((made.text(), made.finished.tokens), (expected, tokens), "{prompt}");
        }
    }
}

#[test]
fn a_conversation_goes_through_the_template_or_plain_where_there_is_none() {
    let place = Place::new();
    let mut worker = Worker::with(&place.base);
    let said = "Rewrite politely:\nsend me the file";
    let id = worker.generate(None, &user(said), &greedy());
    let chat = worker.made(id);
    let id = worker.generate(None, &text(&format!("<|user|>{said}<|assistant|>")), &greedy());
    let spelled = worker.made(id);
    assert_eq!((chat.framing, spelled.framing), (Framing::Chat, Framing::Plain));
    assert_eq!(chat.text(), spelled.text());
    assert_eq!(chat.finished.finish, Finish::Eos);

    let config = place.base.join("tokenizer_config.json");
    let mut names: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    names.as_object_mut().unwrap().remove("chat_template");
    std::fs::write(&config, names.to_string()).unwrap();
    let mut bare = Worker::with(&place.base);
    let id = bare.generate(None, &user(said), &greedy());
    let framed = bare.made(id);
    let id = bare.generate(None, &text(said), &greedy());
    assert_eq!((framed.framing, framed.text()), (Framing::Plain, bare.made(id).text()));
}

#[test]
fn base_and_adapter_answer_side_by_side_from_one_base() {
    let place = Place::new();
    let adapter = place.adapter();
    let prompt = rows(SEED).heldout[0].prompt.clone();
    let alone = |adapter| one_shot(&place, adapter, &prompt, &sampled(3)).0;
    let (base, tuned) = (alone(None), alone(Some(adapter.as_path())));
    assert_ne!(base, tuned, "the adapter must do something");

    let mut worker = Worker::with(&place.base);
    let sides = [Some(adapter.as_path()), None, Some(adapter.as_path()), None];
    let ids = sides.map(|adapter| worker.generate(adapter, &text(&prompt), &sampled(3)));
    let mut lines: Vec<(u64, Vec<ReplyBody>)> = ids.iter().map(|id| (*id, Vec::new())).collect();
    let mut order = Vec::new();
    while lines.iter().any(|(_, lines)| lines.last().is_none_or(|l| !l.is_last())) {
        let reply = worker.reply();
        let of = lines.iter_mut().find(|(id, _)| reply.id == Some(*id)).unwrap();
        if matches!(reply.body, ReplyBody::Text { .. }) {
            order.push(of.0);
        }
        of.1.push(reply.body);
    }
    let texts: Vec<String> = lines.into_iter().map(|(_, lines)| made(lines).text()).collect();
    assert_eq!(texts, [&tuned, &base, &tuned, &base].map(String::clone), "nobody changes another's answer");
    let changes = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes > 10, "they grow side by side: {order:?}");
}

#[test]
fn what_is_not_wanted_any_more_ends_at_once() {
    let place = Place::new();
    let mut worker = Worker::with(&place.endless());
    let long = Decoding { max_new_tokens: 500_000, ..sampled(1) };
    let target = worker.generate(None, &user("Hello"), &long);
    while !matches!(worker.reply().body, ReplyBody::Text { .. }) {}
    let cancel = worker.ask(Op::Cancel { target });
    let mut heard = false;
    let mut after = 0;
    let finished = loop {
        let reply = worker.reply();
        match reply.body {
            ReplyBody::Cancelled => {
                assert_eq!(reply.id, Some(cancel));
                heard = true;
            }
            ReplyBody::Text { .. } if heard => after += 1,
            ReplyBody::Text { .. } => {}
            ReplyBody::Done(finished) => break finished,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(finished.finish, Finish::Stopped);
    assert!(after <= 1, "at most the token that was being made: {after}");
    // The answer may end before the one who cancelled it is told.
    if !heard {
        assert_eq!(worker.reply(), Reply { id: Some(cancel), body: ReplyBody::Cancelled });
    }
    // The place is free, and one that has ended can be cancelled again.
    let id = worker.ask(Op::Cancel { target });
    assert_eq!(worker.lines(id), [ReplyBody::Cancelled]);
    let id = worker.generate(None, &user("Hello"), &greedy());
    assert_eq!(worker.made(id).finished.finish, Finish::Length);
}

#[test]
fn bad_requests_are_answered_and_the_worker_goes_on() {
    let place = Place::new();
    let mut worker = Worker::start();
    let id = worker.generate(None, &text("Hi"), &greedy());
    assert_eq!(worker.refused(id).0, ErrorCode::Conflict, "no model is loaded");
    let nowhere =
        Load { device: "cpu".into(), base: place.dir.path().join("nowhere"), dtype: Dtype::Auto, quantization: None };
    let id = worker.ask(Op::Load(nowhere));
    assert!(worker.refused(id).1.contains("nowhere"));
    let id = worker.ask(Op::Load(Load {
        device: "tpu".into(),
        base: place.base.clone(),
        dtype: Dtype::Auto,
        quantization: None,
    }));
    assert!(worker.refused(id).1.contains("tpu"));
    for line in
        ["garbage", "{\"id\":", "[]", "{\"op\":\"generate\"}", "\u{fffd}\u{0}", "{\"id\":-1,\"op\":\"shutdown\"}"]
    {
        worker.say(line);
        let reply = worker.reply();
        assert!(matches!(reply.body, ReplyBody::Failed(_)) && reply.id.is_none(), "{line}: {reply:?}");
    }
    worker.say("{\"id\":900,\"op\":\"dance\"}");
    assert_eq!(worker.reply().id, Some(900));

    let id = worker.ask(Op::Load(Load {
        device: "cpu".into(),
        base: place.base.clone(),
        dtype: Dtype::Auto,
        quantization: None,
    }));
    assert!(matches!(worker.lines(id)[..], [ReplyBody::Loaded(_)]));
    let id = worker.generate(Some(&place.dir.path().join("no-adapter")), &text("Hi"), &greedy());
    assert!(worker.refused(id).1.contains("no-adapter"));
    let id = worker.generate(None, &text(""), &greedy());
    assert!(worker.refused(id).1.contains("0 tokens"));
    let id = worker.generate(None, &text(&"word ".repeat(400)), &greedy());
    assert!(worker.refused(id).1.contains("160"), "the context is named");
    let id = worker.generate(None, &text("Hi"), &Decoding { temperature: -1.0, ..greedy() });
    assert!(worker.refused(id).1.contains("temperature"));
    let message = Message { role: "wizard".into(), content: "Hi".into(), more: serde_json::Map::new() };
    let id = worker.generate(None, &Prompt::Messages { messages: vec![message] }, &greedy());
    assert!(worker.refused(id).1.contains("roles"), "the template's own words");

    let id = worker.generate(None, &text("<|user|>Hello"), &Decoding { max_new_tokens: 1000, ..sampled(9) });
    let finish = worker.made(id).finished.finish;
    assert!(matches!(finish, Finish::Eos | Finish::Context), "{finish}");
}

#[test]
fn the_worker_ends_with_its_host_whatever_it_is_doing() {
    let place = Place::new();
    let endless = place.endless();
    let long = Decoding { max_new_tokens: 500_000, ..sampled(1) };
    let mut worker = Worker::with(&endless);
    worker.generate(None, &user("Hello"), &long);
    while !matches!(worker.reply().body, ReplyBody::Text { .. }) {}
    worker.stdin = None;
    assert_eq!(worker.wait(), Some(0));

    let mut worker = Worker::with(&endless);
    worker.generate(None, &user("Hello"), &long);
    worker.ask(Op::Shutdown);
    assert_eq!(worker.wait(), Some(0));
}
