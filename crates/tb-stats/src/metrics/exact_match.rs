//! Exact match after whitespace normalisation. Case, punctuation and Unicode form are compared as they are.

use crate::chars::words;

/// Whether two texts are equal after trimming and collapsing each run of Unicode whitespace to one space.
///
/// The ideographic space U+3000 is whitespace too; no other normalisation (NFKC, case) is done.
pub fn is_exact_match(output: &str, target: &str) -> bool {
    words(output).eq(words(target))
}

/// The text with whitespace normalised as [`is_exact_match`] compares it: a key for finding equal texts.
pub fn normalised(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for word in words(text) {
        if !result.is_empty() {
            result.push(' ');
        }
        result.push_str(word);
    }
    result
}

/// The share (0 to 1) of `(output, target)` pairs that match exactly; `None` for no pairs.
pub fn share<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<f64> {
    let (mut matches, mut rows) = (0_u64, 0_u64);
    for (output, target) in pairs {
        rows += 1;
        matches += u64::from(is_exact_match(output, target));
    }
    (rows > 0).then(|| matches as f64 / rows as f64)
}

#[cfg(test)]
mod tests {
    use super::{is_exact_match, normalised, share};

    #[test]
    fn only_whitespace_is_forgiven() {
        assert!(is_exact_match("  Could you\tsend it? \n", "Could you send it?"));
        assert!(is_exact_match("\u{3000}お世話になっております。\u{3000}", "お世話になっております。"));
        assert!(is_exact_match("", " \n"));
        assert!(!is_exact_match("could you send it?", "Could you send it?"));
        assert!(!is_exact_match("ab", "a b"));
        assert!(!is_exact_match("Thanks", "Thanks."));
    }

    #[test]
    fn the_share_counts_rows() {
        assert_eq!(share([("a", "a "), ("a", "b"), ("", ""), ("x", "")]), Some(0.5));
        assert_eq!(share([]), None);
    }

    #[test]
    fn equal_keys_mean_an_exact_match() {
        assert_eq!(normalised(" a \u{a0} b\u{1f}c "), "a b c");
        assert_eq!(normalised(" \n"), "");
    }
}
