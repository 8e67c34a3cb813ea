//! Japanese: the words, the acts and how a message is put together from them.

mod acts;
mod words;

pub(super) use acts::ACTS;
pub(super) use words::WORDS;
