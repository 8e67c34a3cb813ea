//! Damaged and hostile tokenizer files: each ends as an error that names the file or works, within a second or two and without a panic
//! that gets out.

use std::{fs, path::PathBuf, time::Instant};

use serde_json::{Value, json};

use super::TextTokenizer;
use crate::memory_meter::most_bytes;

fn small() -> Value {
    let vocab: serde_json::Map<String, Value> =
        ["<s>", "a", "b", "ab", "!", "Ġ"].iter().enumerate().map(|(id, t)| ((*t).to_owned(), json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [["a", "b"]]},
    })
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("tokenizer.json")
    }

    /// Loads these bytes and uses what was loaded on two texts.
    fn use_it(&self, bytes: &[u8], text: &str) -> Result<Vec<u32>, String> {
        fs::write(self.file(), bytes).unwrap();
        let started = Instant::now();
        let (out, most) = most_bytes(|| {
            let tokenizer = TextTokenizer::load(self.dir.path()).map_err(|e| e.to_string())?;
            let ids = tokenizer.encode_with_special(text).map_err(|e| e.to_string())?;
            tokenizer.decode(&ids).map_err(|e| e.to_string())?;
            Ok(ids)
        });
        assert!(most < 64 << 20, "{most} bytes");
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
        if let Err(text) = &out {
            let text: &String = text;
            assert!(text.contains("tokenizer.json"), "{text}");
        }
        out
    }
}

#[test]
fn the_small_one_works() {
    assert_eq!(Place::new().use_it(small().to_string().as_bytes(), "ab!a").unwrap(), [0, 3, 4, 1]);
}

#[test]
fn cut_at_every_byte_it_is_refused_by_name() {
    let (place, whole) = (Place::new(), small().to_string());
    for length in 0..whole.len() {
        assert!(place.use_it(&whole.as_bytes()[..length], "ab").is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_thousand_flipped_bits_never_panic() {
    let (place, whole) = (Place::new(), small().to_string().into_bytes());
    let mut refused = 0;
    for i in 0..1000_u64 {
        let mut bytes = whole.clone();
        let bit = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        refused += usize::from(place.use_it(&bytes, "ab!a <s> b").is_err());
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn known_ways_to_bring_the_library_down_end_as_errors() {
    let place = Place::new();
    let refusal = |change: &dyn Fn(&mut Value), text: &str| {
        let mut json = small();
        change(&mut json);
        place.use_it(json.to_string().as_bytes(), text).expect_err(&json.to_string())
    };
    // A merge longer than the vocabulary, of what is not in it, and with a prefix longer than its part.
    refusal(&|t| t["model"]["merges"] = json!([["a", "b"], ["ab", "ab"], ["b", "a"]]), "ab");
    refusal(&|t| t["model"]["merges"] = json!([["zz", "b"]]), "ab");
    refusal(
        &|t| {
            t["model"]["continuing_subword_prefix"] = json!("####");
            t["model"]["vocab"] = json!({"a": 0, "b": 1, "ab": 2});
            t["added_tokens"] = json!([]);
        },
        "ab",
    );
    // A special token that the post-processor uses and nobody defines.
    refusal(&|t| t["post_processor"]["special_tokens"] = json!({}), "ab");
    refusal(&|t| t["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "ab");
    refusal(&|t| t["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}), "ab");
    // Cost that grows exponentially with the text.
    let slow = json!({"type": "Split", "pattern": {"Regex": "^(a+)+$"}, "behavior": "Isolated", "invert": false});
    let text = refusal(&|t| t["pre_tokenizer"] = slow.clone(), &format!("{}!", "a".repeat(40)));
    assert!(text.contains("retry-limit"), "{text}");
    refusal(&|t| t["pre_tokenizer"]["type"] = json!("Nothing"), "ab");
    refusal(&|t| t["model"]["vocab"] = json!({"a": -1}), "ab");
    let mut nested = json!({"type": "NFC"});
    for _ in 0..200 {
        nested = json!({"type": "Sequence", "normalizers": [nested]});
    }
    refusal(&|t| t["normalizer"] = nested.clone(), "ab");
}

#[test]
fn padding_to_nothing_and_cutting_to_nothing_are_not_done() {
    let mut json = small();
    json["padding"] = json!({"strategy": {"Fixed": 0}, "direction": "Right", "pad_to_multiple_of": 0, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<s>"});
    json["truncation"] = json!({"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 0});
    let result = Place::new().use_it(json.to_string().as_bytes(), "ab!a");
    assert!(result.is_err() || result == Ok(vec![0, 3, 4, 1]), "{result:?}");
}

#[test]
fn a_table_of_characters_may_not_claim_more_than_it_has() {
    let with = |map: &str| {
        let mut json = small();
        json["normalizer"] =
            json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": map}]});
        Place::new().use_it(json.to_string().as_bytes(), "ab!a")
    };
    // 2^32 - 1 bytes, and 16 where there are 2.
    for map in ["/////w==", "EAAAAAAA"] {
        assert!(with(map).unwrap_err().contains("cut off or damaged"), "{map}");
    }
    // Four bytes and a table of one empty entry.
    let size = with("BAAAAAAAAAAA");
    assert!(!size.as_ref().is_err_and(|e| e.contains("cut off or damaged")), "{size:?}");
}
