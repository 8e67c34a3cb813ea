//! Settings are changed by name, and a secret is kept but never seen again.

use std::{fs, io::Write, path::Path, process::Stdio};

use tonebridge_tests::{Home, Ran};

const CANARY: &str = "hf_canary_5f1d";

fn with_input(home: &Home, args: &[&str], input: &str) -> Ran {
    let mut command = home.command(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Every file below `folder` that holds `text`.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if fs::read(&path).is_ok_and(|b| b.windows(text.len()).any(|w| w == text.as_bytes())) {
            found.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn a_changed_setting_holds_for_the_next_run_and_a_wrong_one_changes_nothing() {
    let home = Home::new();
    let view = home.run(&["settings", "set", "lora_r=16", "default_learning_rate=1e-4", "--json"]).json();
    assert_eq!((&view["settings"]["lora_r"], &view["origins"]["lora_r"]), (&16.into(), &"file".into()));
    let file = home.path("home").join("settings.toml");
    let written = fs::read_to_string(&file).expect("written");
    fs::write(&file, written.replace("default_learning_rate", "# ours\ndefault_learning_rate")).expect("a comment");
    let fields = home.run(&["settings", "fields", "--json"]).json();
    assert!(fields.as_array().is_some_and(|f| f.iter().any(|f| f["key"] == "lora_r" && f["default"] == 16)));

    home.run(&["settings", "set", "lora_rank=4"]).refused("lora_r");
    home.run(&["settings", "set", "lora_dropout=2"]).refused("lora_dropout");
    home.run(&["settings", "set", &format!("openai_api_key={CANARY}")]).refused("openai_api_key");
    let view = home.run(&["settings", "set", "lora_r=", "--json"]).json();
    assert_eq!((&view["settings"]["lora_r"], &view["origins"]["lora_r"]), (&8.into(), &"default".into()));
    assert!(fs::read_to_string(&file).expect("kept").contains("# ours\ndefault_learning_rate"));
    let output = home.command(&["settings", "get", "--json"]).env("LORA_R", "32").output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains(r#""lora_r":"environment""#));
}

#[test]
fn a_secret_is_kept_in_one_file_and_seen_nowhere_else() {
    let home = Home::new();
    let set = with_input(&home, &["secret", "set", "huggingface_token", "--json"], &format!("{CANARY}\n"));
    assert_eq!(set.code, 0, "{set:?}");
    assert!(set.stdout.contains(r#""secret_store":"file""#), "{set:?}");
    let shown = home.run(&["settings", "get", "--json"]);
    assert!(
        shown.json()["secrets"].as_array().is_some_and(|all| {
            all.iter().any(|s| s["name"] == "huggingface_token" && s["origin"] == "secrets_file")
        })
    );
    let argument = home.run(&["secret", "set", "openai_api_key", "--value", CANARY]);
    argument.refused("standard input");
    let traced = home.command(&["settings", "get"]).env("TONEBRIDGE_LOG", "trace").output().expect("it runs");
    let traced = String::from_utf8_lossy(&traced.stderr).into_owned();
    for said in [&set.stdout, &set.stderr, &shown.stdout, &argument.stdout, &argument.stderr, &traced] {
        assert!(!said.contains(CANARY), "{said}");
    }
    // Not in the database, its journal or the audit log.
    assert_eq!(holding(&home.path("home"), CANARY), ["secrets.toml"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(home.path("home").join("secrets.toml")).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(home.run(&["secret", "clear", "huggingface_token"]).code, 0);
    assert!(holding(&home.path("home"), CANARY).is_empty());
    home.run(&["secret", "clear", "lora_r"]).refused("huggingface_token");
}
