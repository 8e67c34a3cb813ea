//! What tensors are called in a GGUF file and in a Hugging Face folder, and how the values differ between the two.
//!
//! Follows llama.cpp's `gguf-py/gguf/tensor_mapping.py` and the `modify_tensors` of its converters.

/// A model family by llama.cpp's name for it (`general.architecture`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// Llama 2 and 3, Mistral, SmolLM 1 and 2.
    Llama,
    /// Qwen2, Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, the text model.
    Gemma3,
    /// Phi-3, Phi-4.
    Phi3,
    /// SmolLM3.
    SmolLm3,
    /// OLMo-2.
    Olmo2,
}

/// How the values of a tensor differ from those of the Hugging Face checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Not at all.
    Same,
    /// Rows of a head are interleaved for llama.cpp's rotation of neighbours: row `2 i + j` of a head of D rows is `j D/2 + i` there.
    QueryRows,
    /// As [`Stored::QueryRows`], with the number of key heads.
    KeyRows,
    /// One was added: the family multiplies by `1 + weight`.
    PlusOne,
}

/// Beginning of the names of a block's tensors.
const BLOCK: &str = "model.layers.";

impl Arch {
    /// Every family.
    pub const ALL: [Self; 8] =
        [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma2, Self::Gemma3, Self::Phi3, Self::SmolLm3, Self::Olmo2];

    /// llama.cpp's name, with which the keys of its metadata begin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
            Self::SmolLm3 => "smollm3",
            Self::Olmo2 => "olmo2",
        }
    }

    /// The `model_type` of a Hugging Face configuration.
    #[must_use]
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Gemma3 => "gemma3_text",
            Self::Llama | Self::Qwen2 | Self::Qwen3 | Self::Gemma2 | Self::Phi3 | Self::SmolLm3 | Self::Olmo2 => {
                self.name()
            }
        }
    }

    /// The family that llama.cpp runs a `model_type` as.
    #[must_use]
    pub fn of_model_type(model_type: &str) -> Option<Self> {
        match model_type {
            "mistral" => Some(Self::Llama),
            _ => Self::ALL.into_iter().find(|arch| arch.model_type() == model_type),
        }
    }

    /// The GGUF name of a Hugging Face tensor, and how its values differ; none for a name that the family does not have.
    #[must_use]
    pub fn gguf_name(self, hf_name: &str) -> Option<(String, Stored)> {
        let (path, end) = hf_name.rsplit_once('.').filter(|(_, end)| matches!(*end, "weight" | "bias"))?;
        if let Some((layer, part)) = path.strip_prefix(BLOCK).and_then(|rest| rest.split_once('.')) {
            layer.parse::<u32>().ok()?;
            let (_, name, stored) = self.block_parts().into_iter().find(|(hf, _, _)| *hf == part)?;
            return Some((format!("blk.{layer}.{name}.{end}"), stored));
        }
        let name = match path {
            "model.embed_tokens" => "token_embd",
            "model.norm" => return Some((format!("output_norm.{end}"), self.norm())),
            "lm_head" => "output",
            _ => return None,
        };
        Some((format!("{name}.{end}"), Stored::Same))
    }

    /// The Hugging Face name of a GGUF tensor; none for what has no counterpart there (`rope_freqs.weight`).
    #[must_use]
    pub fn hf_name(self, gguf_name: &str) -> Option<String> {
        let (path, end) = gguf_name.rsplit_once('.').filter(|(_, end)| matches!(*end, "weight" | "bias"))?;
        if let Some((layer, part)) = path.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            layer.parse::<u32>().ok()?;
            let (hf, _, _) = self.block_parts().into_iter().find(|(_, name, _)| *name == part)?;
            return Some(format!("{BLOCK}{layer}.{hf}.{end}"));
        }
        let name = match path {
            "token_embd" => "model.embed_tokens",
            "output_norm" => "model.norm",
            "output" => "lm_head",
            _ => return None,
        };
        Some(format!("{name}.{end}"))
    }

    const fn norm(self) -> Stored {
        match self {
            Self::Gemma2 | Self::Gemma3 => Stored::PlusOne,
            Self::Llama | Self::Qwen2 | Self::Qwen3 | Self::Phi3 | Self::SmolLm3 | Self::Olmo2 => Stored::Same,
        }
    }

    /// (Hugging Face module, GGUF name, difference) of everything in a block.
    fn block_parts(self) -> Vec<(&'static str, &'static str, Stored)> {
        let norm = self.norm();
        let (queries, keys) = match self {
            Self::Llama | Self::SmolLm3 => (Stored::QueryRows, Stored::KeyRows),
            Self::Qwen2 | Self::Qwen3 | Self::Gemma2 | Self::Gemma3 | Self::Phi3 | Self::Olmo2 => {
                (Stored::Same, Stored::Same)
            }
        };
        let mut parts =
            vec![("self_attn.o_proj", "attn_output", Stored::Same), ("mlp.down_proj", "ffn_down", Stored::Same)];
        parts.extend(match self {
            Self::Phi3 => {
                vec![("self_attn.qkv_proj", "attn_qkv", Stored::Same), ("mlp.gate_up_proj", "ffn_up", Stored::Same)]
            }
            Self::Llama | Self::SmolLm3 | Self::Qwen2 | Self::Qwen3 | Self::Gemma2 | Self::Gemma3 | Self::Olmo2 => {
                vec![
                    ("self_attn.q_proj", "attn_q", queries),
                    ("self_attn.k_proj", "attn_k", keys),
                    ("self_attn.v_proj", "attn_v", Stored::Same),
                    ("mlp.gate_proj", "ffn_gate", Stored::Same),
                    ("mlp.up_proj", "ffn_up", Stored::Same),
                ]
            }
        });
        parts.extend(match self {
            Self::Llama | Self::SmolLm3 | Self::Qwen2 | Self::Phi3 => {
                vec![("input_layernorm", "attn_norm", norm), ("post_attention_layernorm", "ffn_norm", norm)]
            }
            Self::Qwen3 => vec![
                ("input_layernorm", "attn_norm", norm),
                ("post_attention_layernorm", "ffn_norm", norm),
                ("self_attn.q_norm", "attn_q_norm", norm),
                ("self_attn.k_norm", "attn_k_norm", norm),
            ],
            Self::Gemma2 | Self::Gemma3 => vec![
                ("input_layernorm", "attn_norm", norm),
                ("post_attention_layernorm", "post_attention_norm", norm),
                ("pre_feedforward_layernorm", "ffn_norm", norm),
                ("post_feedforward_layernorm", "post_ffw_norm", norm),
                ("self_attn.q_norm", "attn_q_norm", norm),
                ("self_attn.k_norm", "attn_k_norm", norm),
            ],
            Self::Olmo2 => vec![
                ("post_attention_layernorm", "post_attention_norm", norm),
                ("post_feedforward_layernorm", "post_ffw_norm", norm),
                ("self_attn.q_norm", "attn_q_norm", norm),
                ("self_attn.k_norm", "attn_k_norm", norm),
            ],
        });
        parts
    }
}

/// The row of the Hugging Face tensor that lies at row `row` of the GGUF tensor, in heads of `head_dim` rows.
#[must_use]
pub const fn interleaved_row(row: usize, head_dim: usize) -> usize {
    let (head, inside) = (row / head_dim, row % head_dim);
    head * head_dim + (inside % 2) * (head_dim / 2) + inside / 2
}
