//! The fields of a training form: one entry per hyperparameter with its kind, range and one line of help.
//! The command line, the checks and (later) the window's form read this table.

use serde_json::{Map, Value};

use crate::lora::LoraInit;

/// What a field accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number in a closed range.
    Whole(i64, i64),
    /// A number in a range: lowest, highest, and whether the highest itself is allowed.
    Number(f64, f64, Upper),
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Names separated by commas, a regular expression, or `all-linear`.
    Modules,
    /// Names separated by commas, or none.
    Names,
    /// Layer numbers and ranges of them, separated by commas, or none.
    Layers,
    /// `name=number` pairs separated by commas, or none; the numbers are whole.
    Ranks(u64, u64),
    /// `name=number` pairs separated by commas, or none.
    Alphas(f64, f64),
    /// First values of an adapter.
    FirstValues,
}

/// Highest layer number.
const MOST_LAYERS: u64 = 10_000;

/// Whether a range holds its upper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// It does.
    Closed,
    /// It does not.
    Open,
}

/// One hyperparameter of the form.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, as in PEFT, TRL or transformers.
    pub key: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// Whether it belongs to the six that everybody sees.
    pub level: Level,
    /// One line of help.
    pub help: &'static str,
}

/// Where the form shows a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Among the first six.
    Basic,
    /// Under "Advanced".
    Advanced,
}

use Kind::{Alphas, FirstValues, Layers, Modules, Names, Number, Ranks, Switch, Whole, Words};
use Level::{Advanced, Basic};
use Upper::{Closed, Open};

macro_rules! fields {
    ($($key:literal, $level:ident, $kind:expr, $help:literal;)*) => {
        /// Every hyperparameter, in the order of the struct.
        pub const FIELDS: &[Field] = &[$(Field { key: $key, kind: $kind, level: $level, help: $help }),*];
    };
}

fields! {
    "finetuning_type", Advanced, Words(&["lora", "full"]), "Train an adapter, or every weight: much more memory.";
    "lora_r", Basic, Whole(1, 1024), "Rank of the adapter: more learns more and costs more.";
    "lora_alpha", Advanced, Number(1e-3, 1e6, Closed), "Scale of the adapter: its update is multiplied by alpha / r.";
    "lora_dropout", Advanced, Number(0.0, 1.0, Open), "Share of the adapter's input set to 0 in training.";
    "target_modules", Advanced, Modules, "Layers that get an adapter.";
    "exclude_modules", Advanced, Names, "Layers among them that get none.";
    "layers_to_transform", Advanced, Layers, "Numbers of the layers that get an adapter; empty for all.";
    "rank_pattern", Advanced, Ranks(1, 1024), "Ranks of single layers in place of lora_r, as name=rank.";
    "alpha_pattern", Advanced, Alphas(1e-3, 1e6), "Alphas of single layers in place of lora_alpha, as name=alpha.";
    "modules_to_save", Advanced, Names, "Layers trained in full beside the adapter, such as lm_head or embed_tokens.";
    "use_rslora", Advanced, Switch, "Scale by alpha / sqrt(r), for high ranks.";
    "use_dora", Advanced, Switch, "DoRA: train lengths apart from directions; slower, often better at low ranks.";
    "lora_bias", Advanced, Switch, "Give the adapter a bias.";
    "bias", Advanced, Words(&["none", "all", "lora_only"]), "Biases of the base that train along.";
    "init_lora_weights", Advanced, FirstValues, "First values: true starts at the base; pissa and olora from its main directions, loftq from what quantising lost.";
    "learning_rate", Basic, Number(1e-12, 10.0, Closed), "Peak size of a step; 1e-4 to 3e-4 is usual for LoRA.";
    "num_train_epochs", Basic, Number(1e-6, 10_000.0, Closed), "Passes over the data.";
    "max_steps", Advanced, Whole(-1, 1_000_000_000), "Steps to do instead of epochs; -1 counts epochs.";
    "per_device_train_batch_size", Basic, Whole(1, 65_536), "Rows computed at once: more is faster and needs more memory.";
    "per_device_eval_batch_size", Advanced, Whole(1, 65_536), "Rows evaluated at once.";
    "gradient_accumulation_steps", Advanced, Whole(1, 65_536), "Micro-batches whose gradients make one step.";
    "max_length", Basic, Whole(2, 1_048_576), "Longest row in tokens; longer rows are cut and counted.";
    "seed", Basic, Whole(0, i64::MAX), "The same seed, data and base give the same adapter.";
    "lr_scheduler_type", Advanced, Words(&["linear", "cosine", "constant", "constant_with_warmup"]), "How the learning rate moves.";
    "warmup_ratio", Advanced, Number(0.0, 1.0, Closed), "Share of the steps in which the learning rate rises from 0.";
    "warmup_steps", Advanced, Whole(0, 1_000_000_000), "Steps of warm-up; 0 leaves it to warmup_ratio.";
    "optim", Advanced, Words(&["adamw_torch", "adamw_8bit"]), "AdamW with moments in 32 bits, or in 8 to save memory.";
    "weight_decay", Advanced, Number(0.0, 10.0, Closed), "Pull of the weights towards 0.";
    "adam_beta1", Advanced, Number(0.0, 1.0, Open), "AdamW's memory of the gradient.";
    "adam_beta2", Advanced, Number(0.0, 1.0, Open), "AdamW's memory of the squared gradient.";
    "adam_epsilon", Advanced, Number(0.0, 1.0, Closed), "AdamW's guard against division by 0.";
    "max_grad_norm", Advanced, Number(0.0, 1e9, Closed), "Gradients are cut to this norm; 0 leaves them.";
    "gradient_checkpointing", Advanced, Switch, "Recompute activations to save memory.";
    "dtype", Advanced, Words(&["auto", "float32", "bfloat16"]), "Numbers of the base weights.";
    "load_in_8bit", Advanced, Switch, "Hold the base in 8 bits: a quarter of its memory.";
    "load_in_4bit", Advanced, Switch, "Hold the base in 4 bits (QLoRA): an eighth of its memory.";
    "bnb_4bit_quant_type", Advanced, Words(&["nf4", "fp4"]), "Levels of a 4-bit weight; nf4 fits weights better.";
    "bnb_4bit_use_double_quant", Advanced, Switch, "Hold the scales of 4-bit weights in 8 bits too.";
    "bnb_4bit_compute_dtype", Advanced, Words(&["auto", "float32", "bfloat16"]), "Numbers to which a 4-bit weight is dequantised.";
    "shuffle", Advanced, Switch, "Draw a new order of rows in each epoch.";
    "group_by_length", Advanced, Switch, "Batch rows of like length: less padding.";
    "packing", Advanced, Switch, "Fill each row with several samples, which do not see each other: no padding.";
    "packing_strategy", Advanced, Words(&["bfd"]), "How samples are packed: bfd fits the longest first into the fullest row with room.";
    "loss_on", Advanced, Words(&["auto", "completion", "assistant", "all"]), "Which tokens carry loss.";
    "neftune_noise_alpha", Advanced, Number(0.0, 1000.0, Closed), "NEFTune: noise on embedded tokens in training; 5 is usual, 0 is none.";
    "logging_steps", Advanced, Whole(1, 1_000_000), "Steps between two points of the curve.";
    "save_steps", Advanced, Whole(0, 1_000_000_000), "Steps between two checkpoints; 0 keeps only the end.";
    "save_total_limit", Advanced, Whole(0, 100_000), "Checkpoints to keep besides the best; 0 keeps all.";
    "load_best_model_at_end", Advanced, Switch, "The result is the best checkpoint, not the last.";
    "eval_steps", Advanced, Whole(0, 1_000_000_000), "Steps between two evaluations; 0 evaluates after each epoch.";
    "eval_samples", Advanced, Whole(0, 64), "Held-out rows to rewrite at each evaluation, to look at; 0 for none.";
    "early_stopping_patience", Advanced, Whole(0, 100_000), "Evaluations without progress before the run ends; 0 never.";
    "early_stopping_threshold", Advanced, Number(0.0, 1e6, Closed), "What counts as progress in evaluation loss.";
    "num_threads", Advanced, Whole(0, 4096), "Threads of the CPU; 0 takes all.";
}

/// The field with this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|f| f.key == key)
}

/// The key that looks most like `key`.
#[must_use]
pub fn nearest(key: &str) -> &'static str {
    FIELDS
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(key, a.key).total_cmp(&strsim::jaro_winkler(key, b.key)))
        .map_or("", |f| f.key)
}

impl Field {
    /// What the field accepts, in words.
    #[must_use]
    pub fn wanted(&self) -> String {
        match self.kind {
            Whole(low, high) if high == i64::MAX => format!("a whole number from {low}"),
            Whole(low, high) => format!("a whole number from {low} to {high}"),
            Number(low, high, Closed) => format!("a number from {low} to {high}"),
            Number(low, high, Open) => format!("a number from {low} up to, but not, {high}"),
            Switch => "true or false".to_owned(),
            Words(words) => format!("one of {}", words.join(", ")),
            Modules => "names separated by commas, a regular expression, or all-linear".to_owned(),
            Names => "names separated by commas, or nothing".to_owned(),
            Layers => "layer numbers separated by commas, such as 0,2,4-6, or nothing".to_owned(),
            Ranks(low, high) => {
                format!("name=rank pairs separated by commas, each rank from {low} to {high}, or nothing")
            }
            Alphas(low, high) => {
                format!("name=alpha pairs separated by commas, each alpha from {low} to {high}, or nothing")
            }
            FirstValues => "true, false, gaussian, pissa, pissa_niter_N (N up to 64), olora or loftq".to_owned(),
        }
    }

    /// Reads a value of the field's kind from text; `None` if it is not one. Ranges are checked by [`Field::in_range`].
    #[must_use]
    pub fn parse(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        match self.kind {
            Whole(..) => text.parse::<i64>().ok().map(Value::from),
            Number(..) => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from),
            Switch => text.parse::<bool>().ok().map(Value::from),
            Words(words) => words.contains(&text).then(|| Value::from(text)),
            FirstValues => Some(Value::from(text)),
            Names => Some(Value::from(parts(text).collect::<Vec<_>>())),
            Layers => parts(text).map(layers).collect::<Option<Vec<_>>>().map(|all| Value::from(all.concat())),
            Ranks(..) => table(text, |n| n.parse::<u64>().ok().map(Value::from)),
            Alphas(..) => table(text, |n| n.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from)),
            Modules if text.is_empty() => None,
            // A plain name is a suffix; anything with a regular expression's signs is a pattern.
            Modules if text == "all-linear" || text.contains(['*', '(', '[', '\\', '|', '+', '^', '$', '?']) => {
                Some(Value::from(text))
            }
            Modules => Some(Value::from(parts(text).collect::<Vec<_>>())),
        }
    }

    /// Whether a value of the struct lies in the field's range.
    #[must_use]
    pub fn in_range(&self, value: &Value) -> bool {
        match self.kind {
            Whole(low, high) => value.as_i64().is_some_and(|n| (low..=high).contains(&n)),
            Number(low, high, upper) => value.as_f64().is_some_and(|n| {
                n >= low
                    && match upper {
                        Closed => n <= high,
                        Open => n < high,
                    }
            }),
            Switch => value.is_boolean(),
            FirstValues => value.as_str().is_some_and(|text| text.parse::<LoraInit>().is_ok()),
            Names => value.as_array().is_some_and(|all| all.iter().all(|n| n.as_str().is_some_and(|n| !n.is_empty()))),
            Layers => {
                value.as_array().is_some_and(|all| all.iter().all(|n| n.as_u64().is_some_and(|n| n <= MOST_LAYERS)))
            }
            Ranks(low, high) => numbers(value, |n| n.as_u64().is_some_and(|n| (low..=high).contains(&n))),
            Alphas(low, high) => numbers(value, |n| n.as_f64().is_some_and(|n| (low..=high).contains(&n))),
            Words(words) => value.as_str().is_some_and(|w| words.contains(&w)),
            Modules => match value {
                Value::String(pattern) => !pattern.is_empty(),
                Value::Array(names) => {
                    !names.is_empty() && names.iter().all(|n| n.as_str().is_some_and(|n| !n.is_empty()))
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
            },
        }
    }
}

/// The parts between commas.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// `7`, or `2-5`, both ends included.
fn layers(text: &str) -> Option<Vec<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
    (first <= last && last <= MOST_LAYERS).then(|| (first..=last).collect())
}

/// `name=number` pairs, or a JSON object.
fn table(text: &str, number: impl Fn(&str) -> Option<Value>) -> Option<Value> {
    if text.starts_with('{') {
        return serde_json::from_str::<Map<String, Value>>(text).ok().map(Value::Object);
    }
    let pairs = parts(text).map(|pair| {
        let (name, n) = pair.rsplit_once('=')?;
        Some((name.trim().to_owned(), number(n.trim())?))
    });
    pairs.collect::<Option<Map<String, Value>>>().map(Value::Object)
}

fn numbers(value: &Value, fits: impl Fn(&Value) -> bool) -> bool {
    value.as_object().is_some_and(|all| all.iter().all(|(name, n)| !name.is_empty() && fits(n)))
}
