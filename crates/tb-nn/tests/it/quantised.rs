//! Whole models on a quantised base: logits, gradients, what is refused, and what is left of a fact after merging.

use crate::golden;
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tb_core::quantization::{FourBitType, Quantization, Scales};
use tb_core::random::{Purpose, Stream};
use tb_core::recipe::Dtype;
use tb_nn::checkpoint::{read_json, read_tensors, write_json, write_tensors};
use tb_nn::optim::adamw::{AdamW, AdamWConfig};
use tb_nn::optim::{Gradients, clip};
use tb_nn::quant::{Quantised, Rounding};
use tb_nn::{
    AdapterUse, Batch, Checkpointing, Decoder, DecoderConfig, Flow, GenerationConfig, LoraConfig, LoraForm, LoraInit,
    Pass, Row, TargetModules, generate,
};

const NF4: Quantization =
    Quantization::FourBit { kind: FourBitType::Nf4, scales: Scales::Double, compute: Dtype::Auto };
const FP4: Quantization = Quantization::FourBit { kind: FourBitType::Fp4, scales: Scales::Plain, compute: Dtype::Auto };

fn load(folder: &Path, quantization: Option<Quantization>) -> tb_nn::Result<Decoder> {
    Decoder::load_as(folder, DType::F32, quantization, golden::device())
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
    let stored_int8 = golden::folder("quant/checkpoint_int8");
    let batch = random_batch(&all);
    let original = golden::decoder("llama_tied").logits(&batch).unwrap();
    for (name, folder, quantization) in [
        ("nf4.double", &plain, Some(NF4)),
        ("fp4.plain", &plain, Some(FP4)),
        ("int8", &plain, Some(Quantization::EightBit)),
        ("stored", &stored, None),
        ("stored", &stored, Some(NF4)),
        ("int8", &stored_int8, None),
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
    let named = found.values().unwrap().into_iter().map(|(name, g)| (name.to_owned(), g.into_owned())).collect();
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
    let scales = "model.layers.1.self_attn.q_proj.SCB".to_owned();
    let cases_int8 = vec![
        (scales.clone(), Some(zeros(&[31], DType::F32))),
        (scales.clone(), Some(zeros(&[32], DType::BF16))),
        (scales, Some(Tensor::full(f32::INFINITY, 32, &Device::Cpu).unwrap())),
        (q.to_owned(), Some(zeros(&[32, 31], DType::U8))),
        (q.to_owned(), Some(zeros(&[32, 32], DType::F32))),
        (q.to_owned(), None),
    ];
    let source_int8 = golden::folder("quant/checkpoint_int8");
    let whole_int8 = read_tensors(&source_int8.join("model.safetensors"), &Device::Cpu).unwrap();
    let all = cases.into_iter().map(|case| (&source, &whole, case));
    for (source, whole, (name, value)) in
        all.chain(cases_int8.into_iter().map(|case| (&source_int8, &whole_int8, case)))
    {
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
        assert!(error.contains("model.layers.1.self_attn.q_proj"), "{name}: {error}");
    }
    let error = load(&source, Some(FP4)).err().expect("it is nf4").to_string();
    assert!(error.contains("quantization_config"), "{error}");
    let dir = golden::TempDir::new();
    let mut config = read_json(&source.join("config.json")).unwrap();
    config["quantization_config"]["quant_method"] = json!("awq");
    write_json(&dir.path().join("config.json"), &config).unwrap();
    assert!(load(dir.path(), None).err().unwrap().to_string().contains("awq"));
}

const TRAIN: Pass = Pass::Train { seed: 1, step: 0, first_row: 0 };

/// A kind of adapter of `tests/golden/nn/adapters`: its base, its configuration and rows.
fn kind(name: &str) -> (PathBuf, LoraConfig, Batch) {
    let place = format!("adapters/{name}");
    let record = golden::json(&place, "training.json");
    let base = record["base"].as_str().unwrap();
    let config = golden::decoder(base)
        .load_adapter(&golden::folder(&place).join("start"), AdapterUse::Frozen)
        .expect("a golden adapter fits its base");
    (golden::folder(base), config, Batch::from_rows(&golden::rows(&record["rows"]), 0).unwrap())
}

/// A copy of a model whose linears hold the dequantised weights in plain f32.
fn dequantised(base: &Path, quantization: Quantization) -> golden::TempDir {
    let dir = golden::TempDir::new();
    let original = load(base, None).unwrap();
    let linears = original.lora_targets();
    original.save_full(dir.path(), DType::F32).unwrap();
    let file = dir.path().join("model.safetensors");
    let tensors: Vec<(String, Tensor)> = read_tensors(&file, &Device::Cpu)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| {
            if !linears.iter().any(|path| name == format!("{path}.weight")) {
                return (name, tensor);
            }
            let matrix = Quantised::new(&golden::floats(&tensor), tensor.dims2().unwrap(), quantization, Rounding::F32);
            (name, matrix.unwrap().dequantise().unwrap())
        })
        .collect();
    write_tensors(&file, &tensors, &Default::default()).unwrap();
    dir
}

/// Moves what trains away from zeros, and gives `other` the same values.
fn moved_alike(decoder: &Decoder, other: &Decoder) {
    for ((name, var), (same, copy)) in decoder.trainable().into_iter().zip(other.trainable()) {
        assert_eq!(name, same);
        let values = (var.as_tensor() + 0.02).unwrap();
        var.set(&values).unwrap();
        copy.set(&values).unwrap();
    }
}

#[test]
fn every_kind_of_adapter_learns_on_a_quantised_base_as_on_its_dequantised_weights() {
    for (name, quantization) in [
        ("dora", NF4),
        ("dora_ends", Quantization::EightBit),
        ("lora_bias", FP4),
        ("bias_all", NF4),
        ("save_linear", NF4),
        ("save_head", Quantization::EightBit),
        ("olora", NF4),
    ] {
        let (base, config, batch) = kind(name);
        let dense = dequantised(&base, quantization);
        for dropout in [0.0, 0.3] {
            let config = LoraConfig { lora_dropout: dropout, ..config.clone() };
            let (mut ours, mut plain) = (load(&base, Some(quantization)).unwrap(), load(dense.path(), None).unwrap());
            let untouched = ours.logits(&batch).unwrap();
            ours.add_lora(&config, 7).unwrap();
            plain.add_lora(&config, 7).unwrap();
            // A copy that trains starts from the weight as the files hold it.
            if config.modules_to_save.is_empty() {
                let start = golden::max_difference(&ours.logits(&batch).unwrap(), &untouched);
                assert!(start <= 1e-4, "{name} begins at the base: {start}");
            }
            moved_alike(&ours, &plain);
            let bits = |t: &Tensor| golden::floats(t).into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(&ours.logits(&batch).unwrap()), bits(&plain.logits(&batch).unwrap()), "{name}");
            let grads = |d: &Decoder| d.loss(&batch, TRAIN).unwrap().backward().unwrap();
            let (a, b) = (grads(&ours), grads(&plain));
            for ((weight, x), (_, y)) in ours.trainable().iter().zip(plain.trainable()) {
                let (x, y) = (a.get(x.as_tensor()).unwrap(), b.get(y.as_tensor()).unwrap());
                assert!(golden::floats(x).iter().any(|v| *v != 0.0), "{name}: {weight} has no gradient");
                assert_eq!(bits(x), bits(y), "{name}: {weight}");
            }
            ours.set_checkpointing(Checkpointing::PerBlock);
            let again = grads(&ours);
            for (weight, var) in ours.trainable() {
                let (x, y) = (a.get(var.as_tensor()).unwrap(), again.get(var.as_tensor()).unwrap());
                assert_eq!(bits(x), bits(y), "{name}: {weight} recomputed");
            }
        }
    }
}

/// DoRA holds its norms constant in the backward pass: of it only the lengths are checked.
#[test]
fn gradients_on_a_quantised_base_are_those_of_finite_differences() {
    for name in ["dora", "lora_bias", "bias_all", "save_linear", "olora"] {
        let (base, config, batch) = kind(name);
        let mut decoder = load(&base, Some(NF4)).unwrap();
        decoder.add_lora(&config, 7).unwrap();
        moved_alike(&decoder, &decoder);
        let loss = || f64::from(decoder.loss(&batch, TRAIN).unwrap().to_scalar::<f32>().unwrap());
        let grads = decoder.loss(&batch, TRAIN).unwrap().backward().unwrap();
        for (weight, var) in decoder.trainable() {
            if config.form == LoraForm::WeightDecomposed && !weight.contains("magnitude") {
                continue;
            }
            let (slope, size) = golden::slope_and_length(&var, grads.get(var.as_tensor()).unwrap(), loss);
            assert!((slope - size).abs() <= 1e-3 * size.max(1.0), "{name}: {weight}: {slope} instead of {size}");
        }
    }
}

#[test]
fn a_copy_that_trains_starts_from_the_weight_before_it_was_quantised() {
    let lora = LoraConfig { modules_to_save: vec!["o_proj".into(), "down_proj".into()], ..LoraConfig::default() };
    let saved = |decoder: &Decoder| -> Vec<(String, Tensor)> {
        let all = decoder.trainable().into_iter().filter(|(name, _)| !name.contains("lora_"));
        all.map(|(name, var)| (name.trim_start_matches("base_model.model.").to_owned(), var.as_tensor().clone()))
            .collect()
    };
    let files = read_tensors(&golden::folder("llama_tied/model.safetensors"), &Device::Cpu).unwrap();
    let mut decoder = load(&golden::folder("llama_tied"), Some(NF4)).unwrap();
    decoder.add_lora(&lora, 1).unwrap();
    let found = saved(&decoder);
    assert!(found.len() >= 4);
    for (name, tensor) in &found {
        assert_eq!(golden::max_difference(tensor, &files[name]), 0.0, "{name}");
    }
    // Files that are quantised themselves have no more than that to give.
    let mut stored = load(&golden::folder("quant/checkpoint"), None).unwrap();
    stored.add_lora(&lora, 1).unwrap();
    for ((name, ours), (_, original)) in saved(&stored).iter().zip(&found) {
        let gap = golden::max_difference(ours, original);
        assert!(gap > 0.0 && gap < 0.1, "{name}: {gap}");
    }
}

#[test]
fn every_kind_of_adapter_comes_back_and_merges_into_the_original() {
    for name in ["dora", "dora_ends", "bias_all", "save_linear", "olora"] {
        let (base, config, batch) = kind(name);
        let dir = golden::TempDir::new();
        let mut decoder = load(&base, Some(NF4)).unwrap();
        decoder.add_lora(&config, 7).unwrap();
        moved_alike(&decoder, &decoder);
        assert!(decoder.merge_adapter().unwrap_err().to_string().contains("load it unquantised"), "{name}");
        decoder.save_adapter(dir.path(), "base").unwrap();
        assert!(dir.path().join(tb_core::quantization::FILE).is_file());
        let mut again = load(&base, Some(NF4)).unwrap();
        again.load_adapter(dir.path(), AdapterUse::Frozen).unwrap();
        let gap = golden::max_difference(&again.logits(&batch).unwrap(), &decoder.logits(&batch).unwrap());
        assert!(gap <= 1e-5, "{name}: {gap}");
        let mut whole = load(&base, None).unwrap();
        whole.load_adapter(dir.path(), AdapterUse::Frozen).unwrap();
        let before = whole.logits(&batch).unwrap();
        whole.merge_adapter().unwrap();
        let gap = golden::max_difference(&whole.logits(&batch).unwrap(), &before);
        assert!(gap <= 1e-4, "{name}: {gap}");
    }
}

#[test]
fn what_needs_the_weights_as_they_were_is_refused_on_a_quantised_base() {
    let (base, config, _) = kind("pissa");
    for init in [LoraInit::Pissa, LoraInit::PissaIterated(4)] {
        let mut decoder = load(&base, Some(NF4)).unwrap();
        let error = decoder.add_lora(&LoraConfig { init, ..config.clone() }, 1).unwrap_err().to_string();
        assert!(error.contains("init_lora_weights") && error.contains("olora"), "{error}");
        assert!(decoder.lora().is_none());
        let error = decoder.train_all().unwrap_err().to_string();
        assert!(error.contains("load it unquantised"), "{error}");
    }
    // As PEFT saves it by default: without what was taken from the base, whose rest it has rounded again.
    let start = golden::folder("adapters/olora/start");
    let error = load(&kind("olora").0, Some(NF4)).unwrap().load_adapter(&start, AdapterUse::Frozen).unwrap_err();
    assert!(error.to_string().contains("path_initial_model_for_weight_conversion"), "{error}");
}

/// LoftQ: what quantising lost comes back as far as the rank goes, the adapter belongs to the quantised base, and so does what is merged.
#[test]
fn loftq_starts_from_what_quantising_lost() {
    let base = golden::folder("llama_tied");
    let batch = Batch::from_rows(&golden::rows(&golden::json("peft_llama", "training.json")["rows"]), 0).unwrap();
    let config = LoraConfig { init: LoraInit::Loftq, ..lora() };
    let original = load(&base, None).unwrap().logits(&batch).unwrap();
    let off = |decoder: &Decoder| {
        let gap = (decoder.logits(&batch).unwrap() - &original).unwrap().sqr().unwrap().sum_all().unwrap();
        f64::from(gap.to_scalar::<f32>().unwrap()).sqrt()
    };
    for quantization in [NF4, FP4, Quantization::EightBit] {
        let mut decoder = load(&base, Some(quantization)).unwrap();
        let plain = off(&decoder);
        decoder.add_lora(&config, 1).unwrap();
        let nearer = off(&decoder);
        eprintln!("{quantization:?}: logits are off by {plain:.3} without and {nearer:.3} with LoftQ");
        assert!(nearer < 0.8 * plain, "{quantization:?}: {nearer} of {plain}");

        // s B A has the largest singular values of W - Q(W): what is left is smaller and orthogonal to both factors.
        let path = "model.layers.0.self_attn.q_proj";
        let full =
            read_tensors(&base.join("model.safetensors"), &Device::Cpu).unwrap()[&format!("{path}.weight")].clone();
        let held = Quantised::new(&golden::floats(&full), full.dims2().unwrap(), quantization, Rounding::F32).unwrap();
        let lost = (full - held.dequantise().unwrap()).unwrap();
        let factor = |part: &str| {
            let all = decoder.trainable();
            all.iter()
                .find(|(name, _)| name.contains(path) && name.contains(part))
                .unwrap()
                .1
                .as_tensor()
                .to_device(&Device::Cpu)
                .unwrap()
        };
        let (a, b) = (factor("lora_A"), factor("lora_B"));
        let scaling = config.scaling(config.r, config.lora_alpha);
        let rest = (&lost - (b.matmul(&a).unwrap() * scaling).unwrap()).unwrap();
        let size = |t: &Tensor| golden::floats(t).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        assert!(size(&rest) < 0.9 * size(&lost), "{} of {}", size(&rest), size(&lost));
        assert!(size(&b.t().unwrap().matmul(&rest).unwrap()) < 1e-4 * size(&b) * size(&lost));
        assert!(size(&rest.matmul(&a.t().unwrap()).unwrap()) < 1e-4 * size(&a) * size(&lost));

        moved_alike(&decoder, &decoder);
        let tuned = decoder.logits(&batch).unwrap();
        let (adapter, merged) = (golden::TempDir::new(), golden::TempDir::new());
        decoder.save_adapter(adapter.path(), "base").unwrap();
        let mut again = load(&base, Some(quantization)).unwrap();
        assert!(again.load_adapter(adapter.path(), AdapterUse::Frozen).unwrap().loftq.is_some());
        assert!(golden::max_difference(&again.logits(&batch).unwrap(), &tuned) <= 1e-5);
        again.save_merged(merged.path(), DType::F32).unwrap();
        let gap = golden::max_difference(&load(merged.path(), None).unwrap().logits(&batch).unwrap(), &tuned);
        assert!(gap <= 1e-4, "{quantization:?}: merged {gap}");
        let error = load(&base, None).unwrap().load_adapter(adapter.path(), AdapterUse::Frozen).unwrap_err();
        assert!(error.to_string().contains("quantization_config.json"), "{error}");
    }
    // Without the original weights there is nothing to compare the quantised ones with.
    for (folder, quantization) in [(&base, None), (&golden::folder("quant/checkpoint"), Some(NF4))] {
        let error = load(folder, quantization).unwrap().add_lora(&config, 1).unwrap_err().to_string();
        assert!(error.contains("load_in_4bit"), "{error}");
    }
    let with_head = LoraConfig { target_modules: TargetModules::List(vec!["lm_head".into()]), ..config };
    let error = load(&base, Some(NF4)).unwrap().add_lora(&with_head, 1).unwrap_err().to_string();
    assert!(error.contains("lm_head"), "{error}");
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
    Decoder::init(config, 3, 0.15, golden::device()).unwrap().save_full(&base, DType::F32).unwrap();
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
            clip::clip(&mut found, 1.0).unwrap();
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
