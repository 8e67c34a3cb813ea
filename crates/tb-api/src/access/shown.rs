//! What the holder of a token or a session shows: 32 random bytes behind a prefix that tells which it is. Only digests are stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tb_core::{ApiError, ErrorCode, settings::Secret};
use tb_data::files::sha256_bytes;

const RANDOM_BYTES: usize = 32;

/// Characters of 32 bytes in base64.
const ENCODED: usize = 43;

/// What is shown, by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An access token of a user.
    Token,
    /// The cookie of a signed-in browser.
    Session,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Token, Self::Session];

    fn prefix(self) -> &'static str {
        match self {
            Self::Token => "tbu_",
            Self::Session => "tbs_",
        }
    }

    /// The kind of thing that a text looks like; none if it can be neither.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let rest = |kind: &Self| text.strip_prefix(kind.prefix());
        let is_encoded = |rest: &str| {
            rest.len() == ENCODED && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        Self::ALL.into_iter().find(|kind| rest(kind).is_some_and(is_encoded))
    }
}

/// Whether a text looks like an access token of a user.
#[must_use]
pub fn is_user_token(text: &str) -> bool {
    Kind::of(text) == Some(Kind::Token)
}

/// Whether a text looks like the cookie of a signed-in user.
#[must_use]
pub fn is_session(text: &str) -> bool {
    Kind::of(text) == Some(Kind::Session)
}

/// A new one, never seen before.
pub(crate) fn fresh(kind: Kind) -> Result<Secret, ApiError> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|e| {
        ApiError::new(ErrorCode::Internal, format!("Nothing was changed: the system gives no randomness: {e}."))
    })?;
    Ok(Secret::from(format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(random))))
}

/// What is stored of it. A plain hash is enough: nobody can guess 32 random bytes.
pub(crate) fn digest(shown: &str) -> String {
    sha256_bytes(shown.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_one_is_known_by_its_prefix_and_never_the_same() {
        for kind in Kind::ALL {
            let (one, other) = (fresh(kind).unwrap(), fresh(kind).unwrap());
            assert_eq!(Kind::of(one.reveal()), Some(kind));
            assert_ne!(one.reveal(), other.reveal());
            assert_eq!(digest(one.reveal()).len(), 64);
            assert_eq!(Kind::of(&one.reveal()[..46]), None);
            assert_eq!(Kind::of(&format!("{}x", one.reveal())), None);
        }
        assert_eq!(Kind::of(&"a".repeat(43)), None, "the owner's token is neither");
    }
}
