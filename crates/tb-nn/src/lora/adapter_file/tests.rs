//! The configuration's text form. Folders with weights are tested in `tests/it/adapters.rs`.

use super::*;

#[test]
fn every_setting_survives_writing_and_reading() {
    let list = || TargetModules::List(vec!["q_proj".into()]);
    for (targets, rule, init) in [
        (list(), ScalingRule::AlphaOverR, LoraInit::KaimingUniform),
        (TargetModules::AllLinear, ScalingRule::RankStabilised, LoraInit::Gaussian),
        (TargetModules::Regex(r".*\.[qv]_proj".into()), ScalingRule::AlphaOverR, LoraInit::Random),
    ] {
        let config = LoraConfig {
            r: 3,
            lora_alpha: 4.5,
            lora_dropout: 0.25,
            target_modules: targets,
            scaling_rule: rule,
            init,
            base_model_name_or_path: Some("a/b".into()),
            unknown_keys: Vec::new(),
        };
        assert_eq!(LoraConfig::from_json(&config.to_json()).unwrap(), config);
    }
}

#[test]
fn the_least_that_peft_reads_is_enough() {
    let config = LoraConfig::from_json(&json!({"peft_type": "LORA"})).unwrap();
    assert_eq!(config, LoraConfig::default());
    let config = LoraConfig::from_json(&json!({"peft_type": "LORA", "r": null, "eva_config": null})).unwrap();
    assert_eq!(config.r, 8);
    assert!(LoraConfig::from_json(&json!({})).unwrap_err().to_string().contains("peft_type"));
    assert!(LoraConfig::from_json(&json!([])).is_err());
}

#[test]
fn scaling_is_peft_s() {
    let config = |rule| LoraConfig { r: 4, lora_alpha: 6.0, scaling_rule: rule, ..LoraConfig::default() };
    assert_eq!(config(ScalingRule::AlphaOverR).scaling(), 1.5);
    assert_eq!(config(ScalingRule::RankStabilised).scaling(), 3.0);
}
