//! The tokens of an answer as text while they come: never half a character, and in the end the text that all tokens together have.
//!
//! A token can hold a part of a character (Japanese, emoji), and decoders write a word's space by what stands before it. So each new
//! token is decoded together with those given out last, and what their text has more than before is new. A text that ends in U+FFFD
//! is held back: its last character may still become whole.

use super::TextTokenizer;
use crate::error::Result;

/// What stands for bytes that are no character.
const BROKEN: char = char::REPLACEMENT_CHARACTER;

/// An answer's tokens on their way to text.
#[derive(Clone, Debug, Default)]
pub struct AnswerText {
    ids: Vec<u32>,
    /// The tokens given out last start here; new ones are decoded together with them.
    from: usize,
    /// Tokens before this one are given out.
    given: usize,
}

impl AnswerText {
    /// Takes one more token and gives the text that became whole with it, often none.
    ///
    /// # Errors
    /// [`crate::Error::Tokenizer`].
    pub fn push(&mut self, tokenizer: &TextTokenizer, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = tokenizer.decode(&self.ids[self.from..])?;
        if text.ends_with(BROKEN) {
            return Ok(String::new());
        }
        let new = self.beyond_given(tokenizer, &text)?;
        if !new.is_empty() {
            (self.from, self.given) = (self.given, self.ids.len());
        }
        Ok(new)
    }

    /// The text that was held back and will not become whole any more.
    ///
    /// # Errors
    /// [`crate::Error::Tokenizer`].
    pub fn rest(self, tokenizer: &TextTokenizer) -> Result<String> {
        let text = tokenizer.decode(&self.ids[self.from..])?;
        self.beyond_given(tokenizer, &text)
    }

    /// What `text`, of the tokens from `from` on, has more than those that are given out.
    fn beyond_given(&self, tokenizer: &TextTokenizer, text: &str) -> Result<String> {
        let given = tokenizer.decode(&self.ids[self.from..self.given])?;
        match text.strip_prefix(given.as_str()) {
            Some(new) => Ok(new.to_owned()),
            // Bytes that are no text have changed what was read before them: the new tokens count alone.
            None => tokenizer.decode(&self.ids[self.given..]),
        }
    }
}

/// The text of an answer that was cut off, without the beginning of a character whose end is missing.
#[must_use]
pub fn whole_characters(text: &str) -> &str {
    text.trim_end_matches(BROKEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{SEED, rows, write_bundled};

    fn stream(tokenizer: &TextTokenizer, ids: &[u32]) -> (Vec<String>, String) {
        let mut answer = AnswerText::default();
        let parts = ids.iter().map(|id| answer.push(tokenizer, *id).unwrap()).collect();
        (parts, answer.rest(tokenizer).unwrap())
    }

    #[test]
    fn parts_are_whole_characters_and_add_up_to_the_text() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = TextTokenizer::load(&write_bundled(dir.path()).unwrap().base).unwrap();
        let rows = rows(SEED).heldout;
        let mut texts: Vec<String> = rows.into_iter().map(|row| row.completion).collect();
        texts.extend(["髙橋さん、🙂👍🏽です。\n\t Ünïcode –  two spaces ".to_owned(), String::new(), "🙂".to_owned()]);
        let mut held = 0;
        for text in texts {
            let ids = tokenizer.encode(&text).unwrap();
            let (parts, rest) = stream(&tokenizer, &ids);
            assert_eq!(rest, "", "{text}");
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|p| !p.contains(BROKEN)), "{parts:?}");
            held += parts.iter().filter(|p| p.is_empty()).count();
        }
        assert!(held > 10, "characters of several tokens must occur: {held}");
    }

    #[test]
    fn a_character_that_is_cut_off_stays_back() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = TextTokenizer::load(&write_bundled(dir.path()).unwrap().base).unwrap();
        let ids = tokenizer.encode("です🙂").unwrap();
        let cut = &ids[..ids.len() - 1];
        let (parts, rest) = stream(&tokenizer, cut);
        assert_eq!(parts.concat(), "です");
        assert_eq!(rest, tokenizer.decode(cut).unwrap().trim_start_matches("です"));
        assert_eq!(whole_characters(&(parts.concat() + &rest)), "です");
        // Bytes that never become text are given out with what follows them.
        let broken: Vec<u32> = [cut, &tokenizer.encode("a b").unwrap()].concat();
        let (parts, rest) = stream(&tokenizer, &broken);
        assert_eq!(parts.concat() + &rest, tokenizer.decode(&broken).unwrap());
    }
}
