//! What tells one model family from another: names, defaults and the fields that are refused. Adding a family starts here.

use serde_json::{Map, Value};

use super::{Bias, Result, refuse};

/// A family of checkpoints that the decoder computes exactly as transformers does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `LlamaForCausalLM`: Llama 2 and 3, SmolLM, TinyLlama and others of that layout.
    Llama,
    /// `Qwen2ForCausalLM`: Qwen2 and Qwen2.5.
    Qwen2,
}

/// What a family fixes; `None` leaves the choice to `attention_bias` or `mlp_bias` in the file.
pub(super) struct Rules {
    pub(super) qkv_bias: Option<Bias>,
    pub(super) output_bias: Option<Bias>,
    pub(super) mlp_bias: Option<Bias>,
    pub(super) default_tied: bool,
    pub(super) default_max_position_embeddings: usize,
}

impl Family {
    /// Every supported family.
    pub const ALL: [Self; 2] = [Self::Llama, Self::Qwen2];

    /// The value of `model_type` in `config.json`.
    #[must_use]
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }

    /// The class name in `architectures`.
    #[must_use]
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
        }
    }

    pub(super) fn from_model_type(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|f| f.model_type() == name).ok_or_else(|| {
            refuse("model_type", format!("{name:?} is not supported: choose a model of type llama or qwen2"))
        })
    }

    pub(super) const fn rules(self) -> Rules {
        match self {
            Self::Llama => Rules {
                qkv_bias: None,
                output_bias: None,
                mlp_bias: None,
                default_tied: false,
                default_max_position_embeddings: 2048,
            },
            Self::Qwen2 => Rules {
                qkv_bias: Some(Bias::Present),
                output_bias: Some(Bias::Absent),
                mlp_bias: Some(Bias::Absent),
                default_tied: false,
                default_max_position_embeddings: 32_768,
            },
        }
    }
}

/// Refuses fields whose value would make transformers compute something else than this decoder does.
pub(super) fn refuse_unsupported(family: Family, fields: &Map<String, Value>) -> Result<()> {
    let set = |name: &str| fields.get(name).filter(|v| !v.is_null());
    if let Some(architectures) = set("architectures").and_then(Value::as_array)
        && !architectures.is_empty()
        && !architectures.iter().any(|a| a.as_str() == Some(family.architecture()))
    {
        return Err(refuse(
            "architectures",
            format!("{} is not supported: only {}", Value::Array(architectures.clone()), family.architecture()),
        ));
    }
    if let Some(act) = set("hidden_act")
        && act.as_str() != Some("silu")
    {
        return Err(refuse("hidden_act", format!("{act} is not supported: only \"silu\"")));
    }
    for name in ["attention_dropout", "partial_rotary_factor"] {
        let neutral = if name == "attention_dropout" { 0.0 } else { 1.0 };
        if let Some(v) = set(name)
            && v.as_f64() != Some(neutral)
        {
            return Err(refuse(name, format!("{v} is not supported: only {neutral:?}")));
        }
    }
    if set("quantization_config").is_some() {
        return Err(refuse(
            "quantization_config",
            "quantised checkpoints are not supported: use the original f32, bf16 or f16 weights",
        ));
    }
    match family {
        Family::Llama => Ok(()),
        Family::Qwen2 => refuse_sliding_window(fields),
    }
}

fn refuse_sliding_window(fields: &Map<String, Value>) -> Result<()> {
    if let Some(Value::Array(kinds)) = fields.get("layer_types") {
        return match kinds.iter().find(|k| k.as_str() != Some("full_attention")) {
            Some(kind) => Err(refuse("layer_types", format!("{kind} is not supported: only \"full_attention\""))),
            None => Ok(()),
        };
    }
    let enabled = fields.get("use_sliding_window").and_then(Value::as_bool) == Some(true)
        && fields.get("sliding_window").is_some_and(|v| !v.is_null());
    let first = fields.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
    let layers = fields.get("num_hidden_layers").and_then(Value::as_u64).unwrap_or(0);
    if enabled && first < layers {
        return Err(refuse(
            "use_sliding_window",
            format!("true is not supported: layers {first} to {} would see only a window of the text", layers - 1),
        ));
    }
    Ok(())
}
