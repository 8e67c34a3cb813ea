//! Reading and refusing `config.json`. The numbers that follow from it are tested against transformers in `tests/it/parity.rs`.

use super::*;

fn llama() -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
        "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    })
}

fn with(field: &str, value: Value) -> Result<DecoderConfig> {
    let mut json = llama();
    json[field] = value;
    DecoderConfig::from_json(&json)
}

fn refusal(field: &str, value: Value) -> String {
    with(field, value).unwrap_err().to_string()
}

fn qwen2(extra: Value) -> Result<DecoderConfig> {
    let mut json = llama();
    json["model_type"] = json!("qwen2");
    json["architectures"] = json!(["Qwen2ForCausalLM"]);
    for (key, value) in extra.as_object().unwrap() {
        json[key] = value.clone();
    }
    DecoderConfig::from_json(&json)
}

#[test]
fn defaults_are_those_of_transformers() {
    let c = DecoderConfig::from_json(&llama()).unwrap();
    assert_eq!((c.head_dim, c.head, c.rope_theta), (8, HeadKind::Untied, 10_000.0));
    assert_eq!((c.qkv_bias, c.output_bias, c.mlp_bias), (Bias::Absent, Bias::Absent, Bias::Absent));
    let c = with("attention_bias", json!(true)).unwrap();
    assert_eq!((c.qkv_bias, c.output_bias, c.mlp_bias), (Bias::Present, Bias::Present, Bias::Absent));
    let c = qwen2(json!({"attention_bias": false})).unwrap();
    assert_eq!((c.qkv_bias, c.output_bias, c.mlp_bias), (Bias::Present, Bias::Absent, Bias::Absent));
    let mut no_groups = llama();
    no_groups.as_object_mut().unwrap().remove("num_key_value_heads");
    assert_eq!(DecoderConfig::from_json(&no_groups).unwrap().num_key_value_heads, 4);
}

#[test]
fn old_and_new_rope_fields_mean_the_same() {
    let scaling = json!({"type": "linear", "factor": 4.0});
    let mut old = llama();
    old["rope_theta"] = json!(500.0);
    old["rope_scaling"] = scaling;
    let old = DecoderConfig::from_json(&old).unwrap();
    let new = with("rope_parameters", json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0})).unwrap();
    assert_eq!((old.rope_theta, &old.rope_scaling), (new.rope_theta, &new.rope_scaling));
    assert_eq!(new.rope_scaling, RopeScaling::Linear { factor: 4.0 });
    let beside = with("rope_theta", json!(7.0)).unwrap();
    assert_eq!((beside.rope_theta, beside.rope_scaling), (7.0, RopeScaling::Default));
    let defaulted =
        with("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}));
    assert!(matches!(
        defaulted.unwrap().rope_scaling,
        RopeScaling::Llama3 { original_max_position_embeddings, .. } if original_max_position_embeddings == 4096.0
    ));
}

#[test]
fn what_would_be_computed_differently_is_refused_by_field() {
    for (field, value) in [
        ("model_type", json!("gpt2")),
        ("model_type", json!(null)),
        ("architectures", json!(["LlamaForSequenceClassification"])),
        ("hidden_act", json!("gelu")),
        ("attention_dropout", json!(0.1)),
        ("partial_rotary_factor", json!(0.5)),
        ("quantization_config", json!({"bits": 4})),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(7)),
        ("hidden_size", json!(30)),
        ("hidden_size", json!("32")),
        ("num_hidden_layers", json!(0)),
        ("vocab_size", json!(1u64 << 40)),
        ("tie_word_embeddings", json!("yes")),
        ("eos_token_id", json!("</s>")),
        ("rope_theta", json!(0)),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4})),
        ("rope_scaling", json!({"rope_type": "linear"})),
        ("rope_scaling", json!({"rope_type": "linear", "factor": -1})),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4})),
        ("rope_parameters", json!({"rope_type": "default", "partial_rotary_factor": 0.5})),
        ("rope_parameters", json!([1])),
    ] {
        let text = refusal(field, value.clone());
        assert!(text.contains(field), "{field} {value}: {text}");
    }
}

#[test]
fn a_sliding_window_is_refused_only_where_it_acts() {
    assert!(qwen2(json!({"use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 0})).is_ok());
    assert!(qwen2(json!({"use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 28})).is_ok());
    let on = qwen2(json!({"use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 1}));
    assert!(on.unwrap_err().to_string().contains("use_sliding_window"));
    let kinds = qwen2(json!({"layer_types": ["full_attention", "sliding_attention"]}));
    assert!(kinds.unwrap_err().to_string().contains("layer_types"));
}

#[test]
fn what_is_written_reads_back_and_keeps_other_fields() {
    let mut json = llama();
    json["rope_scaling"] = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    json["eos_token_id"] = json!([2, 3]);
    json["bos_token_id"] = json!(-1);
    json["initializer_range"] = json!(0.05);
    let first = DecoderConfig::from_json(&json).unwrap();
    assert_eq!((first.bos_token_id, first.eos_token_ids.as_slice()), (None, [2, 3].as_slice()));
    let written = first.to_json();
    assert_eq!(written["initializer_range"], json!(0.05));
    let again = DecoderConfig::from_json(&written).unwrap();
    assert_eq!(again.to_json(), written);
    assert_eq!((again.rope_theta, again.rope_scaling), (first.rope_theta, first.rope_scaling));
}

#[test]
fn weights_are_counted_by_hand() {
    // Embedding 100*32 and an untied head; per layer q 32*32, k and v 16*32, o 32*32, three of 64*32, two norms; one last norm.
    let c = DecoderConfig::from_json(&llama()).unwrap();
    let layer = 32 * 32 * 2 + 2 * 16 * 32 + 3 * 64 * 32 + 2 * 32;
    assert_eq!(c.parameter_count(), 2 * 100 * 32 + 2 * layer + 32);
    // Qwen2 adds a bias to q, k and v.
    assert_eq!(qwen2(json!({})).unwrap().parameter_count(), c.parameter_count() + 2 * (32 + 16 + 16));
    assert_eq!(with("tie_word_embeddings", json!(true)).unwrap().parameter_count(), c.parameter_count() - 3200);
    let paths: Vec<String> = c.linears().into_iter().map(|l| l.path).collect();
    assert_eq!((paths.len(), paths[13].as_str()), (14, "model.layers.1.mlp.down_proj"));
}
