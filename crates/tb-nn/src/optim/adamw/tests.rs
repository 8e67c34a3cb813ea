//! AdamW against torch's own numbers, and a resumed run against the uncut one.

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
        let norm = clip(&mut g, case["max_norm"].as_f64().unwrap());
        assert!((norm - case["norm"].as_f64().unwrap()).abs() < 1e-5);
        for ((_, got), want) in g.iter().zip(case["after"].as_array().unwrap()) {
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
