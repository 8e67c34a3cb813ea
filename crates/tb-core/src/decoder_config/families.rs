//! What tells one model family from another: names, layout, defaults and the fields that are refused. Adding a family starts here.
//! The defaults are those of transformers' configuration classes, which leave a field out where it has its default.

use super::fields::{Fields, refuse, shown};
use super::{Activation, Result};

/// A family of checkpoints that the decoder computes exactly as transformers does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `LlamaForCausalLM`: Llama 2 and 3, SmolLM, SmolLM2, TinyLlama and others of that layout.
    Llama,
    /// `MistralForCausalLM`.
    Mistral,
    /// `Qwen2ForCausalLM`: Qwen2 and Qwen2.5.
    Qwen2,
    /// `Qwen3ForCausalLM`, the dense ones.
    Qwen3,
    /// `Gemma2ForCausalLM`.
    Gemma2,
    /// `Gemma3ForCausalLM`, and the text model of `Gemma3ForConditionalGeneration`.
    Gemma3,
    /// `Phi3ForCausalLM`: Phi-3 and Phi-4.
    Phi3,
    /// `SmolLM3ForCausalLM`.
    SmolLm3,
    /// `Olmo2ForCausalLM`.
    Olmo2,
}

/// How the blocks of a family are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where a block normalises.
    pub norms: Norms,
    /// What a norm multiplies by.
    pub norm_weight: NormWeight,
    /// Norms of queries and keys before their rotation.
    pub query_key_norm: QueryKeyNorm,
    /// Which linears are one matrix.
    pub projections: Projections,
    /// What the embedding is multiplied by.
    pub embedding: EmbeddingScale,
}

/// Where each half of a block (attention, feed-forward) normalises; x is the residual stream, f the half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norms {
    /// x + f(norm(x)).
    Before,
    /// x + norm(f(norm(x))).
    Around,
    /// x + norm(f(x)).
    After,
}

/// What a normalised value is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormWeight {
    /// The weight w.
    Plain,
    /// 1 + w.
    OnePlus,
}

/// RMSNorm of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKeyNorm {
    /// None.
    Absent,
    /// Each head by itself, with one weight (D) for all.
    PerHead,
    /// All heads together, weights (H * D) and (K * D).
    Whole,
}

/// Which linears are stored, and adapted, as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projections {
    /// q, k, v and gate, up on their own.
    Separate,
    /// `qkv_proj` and `gate_up_proj`.
    Joined,
}

/// Factor of the embedded tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingScale {
    /// 1.
    One,
    /// sqrt(C), rounded to the model's dtype.
    RootWidth,
}

/// Where a bias comes from.
#[derive(Clone, Copy)]
pub(super) enum BiasRule {
    Absent,
    /// On q, k and v, not on o.
    QueryKeyValue,
    /// As the field `attention_bias` or `mlp_bias` says.
    Field,
}

/// Which layers see a window of the text.
#[derive(Clone, Copy)]
pub(super) enum Windows {
    /// None.
    Never,
    /// All, if `sliding_window` is set; the default where the field is not there.
    Everywhere { default: Option<usize> },
    /// As `layer_types` says; without it, those from `max_window_layers` on if `use_sliding_window`.
    FromLayer,
    /// As `layer_types` says; without it, all but every n-th, where n is the field or the number.
    ButEveryNth { field: Option<&'static str>, n: usize },
    /// As `layer_types` says; without it, those without rotation if `use_sliding_window`.
    Unrotated,
}

/// How a file gives the rotary embedding.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum RopeForm {
    /// One for all layers, of the whole head.
    One,
    /// One for all layers, of a part of the head; only default and longrope.
    Partial,
    /// One for the layers with a window and one for the others.
    PerLayerType { local_theta: f64 },
}

/// A cap of scores or logits.
#[derive(Clone, Copy)]
pub(super) enum CapRule {
    Never,
    /// The value of the field; this where the field is not there.
    Field(Option<f64>),
}

/// All that is particular to a family.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) model_type: &'static str,
    pub(super) architecture: &'static str,
    pub(super) layout: Layout,
    pub(super) attention_bias: BiasRule,
    pub(super) mlp_bias: BiasRule,
    pub(super) activation_field: &'static str,
    pub(super) activation: Activation,
    pub(super) windows: Windows,
    pub(super) rope: RopeForm,
    pub(super) theta: f64,
    /// Scores are divided by the root of `query_pre_attn_scalar`, by default this; by that of the head size where there is none.
    pub(super) query_scalar: Option<f64>,
    pub(super) attention_cap: CapRule,
    pub(super) logit_cap: CapRule,
    pub(super) tied: bool,
    pub(super) max_positions: usize,
    pub(super) rms_norm_eps: f64,
    /// Defaults that released files rely on; nothing where the field must be there.
    pub(super) vocab: Option<usize>,
    pub(super) heads: Option<usize>,
    /// As many as query heads where there is none.
    pub(super) kv_heads: Option<usize>,
    /// Width over heads where there is none.
    pub(super) head_dim: Option<usize>,
}

const LLAMA: Rules = Rules {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    layout: Layout {
        norms: Norms::Before,
        norm_weight: NormWeight::Plain,
        query_key_norm: QueryKeyNorm::Absent,
        projections: Projections::Separate,
        embedding: EmbeddingScale::One,
    },
    attention_bias: BiasRule::Field,
    mlp_bias: BiasRule::Field,
    activation_field: "hidden_act",
    activation: Activation::Silu,
    windows: Windows::Never,
    rope: RopeForm::One,
    theta: 10_000.0,
    query_scalar: None,
    attention_cap: CapRule::Never,
    logit_cap: CapRule::Never,
    tied: false,
    max_positions: 2048,
    rms_norm_eps: 1e-6,
    vocab: None,
    heads: None,
    kv_heads: None,
    head_dim: None,
};

const MISTRAL: Rules = Rules {
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    attention_bias: BiasRule::Absent,
    mlp_bias: BiasRule::Absent,
    windows: Windows::Everywhere { default: Some(4096) },
    max_positions: 131_072,
    kv_heads: Some(8),
    ..LLAMA
};

const QWEN2: Rules = Rules {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    attention_bias: BiasRule::QueryKeyValue,
    mlp_bias: BiasRule::Absent,
    windows: Windows::FromLayer,
    max_positions: 32_768,
    kv_heads: Some(32),
    ..LLAMA
};

const QWEN3: Rules = Rules {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    layout: Layout { query_key_norm: QueryKeyNorm::PerHead, ..LLAMA.layout },
    attention_bias: BiasRule::Field,
    head_dim: Some(128),
    ..QWEN2
};

const GEMMA2: Rules = Rules {
    model_type: "gemma2",
    architecture: "Gemma2ForCausalLM",
    layout: Layout {
        norms: Norms::Around,
        norm_weight: NormWeight::OnePlus,
        embedding: EmbeddingScale::RootWidth,
        ..LLAMA.layout
    },
    mlp_bias: BiasRule::Absent,
    activation_field: "hidden_activation",
    activation: Activation::GeluTanh,
    windows: Windows::ButEveryNth { field: None, n: 2 },
    query_scalar: Some(256.0),
    attention_cap: CapRule::Field(Some(50.0)),
    logit_cap: CapRule::Field(Some(30.0)),
    tied: true,
    max_positions: 8192,
    kv_heads: Some(4),
    head_dim: Some(256),
    ..LLAMA
};

const GEMMA3: Rules = Rules {
    model_type: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    layout: Layout { query_key_norm: QueryKeyNorm::PerHead, ..GEMMA2.layout },
    windows: Windows::ButEveryNth { field: Some("sliding_window_pattern"), n: 6 },
    rope: RopeForm::PerLayerType { local_theta: 10_000.0 },
    theta: 1_000_000.0,
    // The class has `attn_logit_softcapping`, but its attention does not read it.
    attention_cap: CapRule::Never,
    logit_cap: CapRule::Field(None),
    max_positions: 131_072,
    vocab: Some(262_208),
    heads: Some(8),
    ..GEMMA2
};

const PHI3: Rules = Rules {
    model_type: "phi3",
    architecture: "Phi3ForCausalLM",
    layout: Layout { projections: Projections::Joined, ..LLAMA.layout },
    attention_bias: BiasRule::Absent,
    mlp_bias: BiasRule::Absent,
    windows: Windows::Everywhere { default: None },
    rope: RopeForm::Partial,
    max_positions: 4096,
    rms_norm_eps: 1e-5,
    ..LLAMA
};

const SMOLLM3: Rules = Rules {
    model_type: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    windows: Windows::Unrotated,
    theta: 2_000_000.0,
    tied: true,
    max_positions: 32_768,
    kv_heads: Some(4),
    ..LLAMA
};

const OLMO2: Rules = Rules {
    model_type: "olmo2",
    architecture: "Olmo2ForCausalLM",
    layout: Layout { norms: Norms::After, query_key_norm: QueryKeyNorm::Whole, ..LLAMA.layout },
    mlp_bias: BiasRule::Absent,
    rms_norm_eps: 1e-5,
    ..LLAMA
};

impl Family {
    /// Every supported family.
    pub const ALL: [Self; 9] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::SmolLm3,
        Self::Olmo2,
    ];

    /// The value of `model_type` in `config.json`.
    #[must_use]
    pub const fn model_type(self) -> &'static str {
        self.rules().model_type
    }

    /// The class name in `architectures`.
    #[must_use]
    pub const fn architecture(self) -> &'static str {
        self.rules().architecture
    }

    /// How its blocks are put together.
    #[must_use]
    pub const fn layout(self) -> Layout {
        self.rules().layout
    }

    pub(super) fn from_model_type(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|f| f.model_type() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.into_iter().map(Self::model_type).collect();
            let name: String = name.chars().take(60).collect();
            refuse("model_type", format!("{name:?} is not supported: choose a model of type {}", known.join(", ")))
        })
    }

    pub(super) const fn rules(self) -> &'static Rules {
        match self {
            Self::Llama => &LLAMA,
            Self::Mistral => &MISTRAL,
            Self::Qwen2 => &QWEN2,
            Self::Qwen3 => &QWEN3,
            Self::Gemma2 => &GEMMA2,
            Self::Gemma3 => &GEMMA3,
            Self::Phi3 => &PHI3,
            Self::SmolLm3 => &SMOLLM3,
            Self::Olmo2 => &OLMO2,
        }
    }
}

/// Refuses fields whose value would make transformers compute something else than this decoder does.
pub(super) fn refuse_unsupported(family: Family, fields: Fields<'_>) -> Result<()> {
    if let Some(architectures) = fields.list("architectures")?
        && !architectures.is_empty()
        && !architectures.iter().any(|a| a.as_str() == Some(family.architecture()))
    {
        return Err(refuse(
            "architectures",
            format!("{} is not supported: only {}", shown(&architectures.into()), family.architecture()),
        ));
    }
    for name in ["attention_dropout", "resid_pdrop", "embd_pdrop"] {
        if fields.optional_number(name)?.is_some_and(|p| p != 0.0) {
            return Err(refuse(name, format!("{} is not supported: only 0.0", shown(&fields.0[name]))));
        }
    }
    if fields.flag("use_bidirectional_attention")? == Some(true) {
        return Err(refuse("use_bidirectional_attention", "true is not supported: every token sees those before it"));
    }
    if fields.set("quantization_config").is_some() {
        return Err(refuse(
            "quantization_config",
            "quantised checkpoints are not supported: use the original f32, bf16 or f16 weights",
        ));
    }
    Ok(())
}
