//! From examples to tokens and labels, as TRL's SFT trainer makes them. Loading a tokenizer is in `tokenize/text_tokenizer.rs`.

mod answer_text;
mod rendering;
pub mod store;
mod text_tokenizer;
mod view;

use serde_json::Value;
use tb_core::{
    dataset::{Example, Message, Said},
    recipe::LossOn,
    run_folder::Framing,
};

use crate::{chat_template::Ending, error::Result};
pub use answer_text::{AnswerText, whole_characters};
use rendering::render;
pub use text_tokenizer::TextTokenizer;
pub use view::{TokenView, token_view};

/// Label of a position without loss.
pub const IGNORED: i32 = -100;

/// How many labels of a row are learnt: one at the first position has nothing before it to be learnt from.
#[must_use]
pub fn targets(labels: &[i32]) -> usize {
    labels.iter().skip(1).filter(|label| **label != IGNORED).count()
}

/// How examples become rows of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// Longest row in tokens; longer ones are cut at the end.
    pub max_length: usize,
    /// Which tokens carry loss.
    pub loss_on: LossOn,
}

/// A row of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The tokens.
    pub ids: Vec<u32>,
    /// Per position: its own token where it carries loss, else [`IGNORED`]. Not shifted.
    pub labels: Vec<i32>,
    /// Whether tokens were cut off.
    pub cut: bool,
    /// Whether the prompt's tokens alone are not the beginning of the row's tokens: the border then lies inside a token.
    pub border_shifted: bool,
}

impl TokenRow {
    /// Positions that carry loss.
    #[must_use]
    pub fn supervised(&self) -> usize {
        self.labels.iter().filter(|l| **l != IGNORED).count()
    }
}

/// Turns an example into tokens and labels.
///
/// Plain text gets the end token appended, as TRL does; of a prompt and its completion, `Auto` learns the completion. Conversations
/// go through the chat template; `Auto` learns every token of them, `Assistant` what the assistant says in every turn.
///
/// # Errors
/// [`crate::Error::WrongShape`] if `loss_on` does not fit the shape, [`crate::Error::NoTemplate`],
/// [`crate::Error::Template`], [`crate::Error::Tokenizer`].
pub fn render_row(tokenizer: &TextTokenizer, example: &Example, options: &RenderOptions) -> Result<TokenRow> {
    render_row_with(tokenizer, example, options, None)
}

/// As [`render_row`], with the tools that the chat template is to describe (the row's `tools` column).
///
/// # Errors
/// As [`render_row`].
pub fn render_row_with(
    tokenizer: &TextTokenizer,
    example: &Example,
    options: &RenderOptions,
    tools: Option<&Value>,
) -> Result<TokenRow> {
    let whole = render(tokenizer, example, options.loss_on, tools)?;
    let length = whole.ids.len().min(options.max_length);
    let cut = length < whole.ids.len();
    let labels = (0..length)
        .map(|i| if whole.loss[i] { i32::try_from(whole.ids[i]).unwrap_or(IGNORED) } else { IGNORED })
        .collect();
    let ids = whole.ids[..length].to_vec();
    Ok(TokenRow { ids, labels, cut, border_shifted: whole.border_shifted })
}

/// The tokens that come before the answer: of a conversation with the words that open the assistant's turn.
///
/// # Errors
/// As [`render_row`].
pub fn prompt_ids(tokenizer: &TextTokenizer, example: &Example) -> Result<Vec<u32>> {
    match example {
        Example::Preference { prompt, .. }
        | Example::Unpaired { prompt, .. }
        | Example::PromptCompletion { prompt, .. } => match prompt {
            Said::Text(text) => tokenizer.encode_with_special(text),
            Said::Messages(messages) => chat_ids(tokenizer, messages),
        },
        Example::Messages { messages } => {
            let last = messages.iter().rposition(|m| m.role == "assistant").unwrap_or(messages.len());
            chat_ids(tokenizer, &messages[..last])
        }
        Example::Text { text } => tokenizer.encode_with_special(text),
    }
}

/// The prompt as a person reads it: a plain one as it stands in the row, a conversation as its tokens spell it without special ones.
///
/// # Errors
/// [`crate::Error::Tokenizer`].
pub fn prompt_text(tokenizer: &TextTokenizer, example: &Example, prompt_ids: &[u32]) -> Result<String> {
    match example {
        Example::PromptCompletion { prompt: Said::Text(text), .. }
        | Example::Unpaired { prompt: Said::Text(text), .. }
        | Example::Preference { prompt: Said::Text(text), .. } => Ok(text.clone()),
        Example::PromptCompletion { .. }
        | Example::Unpaired { .. }
        | Example::Preference { .. }
        | Example::Messages { .. }
        | Example::Text { .. } => tokenizer.decode(prompt_ids),
    }
}

/// The answer that is hoped for, as text: none for a plain document, a conversation without an answer, or an answer that is bad.
#[must_use]
pub fn target_text(example: &Example) -> Option<String> {
    match example {
        Example::PromptCompletion { completion: said, .. }
        | Example::Unpaired { completion: said, label: true, .. }
        | Example::Preference { chosen: said, .. } => match said {
            Said::Text(text) => Some(text.clone()),
            Said::Messages(messages) => last_answer(messages),
        },
        Example::Messages { messages } => last_answer(messages),
        Example::Unpaired { label: false, .. } | Example::Text { .. } => None,
    }
}

/// The tokens of a prompt that a user types: as it is, or as a user's message in the chat template.
///
/// # Errors
/// As [`render_row`].
pub fn frame_prompt(tokenizer: &TextTokenizer, text: &str, framing: Framing) -> Result<Vec<u32>> {
    match framing {
        Framing::Plain => tokenizer.encode_with_special(text),
        Framing::Chat => {
            let more = serde_json::Map::new();
            chat_ids(tokenizer, &[Message { role: "user".into(), content: text.into(), more }])
        }
    }
}

/// The tokens of a conversation that a model is to go on with: in its chat template with the words that open the assistant's turn; of a
/// model without a template, what was said as plain text with empty lines between.
///
/// # Errors
/// As [`render_row`].
pub fn conversation_ids(tokenizer: &TextTokenizer, messages: &[Message]) -> Result<(Vec<u32>, Framing)> {
    if tokenizer.has_chat_template() {
        return Ok((chat_ids(tokenizer, messages)?, Framing::Chat));
    }
    let said: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
    Ok((tokenizer.encode_with_special(&said.join("\n\n"))?, Framing::Plain))
}

fn chat_ids(tokenizer: &TextTokenizer, messages: &[Message]) -> Result<Vec<u32>> {
    tokenizer.encode(&tokenizer.apply_chat_template(messages, Ending::Open, None)?.text)
}

fn last_answer(messages: &[Message]) -> Option<String> {
    messages.iter().rev().find(|m| m.role == "assistant").map(|m| m.content.clone())
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
