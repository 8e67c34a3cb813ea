//! The frame around a task: special tokens, the wording of each instruction, and the chat template that says the same.

use super::types::{Direction, Language};

/// Starts a document that has no frame.
pub const BOS: &str = "<|bos|>";
/// Ends every document and every answer.
pub const EOS: &str = "<|eos|>";
/// Fills rows up to one width.
pub const PAD: &str = "<|pad|>";
/// Starts what the user says.
pub const USER: &str = "<|user|>";
/// Starts what the model says.
pub const ASSISTANT: &str = "<|assistant|>";
/// Starts a system message.
pub const SYSTEM: &str = "<|system|>";

/// The special tokens in the order of their ids, which start at 0.
pub const SPECIAL_TOKENS: [&str; 6] = [PAD, BOS, EOS, USER, ASSISTANT, SYSTEM];

/// The Jinja template that frames a conversation exactly as [`prompt`] does.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}\
{% if message['role'] == 'system' %}<|system|>{{ message['content'] }}\
{% elif message['role'] == 'user' %}<|user|>{{ message['content'] }}\
{% elif message['role'] == 'assistant' %}<|assistant|>{% generation %}{{ message['content'] }}<|eos|>{% endgeneration %}\
{% else %}{{ raise_exception('the roles are system, user and assistant') }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// What the user says to have `source` rewritten.
#[must_use]
pub fn instruction(direction: Direction, language: Language, source: &str) -> String {
    let task = match (direction, language) {
        (Direction::CasualToPolite, Language::English) => "Rewrite politely:",
        (Direction::BluntToFriendly, Language::English) => "Rewrite in a friendly way:",
        (Direction::NotesToSentences, Language::English) => "Write in full sentences:",
        (Direction::CasualToPolite, Language::Japanese) => "丁寧に書き直す：",
        (Direction::BluntToFriendly, Language::Japanese) => "親しみやすく書き直す：",
        (Direction::NotesToSentences, Language::Japanese) => "文章にする：",
    };
    format!("{task}\n{source}")
}

/// What the user says, framed so that the model answers next.
#[must_use]
pub fn prompt(user: &str) -> String {
    format!("{USER}{user}{ASSISTANT}")
}
