//! A model's configuration as GGUF metadata: the way back of `config.rs`. What llama.cpp would compute otherwise is refused by name.

use crate::decoder_config::{Activation, Bias, DecoderConfig, HeadKind, RopeScaling};

use super::config::{FREQS, gemma_query_scale, llama3_factors};
use super::names::Arch;
use super::{Result, Value, bad};

/// What of a model stands in the head of a file, besides its tokenizer and what describes the file itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelMetadata {
    /// Keys and values in the order in which they are written.
    pub pairs: Vec<(String, Value)>,
    /// Small f32 tensors that hold a part of the configuration, by name.
    pub tensors: Vec<(String, Vec<f32>)>,
}

impl ModelMetadata {
    fn put(&mut self, arch: Arch, name: &str, value: Value) {
        self.pairs.push((format!("{}.{name}", arch.name()), value));
    }

    fn put_number(&mut self, arch: Arch, name: &str, value: f64) {
        self.put(arch, name, Value::F32(value as f32));
    }

    fn put_divisors(&mut self, tensor: &str, divisors: &[f64]) {
        self.tensors.push((tensor.into(), divisors.iter().map(|x| *x as f32).collect()));
    }
}

/// The metadata of a model.
///
/// # Errors
/// A setting that llama.cpp cannot express; it is named.
pub fn model_metadata(arch: Arch, config: &DecoderConfig) -> Result<ModelMetadata> {
    refuse_what_differs(arch, config)?;
    let mut out = ModelMetadata::default();
    for (name, count) in [
        ("block_count", config.num_hidden_layers),
        ("context_length", context(arch, config)),
        ("embedding_length", config.hidden_size),
        ("feed_forward_length", config.intermediate_size),
        ("attention.head_count", config.num_attention_heads),
        ("attention.head_count_kv", config.num_key_value_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("vocab_size", config.vocab_size),
    ] {
        out.put(arch, name, whole(count)?);
    }
    out.put_number(arch, "attention.layer_norm_rms_epsilon", config.rms_norm_eps);
    if matches!(arch, Arch::Gemma2 | Arch::Gemma3) {
        if let Some(cap) = config.attention_soft_cap {
            out.put_number(arch, "attn_logit_softcapping", cap);
        }
        if let Some(cap) = config.logit_soft_cap {
            out.put_number(arch, "final_logit_softcapping", cap);
        }
        let windows = config.layers.iter().map(|layer| layer.window);
        if let Some(window) = windows.clone().flatten().next() {
            out.put(arch, "attention.sliding_window", whole(window)?);
            out.put(arch, "attention.sliding_window_pattern", Value::Bools(windows.map(|w| w.is_some()).collect()));
        }
        if let [_, local] = config.ropes.as_slice() {
            if local.scaling != RopeScaling::Default {
                return bad("the rotary scaling of layers with a window: llama.cpp leaves those layers unscaled");
            }
            out.put_number(arch, "rope.freq_base_swa", local.theta);
        }
    }
    rope(arch, config, &mut out)?;
    Ok(out)
}

/// What llama.cpp computes by its own rule in a family, where the model has another.
fn refuse_what_differs(arch: Arch, config: &DecoderConfig) -> Result<()> {
    let gemma = matches!(arch, Arch::Gemma2 | Arch::Gemma3);
    let (field, activation) =
        if gemma { ("hidden_activation", Activation::GeluTanh) } else { ("hidden_act", Activation::Silu) };
    if config.activation != activation {
        let (theirs, ours) = (activation.name(), config.activation.name());
        return bad(format!("`{field}` {ours}: llama.cpp computes with {theirs} in this family"));
    }
    let biases = match arch {
        Arch::Llama | Arch::Qwen2 => Bias::Absent,
        Arch::Qwen3 | Arch::SmolLm3 | Arch::Gemma2 | Arch::Gemma3 | Arch::Phi3 | Arch::Olmo2 => {
            if config.qkv_bias == Bias::Present { Bias::Present } else { config.mlp_bias }
        }
    };
    if biases == Bias::Present {
        return bad("`attention_bias` or `mlp_bias`: llama.cpp has no biases in this family");
    }
    match arch {
        Arch::Phi3 | Arch::Olmo2 if config.head_dim * config.num_attention_heads != config.hidden_size => {
            let theirs = config.hidden_size / config.num_attention_heads.max(1);
            bad(format!("`head_dim`: llama.cpp needs {theirs} in this family"))
        }
        Arch::SmolLm3 if config.layers.iter().enumerate().any(|(i, l)| l.rope.is_some() == ((i + 1) % 4 == 0)) => {
            bad("`no_rope_layers`: llama.cpp leaves out every fourth layer and no other")
        }
        Arch::Gemma2 | Arch::Gemma3 => refuse_gemma(arch, config),
        Arch::Llama | Arch::Qwen2 | Arch::Qwen3 | Arch::Phi3 | Arch::SmolLm3 | Arch::Olmo2 => Ok(()),
    }
}

fn refuse_gemma(arch: Arch, config: &DecoderConfig) -> Result<()> {
    let sizes = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.head_dim);
    let theirs = gemma_query_scale(arch, sizes.0, sizes.1, sizes.2, sizes.3);
    let ours = config.attention_scale.powi(-2);
    if (ours - theirs as f64).abs() > 1e-6 * ours {
        return bad(format!("`query_pre_attn_scalar` {ours:.0}: llama.cpp computes with {theirs}"));
    }
    if config.head == HeadKind::Untied {
        return bad("`tie_word_embeddings` false: llama.cpp knows this family with a tied head alone");
    }
    if arch == Arch::Gemma2 {
        if config.attention_soft_cap.is_none() {
            return bad("`attn_logit_softcapping` null: llama.cpp always caps in this family");
        }
        if config.layers.iter().all(|layer| layer.window.is_none()) {
            return bad("`sliding_window` null: llama.cpp takes 4096 in this family");
        }
    }
    Ok(())
}

/// The longest text in tokens on which llama.cpp computes the same: where it does not know of a window, no longer than that.
fn context(arch: Arch, config: &DecoderConfig) -> usize {
    let longest = config.max_position_embeddings;
    match arch {
        Arch::Gemma2 | Arch::Gemma3 => longest,
        Arch::Llama | Arch::Qwen2 | Arch::Qwen3 | Arch::Phi3 | Arch::SmolLm3 | Arch::Olmo2 => {
            config.layers.iter().filter_map(|layer| layer.window).fold(longest, usize::min)
        }
    }
}

/// The rotary embedding of the layers that see everything.
fn rope(arch: Arch, config: &DecoderConfig, out: &mut ModelMetadata) -> Result<()> {
    let Some(rope) = config.ropes.first() else { return bad("it has no rotary embedding") };
    let rotated = rope.rotary_dim;
    if rotated != config.head_dim && arch != Arch::Phi3 {
        return bad(format!("`partial_rotary_factor`: llama.cpp rotates whole heads of {} here", config.head_dim));
    }
    out.put(arch, "rope.dimension_count", whole(rotated)?);
    out.put_number(arch, "rope.freq_base", rope.theta);
    let divides = matches!(arch, Arch::Llama | Arch::SmolLm3);
    match &rope.scaling {
        // Up to the model's own context, the dynamic rule changes nothing, and no longer one is written.
        RopeScaling::Default | RopeScaling::Dynamic { .. } => {}
        RopeScaling::Linear { factor } => {
            out.put(arch, "rope.scaling.type", Value::Text("linear".into()));
            out.put_number(arch, "rope.scaling.factor", *factor);
        }
        &RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }
            if divides =>
        {
            let original = original_max_position_embeddings;
            let divisors = llama3_factors(rotated, rope.theta, factor, low_freq_factor, high_freq_factor, original);
            out.tensors.push((FREQS.into(), divisors));
        }
        // Divisors for texts of any length: a file of llama.cpp may hold them by no rule.
        RopeScaling::LongRope { short_factor, long_factor, attention_factor, .. }
            if divides && short_factor == long_factor && *attention_factor == 1.0 =>
        {
            out.put_divisors(FREQS, short_factor);
        }
        RopeScaling::LongRope { short_factor, long_factor, original_max_position_embeddings, attention_factor }
            if arch == Arch::Phi3 =>
        {
            out.put(arch, "rope.scaling.type", Value::Text("longrope".into()));
            out.put(arch, "rope.scaling.original_context_length", Value::U32(*original_max_position_embeddings as u32));
            out.put_number(arch, "rope.scaling.attn_factor", *attention_factor);
            out.put_divisors("rope_factors_long.weight", long_factor);
            out.put_divisors("rope_factors_short.weight", short_factor);
        }
        RopeScaling::Yarn {
            factor,
            original_max_position_embeddings,
            attention_factor,
            beta_fast,
            beta_slow,
            truncate,
        } => {
            let theirs = 1.0 + 0.1 * factor.max(1.0).ln();
            if (attention_factor - theirs).abs() > 1e-6 {
                return bad(format!("`attention_factor` {attention_factor} of yarn: llama.cpp computes with {theirs}"));
            }
            if !truncate {
                return bad("`truncate` false of yarn: llama.cpp rounds the bounds");
            }
            out.put(arch, "rope.scaling.type", Value::Text("yarn".into()));
            out.put_number(arch, "rope.scaling.factor", *factor);
            out.put(arch, "rope.scaling.original_context_length", Value::U32(*original_max_position_embeddings as u32));
            out.put_number(arch, "rope.scaling.yarn_beta_fast", *beta_fast);
            out.put_number(arch, "rope.scaling.yarn_beta_slow", *beta_slow);
        }
        RopeScaling::LongRope { .. } => return bad("`rope_type` longrope: llama.cpp does not know it in this family"),
        RopeScaling::Llama3 { .. } => return bad("`rope_type` llama3: llama.cpp does not know it in this family"),
    }
    Ok(())
}

fn whole(count: usize) -> Result<Value> {
    u32::try_from(count).map_or_else(|_| bad(format!("{count} does not fit a GGUF file")), |n| Ok(Value::U32(n)))
}
