//! Whole models on a quantised base: logits, gradients, what is refused, and what is left of a fact after merging.

use crate::golden;
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use tb_core::quantization::{FourBitType, Quantization, Scales};
use tb_core::random::{Purpose, Stream};
use tb_core::recipe::Dtype;
use tb_nn::checkpoint::{read_json, read_tensors, write_json, write_tensors};
use tb_nn::optim::adamw::{AdamW, AdamWConfig};
use tb_nn::optim::{Gradients, clip};
use tb_nn::{
    AdapterUse, Batch, Checkpointing, Decoder, DecoderConfig, Flow, GenerationConfig, LoraConfig, Pass, Row,
    TargetModules, generate,
};

const NF4: Quantization =
    Quantization::FourBit { kind: FourBitType::Nf4, scales: Scales::Double, compute: Dtype::Auto };
const FP4: Quantization = Quantization::FourBit { kind: FourBitType::Fp4, scales: Scales::Plain, compute: Dtype::Auto };

fn load(folder: &Path, quantization: Option<Quantization>) -> tb_nn::Result<Decoder> {
    Decoder::load_as(folder, DType::F32, quantization, &Device::Cpu)
}

fn random_batch(golden: &HashMap<String, Tensor>) -> Batch {
    let rows: Vec<Vec<i64>> = golden["ids"].to_vec2().unwrap();
    let rows: Vec<Vec<u32>> = rows.into_iter().map(|r| r.into_iter().map(|id| id as u32).collect()).collect();
    Batch::from_ids(&rows, 0).unwrap()
}

#[test]
fn logits_are_those_of_bitsandbytes_weights() {
    let all = read_tensors(&golden::folder("quant/logits.safetensors"), &Device::Cpu).unwrap();
    let (plain, stored) = (golden::folder("llama_tied"), golden::folder("quant/checkpoint"));
    let batch = random_batch(&all);
    let original = golden::decoder("llama_tied").logits(&batch).unwrap();
    for (name, folder, quantization) in [
        ("nf4.double", &plain, Some(NF4)),
        ("fp4.plain", &plain, Some(FP4)),
        ("int8", &plain, Some(Quantization::EightBit)),
        ("stored", &stored, None),
        ("stored", &stored, Some(NF4)),
    ] {
        let decoder = load(folder, quantization).unwrap();
        assert!(decoder.quantization().is_some());
        let logits = decoder.logits(&batch).unwrap();
        let difference = golden::max_difference(&logits, &all[name]);
        eprintln!("{name}: logits differ by at most {difference:.2e}");
        assert!(difference <= 1e-4, "{name}: {difference}");
        assert!(golden::max_difference(&logits, &original) > 1e-3, "{name} must round something");
    }
}

fn lora() -> LoraConfig {
    LoraConfig { r: 8, lora_alpha: 16.0, target_modules: TargetModules::AllLinear, ..LoraConfig::default() }
}

/// Loss and gradients, named.
fn gradients(decoder: &Decoder, rows: &[Row]) -> (f32, Vec<(String, Vec<f32>)>) {
    let batch = Batch::from_rows(rows, 0).unwrap();
    let loss = decoder.loss(&batch, Pass::Train { seed: 1, step: 0, first_row: 0 }).unwrap();
    let mut found = Gradients::new();
    found.add(&decoder.trainable(), &loss.backward().unwrap()).unwrap();
    let named = found.iter().map(|(name, g)| (name.to_owned(), g.to_vec())).collect();
    (loss.to_scalar().unwrap(), named)
}

#[test]
fn only_the_adapter_learns_and_recomputing_changes_no_bit() {
    let rows = golden::rows(&golden::json("peft_llama", "training.json")["rows"]);
    for quantization in [NF4, FP4, Quantization::EightBit] {
        let mut decoder = load(&golden::folder("llama_tied"), Some(quantization)).unwrap();
        decoder.load_adapter(&golden::folder("peft_llama").join("start"), AdapterUse::Trained).unwrap();
        let kept = gradients(&decoder, &rows);
        assert!(kept.1.iter().all(|(name, g)| name.contains("lora_") && g.iter().any(|v| *v != 0.0)));
        decoder.set_checkpointing(Checkpointing::PerBlock);
        assert_eq!(gradients(&decoder, &rows), kept);
    }
}

#[test]
fn a_quantised_base_is_neither_merged_into_nor_written() {
    let mut decoder = load(&golden::folder("llama_tied"), Some(NF4)).unwrap();
    decoder.add_lora(&lora(), 1).unwrap();
    let dir = golden::TempDir::new();
    let refused = [
        decoder.save_merged(dir.path(), DType::F32),
        decoder.save_full(dir.path(), DType::F32),
        decoder.save_gguf(&dir.path().join("model.gguf"), tb_nn::GgufFormat::F16, "model", &[]),
        decoder.merge_adapter(),
    ];
    for error in refused {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("load it unquantised"), "{error}");
    }
    assert!(decoder.lora().is_some(), "a refusal changes nothing");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_quantised_checkpoint_is_refused_by_tensor() {
    let source = golden::folder("quant/checkpoint");
    let whole = read_tensors(&source.join("model.safetensors"), &Device::Cpu).unwrap();
    let q = "model.layers.1.self_attn.q_proj.weight";
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let text = |text: &str| Tensor::from_slice(text.as_bytes(), text.len(), &Device::Cpu).unwrap();
    let state = format!("{q}.quant_state.bitsandbytes__nf4");
    let cases: Vec<(String, Option<Tensor>)> = vec![
        (q.to_owned(), None),
        (q.to_owned(), Some(zeros(&[511, 1], DType::U8))),
        (q.to_owned(), Some(zeros(&[512, 1], DType::F32))),
        (format!("{q}.nested_absmax"), None),
        (format!("{q}.nested_absmax"), Some(Tensor::new(&[f32::NAN], &Device::Cpu).unwrap())),
        (format!("{q}.absmax"), Some(zeros(&[15], DType::U8))),
        (format!("{q}.quant_map"), Some(zeros(&[16], DType::F32))),
        (format!("{q}.nested_quant_map"), Some(zeros(&[256], DType::F32))),
        (state.clone(), None),
        (state.clone(), Some(text("not json"))),
        (state.clone(), Some(text(r#"{"blocksize": 64, "shape": [32, 31]}"#))),
        (state, Some(text(r#"{"blocksize": 4096, "shape": [32, 32]}"#))),
    ];
    for (name, value) in cases {
        let dir = golden::TempDir::new();
        std::fs::copy(source.join("config.json"), dir.path().join("config.json")).unwrap();
        let mut tensors = whole.clone();
        match value {
            Some(value) => tensors.insert(name.clone(), value),
            None => tensors.remove(&name),
        };
        let tensors: Vec<_> = tensors.into_iter().collect();
        write_tensors(&dir.path().join("model.safetensors"), &tensors, &Default::default()).unwrap();
        let error = load(dir.path(), None).err().expect("it is damaged").to_string();
        assert!(error.contains("model.layers.1.self_attn.q_proj.weight"), "{name}: {error}");
    }
    let error = load(&source, Some(FP4)).err().expect("it is nf4").to_string();
    assert!(error.contains("quantization_config"), "{error}");
    let dir = golden::TempDir::new();
    let mut config = read_json(&source.join("config.json")).unwrap();
    config["quantization_config"]["quant_method"] = json!("awq");
    write_json(&dir.path().join("config.json"), &config).unwrap();
    assert!(load(dir.path(), None).err().unwrap().to_string().contains("awq"));
}

/// Keys of three tokens and answers of three, all random.
fn facts(n: usize) -> Vec<Row> {
    let stream = Stream::new(7, 0, Purpose::Shuffle, 1);
    (0..n)
        .map(|fact| {
            let ids: Vec<u32> = (0..6).map(|i| 3 + stream.block_at((fact * 6 + i) as u32)[0] % 93).collect();
            let labels = (0..6).map(|i| if i < 3 { -100 } else { ids[i] as i32 }).collect();
            Row { ids, labels }
        })
        .collect()
}

/// How many answers a model gives as they were learned.
fn recalled(decoder: &Decoder, facts: &[Row]) -> usize {
    let prompts: Vec<Vec<u32>> = facts.iter().map(|f| f.ids[..3].to_vec()).collect();
    let config = GenerationConfig { max_new_tokens: 3, ..GenerationConfig::default() };
    let answers = generate(decoder, &prompts, &config, &mut |_, _| Flow::Continue).unwrap();
    answers.iter().zip(facts).filter(|(answer, fact)| answer.ids == fact.ids[3..]).count()
}

#[test]
fn facts_learned_on_a_quantised_base_are_recalled_after_merging_into_the_original() {
    let facts = facts(20);
    let config = DecoderConfig::from_json(&json!({
        "model_type": "llama", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": false,
    }))
    .unwrap();
    let dir = golden::TempDir::new();
    let (base, adapter, merged) = (dir.path().join("base"), dir.path().join("adapter"), dir.path().join("merged"));
    Decoder::init(config, 3, 0.15, &Device::Cpu).unwrap().save_full(&base, DType::F32).unwrap();
    for quantization in [NF4, Quantization::EightBit] {
        let mut decoder = load(&base, Some(quantization)).unwrap();
        assert_eq!(recalled(&decoder, &facts), 0);
        decoder.add_lora(&LoraConfig { r: 16, lora_alpha: 32.0, ..lora() }, 1).unwrap();
        let batch = Batch::from_rows(&facts, 0).unwrap();
        let mut optimiser = AdamW::new(decoder.trainable(), AdamWConfig::default());
        let mut last = f32::NAN;
        for step in 0..800 {
            let loss = decoder.loss(&batch, Pass::Train { seed: 1, step, first_row: 0 }).unwrap();
            let loss = (loss / batch.supervised_tokens() as f64).unwrap();
            last = loss.to_scalar().unwrap();
            if last < 0.02 {
                break;
            }
            let mut found = Gradients::new();
            found.add(&decoder.trainable(), &loss.backward().unwrap()).unwrap();
            clip::clip(&mut found, 1.0);
            optimiser.step(&found, 5e-3).unwrap();
        }
        eprintln!("{quantization:?}: loss {last} after {} steps", optimiser.step_count());
        assert!(last < 0.02, "the facts were not learned: {last}");
        assert_eq!(recalled(&decoder, &facts), 20);
        decoder.save_adapter(&adapter, "base").unwrap();
        let mut whole = load(&base, None).unwrap();
        whole.load_adapter(&adapter, AdapterUse::Frozen).unwrap();
        whole.save_merged(&merged, DType::F32).unwrap();
        assert_eq!(recalled(&load(&merged, None).unwrap(), &facts), 20);
    }
}
