//! The memory of an adapter's training on a GPU, as far as the device holds it: follows tb-nn's `attention_block/gpu.rs`, `mlp_block/gpu.rs` and
//! `cross_entropy/gpu.rs`. What is in the host's memory beside it is not counted.

use super::{Activations, Dropout, F32, Footprint, Part, Widths, Workload, optimizer_bytes, supervised_rows};
use crate::adapter::{AdapterPlan, Role};
use crate::decoder_config::{DecoderConfig, Norms};
use crate::quantization::{BLOCK, Quantization};
use crate::recipe::Optim;

/// Scratch memory of the products, and what small values take.
const SCRATCH_BYTES: u64 = 34 << 20;
/// f32 logits that exist at once, at most.
const LOGITS_BYTES: u64 = 320 << 20;

/// The memory of a run with this adapter at its peak.
pub(super) fn footprint(config: &DecoderConfig, run: &Workload, plan: &AdapterPlan, dropout: Dropout) -> Footprint {
    let (w, layers) = (Widths::of(config), config.num_hidden_layers as u64);
    let number = run.weight_bytes;
    let tokens = run.train.rows * run.train.width;
    let linears = || plan.modules.iter().filter(|m| m.role == Role::Linear);
    let of_layer = |sum: u64| sum.div_ceil(layers.max(1));
    let after = match config.layout().norms {
        Norms::Before => 0,
        Norms::Around | Norms::After => 2 * w.c,
    };
    let masks = match dropout {
        Dropout::On => of_layer(linears().map(|m| m.inputs as u64).sum::<u64>() / 8),
        Dropout::Off => 0,
    };
    let narrow = of_layer(linears().map(|m| m.rank as u64).sum());
    // Inputs of both halves; q, k, v and what was attended; gate and up; the sums of attention.
    let kept = number * (2 * w.c + 2 * w.q + 2 * w.kv + 2 * w.f + after + narrow) + F32 * w.heads + masks;
    let blocks = match run.activations {
        Activations::Kept => layers * kept,
        Activations::Recomputed => number * layers * w.c + kept + 6 * number * w.c,
    };
    // The gradients of gate, up and their product, or those of q, k and v with their f32 parts of each query head.
    let feed_forward = number * (3 * w.f + 4 * w.c);
    let attention = number * (3 * w.q + 4 * w.kv + 4 * w.c) + 2 * F32 * w.q;
    let backward = tokens * feed_forward.max(attention);
    let v = (config.vocab_size as u64).max(1);
    let rows = supervised_rows(LOGITS_BYTES, v, 4096).min(run.train.supervised);
    let logits = rows * v * F32 + 2 * number * run.train.supervised * w.c;
    let trainable = plan.parameters();
    let optimizer = match run.optim {
        Optim::AdamwTorch => optimizer_bytes(config, run),
        // Moments in 8 bits stay with the host.
        Optim::Adamw8bit => 0,
    };
    // Of both passes the one that takes more is the peak: logits are gone when the blocks go back.
    let (logits, backward) = if logits > backward { (logits, 0) } else { (0, backward) };
    let parts = [
        Part { name: "process", bytes: SCRATCH_BYTES },
        Part { name: "base_weights", bytes: base_bytes(config, run) },
        // As they are, and joined for the blocks' operations.
        Part { name: "adapter", bytes: (2 * trainable + plan.taken()) * F32 },
        Part { name: "optimizer", bytes: optimizer },
        Part { name: "gradients", bytes: 2 * trainable * F32 },
        Part { name: "activations", bytes: tokens * (blocks + 2 * number * w.c) + backward },
        Part { name: "logits", bytes: logits },
    ];
    Footprint { phase: "training", parts: parts.into_iter().filter(|p| p.bytes > 0).collect() }
}

/// The base as the device holds it, and one matrix of it while that is dequantised.
fn base_bytes(config: &DecoderConfig, run: &Workload) -> u64 {
    let linears = config.linears();
    let all = config.parameter_count();
    let values: u64 = linears.iter().map(|l| (l.inputs * l.outputs) as u64).sum();
    let held = match run.quantization {
        None => return all * run.weight_bytes,
        Some(Quantization::EightBit) => values + F32 * linears.iter().map(|l| l.outputs as u64).sum::<u64>(),
        // Scales are f32 there, whatever they are in the file.
        Some(Quantization::FourBit { .. }) => values / 2 + F32 * values.div_ceil(BLOCK as u64),
    };
    let widest = linears.iter().map(|l| (l.inputs * l.outputs) as u64).max().unwrap_or(0);
    (all - values) * run.weight_bytes + held + widest * run.weight_bytes
}

#[cfg(test)]
mod tests {
    use super::super::{BatchShape, Trained, Where, footprint};
    use super::*;
    use crate::adapter::{TargetModules, Unmatched, plan};
    use crate::lora::LoraConfig;
    use crate::quantization::{FourBitType, Scales};
    use crate::recipe::Dtype;
    use serde_json::json;

    /// What an H200 gave for a LoRA step of Qwen2.5-1.5B's shape (crates/BENCHMARKS.md).
    #[test]
    fn peaks_are_those_that_were_measured() {
        let config = DecoderConfig::from_json(&json!({
            "model_type": "llama", "vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
            "num_attention_heads": 12, "num_key_value_heads": 2, "tie_word_embeddings": true,
        }))
        .unwrap();
        let targets = ["q_proj", "k_proj", "v_proj", "o_proj"].map(String::from).to_vec();
        let lora = LoraConfig { r: 8, target_modules: TargetModules::List(targets), ..LoraConfig::default() };
        let nf4 = Quantization::FourBit { kind: FourBitType::Nf4, scales: Scales::Double, compute: Dtype::Auto };
        for (rows, activations, quantization, measured) in [
            (1, Activations::Kept, None, 6_380_292_192_u64),
            (4, Activations::Kept, None, 15_182_535_400),
            (4, Activations::Recomputed, None, 4_997_372_434),
            (4, Activations::Kept, Some(nf4), 13_299_141_608),
        ] {
            let run = Workload {
                trained: Trained::Adapter {
                    plan: plan(&config, &lora, Unmatched::Refused).unwrap(),
                    dropout: Dropout::On,
                },
                place: Where::Gpu,
                weight_bytes: 2,
                quantization,
                optim: Optim::AdamwTorch,
                file_bytes: 0,
                activations,
                train: BatchShape { rows, width: 2048, supervised: rows * 1024 },
                eval: BatchShape::default(),
                data_rows: 0,
                data_tokens: 0,
                data_bytes: 0,
                threads: 16,
            };
            let off = footprint(&config, &run).total_bytes() as f64 / measured as f64 - 1.0;
            assert!(off.abs() < 0.02, "{rows} rows, {activations:?}, {quantization:?}: {:.1} %", 100.0 * off);
        }
    }
}
