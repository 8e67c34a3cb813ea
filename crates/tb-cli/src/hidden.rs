//! Secrets and passwords: read from the terminal without showing them, or from standard input. An argument could be seen by every
//! user of the machine.

use std::io::{BufRead, IsTerminal};

use serde_json::{Map, Value};
use tb_core::{ApiError, ErrorCode};

/// What stands for "ask me" where a password may be left out.
const ASK: &str = "-";

/// Where a hidden line comes from.
pub trait Source {
    /// One line, without its end.
    ///
    /// # Errors
    /// A terminal or file that cannot be read.
    fn line(&mut self, prompt: &str) -> std::io::Result<String>;
    /// Whether a person types it, blind: then it is asked for twice.
    fn is_typed(&self) -> bool;
}

/// The terminal, or else standard input.
pub struct Standard;

impl Source for Standard {
    fn line(&mut self, prompt: &str) -> std::io::Result<String> {
        if self.is_typed() {
            rpassword::prompt_password(format!("{prompt}: "))
        } else {
            first_line(&mut std::io::stdin().lock())
        }
    }

    fn is_typed(&self) -> bool {
        std::io::stdin().is_terminal()
    }
}

fn first_line(input: &mut dyn BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// `secret set`: its value.
///
/// # Errors
/// A value among the arguments; a line that cannot be read.
pub fn secret(mut given: Map<String, Value>, source: &mut dyn Source) -> Result<Map<String, Value>, ApiError> {
    if given.contains_key("value") {
        return Err(refuse("a secret", "Leave --value out and give the secret on standard input."));
    }
    given.insert("value".into(), Value::String(line(source, "Value")?.trim().to_owned()));
    Ok(given)
}

/// `user add`: with `--password -`, the password.
///
/// # Errors
/// A password among the arguments; a line that cannot be read.
pub fn of_new_user(mut given: Map<String, Value>, source: &mut dyn Source) -> Result<Map<String, Value>, ApiError> {
    match given.get("password") {
        None => {}
        Some(Value::String(text)) if text == ASK => {
            given.insert("password".into(), Value::String(twice(source)?));
        }
        Some(_) => return Err(refuse("a password", "Give `--password -`, and the password on standard input.")),
    }
    Ok(given)
}

/// `user set-password`: the new one.
///
/// # Errors
/// As [`of_new_user`].
pub fn of_user(mut given: Map<String, Value>, source: &mut dyn Source) -> Result<Map<String, Value>, ApiError> {
    if given.contains_key("password") || given.contains_key("old") {
        return Err(refuse("a password", "Leave it out and give it on standard input."));
    }
    given.insert("password".into(), Value::String(twice(source)?));
    Ok(given)
}

fn twice(source: &mut dyn Source) -> Result<String, ApiError> {
    let first = line(source, "New password")?;
    if source.is_typed() && line(source, "Once more")? != first {
        return Err(ApiError::new(ErrorCode::InvalidArgument, "Nothing was changed: the two passwords differ."));
    }
    Ok(first)
}

fn line(source: &mut dyn Source, prompt: &str) -> Result<String, ApiError> {
    source.line(prompt).map_err(|e| {
        ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was changed: standard input cannot be read: {e}."))
    })
}

fn refuse(what: &str, hint: &str) -> ApiError {
    let message = format!("Nothing was changed: {what} on the command line can be seen by others.");
    ApiError::new(ErrorCode::InvalidArgument, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Lines in order, typed or not.
    struct Lines(Vec<&'static str>, bool);

    impl Source for Lines {
        fn line(&mut self, _: &str) -> std::io::Result<String> {
            first_line(&mut std::io::Cursor::new(self.0.remove(0)))
        }

        fn is_typed(&self) -> bool {
            self.1
        }
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn hidden_words_come_from_the_source_and_never_from_the_command_line() {
        let given = secret(map(json!({"name": "t"})), &mut Lines(vec![" hf_abc \r\n"], false)).unwrap();
        assert_eq!(Value::Object(given), json!({"name": "t", "value": "hf_abc"}));
        let given = of_new_user(map(json!({"name": "k"})), &mut Lines(vec![], true)).unwrap();
        assert_eq!(Value::Object(given), json!({"name": "k"}), "a user needs no password");
        let asked = map(json!({"name": "k", "password": "-"}));
        let given = of_new_user(asked, &mut Lines(vec!["correct horse \n", "correct horse \n"], true)).unwrap();
        assert_eq!(given["password"], "correct horse ", "a space is part of it");
        let given = of_user(map(json!({"id": "k"})), &mut Lines(vec!["a b"], false)).unwrap();
        assert_eq!(Value::Object(given), json!({"id": "k", "password": "a b"}));
        assert!(of_user(map(json!({"id": "k"})), &mut Lines(vec!["one", "two"], true)).is_err());
        for result in [
            secret(map(json!({"name": "t", "value": "canary"})), &mut Lines(vec![], false)),
            of_new_user(map(json!({"name": "k", "password": "canary"})), &mut Lines(vec![], false)),
            of_user(map(json!({"id": "k", "password": "canary"})), &mut Lines(vec![], false)),
            of_user(map(json!({"id": "k", "old": "canary"})), &mut Lines(vec![], false)),
        ] {
            assert!(!result.unwrap_err().to_string().contains("canary"));
        }
    }
}
