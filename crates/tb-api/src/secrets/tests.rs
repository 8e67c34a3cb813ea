//! Where secrets are kept, and that their values are seen nowhere else.

use super::*;
use std::{collections::HashMap, path::Path, sync::Arc};

/// A keyring of this process.
#[derive(Clone, Debug, Default)]
struct Held {
    entries: Arc<Mutex<HashMap<(String, String), String>>>,
    refuses: bool,
}

impl Keyring for Held {
    fn is_there(&self) -> bool {
        true
    }
    fn put(&self, service: &str, name: &str, value: &str) -> Result<(), String> {
        if self.refuses {
            return Err("it is locked".into());
        }
        self.entries.lock().unwrap().insert((service.into(), name.into()), value.into());
        Ok(())
    }
    fn get(&self, service: &str, name: &str) -> Result<Option<String>, String> {
        Ok(self.entries.lock().unwrap().get(&(service.into(), name.into())).cloned())
    }
    fn forget(&self, service: &str, name: &str) -> Result<(), String> {
        self.entries.lock().unwrap().remove(&(service.into(), name.into()));
        Ok(())
    }
}

/// A system without one.
#[derive(Debug)]
struct Absent;

impl Keyring for Absent {
    fn is_there(&self) -> bool {
        false
    }
    fn put(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Err("there is none".into())
    }
    fn get(&self, _: &str, _: &str) -> Result<Option<String>, String> {
        Err("there is none".into())
    }
    fn forget(&self, _: &str, _: &str) -> Result<(), String> {
        Err("there is none".into())
    }
}

const NAME: &str = "huggingface_token";

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn file(home: &Path) -> String {
    std::fs::read_to_string(home.join("secrets.toml")).unwrap_or_default()
}

#[test]
fn a_keyring_keeps_the_value_and_the_file_only_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let held = Held::default();
    let secrets = Secrets::with(dir.path(), Box::new(held.clone()));
    secrets.set(NAME, &secret("canary")).unwrap();
    assert!(!file(dir.path()).contains("canary") && file(dir.path()).contains(NAME));
    assert_eq!(secrets.list().unwrap(), [(NAME.to_owned(), Vault::Keyring)]);
    assert_eq!(secrets.in_keyring(NAME).unwrap().unwrap().reveal(), "canary");
    assert!(secrets.in_file().unwrap().is_empty());
    secrets.clear(NAME).unwrap();
    assert!(held.entries.lock().unwrap().is_empty() && secrets.list().unwrap().is_empty());
    assert!(!dir.path().join("secrets.toml").exists());
}

#[test]
fn without_a_keyring_a_private_file_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = Secrets::with(dir.path(), Box::new(Absent));
    secrets.set(NAME, &secret("canary \"1\"")).unwrap();
    secrets.set("openai_api_key", &secret("other")).unwrap();
    assert_eq!(secrets.in_file().unwrap()[NAME], "canary \"1\"");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.path().join("secrets.toml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    secrets.clear(NAME).unwrap();
    assert_eq!(secrets.list().unwrap(), [("openai_api_key".to_owned(), Vault::File)]);
}

#[test]
fn a_locked_keyring_leaves_it_to_the_file_and_a_later_one_takes_it_out() {
    let dir = tempfile::tempdir().unwrap();
    let locked = Secrets::with(dir.path(), Box::new(Held { refuses: true, ..Held::default() }));
    locked.set(NAME, &secret("canary")).unwrap();
    assert_eq!(locked.list().unwrap(), [(NAME.to_owned(), Vault::File)]);
    let open = Secrets::with(dir.path(), Box::new(Held::default()));
    open.set(NAME, &secret("canary")).unwrap();
    assert_eq!(open.list().unwrap(), [(NAME.to_owned(), Vault::Keyring)]);
    assert!(!file(dir.path()).contains("canary"));
}

#[test]
fn a_damaged_file_is_named_and_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secrets.toml"), "huggingface_token = canary\n").unwrap();
    let secrets = Secrets::with(dir.path(), Box::new(Absent));
    let error = secrets.in_file().unwrap_err();
    assert!(error.message.contains("secrets.toml") && !format!("{error} {error:?}").contains("canary"), "{error}");
}

#[test]
fn names_are_checked_and_values_are_never_shown() {
    assert!(check_name(NAME).is_ok());
    assert!(check_name("lora_r").unwrap_err().hint.contains(NAME));
    let args: SetSecret = serde_json::from_value(serde_json::json!({"name": NAME, "value": "canary"})).unwrap();
    let shown = format!("{args:?} {}", serde_json::to_string(&args).unwrap());
    assert!(!shown.contains("canary"), "{shown}");
    let error = serde_json::from_value::<SetSecret>(serde_json::json!({"name": NAME, "value": {"x": "canary"}}));
    assert!(!error.unwrap_err().to_string().contains("canary"));
    let damaged = keyring::Error::BadEncoding(b"canary".to_vec());
    assert!(!plain(&damaged).contains("canary"));
}
