//! Passwords: hashed with Argon2id and compared, at most two at once, away from the async threads. Which password may be chosen
//! is here as well; where hashes lie is tb-db's.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier},
};
use tb_core::{ApiError, ErrorCode, settings::Secret};
use tokio::sync::Semaphore;

use crate::ctx::blocking;

/// Hashes that may be computed at once: each takes a core and its memory.
const AT_ONCE: usize = 2;

/// How long one waits for its turn before its caller is told to come again.
const TURN: Duration = Duration::from_secs(5);

const SALT_BYTES: usize = 16;

/// Shortest password in characters, and longest in bytes.
const SHORTEST: usize = 10;
const LONGEST_BYTES: usize = 1024;

/// What one hash costs whoever computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes of the memory.
    pub lanes: u32,
}

impl Default for PasswordCost {
    /// The first of the settings that OWASP's cheat sheet on password storage recommends for Argon2id.
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

/// Computes hashes.
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    /// The hash of a password that nobody knows: for names that have none, so that an answer takes as long as with one.
    nobodys: Arc<OnceLock<String>>,
    turns: Arc<Semaphore>,
}

impl Passwords {
    /// # Errors
    /// A cost that Argon2 does not have.
    pub fn new(cost: PasswordCost) -> Result<Self, ApiError> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None)
            .map_err(|e| ApiError::new(ErrorCode::InvalidArgument, format!("{cost:?} is no cost of Argon2: {e}.")))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(Self { argon2, nobodys: Arc::default(), turns: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// The hash of a password as a PHC string, with a salt of its own.
    ///
    /// # Errors
    /// `unavailable` if too many wait.
    pub async fn hash(&self, password: &Secret) -> Result<String, ApiError> {
        let (argon2, password) = (self.argon2.clone(), password.clone());
        self.in_turn(move || hash(&argon2, password.reveal().as_bytes())).await
    }

    /// Whether the password is the one of `known`. Without a known one the answer is no, and takes as long.
    ///
    /// # Errors
    /// `unavailable` if too many wait.
    pub async fn matches(&self, password: &Secret, known: Option<String>) -> Result<bool, ApiError> {
        let (argon2, password, nobodys) = (self.argon2.clone(), password.clone(), Arc::clone(&self.nobodys));
        self.in_turn(move || {
            if nobodys.get().is_none() {
                let mut unknown = [0; 32];
                fill(&mut unknown)?;
                nobodys.get_or_init(|| hash(&argon2, &unknown).unwrap_or_default());
            }
            let has_password = known.is_some();
            let known = known.or_else(|| nobodys.get().cloned()).unwrap_or_default();
            // A text that is longer than any password is not worth hashing; its length is no secret.
            let may_be = password.reveal().len() <= LONGEST_BYTES;
            let given = if may_be { password.reveal().as_bytes() } else { &[] };
            let same = argon2.verify_password(given, known.as_str()).is_ok();
            Ok(same && has_password && may_be)
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(ApiError::new(
                ErrorCode::Unavailable,
                "Nothing was done: too many passwords wait to be checked.",
            )
            .hint("Try again in a moment."));
        };
        blocking(move || {
            // Held to the end of the work, even if its caller is gone.
            let _turn = turn;
            work()
        })
        .await
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), ApiError> {
    getrandom::fill(bytes)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("The system gives no randomness: {e}.")))
}

fn hash(argon2: &Argon2<'static>, password: &[u8]) -> Result<String, ApiError> {
    let mut salt = [0; SALT_BYTES];
    fill(&mut salt)?;
    let hash = argon2
        .hash_password_with_salt(password, &salt)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("The password cannot be hashed: {e}.")))?;
    Ok(hash.to_string())
}

/// Refuses a password that is too easily guessed, without a word of it.
///
/// # Errors
/// `invalid_argument`.
pub(crate) fn check_new(password: &Secret, name: &str) -> Result<(), ApiError> {
    let text = password.reveal();
    let refuse = |why: String| Err(ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was changed: {why}.")));
    let mut letters: Vec<char> = text.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    if text.chars().count() < SHORTEST {
        refuse(format!("a password needs at least {SHORTEST} characters"))
    } else if text.len() > LONGEST_BYTES {
        refuse(format!("a password has at most {LONGEST_BYTES} bytes"))
    } else if letters.len() < 4 {
        refuse("this password repeats very few characters".into())
    } else if !name.is_empty() && text.to_lowercase().contains(&name.to_lowercase()) && text.len() < name.len() + 8 {
        refuse("this password is little more than the name".into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Passwords {
        Passwords::new(PasswordCost { memory_kib: 8, passes: 1, lanes: 1 }).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_fits_its_hash_and_no_other() {
        let passwords = cheap();
        let (one, again) = (
            passwords.hash(&secret("正しい馬の電池")).await.unwrap(),
            passwords.hash(&secret("正しい馬の電池")).await.unwrap(),
        );
        assert!(one.starts_with("$argon2id$v=19$m=8,t=1,p=1$") && one != again, "each has a salt of its own");
        assert!(passwords.matches(&secret("正しい馬の電池"), Some(one.clone())).await.unwrap());
        for wrong in ["正しい馬の電", "", "x"] {
            assert!(!passwords.matches(&secret(wrong), Some(one.clone())).await.unwrap());
        }
        assert!(!passwords.matches(&secret("正しい馬の電池"), None).await.unwrap());
        assert!(!passwords.matches(&secret(&"x".repeat(LONGEST_BYTES + 1)), Some(one)).await.unwrap());
        assert!(!passwords.matches(&secret(""), Some(String::new())).await.unwrap(), "no hash, no password");
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_still_fits() {
        let old = Passwords::new(PasswordCost { memory_kib: 16, passes: 2, lanes: 1 }).unwrap();
        let hash = old.hash(&secret("correct horse")).await.unwrap();
        assert!(cheap().matches(&secret("correct horse"), Some(hash)).await.unwrap());
    }

    #[test]
    fn the_cost_of_production_is_that_of_owasp() {
        assert_eq!(PasswordCost::default(), PasswordCost { memory_kib: 19 * 1024, passes: 2, lanes: 1 });
        assert!(Passwords::new(PasswordCost { memory_kib: 0, passes: 0, lanes: 0 }).is_err());
    }

    #[test]
    fn weak_passwords_are_refused_without_being_quoted() {
        let long = "ab cd".repeat(300);
        for (weak, name) in [("short", "a"), ("aaaaaaaaaaaaaa", "a"), ("Trainer-123", "trainer-1"), (&long, "")] {
            let error = check_new(&secret(weak), name).unwrap_err();
            assert!(!error.to_string().contains(weak), "{error}");
        }
        for (good, name) in
            [("correct horse", "trainer-1"), ("trainer-1-trainer", "trainer-1"), ("ひらがなのあいことばです", "山田")]
        {
            assert!(check_new(&secret(good), name).is_ok(), "{good}");
        }
    }
}
