//! AdamW against torch's own numbers, and a resumed run against the uncut one.

use candle_core::Device;
use serde_json::Value;

use super::*;
use crate::optim::clip::clip;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../../tests/golden/optim/optim.json")).unwrap()
}

fn floats_of(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn var(values: &[f32]) -> Var {
    Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap()
}

/// Gradients with exactly these values, made through a loss that is linear in the parameters.
fn gradients(parameters: &[(String, Var)], values: &[Vec<f32>]) -> Gradients {
    let mut loss = Tensor::new(0f32, &Device::Cpu).unwrap();
    for ((_, v), g) in parameters.iter().zip(values) {
        let c = Tensor::new(g.as_slice(), &Device::Cpu).unwrap();
        loss = (loss + (v.as_tensor() * c).unwrap().sum_all().unwrap()).unwrap();
    }
    let mut all = Gradients::new();
    all.add(parameters, &loss.backward().unwrap()).unwrap();
    all
}

#[test]
fn follows_torch_for_25_steps() {
    for case in golden()["adamw"].as_array().unwrap() {
        let p = vec![("layer.weight".to_owned(), var(&floats_of(&case["start"])))];
        let config = AdamWConfig {
            eps: case["eps"].as_f64().unwrap(),
            weight_decay: case["weight_decay"].as_f64().unwrap(),
            ..AdamWConfig::default()
        };
        let mut adamw = AdamW::new(p.clone(), config);
        let steps = case["gradients"].as_array().unwrap().iter().zip(case["values"].as_array().unwrap());
        for (step, (g, want)) in steps.enumerate() {
            adamw.step(&gradients(&p, &[floats_of(g)]), case["lr"].as_f64().unwrap()).unwrap();
            for (a, b) in p[0].1.to_vec1::<f32>().unwrap().iter().zip(floats_of(want)) {
                assert!((a - b).abs() <= 2e-7, "step {step}: {a} and {b}");
            }
        }
    }
}

#[test]
fn clipping_equals_torch() {
    for case in golden()["clip"].as_array().unwrap() {
        let p = vec![("a".to_owned(), var(&[0.0; 7])), ("b".to_owned(), var(&[0.0; 3]))];
        let before: Vec<_> = case["before"].as_array().unwrap().iter().map(floats_of).collect();
        let mut g = gradients(&p, &before);
        let norm = clip(&mut g, case["max_norm"].as_f64().unwrap()).unwrap();
        assert!((norm - case["norm"].as_f64().unwrap()).abs() < 1e-5);
        for ((_, got), want) in g.values().unwrap().iter().zip(case["after"].as_array().unwrap()) {
            for (a, b) in got.iter().zip(floats_of(want)) {
                assert!((a - b).abs() <= 3e-7, "{a} and {b}");
            }
        }
    }
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let start = [0.3f32, -0.7, 1.1];
    let g = |step: usize| vec![(0..3).map(|i| ((step * 3 + i) as f32).sin()).collect::<Vec<f32>>()];
    let config = AdamWConfig { weight_decay: 0.01, ..AdamWConfig::default() };
    let uncut = vec![("w".to_owned(), var(&start))];
    let mut whole = AdamW::new(uncut.clone(), config);
    let cut = vec![("w".to_owned(), var(&start))];
    let mut first = AdamW::new(cut.clone(), config);
    for step in 0..4 {
        whole.step(&gradients(&uncut, &g(step)), 0.01).unwrap();
        first.step(&gradients(&cut, &g(step)), 0.01).unwrap();
    }
    let state: HashMap<_, _> = first.state().unwrap().into_iter().collect();
    let mut second = AdamW::new(cut.clone(), config);
    second.load_state(&state, first.step_count()).unwrap();
    for step in 4..9 {
        whole.step(&gradients(&uncut, &g(step)), 0.01).unwrap();
        second.step(&gradients(&cut, &g(step)), 0.01).unwrap();
    }
    assert_eq!(uncut[0].1.to_vec1::<f32>().unwrap(), cut[0].1.to_vec1::<f32>().unwrap());
    assert_eq!(second.step_count(), 9);
    let mut missing = state;
    missing.remove("w.exp_avg_sq");
    assert!(matches!(second.load_state(&missing, 1), Err(Error::State { .. })));
    assert_eq!(second.step_count(), 9);
}

#[test]
fn biases_and_norms_do_not_decay() {
    for (name, expected) in [
        ("model.layers.0.self_attn.q_proj.weight", true),
        ("model.layers.0.self_attn.q_proj.bias", false),
        ("model.layers.0.input_layernorm.weight", false),
        ("model.norm.weight", false),
        ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", true),
        ("model.embed_tokens.weight", true),
    ] {
        assert_eq!(decays(name), expected, "{name}");
    }
}

/// 65 x 64 values: 16 whole blocks of 256 and one of 64.
const LARGE: usize = 65 * 64;

fn eight_bit() -> AdamWConfig {
    AdamWConfig { weight_decay: 0.1, moments: Moments::EightBit, ..AdamWConfig::default() }
}

/// The gradient of a step: the first one turned by as many places, times a power of two.
fn turned(first: &[f32], step: usize) -> Vec<f32> {
    let factor = [0.5, 1.0, 2.0][step % 3];
    (0..first.len()).map(|i| factor * first[(i + first.len() - step) % first.len()]).collect()
}

#[test]
fn eight_bit_moments_follow_bitsandbytes_for_6_steps() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/nn/quant/values.safetensors");
    let all = crate::checkpoint::read_tensors(std::path::Path::new(folder), &Device::Cpu).unwrap();
    let floats = |name: &str| all[&format!("adamw.{name}")].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let bytes = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    let first = floats("gradient");
    let p = vec![("w.weight".to_owned(), var(&floats("start")))];
    let mut adamw = AdamW::new(p.clone(), eight_bit());
    for step in 0..6 {
        adamw.step(&gradients(&p, &[turned(&first, step)]), 1e-2).unwrap();
        if step != 0 && step != 5 {
            continue;
        }
        for (got, want) in p[0].1.to_vec1::<f32>().unwrap().iter().zip(floats(&format!("{step}.values"))) {
            assert!((got - want).abs() <= 1e-6, "step {step}: {got} and {want}");
        }
        let state: HashMap<_, _> = adamw.state().unwrap().into_iter().collect();
        for kind in ["state1", "state2"] {
            let (got, want) =
                (bytes(&state[&format!("w.weight.{kind}")]), bytes(&all[&format!("adamw.{step}.{kind}")]));
            // torch adds with one rounding where this adds with two: a moment on a threshold may take the level beside.
            let beside = got.iter().zip(&want).filter(|(a, b)| a != b);
            assert!(beside.clone().all(|(a, b)| a.abs_diff(*b) == 1), "{kind}");
            assert!(beside.count() <= 4, "{kind} at step {step}");
        }
        for kind in ["absmax1", "absmax2"] {
            let got = state[&format!("w.weight.{kind}")].to_vec1::<f32>().unwrap();
            for (a, b) in got.iter().zip(floats(&format!("{step}.{kind}"))) {
                assert!((a - b).abs() <= 3e-7 * b, "{kind}: {a} and {b}");
            }
        }
    }
}

#[test]
fn small_tensors_keep_f32_moments() {
    let p = vec![("small".to_owned(), var(&[0.5; 4095])), ("large".to_owned(), var(&[0.5; 4096]))];
    let names: Vec<String> = AdamW::new(p, eight_bit()).state().unwrap().into_iter().map(|(name, _)| name).collect();
    let want = ["small.exp_avg", "small.exp_avg_sq", "large.state1", "large.absmax1", "large.state2", "large.absmax2"];
    assert_eq!(names, want);
}

#[test]
fn a_resumed_run_in_8_bits_ends_with_the_same_bits() {
    let start: Vec<f32> = (0..LARGE).map(|i| (i as f32).sin()).collect();
    let first: Vec<f32> = (0..LARGE).map(|i| (i as f32 * 0.7).cos().powi(5)).collect();
    let uncut = vec![("w".to_owned(), var(&start))];
    let cut = vec![("w".to_owned(), var(&start))];
    let (mut whole, mut before) = (AdamW::new(uncut.clone(), eight_bit()), AdamW::new(cut.clone(), eight_bit()));
    for step in 0..3 {
        whole.step(&gradients(&uncut, &[turned(&first, step)]), 0.01).unwrap();
        before.step(&gradients(&cut, &[turned(&first, step)]), 0.01).unwrap();
    }
    let state: HashMap<_, _> = before.state().unwrap().into_iter().collect();
    let mut after = AdamW::new(cut.clone(), eight_bit());
    after.load_state(&state, before.step_count()).unwrap();
    for step in 3..6 {
        whole.step(&gradients(&uncut, &[turned(&first, step)]), 0.01).unwrap();
        after.step(&gradients(&cut, &[turned(&first, step)]), 0.01).unwrap();
    }
    assert_eq!(uncut[0].1.to_vec1::<f32>().unwrap(), cut[0].1.to_vec1::<f32>().unwrap());
    let (a, b) = (whole.state().unwrap(), after.state().unwrap());
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        let bits = |t: &Tensor| t.to_dtype(candle_core::DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>();
        assert_eq!(bits(a).unwrap(), bits(b).unwrap(), "{name}");
    }
    // A state in f32 belongs to another optimiser.
    let mut wide = AdamW::new(cut, AdamWConfig::default());
    assert!(matches!(wide.load_state(&state, 1), Err(Error::State { .. })));
}
