//! Wrong arguments and settings are refused by name, with exit code 2, and leave nothing behind.

use tonebridge_tests::{Home, text};

#[test]
fn wrong_values_are_refused_by_name() {
    let home = Home::new();
    let sample = home.sample();
    let (base, data) = (text(&sample.base), text(&sample.train));
    let cases: [(&[&str], &str); 6] = [
        (&["train", "--model", base, "--data", data, "--set", "lora_rank=4"], "lora_r"),
        (&["train", "--model", base, "--data", data, "--set", "lora_r=0"], "lora_r"),
        (&["train", "--model", base, "--data", data, "--set", "target_modules=nowhere"], "nowhere"),
        (&["train", "--model", "/nonexistent", "--data", data], "/nonexistent"),
        (&["train", "--model", base, "--data", "/nonexistent.jsonl"], "/nonexistent.jsonl"),
        (&["evaluate", "--model", base, "--data", data, "--metrics", "chrff"], "chrff"),
    ];
    for (args, what) in cases {
        home.run(args).refused(what);
    }
    assert_eq!(home.run(&["job", "get", "job_x"]).code, 2);
    let unknown = home.run(&["job", "halt"]);
    unknown.refused("job_halt");
    let output = home.command(&["doctor"]).env("LORA_R", "many").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("LORA_R"));
}

#[test]
fn the_doctor_is_content_with_a_fresh_home() {
    let home = Home::new();
    let report = home.run(&["doctor", "--json"]).json();
    assert!(report["checks"].as_array().is_some_and(|c| c.iter().all(|c| c["state"] != "fail")), "{report}");
    let fields = home.run(&["settings", "fields", "--json"]).json();
    assert!(fields.as_array().is_some_and(|f| f.iter().any(|f| f["key"] == "lora_r" && f["default"] == 8)));
}

#[test]
fn a_secret_never_reaches_output_or_files() {
    let home = Home::new();
    let output =
        home.command(&["settings", "get", "--json"]).env("HF_TOKEN", "hf_canary_1234").output().expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(shown.contains("(set)") && !shown.contains("canary"), "{shown}");
}
