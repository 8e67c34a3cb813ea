use std::io::Cursor;

use serde_json::json;

use super::config::{config_json, llama3_factors};
use super::names::{Arch, Stored, interleaved_row};
use super::*;

fn text(t: &str) -> Value {
    Value::Text(t.into())
}

fn metadata() -> Vec<(String, Value)> {
    [
        ("general.architecture", text("llama")),
        ("llama.block_count", Value::U32(1)),
        ("llama.context_length", Value::U32(64)),
        ("llama.embedding_length", Value::U32(8)),
        ("llama.feed_forward_length", Value::U32(12)),
        ("llama.attention.head_count", Value::U32(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("tokenizer.ggml.tokens", Value::Texts(vec!["a".into(), "b".into(), "c".into()])),
        ("tokenizer.ggml.token_type", Value::Integers(vec![1, 1, 3])),
        ("tokenizer.ggml.scores", Value::Floats(vec![0.0, -1.0, -2.0])),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn file(metadata: &[(String, Value)], tensors: &[(&str, TensorType, Vec<usize>)]) -> Vec<u8> {
    let tensors: Vec<_> = tensors.iter().map(|(n, t, s)| ((*n).to_owned(), *t, s.clone())).collect();
    let (mut out, offsets) = head_bytes(metadata, &tensors);
    let last = tensors.last().map_or(0, |(_, t, s)| s.iter().product::<usize>() / t.block_values() * t.block_bytes());
    out.resize(out.len() + offsets.last().map_or(0, |o| *o as usize) + last, 7);
    out
}

fn small() -> Vec<u8> {
    file(&metadata(), &[("token_embd.weight", TensorType::F32, vec![3, 8]), ("x", TensorType::Q8_0, vec![2, 32])])
}

fn read(bytes: &[u8]) -> Result<Header> {
    Header::read(&mut Cursor::new(bytes))
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read_back() {
    let bytes = small();
    let header = read(&bytes).unwrap();
    assert_eq!(header.metadata, metadata().into_iter().collect());
    assert_eq!(header.data_start % 32, 0);
    let x = &header.tensors["x"];
    assert_eq!((x.kind, x.shape.as_slice(), x.offset, x.size_bytes), (TensorType::Q8_0, &[2, 32][..], 96, 68));
    let config = config_json(&header, &mut Cursor::new(&bytes)).unwrap();
    assert_eq!((config["vocab_size"].as_u64(), config["head_dim"].as_u64()), (Some(3), Some(4)));
    assert_eq!((config["rms_norm_eps"].as_f64(), config["eos_token_id"].as_u64()), (Some(1e-6), Some(2)));
    assert_eq!(config["tie_word_embeddings"], true);
}

#[test]
fn cut_anywhere_it_is_refused() {
    let whole = small();
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_flipped_bit_never_panics_and_never_claims_more_than_the_file() {
    let whole = small();
    for at in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(header) = read(&bytes) {
            let ends = header.tensors.values().map(|t| header.data_start + t.offset + t.size_bytes);
            assert!(ends.max().unwrap_or(0) <= bytes.len() as u64, "bit {at}");
            let _ = config_json(&header, &mut Cursor::new(&bytes));
        }
    }
}

/// The head of a file up to its counts.
fn head(tensors: u64, pairs: u64, rest: &[u8]) -> Vec<u8> {
    [&b"GGUF"[..], &3_u32.to_le_bytes(), &tensors.to_le_bytes(), &pairs.to_le_bytes(), rest].concat()
}

fn key(name: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    [&(name.len() as u64).to_le_bytes()[..], name, &kind.to_le_bytes(), value].concat()
}

#[test]
fn hostile_heads_are_refused_by_what_is_wrong() {
    let filler = [0_u8; 64];
    for count in [1_u64 << 32, 1 << 63, u64::MAX] {
        assert!(refusal(&head(count, 0, &filler)).contains("tensors"));
        assert!(refusal(&head(0, count, &filler)).contains("metadata entries"));
        let length = [&count.to_le_bytes()[..], &filler].concat();
        assert!(refusal(&head(0, 1, &length)).contains("a key of the metadata"));
        let value = key(b"k", 8, &length);
        assert!(refusal(&head(0, 1, &value)).contains("`k`"));
        for kind in [0_u32, 6, 8, 10] {
            let list = key(b"k", 9, &[&kind.to_le_bytes()[..], &count.to_le_bytes(), &filler].concat());
            assert!(refusal(&head(0, 1, &list)).contains("items of a list"));
        }
    }
    // 37 bytes: an empty key.
    let empty = head(0, 1, &key(b"", 4, &[0]));
    assert_eq!(empty.len(), 37);
    assert!(refusal(&empty).contains("empty"));
    // 57 bytes: an alignment of 0.
    let zero = head(0, 1, &key(b"general.alignment", 4, &0_u32.to_le_bytes()));
    assert_eq!(zero.len(), 57);
    assert!(refusal(&zero).contains("alignment"));
    for (kind, value, part) in [(4, 3_u32, "alignment"), (4, 1 << 30, "alignment"), (5, 32, "alignment")] {
        assert!(refusal(&head(0, 1, &key(b"general.alignment", kind, &value.to_le_bytes()))).contains(part));
    }
    let nested = key(b"k", 9, &[&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &filler].concat());
    assert!(refusal(&head(0, 1, &nested)).contains("list of lists"));
    assert!(refusal(&head(0, 1, &key(b"k", 13, &filler))).contains("unknown type 13"));
    assert!(refusal(&head(0, 1, &key(b"k", 7, &[2]))).contains("neither true nor false"));
    assert!(refusal(&head(0, 1, &key(b"\xff", 7, &[1]))).contains("UTF-8"));
    let twice = [key(b"k", 7, &[1]), key(b"k", 7, &[0])].concat();
    assert!(refusal(&head(0, 2, &twice)).contains("twice"));
    assert!(refusal(b"GGJT").contains("no GGUF"));
    assert!(refusal(&[b"GGUF".as_slice(), &1_u32.to_le_bytes()].concat()).contains("version 1"));
    assert!(refusal(&[b"GGUF".as_slice(), &3_u32.to_be_bytes()].concat()).contains("big-endian"));
}

/// One tensor entry and 256 bytes after it.
fn tensor(axes: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = [&1_u64.to_le_bytes()[..], b"t", &(axes.len() as u32).to_le_bytes()].concat();
    axes.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.resize(out.len() + 256, 0);
    out
}

#[test]
fn hostile_tensors_are_refused_by_name() {
    for (axes, kind, offset, part) in [
        (&[1 << 32, 1 << 32][..], 0, 0, "impossible shape"),
        (&[u64::MAX, 2], 0, 0, "impossible shape"),
        (&[1 << 40], 0, 0, "beyond the file"),
        (&[0], 0, 0, "impossible shape"),
        (&[4], 0, 1 << 40, "beyond the file"),
        (&[4], 0, u64::MAX - 31, "beyond the file"),
        (&[4], 0, 4, "no multiple of 32"),
        (&[48], 8, 0, "no multiple of 32"),
        (&[4], 16, 0, "type 16"),
        (&[], 0, 0, "0 axes"),
        (&[1, 1, 1, 1, 1], 0, 0, "5 axes"),
    ] {
        let text = refusal(&head(1, 0, &tensor(axes, kind, offset)));
        assert!(text.contains(part) && text.contains("`t`"), "{axes:?} {kind} {offset}: {text}");
    }
    let mut entries = tensor(&[8], 0, 0);
    entries.truncate(entries.len() - 256);
    let other: Vec<u8> = entries.iter().map(|b| if *b == b't' { b'u' } else { *b }).collect();
    let over = [entries, other, vec![0; 256]].concat();
    assert!(refusal(&head(2, 0, &over)).contains("lies over another"));
}

#[test]
fn names_go_both_ways_and_rows_are_a_permutation() {
    for arch in Arch::ALL {
        for part in ["self_attn.o_proj.weight", "mlp.down_proj.bias"] {
            let hf = format!("model.layers.17.{part}");
            let (gguf, stored) = arch.gguf_name(&hf).unwrap();
            assert!(gguf.starts_with("blk.17.") && stored == Stored::Same);
            assert_eq!(arch.hf_name(&gguf).as_deref(), Some(hf.as_str()));
        }
        assert_eq!(arch.gguf_name("model.layers.x.mlp.down_proj.weight"), None);
        assert_eq!(arch.hf_name("rope_freqs.weight"), None);
    }
    let q = |arch: Arch| arch.gguf_name("model.layers.0.self_attn.q_proj.weight").unwrap();
    assert_eq!(q(Arch::Llama), ("blk.0.attn_q.weight".into(), Stored::QueryRows));
    assert_eq!(q(Arch::Qwen2).1, Stored::Same);
    assert_eq!(Arch::Gemma2.gguf_name("model.norm.weight").unwrap().1, Stored::PlusOne);
    assert_eq!(Arch::of_model_type("mistral"), Some(Arch::Llama));
    assert_eq!(Arch::of_model_type("mamba"), None);
    let rows: Vec<usize> = (0..8).map(|row| interleaved_row(row, 4)).collect();
    assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
}

#[test]
fn llama3_is_found_in_the_frequencies_that_a_file_holds() {
    for (rotated, theta, factor, high, original) in [
        (128, 5e5, 8.0, 4.0, 8192.0),
        (64, 5e5, 32.0, 4.0, 8192.0),
        (10, 500.0, 8.0, 4.0, 32.0),
        (64, 1e4, 3.5, 2.5, 1000.0),
    ] {
        let factors = llama3_factors(rotated, theta, factor, 1.0, high, original);
        let bytes: Vec<u8> = factors.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut metadata = metadata();
        let mut set = |name: &str, value: Value| {
            metadata.retain(|(key, _)| key != name);
            metadata.push((name.into(), value));
        };
        set("llama.attention.key_length", Value::U32(rotated as u32));
        set("llama.rope.freq_base", Value::F32(theta as f32));
        let tensors = [
            ("token_embd.weight", TensorType::F32, vec![3, 8]),
            ("rope_freqs.weight", TensorType::F32, vec![rotated / 2]),
        ];
        let mut file = file(&metadata, &tensors);
        let end = file.len();
        file[end - bytes.len()..].copy_from_slice(&bytes);
        let header = read(&file).unwrap();
        let config = config_json(&header, &mut Cursor::new(&file)).unwrap();
        let table = &config["rope_scaling"];
        let field = |name: &str| table[name].as_f64().unwrap();
        let found = llama3_factors(
            rotated,
            theta,
            field("factor"),
            field("low_freq_factor"),
            field("high_freq_factor"),
            field("original_max_position_embeddings"),
        );
        let worst = factors.iter().zip(&found).map(|(a, b)| (a - b).abs() / a).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{rotated} {theta}: {table} {worst}");
        if rotated > 10 {
            assert_eq!((field("factor"), field("original_max_position_embeddings")), (factor, original));
        }
        // Divisors by no rule are taken as they are; what divides nothing is refused.
        file[end - 2] ^= 0x20;
        let table = config_json(&header, &mut Cursor::new(&file)).unwrap()["rope_scaling"].clone();
        assert_eq!((&table["rope_type"], &table["attention_factor"]), (&json!("longrope"), &json!(1.0)));
        let last = f32::from_le_bytes(file[end - 4..].try_into().unwrap());
        for factors in ["short_factor", "long_factor"] {
            let found = table[factors].as_array().unwrap();
            assert_eq!(found.len(), rotated / 2);
            assert_eq!(found.last().unwrap().as_f64().unwrap() as f32, last);
        }
        file[end - 1] |= 0x80;
        let text = config_json(&header, &mut Cursor::new(&file)).unwrap_err().to_string();
        assert!(text.contains("rope_freqs"), "{text}");
    }
}

/// A small model of a family with these fields.
fn config_of(model_type: &str, fields: serde_json::Value) -> crate::decoder_config::DecoderConfig {
    let mut all = json!({"model_type": model_type, "vocab_size": 8, "hidden_size": 16, "intermediate_size": 8,
        "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 64});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    crate::decoder_config::DecoderConfig::from_json(&all).unwrap()
}

#[test]
fn what_llama_cpp_would_compute_otherwise_is_refused_by_name() {
    for (arch, model_type, fields, named) in [
        (Arch::Llama, "llama", json!({"hidden_act": "gelu_pytorch_tanh"}), "hidden_act"),
        (
            Arch::Gemma3,
            "gemma3_text",
            json!({"hidden_activation": "silu", "query_pre_attn_scalar": 8}),
            "hidden_activation",
        ),
        (Arch::Qwen3, "qwen3", json!({"attention_bias": true}), "attention_bias"),
        (Arch::SmolLm3, "smollm3", json!({"no_rope_layers": [0, 1, 1, 1]}), "no_rope_layers"),
        (Arch::Gemma2, "gemma2", json!({"query_pre_attn_scalar": 12}), "query_pre_attn_scalar"),
        (
            Arch::Gemma2,
            "gemma2",
            json!({"query_pre_attn_scalar": 8, "attn_logit_softcapping": null}),
            "attn_logit_softcapping",
        ),
        (
            Arch::Gemma2,
            "gemma2",
            json!({"query_pre_attn_scalar": 8, "tie_word_embeddings": false}),
            "tie_word_embeddings",
        ),
        (
            Arch::Llama,
            "llama",
            json!({"rope_scaling": {"rope_type": "longrope", "factor": 2.0, "short_factor": [1, 1, 1, 1],
            "long_factor": [2, 2, 2, 2]}}),
            "longrope",
        ),
        (
            Arch::Qwen2,
            "qwen2",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "attention_factor": 3.0}}),
            "attention_factor",
        ),
        (
            Arch::Qwen2,
            "qwen2",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "truncate": false}}),
            "truncate",
        ),
    ] {
        let refused = metadata::model_metadata(arch, &config_of(model_type, fields)).unwrap_err().to_string();
        assert!(refused.contains(named), "{model_type}: {refused}");
    }
}

#[test]
fn the_rotary_embedding_is_written_as_it_is_computed() {
    let long =
        json!({"rope_type": "longrope", "factor": 2.0, "short_factor": [1.5, 1, 1, 1], "long_factor": [2, 2, 2, 3]});
    let phi = config_of("phi3", json!({"original_max_position_embeddings": 16, "rope_scaling": long}));
    let out = metadata::model_metadata(Arch::Phi3, &phi).unwrap();
    let found = |name: &str| out.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    // By the table's own factor, not by 64 over 16.
    let attention = (1.0 + 2.0_f64.ln() / 16.0_f64.ln()).sqrt() as f32;
    assert_eq!(found("phi3.rope.scaling.attn_factor"), Some(Value::F32(attention)));
    assert_eq!(out.tensors[1], ("rope_factors_short.weight".to_owned(), vec![1.5, 1.0, 1.0, 1.0]));

    let same =
        json!({"rope_type": "longrope", "factor": 1.0, "short_factor": [1.5, 2, 1, 7], "long_factor": [1.5, 2, 1, 7]});
    let out = metadata::model_metadata(Arch::Llama, &config_of("llama", json!({"rope_scaling": same}))).unwrap();
    assert_eq!(out.tensors, [("rope_freqs.weight".to_owned(), vec![1.5, 2.0, 1.0, 7.0])]);
}
