//! The tokenizer of a model, a Hugging Face folder or a GGUF file: tokenizer.json, its special tokens and its chat template. The library panics on
//! some damaged files; here that is an error that names the file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use tb_core::dataset::Message;
use tokenizers::Tokenizer;

use super::rendering::Special;
use crate::{
    chat_template::{ChatTemplate, Ending, Marks, Rendered, Surroundings},
    error::{Error, Result},
    gguf::{self, TokenizerFiles},
    guard::no_panic,
};

const MAX_FILE_BYTES: u64 = 256 << 20;
const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A tokenizer with its special tokens and chat template.
#[derive(Debug)]
pub struct TextTokenizer {
    dir: PathBuf,
    file: PathBuf,
    tokenizer: Tokenizer,
    special: Map<String, Value>,
    template: Option<ChatTemplate>,
    now_ms: Option<i64>,
}

/// Tokens with the byte range of each in the text.
pub(super) struct Encoded {
    pub ids: Vec<u32>,
    pub offsets: Vec<(usize, usize)>,
}

impl TextTokenizer {
    /// Loads the tokenizer of a GGUF file, or `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and the chat
    /// template of a model folder; all of these but the first may be missing.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::BadFile`], [`Error::Tokenizer`] or [`Error::Template`], each with the file.
    pub fn load(model: &Path) -> Result<Self> {
        if gguf::is_gguf(model) {
            return Self::from_files(model, &gguf::read_tokenizer(model)?);
        }
        let file = model.join("tokenizer.json");
        let bytes = read(&file)?.ok_or_else(|| Error::io("open", &file)(io::ErrorKind::NotFound.into()))?;
        let config = read_object(&model.join("tokenizer_config.json"))?;
        let map = read_object(&model.join("special_tokens_map.json"))?;
        let template = template_source(model, &config)?;
        Self::build(model, file, &bytes, special_tokens(&config, &map), template)
    }

    /// The tokenizer that these files describe; `origin` names it in errors.
    pub(crate) fn from_files(origin: &Path, files: &TokenizerFiles) -> Result<Self> {
        let bytes = serde_json::to_vec(&files.tokenizer).map_err(|e| Error::bad_file(origin, e.to_string()))?;
        let template = files.config.get("chat_template").and_then(Value::as_str);
        let template = template.map(|source| (source.to_owned(), origin.to_owned()));
        Self::build(origin, origin.to_owned(), &bytes, special_tokens(&files.config, &Map::new()), template)
    }

    fn build(
        model: &Path,
        file: PathBuf,
        bytes: &[u8],
        special: Map<String, Value>,
        template: Option<(String, PathBuf)>,
    ) -> Result<Self> {
        let failed = |reason: String| Error::Tokenizer { path: file.clone(), reason };
        if let Some(reason) = bad_charsmap(bytes) {
            return Err(failed(reason));
        }
        let tokenizer = no_panic(|| {
            let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| e.to_string())?;
            // Cutting and padding are the trainer's business, whatever the file was saved with.
            tokenizer.with_padding(None).with_truncation(None).map_err(|e| e.to_string())?;
            Ok::<_, String>(tokenizer)
        })
        .map_err(failed)?
        .map_err(failed)?;
        let compile = |(source, origin): &(String, PathBuf)| {
            ChatTemplate::new(source, &origin.display().to_string(), special.clone())
        };
        let compiled = template.as_ref().map(compile).transpose()?;
        Ok(Self { dir: model.to_path_buf(), file, tokenizer, special, template: compiled, now_ms: None })
    }

    /// The same tokenizer with a time for chat templates that write today's date.
    #[must_use]
    pub fn at(mut self, now_ms: i64) -> Self {
        self.now_ms = Some(now_ms);
        self
    }

    /// The model folder or file.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tokens of a text as it stands; special tokens are recognised where the text spells them, none is added.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_offsets(text, Special::AsWritten)?.ids)
    }

    /// The tokens of a plain text, with those that the tokenizer's post-processor adds (a begin token, say).
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_offsets(text, Special::Added)?.ids)
    }

    /// The text of tokens without special ones.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.guarded(|| self.tokenizer.decode(ids, true))
    }

    /// The text of tokens, special ones spelled out.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn decode_all(&self, ids: &[u32]) -> Result<String> {
        self.guarded(|| self.tokenizer.decode(ids, false))
    }

    /// The id of a token by its name in the vocabulary.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The text of one token; none for an id that the vocabulary does not have.
    #[must_use]
    pub fn token_text(&self, id: u32) -> Option<String> {
        let name = self.tokenizer.id_to_token(id)?;
        Some(self.decode_all(&[id]).unwrap_or(name))
    }

    /// Whether a token is a mark of the model's own (begin, end, role …) and no text.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        let name = self.tokenizer.id_to_token(id);
        name.is_some_and(|name| self.tokenizer.get_added_vocabulary().is_special_token(&name))
    }

    /// The token that begins a text.
    #[must_use]
    pub fn bos_id(&self) -> Option<u32> {
        self.special_id("bos_token")
    }

    /// The token that ends a text.
    #[must_use]
    pub fn eos_id(&self) -> Option<u32> {
        self.special_id("eos_token")
    }

    /// The token that fills short rows of a batch.
    #[must_use]
    pub fn pad_id(&self) -> Option<u32> {
        self.special_id("pad_token")
    }

    /// The end token as text.
    #[must_use]
    pub fn eos_token(&self) -> Option<&str> {
        self.special.get("eos_token")?.as_str()
    }

    /// Number of tokens, added ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Whether conversations can be rendered.
    #[must_use]
    pub fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    /// The chat template as it was written, if there is one.
    #[must_use]
    pub fn chat_template_source(&self) -> Option<&str> {
        self.template.as_ref().map(ChatTemplate::source)
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] or [`Error::Template`].
    pub fn apply_chat_template(&self, messages: &[Message], ending: Ending, tools: Option<&Value>) -> Result<Rendered> {
        let template = self.template.as_ref().ok_or_else(|| Error::NoTemplate { path: self.dir.clone() })?;
        template.render(messages, ending, Surroundings { tools, now_ms: self.now_ms })
    }

    /// Whether the chat template marks what the assistant says.
    #[must_use]
    pub fn chat_marks(&self) -> Marks {
        self.template.as_ref().map_or(Marks::None, ChatTemplate::marks)
    }

    pub(super) fn encode_offsets(&self, text: &str, special: Special) -> Result<Encoded> {
        let encoding = self.guarded(|| self.tokenizer.encode(text, special == Special::Added))?;
        Ok(Encoded { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
    }

    fn special_id(&self, name: &str) -> Option<u32> {
        self.token_id(self.special.get(name)?.as_str()?)
    }

    fn guarded<T>(&self, f: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
        let failed = |reason: String| Error::Tokenizer { path: self.file.clone(), reason };
        no_panic(f).map_err(failed)?.map_err(|e| failed(e.to_string()))
    }
}

/// What is wrong with a table of characters (`precompiled_charsmap`), if there is one. It begins with the size of its first part, and the
/// library reserves that much memory before it looks at the rest.
fn bad_charsmap(tokenizer: &[u8]) -> Option<String> {
    const NAME: &str = "precompiled_charsmap";
    if !tokenizer.windows(NAME.len()).any(|part| part == NAME.as_bytes()) {
        return None;
    }
    let json: Value = serde_json::from_slice(tokenizer).ok()?;
    let mut parts = vec![&json["normalizer"]];
    while let Some(part) = parts.pop() {
        parts.extend(part["normalizers"].as_array().into_iter().flatten());
        let Some(map) = part[NAME].as_str() else { continue };
        // Eight digits hold six bytes; the first four are the size, the lowest byte first.
        let head = map.as_bytes().get(..8).and_then(|digits| STANDARD.decode(digits).ok());
        let size = head.and_then(|bytes| Some(u32::from_le_bytes(*bytes.first_chunk()?)));
        if size.is_none_or(|size| size as usize > map.len() / 4 * 3) {
            return Some(format!("its {NAME} is cut off or damaged"));
        }
    }
    None
}

/// Special tokens by name, each given as text or as an object with its `content`; the config wins over the map.
fn special_tokens(config: &Map<String, Value>, map: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    for name in SPECIAL_TOKENS {
        let given = [config.get(name), map.get(name)].into_iter().flatten().find(|v| !v.is_null());
        let text = given.and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
        if let Some(text) = text {
            found.insert(name.to_owned(), text.into());
        }
    }
    found
}

/// The chat template and its file: `chat_template.jinja`, then `chat_template.json`, then the key of the config.
fn template_source(dir: &Path, config: &Map<String, Value>) -> Result<Option<(String, PathBuf)>> {
    let jinja = dir.join("chat_template.jinja");
    if let Some(bytes) = read(&jinja)? {
        let text = String::from_utf8(bytes).map_err(|e| Error::bad_file(&jinja, e.to_string()))?;
        return Ok(Some((text, jinja)));
    }
    let json = dir.join("chat_template.json");
    let of_json = read_object(&json)?;
    let from = [(of_json.get("chat_template"), json), (config.get("chat_template"), dir.join("tokenizer_config.json"))];
    for (value, origin) in from {
        match value {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => return Ok(Some((text.clone(), origin))),
            Some(Value::Array(named)) => {
                let default = named.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"));
                let text = default.and_then(|t| t.get("template")?.as_str());
                let text = text.ok_or_else(|| Error::bad_file(&origin, "it has no chat template named 'default'"))?;
                return Ok(Some((text.to_owned(), origin)));
            }
            Some(_) => return Err(Error::bad_file(origin, "its chat_template is not a text")),
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE_BYTES => {
            return Err(Error::bad_file(path, format!("it is larger than {MAX_FILE_BYTES} bytes")));
        }
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    }
    fs::read(path).map(Some).map_err(Error::io("read", path))
}

fn read_object(path: &Path) -> Result<Map<String, Value>> {
    let Some(bytes) = read(path)? else { return Ok(Map::new()) };
    serde_json::from_slice(&bytes).map_err(|e| Error::bad_file(path, e.to_string()))
}
