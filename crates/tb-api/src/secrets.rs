//! Secrets: keys and tokens, kept in the system's keyring where there is one, else in a file that only its owner may read. No value
//! leaves this file but to the one place that uses it: not to a window, not to a log, not to the audit.

use std::{collections::BTreeMap, path::PathBuf, sync::Mutex};

use serde::{Deserialize, Serialize};
use tb_core::{
    ApiError, ErrorCode,
    settings::{Secret, Settings},
};
use tb_data::files::{atomic_write_private, sha256_bytes};
use toml_edit::DocumentMut;
use ts_rs::TS;

use crate::{
    Ctx,
    ctx::blocking,
    settings::{Origin, SettingsView, view},
};

/// The list of names that the keyring holds, in the file of secrets.
const IN_KEYRING: &str = "keyring";
/// The first lines of the file.
const HEADER: &str = "# Secrets of ToneBridge. Only you may read this file; change it with `tonebridge secret set`.\n";
/// Set to `off`, this variable keeps secrets out of the keyring.
const SWITCH: &str = "TONEBRIDGE_KEYRING";
/// Longest secret that is accepted.
const LONGEST_BYTES: usize = 16 << 10;

/// Where secrets are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Vault {
    /// The system's keyring.
    Keyring,
    /// secrets.toml in the home folder, mode 0600.
    File,
}

/// A secret as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SecretState {
    /// Its name among the settings.
    pub name: String,
    /// Where it comes from; `default` means that there is none.
    pub origin: Origin,
}

/// Arguments of `secret_set`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// Its name among the settings, such as `huggingface_token`.
    pub name: String,
    /// The secret itself.
    #[ts(type = "string")]
    pub value: Secret,
}

/// Arguments of `secret_clear`.
#[derive(Clone, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ClearSecret {
    /// Its name among the settings.
    pub name: String,
}

/// A place of the system for secrets.
pub(crate) trait Keyring: Send + Sync + std::fmt::Debug {
    /// Whether there is one now.
    fn is_there(&self) -> bool;
    /// Keeps a secret; the error is in words, without the secret.
    fn put(&self, service: &str, name: &str, value: &str) -> Result<(), String>;
    /// Gives a secret.
    fn get(&self, service: &str, name: &str) -> Result<Option<String>, String>;
    /// Forgets a secret; one that is not there is no error.
    fn forget(&self, service: &str, name: &str) -> Result<(), String>;
}

/// The keyring of the operating system: Secret Service, Keychain or Credential Manager.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemKeyring;

impl Keyring for SystemKeyring {
    fn is_there(&self) -> bool {
        std::env::var_os(SWITCH).is_none_or(|v| v != "off") && keyring::Entry::store_status().is_ok()
    }

    fn put(&self, service: &str, name: &str, value: &str) -> Result<(), String> {
        keyring::Entry::new(service, name).and_then(|entry| entry.set_password(value)).map_err(|e| plain(&e))
    }

    fn get(&self, service: &str, name: &str) -> Result<Option<String>, String> {
        match keyring::Entry::new(service, name).and_then(|entry| entry.get_password()) {
            Ok(value) => Ok(Some(value)),
            Err(keyring::Error::NoEntry) => Ok(None),
            Err(e) => Err(plain(&e)),
        }
    }

    fn forget(&self, service: &str, name: &str) -> Result<(), String> {
        match keyring::Entry::new(service, name).and_then(|entry| entry.delete_credential()) {
            Ok(()) | Err(keyring::Error::NoEntry) => Ok(()),
            Err(e) => Err(plain(&e)),
        }
    }
}

/// A keyring's error in words. Some of them carry what was read; those are not shown.
fn plain(error: &keyring::Error) -> String {
    match error {
        keyring::Error::BadEncoding(_) => "what it holds is no text".into(),
        keyring::Error::BadDataFormat(..) => "what it holds is damaged".into(),
        other => other.to_string(),
    }
}

/// The secrets of one home folder.
#[derive(Debug)]
pub(crate) struct Secrets {
    file: PathBuf,
    /// Tells the homes of one user apart in the keyring.
    service: String,
    keyring: Box<dyn Keyring>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Secrets {
    pub fn new(home: &std::path::Path) -> Self {
        Self::with(home, Box::new(SystemKeyring))
    }

    pub fn with(home: &std::path::Path, keyring: Box<dyn Keyring>) -> Self {
        let mark = sha256_bytes(home.to_string_lossy().as_bytes());
        Self {
            file: home.join("secrets.toml"),
            service: format!("tonebridge-{}", &mark[..12]),
            keyring,
            changing: Mutex::new(()),
        }
    }

    /// Where a new secret would be kept.
    pub fn vault(&self) -> Vault {
        if self.keyring.is_there() { Vault::Keyring } else { Vault::File }
    }

    /// The secrets that are kept, by name.
    ///
    /// # Errors
    /// A file that cannot be read; nothing of it is quoted.
    pub fn list(&self) -> Result<Vec<(String, Vault)>, ApiError> {
        let document = self.read()?;
        let named = names_in_keyring(&document).into_iter().map(|name| (name, Vault::Keyring));
        let kept = texts(&document).into_keys().map(|name| (name, Vault::File));
        Ok(named.chain(kept).collect())
    }

    /// The secrets in the file, by name.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn in_file(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let mut found = texts(&self.read()?);
        // A name that this version does not know is no reason not to start.
        found.retain(|name, _| Settings::is_secret(name) && Settings::names().contains(name));
        Ok(found)
    }

    /// A secret that is kept in the keyring.
    ///
    /// # Errors
    /// A keyring that does not give it.
    pub fn in_keyring(&self, name: &str) -> Result<Option<Secret>, ApiError> {
        if !names_in_keyring(&self.read()?).iter().any(|n| n == name) {
            return Ok(None);
        }
        let value = self.keyring.get(&self.service, name).map_err(|why| {
            ApiError::new(ErrorCode::Unavailable, format!("The keyring does not give {name}: {why}."))
                .hint("Unlock it, or set the secret again.")
        })?;
        Ok(value.map(Secret::from))
    }

    /// Keeps a secret: in the keyring if there is one that takes it, else in the file.
    ///
    /// # Errors
    /// A file that cannot be written; the old secret stays then.
    fn set(&self, name: &str, value: &Secret) -> Result<(), ApiError> {
        let _one = self.changing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut document = self.read()?;
        let vault = match self.vault() {
            Vault::Keyring => match self.keyring.put(&self.service, name, value.reveal()) {
                Ok(()) => Vault::Keyring,
                Err(why) => {
                    tracing::warn!(name, why, "the keyring does not take a secret; it is kept in the file");
                    Vault::File
                }
            },
            Vault::File => Vault::File,
        };
        let mut named = names_in_keyring(&document);
        named.retain(|n| n != name);
        document.remove(name);
        match vault {
            Vault::Keyring => named.push(name.to_owned()),
            Vault::File => document[name] = toml_edit::value(value.reveal()),
        }
        set_names_in_keyring(&mut document, named);
        self.write(&document)
    }

    /// Forgets a secret wherever it is kept; one that is not kept is no error.
    ///
    /// # Errors
    /// A keyring that keeps it, or a file that cannot be written.
    fn clear(&self, name: &str) -> Result<(), ApiError> {
        let _one = self.changing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut document = self.read()?;
        let mut named = names_in_keyring(&document);
        if named.iter().any(|n| n == name) {
            self.keyring.forget(&self.service, name).map_err(|why| {
                ApiError::new(ErrorCode::Unavailable, format!("Nothing was changed: the keyring keeps {name}: {why}."))
                    .hint("Unlock it and try again.")
            })?;
            named.retain(|n| n != name);
            set_names_in_keyring(&mut document, named);
        }
        document.remove(name);
        self.write(&document)
    }

    fn read(&self) -> Result<DocumentMut, ApiError> {
        let unreadable = |why: &str| {
            ApiError::new(ErrorCode::DataInvalid, format!("{} cannot be read: {why}.", self.file.display()))
                .hint("Delete it and set the secrets again.")
        };
        match std::fs::read_to_string(&self.file) {
            // The parser's own words may quote a line, and with it a secret.
            Ok(text) => text.parse().map_err(|_| unreadable("it is no TOML")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(DocumentMut::new()),
            Err(error) => Err(unreadable(&error.to_string())),
        }
    }

    fn write(&self, document: &DocumentMut) -> Result<(), ApiError> {
        if document.is_empty() {
            return match std::fs::remove_file(&self.file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ApiError::new(
                    ErrorCode::Unavailable,
                    format!("Nothing was changed: {} cannot be deleted: {error}.", self.file.display()),
                )),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let text = document.to_string();
        let text = if text.starts_with('#') { text } else { format!("{HEADER}{text}") };
        Ok(atomic_write_private(&self.file, text.as_bytes())?)
    }
}

fn texts(document: &DocumentMut) -> BTreeMap<String, String> {
    document.iter().filter_map(|(name, item)| Some((name.to_owned(), item.as_str()?.to_owned()))).collect()
}

fn names_in_keyring(document: &DocumentMut) -> Vec<String> {
    let names = document.get(IN_KEYRING).and_then(toml_edit::Item::as_array);
    names.into_iter().flatten().filter_map(|n| n.as_str().map(str::to_owned)).collect()
}

fn set_names_in_keyring(document: &mut DocumentMut, names: Vec<String>) {
    if names.is_empty() {
        document.remove(IN_KEYRING);
    } else {
        document[IN_KEYRING] = toml_edit::value(names.into_iter().collect::<toml_edit::Array>());
    }
}

pub(crate) async fn set(ctx: &Ctx, args: SetSecret) -> Result<SettingsView, ApiError> {
    check_name(&args.name)?;
    let value = Secret::from(args.value.reveal().trim().to_owned());
    if value.reveal().is_empty() || value.reveal().len() > LONGEST_BYTES || value.reveal().contains('\0') {
        let message = format!("Nothing was changed: {} must be a text of 1 to {LONGEST_BYTES} bytes.", args.name);
        return Err(ApiError::new(ErrorCode::InvalidArgument, message));
    }
    let this = ctx.clone();
    blocking(move || {
        this.sources().secrets.set(&args.name, &value)?;
        this.reload_settings()
    })
    .await?;
    view(ctx).await
}

pub(crate) async fn clear(ctx: &Ctx, args: ClearSecret) -> Result<SettingsView, ApiError> {
    check_name(&args.name)?;
    let this = ctx.clone();
    blocking(move || {
        this.sources().secrets.clear(&args.name)?;
        this.reload_settings()
    })
    .await?;
    view(ctx).await
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let secrets: Vec<String> = Settings::names().into_iter().filter(|n| Settings::is_secret(n)).collect();
    if secrets.iter().any(|n| n == name) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was changed: there is no secret '{name}'."))
        .hint(format!("Use one of {}.", secrets.join(", "))))
}

#[cfg(test)]
mod tests;
