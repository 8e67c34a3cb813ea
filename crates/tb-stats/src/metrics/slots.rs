//! Slot accuracy: which names, numbers, dates and objects of a row survive verbatim in the output.
//! Finding the slots of a row is the data's work, not ours.

use serde::{Deserialize, Serialize};

/// How many expected slot strings an output kept. Rows add up to a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotCount {
    /// Slots found in the output.
    pub kept: u64,
    /// Slots expected.
    pub expected: u64,
}

impl SlotCount {
    /// Kept over expected (0 to 1); `None` when nothing was expected.
    pub fn share(self) -> Option<f64> {
        (self.expected > 0).then(|| self.kept as f64 / self.expected as f64)
    }
}

impl std::ops::AddAssign for SlotCount {
    fn add_assign(&mut self, other: Self) {
        self.kept += other.kept;
        self.expected += other.expected;
    }
}

/// Counts the slots of one row that its output keeps verbatim; empty slot strings are not counted.
///
/// A slot named k times must occur k times, without overlap. A slot must not be cut out of a larger number or word:
/// `3` is not kept by `13`, `3.5` or `3:30`, nor `Ann` by `Annual`; scripts written without spaces know no such border.
pub fn count<S: AsRef<str>>(output: &str, slots: &[S]) -> SlotCount {
    let mut total = SlotCount::default();
    for (index, slot) in slots.iter().enumerate() {
        let slot = slot.as_ref();
        if slot.is_empty() {
            continue;
        }
        // This is the n-th mention of the slot, so the output needs n occurrences for it to count.
        let mention = slots[..=index].iter().filter(|other| other.as_ref() == slot).count();
        total.expected += 1;
        total.kept += u64::from(occurrences(output, slot).take(mention).count() == mention);
    }
    total
}

/// The share (0 to 1) of all slots kept over `(output, slots)` rows; `None` when no row expects a slot.
pub fn share<'a, S: AsRef<str> + 'a>(rows: impl IntoIterator<Item = (&'a str, &'a [S])>) -> Option<f64> {
    let mut total = SlotCount::default();
    for (output, slots) in rows {
        total += count(output, slots);
    }
    total.share()
}

/// Byte offsets of whole, non-overlapping occurrences of `slot`, which is not empty.
fn occurrences<'a>(output: &'a str, slot: &'a str) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(found) = output[from..].find(slot) {
            let start = from + found;
            let end = start + slot.len();
            if is_whole(output, start, end) {
                from = end;
                return Some(start);
            }
            from = start + slot.chars().next().map_or(1, char::len_utf8);
        }
        None
    })
}

fn is_whole(output: &str, start: usize, end: usize) -> bool {
    let (first, last) = (output[start..end].chars().next(), output[start..end].chars().next_back());
    let before: Vec<char> = output[..start].chars().rev().take(2).collect();
    let after: Vec<char> = output[end..].chars().take(2).collect();
    !first.is_some_and(|edge| continues(edge, &before)) && !last.is_some_and(|edge| continues(edge, &after))
}

/// Whether the number or word that ends with `edge` goes on in `neighbours` (nearest first).
fn continues(edge: char, neighbours: &[char]) -> bool {
    if is_digit(edge) {
        match neighbours {
            [near, ..] if is_digit(*near) => true,
            ['.' | ',' | ':', far, ..] => is_digit(*far),
            _ => false,
        }
    } else {
        is_spaced_letter(edge) && neighbours.first().is_some_and(|near| is_spaced_letter(*near))
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || ('０'..='９').contains(&c)
}

/// A letter of a script that separates words by spaces: Latin, Greek, Cyrillic.
fn is_spaced_letter(c: char) -> bool {
    c.is_alphabetic() && c < '\u{530}'
}

#[cfg(test)]
mod tests {
    use super::{SlotCount, count, share};

    fn kept(output: &str, slots: &[&str]) -> u64 {
        count(output, slots).kept
    }

    #[test]
    fn slots_are_found_verbatim() {
        let output = "Could you send the report to Dr. Ann Lee by 3:30 on May 4?";
        let slots = ["report", "Ann Lee", "3:30", "May 4", "invoice"];
        assert_eq!(count(output, &slots), SlotCount { kept: 4, expected: 5 });
    }

    #[test]
    fn a_piece_of_a_number_or_word_is_not_the_slot() {
        assert_eq!(kept("room 13", &["3"]), 0);
        assert_eq!(kept("at 3:30", &["3"]), 0);
        assert_eq!(kept("3.5 days", &["3"]), 0);
        assert_eq!(kept("1,000 yen", &["000"]), 0);
        assert_eq!(kept("rooms 13 and 3.", &["3"]), 1);
        assert_eq!(kept("the Annual plan", &["Ann"]), 0);
        assert_eq!(kept("Ann's plan", &["Ann"]), 1);
        assert_eq!(kept("room B3x", &["3"]), 1);
    }

    #[test]
    fn japanese_has_no_word_border_but_numbers_do() {
        assert_eq!(kept("田中様、請求書を15日までにお送りください。", &["田中", "請求書", "15日"]), 3);
        assert_eq!(kept("115日", &["15日"]), 0);
        assert_eq!(kept("１５日", &["５日"]), 0);
    }

    #[test]
    fn a_slot_named_twice_must_occur_twice() {
        assert_eq!(kept("Ann met Ann", &["Ann", "Ann"]), 2);
        assert_eq!(kept("Ann left", &["Ann", "Ann"]), 1);
        assert_eq!(kept("ああああ", &["ああ", "ああ", "ああ"]), 2);
    }

    #[test]
    fn empty_slots_and_outputs_are_harmless() {
        assert_eq!(count("", &["a"]), SlotCount { kept: 0, expected: 1 });
        assert_eq!(count("abc", &["", ""]).share(), None);
        assert_eq!(share::<&str>([]), None);
        assert_eq!(
            share([("a b", ["a", "b"].as_slice()), ("", ["c", "d"].as_slice()), ("x", [].as_slice())]),
            Some(0.5)
        );
    }
}
