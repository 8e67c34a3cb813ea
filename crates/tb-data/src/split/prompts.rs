//! Splitting prompts whose rows come later, a version after another: prompts that differ in nothing but width, case, blanks and
//! punctuation stand together, and a prompt keeps the split that it has in an earlier version.

use std::{collections::HashMap, fmt, str::FromStr};

use sha2::{Digest, Sha256};
use tb_core::dataset::{Example, SplitName};
use unicode_normalization::UnicodeNormalization;

use super::{Shares, place, prompt_key};
use crate::error::Result;

/// Column of a frozen row that holds the key of its prompt, where the prompt as the model gets it is framed.
pub const KEY_COLUMN: &str = "prompt_key";

/// Stands for all prompts that are nearly the same: 128 bits of SHA-256 over the letters and digits of the text in NFKC and lower
/// case (over the trimmed text where it has none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PromptKey(u128);

impl PromptKey {
    /// The key of a prompt.
    #[must_use]
    pub fn of(prompt: &str) -> Self {
        let mut hasher = Sha256::new();
        let mut bytes = [0; 4];
        let mut empty = true;
        for c in prompt.nfkc().flat_map(char::to_lowercase).filter(|c| c.is_alphanumeric()) {
            hasher.update(c.encode_utf8(&mut bytes));
            empty = false;
        }
        if empty {
            hasher.update(prompt.trim());
        }
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize()[..16]);
        Self(u128::from_be_bytes(first))
    }
}

impl fmt::Display for PromptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for PromptKey {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

/// Places prompts in splits.
#[derive(Clone, Debug)]
pub struct PromptSplits {
    shares: Shares,
    seed: u64,
    earlier: HashMap<PromptKey, SplitName>,
}

impl PromptSplits {
    /// Places by shares and seed.
    ///
    /// # Errors
    /// [`Error::BadShares`](crate::error::Error::BadShares).
    pub fn new(shares: Shares, seed: u64) -> Result<Self> {
        shares.check()?;
        Ok(Self { shares, seed, earlier: HashMap::new() })
    }

    /// Keeps the prompt of a row of an earlier version in its split. Where it stands in several, test wins, then train: what was
    /// tested on is never learnt from, and what was learnt from is never tested on.
    pub fn keep(&mut self, split: SplitName, example: &Example, key: Option<PromptKey>) {
        let rank = |split: SplitName| match split {
            SplitName::Validation => 0,
            SplitName::Train => 1,
            SplitName::Test => 2,
        };
        // A framed prompt that comes again in the same frame is as much the same as one that comes again in another.
        for key in [Some(PromptKey::of(&prompt_key(example))), key].into_iter().flatten() {
            let kept = self.earlier.entry(key).or_insert(split);
            if rank(split) > rank(*kept) {
                *kept = split;
            }
        }
    }

    /// The split of a prompt: the one that it has, by its own text or as it is framed, else the place of its key by shares and seed.
    #[must_use]
    pub fn split(&self, key: PromptKey, framed: &str) -> SplitName {
        let found = [self.earlier.get(&key), self.earlier.get(&PromptKey::of(framed))];
        let of = |wanted: SplitName| found.iter().flatten().any(|split| **split == wanted);
        match () {
            () if of(SplitName::Test) => SplitName::Test,
            () if of(SplitName::Train) => SplitName::Train,
            () if of(SplitName::Validation) => SplitName::Validation,
            () => self.shares.split_at(place(&key.to_string(), self.seed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tb_core::dataset::Said;

    use super::*;

    fn example(prompt: &str) -> Example {
        Example::PromptCompletion { prompt: Said::Text(prompt.into()), completion: Said::Text("a".into()) }
    }

    #[test]
    fn width_case_blanks_and_punctuation_make_no_other_prompt() {
        let key = PromptKey::of("Can't make it, sorry!");
        assert_eq!(key, PromptKey::of("  cant MAKE it\nsorry"));
        assert_eq!(PromptKey::of("ＡＢＣ、ｶﾞｯｺｳ"), PromptKey::of("abc ガッコウ。"));
        assert_ne!(key, PromptKey::of("Can make it, sorry!"));
        assert_ne!(PromptKey::of("!"), PromptKey::of("?"));
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn a_prompt_stays_where_an_earlier_version_has_it() {
        let shares = Shares { train: 1.0, validation: 0.0, test: 0.0 };
        let mut splits = PromptSplits::new(shares, 1).unwrap();
        let key = PromptKey::of("Hello");
        assert_eq!(splits.split(key, "Hello"), SplitName::Train);
        splits.keep(SplitName::Validation, &example("hello"), None);
        assert_eq!(splits.split(key, "Hello"), SplitName::Validation);
        splits.keep(SplitName::Test, &example("HELLO!"), None);
        splits.keep(SplitName::Train, &example("hello"), None);
        assert_eq!(splits.split(key, "Hello"), SplitName::Test);
        // In another frame it is known by its key.
        splits.keep(SplitName::Test, &example("Rewrite: bye"), Some(PromptKey::of("bye")));
        assert_eq!(splits.split(PromptKey::of("Bye."), "Say politely: Bye."), SplitName::Test);
        assert_eq!(splits.split(PromptKey::of("Rewrite bye"), "Rewrite bye"), SplitName::Test);
    }

    #[test]
    fn shares_are_met_and_the_seed_counts() {
        let of = |seed| {
            let splits = PromptSplits::new(Shares::default(), seed).unwrap();
            let place = |n: u32| splits.split(PromptKey::of(&format!("prompt {n}")), "");
            (0..2000).map(place).collect::<Vec<_>>()
        };
        let one = of(7);
        let train = one.iter().filter(|s| **s == SplitName::Train).count();
        // Standard deviation of 2000 draws at 0.8 is 18: five of them.
        assert!((train as f64 - 1600.0).abs() < 90.0, "{train}");
        assert_ne!(one, of(8));
        assert!(PromptSplits::new(Shares { train: 0.0, validation: 0.5, test: 0.5 }, 1).is_err());
    }
}
