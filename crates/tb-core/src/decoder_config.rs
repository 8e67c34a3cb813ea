//! The shape of a decoder as `config.json` describes it, and the names and shapes of its weights. What a family fixes is in
//! `families.rs`, what differs between layers in `layers.rs`, rotary embeddings in `rope.rs`; no files and no tensors here.

mod families;
mod fields;
mod layers;
mod rope;

use serde_json::{Map, Value, json};

use crate::quantization::Quantization;

use families::{BiasRule, CapRule};
pub use families::{EmbeddingScale, Family, Layout, NormWeight, Norms, Projections, QueryKeyNorm};
pub(crate) use fields::refuse;
pub use fields::token_ids;
use fields::{Fields, at_most, shown};
pub use layers::LayerKind;
pub use rope::{Rope, RopeScaling};

/// A field of `config.json`, or of an adapter's configuration, that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct BadConfig {
    /// The field.
    pub field: String,
    /// What is wrong with its value.
    pub problem: String,
}

type Result<T> = std::result::Result<T, BadConfig>;

/// Sizes and switches of a causal decoder, read from a Hugging Face `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Which checkpoint layout and rules apply.
    pub family: Family,
    /// V, rows of the embedding.
    pub vocab_size: usize,
    /// C, width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// H, query heads.
    pub num_attention_heads: usize,
    /// K, key and value heads; divides H.
    pub num_key_value_heads: usize,
    /// D, size of one head; H * D need not equal C.
    pub head_dim: usize,
    /// Longest sequence that the model was trained on, in tokens. Longer input is not refused.
    pub max_position_embeddings: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Function of the gate in the feed-forward layer.
    pub activation: Activation,
    /// What each layer's attention sees, in order.
    pub layers: Vec<LayerKind>,
    /// The rotary embeddings that layers point to: one, or that of layers without a window and that of layers with one.
    pub ropes: Vec<Rope>,
    /// Factor of attention scores.
    pub attention_scale: f64,
    /// A score s counts as cap * tanh(s / cap).
    pub attention_soft_cap: Option<f64>,
    /// A logit l counts as cap * tanh(l / cap).
    pub logit_soft_cap: Option<f64>,
    /// Whether the output layer is the embedding.
    pub head: HeadKind,
    /// Bias on q, k and v.
    pub qkv_bias: Bias,
    /// Bias on o.
    pub output_bias: Bias,
    /// Bias on gate, up and down.
    pub mlp_bias: Bias,
    /// First token of a text, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Tokens that end an answer; may be empty.
    pub eos_token_ids: Vec<u32>,
    /// Padding token, if the model has one.
    pub pad_token_id: Option<u32>,
    /// Every field of the file as read, so that writing it back loses nothing.
    source: Map<String, Value>,
}

/// Module path of the embedding.
pub const EMBEDDING: &str = "model.embed_tokens";
/// Module path of an output layer of its own.
pub const HEAD: &str = "lm_head";

/// A linear layer that can carry an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Module path, such as `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// O, rows of the weight.
    pub outputs: usize,
    /// I, columns of the weight.
    pub inputs: usize,
    /// Whether it adds a bias.
    pub bias: Bias,
}

/// Function of the gate in the feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// g / (1 + e^-g).
    Silu,
    /// g (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3))) / 2.
    GeluTanh,
}

impl Activation {
    /// The name in `config.json`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_pytorch_tanh",
        }
    }
}

/// Where the output layer's weight comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// The embedding is used a second time.
    Tied,
    /// `lm_head.weight` is its own tensor.
    Untied,
}

/// Whether a group of linears carries a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// `<name>.bias` exists.
    Present,
    /// No bias.
    Absent,
}

/// Most layers that a file may ask for: several times those of the deepest known.
const MOST_LAYERS: usize = 1024;
/// Largest sizes, each several times the largest known; their products stay within 64 bits.
const LARGEST_HEAD: usize = 4096;
const MOST_HEADS: usize = 1 << 16;
const LARGEST_HIDDEN: usize = 1 << 20;
const LARGEST_WIDTH: usize = 1 << 24;
/// The `model_type` of Gemma 3 with its vision tower, whose text model is in `text_config`.
const GEMMA3_WITH_VISION: &str = "gemma3";

impl DecoderConfig {
    /// Reads the parsed `config.json`; refuses an unknown `model_type` and every field that this decoder would compute differently.
    ///
    /// Of a Gemma 3 that sees images too, the text model is read.
    pub fn from_json(value: &Value) -> Result<Self> {
        let source = value.as_object().ok_or_else(|| refuse("(whole file)", "is not a JSON object"))?;
        if source.get("model_type").and_then(Value::as_str) == Some(GEMMA3_WITH_VISION) {
            return Self::read(text_model(source)?);
        }
        Self::read(source.clone())
    }

    fn read(source: Map<String, Value>) -> Result<Self> {
        let fields = Fields(&source);
        let family = Family::from_model_type(fields.text("model_type")?)?;
        let rules = family.rules();
        families::refuse_unsupported(family, fields)?;

        let size = |name: &str, default: Option<usize>| match (fields.optional_count(name)?, default) {
            (Some(n), _) | (None, Some(n)) => Ok(n),
            (None, None) => Err(refuse(name, "is missing")),
        };
        let hidden_size = fields.bounded("hidden_size", LARGEST_HIDDEN)?;
        let num_attention_heads =
            at_most("num_attention_heads", size("num_attention_heads", rules.heads)?, MOST_HEADS)?;
        let num_hidden_layers = fields.bounded("num_hidden_layers", MOST_LAYERS)?;
        let num_key_value_heads = match rules.kv_heads {
            // Null means one for each query head, absence the class's number.
            Some(n) => fields.nullable_count("num_key_value_heads", Some(n))?,
            None => fields.optional_count("num_key_value_heads")?,
        }
        .unwrap_or(num_attention_heads);
        let head_dim = match fields.optional_count("head_dim")?.or(rules.head_dim) {
            Some(d) => at_most("head_dim", d, LARGEST_HEAD)?,
            None if hidden_size % num_attention_heads == 0 => {
                at_most("hidden_size", hidden_size / num_attention_heads, LARGEST_HEAD)?
            }
            None => {
                return Err(refuse(
                    "hidden_size",
                    format!("{hidden_size} is not a multiple of num_attention_heads {num_attention_heads}"),
                ));
            }
        };
        if num_attention_heads % num_key_value_heads != 0 {
            return Err(refuse(
                "num_key_value_heads",
                format!("{num_key_value_heads} does not divide num_attention_heads {num_attention_heads}"),
            ));
        }
        let max_position_embeddings = fields.optional_count("max_position_embeddings")?.unwrap_or(rules.max_positions);
        let around = rope::Around { rules, head_dim, max_positions: max_position_embeddings };
        let ropes = rope::read_ropes(fields, around)?;
        let layers = layers::read_layers(rules, fields, num_hidden_layers)?;
        let bias = |rule: BiasRule, field: &str| match rule {
            BiasRule::Absent => Ok((Bias::Absent, Bias::Absent)),
            BiasRule::QueryKeyValue => Ok((Bias::Present, Bias::Absent)),
            BiasRule::Field => fields.bias(field).map(|b| (b, b)),
        };
        let (qkv_bias, output_bias) = bias(rules.attention_bias, "attention_bias")?;
        let cap = |rule: CapRule, field: &str| match rule {
            CapRule::Never => Ok(None),
            CapRule::Field(default) => fields.nullable_positive(field, default),
        };
        let scalar = match rules.query_scalar {
            None => head_dim as f64,
            Some(default) => fields.nullable_positive("query_pre_attn_scalar", Some(default))?.unwrap_or(default),
        };
        let rms_norm_eps = fields.optional_number("rms_norm_eps")?.unwrap_or(rules.rms_norm_eps);
        if rms_norm_eps < 0.0 {
            return Err(refuse("rms_norm_eps", format!("{rms_norm_eps} must be a number from 0")));
        }
        Ok(Self {
            family,
            vocab_size: at_most("vocab_size", size("vocab_size", rules.vocab)?, LARGEST_WIDTH)?,
            hidden_size,
            intermediate_size: fields.bounded("intermediate_size", LARGEST_WIDTH)?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings,
            rms_norm_eps,
            activation: activation(fields, rules.activation_field, rules.activation)?,
            layers,
            ropes,
            attention_scale: 1.0 / scalar.sqrt(),
            attention_soft_cap: cap(rules.attention_cap, "attn_logit_softcapping")?,
            logit_soft_cap: cap(rules.logit_cap, "final_logit_softcapping")?,
            head: if fields.flag("tie_word_embeddings")?.unwrap_or(rules.tied) {
                HeadKind::Tied
            } else {
                HeadKind::Untied
            },
            qkv_bias,
            output_bias,
            mlp_bias: bias(rules.mlp_bias, "mlp_bias")?.0,
            bos_token_id: fields.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: fields.token_ids("eos_token_id")?,
            pad_token_id: fields.token_ids("pad_token_id")?.first().copied(),
            source,
        })
    }

    /// How the blocks are put together.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.family.layout()
    }

    /// The `config.json` that transformers 4 and 5 read: what was read, with this value's fields over it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let rules = self.family.rules();
        let mut out = self.source.clone();
        let mut put = |name: &str, value: Value| {
            out.insert(name.to_owned(), value);
        };
        put("architectures", json!([self.family.architecture()]));
        put("model_type", json!(self.family.model_type()));
        put("vocab_size", json!(self.vocab_size));
        put("hidden_size", json!(self.hidden_size));
        put("intermediate_size", json!(self.intermediate_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_attention_heads", json!(self.num_attention_heads));
        put("num_key_value_heads", json!(self.num_key_value_heads));
        put("head_dim", json!(self.head_dim));
        put("max_position_embeddings", json!(self.max_position_embeddings));
        put("rms_norm_eps", json!(self.rms_norm_eps));
        put(rules.activation_field, json!(self.activation.name()));
        put("tie_word_embeddings", json!(self.head == HeadKind::Tied));
        put("bos_token_id", json!(self.bos_token_id));
        put("pad_token_id", json!(self.pad_token_id));
        put(
            "eos_token_id",
            match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            },
        );
        for (rule, name, bias) in
            [(rules.attention_bias, "attention_bias", self.qkv_bias), (rules.mlp_bias, "mlp_bias", self.mlp_bias)]
        {
            match rule {
                BiasRule::Field => put(name, json!(bias == Bias::Present)),
                BiasRule::Absent | BiasRule::QueryKeyValue => {}
            }
        }
        rope::write_ropes(&mut out, &self.ropes, rules.rope);
        Value::Object(out)
    }

    /// Every linear that can carry an adapter, in layer order.
    #[must_use]
    pub fn linears(&self) -> Vec<LinearShape> {
        let (c, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = self.query_key_widths();
        let of_block = match self.layout().projections {
            Projections::Separate => vec![
                ("self_attn.q_proj", q, c, self.qkv_bias),
                ("self_attn.k_proj", kv, c, self.qkv_bias),
                ("self_attn.v_proj", kv, c, self.qkv_bias),
                ("self_attn.o_proj", c, q, self.output_bias),
                ("mlp.gate_proj", f, c, self.mlp_bias),
                ("mlp.up_proj", f, c, self.mlp_bias),
                ("mlp.down_proj", c, f, self.mlp_bias),
            ],
            Projections::Joined => vec![
                ("self_attn.qkv_proj", q + 2 * kv, c, self.qkv_bias),
                ("self_attn.o_proj", c, q, self.output_bias),
                ("mlp.gate_up_proj", 2 * f, c, self.mlp_bias),
                ("mlp.down_proj", c, f, self.mlp_bias),
            ],
        };
        let shape = |layer: usize, &(name, outputs, inputs, bias): &(&str, usize, usize, Bias)| LinearShape {
            path: format!("model.layers.{layer}.{name}"),
            outputs,
            inputs,
            bias,
        };
        (0..self.num_hidden_layers).flat_map(|layer| of_block.iter().map(move |l| shape(layer, l))).collect()
    }

    /// Widths of all queries, H * D, and of all keys or values, K * D.
    #[must_use]
    pub const fn query_key_widths(&self) -> (usize, usize) {
        (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim)
    }

    /// Name within a block and width of each of its norms.
    fn norms_of_block(&self) -> Vec<(&'static str, usize)> {
        let (c, d, (q, kv)) = (self.hidden_size, self.head_dim, self.query_key_widths());
        let layout = self.layout();
        let mut all = match layout.norms {
            Norms::Before => vec![("input_layernorm", c), ("post_attention_layernorm", c)],
            Norms::Around => vec![
                ("input_layernorm", c),
                ("post_attention_layernorm", c),
                ("pre_feedforward_layernorm", c),
                ("post_feedforward_layernorm", c),
            ],
            Norms::After => vec![("post_attention_layernorm", c), ("post_feedforward_layernorm", c)],
        };
        match layout.query_key_norm {
            QueryKeyNorm::Absent => {}
            QueryKeyNorm::PerHead => all.extend([("self_attn.q_norm", d), ("self_attn.k_norm", d)]),
            QueryKeyNorm::Whole => all.extend([("self_attn.q_norm", q), ("self_attn.k_norm", kv)]),
        }
        all
    }

    /// Name and shape of every weight of the checkpoint; a tied head has none of its own.
    #[must_use]
    pub fn weights(&self) -> Vec<(String, Vec<usize>)> {
        let c = self.hidden_size;
        let mut all = vec![(format!("{EMBEDDING}.weight"), vec![self.vocab_size, c])];
        for linear in self.linears() {
            all.push((format!("{}.weight", linear.path), vec![linear.outputs, linear.inputs]));
            if linear.bias == Bias::Present {
                all.push((format!("{}.bias", linear.path), vec![linear.outputs]));
            }
        }
        let norms = self.norms_of_block();
        for layer in 0..self.num_hidden_layers {
            all.extend(norms.iter().map(|(name, n)| (format!("model.layers.{layer}.{name}.weight"), vec![*n])));
        }
        all.push(("model.norm.weight".into(), vec![c]));
        if self.head == HeadKind::Untied {
            all.push((format!("{HEAD}.weight"), vec![self.vocab_size, c]));
        }
        all
    }

    /// How the checkpoint's linear layers are stored, if in fewer bits (`quantization_config`).
    #[must_use]
    pub fn stored_quantization(&self) -> Option<Quantization> {
        // It was accepted when the file was read.
        self.source.get("quantization_config").and_then(|q| Quantization::from_json(q).ok())
    }

    /// Number of scalar weights; a tied head counts once.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        self.weights().iter().map(|(_, shape)| shape.iter().map(|n| *n as u64).product::<u64>()).sum()
    }
}

/// The text model's part of a Gemma 3 with a vision tower, with the token ids that stand beside it.
fn text_model(source: &Map<String, Value>) -> Result<Map<String, Value>> {
    const PART: &str = "text_config";
    let mut text = match source.get(PART) {
        Some(Value::Object(text)) => text.clone(),
        Some(other) => return Err(refuse(PART, format!("must be a table, found {}", shown(other)))),
        None => return Err(refuse(PART, "is missing")),
    };
    if source.contains_key("quantization_config") {
        text.insert("quantization_config".into(), source["quantization_config"].clone());
    }
    text.insert("model_type".into(), json!(Family::Gemma3.model_type()));
    text.remove("architectures");
    for name in ["bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"] {
        if let (None, Some(value)) = (text.get(name), source.get(name)) {
            text.insert(name.into(), value.clone());
        }
    }
    Ok(text)
}

fn activation(fields: Fields<'_>, field: &str, default: Activation) -> Result<Activation> {
    match fields.optional_text(field)? {
        None => Ok(default),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some(other) => {
            let other: String = other.chars().take(60).collect();
            Err(refuse(field, format!("{other:?} is not supported: only \"silu\" and \"gelu_pytorch_tanh\"")))
        }
    }
}

#[cfg(test)]
mod tests;
