//! Every family against transformers and PEFT: logits, 50 LoRA steps, adapters both ways, merging, GGUF, generation, gradients. The
//! numbers are in `tests/golden/nn/families/`, made by `families.py`; the worst differences are printed as the table that stands in
//! `crates/ARCHITECTURE.md`.

use crate::golden::{self, FAMILIES};
use candle_core::{DType, Device, Tensor};
use std::path::Path;
use tb_core::decoder_config::Family;
use tb_nn::checkpoint::{read_json, read_tensors, write_tensors};
use tb_nn::generate::cached_logits;
use tb_nn::optim::{
    Gradients,
    adamw::{AdamW, AdamWConfig},
    clip,
};
use tb_nn::{AdapterUse, Batch, Checkpointing, Decoder, Error, GgufFormat, Pass, Row};

/// A folder of `tests/golden/nn/`, or an absolute path.
fn name(family: &str) -> String {
    Path::new("families").join(family).to_string_lossy().into_owned()
}

fn base(family: &str) -> Decoder {
    golden::decoder(&name(family))
}

fn adapted(family: &str, usage: AdapterUse) -> Decoder {
    let mut decoder = base(family);
    decoder.load_adapter(&golden::folder(&name(family)).join("lora"), usage).unwrap();
    decoder
}

/// Logits of the base and with the adapter.
fn logits(family: &str) -> f32 {
    let golden = golden::tensors(&name(family));
    let batch = golden::batch(&golden);
    let plain = base(family).logits(&batch).unwrap();
    let with = adapted(family, AdapterUse::Frozen).logits(&batch).unwrap();
    assert!(golden::max_difference(&plain, &with) > 0.01, "{family}: the golden adapter must do something");
    let plain = golden::logit_difference(&plain, &golden["logits"], &batch.lengths);
    golden::nan_max(plain, golden::logit_difference(&with, &golden["adapted"], &batch.lengths))
}

/// Largest relative differences of the losses and gradient norms.
fn training(family: &str, checkpointing: Checkpointing) -> (f64, f64) {
    let record = golden::json(&name(family), "training.json");
    let mut decoder = adapted(family, AdapterUse::Trained);
    decoder.set_checkpointing(checkpointing);
    let rows: Vec<Row> = golden::rows(&record["rows"]);
    let lr = record["learning_rate"].as_f64().unwrap();
    let config = AdamWConfig::default();
    let mut optimiser = AdamW::new(decoder.trainable(), config);
    let (mut loss_off, mut norm_off) = (0f64, 0f64);
    let number = |list: &str, step: usize| record[list][step].as_f64().unwrap();
    for step in 0..record["losses"].as_array().unwrap().len() {
        let at = step * 4 % rows.len();
        let batches: Vec<Batch> = rows[at..at + 4].chunks(2).map(|r| Batch::from_rows(r, 0).unwrap()).collect();
        let targets: usize = batches.iter().map(Batch::supervised_tokens).sum();
        let mut gradients = Gradients::default();
        let mut total = 0.0;
        for batch in &batches {
            let loss = (decoder.loss(batch, Pass::Train { seed: 1, step: step as u64, first_row: 0 }).unwrap()
                / targets as f64)
                .unwrap();
            total += f64::from(loss.to_scalar::<f32>().unwrap());
            gradients.add(&decoder.trainable(), &loss.backward().unwrap()).unwrap();
        }
        let norm = clip::clip(&mut gradients, record["max_grad_norm"].as_f64().unwrap()).unwrap();
        let relative = |ours: f64, theirs: f64| ((ours - theirs) / theirs).abs();
        assert!(total.is_finite() && norm.is_finite(), "{family} step {step}");
        loss_off = loss_off.max(relative(total, number("losses", step)));
        norm_off = norm_off.max(relative(norm, number("grad_norms", step)));
        optimiser.step(&gradients, lr).unwrap();
    }
    (loss_off, norm_off)
}

/// PEFT's files read and written again: the same names, the same values, the same configuration.
fn round_trip(family: &str) -> f32 {
    let theirs = golden::folder(&name(family)).join("lora");
    let dir = golden::TempDir::new();
    let base = Path::new(family).file_name().unwrap().to_string_lossy();
    adapted(family, AdapterUse::Frozen).save_adapter(dir.path(), &base).unwrap();
    let read = |dir: &Path| read_tensors(&dir.join("adapter_model.safetensors"), &Device::Cpu).unwrap();
    let (ours, expected) = (read(dir.path()), read(&theirs));
    let names = |tensors: &std::collections::HashMap<String, Tensor>| {
        tensors.keys().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&ours), names(&expected), "{family}");
    let config = |dir: &Path| read_json(&dir.join("adapter_config.json")).unwrap();
    assert_eq!(config(dir.path()), config(&theirs), "{family}");
    ours.iter().map(|(name, t)| golden::max_difference(t, &expected[name])).fold(0.0, golden::nan_max)
}

/// Logits with the adapter merged and saved under the family's own names, against PEFT's with the adapter beside.
fn merge(family: &str) -> f32 {
    let golden = golden::tensors(&name(family));
    let batch = golden::batch(&golden);
    let dir = golden::TempDir::new();
    adapted(family, AdapterUse::Frozen).save_merged(dir.path(), DType::F32).unwrap();
    let stored = |path: &Path| {
        let all = read_tensors(&path.join("model.safetensors"), &Device::Cpu).unwrap();
        all.into_iter().map(|(name, t)| (name, t.dims().to_vec())).collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(stored(dir.path()), stored(&golden::folder(&name(family))), "{family}");
    let merged = Decoder::load(dir.path(), DType::F32, golden::device()).unwrap();
    assert_eq!(merged.config().layers, base(family).config().layers, "{family}");
    golden::logit_difference(&merged.logits(&batch).unwrap(), &golden["adapted"], &batch.lengths)
}

/// Logits with the adapter merged and written as one GGUF file, against ours with the adapter beside, on texts up to the context that
/// the file names: that is shorter where llama.cpp would compute longer ones otherwise (windows, dynamic). None where it would compute
/// every text otherwise, so that nothing is written.
fn through_gguf(family: &str) -> Option<f32> {
    let batch = golden::batch(&golden::tensors(&name(family)));
    let dir = golden::TempDir::new();
    let path = dir.path().join("merged.gguf");
    let ours = adapted(family, AdapterUse::Frozen);
    if let Err(refused) = ours.save_gguf(&path, GgufFormat::F32, family, &[]) {
        assert!(matches!(refused, Error::Config { .. }), "{family}: {refused}");
        return None;
    }
    let back = Decoder::load(&path, DType::F32, golden::device()).unwrap();
    let context = back.config().max_position_embeddings;
    let row = |r: usize| batch.ids[r * batch.width..][..batch.lengths[r].min(context)].to_vec();
    let texts: Vec<Vec<u32>> = (0..batch.rows).map(row).collect();
    let batch = Batch::from_ids(&texts, 0).unwrap();
    Some(golden::logit_difference(&back.logits(&batch).unwrap(), &ours.logits(&batch).unwrap(), &batch.lengths))
}

#[test]
fn every_family_equals_transformers_and_peft() {
    eprintln!("| family | logits | 50-step LoRA loss | gradient norm | adapter round trip | merge | GGUF |");
    for family in FAMILIES {
        assert_eq!(golden::json(&name(family), "training.json")["losses"].as_array().unwrap().len(), 50);
        let (logits, (loss, norm)) = (logits(family), training(family, Checkpointing::Off));
        let (trip, merge, gguf) = (round_trip(family), merge(family), through_gguf(family));
        let shown = gguf.map_or_else(|| "refused".to_owned(), |gguf| format!("{gguf:.1e}"));
        eprintln!("| {family} | {logits:.1e} | {loss:.1e} | {norm:.1e} | {trip:.0e} | {merge:.1e} | {shown} |");
        assert!(logits <= 1e-4 && merge <= 1e-4, "{family}: {logits} {merge}");
        assert!(gguf.is_none_or(|gguf| gguf <= 1e-4), "{family}: {gguf:?}");
        assert!(loss <= 1e-4 && norm <= 1e-3, "{family}: {loss} {norm}");
        assert_eq!(trip, 0.0, "{family}");
    }
}

/// Models of any shape, made by `tests/golden/nn/shapes.py`, held against the same bounds. What is refused is printed.
#[test]
#[ignore = "needs TONEBRIDGE_SHAPES, a folder that tests/golden/nn/shapes.py made"]
fn shapes_of_a_folder_equal_transformers_and_peft() {
    let folder = std::env::var("TONEBRIDGE_SHAPES").expect("TONEBRIDGE_SHAPES names a folder");
    let mut shapes: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path().to_string_lossy().into_owned()).collect();
    shapes.sort();
    let shown = |found: [f64; 6]| found.map(|x| format!("{x:.1e}")).join(" ");
    let (mut worst, mut refused, mut wrong) = ([0f64; 6], 0, Vec::new());
    for shape in &shapes {
        if let Err(error) = Decoder::load(Path::new(shape), DType::F32, golden::device()) {
            eprintln!("{shape} is refused: {error}");
            refused += 1;
            continue;
        }
        let ((loss, norm), gguf) = (training(shape, Checkpointing::Off), through_gguf(shape).unwrap_or(0.0));
        let found =
            [f64::from(logits(shape)), loss, norm, f64::from(merge(shape)), f64::from(gguf), f64::from(cached(shape))];
        if round_trip(shape) != 0.0
            || found.iter().zip([1e-4, 1e-4, 1e-3, 1e-4, 1e-4, 1e-4]).any(|(x, bound)| x > &bound)
        {
            wrong.push(format!("{shape}: {}", shown(found)));
        }
        worst = std::array::from_fn(|i| worst[i].max(found[i]));
    }
    eprintln!(
        "{} shapes, {refused} refused; logits, loss, gradient norm, merge, GGUF, generation: {}",
        shapes.len(),
        shown(worst)
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_family_is_tried() {
    let tried: Vec<Family> = FAMILIES.iter().map(|f| base(f).config().family).collect();
    assert!(Family::ALL.iter().all(|family| tried.contains(family)), "{tried:?}");
}

#[test]
fn recomputed_blocks_follow_the_same_curve_to_the_bit() {
    for family in ["gemma2", "phi3", "olmo2", "smollm3"] {
        assert_eq!(training(family, Checkpointing::PerBlock), training(family, Checkpointing::Off), "{family}");
    }
}

/// Rows longer than every window and than the trained length, of different lengths in one batch, against one full pass each.
fn cached(family: &str) -> f32 {
    let golden = golden::tensors(&name(family));
    let batch = golden::batch(&golden);
    let decoder = adapted(family, AdapterUse::Frozen);
    let rows: Vec<Vec<u32>> =
        (0..batch.rows).map(|r| batch.ids[r * batch.width..r * batch.width + batch.lengths[r]].to_vec()).collect();
    let cached = cached_logits(&decoder, &rows, 4).unwrap();
    let difference = |(r, ids): (usize, &Vec<u32>)| {
        let alone = decoder.logits(&Batch::from_ids(std::slice::from_ref(ids), 0).unwrap()).unwrap();
        let last = alone.narrow(1, ids.len() - 1, 1).unwrap().reshape((1, decoder.config().vocab_size)).unwrap();
        golden::max_difference(&cached.narrow(0, r, 1).unwrap(), &last)
    };
    rows.iter().enumerate().map(difference).fold(0.0, golden::nan_max)
}

#[test]
fn generation_with_a_cache_equals_the_full_pass() {
    for family in FAMILIES {
        let difference = cached(family);
        assert!(difference <= 1e-4, "{family}: {difference}");
    }
}

/// The gradient of the loss by every matrix of the adapter along a random direction, against central differences.
#[test]
fn gradients_agree_with_finite_differences() {
    const CHANGE: f64 = 0.1;
    let record = golden::json(&name("llama"), "training.json");
    let batch = Batch::from_rows(&golden::rows(&record["rows"])[..2], 0).unwrap();
    for family in FAMILIES {
        let decoder = adapted(family, AdapterUse::Trained);
        let loss = || f64::from(decoder.loss(&batch, Pass::Eval).unwrap().to_scalar::<f32>().unwrap());
        let grads = decoder.loss(&batch, Pass::Eval).unwrap().backward().unwrap();
        let (mut off, mut size) = (0f64, 0f64);
        for (name, var) in decoder.trainable() {
            let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{family}: {name} has no gradient"));
            // Along the gradient's own sign, so that the difference is large against the rounding of the loss.
            let direction = grad.sign().unwrap();
            let expected = f64::from((grad * &direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
            let start = var.as_tensor().copy().unwrap();
            let step = (CHANGE / expected).min(0.02);
            let at = |by: f64| {
                var.set(&(&start + (&direction * by).unwrap()).unwrap()).unwrap();
                loss()
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            var.set(&start).unwrap();
            off += (numeric - expected).powi(2);
            size += expected.powi(2);
        }
        let relative = (off / size).sqrt();
        eprintln!("{family}: gradients differ by {relative:.1e} of their size");
        assert!(relative <= 1e-3, "{family}: {relative}");
    }
}

/// Training all weights of a family: every weight has a gradient, and what is saved is read again with the same logits.
#[test]
fn a_whole_model_of_every_family_trains_and_is_saved() {
    for family in FAMILIES {
        let config = base(family).config().clone();
        let decoder = Decoder::init(config.clone(), 3, 0.2, golden::device()).unwrap();
        let golden = golden::tensors(&name(family));
        let mut batch = golden::batch(&golden);
        batch.labels = batch.ids.iter().map(|id| *id as i32).collect();
        let vars = decoder.trainable();
        let mut names: Vec<String> = vars.iter().map(|(n, _)| n.clone()).collect();
        let mut expected: Vec<String> = config.weights().into_iter().map(|(n, _)| n).collect();
        names.sort();
        expected.sort();
        assert_eq!(names, expected, "{family}");
        let grads = decoder.loss(&batch, Pass::Eval).unwrap().backward().unwrap();
        for (name, var) in &vars {
            let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{family}: {name} has no gradient"));
            let size = golden::floats(grad).iter().map(|v| v.abs()).fold(0.0, golden::nan_max);
            assert!(size.is_finite() && size > 0.0, "{family}: {name}: {size}");
        }
        let dir = golden::TempDir::new();
        decoder.save_full(dir.path(), DType::F32).unwrap();
        let loaded = Decoder::load(dir.path(), DType::F32, golden::device()).unwrap();
        // One path is fused, the other is not.
        let difference = golden::max_difference(&loaded.logits(&batch).unwrap(), &decoder.logits(&batch).unwrap());
        assert!(difference <= 1e-4, "{family}: {difference}");
    }
}

/// As `Gemma3ForConditionalGeneration` saves it: the names of transformers 4 and 5.
#[test]
fn the_text_model_of_a_gemma3_with_vision_is_loaded() {
    let golden = golden::tensors(&name("gemma3"));
    let batch = golden::batch(&golden);
    let theirs = golden::folder(&name("gemma3"));
    let tensors = read_tensors(&theirs.join("model.safetensors"), &Device::Cpu).unwrap();
    let text = read_json(&theirs.join("config.json")).unwrap();
    for prefix in ["language_model.model.", "model.language_model."] {
        let dir = golden::TempDir::new();
        let mut renamed: Vec<(String, Tensor)> = tensors
            .iter()
            .map(|(n, t)| (format!("{prefix}{}", n.strip_prefix("model.").unwrap()), t.clone()))
            .collect();
        renamed.push(("vision_tower.weight".into(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap()));
        write_tensors(&dir.path().join("model.safetensors"), &renamed, &Default::default()).unwrap();
        let config = serde_json::json!({"model_type": "gemma3", "text_config": text, "vision_config": {}});
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let decoder = Decoder::load(dir.path(), DType::F32, golden::device()).unwrap();
        let logits = decoder.logits(&batch).unwrap();
        assert!(golden::logit_difference(&logits, &golden["logits"], &batch.lengths) <= 1e-4);
    }
}
