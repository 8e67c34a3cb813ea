//! What changed between two texts, word by word (Myers 1986, by `similar`). Words are those of Unicode's UAX 29; Japanese and
//! Chinese characters stand alone.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffOp, capture_diff_slices};
use unicode_segmentation::UnicodeSegmentation;

/// Words of both texts together, without what they share at their ends, beyond which the rest counts as replaced whole:
/// the time grows with the product of the words and the changes.
const MOST_WORDS: usize = 8_000;

/// What became of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ts_rs::TS)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is in both texts.
    Same,
    /// Only in the old one.
    Removed,
    /// Only in the new one.
    Added,
}

/// A piece of text and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ts_rs::TS)]
pub struct Piece {
    /// What became of it.
    pub change: Change,
    /// The text.
    pub text: String,
}

/// From `old` to `new`: the pieces without `added` are `old`, those without `removed` are `new`, to the byte.
#[must_use]
pub fn pieces(old: &str, new: &str) -> Vec<Piece> {
    let (old, new) = (split(old), split(new));
    let mut pieces: Vec<Piece> = Vec::new();
    let mut push = |change, words: &[&str]| {
        if words.is_empty() {
            return;
        }
        match pieces.last_mut() {
            Some(last) if last.change == change => words.iter().for_each(|word| last.text.push_str(word)),
            Some(_) | None => pieces.push(Piece { change, text: words.concat() }),
        }
    };
    for (removed, added) in changes(&old, &new) {
        match (removed, added) {
            (Side::Same(words), _) => push(Change::Same, words),
            (Side::Differs(removed), Side::Differs(added) | Side::Same(added)) => {
                push(Change::Removed, removed);
                push(Change::Added, added);
            }
        }
    }
    pieces
}

/// How far `new` is from `old`: 1 less the share of words in common, in order, of the text with more words. 0 for equal texts and
/// for two texts without words, 1 for nothing in common. Space and punctuation alone do not count.
#[must_use]
pub fn distance(old: &str, new: &str) -> f64 {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.unicode_words().collect(), new.unicode_words().collect());
    let longer = old.len().max(new.len());
    if longer == 0 {
        return 0.0;
    }
    let same: usize = changes(&old, &new)
        .into_iter()
        .map(|(side, other)| match (side, other) {
            (Side::Same(words), _) => words.len(),
            // Only a part that was too long to compare is counted by its words, whatever their order.
            (Side::Differs(a), Side::Differs(b)) if a.len() + b.len() > MOST_WORDS => in_common(a, b),
            (Side::Differs(_), Side::Differs(_) | Side::Same(_)) => 0,
        })
        .sum();
    1.0 - same as f64 / longer as f64
}

/// Words of both texts, or words of one side where they differ.
enum Side<'w, 't> {
    Same(&'w [&'t str]),
    Differs(&'w [&'t str]),
}

/// The texts in order, each part either the same or different.
fn changes<'w, 't>(old: &'w [&'t str], new: &'w [&'t str]) -> Vec<(Side<'w, 't>, Side<'w, 't>)> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (rest_old, rest_new) = (&old[start..], &new[start..]);
    let end = rest_old.iter().rev().zip(rest_new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (mid_old, mid_new) = (&rest_old[..rest_old.len() - end], &rest_new[..rest_new.len() - end]);
    let same = |words| (Side::Same(words), Side::Same(words));
    let mut parts = vec![same(&old[..start])];
    if mid_old.len() + mid_new.len() > MOST_WORDS {
        parts.push((Side::Differs(mid_old), Side::Differs(mid_new)));
    } else {
        for op in capture_diff_slices(Algorithm::Myers, mid_old, mid_new) {
            parts.push(match op {
                DiffOp::Equal { old_index, len, .. } => same(&mid_old[old_index..old_index + len]),
                DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {
                    (Side::Differs(&mid_old[op.old_range()]), Side::Differs(&mid_new[op.new_range()]))
                }
            });
        }
    }
    parts.push(same(&rest_old[rest_old.len() - end..]));
    parts
}

/// Words that occur on both sides, each as often as on the side where it is rarer.
fn in_common(a: &[&str], b: &[&str]) -> usize {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in a {
        *counts.entry(word).or_default() += 1;
    }
    b.iter()
        .filter(|word| match counts.get_mut(**word) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            Some(_) | None => false,
        })
        .count()
}

/// Words with the space and punctuation between them.
fn split(text: &str) -> Vec<&str> {
    text.split_word_bounds().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> String {
        pieces(old, new)
            .into_iter()
            .map(|piece| match piece.change {
                Change::Same => piece.text,
                Change::Removed => format!("[-{}]", piece.text),
                Change::Added => format!("[+{}]", piece.text),
            })
            .collect()
    }

    #[test]
    fn words_are_compared_whole_and_japanese_by_character() {
        assert_eq!(shown("send the report now", "send me the report"), "send [+me ]the report[- now]");
        assert_eq!(shown("明日行く。", "明日行きます。"), "明日行[-く][+きます]。");
        assert_eq!(shown("", "a"), "[+a]");
        assert_eq!(shown("same", "same"), "same");
        assert_eq!(shown("", ""), "");
    }

    #[test]
    fn both_texts_can_be_put_together_again_whatever_they_hold() {
        let texts = ["", "a b\u{0}c\r\n", "\u{202e}right to left\u{202c}", "<b>x</b>", "e\u{301}é", "👩‍👩‍👧 一つ", " \t "];
        for old in texts {
            for new in texts {
                let made = pieces(old, new);
                let without = |change| -> String {
                    made.iter().filter(|p| p.change != change).map(|p| p.text.as_str()).collect()
                };
                assert_eq!(without(Change::Added), old);
                assert_eq!(without(Change::Removed), new);
            }
        }
    }

    #[test]
    fn the_distance_counts_words() {
        assert_eq!(distance("send the report now", "send the report now!"), 0.0);
        assert_eq!(distance("a b c d", "a b c x"), 0.25);
        assert_eq!(distance("", "a"), 1.0);
        assert_eq!(distance("", " "), 0.0);
        assert_eq!(distance("a b", "c d"), 1.0);
    }

    #[test]
    fn a_megabyte_is_compared_coarsely_at_once() {
        let long = |seed: usize| (0..150_000).map(|i| format!("w{} ", (i * seed) % 9973)).collect::<String>();
        let (old, new) = (format!("start {}", long(7)), format!("start {}", long(11)));
        let made = pieces(&old, &new);
        assert!(made[0].text.starts_with("start "));
        assert!(made.len() <= 4 && distance(&old, &new) < 0.2);
    }
}
