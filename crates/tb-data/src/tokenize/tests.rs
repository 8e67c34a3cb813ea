//! Agreement with transformers and TRL on golden files (tests/golden/data/make.py), and damaged tokenizer folders.

use std::{fs, path::PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::*;
use crate::{
    chat_template::{ChatTemplate, Marks, Surroundings},
    error::Error,
};

#[derive(Deserialize)]
struct Golden {
    date_string: String,
    templates: Map<String, Value>,
    conversations: std::collections::HashMap<String, Vec<Message>>,
    cases: Vec<Case>,
    plain: Vec<Plain>,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: String,
    add_generation_prompt: bool,
    tools: Option<Value>,
    text: Option<String>,
    ids: Option<Vec<u32>>,
    mask: Option<Vec<u8>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Plain {
    text: String,
    with_special: Vec<u32>,
    without: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct Pair {
    prompt: String,
    completion: String,
    ids: Vec<u32>,
    labels: Vec<i32>,
}

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data")
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(golden_dir().join("chat.json")).unwrap()).unwrap()
}

fn tokenizer() -> TextTokenizer {
    TextTokenizer::load(&golden_dir().join("tokenizer")).unwrap()
}

fn options(loss_on: LossOn) -> RenderOptions {
    RenderOptions { max_length: 4096, loss_on }
}

fn pair(prompt: &str, completion: &str) -> Example {
    Example::PromptCompletion { prompt: Said::Text(prompt.into()), completion: Said::Text(completion.into()) }
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into(), more: Map::new() }
}

#[test]
fn every_rendering_equals_that_of_transformers() {
    let (golden, tokenizer) = (golden(), tokenizer());
    let mut wrong = Vec::new();
    for case in &golden.cases {
        let name = format!("{} x {} open={}", case.template, case.conversation, case.add_generation_prompt);
        let mut variables = Map::new();
        for (token, text) in
            [("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>"), ("date_string", &golden.date_string)]
        {
            variables.insert(token.into(), text.into());
        }
        let source = golden.templates[&case.template].as_str().unwrap();
        let template = ChatTemplate::new(source, &name, variables).unwrap();
        let ending = if case.add_generation_prompt { Ending::Open } else { Ending::Closed };
        let around = Surroundings { tools: case.tools.as_ref(), now_ms: None };
        let rendered = template.render(&golden.conversations[&case.conversation], ending, around);
        match (rendered, &case.error) {
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{name}: {error}"),
            (Ok(rendered), None) => {
                if Some(&rendered.text) != case.text.as_ref() {
                    wrong.push(format!("{name}\n ours   {:?}\n theirs {:?}", rendered.text, case.text));
                    continue;
                }
                let whole = tokenizer.encode_offsets(&rendered.text, rendering::Special::AsWritten).unwrap();
                assert_eq!(Some(&whole.ids), case.ids.as_ref(), "{name}");
                if let Some(mask) = &case.mask {
                    let ours: Vec<u8> = whole
                        .offsets
                        .iter()
                        .map(|(from, to)| {
                            u8::from(rendered.assistant.iter().any(|span| *from < span.end && *to > span.start))
                        })
                        .collect();
                    assert_eq!(&ours, mask, "{name}");
                }
            }
            (Ok(rendered), Some(expected)) => wrong.push(format!("{name}: {:?} where {expected}", rendered.text)),
            (Err(error), None) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(golden.cases.len() >= 40);
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), golden.cases.len(), wrong.join("\n"));
}

#[test]
fn plain_texts_become_the_tokens_of_transformers() {
    let tokenizer = tokenizer();
    for plain in golden().plain {
        assert_eq!(tokenizer.encode_with_special(&plain.text).unwrap(), plain.with_special, "{:?}", plain.text);
        assert_eq!(tokenizer.encode(&plain.text).unwrap(), plain.without, "{:?}", plain.text);
        assert_eq!(tokenizer.decode(&plain.with_special).unwrap(), plain.decoded);
    }
    let ids = (tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id());
    assert_eq!(ids, (Some(0), Some(1), Some(2)));
}

#[test]
fn prompts_and_completions_get_the_labels_of_trl() {
    let tokenizer = tokenizer();
    for golden in golden().pairs {
        let example = pair(&golden.prompt, &golden.completion);
        let row = render_row(&tokenizer, &example, &options(LossOn::Auto)).unwrap();
        assert_eq!((&row.ids, &row.labels), (&golden.ids, &golden.labels), "{:?}", golden.prompt);
        let all = render_row(&tokenizer, &example, &options(LossOn::All)).unwrap();
        assert_eq!(all.supervised(), golden.ids.len());
        let prompt = prompt_ids(&tokenizer, &example).unwrap();
        assert_eq!(golden.labels.iter().filter(|l| **l == IGNORED).count(), prompt.len());
    }
}

#[test]
fn only_answers_carry_loss_and_the_view_shows_it() {
    let tokenizer = tokenizer();
    let messages = vec![
        message("user", "休む"),
        message("assistant", "お休みを"),
        message("user", "b"),
        message("assistant", "c!"),
    ];
    let example = Example::Messages { messages };
    let view = token_view(&tokenizer, &example, &options(LossOn::Assistant)).unwrap();
    let learnt: String = view.iter().filter(|t| t.loss).map(|t| t.text.as_str()).collect();
    assert_eq!(learnt, "お休みを<|im_end|>c!<|im_end|>");
    let marks: Vec<&str> = view.iter().filter(|t| t.special).map(|t| t.text.as_str()).collect();
    assert_eq!(marks, ["<|im_start|>", "<|im_end|>"].repeat(4));
    let whole: String = view.iter().map(|t| t.text.as_str()).collect();
    assert!(whole.starts_with("<|im_start|>user\n休む<|im_end|>\n<|im_start|>assistant\nお休みを"), "{whole}");
    let row = render_row(&tokenizer, &example, &options(LossOn::Auto)).unwrap();
    assert_eq!(row.supervised(), row.ids.len());
    assert!(matches!(render_row(&tokenizer, &example, &options(LossOn::Completion)), Err(Error::WrongShape { .. })));
    assert_eq!(target_text(&example).unwrap(), "c!");
}

#[test]
fn answers_are_found_without_marks_where_the_template_allows_it() {
    let golden = golden();
    let dir = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(golden_dir().join("tokenizer").join(name), dir.path().join(name)).unwrap();
    }
    let learnt = |template: &str| {
        fs::write(dir.path().join("chat_template.jinja"), golden.templates[template].as_str().unwrap()).unwrap();
        let tokenizer = TextTokenizer::load(dir.path()).unwrap();
        assert_eq!(tokenizer.chat_marks(), Marks::None);
        let example = Example::Messages { messages: golden.conversations["system_turns"].clone() };
        let view = token_view(&tokenizer, &example, &options(LossOn::Assistant))?;
        Ok::<String, Error>(view.iter().filter(|t| t.loss).map(|t| t.text.as_str()).collect())
    };
    assert_eq!(learnt("chatml").unwrap(), "One.<|im_end|>\nTwo.<|im_end|>\n");
    assert_eq!(learnt("llama3").unwrap(), "One.<|eot_id|>Two.<|eot_id|>");
    // This one moves the system text to the last user message: the beginnings differ, and nothing is guessed.
    assert!(matches!(learnt("mistral"), Err(Error::NoGenerationMarks { .. })));
}

#[test]
fn conversations_as_prompt_and_completion_learn_the_completion() {
    let tokenizer = tokenizer();
    let example = Example::PromptCompletion {
        prompt: Said::Messages(vec![message("user", "hi")]),
        completion: Said::Messages(vec![message("assistant", "Good day")]),
    };
    let row = render_row(&tokenizer, &example, &options(LossOn::Auto)).unwrap();
    let learnt: Vec<u32> = row.labels.iter().filter_map(|l| u32::try_from(*l).ok()).collect();
    assert_eq!(tokenizer.decode_all(&learnt).unwrap(), "Good day<|im_end|>\n");
    assert!(!row.border_shifted && !row.cut);
    assert_eq!(frame_prompt(&tokenizer, "hi", Framing::Chat).unwrap(), prompt_ids(&tokenizer, &example).unwrap());
}

#[test]
fn a_long_row_is_cut_at_its_end_and_says_so() {
    let tokenizer = tokenizer();
    let whole = render_row(&tokenizer, &pair("abc", "def"), &options(LossOn::Auto)).unwrap();
    let short = RenderOptions { max_length: 3, loss_on: LossOn::Auto };
    let row = render_row(&tokenizer, &pair("abc", "def"), &short).unwrap();
    assert!(row.cut && !whole.cut);
    assert_eq!(row.ids, whole.ids[..3]);
    assert_eq!(row.labels.len(), 3);
}

#[test]
fn damaged_tokenizer_folders_are_named_and_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];
    for name in names {
        fs::copy(golden_dir().join("tokenizer").join(name), dir.path().join(name)).unwrap();
    }
    let example = Example::Messages { messages: vec![message("user", "a b"), message("assistant", "c")] };
    for name in names {
        let file = dir.path().join(name);
        let whole = fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 90 + 1) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            for bytes in [whole[..at].to_vec(), flipped] {
                fs::write(&file, &bytes).unwrap();
                match TextTokenizer::load(dir.path()) {
                    Err(error) => assert!(error.to_string().contains(name), "{error}"),
                    Ok(tokenizer) => drop(render_row(&tokenizer, &example, &options(LossOn::Auto))),
                }
            }
        }
        fs::write(&file, &whole).unwrap();
    }
    fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    let error = TextTokenizer::load(dir.path()).unwrap_err();
    assert_eq!(error.code(), tb_core::ErrorCode::NotFound);
}

#[test]
fn files_known_to_make_the_library_panic_are_errors() {
    // huggingface/tokenizers#2094: a merge whose parts are not in the vocabulary, and a pattern that backtracks without end.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokenizer.json");
    let bpe =
        r#"{"version":"1.0","added_tokens":[],"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a","c"]]}}"#;
    fs::write(&file, bpe).unwrap();
    assert!(TextTokenizer::load(dir.path()).unwrap_err().to_string().contains("tokenizer.json"));
    let backtracking = r#"{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Split","pattern":{"Regex":"^(a+)+$"},
        "behavior":"Isolated","invert":false},"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}"#;
    fs::write(&file, backtracking).unwrap();
    let tokenizer = TextTokenizer::load(dir.path()).unwrap();
    let error = tokenizer.encode(&("a".repeat(30) + "!")).unwrap_err();
    assert!(matches!(error, Error::Tokenizer { .. }), "{error}");
}
