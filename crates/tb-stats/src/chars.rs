//! Character classes shared by the metrics. No tokenizer lives here: each metric has its own.

/// Whitespace as Python's `str.split()` sees it: Unicode White_Space plus the four separators U+001C..U+001F.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The words of `text` between runs of whitespace.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}
