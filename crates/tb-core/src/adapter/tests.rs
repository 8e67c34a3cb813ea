//! The rules of PEFT's `check_target_module_exists`, `get_pattern_key` and `_set_trainable`, on a model of two layers with biases.

use serde_json::json;

use super::*;

fn config() -> DecoderConfig {
    DecoderConfig::from_json(&json!({
        "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": true, "attention_bias": true,
    }))
    .unwrap()
}

fn list(names: &[&str]) -> TargetModules {
    TargetModules::List(names.iter().map(|n| (*n).to_owned()).collect())
}

fn lora(target_modules: TargetModules) -> LoraConfig {
    LoraConfig { r: 2, lora_alpha: 6.0, target_modules, ..LoraConfig::default() }
}

fn paths(lora: &LoraConfig) -> Vec<String> {
    plan(&config(), lora, Unmatched::Refused).unwrap().modules.into_iter().map(|m| m.path).collect()
}

fn refused(lora: &LoraConfig) -> String {
    plan(&config(), lora, Unmatched::Refused).unwrap_err().to_string()
}

#[test]
fn a_list_matches_whole_path_parts_from_the_end() {
    let q = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"];
    assert_eq!(paths(&lora(list(&["q_proj"]))), q);
    assert_eq!(paths(&lora(list(&["1.mlp.up_proj"]))), ["model.layers.1.mlp.up_proj"]);
    assert_eq!(paths(&lora(list(&[q[0]]))), [q[0]]);
    assert_eq!(paths(&lora(list(&["lm_head", "embed_tokens"]))), [EMBEDDING, HEAD]);
    assert!(refused(&lora(list(&["proj"]))).contains("target_modules"));
}

#[test]
fn a_pattern_must_match_the_whole_path() {
    let of = |p: &str| paths(&lora(TargetModules::Regex(p.into())));
    assert_eq!(of(r".*\.0\..*(q|up)_proj"), ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"]);
    assert_eq!(of("x|.*q_proj").len(), 2);
    assert!(refused(&lora(TargetModules::Regex("q_proj".into()))).contains("no module"));
    assert!(refused(&lora(TargetModules::Regex("a|(".into()))).contains("target_modules"));
}

#[test]
fn an_unknown_module_is_named_with_what_there_is() {
    let text = refused(&lora(list(&["q_proj", "c_attn"])));
    assert!(text.contains("c_attn") && text.contains("q_proj, up_proj"), "{text}");
    let tolerated = |names: &[&str]| plan(&config(), &lora(list(names)), Unmatched::Tolerated);
    assert_eq!(tolerated(&["q_proj", "c_attn"]).unwrap().modules.len(), 2);
    assert!(tolerated(&["c_attn"]).is_err());
    assert!(refused(&lora(list(&["input_layernorm"]))).contains("cannot carry"));
}

#[test]
fn all_linear_leaves_out_embedding_and_output_layer() {
    let all = paths(&lora(TargetModules::AllLinear));
    assert_eq!(all.len(), 14);
    assert!(all.iter().all(|p| p.starts_with("model.layers.")));
}

#[test]
fn excluded_modules_are_left_out() {
    let with = |names| LoraConfig { exclude_modules: Some(names), ..lora(list(&["q_proj", "v_proj"])) };
    let rest = paths(&with(ModuleNames::List(vec!["0.self_attn.q_proj".into(), "v_proj".into()])));
    assert_eq!(rest, ["model.layers.1.self_attn.q_proj"]);
    assert_eq!(paths(&with(ModuleNames::Regex(r".*\.0\..*".into()))).len(), 2);
    assert!(refused(&with(ModuleNames::List(vec!["x_proj".into()]))).contains("exclude_modules"));
}

#[test]
fn layers_are_counted_where_the_pattern_says() {
    let with = |layers: &[u64], pattern: &[&str]| LoraConfig {
        layers_to_transform: layers.to_vec(),
        layers_pattern: pattern.iter().map(|p| (*p).to_owned()).collect(),
        ..lora(list(&["q_proj", "lm_head"]))
    };
    assert_eq!(paths(&with(&[1], &[])), ["model.layers.1.self_attn.q_proj"]);
    assert_eq!(paths(&with(&[0], &["h", "layers"])), ["model.layers.0.self_attn.q_proj"]);
    assert!(refused(&with(&[0], &["h"])).contains("no module"));
    assert!(refused(&with(&[2], &[])).contains("layers_to_transform"));
}

#[test]
fn the_first_pattern_that_fits_gives_rank_and_alpha() {
    let lora = LoraConfig {
        rank_pattern: vec![("0.self_attn.q_proj".into(), 4), ("q_proj".into(), 3), (r"model\..*up_proj".into(), 5)],
        alpha_pattern: vec![("up_proj".into(), 10.0)],
        ..lora(list(&["q_proj", "k_proj", "up_proj"]))
    };
    let plan = plan(&config(), &lora, Unmatched::Refused).unwrap();
    let of = |path: &str| plan.modules.iter().find(|m| m.path.ends_with(path)).map(|m| (m.rank, m.scaling)).unwrap();
    assert_eq!(of("0.self_attn.q_proj"), (4, 1.5));
    assert_eq!(of("1.self_attn.q_proj"), (3, 2.0));
    assert_eq!(of("1.self_attn.k_proj"), (2, 3.0));
    assert_eq!(of("0.mlp.up_proj"), (5, 2.0));
    // A part of a name is no match: PEFT's rule begins at a dot.
    let part = LoraConfig { rank_pattern: vec![("proj".into(), 4)], ..lora };
    assert!(refused(&part).contains("rank_pattern"));
}

#[test]
fn modules_to_save_are_found_by_the_end_of_a_path_and_are_no_targets() {
    let with = |names: &[&str]| LoraConfig {
        modules_to_save: names.iter().map(|n| (*n).to_owned()).collect(),
        ..lora(list(&["q_proj", "lm_head"]))
    };
    let found = |names: &[&str]| {
        let plan = plan(&config(), &with(names), Unmatched::Refused).unwrap();
        (plan.modules.len(), plan.saved.into_iter().map(|s| s.name).collect::<Vec<_>>())
    };
    assert_eq!(found(&["lm_head"]), (2, vec!["lm_head.weight".to_owned()]));
    // As in PEFT, `norm` is the end of `input_layernorm` too.
    assert_eq!(found(&["norm"]).1.len(), 5);
    assert_eq!(found(&["mlp"]).1.len(), 6);
    assert!(refused(&with(&["wte"])).contains("modules_to_save"));
    assert!(refused(&with(&["proj"])).contains("modules_to_save"), "a target cannot be saved too");
}

#[test]
fn biases_are_stored_where_peft_looks_for_them() {
    let with = |bias| LoraConfig { bias, ..lora(list(&["q_proj"])) };
    let stored = |bias| {
        let plan = plan(&config(), &with(bias), Unmatched::Refused).unwrap();
        plan.saved.into_iter().map(|s| s.stored).collect::<Vec<_>>()
    };
    assert!(stored(TrainedBias::None).is_empty());
    assert_eq!(
        stored(TrainedBias::LoraOnly),
        ["model.layers.0.self_attn.q_proj.base_layer.bias", "model.layers.1.self_attn.q_proj.base_layer.bias"]
    );
    let all = stored(TrainedBias::All);
    assert_eq!(all.len(), 8);
    assert!(all.contains(&"model.layers.1.self_attn.o_proj.bias".to_owned()));
}

#[test]
fn every_number_that_trains_is_counted() {
    let count = |lora: &LoraConfig| plan(&config(), lora, Unmatched::Refused).unwrap().parameters();
    let q = lora(list(&["q_proj"]));
    assert_eq!(count(&q), 2 * 2 * 16);
    assert_eq!(count(&LoraConfig { form: LoraForm::WeightDecomposed, ..q.clone() }), 2 * (2 * 16 + 8));
    assert_eq!(count(&LoraConfig { form: LoraForm::WithBias, ..q.clone() }), 2 * (2 * 16 + 8));
    assert_eq!(count(&LoraConfig { modules_to_save: vec!["embed_tokens".into()], ..q }), 2 * 2 * 16 + 80);
    assert_eq!(count(&lora(list(&["embed_tokens"]))), 2 * 18);
}
