//! Who receives a gradient: every adapter weight, no frozen one; B first, A after one step. Recomputation changes no bit.

use crate::golden;
use candle_core::{Tensor, backprop::GradStore};
use tb_nn::optim::{
    Gradients,
    adamw::{AdamW, AdamWConfig},
};
use tb_nn::{Batch, Checkpointing, Decoder, LoraConfig, Pass, TargetModules};

const TRAIN: Pass = Pass::Train { seed: 1, step: 0, first_row: 0 };

fn adapted(dropout: f64) -> (Decoder, Batch) {
    let mut decoder = golden::decoder("qwen2");
    let config =
        LoraConfig { r: 4, lora_dropout: dropout, target_modules: TargetModules::AllLinear, ..LoraConfig::default() };
    decoder.add_lora(&config, 5).unwrap();
    (decoder, golden::batch(&golden::tensors("qwen2")))
}

fn backward(decoder: &Decoder, batch: &Batch, pass: Pass) -> (Tensor, GradStore) {
    let loss = decoder.loss(batch, pass).unwrap();
    let grads = loss.backward().unwrap();
    (loss, grads)
}

fn largest(t: &Tensor) -> f32 {
    golden::floats(t).iter().map(|v| v.abs()).fold(0.0, golden::nan_max)
}

#[test]
fn b_moves_first_and_a_after_one_step() {
    let (decoder, batch) = adapted(0.0);
    let (_, grads) = backward(&decoder, &batch, TRAIN);
    let vars = decoder.trainable();
    assert_eq!(vars.len(), 2 * 7 * 2);
    for (name, var) in &vars {
        let size = largest(grads.get(var.as_tensor()).unwrap());
        assert!(size.is_finite());
        assert_eq!(name.contains("lora_B"), size > 0.0, "{name}: {size}");
    }
    // No frozen weight has a gradient: what is left besides the adapter's is at most that of the embedded input, (B, T, C).
    let ids: Vec<_> = vars.iter().map(|(_, v)| v.as_tensor().id()).collect();
    let left: Vec<_> = grads.get_ids().filter(|id| !ids.contains(id)).collect();
    let input = [batch.rows, batch.width, decoder.config().hidden_size];
    assert!(left.len() <= 1 && left.iter().all(|id| grads.get_id(**id).unwrap().dims() == input), "{}", left.len());

    let mut gradients = Gradients::new();
    gradients.add(&vars, &grads).unwrap();
    let config = AdamWConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };
    AdamW::new(vars.clone(), config).step(&gradients, 1e-3).unwrap();
    let (_, grads) = backward(&decoder, &batch, TRAIN);
    for (name, var) in &vars {
        let size = largest(grads.get(var.as_tensor()).unwrap());
        assert!(size.is_finite() && size > 0.0, "{name}: {size}");
    }
}

#[test]
fn dropout_is_a_function_of_seed_step_and_row() {
    let (decoder, batch) = adapted(0.5);
    // B must not be zero for the mask to show.
    for (_, var) in decoder.trainable() {
        var.set(&(var.as_tensor() + 0.05).unwrap()).unwrap();
    }
    let loss = |pass| decoder.loss(&batch, pass).unwrap().to_scalar::<f32>().unwrap();
    let at = |seed, step, first_row| loss(Pass::Train { seed, step, first_row });
    assert_eq!(at(1, 2, 0), at(1, 2, 0));
    let others = [at(2, 2, 0), at(1, 3, 0), at(1, 2, 1), loss(Pass::Eval)];
    assert!(others.iter().all(|l| *l != at(1, 2, 0)), "{others:?}");
    assert_eq!(loss(Pass::Eval), loss(Pass::Eval));
}

#[test]
fn recomputed_blocks_give_the_same_bits() {
    for dropout in [0.0, 0.3] {
        let (mut decoder, batch) = adapted(dropout);
        for (_, var) in decoder.trainable() {
            var.set(&(var.as_tensor() + 0.02).unwrap()).unwrap();
        }
        let (loss, grads) = backward(&decoder, &batch, TRAIN);
        decoder.set_checkpointing(Checkpointing::PerBlock);
        let (again, recomputed) = backward(&decoder, &batch, TRAIN);
        assert_eq!(loss.to_scalar::<f32>().unwrap(), again.to_scalar::<f32>().unwrap());
        for (name, var) in decoder.trainable() {
            let bits = |g: &GradStore| -> Vec<u32> {
                golden::floats(g.get(var.as_tensor()).unwrap()).into_iter().map(f32::to_bits).collect()
            };
            assert_eq!(bits(&grads), bits(&recomputed), "{name}");
        }
    }
}

#[test]
fn a_batch_without_targets_costs_nothing() {
    let (decoder, _) = adapted(0.0);
    let batch = Batch::from_ids(&[vec![1, 2, 3]], 0).unwrap();
    assert_eq!(decoder.loss(&batch, TRAIN).unwrap().to_scalar::<f32>().unwrap(), 0.0);
    assert_eq!(decoder.token_logprobs(&batch).unwrap(), [Vec::<f32>::new()]);
}
