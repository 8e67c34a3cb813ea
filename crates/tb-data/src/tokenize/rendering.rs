//! An example as text, tokens and loss mask, before any cut. Masks follow TRL: a completion begins after as many tokens as the
//! prompt alone has; what the assistant says is mapped from characters to tokens.

use std::ops::Range;

use serde_json::Value;
use tb_core::{
    dataset::{Example, Message, Said},
    recipe::LossOn,
};

use super::{TextTokenizer, text_tokenizer::Encoded};
use crate::{
    chat_template::{Ending, Marks},
    error::{Error, Result},
};

/// An example in full.
pub(super) struct Rendering {
    pub text: String,
    pub ids: Vec<u32>,
    /// Byte range of each token in the text; empty for tokens that the tokenizer adds.
    pub offsets: Vec<(usize, usize)>,
    pub loss: Vec<bool>,
    pub border_shifted: bool,
}

pub(super) fn render(
    tokenizer: &TextTokenizer,
    example: &Example,
    loss_on: LossOn,
    tools: Option<&Value>,
) -> Result<Rendering> {
    let wrong = |reason: &str| Error::WrongShape { shape: example.shape(), reason: reason.to_owned() };
    match example {
        Example::Text { text } => {
            if matches!(loss_on, LossOn::Completion | LossOn::Assistant) {
                return Err(wrong("plain text has no completion: use loss_on auto or all"));
            }
            let text = ended(tokenizer, text.clone());
            let whole = tokenizer.encode_offsets(&text, Special::Added)?;
            Ok(all(text, whole))
        }
        Example::PromptCompletion { prompt: Said::Text(prompt), completion: Said::Text(completion) } => {
            if loss_on == LossOn::Assistant {
                return Err(wrong("plain text has no assistant turns: use loss_on completion or all"));
            }
            let text = ended(tokenizer, format!("{prompt}{completion}"));
            let whole = tokenizer.encode_offsets(&text, Special::Added)?;
            let first = tokenizer.encode_with_special(prompt)?;
            Ok(match loss_on {
                LossOn::Auto | LossOn::Completion => after_prompt(text, whole, &first),
                LossOn::All | LossOn::Assistant => all(text, whole),
            })
        }
        Example::PromptCompletion { prompt, completion } => {
            let (Said::Messages(prompt), Said::Messages(completion)) = (prompt, completion) else {
                return Err(wrong("one of prompt and completion is a text, the other a conversation"));
            };
            let messages: Vec<Message> = prompt.iter().chain(completion).cloned().collect();
            match loss_on {
                LossOn::Assistant => assistant(tokenizer, &messages, tools),
                LossOn::All => conversation(tokenizer, &messages, tools),
                LossOn::Auto | LossOn::Completion => {
                    let first = tokenizer.apply_chat_template(prompt, Ending::Open, tools)?.text;
                    let first = tokenizer.encode(&first)?;
                    let text = tokenizer.apply_chat_template(&messages, Ending::Closed, tools)?.text;
                    let whole = tokenizer.encode_offsets(&text, Special::AsWritten)?;
                    Ok(after_prompt(text, whole, &first))
                }
            }
        }
        Example::Messages { messages } => match loss_on {
            LossOn::Auto | LossOn::All => conversation(tokenizer, messages, tools),
            LossOn::Assistant => assistant(tokenizer, messages, tools),
            LossOn::Completion => Err(wrong("a conversation has no completion: use loss_on assistant or all")),
        },
        Example::Preference { .. } => Err(wrong("preference rows are for preference training, not for this method")),
        Example::Unpaired { .. } => {
            Err(wrong("rows that say whether an answer is good are for KTO training, not for this method"))
        }
    }
}

/// Whether the tokenizer adds the tokens that its post-processor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// Yes: plain text.
    Added,
    /// No: a chat template has written them.
    AsWritten,
}

/// TRL's `add_eos`: the end token's text, unless the text ends in it.
fn ended(tokenizer: &TextTokenizer, mut text: String) -> String {
    if let Some(eos) = tokenizer.eos_token().filter(|eos| !text.ends_with(*eos)) {
        text.push_str(eos);
    }
    text
}

fn all(text: String, whole: Encoded) -> Rendering {
    let loss = vec![true; whole.ids.len()];
    Rendering { text, ids: whole.ids, offsets: whole.offsets, loss, border_shifted: false }
}

fn after_prompt(text: String, whole: Encoded, prompt: &[u32]) -> Rendering {
    let loss = (0..whole.ids.len()).map(|i| i >= prompt.len()).collect();
    let border_shifted = !whole.ids.starts_with(prompt);
    Rendering { text, ids: whole.ids, offsets: whole.offsets, loss, border_shifted }
}

fn conversation(tokenizer: &TextTokenizer, messages: &[Message], tools: Option<&Value>) -> Result<Rendering> {
    let text = tokenizer.apply_chat_template(messages, Ending::Closed, tools)?.text;
    let whole = tokenizer.encode_offsets(&text, Special::AsWritten)?;
    Ok(all(text, whole))
}

fn assistant(tokenizer: &TextTokenizer, messages: &[Message], tools: Option<&Value>) -> Result<Rendering> {
    let rendered = tokenizer.apply_chat_template(messages, Ending::Closed, tools)?;
    let spans = match tokenizer.chat_marks() {
        Marks::Generation => rendered.assistant,
        Marks::None => spans_by_prefix(tokenizer, messages, &rendered.text, tools)?,
    };
    let whole = tokenizer.encode_offsets(&rendered.text, Special::AsWritten)?;
    let inside = |(from, to): &(usize, usize)| spans.iter().any(|span| *from < span.end && *to > span.start);
    let loss = whole.offsets.iter().map(inside).collect();
    Ok(Rendering { text: rendered.text, ids: whole.ids, offsets: whole.offsets, loss, border_shifted: false })
}

/// For a template without marks: an answer is what the conversation up to it has more than the conversation before it with the
/// opening of the answer. That holds only where both are beginnings of the whole text; otherwise nothing is guessed.
fn spans_by_prefix(
    tokenizer: &TextTokenizer,
    messages: &[Message],
    text: &str,
    tools: Option<&Value>,
) -> Result<Vec<Range<usize>>> {
    let mut spans = Vec::new();
    for (i, message) in messages.iter().enumerate().filter(|(i, m)| m.role == "assistant" && *i > 0) {
        debug_assert_eq!(message.role, "assistant");
        let before = tokenizer.apply_chat_template(&messages[..i], Ending::Open, tools)?.text;
        let after = tokenizer.apply_chat_template(&messages[..=i], Ending::Closed, tools)?.text;
        if !after.starts_with(&before) || !text.starts_with(&after) {
            return Err(Error::NoGenerationMarks { path: tokenizer.dir().to_path_buf() });
        }
        spans.push(before.len()..after.len());
    }
    Ok(spans)
}
