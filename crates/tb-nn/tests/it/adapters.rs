//! Adapters both ways: PEFT's logits, our files, merging, switching, refusals.

use crate::golden;
use candle_core::{DType, Device};
use serde_json::{Value, json};
use std::collections::HashSet;
use tb_nn::checkpoint::{read_json, read_tensors, write_json, write_tensors};
use tb_nn::{AdapterSwitch, AdapterUse, Decoder, LoraConfig, LoraInit, ScalingRule, TargetModules};

const ADAPTERS: [(&str, &str); 2] = [("peft_llama", "llama_tied"), ("peft_qwen2", "qwen2")];

fn adapted(name: &str, base: &str) -> Decoder {
    let mut decoder = golden::decoder(base);
    decoder.load_adapter(&golden::folder(name).join("start"), AdapterUse::Frozen).unwrap();
    decoder
}

fn random_adapter(r: usize, alpha: f64) -> LoraConfig {
    LoraConfig {
        r,
        lora_alpha: alpha,
        target_modules: TargetModules::AllLinear,
        init: LoraInit::Random,
        ..LoraConfig::default()
    }
}

#[test]
fn a_peft_adapter_gives_peft_logits() {
    for (name, base) in ADAPTERS {
        let golden = golden::tensors(name);
        let batch = golden::batch(&golden);
        let mut decoder = adapted(name, base);
        let on = decoder.logits(&batch).unwrap();
        let difference = golden::logit_difference(&on, &golden["logits"], &batch.lengths);
        eprintln!("{name}: logits differ by at most {difference:.2e}");
        assert!(difference <= 1e-4, "{name}: {difference}");
        decoder.set_adapter(AdapterSwitch::Off);
        let off = decoder.logits(&batch).unwrap();
        assert_eq!(golden::max_difference(&off, &golden::decoder(base).logits(&batch).unwrap()), 0.0);
        assert!(golden::max_difference(&on, &off) > 0.01, "the golden adapter must do something");
        assert!(decoder.trainable().is_empty(), "a frozen adapter is not trained");
    }
}

/// alpha != r in every case, so a missing or doubled scaling shows.
#[test]
fn merged_equals_unmerged() {
    for (name, base) in ADAPTERS {
        let batch = golden::batch(&golden::tensors(name));
        let mut decoder = adapted(name, base);
        let unmerged = decoder.logits(&batch).unwrap();
        let dir = golden::TempDir::new();
        decoder.save_merged(dir.path(), DType::F32).unwrap();
        decoder.merge_adapter().unwrap();
        let merged = decoder.logits(&batch).unwrap();
        let difference = golden::max_difference(&merged, &unmerged);
        assert!(difference <= 1e-4, "{name}: {difference}");
        let loaded = Decoder::load(dir.path(), DType::F32, golden::device()).unwrap();
        assert_eq!(golden::max_difference(&loaded.logits(&batch).unwrap(), &merged), 0.0);
        assert_eq!(loaded.config().eos_token_ids, decoder.config().eos_token_ids);
        assert!(decoder.merge_adapter().is_err(), "nothing is left to merge");
    }
}

#[test]
fn our_files_come_back_with_the_same_bits() {
    let dir = golden::TempDir::new();
    let batch = golden::batch(&golden::tensors("qwen2"));
    let mut decoder = golden::decoder("qwen2");
    decoder.add_lora(&random_adapter(3, 5.0), 11).unwrap();
    decoder.save_adapter(dir.path(), "org/base").unwrap();
    let mut again = golden::decoder("qwen2");
    let config = again.load_adapter(dir.path(), AdapterUse::Trained).unwrap();
    assert_eq!(config.base_model_name_or_path.as_deref(), Some("org/base"));
    assert_eq!(golden::max_difference(&again.logits(&batch).unwrap(), &decoder.logits(&batch).unwrap()), 0.0);
    for ((name, a), (other, b)) in decoder.trainable().iter().zip(again.trainable()) {
        assert_eq!(*name, other);
        assert_eq!(golden::max_difference(a.as_tensor(), b.as_tensor()), 0.0);
    }
    let bytes = std::fs::read(dir.path().join("adapter_model.safetensors")).unwrap();
    again.save_adapter(dir.path(), "org/base").unwrap();
    assert_eq!(std::fs::read(dir.path().join("adapter_model.safetensors")).unwrap(), bytes);
}

/// The same fields as PEFT writes, in its order, with its values for what we do not set.
#[test]
fn adapter_config_has_the_fields_of_peft() {
    for (name, base) in ADAPTERS {
        let start = golden::folder(name).join("start");
        let theirs = read_json(&start.join("adapter_config.json")).unwrap();
        let dir = golden::TempDir::new();
        adapted(name, base).save_adapter(dir.path(), base).unwrap();
        let ours = read_json(&dir.path().join("adapter_config.json")).unwrap();
        let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&ours), keys(&theirs));
        assert_eq!(ours, theirs);
        let names = |path| read_tensors(path, &Device::Cpu).unwrap().into_keys().collect::<HashSet<_>>();
        let file = "adapter_model.safetensors";
        assert_eq!(names(&dir.path().join(file)), names(&start.join(file)));
    }
}

#[test]
fn first_values_follow_peft_and_the_name_only() {
    let mut all = golden::decoder("qwen2");
    let config = LoraConfig { r: 8, target_modules: TargetModules::AllLinear, ..LoraConfig::default() };
    all.add_lora(&config, 3).unwrap();
    for (name, var) in all.trainable() {
        let values = golden::floats(var.as_tensor());
        if name.contains("lora_B") {
            assert!(values.iter().all(|v| *v == 0.0));
            continue;
        }
        let (_, inputs) = var.dims2().unwrap();
        let bound = 1.0 / (inputs as f32).sqrt();
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!(values.iter().all(|v| v.abs() <= bound), "{name}");
        assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.25, "{name}: variance {variance}");
    }
    let mut few = golden::decoder("qwen2");
    let down = LoraConfig { target_modules: TargetModules::List(vec!["down_proj".into()]), ..config.clone() };
    few.add_lora(&down, 3).unwrap();
    let wanted: Vec<_> = all.trainable().into_iter().filter(|(n, _)| n.contains("down_proj")).collect();
    assert_eq!(few.trainable().len(), wanted.len());
    for ((_, a), (_, b)) in few.trainable().iter().zip(&wanted) {
        assert_eq!(golden::max_difference(a.as_tensor(), b.as_tensor()), 0.0);
    }
    let mut other = golden::decoder("qwen2");
    other.add_lora(&down, 4).unwrap();
    assert!(golden::max_difference(other.trainable()[0].1.as_tensor(), few.trainable()[0].1.as_tensor()) > 0.0);
}

#[test]
fn parameters_are_counted() {
    let mut decoder = golden::decoder("llama_tied");
    // 96*32 + 2 * (32*32*2 + 32*16*2 + 3*32*48 + 2*32) + 32
    assert_eq!(decoder.parameter_counts().total, 18_592);
    assert_eq!(decoder.parameter_counts().trainable, 0);
    let config = LoraConfig { r: 4, ..LoraConfig::default() };
    decoder.add_lora(&config, 1).unwrap();
    // q: 4*(32+32), v: 4*(32+16), two layers
    let counts = decoder.parameter_counts();
    assert_eq!((counts.trainable, counts.total), (896, 18_592 + 896));
    assert!((counts.percent() - 100.0 * 896.0 / 19_488.0).abs() < 1e-9);
}

#[test]
fn unusable_targets_and_values_are_named() {
    let text = |change: fn(&mut LoraConfig)| {
        let mut config = LoraConfig::default();
        change(&mut config);
        golden::decoder("qwen2").add_lora(&config, 1).unwrap_err().to_string()
    };
    let unknown = text(|c| c.target_modules = TargetModules::List(vec!["c_attn".into()]));
    assert!(unknown.contains("c_attn") && unknown.contains("down_proj, gate_proj, k_proj"), "{unknown}");
    assert!(text(|c| c.r = 0).contains("`r`"));
    assert!(text(|c| c.lora_alpha = f64::NAN).contains("lora_alpha"));
    assert!(text(|c| c.lora_dropout = 1.0).contains("lora_dropout"));
    let mut twice = golden::decoder("qwen2");
    twice.add_lora(&LoraConfig::default(), 1).unwrap();
    assert!(twice.add_lora(&LoraConfig::default(), 1).is_err());
}

#[test]
fn features_that_are_not_supported_are_refused_by_name() {
    let start = golden::folder("peft_llama").join("start");
    let config = read_json(&start.join("adapter_config.json")).unwrap();
    let load = |key: &str, value: Value| {
        let dir = golden::TempDir::new();
        std::fs::copy(start.join("adapter_model.safetensors"), dir.path().join("adapter_model.safetensors")).unwrap();
        let mut changed = config.clone();
        changed[key] = value;
        write_json(&dir.path().join("adapter_config.json"), &changed).unwrap();
        golden::decoder("llama_tied").load_adapter(dir.path(), AdapterUse::Frozen)
    };
    for (key, value) in [
        ("fan_in_fan_out", json!(true)),
        ("layer_replication", json!([[0, 1]])),
        ("trainable_token_indices", json!([1])),
        ("target_parameters", json!(["x"])),
        ("alora_invocation_tokens", json!([1])),
        ("velora_config", json!({"a": 1})),
        ("use_bdlora", json!({"a": 1})),
        ("ensure_weight_tying", json!(true)),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("loftq_config", json!({"loftq_bits": 2})),
        ("init_lora_weights", json!("eva")),
        ("bias", json!("some")),
        ("peft_type", json!("IA3")),
        ("r", json!(5)),
        ("r", json!(-1)),
        ("target_modules", json!(7)),
    ] {
        let text = load(key, value.clone()).unwrap_err().to_string();
        let named = text.contains(&format!("`{key}`")) && text.contains("adapter_config.json");
        // Another rank is a matter of the tensors.
        assert!(named || (value == json!(5) && text.contains("lora_A.weight")), "{key}: {text}");
    }
    let config = load("of_a_later_version", json!(1)).unwrap();
    assert_eq!(config.unknown_keys, ["of_a_later_version"]);
    assert_eq!(config.scaling_rule, ScalingRule::AlphaOverR);
    let fewer = load("target_modules", json!(["q_proj"])).unwrap_err().to_string();
    assert!(fewer.contains("belongs to no module") && fewer.contains("adapter_model.safetensors"), "{fewer}");
    let more = load("target_modules", json!(["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]));
    assert!(more.unwrap_err().to_string().contains("up_proj.lora_A.weight` is missing"));
}

#[test]
fn half_precision_adapters_are_widened() {
    let start = golden::folder("peft_llama").join("start");
    let dir = golden::TempDir::new();
    let file = "adapter_model.safetensors";
    let halved: Vec<_> = read_tensors(&start.join(file), &Device::Cpu)
        .unwrap()
        .into_iter()
        .map(|(name, t)| (name, t.to_dtype(DType::BF16).unwrap()))
        .collect();
    write_tensors(&dir.path().join(file), &halved, &Default::default()).unwrap();
    std::fs::copy(start.join("adapter_config.json"), dir.path().join("adapter_config.json")).unwrap();
    let mut decoder = golden::decoder("llama_tied");
    decoder.load_adapter(dir.path(), AdapterUse::Trained).unwrap();
    for (name, var) in decoder.trainable() {
        assert_eq!(var.dtype(), DType::F32);
        let (_, half) = halved.iter().find(|(n, _)| *n == name).unwrap();
        assert_eq!(golden::max_difference(var.as_tensor(), half), 0.0);
    }
}
