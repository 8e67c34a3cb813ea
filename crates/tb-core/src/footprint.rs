//! How much memory a training run needs, from the shapes alone: what the worker holds between steps, and the peak of each of its
//! phases. Pure arithmetic; which terms there are follows tb-nn's operations, and a test of tb-worker measures them.

mod gpu;

use crate::adapter::{AdapterPlan, Role};
use crate::decoder_config::{Bias, DecoderConfig, HeadKind, Norms, Projections, QueryKeyNorm};
use crate::lora::LoraForm;
use crate::quantization::{BYTE_BLOCK, Quantization};
use crate::recipe::Optim;

/// Bytes of a number in f32.
const F32: u64 = 4;
/// The worker before it has opened anything: program, threads, allocator.
const PROCESS_BYTES: u64 = 16 << 20;
/// A tokenizer in memory, per byte of vocabulary: the library keeps several maps of it.
const TOKENIZER_BYTES_PER_TOKEN: u64 = 700;
/// Bytes kept per row of data besides its tokens: its place and figures in the mapped store, its length and its place in the order.
const ROW_BYTES: u64 = 32;
/// Scratch of one thread: two tiles of attention scores and the packing of a matrix product.
const THREAD_BYTES: u64 = 1 << 20;
/// Logits that exist at once, at most (tb-nn's `cross_entropy`).
const LOGITS_BYTES: u64 = 48 << 20;
/// A panel of a quantised weight while it is dequantised for its product (tb-nn's `matmul`).
const PANEL_BYTES: u64 = 1 << 20;
/// Tensors below so many values keep f32 moments (bitsandbytes' `min_8bit_size`).
const MIN_8BIT_VALUES: u64 = 4096;

/// Which weights train.
#[derive(Clone, Debug, PartialEq)]
pub enum Trained {
    /// An adapter in f32 on a frozen base.
    Adapter {
        /// Where it sits, and what trains along.
        plan: AdapterPlan,
        /// Whether its input is dropped out in training: a bit of mask is kept per input.
        dropout: Dropout,
    },
    /// Every weight, in f32.
    All,
}

/// Whether an adapter's input is dropped out in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropout {
    /// Yes.
    On,
    /// No.
    Off,
}

/// What a block keeps for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// Every inner result.
    Kept,
    /// Its input only (`gradient_checkpointing`).
    Recomputed,
}

/// Whose memory is counted: that of the device that computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Where {
    /// The machine's own.
    #[default]
    Host,
    /// A GPU's.
    Gpu,
}

/// The largest batch of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchShape {
    /// Rows, padded to the longest.
    pub rows: u64,
    /// Tokens of the longest.
    pub width: u64,
    /// Tokens that carry loss, over all rows.
    pub supervised: u64,
}

/// A training run as far as its memory depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Which weights train.
    pub trained: Trained,
    /// Whose memory is counted.
    pub place: Where,
    /// Bytes of one base weight in memory, as far as it is not quantised.
    pub weight_bytes: u64,
    /// How the base's linear layers are held, if in fewer bits.
    pub quantization: Option<Quantization>,
    /// The optimiser.
    pub optim: Optim,
    /// Size of the weight files, of which one tensor at a time is mapped while it is read; 0 for random weights.
    pub file_bytes: u64,
    /// What the blocks keep.
    pub activations: Activations,
    /// The largest micro-batch.
    pub train: BatchShape,
    /// The largest batch of an evaluation; no rows if there is none.
    pub eval: BatchShape,
    /// Rows of both files.
    pub data_rows: u64,
    /// Their tokens.
    pub data_tokens: u64,
    /// Size of both files.
    pub data_bytes: u64,
    /// Threads that compute.
    pub threads: u64,
}

/// One part of the memory of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name: `process`, `data`, `base_weights`, `adapter`, `optimizer`, `gradients`, `activations`, `logits` or `loading`.
    pub name: &'static str,
    /// Its size.
    pub bytes: u64,
}

/// The memory of a run at its peak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The phase in which the peak falls: `loading`, `training` or `evaluation`. The gradient certificate before the first step
    /// takes the passes of a part of a micro-batch: less than training.
    pub phase: &'static str,
    /// What is held then; no part is empty.
    pub parts: Vec<Part>,
}

impl Footprint {
    /// All parts together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.bytes).sum()
    }
}

/// Weights that train, and all weights with them.
#[must_use]
pub fn parameters(config: &DecoderConfig, trained: &Trained) -> (u64, u64) {
    let base = config.parameter_count();
    match trained {
        Trained::Adapter { plan, .. } => {
            let adapter = plan.parameters();
            (adapter, base + adapter)
        }
        Trained::All => (base, base),
    }
}

/// The memory of a run of this shape at its peak.
#[must_use]
pub fn footprint(config: &DecoderConfig, run: &Workload) -> Footprint {
    // What a GPU does in separate operations keeps what the host's do.
    if let (Where::Gpu, Trained::Adapter { plan, dropout }) = (run.place, &run.trained)
        && in_one_operation(plan)
    {
        return gpu::footprint(config, run, plan, *dropout);
    }
    let (trainable, _) = parameters(config, &run.trained);
    let base = config.parameter_count();
    let vocabulary = config.vocab_size as u64;
    let tokenizer = vocabulary * TOKENIZER_BYTES_PER_TOKEN;
    // The tokenizer and the text go when the rows are tokens; only who writes samples at evaluations keeps the tokenizer.
    let kept = if run.eval.rows > 0 { tokenizer } else { 0 };
    // A token in the mapped store: its id in two or four bytes, and a bit that says whether it is learnt.
    let id_bytes = if vocabulary <= 1 << 16 { 2 } else { 4 };
    let always = [
        Part { name: "process", bytes: PROCESS_BYTES + run.threads * THREAD_BYTES + kept },
        Part {
            name: "data",
            bytes: run.data_rows * ROW_BYTES + run.data_tokens * id_bytes + run.data_tokens.div_ceil(8),
        },
    ];
    let base_bytes = match run.quantization {
        None => base * run.weight_bytes,
        Some(quantization) => quantization.base_bytes(config, run.weight_bytes) + PANEL_BYTES,
    };
    // A matrix is whole in f32 while it is quantised.
    let widest = config.linears().iter().map(|l| (l.inputs * l.outputs) as u64 * F32).max().unwrap_or(0);
    let quantising = if run.quantization.is_some() { widest } else { 0 };
    let loading = last_tensor_bytes(config, run.file_bytes) + run.data_bytes + tokenizer - kept + quantising;
    let eval = beside(run.eval, run.train);
    let weights = match &run.trained {
        Trained::Adapter { plan, .. } => [
            Part { name: "base_weights", bytes: base_bytes },
            Part { name: "adapter", bytes: (trainable + plan.taken()) * F32 },
        ],
        Trained::All => [Part { name: "base_weights", bytes: base * F32 }, Part { name: "adapter", bytes: 0 }],
    };
    let optimizer = Part { name: "optimizer", bytes: optimizer_bytes(config, run) };
    let gradients = |copies: u64| Part { name: "gradients", bytes: trainable * copies * F32 };
    let activations = |bytes: u64| Part { name: "activations", bytes };
    let logits = |batch| Part { name: "logits", bytes: logits_bytes(config, &run.trained, batch) };
    let always = |more: &[Part]| [always.as_slice(), more].concat();
    let phases = [
        ("loading", always(&[weights[0], Part { name: "loading", bytes: loading }])),
        (
            "training",
            // The sum over micro-batches, and what one backward pass brings.
            [
                always(&weights),
                vec![optimizer, gradients(2), activations(training_bytes(config, run, run.train)), logits(run.train)],
            ]
            .concat(),
        ),
        (
            "evaluation",
            [always(&weights), vec![optimizer, activations(evaluation_bytes(config, run, eval)), logits(eval)]]
                .concat(),
        ),
    ];
    let phases = phases.map(|(phase, parts)| Footprint {
        phase,
        parts: parts.into_iter().filter(|p| p.bytes > 0).collect::<Vec<_>>(),
    });
    phases.into_iter().max_by_key(Footprint::total_bytes).expect("there are three phases")
}

/// The two moments of every tensor that trains.
fn optimizer_bytes(config: &DecoderConfig, run: &Workload) -> u64 {
    let of_tensor = |values: u64| match run.optim {
        Optim::Adamw8bit if values >= MIN_8BIT_VALUES => 2 * (values + F32 * values.div_ceil(BYTE_BLOCK as u64)),
        Optim::Adamw8bit | Optim::AdamwTorch => 2 * F32 * values,
    };
    match &run.trained {
        Trained::Adapter { plan, .. } => plan.tensors().map(of_tensor).sum(),
        Trained::All => {
            config.weights().iter().map(|(_, shape)| of_tensor(shape.iter().map(|n| *n as u64).product())).sum()
        }
    }
}

/// Widths of one block, in numbers per token.
struct Widths {
    c: u64,
    heads: u64,
    q: u64,
    kv: u64,
    f: u64,
}

impl Widths {
    fn of(config: &DecoderConfig) -> Self {
        Self {
            c: config.hidden_size as u64,
            heads: config.num_attention_heads as u64,
            q: (config.num_attention_heads * config.head_dim) as u64,
            kv: (config.num_key_value_heads * config.head_dim) as u64,
            f: config.intermediate_size as u64,
        }
    }
}

/// Bytes per token that one block keeps for the backward pass (tb-nn's `attention_block`, `mlp_block`; for whole-model training its
/// separate operations).
fn kept_per_token(config: &DecoderConfig, run: &Workload) -> u64 {
    let (w, layout) = (Widths::of(config), config.layout());
    // The results of o and down, where norms follow.
    let after = match layout.norms {
        Norms::Before => 0,
        Norms::Around | Norms::After => 2 * w.c,
    };
    match &run.trained {
        Trained::Adapter { plan, dropout } => {
            let layers = (config.num_hidden_layers as u64).max(1);
            let linears = || plan.modules.iter().filter(|m| m.role == Role::Linear);
            let inputs: u64 = linears().map(|m| m.inputs as u64).sum();
            let outputs: u64 = linears().map(|m| m.outputs as u64).sum();
            let low = linears().map(|m| m.rank as u64).sum::<u64>() * F32 / layers;
            let masks = match dropout {
                Dropout::On => inputs / 8 / layers,
                Dropout::Off => 0,
            };
            // A weight-decomposed linear keeps what its lengths scale.
            let scaled = match plan.form {
                Some(LoraForm::WeightDecomposed) => F32 * outputs / layers,
                Some(LoraForm::Plain | LoraForm::WithBias) | None => 0,
            };
            let block = if in_one_operation(plan) {
                // The results of both halves; q, k, v, the attention's result and its sums; gate and up.
                F32 * (2 * w.c + 2 * w.q + 2 * w.kv + w.heads + 2 * w.f + after)
            } else {
                F32 * (6 * w.c + 3 * w.q + 3 * w.kv + w.heads + 3 * w.f + after + joined(config))
            };
            block + scaled + low + masks
        }
        Trained::All => {
            let biases = u64::from(config.qkv_bias == Bias::Present) * (w.q + 2 * w.kv);
            // Two norms and two sums with their inputs; q, k, v before and after the rotation; attention; gate, up, product, down.
            // What is normalised, and what is cut from one result, is kept once more.
            let normed = match layout.query_key_norm {
                QueryKeyNorm::Absent => 0,
                QueryKeyNorm::PerHead | QueryKeyNorm::Whole => w.q + w.kv,
            };
            F32 * (6 * w.c + 3 * w.q + 3 * w.kv + w.heads + 3 * w.f + biases + after + normed + joined(config))
        }
    }
}

/// Whether half a block with this adapter runs as one operation (tb-nn's `Linear::fuses`): the base in it is frozen, and the adapter plain.
fn in_one_operation(plan: &AdapterPlan) -> bool {
    plan.form == Some(LoraForm::Plain) && !plan.saved.iter().any(|s| s.name.contains(".layers."))
}

/// Numbers per token of the results that are cut into q, k, v and into gate, up.
fn joined(config: &DecoderConfig) -> u64 {
    let w = Widths::of(config);
    match config.layout().projections {
        Projections::Separate => 0,
        Projections::Joined => w.q + 2 * w.kv + 2 * w.f,
    }
}

/// Bytes per token while one block's backward pass runs, besides what it keeps.
fn backward_per_token(config: &DecoderConfig) -> u64 {
    let w = Widths::of(config);
    // Feed-forward: the gradients of product, gate and up; the norm, its gradient, and those of result and input. Attention likewise.
    let feed_forward = 3 * w.f + 4 * w.c;
    let attention = 2 * w.q + 2 * w.kv + 4 * w.c;
    F32 * (feed_forward.max(attention) + joined(config))
}

fn training_bytes(config: &DecoderConfig, run: &Workload, batch: BatchShape) -> u64 {
    let (c, layers) = (config.hidden_size as u64, config.num_hidden_layers as u64);
    let tokens = batch.rows * batch.width;
    let kept = kept_per_token(config, run);
    // Between blocks a GPU holds the model's numbers.
    let stream = match run.place {
        Where::Host => F32,
        Where::Gpu => run.weight_bytes,
    };
    // A recomputed block's variables travel as one tensor, which is held until its backward pass (tb-nn's `recompute`).
    let flat = match (&run.trained, run.activations) {
        (Trained::All, Activations::Recomputed) => F32 * in_blocks(config),
        (Trained::All | Trained::Adapter { .. }, _) => 0,
    };
    let blocks = match run.activations {
        Activations::Kept => layers * kept,
        // The inputs of all blocks; of one block its inner results, its input as a variable, its result and the product's gradient.
        Activations::Recomputed => layers * c * stream + kept + 4 * c * F32,
    };
    tokens * (blocks + backward_per_token(config) + c * stream) + supervised_bytes(config, batch) + flat
}

/// Numbers of the weights of all blocks.
fn in_blocks(config: &DecoderConfig) -> u64 {
    let weights = config.weights();
    let of_blocks = weights.iter().filter(|(name, _)| name.contains(".layers."));
    of_blocks.map(|(_, shape)| shape.iter().map(|n| *n as u64).product::<u64>()).sum()
}

fn evaluation_bytes(config: &DecoderConfig, run: &Workload, eval: BatchShape) -> u64 {
    // No graph is kept: one block's inner results at a time, between its input and its result.
    let tokens = eval.rows * eval.width;
    tokens * (kept_per_token(config, run) + config.hidden_size as u64 * F32) + supervised_bytes(config, eval)
}

/// The largest batch of an evaluation beside such micro-batches: it takes no more places than they do (tb-worker's `rows`).
fn beside(eval: BatchShape, train: BatchShape) -> BatchShape {
    let rows = eval.rows.min((train.rows * train.width / eval.width.max(1)).max(1));
    BatchShape { rows, supervised: (eval.supervised * rows).div_ceil(eval.rows.max(1)), ..eval }
}

/// What is mapped of the weight files when the last of them are read, the rest being in memory already: the largest tensor of a block,
/// or the output layer, which comes last.
fn last_tensor_bytes(config: &DecoderConfig, file_bytes: u64) -> u64 {
    let w = Widths::of(config);
    let rows = match config.head {
        HeadKind::Tied => w.f.max(w.q),
        HeadKind::Untied => config.vocab_size as u64,
    };
    (file_bytes as f64 * (rows * w.c) as f64 / config.parameter_count().max(1) as f64) as u64
}

/// The final states of supervised positions, and their gradients.
fn supervised_bytes(config: &DecoderConfig, batch: BatchShape) -> u64 {
    2 * F32 * batch.supervised * config.hidden_size as u64
}

/// One chunk of logits; where the output layer is adapted, with the parts that they are summed from and their gradients.
fn logits_bytes(config: &DecoderConfig, trained: &Trained, batch: BatchShape) -> u64 {
    let v = (config.vocab_size as u64).max(1);
    let rows = supervised_rows(LOGITS_BYTES, v, 1024);
    let copies = match trained {
        Trained::Adapter { plan, dropout } if plan.modules.iter().any(|m| m.role == Role::Head) => match dropout {
            Dropout::On => 7,
            Dropout::Off => 3,
        },
        Trained::Adapter { .. } | Trained::All => 1,
    };
    copies * rows.min(batch.supervised) * v * F32
}

/// Supervised positions whose f32 logits, over a vocabulary of `v`, exist at once.
fn supervised_rows(bytes: u64, v: u64, most: u64) -> u64 {
    (bytes / F32 / v).clamp(16, most)
}

#[cfg(test)]
mod tests;
