//! GGUF files of llama.cpp's own writer as bases: their logits against transformers, and what happens when they are damaged.

use crate::golden;
use candle_core::{DType, Device};
use std::path::PathBuf;
use tb_nn::checkpoint::read_tensors;
use tb_nn::{AdapterUse, Decoder, GenerationConfig, GgufFormat};

const FILES: [(&str, &str); 3] = [
    ("types.gguf", "types.safetensors"),
    ("llama_f16.gguf", "llama_f16.logits.safetensors"),
    ("qwen2_q8_0.gguf", "qwen2_q8_0.logits.safetensors"),
];

fn file(name: &str) -> PathBuf {
    golden::folder("gguf").join(name)
}

#[test]
fn logits_equal_those_of_the_same_values_in_transformers() {
    for (model, expected) in FILES {
        let expected = read_tensors(&file(expected), &Device::Cpu).unwrap();
        let decoder = Decoder::load(&file(model), DType::F32, golden::device()).unwrap();
        let batch = golden::batch(&expected);
        let difference =
            golden::logit_difference(&decoder.logits(&batch).unwrap(), &expected["logits"], &batch.lengths);
        eprintln!("{model}: largest difference of a logit {difference:e}");
        assert!(difference <= 1e-4, "{model}: {difference}");
        Decoder::load(&file(model), DType::BF16, golden::device()).unwrap();
    }
}

/// Every golden model out and back in f32: the same numbers but for the way through `1 + weight` and the rotary factors.
#[test]
fn every_family_goes_out_and_comes_back() {
    let dir = golden::TempDir::new();
    for name in golden::MODELS {
        let (path, golden) = (dir.path().join(format!("{name}.gguf")), golden::tensors(name));
        golden::decoder(name).save_gguf(&path, GgufFormat::F32, name, &[]).unwrap();
        let back = Decoder::load(&path, DType::F32, golden::device()).unwrap();
        let batch = golden::batch(&golden);
        let difference = golden::logit_difference(&back.logits(&batch).unwrap(), &golden["logits"], &batch.lengths);
        eprintln!("{name}: largest difference of a logit through GGUF {difference:e}");
        assert!(difference <= 1e-4, "{name}: {difference}");
        // Once more: what was read back is written the same.
        let again = dir.path().join(format!("{name}-again.gguf"));
        back.save_gguf(&again, GgufFormat::F32, name, &[]).unwrap();
        let (first, second) = (std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
        assert_eq!(first.len(), second.len(), "{name}");
    }
}

#[test]
fn an_adapter_is_merged_into_the_file() {
    let (dir, golden) = (golden::TempDir::new(), golden::tensors("peft_llama"));
    let mut decoder = golden::decoder("llama_tied");
    decoder.load_adapter(&golden::folder("peft_llama").join("start"), AdapterUse::Frozen).unwrap();
    let batch = golden::batch(&golden);
    for (format, limit) in [(GgufFormat::F32, 1e-4), (GgufFormat::F16, 2e-2), (GgufFormat::Q8_0, 0.3)] {
        let path = dir.path().join("merged.gguf");
        decoder.save_gguf(&path, format, "merged", &[]).unwrap();
        let logits = Decoder::load(&path, DType::F32, golden::device()).unwrap().logits(&batch).unwrap();
        let difference = golden::logit_difference(&logits, &golden["logits"], &batch.lengths);
        eprintln!("{format:?}: {difference:e}");
        assert!(difference <= limit, "{format:?}: {difference}");
    }
}

#[test]
fn a_file_without_a_tokenizer_has_no_end_tokens() {
    assert!(GenerationConfig::read(&file("types.gguf")).unwrap().eos_token_ids.is_empty());
}

/// Loads damaged bytes; what is loaded all the same must compute.
fn load(bytes: &[u8]) -> Result<(), String> {
    let dir = golden::TempDir::new();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    match Decoder::load(&path, DType::F32, golden::device()) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("model.gguf"), "{text}");
            Err(text)
        }
    }
}

#[test]
fn cut_at_every_byte_it_is_refused_by_name() {
    let whole = std::fs::read(file("qwen2_q8_0.gguf")).unwrap();
    // The last tensor is padded to 32 bytes, which hold nothing.
    let padding = whole.iter().rev().take(31).take_while(|b| **b == 0).count();
    for length in (0..whole.len() - padding).filter(|n| *n < 4096 || n % 97 == 0 || *n + padding + 64 > whole.len()) {
        assert!(load(&whole[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_thousand_flipped_bits_never_panic() {
    let whole = std::fs::read(file("llama_f16.gguf")).unwrap();
    let mut refused = 0;
    for i in 0..1000_u64 {
        let mut bytes = whole.clone();
        // Half of them in the head, where they do harm.
        let range = if i % 2 == 0 { 4096 } else { whole.len() as u64 } * 8;
        let bit = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) % range;
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        refused += usize::from(load(&bytes).is_err());
    }
    eprintln!("{refused} of 1000 refused, the others are other numbers");
    assert!(refused > 100, "{refused}");
}

/// What llama.cpp would compute otherwise is refused by the name of the setting, and what it would not is the same through the file.
#[test]
fn a_family_is_written_as_it_is_or_not_at_all() {
    let dir = golden::TempDir::new();
    let path = dir.path().join("model.gguf");
    let save = |family: &str| {
        let name = format!("families/{family}");
        let saved = golden::decoder(&name).save_gguf(&path, GgufFormat::F32, family, &[]);
        (golden::tensors(&name), saved)
    };
    for family in ["llama", "llama_yarn", "phi3"] {
        let (golden, saved) = save(family);
        saved.unwrap();
        let back = Decoder::load(&path, DType::F32, golden::device()).unwrap();
        let batch = golden::batch(&golden);
        let difference = golden::logit_difference(&back.logits(&batch).unwrap(), &golden["logits"], &batch.lengths);
        eprintln!("{family}: largest difference of a logit through GGUF {difference:e}");
        assert!(difference <= 1e-4, "{family}: {difference}");
        std::fs::remove_file(&path).unwrap();
    }
    for (family, field) in [
        ("llama_longrope", "longrope"),
        ("gemma2", "query_pre_attn_scalar"),
        ("gemma3", "query_pre_attn_scalar"),
        ("smollm3", "no_rope_layers"),
        ("qwen3", "attention_bias"),
        ("olmo2", "attention_bias"),
    ] {
        let error = save(family).1.unwrap_err().to_string();
        assert!(error.contains(field), "{family}: {error}");
        assert!(!path.exists(), "{family}");
    }
}
