//! Levenshtein distance over characters (Unicode scalar values). No word-level distance, no alignment.

/// The fewest insertions, deletions and substitutions of one character that turn `a` into `b`.
///
/// Time is the product of the two lengths after common ends are cut off; memory is one row.
pub fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let prefix = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[prefix..], &b[prefix..]);
    let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[..a.len() - suffix], &b[..b.len() - suffix]);
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };

    // row[j] is the distance between long[..i] and short[..j].
    let mut row: Vec<usize> = (0..=short.len()).collect();
    for (i, x) in long.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in short.iter().enumerate() {
            let substitution = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[short.len()]
}

/// The distance divided by the longer length: 0 for equal texts, 1 for nothing in common. Two empty texts give 0.
pub fn normalised(a: &str, b: &str) -> f64 {
    let longer = a.chars().count().max(b.chars().count());
    if longer == 0 { 0.0 } else { distance(a, b) as f64 / longer as f64 }
}

/// The mean of [`normalised`] over `(output, target)` pairs; `None` for no pairs.
pub fn mean_normalised<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<f64> {
    let (mut sum, mut rows) = (0.0, 0_u64);
    for (output, target) in pairs {
        sum += normalised(output, target);
        rows += 1;
    }
    (rows > 0).then(|| sum / rows as f64)
}

#[cfg(test)]
mod tests {
    use super::{distance, mean_normalised, normalised};

    #[test]
    fn textbook_distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("saturday", "sunday"), 3);
        assert_eq!(distance("ab", "ba"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("aaa", "aa"), 1);
        assert_eq!(distance("送ります", "お送りします"), 2);
    }

    #[test]
    fn it_is_symmetric_and_keeps_the_triangle_inequality() {
        let texts = ["", "a", "abcab", "bcaba", "日本語です", "日本です。", "aaaaabbbb", "🙂é"];
        for a in texts {
            for b in texts {
                assert_eq!(distance(a, b), distance(b, a));
                assert_eq!(distance(a, b) == 0, a == b);
                for c in texts {
                    assert!(distance(a, c) <= distance(a, b) + distance(b, c));
                }
            }
        }
    }

    #[test]
    fn normalised_stays_between_0_and_1() {
        assert_eq!(normalised("", ""), 0.0);
        assert_eq!(normalised("", "x"), 1.0);
        assert_eq!(normalised("abcd", "abxd"), 0.25);
        assert_eq!(mean_normalised([("", ""), ("", "x")]), Some(0.5));
        assert_eq!(mean_normalised([]), None);
    }
}
