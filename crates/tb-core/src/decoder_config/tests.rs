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
    assert_eq!((c.head_dim, c.head, c.ropes[0].theta), (8, HeadKind::Untied, 10_000.0));
    assert_eq!((c.layers.as_slice(), c.attention_scale), ([WHOLE; 2].as_slice(), 1.0 / 8f64.sqrt()));
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
    let mut old = llama();
    old["rope_theta"] = json!(500.0);
    old["rope_scaling"] = json!({"type": "linear", "factor": 4.0});
    let old = DecoderConfig::from_json(&old).unwrap();
    let new = with("rope_parameters", json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0})).unwrap();
    assert_eq!(old.ropes, new.ropes);
    assert_eq!(new.ropes, [Rope { theta: 500.0, rotary_dim: 8, scaling: RopeScaling::Linear { factor: 4.0 } }]);
    let beside = with("rope_theta", json!(7.0)).unwrap();
    assert_eq!(beside.ropes, [Rope { theta: 7.0, rotary_dim: 8, scaling: RopeScaling::Default }]);
    let llama3 = json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4});
    let original = |config: DecoderConfig| match config.ropes[0].scaling {
        RopeScaling::Llama3 { original_max_position_embeddings, .. } => original_max_position_embeddings,
        _ => 0.0,
    };
    assert_eq!(original(with("rope_scaling", llama3.clone()).unwrap()), 4096.0);
    // Beside the table wins over inside it, as in transformers 5.
    let mut both = llama();
    both["rope_parameters"] = llama3;
    both["rope_parameters"]["original_max_position_embeddings"] = json!(64);
    assert_eq!(original(DecoderConfig::from_json(&both).unwrap()), 64.0);
    both["original_max_position_embeddings"] = json!(32);
    assert_eq!(original(DecoderConfig::from_json(&both).unwrap()), 32.0);
}

/// The factor of yarn is 0.1 ln(factor) + 1, that of longrope sqrt(1 + ln(factor) / ln(original)).
#[test]
fn attention_factors_follow_the_papers() {
    let factor = |rope: Value| match &with("rope_parameters", rope).unwrap().ropes[0].scaling {
        RopeScaling::Yarn { attention_factor, .. } | RopeScaling::LongRope { attention_factor, .. } => {
            *attention_factor
        }
        other => panic!("{other:?}"),
    };
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024});
    assert_eq!(factor(yarn.clone()), 0.1 * 4f64.ln() + 1.0);
    let extended = |more: Value| {
        let mut rope = yarn.clone();
        rope.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rope
    };
    assert_eq!(factor(extended(json!({"attention_factor": 1.25}))), 1.25);
    let mscale = extended(json!({"mscale": 0.7, "mscale_all_dim": 0.5}));
    assert_eq!(factor(mscale), (0.07 * 4f64.ln() + 1.0) / (0.05 * 4f64.ln() + 1.0));
    let long = json!({
        "rope_type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 3, 4],
        "original_max_position_embeddings": 1024,
    });
    assert_eq!(factor(long), (1.0 + 4f64.ln() / 1024f64.ln()).sqrt());
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
        ("rope_scaling", json!({"rope_type": "mrope", "factor": 4})),
        ("rope_scaling", json!({"rope_type": "yarn"})),
        ("rope_scaling", json!({"rope_type": "longrope", "short_factor": [1, 1], "long_factor": [1, 1, 1, 1]})),
        ("rope_scaling", json!({"full_attention": {"rope_type": "default"}})),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4, "rope_theta": 1})),
        ("layer_types", json!(["full_attention"])),
        ("layer_types", json!(["sliding_attention", "full_attention"])),
        ("num_hidden_layers", json!(1025)),
        ("head_dim", json!(4098)),
        ("rms_norm_eps", json!(-1e-6)),
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

const WHOLE: LayerKind = LayerKind { window: None, rope: Some(0) };
const NARROW: LayerKind = LayerKind { window: Some(64), rope: Some(0) };

fn of(model_type: &str, extra: Value) -> Result<DecoderConfig> {
    let mut json = llama();
    json["model_type"] = json!(model_type);
    json.as_object_mut().unwrap().remove("architectures");
    json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    DecoderConfig::from_json(&json)
}

fn layers(model_type: &str, extra: Value) -> Vec<LayerKind> {
    of(model_type, extra).unwrap().layers
}

#[test]
fn windows_are_where_the_family_has_them() {
    let qwen = |extra| layers("qwen2", extra);
    assert_eq!(qwen(json!({"use_sliding_window": false, "sliding_window": 64, "max_window_layers": 0})), [WHOLE; 2]);
    assert_eq!(qwen(json!({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 28})), [WHOLE; 2]);
    assert_eq!(
        qwen(json!({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 1})),
        [WHOLE, NARROW]
    );
    assert_eq!(qwen(json!({"use_sliding_window": true, "sliding_window": null, "max_window_layers": 0})), [WHOLE; 2]);
    let listed = json!({"use_sliding_window": true, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]});
    assert_eq!(qwen(listed), [NARROW, WHOLE]);
    assert_eq!(layers("mistral", json!({"sliding_window": 64})), [NARROW; 2]);
    assert_eq!(layers("mistral", json!({"sliding_window": null})), [WHOLE; 2]);
    assert_eq!(layers("mistral", json!({"num_key_value_heads": 2}))[0].window, Some(4096));
    assert_eq!(layers("phi3", json!({}))[0].window, None);
    assert_eq!(layers("gemma2", json!({"sliding_window": 64})), [NARROW, WHOLE]);
    let gemma3 =
        layers("gemma3_text", json!({"sliding_window": 64, "num_hidden_layers": 4, "sliding_window_pattern": 3}));
    let local = LayerKind { window: Some(64), rope: Some(1) };
    assert_eq!(gemma3, [local, local, WHOLE, local]);
    let without = |n: usize, window: Option<usize>| -> Vec<LayerKind> {
        (1..=5).map(|i| if i % n == 0 { LayerKind { window, rope: None } } else { WHOLE }).collect()
    };
    assert_eq!(layers("smollm3", json!({"num_hidden_layers": 5})), without(4, None));
    let windowed =
        json!({"num_hidden_layers": 5, "no_rope_layer_interval": 2, "use_sliding_window": true, "sliding_window": 64});
    assert_eq!(layers("smollm3", windowed), without(2, Some(64)));
    assert_eq!(layers("smollm3", json!({"no_rope_layers": [0, 1]})), [LayerKind { window: None, rope: None }, WHOLE]);
    for (family, extra, field) in [
        ("qwen2", json!({"layer_types": ["full_attention", "sliding_attention"]}), "layer_types"),
        ("qwen3", json!({"layer_types": ["full_attention", "chunked_attention"]}), "layer_types"),
        ("qwen3", json!({"use_sliding_window": true, "max_window_layers": -1}), "max_window_layers"),
        ("mistral", json!({"layer_types": ["full_attention", "full_attention"]}), "layer_types"),
        ("mistral", json!({"sliding_window": 0}), "sliding_window"),
        ("smollm3", json!({"no_rope_layers": [1]}), "no_rope_layers"),
        ("smollm3", json!({"no_rope_layers": [1, 2]}), "no_rope_layers"),
        ("smollm3", json!({"no_rope_layer_interval": 0}), "no_rope_layer_interval"),
        ("gemma3_text", json!({"sliding_window_pattern": 0}), "sliding_window_pattern"),
        ("gemma2", json!({"sliding_window": null}), "layer_types"),
    ] {
        let text = of(family, extra).unwrap_err().to_string();
        assert!(text.contains(field), "{family}: {text}");
    }
}

#[test]
fn each_family_has_the_defaults_of_its_class() {
    for family in Family::ALL {
        let c = of(
            family.model_type(),
            json!({"num_attention_heads": 32, "num_key_value_heads": null, "hidden_size": 128}),
        );
        assert_eq!(c.unwrap().num_key_value_heads, 32, "{family:?}: null is one for each query head");
    }
    let absent = |family: &str| {
        let mut json = llama();
        json["model_type"] = json!(family);
        json["num_attention_heads"] = json!(32);
        json["hidden_size"] = json!(64);
        json["architectures"] = json!([]);
        json.as_object_mut().unwrap().remove("num_key_value_heads");
        DecoderConfig::from_json(&json).unwrap()
    };
    let kv: Vec<usize> = Family::ALL.iter().map(|f| absent(f.model_type()).num_key_value_heads).collect();
    assert_eq!(kv, [32, 8, 32, 32, 4, 4, 32, 4, 32]);
    let heads: Vec<usize> = Family::ALL.iter().map(|f| absent(f.model_type()).head_dim).collect();
    assert_eq!(heads, [2, 2, 2, 128, 256, 256, 2, 2, 2]);
    let gemma2 = of("gemma2", json!({})).unwrap();
    assert_eq!((gemma2.attention_soft_cap, gemma2.logit_soft_cap), (Some(50.0), Some(30.0)));
    assert_eq!(
        (gemma2.attention_scale, gemma2.head, gemma2.activation),
        (1.0 / 16.0, HeadKind::Tied, Activation::GeluTanh)
    );
    let gemma3 = of("gemma3_text", json!({"query_pre_attn_scalar": 64, "rope_local_base_freq": 99.0})).unwrap();
    assert_eq!((gemma3.attention_soft_cap, gemma3.logit_soft_cap, gemma3.attention_scale), (None, None, 0.125));
    let thetas: Vec<f64> = gemma3.ropes.iter().map(|r| r.theta).collect();
    assert_eq!(thetas, [1_000_000.0, 99.0]);
    assert_eq!(of("smollm3", json!({})).unwrap().ropes[0].theta, 2_000_000.0);
    let phi = of("phi3", json!({"head_dim": 10, "partial_rotary_factor": 0.75})).unwrap();
    assert_eq!((phi.ropes[0].rotary_dim, phi.ropes[0].pairs()), (7, 4));
}

#[test]
fn a_rotary_embedding_of_each_kind_of_layer_is_read_in_both_forms() {
    let new = of(
        "gemma3_text",
        json!({"rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5e5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 77.0},
        }}),
    );
    let old = of(
        "gemma3_text",
        json!({
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_theta": 5e5, "rope_local_base_freq": 77.0,
        }),
    );
    let (new, old) = (new.unwrap(), old.unwrap());
    assert_eq!(new.ropes, old.ropes);
    assert_eq!((new.ropes[0].theta, new.ropes[1].theta), (5e5, 77.0));
    assert_eq!(new.ropes[0].scaling, RopeScaling::Linear { factor: 8.0 });
    for config in [&new, &old] {
        assert_eq!(DecoderConfig::from_json(&config.to_json()).unwrap().ropes, new.ropes);
    }
    assert_eq!(new.to_json()["rope_scaling"], json!({"rope_type": "linear", "factor": 8.0}));
    let flat = of("gemma3_text", json!({"rope_parameters": {"rope_type": "linear", "factor": 8.0}})).unwrap_err();
    assert!(flat.to_string().contains("rope_parameters"));
}

#[test]
fn the_text_model_of_a_gemma3_with_vision_is_read() {
    let text = json!({
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8, "sliding_window": 64,
        "model_type": "gemma3_text",
    });
    let whole = json!({
        "model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": text,
        "vision_config": {"model_type": "siglip_vision_model"}, "eos_token_id": [1, 106],
    });
    let c = DecoderConfig::from_json(&whole).unwrap();
    assert_eq!((c.family, c.vocab_size, c.num_attention_heads, c.num_key_value_heads), (Family::Gemma3, 262_208, 8, 4));
    assert_eq!(c.eos_token_ids, [1, 106]);
    let written = c.to_json();
    assert_eq!((written["model_type"].as_str(), written.get("vision_config")), (Some("gemma3_text"), None));
    assert_eq!(DecoderConfig::from_json(&written).unwrap().layers, c.layers);
    let error = DecoderConfig::from_json(&json!({"model_type": "gemma3", "text_config": 7})).unwrap_err();
    assert!(error.to_string().contains("text_config"));
}

/// Phi-3 called longrope "su" at first, and its class has the original context beside the table.
#[test]
fn phi3_reads_its_longrope() {
    let rope = |kind: &str, more: Value| {
        let mut json =
            json!({"rope_scaling": {"type": kind, "short_factor": [1, 2], "long_factor": [3, 4]}, "head_dim": 4});
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of("phi3", json)
    };
    for kind in ["longrope", "su", "yarn"] {
        let c = rope(kind, json!({"original_max_position_embeddings": 1024})).unwrap();
        let RopeScaling::LongRope { original_max_position_embeddings, attention_factor, .. } = c.ropes[0].scaling
        else {
            panic!("{:?}", c.ropes);
        };
        assert_eq!(original_max_position_embeddings, 1024.0);
        assert_eq!(attention_factor, (1.0 + 4f64.ln() / 1024f64.ln()).sqrt());
        assert_eq!(DecoderConfig::from_json(&c.to_json()).unwrap().ropes, c.ropes);
    }
    assert!(rope("linear", json!({})).unwrap_err().to_string().contains("rope_type"));
    assert!(rope("longrope", json!({"partial_rotary_factor": 0.5})).unwrap_err().to_string().contains("short_factor"));
}

#[test]
fn norms_and_joined_linears_are_named_as_in_the_checkpoint() {
    let names = |family: &str| -> Vec<String> {
        let c = of(family, json!({"num_hidden_layers": 1, "head_dim": 8, "tie_word_embeddings": true})).unwrap();
        c.weights()
            .into_iter()
            .map(|(name, shape)| format!("{} {shape:?}", name.trim_start_matches("model.layers.0.")))
            .collect()
    };
    let phi = names("phi3");
    assert!(phi.contains(&"self_attn.qkv_proj.weight [64, 32]".to_owned()), "{phi:?}");
    assert!(phi.contains(&"mlp.gate_up_proj.weight [128, 32]".to_owned()), "{phi:?}");
    let olmo = names("olmo2");
    assert!(!olmo.iter().any(|n| n.contains("input_layernorm")), "{olmo:?}");
    assert!(olmo.contains(&"self_attn.q_norm.weight [32]".to_owned()), "{olmo:?}");
    assert!(olmo.contains(&"self_attn.k_norm.weight [16]".to_owned()), "{olmo:?}");
    let gemma = names("gemma3_text");
    assert!(gemma.contains(&"pre_feedforward_layernorm.weight [32]".to_owned()), "{gemma:?}");
    assert!(gemma.contains(&"self_attn.k_norm.weight [8]".to_owned()), "{gemma:?}");
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
    assert_eq!(again.ropes, first.ropes);
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
