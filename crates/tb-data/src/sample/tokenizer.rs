//! The sample's tokenizer: byte-level BPE trained on the pretraining text, and the two files that describe it.
//!
//! Before BPE, text is split into runs of one script and single digits, and Japanese titles stand alone, so that a
//! name or an object is the same tokens wherever it stands: what a model must copy must look alike.

use std::fs;
use std::path::Path;

use serde_json::json;
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizer::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

use super::corpus::{PretrainDoc, corpus};
use super::frame::{self, SPECIAL_TOKENS};
use super::types::{Direction, Language};

/// Tokens in the vocabulary, special tokens included.
pub const VOCABULARY: usize = 3072;
/// Tokens that fit the base model's context.
pub const CONTEXT: usize = 160;
const TRAINING_TOKENS: usize = 800_000;

/// Why the tokenizer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The tokenizers library refused; the text is its own.
    #[error("the tokenizer could not be trained: {0}")]
    Train(String),
    /// A file could not be written.
    #[error("{path} could not be written: {source}")]
    Write {
        /// The file.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

fn train_error(error: tokenizers::Error) -> TokenizerError {
    TokenizerError::Train(error.to_string())
}

/// Runs of one script; single digits; titles; a Latin word or a mark with the space before it.
const PIECES: &str = r"様|部長|課長|さん|(?:(?!様|部長|課長)\p{Han})+|\p{Hiragana}+|[\p{Katakana}ー]+|\p{N}| ?(?:(?![\p{Han}\p{Hiragana}\p{Katakana}ー])[\p{L}\p{M}])+| ?[^\s\p{L}\p{N}\p{M}]|\s";

/// Trains the tokenizer of a seed. The same seed gives the same vocabulary and merges.
///
/// # Errors
/// When the tokenizers library refuses.
pub fn tokenizer(seed: u64) -> Result<Tokenizer, TokenizerError> {
    let split = Split::new(SplitPattern::Regex(PIECES.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .map_err(train_error)?;
    let bytes = ByteLevel::new(false, false, false);
    let pre = Sequence::new(vec![PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(bytes)]);
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(VOCABULARY)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(SPECIAL_TOKENS.iter().map(|t| AddedToken::from(*t, true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(pre))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .with_decoder(Some(ByteLevelDecoder::new(false, false, false)))
        .build()
        .map_err(train_error)?;
    let texts = corpus(seed, TRAINING_TOKENS).flat_map(words_of).chain(instructions());
    tokenizer.train(&mut trainer, texts).map_err(train_error)?;
    let text = tokenizer.to_string(false).map_err(train_error)?;
    text.parse().map_err(train_error)
}

/// The instructions of the rewrite tasks, often enough to become few tokens; no source and no target.
fn instructions() -> impl Iterator<Item = String> {
    let pairs = Direction::ALL.into_iter().flat_map(|d| Language::ALL.map(|l| frame::instruction(d, l, "")));
    pairs.flat_map(|text| std::iter::repeat_n(text, 200))
}

/// A document's text without its special tokens.
fn words_of(doc: PretrainDoc) -> Vec<String> {
    let mut text = doc.text();
    for token in SPECIAL_TOKENS {
        text = text.replace(token, "\n");
    }
    text.lines().map(|l| format!("{l}\n")).collect()
}

/// What `tokenizer_config.json` says: the special tokens' roles, the context and the chat template.
#[must_use]
pub fn tokenizer_config() -> serde_json::Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": frame::BOS,
        "eos_token": frame::EOS,
        "pad_token": frame::PAD,
        "unk_token": null,
        "add_bos_token": false,
        "add_eos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": CONTEXT,
        "chat_template": frame::CHAT_TEMPLATE,
    })
}

/// The names and texts of the tokenizer's two files. The same seed gives the same bytes.
///
/// # Errors
/// When the tokenizers library refuses.
pub fn tokenizer_files(seed: u64) -> Result<[(&'static str, String); 2], TokenizerError> {
    let text = tokenizer(seed)?.to_string(false).map_err(train_error)?;
    let config =
        serde_json::to_string_pretty(&tokenizer_config()).expect("strings, numbers and nulls always serialise");
    Ok([("tokenizer.json", text + "\n"), ("tokenizer_config.json", config + "\n")])
}

/// Trains the tokenizer of a seed and writes `tokenizer.json` and `tokenizer_config.json` into `out_dir`.
///
/// # Errors
/// When the folder or a file cannot be written, or the tokenizers library refuses.
pub fn train_tokenizer(seed: u64, out_dir: &Path) -> Result<(), TokenizerError> {
    for (name, text) in tokenizer_files(seed)? {
        let path = out_dir.join(name);
        fs::create_dir_all(out_dir)
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| TokenizerError::Write { path: path.display().to_string(), source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::rows;

    #[test]
    fn text_survives_slots_stay_whole_and_rows_fit_the_context() {
        let tokenizer = tokenizer(3).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), VOCABULARY);
        for (id, token) in SPECIAL_TOKENS.iter().enumerate() {
            assert_eq!(tokenizer.token_to_id(token), Some(id as u32));
        }
        let ids = |text: &str| tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        let holds = |text: &[u32], part: &[u32]| text.windows(part.len()).any(|w| w == part);
        for text in ["Ünïcode – 漢字カタカナー🙂\n\t ok", "12:30 田中様、さん"] {
            assert_eq!(tokenizer.decode(&ids(text), true).unwrap(), text);
        }
        let mut split = 0;
        for row in rows(3).heldout {
            let (prompt, answer) = (ids(&row.prompt), ids(&row.completion));
            assert!(prompt.len() + answer.len() < CONTEXT, "{}", row.prompt);
            assert_eq!(tokenizer.decode(&answer, true).unwrap(), row.completion);
            for slot in &row.slots {
                let alike = [slot.clone(), format!(" {slot}")].iter().any(|s| {
                    let part = ids(s);
                    holds(&prompt, &part) && holds(&answer, &part)
                });
                split += usize::from(!alike);
            }
        }
        for doc in corpus(3, 40_000) {
            assert!(doc.encode(&tokenizer).unwrap().len() <= CONTEXT, "{doc:?}");
        }
        assert!(split <= 3, "{split} slots are other tokens in the target");
    }
}
