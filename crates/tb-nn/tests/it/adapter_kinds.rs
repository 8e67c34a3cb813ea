//! Every kind of adapter against PEFT (`tests/golden/nn/make_adapters.py`): logits, the 20 steps that follow, gradients, files both ways,
//! merging.

use crate::golden;
use crate::training::{relative, train_on};
use candle_core::{DType, Device, Tensor};
use tb_nn::checkpoint::read_tensors;
use tb_nn::{
    AdapterSwitch, AdapterUse, Batch, Checkpointing, Decoder, GgufFormat, LoraConfig, LoraForm, LoraInit, Pass, Row,
};

/// Folders of `tests/golden/nn/adapters`.
const KINDS: [&str; 15] = [
    "dora",
    "dora_ends",
    "lora_bias",
    "bias_all",
    "bias_lora_only",
    "patterns",
    "one_layer",
    "ends_tied",
    "ends_untied",
    "save_head",
    "save_embedding",
    "save_linear",
    "pissa",
    "pissa_dora",
    "olora",
];
const TRAIN: Pass = Pass::Train { seed: 1, step: 1, first_row: 0 };

struct Kind {
    base: String,
    record: serde_json::Value,
    folder: std::path::PathBuf,
}

impl Kind {
    fn of(name: &str) -> Self {
        let place = format!("adapters/{name}");
        let record = golden::json(&place, "training.json");
        let base = record["base"].as_str().unwrap().to_owned();
        Self { base, record, folder: golden::folder(&place) }
    }

    fn load(&self, usage: AdapterUse) -> Decoder {
        let mut decoder = golden::decoder(&self.base);
        decoder.load_adapter(&self.folder.join("start"), usage).unwrap();
        decoder
    }

    fn golden(&self) -> std::collections::HashMap<String, Tensor> {
        read_tensors(&self.folder.join("golden.safetensors"), &Device::Cpu).unwrap()
    }

    fn batch(&self) -> Batch {
        golden::batch(&self.golden())
    }

    /// The rows that PEFT trained on, as one batch with targets.
    fn rows(&self) -> Batch {
        let rows: Vec<Row> = golden::rows(&self.record["rows"]);
        Batch::from_rows(&rows, 0).unwrap()
    }
}

fn bits(t: &Tensor) -> Vec<u32> {
    golden::floats(t).into_iter().map(f32::to_bits).collect()
}

#[test]
fn every_kind_gives_peft_logits_and_leaves_the_base_behind_the_switch() {
    for name in KINDS {
        let kind = Kind::of(name);
        let golden = kind.golden();
        let batch = kind.batch();
        let mut decoder = kind.load(AdapterUse::Frozen);
        let on = decoder.logits(&batch).unwrap();
        let difference = golden::logit_difference(&on, &golden["logits"], &batch.lengths);
        eprintln!("{name}: logits differ by at most {difference:.2e}");
        assert!(difference <= 1e-4, "{name}: {difference}");
        assert!(decoder.trainable().is_empty(), "{name}: a frozen adapter is not trained");
        decoder.set_adapter(AdapterSwitch::Off);
        let off = decoder.logits(&batch).unwrap();
        assert_eq!(bits(&off), bits(&golden::decoder(&kind.base).logits(&batch).unwrap()), "{name}");
        assert!(golden::max_difference(&on, &off) > 1e-3, "{name}: the golden adapter must do something");
    }
}

#[test]
fn every_kind_learns_as_in_peft() {
    for name in KINDS {
        let kind = Kind::of(name);
        let decoder = kind.load(AdapterUse::Trained);
        assert_eq!(decoder.parameter_counts().trainable, kind.record["trainable"].as_u64().unwrap(), "{name}");
        let plan = decoder.adapter_plan().unwrap().parameters();
        assert_eq!(plan, kind.record["trainable"].as_u64().unwrap(), "{name}: the estimate counts the same");
        let run = train_on(&kind.record, decoder);
        let loss = relative(&run.losses, &kind.record["losses"]);
        let norm = relative(&run.norms, &kind.record["grad_norms"]);
        eprintln!("{name}: losses {loss:.2e}, gradient norms {norm:.2e} relative");
        assert!(loss <= 1e-4 && norm <= 1e-3, "{name}: {loss} {norm}");
    }
}

/// What is taken from the base has the same product whatever the signs of its vectors, so the losses from the start on are PEFT's.
#[test]
fn adapters_that_start_in_the_base_learn_as_in_peft_from_the_first_step() {
    for name in ["pissa", "pissa_dora", "olora"] {
        let kind = Kind::of(name);
        let mut record = kind.record.clone();
        record["losses"] = record["fresh_losses"].clone();
        let config = kind.load(AdapterUse::Frozen).lora().unwrap().clone();
        assert!(config.init.takes_from_base());
        let mut decoder = golden::decoder(&kind.base);
        let before = decoder.logits(&kind.batch()).unwrap();
        decoder.add_lora(&config, 1).unwrap();
        let start = golden::max_difference(&decoder.logits(&kind.batch()).unwrap(), &before);
        assert!(start <= 1e-4, "{name} begins at the base: {start}");
        let loss = relative(&train_on(&record, decoder).losses, &record["losses"]);
        eprintln!("{name}: losses from the first step {loss:.2e} relative");
        assert!(loss <= 1e-4, "{name}: {loss}");
    }
}

#[test]
fn the_iterated_start_is_near_the_exact_one_and_a_function_of_the_seed() {
    let kind = Kind::of("pissa");
    let exact = kind.load(AdapterUse::Frozen).lora().unwrap().clone();
    let product = |init, seed| {
        let mut decoder = golden::decoder(&kind.base);
        decoder.add_lora(&LoraConfig { init, ..exact.clone() }, seed).unwrap();
        let all = decoder.trainable();
        all[1].1.matmul(all[0].1.as_tensor()).unwrap()
    };
    let iterated = product(LoraInit::PissaIterated(32), 1);
    let gap = golden::max_difference(&iterated, &product(LoraInit::Pissa, 1));
    assert!(gap < 0.05, "{gap}");
    assert_eq!(bits(&iterated), bits(&product(LoraInit::PissaIterated(32), 1)));
    assert_ne!(bits(&product(LoraInit::PissaIterated(1), 1)), bits(&product(LoraInit::PissaIterated(1), 2)));
}

#[test]
fn merged_equals_unmerged() {
    for name in KINDS {
        let kind = Kind::of(name);
        let batch = kind.batch();
        let mut decoder = kind.load(AdapterUse::Frozen);
        let unmerged = decoder.logits(&batch).unwrap();
        let dir = golden::TempDir::new();
        decoder.save_merged(dir.path(), DType::F32).unwrap();
        decoder.merge_adapter().unwrap();
        let merged = decoder.logits(&batch).unwrap();
        let difference = golden::max_difference(&merged, &unmerged);
        eprintln!("{name}: merging changes a logit by at most {difference:.2e}");
        assert!(difference <= 1e-4, "{name}: {difference}");
        let loaded = Decoder::load(dir.path(), DType::F32, golden::device()).unwrap();
        assert_eq!(bits(&loaded.logits(&batch).unwrap()), bits(&merged), "{name}");
        let file = dir.path().join("merged.gguf");
        kind.load(AdapterUse::Frozen).save_gguf(&file, GgufFormat::F32, name, &[]).unwrap();
        let loaded = Decoder::load(&file, DType::F32, golden::device()).unwrap();
        let difference = golden::logit_difference(&loaded.logits(&batch).unwrap(), &unmerged, &batch.lengths);
        assert!(difference <= 1e-4, "{name} as GGUF: {difference}");
    }
}

#[test]
fn a_broken_adapter_is_not_merged_and_a_bias_without_a_place_neither() {
    let mut decoder = Kind::of("dora").load(AdapterUse::Trained);
    let (name, var) = decoder.trainable().swap_remove(0);
    var.set(&(var.as_tensor() * f64::NAN).unwrap()).unwrap();
    let text = decoder.merge_adapter().unwrap_err().to_string();
    assert!(text.contains("q_proj.weight") && text.contains("finite"), "{name}: {text}");
    assert!(decoder.lora().is_some(), "nothing has changed");
    let mut decoder = golden::decoder("llama_tied");
    let config = LoraConfig { form: LoraForm::WithBias, ..LoraConfig::default() };
    decoder.add_lora(&config, 1).unwrap();
    let text = decoder.merge_adapter().unwrap_err().to_string();
    assert!(text.contains("lora_bias") && text.contains("q_proj"), "{text}");
}

/// What is saved is loaded onto the unchanged base and answers alike; what is saved again has the same bytes.
#[test]
fn our_files_come_back() {
    for name in KINDS {
        let kind = Kind::of(name);
        let batch = kind.batch();
        let decoder = kind.load(AdapterUse::Trained);
        let dir = golden::TempDir::new();
        decoder.save_adapter(dir.path(), "org/base").unwrap();
        let mut again = golden::decoder(&kind.base);
        let config = again.load_adapter(dir.path(), AdapterUse::Trained).unwrap();
        let (ours, theirs) = (again.logits(&batch).unwrap(), decoder.logits(&batch).unwrap());
        if decoder.adapter_is_converted() {
            assert_eq!((config.init, config.r), (LoraInit::KaimingUniform, 6), "{name}");
            assert!(golden::max_difference(&ours, &theirs) <= 1e-5, "{name}");
        } else {
            assert_eq!(bits(&ours), bits(&theirs), "{name}");
        }
        let file = dir.path().join("adapter_model.safetensors");
        let bytes = std::fs::read(&file).unwrap();
        again.save_adapter(dir.path(), "org/base").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{name}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_every_weight_a_gradient() {
    for name in KINDS {
        let kind = Kind::of(name);
        let config = kind.load(AdapterUse::Frozen).lora().unwrap().clone();
        let made = |dropout| {
            let mut decoder = golden::decoder(&kind.base);
            decoder.add_lora(&LoraConfig { lora_dropout: dropout, ..config.clone() }, 7).unwrap();
            decoder
        };
        for dropout in [0.0, 0.3] {
            let (one, mut two) = (made(dropout), made(dropout));
            two.set_checkpointing(Checkpointing::PerBlock);
            // B is zero at first: move everything, so that everything has a gradient.
            for (_, var) in one.trainable().iter().chain(&two.trainable()) {
                var.set(&(var.as_tensor() + 0.02).unwrap()).unwrap();
            }
            let grads = |d: &Decoder| d.loss(&kind.rows(), TRAIN).unwrap().backward().unwrap();
            let (a, b) = (grads(&one), grads(&two));
            for ((name_a, x), (_, y)) in one.trainable().iter().zip(two.trainable()) {
                let (x, y) = (a.get(x.as_tensor()).unwrap(), b.get(y.as_tensor()).unwrap());
                assert!(golden::floats(x).iter().any(|v| *v != 0.0), "{name}: {name_a} has no gradient");
                assert_eq!(bits(x), bits(y), "{name}: {name_a} recomputed");
            }
            let known: Vec<_> = one.trainable().iter().map(|(_, v)| v.as_tensor().id()).collect();
            let left = a.get_ids().filter(|id| !known.contains(id) && a.get_id(**id).unwrap().rank() <= 2).count();
            assert_eq!(left, 0, "{name}: a frozen weight has a gradient");
        }
    }
}

/// DoRA holds its norms constant in the backward pass, so that A's and B's gradients are not those of the loss: only the lengths' are checked.
#[test]
fn gradients_are_those_of_finite_differences() {
    let mut worst = 0f64;
    for name in KINDS {
        let kind = Kind::of(name);
        let decoder = kind.load(AdapterUse::Trained);
        let decomposed = decoder.lora().unwrap().form == LoraForm::WeightDecomposed;
        let rows = kind.rows();
        let loss = || f64::from(decoder.loss(&rows, TRAIN).unwrap().to_scalar::<f32>().unwrap());
        let grads = decoder.loss(&rows, TRAIN).unwrap().backward().unwrap();
        for (weight, var) in decoder.trainable() {
            if decomposed && !weight.contains("magnitude") {
                continue;
            }
            let (slope, size) = golden::slope_and_length(&var, grads.get(var.as_tensor()).unwrap(), loss);
            let error = (slope - size).abs() / size.max(1.0);
            worst = worst.max(error);
            assert!(error <= 1e-3, "{name}: {weight}: {slope} instead of {size}");
        }
    }
    eprintln!("gradients differ from finite differences by at most {worst:.2e}");
}

/// As PEFT: `dropout(x)` feeds both parts of a weight-decomposed layer in training, and nothing in evaluation.
#[test]
fn dropout_leaves_evaluation_alone() {
    for name in ["dora", "dora_ends", "pissa", "ends_tied"] {
        let kind = Kind::of(name);
        let config = kind.load(AdapterUse::Frozen).lora().unwrap().clone();
        let made = |dropout| {
            let mut decoder = golden::decoder(&kind.base);
            decoder.add_lora(&LoraConfig { lora_dropout: dropout, ..config.clone() }, 7).unwrap();
            for (_, var) in decoder.trainable() {
                var.set(&(var.as_tensor() + 0.02).unwrap()).unwrap();
            }
            decoder
        };
        let (with, without) = (made(0.4), made(0.0));
        let loss = |d: &Decoder, pass| d.loss(&kind.rows(), pass).unwrap().to_scalar::<f32>().unwrap();
        let eval = loss(&with, Pass::Eval);
        assert!((eval - loss(&without, Pass::Eval)).abs() <= 1e-3, "{name}");
        let at = |step| loss(&with, Pass::Train { seed: 1, step, first_row: 0 });
        assert!(at(1) != eval && at(1) == at(1) && at(1) != at(2), "{name}");
        let logprobs = with.token_logprobs(&kind.rows()).unwrap();
        let sum: f32 = logprobs.iter().flatten().sum();
        assert!((sum + eval).abs() <= 1e-2, "{name}: evaluation sums to the loss: {sum} {eval}");
    }
}

/// Every weight trains: the variables are all of the checkpoint's, and the result is loaded like any model.
#[test]
fn a_loaded_model_trains_in_full() {
    let mut decoder = golden::decoder("llama_tied");
    let batch = Kind::of("one_layer").rows();
    let before = decoder.logits(&batch).unwrap();
    decoder.train_all().unwrap();
    assert!(golden::max_difference(&decoder.logits(&batch).unwrap(), &before) <= 1e-5);
    let counts = decoder.parameter_counts();
    assert_eq!(counts.trainable, counts.total);
    assert!(decoder.add_lora(&LoraConfig::default(), 1).is_err() && decoder.train_all().is_err());
    let record = Kind::of("one_layer").record;
    let run = train_on(&record, decoder);
    assert!(run.losses.last() < run.losses.first());
    let dir = golden::TempDir::new();
    run.decoder.save_full(dir.path(), DType::F32).unwrap();
    let loaded = Decoder::load(dir.path(), DType::F32, golden::device()).unwrap();
    assert!(golden::max_difference(&loaded.logits(&batch).unwrap(), &run.decoder.logits(&batch).unwrap()) <= 1e-5);
}
