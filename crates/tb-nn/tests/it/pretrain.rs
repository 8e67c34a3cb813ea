//! Training a whole model from random weights, and writing it in the three dtypes.

use crate::golden;
use candle_core::{DType, Device};
use tb_nn::checkpoint::read_tensors;
use tb_nn::optim::{
    Gradients,
    adamw::{AdamW, AdamWConfig},
};
use tb_nn::{Batch, Checkpointing, Decoder, LoraConfig, Pass, Row};

const TRAIN: Pass = Pass::Train { seed: 1, step: 0, first_row: 0 };

fn random(name: &str) -> Decoder {
    let config = tb_nn::decoder::read_config(&golden::folder(name)).unwrap();
    Decoder::init(config, 9, 0.1, golden::device()).unwrap()
}

fn batch() -> Batch {
    let row = |ids: Vec<u32>| Row { labels: ids.iter().map(|i| *i as i32).collect(), ids };
    Batch::from_rows(&[row(vec![5, 9, 13, 17, 21, 25]), row(vec![40, 30, 20])], 0).unwrap()
}

/// Central differences of a few elements of every kind of weight. The tied embedding is read at an id whose
/// gradient comes from both of its uses.
#[test]
fn gradients_of_every_weight_match_finite_differences() {
    for name in golden::MODELS {
        let decoder = random(name);
        let batch = batch();
        let loss = |d: &Decoder| f64::from(d.loss(&batch, TRAIN).unwrap().to_scalar::<f32>().unwrap());
        let grads = decoder.loss(&batch, TRAIN).unwrap().backward().unwrap();
        for (key, var) in decoder.trainable() {
            let values = golden::floats(var.as_tensor());
            let got = golden::floats(grads.get(var.as_tensor()).unwrap());
            let top = (0..got.len()).max_by(|a, b| got[*a].abs().total_cmp(&got[*b].abs())).unwrap();
            let width = var.dims().last().copied().unwrap();
            let used = if key.contains("embed_tokens") { 9 * width + 2 } else { got.len() / 2 };
            for at in [top, used] {
                let nudged = |by: f32| {
                    let mut moved = values.clone();
                    moved[at] += by;
                    var.set(&candle_core::Tensor::from_vec(moved, var.shape(), golden::device()).unwrap()).unwrap();
                    loss(&decoder)
                };
                let step = 2e-3;
                let expected = (nudged(step) - nudged(-step)) / (2.0 * f64::from(step));
                nudged(0.0);
                let error = (f64::from(got[at]) - expected).abs();
                assert!(error <= 1e-2 * expected.abs() + 5e-3, "{name} {key}[{at}]: {} {expected}", got[at]);
            }
        }
    }
}

#[test]
fn recomputed_blocks_give_the_same_bits_for_a_whole_model() {
    let mut decoder = random("llama_scaled");
    let plain = decoder.loss(&batch(), TRAIN).unwrap().backward().unwrap();
    decoder.set_checkpointing(Checkpointing::PerBlock);
    let recomputed = decoder.loss(&batch(), TRAIN).unwrap().backward().unwrap();
    for (name, var) in decoder.trainable() {
        let of = |g: &candle_core::backprop::GradStore| golden::floats(g.get(var.as_tensor()).unwrap());
        assert_eq!(of(&plain), of(&recomputed), "{name}");
    }
}

#[test]
fn a_random_model_learns_and_is_written_in_each_dtype() {
    let decoder = random("llama_tied");
    let vars = decoder.trainable();
    assert_eq!(vars.len(), 2 + 2 * 9);
    let config = AdamWConfig { beta2: 0.95, ..AdamWConfig::default() };
    let mut optimiser = AdamW::new(vars.clone(), config);
    let mut losses = Vec::new();
    for _ in 0..30 {
        let loss = (decoder.loss(&batch(), TRAIN).unwrap() / batch().supervised_tokens() as f64).unwrap();
        losses.push(loss.to_scalar::<f32>().unwrap());
        let mut gradients = Gradients::new();
        gradients.add(&vars, &loss.backward().unwrap()).unwrap();
        optimiser.step(&gradients, 1e-2).unwrap();
    }
    assert!((3.0..7.0).contains(&losses[0]) && losses[29] < 0.3, "{losses:?}");

    let trained = decoder.logits(&batch()).unwrap();
    for (dtype, bound) in [(DType::F32, 0.0), (DType::F16, 0.02), (DType::BF16, 0.2)] {
        let dir = golden::TempDir::new();
        decoder.save_full(dir.path(), dtype).unwrap();
        let stored = read_tensors(&dir.path().join("model.safetensors"), &Device::Cpu).unwrap();
        assert!(stored.values().all(|t| t.dtype() == dtype));
        assert!(!stored.contains_key("lm_head.weight"), "a tied head is not written twice");
        let loaded = Decoder::load(dir.path(), DType::F32, golden::device()).unwrap();
        assert_eq!(loaded.config().ropes, decoder.config().ropes);
        let difference = golden::max_difference(&loaded.logits(&batch()).unwrap(), &trained);
        assert!(difference <= bound, "{dtype:?}: {difference}");
    }
}

#[test]
fn first_values_depend_on_seed_and_name() {
    let (a, b) = (random("qwen2"), random("qwen2"));
    let config = a.config().clone();
    let other = Decoder::init(config, 10, 0.1, golden::device()).unwrap();
    for (((name, x), (_, y)), (_, z)) in a.trainable().iter().zip(b.trainable()).zip(other.trainable()) {
        let values = golden::floats(x.as_tensor());
        assert_eq!(values, golden::floats(y.as_tensor()));
        if name.contains("norm") {
            assert!(values.iter().all(|v| *v == 1.0));
        } else if name.ends_with(".bias") {
            assert!(values.iter().all(|v| *v == 0.0));
        } else {
            assert_ne!(values, golden::floats(z.as_tensor()), "{name}");
            let variance = values.iter().map(|v| f64::from(v * v)).sum::<f64>() / values.len() as f64;
            assert!((variance.sqrt() - 0.1).abs() < 0.01, "{name}: {variance}");
        }
    }
}

#[test]
fn a_model_trained_in_full_takes_no_adapter() {
    let text = random("qwen2").add_lora(&LoraConfig::default(), 1).unwrap_err().to_string();
    assert!(text.contains("trained in full"), "{text}");
}
