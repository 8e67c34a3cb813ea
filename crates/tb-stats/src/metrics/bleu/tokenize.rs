//! The two tokenizers of our BLEU: mteval-v13a for languages with spaces, and single characters for Japanese.

use serde::{Deserialize, Serialize};

use crate::chars::{is_space, words};

/// How BLEU cuts a text into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    /// sacrebleu's `13a` (its default): punctuation split from words, `&quot;` and its kin unescaped.
    V13a,
    /// sacrebleu's `char`: each character that is not whitespace; for Japanese.
    Char,
}

impl Tokenizer {
    /// `Char` when a text holds kana or ideographs, else `V13a`: a guess for callers that do not know the language.
    pub fn suited_to(text: &str) -> Self {
        if text
            .chars()
            .any(|c| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ff66}'..='\u{ff9f}'))
        {
            Self::Char
        } else {
            Self::V13a
        }
    }

    pub(super) fn for_each_token(self, text: &str, mut token: impl FnMut(&str)) {
        match self {
            Self::V13a => words(&split_13a(text)).for_each(token),
            Self::Char => {
                for c in text.chars().filter(|c| !is_space(*c)) {
                    token(c.encode_utf8(&mut [0; 4]));
                }
            }
        }
    }
}

/// The text with spaces around what mteval-v13a splits off.
fn split_13a(text: &str) -> String {
    let mut line = text.trim_end_matches(is_space).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if line.contains('&') {
        line = line.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    }
    // The four passes below must run in this order and each over the result of the one before:
    // a mark that one pass has consumed is not seen again by the same pass.
    let mut chars = vec![' '];
    for c in line.chars() {
        if is_symbol(c) {
            chars.extend([' ', c, ' ']);
        } else {
            chars.push(c);
        }
    }
    chars.push(' ');
    let chars = pass(&chars, |a, b| (!a.is_ascii_digit() && is_stop(b)).then_some([a, ' ', b, ' ']));
    let chars = pass(&chars, |a, b| (is_stop(a) && !b.is_ascii_digit()).then_some([' ', a, ' ', b]));
    let chars = pass(&chars, |a, b| (a.is_ascii_digit() && b == '-').then_some([a, ' ', b, ' ']));
    chars.into_iter().collect()
}

/// Replaces each pair of neighbours for which `rule` has an answer, from the left, without overlap.
fn pass(chars: &[char], rule: impl Fn(char, char) -> Option<[char; 4]>) -> Vec<char> {
    let mut result = Vec::with_capacity(chars.len() * 2);
    let mut at = 0;
    while at < chars.len() {
        if let Some(parts) = chars.get(at + 1).and_then(|next| rule(chars[at], *next)) {
            result.extend(parts);
            at += 2;
        } else {
            result.push(chars[at]);
            at += 1;
        }
    }
    result
}

/// ASCII punctuation that always stands alone: all but `'`, `,`, `-` and `.`.
fn is_symbol(c: char) -> bool {
    matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/')
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | ',')
}

#[cfg(test)]
mod tests {
    use super::Tokenizer;

    fn tokens(text: &str, tokenizer: Tokenizer) -> Vec<String> {
        let mut result = Vec::new();
        tokenizer.for_each_token(text, |token| result.push(token.to_owned()));
        result
    }

    #[test]
    fn stops_stay_inside_numbers_and_leave_words() {
        let got = tokens("It's $1,234.50, \"don't\" wait-and-see 10-20.", Tokenizer::V13a);
        let want = "It's $ 1,234.50 , \" don't \" wait-and-see 10 - 20 .";
        assert_eq!(got.join(" "), want);
    }

    #[test]
    fn characters_are_tokens_without_spaces() {
        assert_eq!(tokens("はい、 A1\u{3000}。", Tokenizer::Char).join("|"), "は|い|、|A|1|。");
    }

    #[test]
    fn the_guess_follows_the_script() {
        assert_eq!(Tokenizer::suited_to("Hello 5 “quotes”"), Tokenizer::V13a);
        assert_eq!(Tokenizer::suited_to("OK、了解"), Tokenizer::Char);
        assert_eq!(Tokenizer::suited_to(""), Tokenizer::V13a);
    }
}
