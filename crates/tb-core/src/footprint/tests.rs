//! The host's memory, part by part.

use super::*;
use crate::adapter::{TargetModules, Unmatched, plan};
use crate::lora::LoraConfig;
use crate::quantization::{FourBitType, Scales};
use crate::recipe::Dtype;
use serde_json::json;

fn config() -> DecoderConfig {
    DecoderConfig::from_json(&json!({
        "model_type": "llama", "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": true,
    }))
    .unwrap()
}

fn adapter(form: LoraForm, dropout: Dropout) -> Trained {
    let lora = LoraConfig { r: 4, target_modules: TargetModules::AllLinear, form, ..LoraConfig::default() };
    Trained::Adapter { plan: plan(&config(), &lora, Unmatched::Refused).unwrap(), dropout }
}

fn workload() -> Workload {
    Workload {
        trained: adapter(LoraForm::Plain, Dropout::Off),
        place: Where::Host,
        weight_bytes: 4,
        quantization: None,
        optim: Optim::AdamwTorch,
        file_bytes: 0,
        activations: Activations::Kept,
        train: BatchShape { rows: 8, width: 100, supervised: 400 },
        eval: BatchShape::default(),
        data_rows: 0,
        data_tokens: 0,
        data_bytes: 0,
        threads: 1,
    }
}

fn part(found: &Footprint, name: &str) -> u64 {
    found.parts.iter().find(|p| p.name == name).map_or(0, |p| p.bytes)
}

#[test]
fn weights_are_counted_exactly() {
    // Per layer: q 64+64, k and v 64+32 each, o 64+64, gate and up 64+128 each, down 128+64; times rank 4, three layers.
    let per_layer = 4 * (128 + 96 + 96 + 128 + 192 + 192 + 192);
    let (trainable, total) = parameters(&config(), &workload().trained);
    assert_eq!((trainable, total), (3 * per_layer, config().parameter_count() + 3 * per_layer));
    let found = footprint(&config(), &workload());
    assert_eq!(part(&found, "base_weights"), config().parameter_count() * 4);
    assert_eq!((part(&found, "adapter"), part(&found, "optimizer")), (trainable * 4, trainable * 8));
    assert_eq!(parameters(&config(), &Trained::All).0, config().parameter_count());
}

#[test]
fn each_way_to_save_memory_saves() {
    let total = |run: &Workload| footprint(&config(), run).total_bytes();
    let now = workload();
    let less = [
        Workload { activations: Activations::Recomputed, ..now.clone() },
        Workload { train: BatchShape { rows: 4, supervised: 200, ..now.train }, ..now.clone() },
        Workload { train: BatchShape { width: 50, ..now.train }, ..now.clone() },
        Workload { weight_bytes: 2, ..now.clone() },
    ];
    for run in less {
        assert!(total(&run) < total(&now), "{run:?}");
    }
    for trained in [adapter(LoraForm::Plain, Dropout::On), adapter(LoraForm::WeightDecomposed, Dropout::Off)] {
        assert!(total(&Workload { trained, ..now.clone() }) > total(&now));
    }
}

#[test]
fn fewer_bits_are_counted_by_their_layout() {
    let found = |quantization| {
        let run = Workload { quantization: Some(quantization), ..workload() };
        part(&footprint(&config(), &run), "base_weights") - PANEL_BYTES
    };
    // Inside the linears: per layer 64 x 64 twice, 32 x 64 twice, 128 x 64 twice, 64 x 128.
    let (inside, rows) = (3 * (2 * 4096 + 2 * 2048 + 3 * 8192), 3 * (64 + 32 + 32 + 64 + 128 + 128 + 64));
    let rest = (config().parameter_count() - inside) * 4;
    assert_eq!(found(Quantization::EightBit), rest + inside + 4 * rows);
    let nf4 = |scales| Quantization::FourBit { kind: FourBitType::Nf4, scales, compute: Dtype::Auto };
    assert_eq!(found(nf4(Scales::Plain)), rest + inside / 2 + 4 * inside / 64);
    assert_eq!(found(nf4(Scales::Double)), rest + inside / 2 + inside / 64 + 4 * 3 * 7);
}

#[test]
fn eight_bit_moments_are_for_tensors_that_are_large_enough() {
    let run = |r, more: LoraConfig| {
        let lora = LoraConfig { r, target_modules: TargetModules::List(vec!["up_proj".into()]), ..more };
        let trained =
            Trained::Adapter { plan: plan(&config(), &lora, Unmatched::Refused).unwrap(), dropout: Dropout::Off };
        let found = footprint(&config(), &Workload { trained, optim: Optim::Adamw8bit, ..workload() });
        part(&found, "optimizer")
    };
    // A (r, 64) and B (128, r) in three layers.
    assert_eq!(run(16, LoraConfig::default()), 3 * 8 * 16 * (64 + 128));
    assert_eq!(run(32, LoraConfig::default()), 3 * (8 * 32 * 64 + 2 * (4096 + 4 * 16)));
    // DoRA's lengths (128), and a copy of the output projection (64, 64) that trains in full.
    let dora = LoraConfig { form: LoraForm::WeightDecomposed, ..LoraConfig::default() };
    assert_eq!(run(16, dora), 3 * 8 * (16 * (64 + 128) + 128));
    let saved = LoraConfig { modules_to_save: vec!["o_proj".into()], ..LoraConfig::default() };
    assert_eq!(run(16, saved), 3 * (8 * 16 * (64 + 128) + 2 * (4096 + 4 * 16)));
}

#[test]
fn an_evaluation_needs_less_than_training_whatever_its_batch() {
    let total = |run: &Workload| footprint(&config(), run).total_bytes();
    let alone = total(&workload());
    for rows in [1, 8, 512, 65_536] {
        for width in [3, 100, 799] {
            let eval = BatchShape { rows, width, supervised: rows * width / 2 };
            let with = Workload { eval, ..workload() };
            // Who evaluates keeps the tokenizer; besides that, nothing more is needed.
            assert_eq!(total(&with) - alone, 1000 * TOKENIZER_BYTES_PER_TOKEN, "{eval:?}");
        }
    }
}

#[test]
fn the_peak_is_where_the_most_is_held() {
    let phase = |run: &Workload| footprint(&config(), run).phase;
    assert_eq!(phase(&workload()), "training");
    assert_eq!(phase(&Workload { file_bytes: 1 << 30, ..workload() }), "loading");
    // One held-out row that is longer than all rows to learn together.
    let eval = BatchShape { rows: 1, width: 50_000, supervised: 100 };
    assert_eq!(phase(&Workload { eval, ..workload() }), "evaluation");
}
