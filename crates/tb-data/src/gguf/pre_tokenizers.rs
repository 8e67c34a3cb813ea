//! The ways in which llama.cpp splits text before merging, by the name that a GGUF file gives them (`tokenizer.ggml.pre`).
//!
//! Each is a list of expressions; every one splits what the ones before it have left. The source is `llm_tokenizer_bpe` of
//! llama.cpp's `src/llama-vocab.cpp`, here in the words that the models' own `tokenizer.json` use.

use serde_json::{Value, json};

/// What comes last in an expression and changes nothing: what matches nowhere is a piece of its own as well.
const REST: &str = r"|\s+";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";

/// One way of splitting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Its names in files; the first is written.
    pub names: &'static [&'static str],
    /// The expressions, in order.
    pub splits: &'static [&'static str],
    /// Whether a piece that is a token as a whole is taken before any merge (`ignore_merges`).
    pub whole_pieces: bool,
    /// Whether a text begins with the begin token where the file does not say.
    pub adds_bos: bool,
    /// Whether the models' own tokenizers normalise to NFC first; llama.cpp does not.
    pub nfc: bool,
}

impl PreTokenizer {
    /// Its entry in a `tokenizer.json`.
    pub(super) fn json(&self) -> Value {
        let split = |regex: &&str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let mut all: Vec<Value> = self.splits.iter().map(split).collect();
        all.push(byte_level());
        json!({"type": "Sequence", "pretokenizers": all})
    }
}

pub(super) fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})
}

/// Every way that this program knows; those that split least come first among equals.
pub(super) const ALL: [PreTokenizer; 8] = [
    PreTokenizer {
        names: &["gpt-2", "phi-2", "mellum", "a.x-4.0", "gigachat", "olmo", "mpt", "trillion", "jais"],
        splits: &[GPT2],
        whole_pieces: false,
        adds_bos: false,
        nfc: false,
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        splits: &[LLAMA3],
        whole_pieces: true,
        adds_bos: true,
        nfc: false,
    },
    PreTokenizer { names: &["dbrx", "smaug-bpe"], splits: &[LLAMA3], whole_pieces: false, adds_bos: false, nfc: false },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "megrez", "hunyuan", "solar-open"],
        splits: &[QWEN2],
        whole_pieces: false,
        adds_bos: false,
        nfc: true,
    },
    PreTokenizer { names: &["qwen35"], splits: &[QWEN35], whole_pieces: false, adds_bos: false, nfc: true },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        splits: &[DIGIT, GPT2],
        whole_pieces: false,
        adds_bos: false,
        nfc: false,
    },
    PreTokenizer { names: &["tekken"], splits: &[TEKKEN], whole_pieces: true, adds_bos: true, nfc: false },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2"],
        splits: &[GPT4O],
        whole_pieces: false,
        adds_bos: false,
        nfc: false,
    },
];

/// What llama.cpp does with a file that names nothing, or `default`; never written.
pub(super) const DEFAULT: PreTokenizer = PreTokenizer {
    names: &["default"],
    splits: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    whole_pieces: false,
    adds_bos: false,
    nfc: false,
};

/// The way of this name; `None` if it is not known.
pub(super) fn named(name: &str) -> Option<&'static PreTokenizer> {
    static DEFAULT_REF: PreTokenizer = DEFAULT;
    static ALL_REF: [PreTokenizer; 8] = ALL;
    if name == "default" { Some(&DEFAULT_REF) } else { ALL_REF.iter().find(|p| p.names.contains(&name)) }
}

/// The expressions of a `tokenizer.json`'s pre-tokenizer, if it is made of splits that keep everything and of bytes; else what is odd.
pub(super) fn splits(pre_tokenizer: &Value) -> Result<Vec<String>, String> {
    let kind = pre_tokenizer.get("type").and_then(Value::as_str).unwrap_or("none");
    let is = |name: &str, value: bool| pre_tokenizer.get(name).and_then(Value::as_bool).unwrap_or(!value) == value;
    match kind {
        "Sequence" => {
            let parts = pre_tokenizer.get("pretokenizers").and_then(Value::as_array);
            let parts = parts.ok_or("an empty sequence")?.iter().map(splits).collect::<Result<Vec<_>, _>>()?;
            Ok(parts.concat())
        }
        "ByteLevel" if is("add_prefix_space", true) => Err("a space before every text".into()),
        "ByteLevel" if pre_tokenizer.get("use_regex").and_then(Value::as_bool) == Some(false) => Ok(Vec::new()),
        "ByteLevel" => Ok(vec![GPT2.into()]),
        "Digits" if is("individual_digits", true) => Ok(vec![DIGIT.into()]),
        "Digits" => Ok(vec![r"\p{N}+".into()]),
        "Split" => {
            let pattern = pre_tokenizer.get("pattern").and_then(|p| p.get("Regex")).and_then(Value::as_str);
            let keeps = match pre_tokenizer.get("behavior").and_then(Value::as_str) {
                Some("Isolated") => true,
                // Removing what does not match: the same if nothing is left over.
                Some("Removed") => is("invert", true),
                Some(_) | None => false,
            };
            match pattern {
                Some(regex) if keeps => Ok(vec![regex.into()]),
                Some(_) | None => Err("a split of another kind".into()),
            }
        }
        other => Err(format!("a pre-tokenizer of type {other}")),
    }
}

/// Whether two lists of expressions split alike, as far as their text shows.
pub(super) fn same(ours: &[&str], theirs: &[String]) -> bool {
    let bare = |regex: &str| regex.strip_suffix(REST).unwrap_or(regex).to_owned();
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| bare(a) == bare(b))
}
