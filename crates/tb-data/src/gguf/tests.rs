use std::{fs, path::PathBuf};

use serde_json::Value;
use tb_core::{
    dataset::Message,
    export::TokenizerFit,
    gguf::{Value as Meta, head_bytes},
};

use super::*;
use crate::{chat_template::Ending, memory_meter::most_bytes, sample, tokenize::TextTokenizer};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/data").join(name)
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

const KINDS: [&str; 6] = ["llama-bpe", "qwen2", "smollm", "gpt-2", "spm", "spm-bare"];

#[test]
fn tokens_are_those_of_the_models_own_tokenizers() {
    let cases: Value = serde_json::from_slice(&fs::read(golden("gguf/cases.json")).unwrap()).unwrap();
    for kind in KINDS {
        let tokenizer = TextTokenizer::load(&golden(&format!("gguf/{kind}.gguf"))).unwrap();
        let cases = cases[kind].as_array().unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids(&case["ids"]), "{kind}: {text:?}");
            assert_eq!(tokenizer.encode_with_special(text).unwrap(), ids(&case["with_special"]), "{kind}: {text:?}");
            // Special tokens are left out on both sides.
            assert_eq!(tokenizer.decode(&ids(&case["ids"])).unwrap(), case["decoded"].as_str().unwrap(), "{kind}");
        }
    }
}

#[test]
fn special_tokens_and_template_come_along() {
    let tokenizer = TextTokenizer::load(&golden("gguf/llama-bpe.gguf")).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.eos_token()), (Some(0), Some(1), Some("<|end|>")));
    assert!(tokenizer.is_special(2) && !tokenizer.is_special(50));
    let said = [Message { role: "user".into(), content: "hi".into(), more: Map::new() }];
    let text = tokenizer.apply_chat_template(&said, Ending::Closed, None).unwrap().text;
    assert_eq!(text, "<|user|>hi<|end|>");
}

/// A GGUF file with this metadata and no tensors.
fn file(metadata: &[(String, Meta)]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    fs::write(&path, head_bytes(metadata, &[]).0).unwrap();
    (dir, path)
}

fn metadata(name: &str) -> Vec<(String, Meta)> {
    read_header(&golden(&format!("gguf/{name}.gguf"))).unwrap().0.metadata.into_iter().collect()
}

#[test]
fn a_folders_tokenizer_goes_out_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let folder = dir.path().join(kind);
        fs::create_dir(&folder).unwrap();
        let gguf = golden(&format!("gguf/{kind}.gguf"));
        write_tokenizer(&gguf, &folder).unwrap();
        let rows = match read_header(&gguf).unwrap().0.metadata.get("tokenizer.ggml.tokens") {
            Some(Meta::Texts(tokens)) => tokens.len(),
            other => panic!("{other:?}"),
        };
        let out = tokenizer_metadata(&folder, rows, &["It's 12345 o'clock, naïve ☃".into()]).unwrap();
        assert_eq!(out.differing, 0, "{kind}");
        assert_eq!(
            out.fit,
            if kind.starts_with("spm") { TokenizerFit::Scores } else { TokenizerFit::Expressions },
            "{kind}"
        );
        let (mut theirs, mut ours) = (metadata(kind), out.metadata.clone());
        // Scores are made from ranks here, and what is the default is written.
        for list in [&mut theirs, &mut ours] {
            list.retain(|(key, _)| {
                key.starts_with("tokenizer.")
                    && !key.ends_with("scores")
                    && !key.contains("ggml.add_")
                    && !key.ends_with("merges")
            });
            list.sort_by(|a, b| a.0.cmp(&b.0));
        }
        assert_eq!(ours, theirs, "{kind}");
        let (_dir, path) = file(&out.metadata);
        let (own, back) = (TextTokenizer::load(&folder).unwrap(), TextTokenizer::load(&path).unwrap());
        for text in ["The quick brown fox", "東京タワーへ\n\n行きました。 12345", "I'LL  don't ☃ <|user|>"]
        {
            assert_eq!(
                own.encode_with_special(text).unwrap(),
                back.encode_with_special(text).unwrap(),
                "{kind}: {text}"
            );
        }
        assert_eq!(tokenizer_metadata(&path, rows, &[]).unwrap().fit, TokenizerFit::Copied);
    }
}

#[test]
fn the_sample_splits_in_its_own_way_which_is_found_by_trying() {
    let dir = tempfile::tempdir().unwrap();
    let base = sample::write_bundled(dir.path()).unwrap().base;
    let texts: Vec<String> =
        ["- to Diana: check travel request, error p. 22\n- move kickoff", "ご確認のほど、よろしくお願いいたします。"]
            .map(String::from)
            .into();
    let out = tokenizer_metadata(&base, 3072, &texts).unwrap();
    assert_eq!((out.pre.as_str(), out.fit, out.texts, out.differing), ("gpt-2", TokenizerFit::Tried, 3, 0));
    let template = out.metadata.iter().find(|(key, _)| key == "tokenizer.chat_template");
    let Some((_, Meta::Text(template))) = template else { panic!("no template") };
    assert!(!template.contains("generation %}") && template.contains("{% if true %}{{ message['content'] }}"));
    // A text on which every known way gives other tokens: not written, and the text is shown.
    let odd = "b原ッケ営業部藤原 You用 Taraポスターわかりました中山読".to_owned();
    let error = tokenizer_metadata(&base, 3072, &[odd]).unwrap_err().to_string();
    assert!(error.contains("llama.cpp") && error.contains("b原ッケ"), "{error}");
    let error = tokenizer_metadata(&base, 3000, &texts).unwrap_err().to_string();
    assert!(error.contains("no row in the embedding"), "{error}");
}

#[test]
fn what_llama_cpp_cannot_express_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    write_tokenizer(&golden("gguf/gpt-2.gguf"), dir.path()).unwrap();
    let file = dir.path().join("tokenizer.json");
    let whole: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut json = whole.clone();
        change(&mut json);
        fs::write(&file, json.to_string()).unwrap();
        tokenizer_metadata(dir.path(), 422, &[]).unwrap_err().to_string()
    };
    let text = refusal(&|json| json["normalizer"] = serde_json::json!({"type": "Lowercase"}));
    assert!(text.contains("Lowercase"), "{text}");
    let text = refusal(&|json| json["pre_tokenizer"] = serde_json::json!({"type": "Whitespace"}));
    assert!(text.contains("Whitespace"), "{text}");
    let text = refusal(&|json| {
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"] = serde_json::json!({"Regex": "[aeiou]+"})
    });
    assert!(text.contains("way of its own") && text.contains("such as"), "{text}");
    let text = refusal(&|json| json["model"]["type"] = "WordPiece".into());
    assert!(text.contains("tokenizer.json"), "{text}");
}

#[test]
fn broken_tokenizers_are_refused_by_their_key() {
    let refusal = |key: &str, value: Option<Meta>| {
        let mut metadata = metadata("gpt-2");
        metadata.retain(|(name, _)| name != key);
        metadata.extend(value.map(|value| (key.to_owned(), value)));
        let (_dir, path) = file(&metadata);
        let text = TextTokenizer::load(&path).unwrap_err().to_string();
        assert!(text.contains("model.gguf"), "{text}");
        text
    };
    let texts = |items: &[&str]| Some(Meta::Texts(items.iter().map(|s| (*s).to_owned()).collect()));
    assert!(refusal("tokenizer.ggml.tokens", None).contains("tokenizer.ggml.tokens"));
    assert!(refusal("tokenizer.ggml.model", Some(Meta::Text("t5".into()))).contains("t5"));
    assert!(refusal("tokenizer.ggml.pre", Some(Meta::Text("martian".into()))).contains("martian"));
    assert!(refusal("tokenizer.ggml.merges", None).contains("merges"));
    assert!(refusal("tokenizer.ggml.merges", texts(&["ab"])).contains("no pair"));
    // A merge of what the vocabulary does not have.
    assert!(refusal("tokenizer.ggml.merges", texts(&["zzzzzz yyyyyyyy"])).contains("vocabulary"));
    assert!(refusal("tokenizer.ggml.token_type", Some(Meta::Integers(vec![1, 2]))).contains("token_type"));
    assert!(refusal("tokenizer.ggml.eos_token_id", Some(Meta::U32(1 << 30))).contains("eos_token_id"));
    assert!(refusal("tokenizer.ggml.add_bos_token", Some(Meta::U32(1))).contains("add_bos_token"));
    assert!(refusal("tokenizer.chat_template", Some(Meta::Text("{% for %}".into()))).contains("template"));
}

/// Heads that claim 2^32 and 2^63 of everything.
#[test]
fn a_hostile_head_costs_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let text = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    for count in [1_u64 << 32, 1 << 63, u64::MAX] {
        let count = count.to_le_bytes();
        let key = [text(b"general.architecture"), 9_u32.to_le_bytes().to_vec()].concat();
        for tail in [
            [&count[..], &[0; 8]].concat(),
            [&[0; 8], &count[..]].concat(),
            [&[0; 8], &1_u64.to_le_bytes()[..], &count].concat(),
            [&[0; 8], &1_u64.to_le_bytes()[..], &key, &8_u32.to_le_bytes(), &count].concat(),
            [&[0; 8], &1_u64.to_le_bytes()[..], &key, &8_u32.to_le_bytes(), &1_u64.to_le_bytes(), &count].concat(),
            [&1_u64.to_le_bytes(), &[0; 8], &text(b"t")[..], &1_u32.to_le_bytes(), &count, &[0; 4], &count].concat(),
        ] {
            fs::write(&path, [b"GGUF", &3_u32.to_le_bytes()[..], &tail].concat()).unwrap();
            let (result, most) = most_bytes(|| (read_config(&path).is_err(), TextTokenizer::load(&path).is_err()));
            assert_eq!(result, (true, true), "{tail:?}");
            assert!(most < 1 << 20, "{most} bytes");
        }
    }
}
