//! The gradient certificate: proof before step 1 that every trainable tensor learns and no frozen one does.
//!
//! Fused operations without a backward pass drop gradients in silence while the loss still falls; this refuses such a run.

use std::collections::{HashMap, HashSet};

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use tb_core::ErrorCode;
use tb_core::run_folder::Certificate;
use tb_nn::decoder::{Batch, Pass};
use tb_nn::optim::Gradients;

use crate::error::{Failure, Result};
use crate::recipes::Recipe;

/// Rows that the trial learns from.
const ROWS: usize = 4;
/// How far the trial moves a factor that is 0.
const TRIAL_RATE: f32 = 1e-3;
/// Step number of the trial's dropout masks; real steps count from 1.
const TRIAL: u64 = 0;

/// Measures the gradients on the longest rows. Where a tensor has none only because its other factor is 0, that factor takes a trial step,
/// the gradients are measured again, and it is put back as it was.
///
/// # Errors
/// A trainable tensor without a finite gradient, or a frozen one with one: the run must not start.
pub fn certify(recipe: &dyn Recipe, seed: u64, rows: usize) -> Result<Certificate> {
    let data = recipe.data();
    let lengths = data.rows.lengths();
    let mut longest: Vec<u32> = (0..lengths.len() as u32).collect();
    longest.sort_by_key(|row| {
        let row = *row as usize;
        std::cmp::Reverse((lengths[row], data.rows.supervised(row)))
    });
    longest.truncate(rows.clamp(1, ROWS));
    let batch = data.rows.batch(&longest, data.pad_id)?;

    let trainable = recipe.decoder().trainable();
    if trainable.is_empty() {
        return Err(refused("no weight is trainable"));
    }
    let (before, frozen) = gradients(recipe, &batch, seed)?;
    let mut certificate =
        Certificate { with_gradient: 0, zero_as_expected: 0, after_one_step: 0, frozen_with_gradient: frozen };
    if frozen > 0 {
        return Err(refused(&format!("{frozen} frozen tensors received a gradient")));
    }
    let silent = silent_at_first(&trainable)?;
    let first = before.values()?;
    for (name, gradient) in &first {
        match kind(gradient) {
            Kind::NotFinite => return Err(not_finite(name)),
            Kind::Some => certificate.with_gradient += 1,
            Kind::Zero if silent.contains_key(*name) => certificate.zero_as_expected += 1,
            Kind::Zero => return Err(refused(&format!("{name} received no gradient"))),
        }
    }
    certificate.after_one_step = certificate.with_gradient;
    if certificate.zero_as_expected == 0 {
        return Ok(certificate);
    }

    let zeros: HashSet<&str> = silent.values().map(String::as_str).collect();
    let moved: Vec<&Var> = trainable.iter().filter(|(n, _)| zeros.contains(n.as_str())).map(|(_, var)| var).collect();
    let kept: Vec<Tensor> = moved.iter().map(|var| var.as_tensor().copy()).collect::<candle_core::Result<_>>()?;
    for (var, (_, gradient)) in moved.iter().zip(first.iter().filter(|(name, _)| zeros.contains(name))) {
        // AdamW's first step goes by the signs alone.
        let step: Vec<f32> = gradient.iter().map(|g| -TRIAL_RATE * g.signum()).collect();
        var.set(&Tensor::from_vec(step, var.dims(), var.device())?)?;
    }
    drop(first);
    drop(before);
    let trial = gradients(recipe, &batch, seed);
    for (var, value) in moved.iter().zip(&kept) {
        var.set(value)?;
    }
    certificate.after_one_step = 0;
    for (name, gradient) in trial?.0.values()? {
        match kind(&gradient) {
            Kind::NotFinite => return Err(not_finite(name)),
            Kind::Some => certificate.after_one_step += 1,
            Kind::Zero => return Err(refused(&format!("{name} received no gradient after a trial step"))),
        }
    }
    Ok(certificate)
}

/// Tensors without a gradient while their other factor, which is named beside, is 0: A's is B' times something, and of an embedding,
/// where A starts at 0, B's is something times A'.
fn silent_at_first(trainable: &[(String, Var)]) -> Result<HashMap<String, String>> {
    let mut silent = HashMap::new();
    for (name, var) in trainable {
        for (zero, other) in [(".lora_B.weight", ".lora_A.weight"), (".lora_embedding_A", ".lora_embedding_B")] {
            if name.ends_with(zero) && is_zero(var.as_tensor())? {
                silent.insert(name.replace(zero, other), name.clone());
            }
        }
    }
    Ok(silent)
}

/// Gradients of every trainable tensor, and how many other tensors received one.
fn gradients(recipe: &dyn Recipe, batch: &Batch, seed: u64) -> Result<(Gradients, u32)> {
    let loss = recipe.loss(batch, Pass::Train { seed, step: TRIAL, first_row: 0 })?;
    let store = (loss / batch.supervised_tokens().max(1) as f64)?.backward()?;
    let trainable = recipe.decoder().trainable();
    let mut gradients = Gradients::new();
    gradients.add(&trainable, &store)?;
    let frozen = frozen_with_gradient(&store, &trainable);
    Ok((gradients, frozen))
}

/// After a backward pass the store holds the gradients of leaves only: trainable tensors, and what else got one.
/// A leaf of three axes or more is an activation below the first adapter, not a weight.
fn frozen_with_gradient(store: &GradStore, trainable: &[(String, Var)]) -> u32 {
    let known: Vec<candle_core::TensorId> = trainable.iter().map(|(_, var)| var.id()).collect();
    let weights = store.get_ids().filter(|id| store.get_id(**id).is_some_and(|gradient| gradient.rank() <= 2));
    weights.filter(|id| !known.contains(id)).count() as u32
}

enum Kind {
    Zero,
    Some,
    NotFinite,
}

fn kind(gradient: &[f32]) -> Kind {
    if gradient.iter().any(|v| !v.is_finite()) {
        Kind::NotFinite
    } else if gradient.iter().all(|v| *v == 0.0) {
        Kind::Zero
    } else {
        Kind::Some
    }
}

fn is_zero(tensor: &Tensor) -> Result<bool> {
    Ok(tensor.detach().abs()?.sum_all()?.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()? == 0.0)
}

fn refused(what: &str) -> Failure {
    Failure::new(ErrorCode::Internal, format!("the gradient certificate does not hold: {what}."))
        .hint("No step was taken. Please report this with the run folder.")
}

fn not_finite(name: &str) -> Failure {
    Failure::new(
        ErrorCode::NotFinite,
        format!("the gradient certificate does not hold: the gradient of {name} is not finite."),
    )
    .hint("No step was taken. Check the base model's weights, or use dtype float32.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Faulty, Place, bits, recipe, settings};
    use candle_core::Device;

    #[test]
    fn it_holds_for_an_adapter_and_leaves_every_bit() {
        let (place, h) = (Place::new(), settings());
        let recipe = recipe(&place.base(), &h);
        let before = bits(&recipe);
        let certificate = certify(&recipe, h.seed, 4).unwrap();
        // Two blocks of seven linears; B learns first, A only once B is not 0.
        let expected =
            Certificate { with_gradient: 14, zero_as_expected: 14, after_one_step: 28, frozen_with_gradient: 0 };
        assert_eq!(certificate, expected);
        assert!(bits(&recipe) == before);
    }

    /// (fresh and without a gradient, with one) before the first step, and all after it.
    #[test]
    fn it_holds_for_every_kind_of_adapter_and_for_all_weights() {
        let place = Place::new();
        for (settings_of_kind, silent, with) in [
            (&[("use_dora", "true")][..], 14, 28),
            (&[("lora_bias", "true")], 14, 28),
            (&[("init_lora_weights", "pissa")], 0, 28),
            (&[("init_lora_weights", "olora"), ("use_dora", "true")], 0, 42),
            (&[("target_modules", "embed_tokens,lm_head,q_proj")], 4, 4),
            (&[("target_modules", "embed_tokens,lm_head"), ("use_dora", "true")], 2, 4),
            (&[("modules_to_save", "norm,lm_head")], 14, 20),
            (&[("rank_pattern", "q_proj=4"), ("layers_to_transform", "1"), ("target_modules", "q_proj,v_proj")], 2, 2),
            (&[("finetuning_type", "full")], 0, 20),
            (&[("use_dora", "true"), ("load_in_4bit", "true")], 14, 28),
            (&[("init_lora_weights", "olora"), ("load_in_8bit", "true")], 0, 28),
            (&[("modules_to_save", "0.self_attn.o_proj"), ("load_in_4bit", "true")], 13, 14),
        ] {
            for dropout in ["0", "0.2"] {
                let mut h = settings();
                h.set("lora_dropout", dropout).unwrap();
                settings_of_kind.iter().for_each(|(key, value)| h.set(key, value).unwrap());
                let recipe = recipe(&place.base(), &h);
                let before = bits(&recipe);
                let certificate = certify(&recipe, h.seed, 4).unwrap_or_else(|e| panic!("{settings_of_kind:?}: {e}"));
                let found = (certificate.zero_as_expected, certificate.with_gradient, certificate.after_one_step);
                assert_eq!(found, (silent, with, silent + with), "{settings_of_kind:?}");
                assert!(bits(&recipe) == before);
            }
        }
    }

    #[test]
    fn a_loss_cut_off_from_the_weights_is_refused() {
        let (place, h) = (Place::new(), settings());
        let fault = |_, loss: Tensor| Ok(Var::from_tensor(&loss.detach())?.as_tensor().clone());
        let failure = certify(&Faulty { inner: recipe(&place.base(), &h), fault }, h.seed, 4).unwrap_err();
        assert!(failure.0.message.contains("lora_"), "{failure}");
    }

    #[test]
    fn a_loss_without_slope_is_refused_by_the_tensors_name() {
        let (place, h) = (Place::new(), settings());
        // Too small for an f32: every gradient becomes 0.
        let fault = |_, loss: Tensor| Ok(((loss * 1e-30)? * 1e-30)?);
        let failure = certify(&Faulty { inner: recipe(&place.base(), &h), fault }, h.seed, 4).unwrap_err();
        assert!(failure.0.message.contains("lora_B") && failure.0.message.contains("no gradient"), "{failure}");
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_refused_and_leaves_every_bit() {
        let (place, h) = (Place::new(), settings());
        let fault = |_, loss: Tensor| Ok((loss * f64::NAN)?);
        let faulty = Faulty { inner: recipe(&place.base(), &h), fault };
        let before = bits(&faulty);
        assert_eq!(certify(&faulty, h.seed, 4).unwrap_err().0.code, ErrorCode::NotFinite);
        assert!(bits(&faulty) == before);
    }

    #[test]
    fn a_frozen_weight_with_a_gradient_is_refused() {
        let (place, h) = (Place::new(), settings());
        let leak = Tensor::ones((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        // Candle's own product forms the gradient of a factor that nobody trains.
        let fault = |_, loss: Tensor| Ok((loss.broadcast_as((2, 2))? * &leak)?.sum_all()?);
        let failure = certify(&Faulty { inner: recipe(&place.base(), &h), fault }, h.seed, 4).unwrap_err();
        assert!(failure.0.message.contains("1 frozen"), "{failure}");
    }
}
