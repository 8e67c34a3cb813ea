//! The shape of a decoder as `config.json` describes it, and the names and shapes of its weights. Which values a family allows
//! is in `families.rs`; no files and no tensors here.

mod families;

use serde_json::{Map, Value, json};

pub use families::Family;

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
    /// D, size of one head (even); H * D need not equal C.
    pub head_dim: usize,
    /// Longest sequence that the model was trained on, in tokens. Longer input is not refused.
    pub max_position_embeddings: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base period of the rotary embedding.
    pub rope_theta: f64,
    /// Change of the rotary frequencies.
    pub rope_scaling: RopeScaling,
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

/// How the rotary frequencies are changed for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Unchanged.
    Default,
    /// All frequencies divided by the factor.
    Linear {
        /// At least 1 in practice; positive.
        factor: f64,
    },
    /// The rule of Llama 3.1: low frequencies divided, high kept, those between interpolated.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Bounds the long wavelengths: `original / low_freq_factor` tokens.
        low_freq_factor: f64,
        /// Bounds the short wavelengths: `original / high_freq_factor` tokens.
        high_freq_factor: f64,
        /// Context before scaling, in tokens.
        original_max_position_embeddings: f64,
    },
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

impl DecoderConfig {
    /// Reads the parsed `config.json`; refuses an unknown `model_type` and every field that this decoder would compute differently.
    pub fn from_json(value: &Value) -> Result<Self> {
        let source = value.as_object().ok_or_else(|| refuse("(whole file)", "is not a JSON object"))?;
        let fields = Fields(source);
        let family = Family::from_model_type(fields.text("model_type")?)?;
        let rules = family.rules();
        families::refuse_unsupported(family, source)?;

        let hidden_size = fields.count("hidden_size")?;
        let num_attention_heads = fields.count("num_attention_heads")?;
        let num_hidden_layers = fields.count("num_hidden_layers")?;
        let num_key_value_heads = fields.optional_count("num_key_value_heads")?.unwrap_or(num_attention_heads);
        let head_dim = match fields.optional_count("head_dim")? {
            Some(d) => d,
            None if hidden_size % num_attention_heads == 0 => hidden_size / num_attention_heads,
            None => {
                return Err(refuse(
                    "hidden_size",
                    format!("{hidden_size} is not a multiple of num_attention_heads {num_attention_heads}"),
                ));
            }
        };
        if head_dim % 2 != 0 {
            return Err(refuse("head_dim", format!("{head_dim} is odd; rotary embeddings need pairs")));
        }
        if num_attention_heads % num_key_value_heads != 0 {
            return Err(refuse(
                "num_key_value_heads",
                format!("{num_key_value_heads} does not divide num_attention_heads {num_attention_heads}"),
            ));
        }
        let max_position_embeddings =
            fields.optional_count("max_position_embeddings")?.unwrap_or(rules.default_max_position_embeddings);
        let (rope_theta, rope_scaling) = read_rope(&fields, max_position_embeddings)?;
        let attention_bias = fields.bias("attention_bias")?;
        Ok(Self {
            family,
            vocab_size: fields.count("vocab_size")?,
            hidden_size,
            intermediate_size: fields.count("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings,
            rms_norm_eps: fields.optional_number("rms_norm_eps")?.unwrap_or(1e-6),
            rope_theta,
            rope_scaling,
            head: if fields.flag("tie_word_embeddings")?.unwrap_or(rules.default_tied) {
                HeadKind::Tied
            } else {
                HeadKind::Untied
            },
            qkv_bias: rules.qkv_bias.unwrap_or(attention_bias),
            output_bias: rules.output_bias.unwrap_or(attention_bias),
            mlp_bias: rules.mlp_bias.map_or_else(|| fields.bias("mlp_bias"), Ok)?,
            bos_token_id: fields.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: fields.token_ids("eos_token_id")?,
            pad_token_id: fields.token_ids("pad_token_id")?.first().copied(),
            source: source.clone(),
        })
    }

    /// The `config.json` that transformers 4 and 5 read: what was read, with this value's fields over it.
    #[must_use]
    pub fn to_json(&self) -> Value {
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
        put("hidden_act", json!("silu"));
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
        if self.family == Family::Llama {
            put("attention_bias", json!(self.qkv_bias == Bias::Present));
            put("mlp_bias", json!(self.mlp_bias == Bias::Present));
        }
        let mut rope = self.rope_scaling.to_json();
        rope.insert("rope_theta".into(), json!(self.rope_theta));
        put("rope_parameters", Value::Object(rope));
        // Transformers 4 reads these two; transformers 5 reads either form.
        put("rope_theta", json!(self.rope_theta));
        put(
            "rope_scaling",
            match self.rope_scaling {
                RopeScaling::Default => Value::Null,
                RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => Value::Object(self.rope_scaling.to_json()),
            },
        );
        Value::Object(out)
    }

    /// Every linear that can carry an adapter, in layer order.
    #[must_use]
    pub fn linears(&self) -> Vec<LinearShape> {
        let (c, f) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        let of_block = [
            ("self_attn.q_proj", q, c, self.qkv_bias),
            ("self_attn.k_proj", kv, c, self.qkv_bias),
            ("self_attn.v_proj", kv, c, self.qkv_bias),
            ("self_attn.o_proj", c, q, self.output_bias),
            ("mlp.gate_proj", f, c, self.mlp_bias),
            ("mlp.up_proj", f, c, self.mlp_bias),
            ("mlp.down_proj", c, f, self.mlp_bias),
        ];
        (0..self.num_hidden_layers)
            .flat_map(|layer| {
                of_block.map(|(name, outputs, inputs, bias)| LinearShape {
                    path: format!("model.layers.{layer}.{name}"),
                    outputs,
                    inputs,
                    bias,
                })
            })
            .collect()
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
        for layer in 0..self.num_hidden_layers {
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                all.push((format!("model.layers.{layer}.{norm}.weight"), vec![c]));
            }
        }
        all.push(("model.norm.weight".into(), vec![c]));
        if self.head == HeadKind::Untied {
            all.push((format!("{HEAD}.weight"), vec![self.vocab_size, c]));
        }
        all
    }

    /// Number of scalar weights; a tied head counts once.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        self.weights().iter().map(|(_, shape)| shape.iter().map(|n| *n as u64).product::<u64>()).sum()
    }
}

impl RopeScaling {
    fn to_json(&self) -> Map<String, Value> {
        let value = match self {
            Self::Default => json!({"rope_type": "default"}),
            Self::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": *original_max_position_embeddings as u64,
            }),
        };
        match value {
            Value::Object(map) => map,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        }
    }
}

/// The refusal of one field; whoever read the file puts its path in.
pub(crate) fn refuse(field: &str, problem: impl std::fmt::Display) -> BadConfig {
    BadConfig { field: field.to_owned(), problem: problem.to_string() }
}

/// Reads `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (transformers 4).
/// As in transformers, a non-empty `rope_scaling` wins over `rope_parameters`, and values inside the table win over those beside it.
fn read_rope(fields: &Fields<'_>, max_positions: usize) -> Result<(f64, RopeScaling)> {
    let table = |name: &'static str| match fields.0.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(m)) if m.is_empty() => Ok(None),
        Some(Value::Object(m)) => Ok(Some((name, Fields(m)))),
        Some(other) => Err(refuse(name, format!("must be a table, found {other}"))),
    };
    let outer_theta = fields.optional_number("rope_theta")?.unwrap_or(10_000.0);
    let found = match table("rope_scaling")? {
        Some(t) => Some(t),
        None => table("rope_parameters")?,
    };
    let Some((name, rope)) = found else {
        return Ok((positive("rope_theta", outer_theta)?, RopeScaling::Default));
    };
    let inside = |e: BadConfig| refuse(&format!("{name}.{}", e.field), e.problem);
    let theta = rope.optional_number("rope_theta").map_err(inside)?.unwrap_or(outer_theta);
    let theta = positive(&format!("{name}.rope_theta"), theta)?;
    if let Some(part) = rope.optional_number("partial_rotary_factor").map_err(inside)?
        && part != 1.0
    {
        return Err(refuse(&format!("{name}.partial_rotary_factor"), format!("{part} is not supported: only 1.0")));
    }
    let kind = match rope.0.get("rope_type").or_else(|| rope.0.get("type")) {
        None | Some(Value::Null) => "default",
        Some(Value::String(s)) => s.as_str(),
        Some(other) => return Err(refuse(&format!("{name}.rope_type"), format!("must be a name, found {other}"))),
    };
    let number = |field: &str| -> Result<f64> {
        let full = format!("{name}.{field}");
        let value = rope.optional_number(field).map_err(inside)?;
        positive(&full, value.ok_or_else(|| refuse(&full, format!("is missing; rope_type {kind} needs it")))?)
    };
    let scaling = match kind {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "llama3" => {
            let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
            if high <= low {
                return Err(refuse(
                    &format!("{name}.high_freq_factor"),
                    format!("{high} must be greater than low_freq_factor {low}"),
                ));
            }
            RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: match rope.0.get("original_max_position_embeddings") {
                    None | Some(Value::Null) => max_positions as f64,
                    Some(_) => number("original_max_position_embeddings")?,
                },
            }
        }
        other => {
            return Err(refuse(
                &format!("{name}.rope_type"),
                format!("{other:?} is not supported: only default, linear and llama3"),
            ));
        }
    };
    Ok((theta, scaling))
}

fn positive(field: &str, value: f64) -> Result<f64> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(refuse(field, format!("{value} must be a positive number")))
    }
}

/// Typed access to a JSON object with errors that name the field.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn text(&self, name: &str) -> Result<&str> {
        match self.0.get(name) {
            Some(Value::String(s)) => Ok(s),
            None | Some(Value::Null) => Err(refuse(name, "is missing")),
            Some(other) => Err(refuse(name, format!("must be text, found {other}"))),
        }
    }

    fn optional_count(&self, name: &str) -> Result<Option<usize>> {
        // The bound keeps products of two sizes inside 64 bits.
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => match v.as_u64() {
                Some(n) if n > 0 && n < 1 << 31 => Ok(Some(n as usize)),
                Some(_) | None => Err(refuse(name, format!("must be a whole number from 1, found {v}"))),
            },
        }
    }

    fn count(&self, name: &str) -> Result<usize> {
        self.optional_count(name)?.ok_or_else(|| refuse(name, "is missing"))
    }

    fn optional_number(&self, name: &str) -> Result<Option<f64>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => v.as_f64().map(Some).ok_or_else(|| refuse(name, format!("must be a number, found {v}"))),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(other) => Err(refuse(name, format!("must be true or false, found {other}"))),
        }
    }

    fn bias(&self, name: &str) -> Result<Bias> {
        Ok(match self.flag(name)? {
            Some(true) => Bias::Present,
            Some(false) | None => Bias::Absent,
        })
    }

    fn token_ids(&self, name: &str) -> Result<Vec<u32>> {
        token_ids(self.0.get(name)).ok_or_else(|| refuse(name, "must be a token id or a list of them"))
    }
}

/// A token id, a list of them, or nothing; `None` if the value is something else. Negative ids mean "none" in old files.
#[must_use]
pub fn token_ids(value: Option<&Value>) -> Option<Vec<u32>> {
    let one = |v: &Value| match v.as_i64() {
        Some(n) if n < 0 => Some(None),
        Some(n) => u32::try_from(n).ok().map(Some),
        None => None,
    };
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(one).collect::<Option<Vec<_>>>().map(|v| v.into_iter().flatten().collect())
        }
        Some(v) => one(v).map(|id| id.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests;
