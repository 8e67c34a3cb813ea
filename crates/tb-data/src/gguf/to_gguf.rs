//! A model folder's tokenizer as GGUF metadata, so that llama.cpp makes the same tokens; refused where it would not.
//!
//! llama.cpp knows the ways of splitting text by name. A tokenizer's own way is found among them by its expressions, else by trying each
//! on texts; llama.cpp's converter compares the tokens of one text instead (`get_vocab_base_pre` in its `conversion/base.py`).

use std::path::Path;

use serde_json::Value;
use tb_core::{
    decoder_config::token_ids,
    export::TokenizerFit,
    gguf::{Header, VERSION, Value as Meta},
};

use super::{
    from_gguf::{TokenKind, tokenizer_files},
    is_gguf, pre_tokenizers, read_header,
};
use crate::{
    chat_template::without_generation_tags,
    error::{Error, Result},
    model_folder::read_json,
    tokenize::TextTokenizer,
};

/// A text of many scripts, numbers, blanks and signs, on which ways of splitting differ.
const PROBE: &str = "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \nNot-so 'fast', I'VE 'told you: it's 3 33 333 3333 33333 33333333 \
    3.3 3..3 3...3 ?? !!!!!!?????? ------======= ```````\"\"\"\"...... café naïve Ünïcode нещо на Български ελληνικά עברית العربية \
    ภาษาไทย 我想在apple工作1314151天～ 東京タワーへ行きました。ご確認のほど、よろしくお願いいたします 한국어 문장 🚀 (normal) ✅ 🦙🦙 \
    x_y = {'a': [1, 2], \"b\": None}  # done\r\nfoo(bar)->baz; <tag/> http://a.b/c?d=e&f=1%20 END   ";

/// A tokenizer as GGUF metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTokenizer {
    /// Keys and values, in the order in which they are written.
    pub metadata: Vec<(String, Meta)>,
    /// The name of the way of splitting.
    pub pre: String,
    /// How it was found.
    pub fit: TokenizerFit,
    /// Texts that both tokenizers were given.
    pub texts: usize,
    /// Of these, how many became other tokens; 0 unless the way was found by its expressions.
    pub differing: usize,
}

/// The metadata of the tokenizer of a model folder (or GGUF file) whose embedding has `rows` rows. `texts` are what it will be used on.
///
/// # Errors
/// Files that cannot be read, or a tokenizer that llama.cpp cannot express; what stands in the way is named.
pub fn tokenizer_metadata(model: &Path, rows: usize, texts: &[String]) -> Result<GgufTokenizer> {
    if is_gguf(model) {
        return copied(model, rows);
    }
    let file = model.join("tokenizer.json");
    let json = read_json(&file)?;
    let own = TextTokenizer::load(model)?;
    let source = Source { model, file: &file, json: &json, own: &own, rows };
    match json["model"]["type"].as_str() {
        Some("BPE") if json["model"]["byte_fallback"].as_bool() == Some(true) => source.by_score(texts),
        Some("BPE") => source.by_merges(texts),
        other => source.refuse(format!("it is of the kind {}, which GGUF cannot hold", other.unwrap_or("(none)"))),
    }
}

/// What a GGUF file says of its tokenizer.
fn copied(model: &Path, rows: usize) -> Result<GgufTokenizer> {
    let (header, _) = read_header(model)?;
    let metadata: Vec<(String, Meta)> = header
        .metadata
        .iter()
        .filter(|(key, _)| key.starts_with("tokenizer."))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    match header.metadata.get("tokenizer.ggml.tokens") {
        Some(Meta::Texts(tokens)) if tokens.len() == rows => {}
        _ => {
            return Err(Error::bad_file(
                model,
                format!("its tokens are not as many as its embedding has rows ({rows})"),
            ));
        }
    }
    let pre = match header.metadata.get("tokenizer.ggml.pre") {
        Some(Meta::Text(name)) => name.clone(),
        _ => "default".to_owned(),
    };
    Ok(GgufTokenizer { metadata, pre, fit: TokenizerFit::Copied, texts: 0, differing: 0 })
}

struct Source<'a> {
    model: &'a Path,
    file: &'a Path,
    json: &'a Value,
    own: &'a TextTokenizer,
    rows: usize,
}

struct Tokens {
    texts: Vec<String>,
    kinds: Vec<TokenKind>,
}

impl Source<'_> {
    fn refuse<T>(&self, why: impl std::fmt::Display) -> Result<T> {
        let reason = format!("llama.cpp cannot tokenise as it does: {why}");
        Err(Error::Tokenizer { path: self.file.to_owned(), reason })
    }

    /// Merges over bytes.
    fn by_merges(&self, texts: &[String]) -> Result<GgufTokenizer> {
        match self.json["normalizer"]["type"].as_str() {
            None | Some("NFC") => {}
            Some(other) => return self.refuse(format!("it changes the text first (a normalizer of type {other})")),
        }
        let model = &self.json["model"];
        for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if model[name].as_str().is_some_and(|s| !s.is_empty()) {
                return self.refuse(format!("it has a {name}"));
            }
        }
        let splits = match pre_tokenizers::splits(&self.json["pre_tokenizer"]) {
            Ok(splits) => splits,
            Err(odd) => return self.refuse(format!("its pre_tokenizer has {odd}")),
        };
        let whole_pieces = model["ignore_merges"].as_bool().unwrap_or(false);
        let tokens = self.tokens(|_| TokenKind::Normal)?;
        let merges = Meta::Texts(self.merges()?.into_iter().map(|(a, b)| format!("{a} {b}")).collect());
        let build =
            |pre: &str| self.metadata("gpt2", pre, &tokens, vec![("tokenizer.ggml.merges".to_owned(), merges.clone())]);
        let known = pre_tokenizers::ALL;
        if let Some(pre) =
            known.iter().find(|p| p.whole_pieces == whole_pieces && pre_tokenizers::same(p.splits, &splits))
        {
            let metadata = build(pre.names[0])?;
            let (texts, differing) = self.compare(&metadata, texts)?;
            let differing = differing.len();
            return Ok(GgufTokenizer {
                metadata,
                pre: pre.names[0].into(),
                fit: TokenizerFit::Expressions,
                texts,
                differing,
            });
        }
        let mut nearest: Option<(usize, &str, String)> = None;
        for pre in known.iter().filter(|p| p.whole_pieces == whole_pieces) {
            let metadata = build(pre.names[0])?;
            let (texts, differing) = self.compare(&metadata, texts)?;
            match differing.first() {
                None => {
                    return Ok(GgufTokenizer {
                        metadata,
                        pre: pre.names[0].into(),
                        fit: TokenizerFit::Tried,
                        texts,
                        differing: 0,
                    });
                }
                Some(first) if nearest.as_ref().is_none_or(|(n, ..)| differing.len() < *n) => {
                    nearest = Some((differing.len(), pre.names[0], first.chars().take(80).collect()));
                }
                Some(_) => {}
            }
        }
        match nearest {
            Some((count, name, text)) => self.refuse(format!(
                "its pre_tokenizer splits text in a way of its own; the nearest known one, {name}, gives other tokens for {count} \
                 of {} texts, such as {text:?}",
                texts.len() + 1
            )),
            None => self.refuse("its pre_tokenizer splits text in a way of its own"),
        }
    }

    /// Merges over characters with bytes for the rest, as SentencePiece.
    fn by_score(&self, texts: &[String]) -> Result<GgufTokenizer> {
        let Some(prefix) = space_prefix(self.json) else {
            return self.refuse("its normalizer or pre_tokenizer is of a kind of its own");
        };
        let is_byte = |token: &str| {
            let hex = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
            hex.is_some_and(|hex| hex.len() == 2 && u8::from_str_radix(hex, 16).is_ok())
        };
        let unknown = self.json["model"]["unk_token"].as_str();
        let mut tokens = self.tokens(|token| match token {
            _ if is_byte(token) => TokenKind::Byte,
            _ if Some(token) == unknown => TokenKind::Unknown,
            _ => TokenKind::Normal,
        })?;
        if tokens.kinds.iter().filter(|k| **k == TokenKind::Byte).count() != 256 {
            return self.refuse("it lacks tokens for single bytes");
        }
        for (token, kind) in tokens.texts.iter_mut().zip(&tokens.kinds) {
            if *kind == TokenKind::UserDefined {
                *token = token.replace('▁', " ");
            }
        }
        // The order of merges as scores of what they make: the first merge that makes a token counts.
        let ids: std::collections::HashMap<&str, usize> =
            tokens.texts.iter().enumerate().map(|(id, t)| (t.as_str(), id)).collect();
        let merges = self.merges()?;
        let mut scores = vec![-(merges.len() as f32) - 1.0; self.rows];
        for (rank, (left, right)) in merges.iter().enumerate().rev() {
            if let Some(id) = ids.get(format!("{left}{right}").as_str()) {
                scores[*id] = -(rank as f32);
            }
        }
        let more = vec![
            ("tokenizer.ggml.scores".to_owned(), Meta::Floats(scores)),
            ("tokenizer.ggml.add_space_prefix".to_owned(), Meta::Bool(prefix)),
        ];
        let metadata = self.metadata("llama", "default", &tokens, more)?;
        let (texts, differing) = self.compare(&metadata, texts)?;
        match differing.first() {
            None => {
                Ok(GgufTokenizer { metadata, pre: "default".into(), fit: TokenizerFit::Scores, texts, differing: 0 })
            }
            Some(first) => {
                let text: String = first.chars().take(80).collect();
                self.refuse(format!("{} of {texts} texts become other tokens, such as {text:?}", differing.len()))
            }
        }
    }

    /// Text and kind of every row of the embedding.
    fn tokens(&self, kind: impl Fn(&str) -> TokenKind) -> Result<Tokens> {
        let filler = |id: usize| format!("[PAD{id}]");
        let mut tokens =
            Tokens { texts: (0..self.rows).map(filler).collect(), kinds: vec![TokenKind::Unused; self.rows] };
        let mut put = |id: Option<u64>, token: &str, kind: TokenKind| match id
            .and_then(|id| usize::try_from(id).ok())
            .filter(|id| *id < self.rows)
        {
            Some(id) => {
                token.clone_into(&mut tokens.texts[id]);
                tokens.kinds[id] = kind;
                Ok(())
            }
            None => self.refuse(format!("its token {token:?} has no row in the embedding")),
        };
        let Some(vocab) = self.json["model"]["vocab"].as_object() else { return self.refuse("it has no vocabulary") };
        for (token, id) in vocab {
            put(id.as_u64(), token, kind(token))?;
        }
        for token in self.json["added_tokens"].as_array().into_iter().flatten() {
            let content = token["content"].as_str().unwrap_or_default();
            let added = match (kind(content), token["special"].as_bool()) {
                (TokenKind::Unknown, _) => TokenKind::Unknown,
                (_, Some(true)) => TokenKind::Control,
                (_, _) => TokenKind::UserDefined,
            };
            put(token["id"].as_u64(), content, added)?;
        }
        Ok(tokens)
    }

    fn merges(&self) -> Result<Vec<(String, String)>> {
        let Some(merges) = self.json["model"]["merges"].as_array() else { return self.refuse("it has no merges") };
        let pair = |merge: &Value| match merge {
            Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
            Value::Array(pair) => Some((pair.first()?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned())),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        };
        let all: Option<Vec<_>> = merges.iter().map(pair).collect();
        match all {
            Some(all) if all.iter().all(|(a, b)| !a.contains(' ') && !b.contains(' ')) => Ok(all),
            Some(_) | None => self.refuse("a merge is no pair of tokens without spaces"),
        }
    }

    /// All keys, those of the vocabulary first.
    fn metadata(
        &self,
        model: &str,
        pre: &str,
        tokens: &Tokens,
        more: Vec<(String, Meta)>,
    ) -> Result<Vec<(String, Meta)>> {
        let mut out = Vec::new();
        let mut put = |name: &str, value: Meta| out.push((format!("tokenizer.{name}"), value));
        put("ggml.model", Meta::Text(model.into()));
        put("ggml.pre", Meta::Text(pre.into()));
        put("ggml.tokens", Meta::Texts(tokens.texts.clone()));
        put("ggml.token_type", Meta::Integers(tokens.kinds.iter().map(|kind| *kind as i64).collect()));
        let unknown = tokens.kinds.iter().position(|kind| *kind == TokenKind::Unknown).map(|id| id as u32);
        let ends = self.end_tokens()?;
        let eot =
            ends.iter().copied().find(|id| Some(*id) != self.own.eos_id()).filter(|_| self.own.eos_id().is_some());
        for (name, id) in [
            ("bos", self.own.bos_id()),
            ("eos", self.own.eos_id().or(ends.first().copied())),
            ("eot", eot),
            ("unknown", unknown),
            ("padding", self.own.pad_id()),
        ] {
            if let Some(id) = id {
                put(&format!("ggml.{name}_token_id"), Meta::U32(id));
            }
        }
        let (bos, eos) = self.framing()?;
        put("ggml.add_bos_token", Meta::Bool(bos));
        put("ggml.add_eos_token", Meta::Bool(eos));
        if let Some(template) = self.own.chat_template_source() {
            put("chat_template", Meta::Text(without_generation_tags(template)));
        }
        out.extend(more);
        Ok(out)
    }

    /// Ids that end an answer, as `generation_config.json` lists them.
    fn end_tokens(&self) -> Result<Vec<u32>> {
        let file = self.model.join("generation_config.json");
        if !file.is_file() {
            return Ok(Vec::new());
        }
        token_ids(read_json(&file)?.get("eos_token_id"))
            .ok_or_else(|| Error::bad_file(file, "its eos_token_id is neither a token id nor a list of them"))
    }

    /// Whether a plain text gets the begin token before it and the end token after it.
    fn framing(&self) -> Result<(bool, bool)> {
        let (bare, framed) = (self.own.encode("a")?, self.own.encode_with_special("a")?);
        let around = |before: &[u32], after: &[u32]| framed == [before, &bare, after].concat();
        let (bos, eos) = (self.own.bos_id(), self.own.eos_id());
        let (bos, eos) = (bos.as_slice(), eos.as_slice());
        match () {
            () if around(&[], &[]) => Ok((false, false)),
            () if around(bos, &[]) => Ok((true, false)),
            () if around(&[], eos) => Ok((false, true)),
            () if around(bos, eos) => Ok((true, true)),
            () => self.refuse("its post_processor adds other tokens than the begin and the end token"),
        }
    }

    /// How many texts were given to this tokenizer and to the one that the metadata describe, and those that became other tokens.
    fn compare<'t>(&self, metadata: &[(String, Meta)], texts: &'t [String]) -> Result<(usize, Vec<&'t str>)> {
        let header = Header {
            version: VERSION,
            metadata: metadata.iter().cloned().collect(),
            tensors: std::collections::BTreeMap::new(),
            data_start: 0,
            file_bytes: 0,
        };
        let files = tokenizer_files(&header).map_err(super::refused(self.file))?;
        let theirs = TextTokenizer::from_files(self.file, &files)?;
        let mut differing = Vec::new();
        for text in std::iter::once(PROBE).chain(texts.iter().map(String::as_str)) {
            if self.own.encode_with_special(text)? != theirs.encode_with_special(text)? {
                differing.push(text);
            }
        }
        Ok((texts.len() + 1, differing))
    }
}

/// Whether a SentencePiece-like tokenizer puts a space before a text; `None` if it does something else as well.
fn space_prefix(json: &Value) -> Option<bool> {
    let mut prefix = false;
    let mut replaces = false;
    let normalizer = &json["normalizer"];
    let parts: Vec<&Value> = match normalizer["type"].as_str() {
        None => Vec::new(),
        Some("Sequence") => normalizer["normalizers"].as_array()?.iter().collect(),
        Some(_) => vec![normalizer],
    };
    for part in parts {
        match part["type"].as_str()? {
            "Prepend" if part["prepend"] == "▁" => prefix = true,
            "Replace" if part["pattern"]["String"] == " " && part["content"] == "▁" => replaces = true,
            _ => return None,
        }
    }
    let pre = &json["pre_tokenizer"];
    match pre["type"].as_str() {
        None => {}
        Some("Metaspace") if pre["replacement"] == "▁" && pre["split"] == false => {
            replaces = true;
            prefix |= pre["prepend_scheme"] != "never";
        }
        // Gemma's: there is no space left to split at.
        Some("Split") if pre["pattern"]["String"] == " " && replaces => {}
        Some(_) => return None,
    }
    replaces.then_some(prefix)
}
