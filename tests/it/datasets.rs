//! Rows, figures and deletion of datasets, and base models by folder.

use std::fs;

use tonebridge_tests::{Home, text};

#[test]
fn rows_and_figures_of_the_sample() {
    let home = Home::new();
    let sample = home.run(&["sample", "install", "--json"]).json();
    let (id, base) =
        (sample["dataset"]["id"].as_str().unwrap_or_default(), sample["base_model"].as_str().unwrap_or_default());
    let total = sample["dataset"]["splits"][0]["rows"].clone();
    let page = |offset: &str, limit: &str| {
        home.run(&["data", "rows", id, "--split", "train", "--offset", offset, "--limit", limit, "--json"]).json()
    };
    let first = page("0", "3");
    assert_eq!((&first["total"], first["rows"].as_array().map(Vec::len)), (&total, Some(3)));
    assert_eq!(page("2", "1")["rows"][0]["example"], first["rows"][2]["example"]);
    assert_eq!(page("1000000", "5")["rows"].as_array().map(Vec::len), Some(0));

    let plain = home.run(&["data", "stats", id, "--json"]).json();
    assert_eq!(
        (&plain["lengths"]["unit"], &plain["supervised_tokens"]),
        (&"characters".into(), &serde_json::Value::Null)
    );
    let languages: Vec<&str> =
        plain["languages"].as_array().into_iter().flatten().filter_map(|l| l["name"].as_str()).collect();
    assert!(languages.contains(&"ja") && languages.contains(&"en"), "{plain}");
    let stats = home.run(&["data", "stats", id, "--model", base, "--json"]).json();
    let rows: u64 = stats["lengths"]["bins"].as_array().into_iter().flatten().filter_map(|b| b["rows"].as_u64()).sum();
    assert_eq!(rows, sample["dataset"]["num_samples"].as_u64().unwrap_or_default());
    // The second answer comes from the files beside the dataset.
    assert_eq!(home.run(&["data", "stats", id, "--model", base, "--json"]).json(), stats);
}

#[test]
fn a_dataset_goes_only_when_no_job_uses_it() {
    let home = Home::new();
    let sample = home.sample();
    let import = || {
        let set = home.run(&["data", "import", text(&sample.train), "--name", "few", "--json"]).json();
        (set["id"].as_str().unwrap_or_default().to_owned(), set["file_path"].as_str().unwrap_or_default().to_owned())
    };
    let ((used, folder), (free, free_folder)) = (import(), import());
    let base = text(&sample.base);
    let job = ["job", "start", "--base-model", base, "--dataset-id", &used, "--set", "max_steps=1", "--json"];
    let id = home.run(&job).json()["id"].as_str().unwrap_or_default().to_owned();
    let refused = home.run(&["data", "delete", &used]);
    refused.refused(&id);
    assert!(fs::exists(&folder).is_ok_and(|there| there));
    assert_eq!(home.run(&["data", "delete", &free, "--json"]).json()["version"], 2);
    assert!(fs::exists(&free_folder).is_ok_and(|there| !there));
    home.run(&["data", "get", &free]).refused(&free);
}

#[test]
fn bases_are_listed_and_a_broken_one_is_named() {
    let home = Home::new();
    let sample = home.sample();
    let list = home.run(&["base", "list", "--json"]).json();
    let base = &list[0];
    assert_eq!((&base["source"], &base["family"], &base["layers"]), (&"sample".into(), &"llama".into(), &4.into()));
    assert_eq!((&base["context"], base["sha256"].as_str().map(str::len)), (&160.into(), Some(64)));
    let copy = home.path("home").join("models").join("copy");
    fs::create_dir_all(&copy).expect("a folder");
    for entry in fs::read_dir(&sample.base).expect("the base").flatten() {
        fs::copy(entry.path(), copy.join(entry.file_name())).expect("a copy");
    }
    let found = home.run(&["base", "inspect", text(&copy), "--json"]).json();
    assert_eq!(
        (&found["source"], &found["name"], &found["parameters"]),
        (&"folder".into(), &"copy".into(), &base["parameters"])
    );
    assert_eq!(home.run(&["base", "list", "--json"]).json().as_array().map(Vec::len), Some(2));
    let whole = fs::read(copy.join("model.safetensors")).expect("weights");
    fs::write(copy.join("model.safetensors"), &whole[..whole.len() / 2]).expect("half of them");
    home.run(&["base", "inspect", text(&copy)]).refused("model.safetensors");
    assert_eq!(home.run(&["base", "list", "--json"]).json().as_array().map(Vec::len), Some(1));
}
