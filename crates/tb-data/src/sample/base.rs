//! The shape of the sample's base model. Its weights come from `tonebridge pretrain`.

use serde_json::{Value, json};

use super::tokenizer::{CONTEXT, VOCABULARY};

/// `config.json` of the base model: the Llama layout, 3.8 million weights.
///
/// The rotation's period is long for so short a context, so that half of each head hardly sees positions and can match words.
#[must_use]
pub fn base_config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100_000.0,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float16"
    })
}
