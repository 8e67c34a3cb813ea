//! A GGUF file's tokenizer as `tokenizer.json` and `tokenizer_config.json`: the same tokens for the same text.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use tb_core::gguf::{GgufError, Header, Value as Meta};

use super::{TokenizerFiles, pre_tokenizers};

type Result<T> = std::result::Result<T, GgufError>;

/// What `tokenizer.ggml.token_type` says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl TokenKind {
    fn from_code(code: i64) -> Option<Self> {
        [Self::Normal, Self::Unknown, Self::Control, Self::UserDefined, Self::Unused, Self::Byte]
            .into_iter()
            .find(|kind| *kind as i64 == code)
    }
}

struct Vocabulary<'a> {
    header: &'a Header,
    tokens: &'a [String],
    kinds: Vec<TokenKind>,
}

fn bad<T>(what: impl Into<String>) -> Result<T> {
    Err(GgufError::Bad(what.into()))
}

/// The tokenizer of a file.
///
/// # Errors
/// None, one of a kind that is not supported, or one whose parts do not fit; the key is named.
pub(super) fn tokenizer_files(header: &Header) -> Result<TokenizerFiles> {
    let vocabulary = Vocabulary::read(header)?;
    let Some(model) = header.text("tokenizer.ggml.model")? else { return bad("it has no `tokenizer.ggml.model`") };
    let (tokenizer, adds_bos) = match model {
        "gpt2" => vocabulary.byte_level()?,
        "llama" => vocabulary.sentence_piece()?,
        other => {
            return bad(format!("its tokenizer is of the kind {other:?}, which is not supported: only gpt2 and llama"));
        }
    };
    let adds_bos = header.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(adds_bos);
    let adds_eos = header.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    for (key, name) in [("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token")]
    {
        if let Some((_, token)) = vocabulary.special(key)? {
            config.insert(name.into(), json!(token));
        }
    }
    config.insert("add_bos_token".into(), json!(adds_bos));
    config.insert("add_eos_token".into(), json!(adds_eos));
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    if let Some(template) = header.text("tokenizer.chat_template")? {
        config.insert("chat_template".into(), json!(template));
    }
    let mut tokenizer = tokenizer;
    tokenizer["post_processor"] = vocabulary.post_processor(adds_bos, adds_eos)?;
    Ok(TokenizerFiles { tokenizer, config })
}

impl<'a> Vocabulary<'a> {
    fn read(header: &'a Header) -> Result<Self> {
        let Some(Meta::Texts(tokens)) = header.metadata.get("tokenizer.ggml.tokens") else {
            return bad("it has no list `tokenizer.ggml.tokens`");
        };
        let kinds = match header.metadata.get("tokenizer.ggml.token_type") {
            None => vec![TokenKind::Normal; tokens.len()],
            Some(Meta::Integers(codes)) if codes.len() == tokens.len() => codes
                .iter()
                .map(|code| {
                    TokenKind::from_code(*code).map_or_else(|| bad(format!("it has a token of type {code}")), Ok)
                })
                .collect::<Result<_>>()?,
            Some(_) => return bad("its `tokenizer.ggml.token_type` does not fit its tokens"),
        };
        Ok(Self { header, tokens, kinds })
    }

    /// The token that `tokenizer.ggml.<key>_token_id` names.
    fn special(&self, key: &str) -> Result<Option<(usize, &'a str)>> {
        let key = format!("tokenizer.ggml.{key}_token_id");
        match self.header.count(&key)? {
            None => Ok(None),
            Some(id) => match self.tokens.get(id) {
                Some(token) => Ok(Some((id, token))),
                None => bad(format!("its `{key}` {id} is no token")),
            },
        }
    }

    /// Filler of ids that no token has: other programs count rows of the embedding.
    fn is_filler(&self, id: usize) -> bool {
        self.kinds[id] == TokenKind::Unused && self.tokens[id] == format!("[PAD{id}]")
    }

    fn entries(&self) -> Result<Map<String, Value>> {
        let mut entries = Map::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if !self.is_filler(id) && entries.insert(token.clone(), json!(id)).is_some() {
                return bad(format!("its token {token:?} stands there twice"));
            }
        }
        Ok(entries)
    }

    /// Tokens that are recognised in a text before anything else.
    fn added(&self) -> Vec<Value> {
        let is_added = |kind: TokenKind| match kind {
            TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown => true,
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => false,
        };
        let entry = |(id, token): (usize, &String)| {
            let special = self.kinds[id] != TokenKind::UserDefined;
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special})
        };
        self.tokens
            .iter()
            .enumerate()
            .filter(|(id, token)| is_added(self.kinds[*id]) && !token.is_empty())
            .map(entry)
            .collect()
    }

    fn post_processor(&self, adds_bos: bool, adds_eos: bool) -> Result<Value> {
        let token = |wanted: bool, key: &str| -> Result<Option<(usize, &str)>> {
            if !wanted {
                return Ok(None);
            }
            let found = self.special(key)?;
            found.map_or_else(
                || bad(format!("it adds a token that `tokenizer.ggml.{key}_token_id` does not name")),
                |t| Ok(Some(t)),
            )
        };
        let (bos, eos) = (token(adds_bos, "bos")?, token(adds_eos, "eos")?);
        if bos.is_none() && eos.is_none() {
            return Ok(Value::Null);
        }
        let special = |(_, token): (usize, &str), kind: u32| json!({"SpecialToken": {"id": token, "type_id": kind}});
        let sequence = |id: &str, kind: u32| {
            let text = Some(json!({"Sequence": {"id": id, "type_id": kind}}));
            [bos.map(|t| special(t, kind)), text, eos.map(|t| special(t, kind))]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        };
        let tokens: Map<String, Value> = [bos, eos]
            .into_iter()
            .flatten()
            .map(|(id, token)| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]})))
            .collect();
        let pair = [sequence("A", 0), sequence("B", 1)].concat();
        Ok(json!({"type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": tokens}))
    }

    /// Merges over bytes, as GPT-2 and its successors.
    fn byte_level(&self) -> Result<(Value, bool)> {
        let Some(Meta::Texts(merges)) = self.header.metadata.get("tokenizer.ggml.merges") else {
            return bad("it has no list `tokenizer.ggml.merges`");
        };
        let name = self.header.text("tokenizer.ggml.pre")?.unwrap_or("default");
        let Some(pre) = pre_tokenizers::named(name) else {
            return bad(format!("its pre-tokenizer {name:?} is not known to this program"));
        };
        let merges = merges
            .iter()
            .map(|merge| {
                // As llama.cpp: the first space after the first byte.
                let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
                at.map(|at| json!([merge[..at], merge[at + 1..]]))
                    .map_or_else(|| bad(format!("its merge {merge:?} is no pair")), Ok)
            })
            .collect::<Result<Vec<Value>>>()?;
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added(),
            "normalizer": if pre.nfc { json!({"type": "NFC"}) } else { Value::Null },
            "pre_tokenizer": pre.json(),
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": pre.whole_pieces,
                "vocab": self.entries()?, "merges": merges},
        });
        Ok((tokenizer, pre.adds_bos))
    }

    /// Merges over characters by the score of what they make, bytes for what is not in the vocabulary, `▁` for a space.
    fn sentence_piece(&self) -> Result<(Value, bool)> {
        let scores = match self.header.metadata.get("tokenizer.ggml.scores") {
            Some(Meta::Floats(scores)) if scores.len() == self.tokens.len() => scores,
            Some(_) | None => return bad("its `tokenizer.ggml.scores` are missing or do not fit its tokens"),
        };
        let prefix = self.header.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let back = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let normalizer = if prefix {
            json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]})
        } else {
            replace
        };
        let mut decoders = vec![back, json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        if prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = match self.special("unknown")? {
            Some((_, token)) => Some(token.to_owned()),
            None => self.kinds.iter().position(|k| *k == TokenKind::Unknown).map(|id| self.tokens[id].clone()),
        };
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added(),
            "normalizer": normalizer,
            "pre_tokenizer": null,
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": self.entries()?, "merges": self.merges_by_score(scores)},
        });
        Ok((tokenizer, true))
    }

    /// Every pair of tokens that makes a token: the best score first, of equals the longer left part.
    fn merges_by_score(&self, scores: &[f32]) -> Vec<Value> {
        let normal = |id: &usize| self.kinds[*id] == TokenKind::Normal || self.kinds[*id] == TokenKind::Unused;
        let ids: HashMap<&str, usize> =
            self.tokens.iter().enumerate().filter(|(id, _)| normal(id)).map(|(id, t)| (t.as_str(), id)).collect();
        let mut merges: Vec<(f32, usize, usize, &str, &str)> = Vec::new();
        for (id, token) in self.tokens.iter().enumerate().filter(|(id, _)| normal(id)) {
            let count = token.chars().count();
            // Longer ones are no words; the check keeps a hostile file from costing the square of its size.
            if count > MAX_TOKEN_CHARS {
                continue;
            }
            let mut pairs: Vec<(usize, usize, usize, &str, &str)> = Vec::new();
            for (left_chars, (at, _)) in token.char_indices().enumerate().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(a), Some(b)) = (ids.get(left), ids.get(right)) {
                    pairs.push((*a, *b, left_chars, left, right));
                }
            }
            pairs.sort_by_key(|(a, b, ..)| (*a, *b));
            merges.extend(pairs.into_iter().map(|(_, _, n, left, right)| (scores[id], n, count - n, left, right)));
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
        merges.into_iter().map(|(.., left, right)| json!([left, right])).collect()
    }
}

const MAX_TOKEN_CHARS: usize = 256;
