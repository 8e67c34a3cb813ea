//! Twenty LoRA steps from a PEFT adapter follow PEFT's losses, gradient norms and final weights.

use crate::golden;
use serde_json::Value;
use std::collections::HashMap;
use tb_nn::optim::{
    Gradients,
    adamw::{AdamW, AdamWConfig},
    clip,
};
use tb_nn::{AdapterUse, Batch, Decoder, Pass, Row};

pub struct Run {
    pub losses: Vec<f64>,
    pub norms: Vec<f64>,
    pub decoder: Decoder,
}

fn train(name: &str) -> Run {
    let record = golden::json(name, "training.json");
    let mut decoder = golden::decoder(record["base"].as_str().unwrap());
    decoder.load_adapter(&golden::folder(name).join("start"), AdapterUse::Trained).unwrap();
    train_on(&record, decoder)
}

/// As many steps as the record has losses, on its rows.
pub fn train_on(record: &Value, decoder: Decoder) -> Run {
    let rows: Vec<Row> = golden::rows(&record["rows"]);
    let (per_micro, micros) = (2, 2);
    let lr = record["learning_rate"].as_f64().unwrap();
    let config = AdamWConfig::default();
    let mut optimiser = AdamW::new(decoder.trainable(), config);
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..record["losses"].as_array().unwrap().len() {
        let at = step * per_micro * micros % rows.len();
        let batches: Vec<Batch> =
            rows[at..at + per_micro * micros].chunks(per_micro).map(|r| Batch::from_rows(r, 0).unwrap()).collect();
        let targets: usize = batches.iter().map(Batch::supervised_tokens).sum();
        let mut gradients = Gradients::default();
        let mut total = 0.0;
        for (micro, batch) in batches.iter().enumerate() {
            let pass = Pass::Train { seed: 1, step: step as u64, first_row: (micro * per_micro) as u32 };
            let loss = (decoder.loss(batch, pass).unwrap() / targets as f64).unwrap();
            total += f64::from(loss.to_scalar::<f32>().unwrap());
            gradients.add(&decoder.trainable(), &loss.backward().unwrap()).unwrap();
        }
        losses.push(total);
        norms.push(clip::clip(&mut gradients, record["max_grad_norm"].as_f64().unwrap()).unwrap());
        optimiser.step(&gradients, lr).unwrap();
    }
    Run { losses, norms, decoder }
}

pub fn relative(ours: &[f64], theirs: &Value) -> f64 {
    let theirs: Vec<f64> = theirs.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(&theirs).map(|(a, b)| ((a - b) / b).abs()).fold(0.0, f64::max)
}

#[test]
fn twenty_steps_follow_peft() {
    for name in ["peft_llama", "peft_qwen2"] {
        let record = golden::json(name, "training.json");
        let run = train(name);
        assert!(run.losses.iter().chain(&run.norms).all(|v| v.is_finite()));
        let (loss, norm) = (relative(&run.losses, &record["losses"]), relative(&run.norms, &record["grad_norms"]));
        let expected = golden::tensors(name);
        let weight = run
            .decoder
            .trainable()
            .iter()
            .map(|(key, var)| golden::max_difference(var.as_tensor(), &expected[&format!("final.{key}")]))
            .fold(0.0, golden::nan_max);
        eprintln!("{name}: losses {loss:.2e}, gradient norms {norm:.2e} relative; final weights {weight:.2e} absolute");
        assert!(loss <= 1e-4 && norm <= 1e-3, "{name}: {loss} {norm}");
        // Adam divides by the root of the squared gradient: 20 steps of 1e-3 move a weight by up to 0.02.
        assert!(weight <= 2e-4, "{name}: {weight}");
        let finals = expected.keys().filter(|k| k.starts_with("final.")).count();
        assert_eq!(run.decoder.trainable().len(), finals);
    }
}

#[test]
fn two_runs_end_with_the_same_bits() {
    let bits = |run: &Run| -> HashMap<String, Vec<u32>> {
        run.decoder
            .trainable()
            .into_iter()
            .map(|(k, v)| (k, golden::floats(v.as_tensor()).into_iter().map(f32::to_bits).collect()))
            .collect()
    };
    let (a, b) = (train("peft_llama"), train("peft_llama"));
    assert_eq!(a.losses, b.losses);
    assert_eq!(bits(&a), bits(&b));
}
