//! What changed between two texts, word by word (Myers 1986, by `similar`). Words are those of Unicode's UAX 29; Japanese and
//! Chinese characters stand alone. Only words are matched with each other: space and punctuation follow them, or two sentences
//! that share nothing but their spaces would be shown as a word changed here and a word changed there.

use std::{collections::HashMap, ops::Range};

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
    let mut pieces = Vec::new();
    let mut push = |change, words: &[&str]| {
        if !words.is_empty() {
            pieces.push(Piece { change, text: words.concat() });
        }
    };
    for part in without_chance(parts(&old, &new), &old, &new) {
        if part.same {
            push(Change::Same, &old[part.old]);
        } else {
            push(Change::Removed, &old[part.old]);
            push(Change::Added, &new[part.new]);
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
    let same: usize = compared(&old, &new)
        .into_iter()
        .map(|part| match (&old[part.old], &new[part.new]) {
            (words, _) if part.same => words.len(),
            // Only a part that was too long to compare is counted by its words, whatever their order.
            (a, b) if a.len() + b.len() > MOST_WORDS => in_common(a, b),
            _ => 0,
        })
        .sum();
    1.0 - same as f64 / longer as f64
}

/// Tokens of the old text and what stands for them in the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    same: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// Two lists of tokens in parts: what they share, in order, and what lies between.
fn compared(old: &[&str], new: &[&str]) -> Vec<Part> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (rest_old, rest_new) = (&old[start..], &new[start..]);
    let end = rest_old.iter().rev().zip(rest_new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (end_old, end_new) = (old.len() - end, new.len() - end);
    let (mid_old, mid_new) = (&old[start..end_old], &new[start..end_new]);
    let mut parts = vec![Part { same: true, old: 0..start, new: 0..start }];
    if mid_old.len() + mid_new.len() > MOST_WORDS {
        parts.push(Part { same: false, old: start..end_old, new: start..end_new });
    } else {
        let moved = |range: Range<usize>| range.start + start..range.end + start;
        parts.extend(capture_diff_slices(Algorithm::Myers, mid_old, mid_new).into_iter().map(|op| Part {
            same: matches!(op, DiffOp::Equal { .. }),
            old: moved(op.old_range()),
            new: moved(op.new_range()),
        }));
    }
    parts.push(Part { same: true, old: end_old..old.len(), new: end_new..new.len() });
    parts
}

/// The parts of two texts in order, the same and different ones in turn.
fn parts(old: &[&str], new: &[&str]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut push = |same, old: Range<usize>, new: Range<usize>| match parts.last_mut() {
        _ if old.is_empty() && new.is_empty() => {}
        Some(last) if last.same == same => (last.old.end, last.new.end) = (old.end, new.end),
        Some(_) | None => parts.push(Part { same, old, new }),
    };
    let (mut at_old, mut at_new) = (0, 0);
    let the_end = std::iter::once((old.len(), new.len()));
    // From one word that both have up to the next: alike at its ends, different between them.
    for (next_old, next_new) in shared_words(old, new).into_iter().chain(the_end) {
        let (gap_old, gap_new) = (&old[at_old..next_old], &new[at_new..next_new]);
        let start = gap_old.iter().zip(gap_new).take_while(|(a, b)| a == b).count();
        let rest = gap_old[start..].iter().rev().zip(gap_new[start..].iter().rev());
        let end = rest.take_while(|(a, b)| a == b).count();
        push(true, at_old..at_old + start, at_new..at_new + start);
        push(false, at_old + start..next_old - end, at_new + start..next_new - end);
        push(true, next_old - end..next_old, next_new - end..next_new);
        (at_old, at_new) = (next_old, next_new);
    }
    parts
}

/// Places of the words that both texts have, in order.
fn shared_words(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    fn words<'t>(tokens: &[&'t str]) -> (Vec<usize>, Vec<&'t str>) {
        let places = tokens.iter().enumerate();
        places.filter(|(_, token)| token.chars().any(char::is_alphanumeric)).map(|(at, token)| (at, *token)).unzip()
    }
    let ((at_old, old), (at_new, new)) = (words(old), words(new));
    let same = compared(&old, &new).into_iter().filter(|part| part.same);
    same.flat_map(|part| part.old.zip(part.new)).map(|(a, b)| (at_old[a], at_new[b])).collect()
}

/// Counts what is the same by chance as changed too, so that a phrase that was written anew is shown as one. By chance is what is no
/// longer than either change beside it and ends no sentence (after Fraser, "Diff strategies", 2006).
fn without_chance(parts: Vec<Part>, old: &[&str], new: &[&str]) -> Vec<Part> {
    // Sums up to each token: a part that grows is measured again and again.
    let sums = |tokens: &[&str], of: fn(&str) -> usize| -> Vec<usize> {
        let mut sum = 0;
        let after_each = tokens.iter().map(|token| {
            sum += of(token);
            sum
        });
        std::iter::once(0).chain(after_each).collect()
    };
    let chars = |token: &str| token.chars().count();
    let ends = |token: &str| usize::from(token.contains(['.', '!', '?', '。', '！', '？', '\n']));
    let (chars_old, chars_new, ends_old) = (sums(old, chars), sums(new, chars), sums(old, ends));
    let within = |sums: &[usize], range: &Range<usize>| sums[range.end] - sums[range.start];
    let size = |part: &Part| within(&chars_old, &part.old).max(within(&chars_new, &part.new));
    let is_chance = |before: &Part, same: &Part, after: &Part| {
        size(same) <= size(before).min(size(after)) && within(&ends_old, &same.old) == 0
    };
    let mut kept: Vec<Part> = Vec::new();
    for part in parts {
        kept.push(part);
        while let [.., before, same, after] = kept.as_slice() {
            if after.same || !is_chance(before, same, after) {
                break;
            }
            let whole =
                Part { same: false, old: before.old.start..after.old.end, new: before.new.start..after.new.end };
            kept.truncate(kept.len() - 3);
            kept.push(whole);
        }
    }
    kept
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
    fn words_are_matched_before_the_spaces_between_them() {
        assert_eq!(
            shown("tell him the plan today", "please show the plan to her"),
            "[-tell him][+please show] the plan [-today][+to her]"
        );
        assert_eq!(shown("a  b", "a b"), "a[-  ][+ ]b");
        assert_eq!(shown("One. Two!", "One, Three!"), "One[-. Two][+, Three]!");
    }

    #[test]
    fn a_phrase_written_anew_is_one_change() {
        assert_eq!(
            shown(
                "Sign off the proposal. You have until Tuesday.",
                "Once the proposal is read, could you sign it by Tuesday?"
            ),
            "[-Sign off][+Once] the proposal[-. You have until][+ is read, could you sign it by] Tuesday[-.][+?]"
        );
        assert_eq!(
            shown(
                "会議、ちょっと遅れるかも。資料は先に送っとくね。",
                "会議ですが、少し遅れる可能性がございます。資料は事前にお送りいたします。"
            ),
            "会議[-、ちょっと遅れるかも][+ですが、少し遅れる可能性がございます]。資料は[-先に送っとくね][+事前にお送りいたします]。"
        );
        assert_eq!(shown("a big cat ran home", "a small cat sat home"), "a [-big][+small] cat [-ran][+sat] home");
        // A sentence that stayed is never swallowed, however short.
        assert_eq!(
            shown("Whatever it was before. Yes. And so on and on", "Something quite different. Yes. More than that"),
            "[-Whatever it was before][+Something quite different]. Yes. [-And so on and on][+More than that]"
        );
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

    #[test]
    fn long_words_that_alternate_are_merged_in_one_go() {
        let text =
            |own: char| (0..1_900).map(|i| format!("{} {} ", own.to_string().repeat(250), i % 7)).collect::<String>();
        let (old, new) = (text('a'), text('b'));
        assert_eq!(pieces(&old, &new).len(), 3, "one change, then the last word");
    }
}
