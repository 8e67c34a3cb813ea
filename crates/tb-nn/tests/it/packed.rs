//! Samples packed into one row are what they are in rows of their own: logits, losses, gradients; recomputed or not.

use crate::golden;
use candle_core::{IndexOp, Tensor, backprop::GradStore};
use tb_core::random::{Purpose, Stream};
use tb_nn::{Batch, Checkpointing, Decoder, LoraConfig, Pass, Row, TargetModules};

const TRAIN: Pass = Pass::Train { seed: 1, step: 3, first_row: 0 };

/// Samples of 1 to 40 tokens, the second half of each supervised.
fn samples(vocabulary: u64) -> Vec<Row> {
    let mut stream = Stream::new(4, 0, Purpose::Grammar, 0);
    [7usize, 40, 1, 12, 23]
        .iter()
        .map(|n| {
            let ids: Vec<u32> = (0..*n).map(|_| stream.below(vocabulary) as u32).collect();
            let labels = ids.iter().enumerate().map(|(t, id)| if t >= n / 2 { *id as i32 } else { -100 }).collect();
            Row { ids, labels }
        })
        .collect()
}

fn adapted(name: &str, dropout: f64) -> Decoder {
    let mut decoder = golden::decoder(name);
    let config =
        LoraConfig { r: 4, lora_dropout: dropout, target_modules: TargetModules::AllLinear, ..LoraConfig::default() };
    decoder.add_lora(&config, 5).unwrap();
    // B must not be zero for A to learn.
    for (_, var) in decoder.trainable() {
        var.set(&(var.as_tensor() + 0.02).unwrap()).unwrap();
    }
    decoder
}

fn packs(samples: &[Row]) -> Vec<Vec<Row>> {
    vec![samples[..3].to_vec(), samples[3..].to_vec()]
}

fn backward(decoder: &Decoder, batch: &Batch) -> (f32, GradStore) {
    let loss = decoder.loss(batch, TRAIN).unwrap();
    (loss.to_scalar().unwrap(), loss.backward().unwrap())
}

fn bits(grads: &GradStore, decoder: &Decoder) -> Vec<Vec<u32>> {
    let of = |t: &Tensor| golden::floats(t).into_iter().map(f32::to_bits).collect();
    decoder.trainable().iter().map(|(_, var)| of(grads.get(var.as_tensor()).unwrap())).collect()
}

#[test]
fn logits_losses_and_gradients_are_those_of_single_rows() {
    for name in golden::MODELS {
        let decoder = adapted(name, 0.0);
        let samples = samples(decoder.config().vocab_size as u64);
        let packed = Batch::packed(&packs(&samples), 0).unwrap();
        let single = Batch::from_rows(&samples, 0).unwrap();
        assert!(packed.rows * packed.width < single.rows * single.width);

        let (ours, theirs) = (decoder.logits(&packed).unwrap(), decoder.logits(&single).unwrap());
        let places = [(0, 0), (0, 7), (0, 47), (1, 0), (1, 12)];
        for (i, ((row, at), sample)) in places.into_iter().zip(&samples).enumerate() {
            let n = sample.ids.len();
            let (a, b) = (ours.i((row, at..at + n)).unwrap(), theirs.i((i, ..n)).unwrap());
            let off = golden::max_difference(&a.contiguous().unwrap(), &b.contiguous().unwrap());
            assert!(off <= 1e-5, "{name}, sample {i}: {off:e}");
        }
        let logprobs = |batch| decoder.token_logprobs(batch).unwrap().concat();
        let (ours, theirs) = (logprobs(&packed), logprobs(&single));
        assert_eq!(ours.len(), theirs.len());
        assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= 1e-5));

        let ((loss, grads), (want, wanted)) = (backward(&decoder, &packed), backward(&decoder, &single));
        assert!((loss - want).abs() <= 1e-5 * want, "{name}: {loss} {want}");
        for (key, var) in decoder.trainable() {
            let (a, b) = (grads.get(var.as_tensor()).unwrap(), wanted.get(var.as_tensor()).unwrap());
            let largest = golden::floats(b).iter().fold(0f32, |m, v| m.max(v.abs()));
            let off = golden::max_difference(a, b);
            assert!(off <= 1e-5 * largest, "{name}, {key}: {off:e} of {largest:e}");
        }
    }
}

#[test]
fn a_sample_does_not_see_its_neighbours() {
    let decoder = adapted("qwen2", 0.0);
    let mut samples = samples(decoder.config().vocab_size as u64);
    let last =
        |samples: &[Row]| decoder.logits(&Batch::packed(&packs(samples), 0).unwrap()).unwrap().i((0, 7..47)).unwrap();
    let before = golden::floats(&last(&samples).contiguous().unwrap());
    samples[0].ids.iter_mut().for_each(|id| *id = (*id + 1) % 7);
    samples[2].ids[0] ^= 1;
    assert_eq!(golden::floats(&last(&samples).contiguous().unwrap()), before);
}

#[test]
fn recomputation_and_dropout_keep_their_bits_in_packed_rows() {
    for dropout in [0.0, 0.3] {
        let mut decoder = adapted("llama_tied", dropout);
        decoder.set_noise(5.0);
        let batch = Batch::packed(&packs(&samples(decoder.config().vocab_size as u64)), 0).unwrap();
        let (loss, grads) = backward(&decoder, &batch);
        let (again, twice) = backward(&decoder, &batch);
        assert!(loss == again && bits(&grads, &decoder) == bits(&twice, &decoder));
        decoder.set_checkpointing(Checkpointing::PerBlock);
        let (again, recomputed) = backward(&decoder, &batch);
        assert!(loss == again && bits(&grads, &decoder) == bits(&recomputed, &decoder));
    }
}

#[test]
fn micro_batches_add_up_also_with_dropout_and_noise() {
    for name in ["qwen2", "llama_scaled"] {
        let mut decoder = adapted(name, 0.25);
        decoder.set_noise(5.0);
        let mut rows: Vec<Row> = samples(decoder.config().vocab_size as u64);
        rows.remove(2); // A single token has nothing to learn.
        let rows = [rows.clone(), rows].concat();
        let step = |micro: usize| {
            let mut total = 0f64;
            let mut gradients = tb_nn::optim::Gradients::new();
            for (i, part) in rows.chunks(micro).enumerate() {
                let pass = Pass::Train { seed: 1, step: 3, first_row: (i * micro) as u32 };
                let loss = decoder.loss(&Batch::from_rows(part, 0).unwrap(), pass).unwrap();
                total += f64::from(loss.to_scalar::<f32>().unwrap());
                gradients.add(&decoder.trainable(), &loss.backward().unwrap()).unwrap();
            }
            (total, gradients)
        };
        let (whole, gradients) = step(8);
        for micro in [4, 1] {
            let (loss, others) = step(micro);
            assert!((loss - whole).abs() <= 1e-5 * whole, "{micro}: {loss} {whole}");
            for ((key, a), (_, b)) in gradients.values().unwrap().iter().zip(others.values().unwrap().iter()) {
                let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
                let off = a.iter().zip(b.iter()).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(off <= 1e-5 * largest.max(1.0), "{key}: {off:e} of {largest:e}");
            }
        }
    }
}

#[test]
fn noise_is_for_training_alone_and_a_function_of_seed_and_step() {
    let mut decoder = adapted("qwen2", 0.0);
    let batch = Batch::from_rows(&samples(decoder.config().vocab_size as u64), 0).unwrap();
    let loss = |decoder: &Decoder, pass| decoder.loss(&batch, pass).unwrap().to_scalar::<f32>().unwrap();
    let (plain, eval) = (loss(&decoder, TRAIN), loss(&decoder, Pass::Eval));
    decoder.set_noise(5.0);
    assert_ne!(loss(&decoder, TRAIN), plain);
    assert_eq!(loss(&decoder, TRAIN), loss(&decoder, TRAIN));
    assert_ne!(loss(&decoder, TRAIN), loss(&decoder, Pass::Train { seed: 1, step: 4, first_row: 0 }));
    assert_eq!(loss(&decoder, Pass::Eval), eval);
}
