//! The access token of a home folder: made once, kept in a file that only its owner reads, compared in constant time.
//! The browser's cookie holds a value derived from it, so that a cookie seen by another local server is not the token.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tb_core::{ApiError, ErrorCode};

/// The file in the home folder.
pub const FILE: &str = "access-token";

/// Bytes of randomness in a token.
const RANDOM_BYTES: usize = 32;

/// Characters of a token: 32 bytes in base64.
const LENGTH: usize = 43;

/// The token, and what is compared with it.
pub(crate) struct Token {
    text: String,
    digest: [u8; 32],
    cookie: String,
    cookie_digest: [u8; 32],
}

impl Token {
    /// Reads the token of `home`, or makes one. A file that others could read has told its secret: it gets a new one.
    ///
    /// # Errors
    /// The file cannot be made, read or written.
    pub fn open(home: &Path) -> Result<Self, ApiError> {
        let path = home.join(FILE);
        read_or_make(&path).map(Self::new).map_err(|e| {
            ApiError::new(
                ErrorCode::Unavailable,
                format!(
                    "The server was not started: the access token in {} cannot be read or made: {e}.",
                    path.display()
                ),
            )
        })
    }

    fn new(text: String) -> Self {
        let derived = Sha256::new().chain_update(b"tonebridge cookie\0").chain_update(text.as_bytes()).finalize();
        let cookie = URL_SAFE_NO_PAD.encode(derived);
        Self { digest: digest(&text), cookie_digest: digest(&cookie), text, cookie }
    }

    /// The token, for the one place that shows it to the owner.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The value of the cookie.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Whether `given` is the token.
    pub fn is(&self, given: &str) -> bool {
        bool::from(digest(given).ct_eq(&self.digest))
    }

    /// Whether `given` is the cookie's value.
    pub fn is_cookie(&self, given: &str) -> bool {
        bool::from(digest(given).ct_eq(&self.cookie_digest))
    }
}

/// Digests have one length, so that the comparison tells nothing about that of the token.
fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn read_or_make(path: &Path) -> io::Result<String> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    }
    let mut file = options.open(path)?;
    // Two servers may start on one home at once.
    file.lock()?;
    let private = make_private(&file)?;
    let mut text = String::new();
    (&file).take(1024).read_to_string(&mut text)?;
    let kept = text.trim();
    if private && is_token(kept) {
        return Ok(kept.to_owned());
    }
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
    let text = URL_SAFE_NO_PAD.encode(random);
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    Ok(text)
}

fn is_token(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Leaves the file readable to its owner alone; whether it was so before.
#[cfg(unix)]
fn make_private(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 == 0 {
        return Ok(true);
    }
    permissions.set_mode(0o600);
    file.set_permissions(permissions)?;
    Ok(false)
}

#[cfg(not(unix))]
fn make_private(_file: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_keeps_its_token_and_another_home_has_another() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Token::open(a.path()).unwrap();
        let again = Token::open(a.path()).unwrap();
        assert_eq!(first.reveal(), again.reveal());
        assert!(is_token(first.reveal()));
        assert_ne!(first.reveal(), Token::open(b.path()).unwrap().reveal());
    }

    #[test]
    fn the_token_is_no_cookie_and_the_cookie_no_token() {
        let home = tempfile::tempdir().unwrap();
        let token = Token::open(home.path()).unwrap();
        assert!(token.is(token.reveal()) && token.is_cookie(token.cookie()));
        assert!(!token.is(token.cookie()) && !token.is_cookie(token.reveal()));
        assert!(!token.is("") && !token.is_cookie("") && !token.is(&format!("{}x", token.reveal())));
    }

    #[test]
    fn a_damaged_file_gets_a_new_token() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), "short").unwrap();
        assert!(is_token(Token::open(home.path()).unwrap().reveal()));
    }

    #[cfg(unix)]
    #[test]
    fn a_token_that_others_could_read_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(FILE);
        let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        let first = Token::open(home.path()).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let second = Token::open(home.path()).unwrap();
        assert_eq!(mode(), 0o600);
        assert_ne!(first.reveal(), second.reveal());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(home.path().join("elsewhere"), home.path().join(FILE)).unwrap();
        assert!(Token::open(home.path()).is_err());
        assert!(!home.path().join("elsewhere").exists());
    }
}
