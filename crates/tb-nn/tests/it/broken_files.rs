//! Every broken model or adapter folder gives an error that names the file and what is wrong in it; nothing panics.

use crate::golden;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::path::Path;
use tb_nn::checkpoint::{read_json, read_tensors, write_json, write_tensors};
use tb_nn::{AdapterUse, Decoder, GenerationConfig};

/// A copy of a golden model that a test may damage.
fn copy(name: &str) -> golden::TempDir {
    let dir = golden::TempDir::new();
    for entry in std::fs::read_dir(golden::folder(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    dir
}

fn refusal(dir: &Path) -> String {
    match Decoder::load(dir, DType::F32, &Device::Cpu) {
        Ok(_) => panic!("{} was loaded", dir.display()),
        Err(e) => e.to_string(),
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_file_cut_at_any_place_is_refused_by_name() {
    let dir = copy("llama_tied");
    let path = dir.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 1, 7, 8, 9, header / 2, header - 1, header, header + 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        has(&refusal(dir.path()), &["model.safetensors", "damaged or incomplete"]);
    }
    std::fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
    has(&refusal(dir.path()), &["model.safetensors", "damaged"]);
}

#[test]
fn garbage_is_refused_by_name() {
    let dir = copy("llama_tied");
    let path = dir.path().join("model.safetensors");
    let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend_from_slice(b"{}");
    let lying = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    for bytes in [
        noise,
        huge,
        lying("not json"),
        lying(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#),
        lying(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#),
        lying(r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#),
        b"<!DOCTYPE html><html><body>404</body></html>".to_vec(),
    ] {
        std::fs::write(&path, bytes).unwrap();
        has(&refusal(dir.path()), &["model.safetensors", "damaged"]);
    }
    for file in ["config.json", "generation_config.json"] {
        let dir = copy("llama_tied");
        std::fs::write(dir.path().join(file), "{\"model_type\": ").unwrap();
        let text = match file {
            "config.json" => refusal(dir.path()),
            _ => GenerationConfig::read(dir.path()).unwrap_err().to_string(),
        };
        has(&text, &[file, "not valid JSON"]);
    }
}

/// Rewrites one tensor of a single-file model, or leaves it out.
fn change_tensor(dir: &Path, name: &str, change: impl Fn(&Tensor) -> Option<Tensor>) {
    let path = dir.join("model.safetensors");
    let tensors: Vec<_> = read_tensors(&path, &Device::Cpu)
        .unwrap()
        .into_iter()
        .filter_map(|(n, t)| if n == name { change(&t).map(|t| (n, t)) } else { Some((n, t)) })
        .collect();
    write_tensors(&path, &tensors, &Default::default()).unwrap();
}

#[test]
fn a_missing_or_misshapen_tensor_is_named() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let dir = copy("llama_tied");
    change_tensor(dir.path(), name, |_| None);
    has(&refusal(dir.path()), &["model.safetensors", name, "missing"]);
    let dir = copy("llama_tied");
    change_tensor(dir.path(), name, |t| Some(t.t().unwrap().contiguous().unwrap()));
    has(&refusal(dir.path()), &["model.safetensors", name, "[32, 48]", "[48, 32]"]);
    let dir = copy("llama_tied");
    change_tensor(dir.path(), name, |t| Some(t.to_dtype(DType::U8).unwrap()));
    has(&refusal(dir.path()), &["model.safetensors", name, "U8"]);
}

#[test]
fn half_precision_files_load_as_f32() {
    let (dir, golden) = (copy("llama_tied"), golden::tensors("llama_tied"));
    let path = dir.path().join("model.safetensors");
    let tensors: Vec<_> = read_tensors(&path, &Device::Cpu)
        .unwrap()
        .into_iter()
        .map(|(n, t)| (n, t.to_dtype(DType::F16).unwrap()))
        .collect();
    write_tensors(&path, &tensors, &Default::default()).unwrap();
    let batch = golden::batch(&golden);
    let logits = Decoder::load(dir.path(), DType::F32, &Device::Cpu).unwrap().logits(&batch).unwrap();
    let difference = golden::logit_difference(&logits, &golden["logits"], &batch.lengths);
    assert!(difference > 0.0 && difference < 0.03, "{difference}");
}

#[test]
fn shards_are_checked_against_their_index() {
    let shard = "model-00002-of-00004.safetensors";
    let dir = copy("qwen2");
    std::fs::remove_file(dir.path().join(shard)).unwrap();
    has(&refusal(dir.path()), &[shard, "missing", "index.json"]);
    let dir = copy("qwen2");
    let bytes = std::fs::read(dir.path().join(shard)).unwrap();
    std::fs::write(dir.path().join(shard), &bytes[..bytes.len() - 3]).unwrap();
    has(&refusal(dir.path()), &[shard, "damaged"]);

    let index = "model.safetensors.index.json";
    let map = |change: fn(&mut Value)| {
        let dir = copy("qwen2");
        let mut value = read_json(&dir.path().join(index)).unwrap();
        change(&mut value);
        write_json(&dir.path().join(index), &value).unwrap();
        refusal(dir.path())
    };
    has(&map(|v| v["weight_map"]["lm_head.weight"] = json!("../secret")), &[index, "lm_head.weight"]);
    has(&map(|v| v["weight_map"]["lm_head.weight"] = json!(7)), &[index, "lm_head.weight"]);
    let wrong = "model-00001-of-00004.safetensors";
    let text = map(|v| v["weight_map"]["lm_head.weight"] = json!("model-00001-of-00004.safetensors"));
    has(&text, &[wrong, "lm_head.weight", "missing"]);
    has(&map(|v| *v = json!({})), &[index, "weight_map"]);
    let text = map(|v| {
        v["weight_map"].as_object_mut().unwrap().remove("model.norm.weight");
    });
    has(&text, &[index, "model.norm.weight", "missing"]);
}

#[test]
fn pickles_are_refused_with_the_reason() {
    let dir = copy("llama_tied");
    std::fs::rename(dir.path().join("model.safetensors"), dir.path().join("pytorch_model.bin")).unwrap();
    has(&refusal(dir.path()), &["pytorch_model.bin", "pickle", "safetensors"]);
    std::fs::remove_file(dir.path().join("pytorch_model.bin")).unwrap();
    std::fs::remove_file(dir.path().join("golden.safetensors")).unwrap();
    has(&refusal(dir.path()), &["neither model.safetensors nor"]);
    has(&refusal(Path::new("/nowhere/at/all")), &["/nowhere/at/all/config.json", "no such file"]);
}

#[test]
fn a_config_of_another_model_is_refused_before_anything_loads() {
    let change = |field: &str, value: Value| {
        let dir = copy("llama_tied");
        // Were the weights opened first, this would be the error.
        std::fs::write(dir.path().join("model.safetensors"), "garbage").unwrap();
        let path = dir.path().join("config.json");
        let mut config = read_json(&path).unwrap();
        config[field] = value;
        write_json(&path, &config).unwrap();
        refusal(dir.path())
    };
    has(&change("model_type", json!("mamba")), &["config.json", "`model_type`", "mamba"]);
    has(&change("hidden_act", json!("gelu")), &["config.json", "`hidden_act`", "gelu"]);
    has(&change("rope_parameters", json!({"rope_type": "mrope"})), &["`rope_parameters.rope_type`", "mrope"]);
    has(&change("rope_parameters", json!({"rope_type": "yarn"})), &["`rope_parameters.factor`", "missing"]);
    has(&change("num_key_value_heads", json!(3)), &["`num_key_value_heads`"]);
    has(&change("hidden_size", json!(-4)), &["`hidden_size`"]);
    has(&change("vocab_size", json!(null)), &["`vocab_size`", "missing"]);
}

#[test]
fn broken_adapters_are_refused_by_name() {
    let start = golden::folder("peft_llama").join("start");
    let load = |prepare: &dyn Fn(&Path)| {
        let dir = golden::TempDir::new();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(start.join(file), dir.path().join(file)).unwrap();
        }
        prepare(dir.path());
        let mut decoder = golden::decoder("llama_tied");
        let text = decoder.load_adapter(dir.path(), AdapterUse::Trained).unwrap_err().to_string();
        assert!(decoder.trainable().is_empty() && decoder.lora().is_none(), "a failed load leaves the model as it was");
        text
    };
    let model = "adapter_model.safetensors";
    has(&load(&|d| std::fs::write(d.join(model), "garbage").unwrap()), &[model, "damaged"]);
    has(&load(&|d| std::fs::remove_file(d.join(model)).unwrap()), &[model, "no such file"]);
    has(
        &load(&|d| std::fs::rename(d.join(model), d.join("adapter_model.bin")).unwrap()),
        &["adapter_model.bin", "pickle"],
    );
    has(&load(&|d| std::fs::write(d.join("adapter_config.json"), "[]").unwrap()), &["adapter_config.json", "object"]);
    has(
        &load(&|d| std::fs::remove_file(d.join("adapter_config.json")).unwrap()),
        &["adapter_config.json", "no such file"],
    );
    let mut other = golden::decoder("llama_scaled");
    let text = other.load_adapter(&start, AdapterUse::Frozen).unwrap_err().to_string();
    has(&text, &[model, "lora_A.weight", "[4, 32]", "[4, 36]"]);
}
