//! Corpora of broken model files: every one gives a clean error, at once, without a large allocation; nothing panics.

use crate::golden;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tb_core::random::{Purpose, Stream};
use tb_nn::checkpoint::{read_json, read_tensors, write_tensors};
use tb_nn::{Decoder, DecoderConfig};

/// The limit of one refusal: one second by the clock of a machine that does nothing else, and the tests share theirs.
const LIMIT: Duration = Duration::from_secs(3);

fn load(dir: &Path) -> Result<(), String> {
    let start = Instant::now();
    let result = Decoder::load(dir, DType::F32, &Device::Cpu).map(drop).map_err(|e| e.to_string());
    let took = start.elapsed();
    assert!(took < LIMIT, "{took:?}: {result:?}");
    result
}

/// A folder with the configuration of a golden model of a few KB.
fn model() -> (golden::TempDir, Vec<u8>) {
    let dir = golden::TempDir::new();
    let config = json!({
        "model_type": "llama", "vocab_size": 4, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 2, "tie_word_embeddings": true,
    });
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let config = DecoderConfig::from_json(&config).unwrap();
    let tensors: Vec<(String, Tensor)> = config
        .weights()
        .into_iter()
        .map(|(name, shape)| (name, Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()))
        .collect();
    let path = dir.path().join("model.safetensors");
    write_tensors(&path, &tensors, &Default::default()).unwrap();
    assert_eq!(load(dir.path()), Ok(()));
    let bytes = std::fs::read(path).unwrap();
    (dir, bytes)
}

#[test]
fn a_safetensors_file_cut_at_every_byte_is_refused() {
    let (dir, whole) = model();
    let path = dir.path().join("model.safetensors");
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let text = load(dir.path()).unwrap_err();
        assert!(text.contains("model.safetensors"), "{length}: {text}");
    }
}

/// A flipped bit of a value may leave a valid file; one of the head may not go unnoticed unless it only renames what is not read.
#[test]
fn a_thousand_flipped_bits_never_panic() {
    let (dir, whole) = model();
    let path = dir.path().join("model.safetensors");
    let head = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut stream = Stream::new(5, 0, Purpose::Init, 1);
    let mut refused = 0;
    for round in 0..1000 {
        let mut bytes = whole.clone();
        // Most of them where the structure is.
        let end = if round % 4 == 0 { whole.len() } else { head };
        let bit = stream.below(8 * end as u64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        if let Err(text) = load(dir.path()) {
            assert!(text.contains("model.safetensors"), "bit {bit}: {text}");
            refused += 1;
        }
    }
    assert!(refused > 700, "{refused}");
}

fn with_header(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0u8; data]].concat()
}

#[test]
fn headers_that_lie_are_refused_by_name() {
    let (dir, whole) = model();
    let path = dir.path().join("model.safetensors");
    let entry = |dtype: &str, shape: &str, from: usize, to: usize| {
        format!("{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
    };
    let two = |a: String, b: String| format!("{{\"a\":{a},\"b\":{b}}}");
    let f32s = |from, to| entry("F32", "[2]", from, to);
    for (what, header, data) in [
        ("overlap", two(f32s(0, 8), f32s(4, 12)), 12),
        ("gap", two(f32s(0, 8), f32s(12, 20)), 20),
        ("gap at the end", two(f32s(0, 8), f32s(8, 16)), 24),
        ("beyond the end", two(f32s(0, 8), f32s(8, 16)), 12),
        ("backwards", two(f32s(0, 8), f32s(16, 8)), 16),
        ("wrong size for the dtype", format!("{{\"a\":{}}}", entry("BF16", "[2]", 0, 8)), 8),
        ("overflowing shape", format!("{{\"a\":{}}}", entry("F32", "[4294967296,4294967296,4294967296]", 0, 8)), 8),
        ("negative shape", format!("{{\"a\":{}}}", entry("F32", "[-2]", 0, 8)), 8),
        ("unknown dtype", format!("{{\"a\":{}}}", entry("F13", "[2]", 0, 8)), 8),
        ("no dtype", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}".to_owned(), 8),
        (
            "twice the dtype",
            "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}".into(),
            8,
        ),
        ("nested", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), 8),
        ("a list", "[]".into(), 8),
        ("huge offsets", format!("{{\"a\":{}}}", entry("F32", "[2]", 0, usize::MAX)), 8),
    ] {
        std::fs::write(&path, with_header(&header, data)).unwrap();
        let text = load(dir.path()).unwrap_err();
        assert!(text.contains("model.safetensors") && text.contains("damaged"), "{what}: {text}");
    }
    // The same tensor twice, with the same place: every other check passes.
    let header = String::from_utf8(whole[8..8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize].to_vec());
    let header = header.unwrap();
    let name = "model.norm.weight";
    let at = header.find(&format!("\"{name}\"")).unwrap();
    let end = at + header[at..].find('}').unwrap() + 1;
    let doubled = format!("{},{}", &header[..end], &header[at..]);
    let data = &whole[8 + header.len()..];
    std::fs::write(&path, [with_header(&doubled, 0).as_slice(), data].concat()).unwrap();
    let text = load(dir.path()).unwrap_err();
    assert!(text.contains(name) && text.contains("twice"), "{text}");
    // A head of more than 100 MB, in a file that has it (sparse: it takes no room).
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(120 << 20).unwrap();
    use std::io::Write;
    (&file).write_all(&(110u64 << 20).to_le_bytes()).unwrap();
    assert!(load(dir.path()).unwrap_err().contains("damaged"));
    // A zip whose directory is at the end of a valid file.
    std::fs::write(&path, [whole.as_slice(), b"PK\x05\x06", &[0; 18]].concat()).unwrap();
    assert!(load(dir.path()).unwrap_err().contains("damaged"));
}

#[test]
fn a_weight_that_is_no_number_is_named_with_its_place() {
    for (bad, dtype) in [(f32::NAN, DType::F32), (f32::INFINITY, DType::BF16), (f32::NEG_INFINITY, DType::F16)] {
        let (dir, _) = model();
        let path = dir.path().join("model.safetensors");
        let name = "model.layers.0.mlp.up_proj.weight";
        let tensors: Vec<(String, Tensor)> = read_tensors(&path, &Device::Cpu)
            .unwrap()
            .into_iter()
            .map(|(n, t)| {
                let mut values = golden::floats(&t);
                if n == name {
                    values[7] = bad;
                }
                (n, Tensor::from_vec(values, t.dims(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap())
            })
            .collect();
        write_tensors(&path, &tensors, &Default::default()).unwrap();
        let text = load(dir.path()).unwrap_err();
        assert!(text.contains(name) && text.contains("element 7"), "{text}");
        let half = Decoder::load(dir.path(), DType::BF16, &Device::Cpu).map(drop).unwrap_err().to_string();
        assert!(half.contains(name) && half.contains("element 7"), "{half}");
    }
}

/// Every field of every family set to each of these, or left out: an error that names a field, or a model whose parts can be listed.
#[test]
fn every_field_of_a_config_may_be_anything() {
    let hostile = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(3),
        json!(-1),
        json!(-1e300),
        json!(1e300),
        json!(1.5),
        json!(u64::MAX),
        json!(1u64 << 31),
        json!((1u64 << 31) - 1),
        json!(""),
        json!("x".repeat(100_000)),
        json!([]),
        json!([1, "a", null, {}]),
        json!(vec![1; 100_000]),
        json!({}),
        json!({"rope_type": "yarn"}),
        json!({"rope_type": "longrope", "short_factor": [1e300], "long_factor": "x", "factor": 1e-300}),
        json!({"rope_type": "dynamic", "factor": 1e308, "rope_theta": 1e308}),
        json!({"full_attention": 7, "sliding_attention": []}),
        json!({"full_attention": {"full_attention": {"full_attention": {}}}}),
    ];
    let mut refused = 0usize;
    for family in ["llama", "llama_yarn", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2"] {
        let whole = golden::json(&format!("families/{family}"), "config.json");
        let mut fields: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
        let more = [
            "rope_scaling",
            "rope_theta",
            "rope_local_base_freq",
            "partial_rotary_factor",
            "quantization_config",
            "original_max_position_embeddings",
            "no_rope_layers",
            "text_config",
            "resid_pdrop",
            "mlp_bias",
            "use_bidirectional_attention",
            "head_dim",
            "sliding_window",
            "max_window_layers",
            "layer_types",
        ];
        fields.extend(more.map(str::to_owned));
        let mut tried = Vec::new();
        for field in &fields {
            for value in &hostile {
                let mut broken = whole.clone();
                broken[field.as_str()] = value.clone();
                tried.push((field, broken));
            }
            let mut broken = whole.clone();
            broken.as_object_mut().unwrap().shift_remove(field);
            tried.push((field, broken));
        }
        for (field, broken) in tried {
            let start = Instant::now();
            match DecoderConfig::from_json(&broken) {
                Ok(config) => {
                    // At most 1024 layers: listing them is cheap whatever the sizes.
                    assert!(config.parameter_count() > 0);
                    assert_eq!(config.layers.len(), config.num_hidden_layers);
                    DecoderConfig::from_json(&config.to_json()).unwrap_or_else(|e| panic!("{family} {field}: {e}"));
                }
                Err(e) => {
                    let text = e.to_string();
                    assert!(text.starts_with('`') && text.len() < 1000, "{family} {field}: {text}");
                    refused += 1;
                }
            }
            assert!(start.elapsed() < LIMIT, "{family} {field}");
        }
    }
    assert!(refused > 2000, "{refused}");
}

/// `config.json` as bytes: cut at every byte, with flipped bits, NaN as Python writes it, nested beyond any stack, huge.
#[test]
fn a_config_file_of_any_bytes_is_refused_by_name() {
    let (dir, _) = model();
    let path = dir.path().join("config.json");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(load(dir.path()).unwrap_err().contains("config.json"), "{length}");
    }
    let mut stream = Stream::new(5, 0, Purpose::Init, 2);
    for _ in 0..1000 {
        let mut bytes = whole.clone();
        let bit = stream.below(8 * whole.len() as u64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        // It may still be a configuration, of this model or of one whose weights are not these.
        if let Err(text) = load(dir.path()) {
            assert!(text.contains("config.json") || text.contains("model.safetensors"), "bit {bit}: {text}");
        }
    }
    let text = String::from_utf8(whole).unwrap();
    for broken in [
        text.replace("\"hidden_size\":4", "\"hidden_size\":NaN"),
        text.replace("\"hidden_size\":4", "\"hidden_size\":1e999"),
        text.replace("\"hidden_size\":4", &format!("\"hidden_size\":{}4", "0".repeat(50_000))),
        format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
        "[".repeat(1_000_000),
    ] {
        std::fs::write(&path, broken).unwrap();
        assert!(load(dir.path()).unwrap_err().contains("config.json"));
    }
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(load(dir.path()).unwrap_err().contains("config.json"));
}

/// Sizes that fit the configuration's limits but no file: the first tensor tells, before anything is allocated.
#[test]
fn a_model_far_larger_than_its_file_is_refused_at_once() {
    let (dir, _) = model();
    let path = dir.path().join("config.json");
    let whole: Value = read_json(&path).unwrap();
    for (field, value) in [
        ("vocab_size", json!(1 << 24)),
        ("hidden_size", json!(4096)),
        ("intermediate_size", json!(1 << 24)),
        ("num_hidden_layers", json!(1024)),
        ("head_dim", json!(4096)),
    ] {
        let mut broken = whole.clone();
        broken[field] = value;
        std::fs::write(&path, broken.to_string()).unwrap();
        let text = load(dir.path()).unwrap_err();
        assert!(text.contains("tensor"), "{field}: {text}");
    }
}
