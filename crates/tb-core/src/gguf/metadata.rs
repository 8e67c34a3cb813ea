//! A model's configuration as GGUF metadata: the way back of `config.rs`. What llama.cpp would compute otherwise is refused by name.

use serde_json::{Map, Value as Json};

use super::config::{gemma_query_scale, llama3_factors};
use super::names::Arch;
use super::{GgufError, Result, Value, bad};

/// What of a model stands in the head of a file, besides its tokenizer and what describes the file itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelMetadata {
    /// Keys and values in the order in which they are written.
    pub pairs: Vec<(String, Value)>,
    /// Small f32 tensors that hold a part of the configuration, by name.
    pub tensors: Vec<(String, Vec<f32>)>,
}

/// The metadata of the model that `config` (a Hugging Face `config.json`) describes.
///
/// # Errors
/// A setting that llama.cpp cannot express; it is named.
pub fn model_metadata(arch: Arch, config: &Map<String, Json>) -> Result<ModelMetadata> {
    let fields = Fields { config };
    let (layers, hidden, heads) =
        (fields.count("num_hidden_layers")?, fields.count("hidden_size")?, fields.count("num_attention_heads")?);
    let head_dim = fields.optional_count("head_dim")?.unwrap_or(hidden / heads.max(1));
    let mut out = ModelMetadata::default();
    let mut put = |name: &str, value: Value| out.pairs.push((format!("{}.{name}", arch.name()), value));
    put("block_count", Value::U32(layers));
    put("context_length", Value::U32(fields.context(arch)?));
    put("embedding_length", Value::U32(hidden));
    put("feed_forward_length", Value::U32(fields.count("intermediate_size")?));
    put("attention.head_count", Value::U32(heads));
    put("attention.head_count_kv", Value::U32(fields.optional_count("num_key_value_heads")?.unwrap_or(heads)));
    put("attention.key_length", Value::U32(head_dim));
    put("attention.value_length", Value::U32(head_dim));
    put("attention.layer_norm_rms_epsilon", Value::F32(fields.number("rms_norm_eps")?.unwrap_or(1e-6) as f32));
    put("vocab_size", Value::U32(fields.count("vocab_size")?));
    match arch {
        Arch::Llama | Arch::Qwen2 => {}
        Arch::Qwen3 | Arch::SmolLm3 | Arch::Gemma2 | Arch::Gemma3 | Arch::Phi3 | Arch::Olmo2 => {
            if fields.flag("attention_bias") || fields.flag("mlp_bias") {
                return bad("`attention_bias` or `mlp_bias`: llama.cpp has no biases in this family");
            }
        }
    }
    match arch {
        Arch::Phi3 | Arch::Olmo2 if head_dim * heads != hidden => {
            return bad(format!("`head_dim`: llama.cpp needs {} in this family", hidden / heads.max(1)));
        }
        Arch::SmolLm3 => {
            let rotates = fields.config.get("no_rope_layers").and_then(Json::as_array);
            // 1 stands for a layer that rotates.
            let every_fourth = |(i, on): (usize, &Json)| on.as_u64() == Some(u64::from((i + 1) % 4 != 0));
            if rotates.is_some_and(|r| !r.iter().enumerate().all(every_fourth)) {
                return bad("`no_rope_layers`: llama.cpp leaves out every fourth layer and no other");
            }
        }
        Arch::Gemma2 | Arch::Gemma3 => {
            let scale = fields.number("query_pre_attn_scalar")?.unwrap_or(256.0);
            let theirs = gemma_query_scale(arch, layers as usize, hidden as usize, heads as usize, head_dim as usize);
            if scale != theirs as f64 {
                return bad(format!("`query_pre_attn_scalar` {scale}: llama.cpp computes with {theirs}"));
            }
            if config.get("tie_word_embeddings") == Some(&Json::Bool(false)) {
                return bad("`tie_word_embeddings` false: llama.cpp knows this family with a tied head alone");
            }
            let soft_cap = fields.number("attn_logit_softcapping")?;
            match (arch, soft_cap) {
                (Arch::Gemma2, Some(cap)) => put("attn_logit_softcapping", Value::F32(cap as f32)),
                (Arch::Gemma2, None) => {
                    return bad("`attn_logit_softcapping` null: llama.cpp always caps in this family");
                }
                (_, Some(_)) => return bad("`attn_logit_softcapping`: llama.cpp does not cap in this family"),
                (_, None) => {}
            }
            if let Some(cap) = fields.number("final_logit_softcapping")? {
                put("final_logit_softcapping", Value::F32(cap as f32));
            }
            if let Some(window) = fields.optional_count("sliding_window")? {
                put("attention.sliding_window", Value::U32(window));
                put("attention.sliding_window_pattern", Value::Bools(fields.local_layers(arch, layers)?));
            } else if arch == Arch::Gemma2 {
                return bad("`sliding_window` null: llama.cpp takes 4096 in this family");
            }
            if let (Arch::Gemma3, Some(theta)) = (arch, fields.local_theta()?) {
                put("rope.freq_base_swa", Value::F32(theta as f32));
            }
        }
        Arch::Llama | Arch::Qwen2 | Arch::Qwen3 | Arch::Phi3 | Arch::Olmo2 => {}
    }
    rope(arch, &fields, head_dim as usize, &mut out)?;
    Ok(out)
}

/// The rotary embedding.
fn rope(arch: Arch, fields: &Fields<'_>, head_dim: usize, out: &mut ModelMetadata) -> Result<()> {
    let table = fields.rope_table();
    let table = Fields { config: &table };
    let theta = match table.number("rope_theta")? {
        Some(theta) => theta,
        None => fields.number("rope_theta")?.unwrap_or(10_000.0),
    };
    let part = match table.number("partial_rotary_factor")? {
        Some(part) => part,
        None => fields.number("partial_rotary_factor")?.unwrap_or(1.0),
    };
    if part != 1.0 && arch != Arch::Phi3 {
        return bad(format!("`partial_rotary_factor` {part}: llama.cpp rotates whole heads in this family"));
    }
    let rotated = (head_dim as f64 * part) as usize;
    let mut put = |name: &str, value: Value| out.pairs.push((format!("{}.{name}", arch.name()), value));
    put("rope.dimension_count", Value::U32(rotated as u32));
    put("rope.freq_base", Value::F32(theta as f32));
    let kind = ["rope_type", "type"].iter().find_map(|k| table.config.get(*k)?.as_str()).unwrap_or("default");
    let needed = |name: &str| match table.number(name)? {
        Some(number) => Ok(number),
        None => bad(format!("`{name}` of the rotary scaling {kind} is missing")),
    };
    match kind {
        // Up to the model's own context, the dynamic rule changes nothing, and no longer one is written.
        "default" | "dynamic" => {}
        "linear" => {
            put("rope.scaling.type", Value::Text("linear".into()));
            put("rope.scaling.factor", Value::F32(needed("factor")? as f32));
        }
        "llama3" if matches!(arch, Arch::Llama | Arch::SmolLm3) => {
            let original = match table.number("original_max_position_embeddings")? {
                Some(original) => original,
                None => f64::from(fields.count("max_position_embeddings")?),
            };
            let (factor, low, high) = (needed("factor")?, needed("low_freq_factor")?, needed("high_freq_factor")?);
            let factors = llama3_factors(rotated, theta, factor, low, high, original);
            out.tensors.push(("rope_freqs.weight".into(), factors));
        }
        "yarn" => {
            put("rope.scaling.type", Value::Text("yarn".into()));
            put("rope.scaling.factor", Value::F32(needed("factor")? as f32));
            let original = needed("original_max_position_embeddings")?;
            put("rope.scaling.original_context_length", Value::U32(original as u32));
            for name in ["attention_factor", "mscale", "mscale_all_dim", "truncate"] {
                if table.config.get(name).is_some_and(|v| !v.is_null()) {
                    return bad(format!("`{name}` of the yarn scaling: llama.cpp computes it by its own rule"));
                }
            }
            for (field, key) in
                [("beta_fast", "rope.scaling.yarn_beta_fast"), ("beta_slow", "rope.scaling.yarn_beta_slow")]
            {
                if let Some(number) = table.number(field)? {
                    put(key, Value::F32(number as f32));
                }
            }
        }
        "longrope" | "su" if arch == Arch::Phi3 => {
            let original = match table.number("original_max_position_embeddings")? {
                Some(original) => original,
                None => match fields.number("original_max_position_embeddings")? {
                    Some(original) => original,
                    None => return bad("`original_max_position_embeddings` of the rotary scaling longrope is missing"),
                },
            };
            let longest = f64::from(fields.count("max_position_embeddings")?);
            let stretch = longest / original;
            let attention = match table.number("attention_factor")? {
                Some(factor) => factor,
                None if stretch > 1.0 => (1.0 + stretch.ln() / original.ln()).sqrt(),
                None => 1.0,
            };
            put("rope.scaling.type", Value::Text("longrope".into()));
            put("rope.scaling.original_context_length", Value::U32(original as u32));
            put("rope.scaling.attn_factor", Value::F32(attention as f32));
            for (field, name) in
                [("long_factor", "rope_factors_long.weight"), ("short_factor", "rope_factors_short.weight")]
            {
                let factors = table.config.get(field).and_then(Json::as_array).into_iter().flatten();
                let factors: Vec<f32> = factors.filter_map(|v| v.as_f64().map(|x| x as f32)).collect();
                if factors.len() != rotated / 2 {
                    return bad(format!("`{field}` has {} values, not {}", factors.len(), rotated / 2));
                }
                out.tensors.push((name.into(), factors));
            }
        }
        other => return bad(format!("`rope_type` {other}: llama.cpp does not know it in this family")),
    }
    Ok(())
}

/// Typed access to a `config.json`; a field that is null is absent.
struct Fields<'a> {
    config: &'a Map<String, Json>,
}

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Json> {
        self.config.get(name).filter(|v| !v.is_null())
    }

    fn optional_count(&self, name: &str) -> Result<Option<u32>> {
        self.get(name)
            .map(|v| v.as_u64().and_then(|n| u32::try_from(n).ok()))
            .map(|n| n.ok_or_else(|| GgufError::Bad(format!("`{name}` is not a whole number"))))
            .transpose()
    }

    fn count(&self, name: &str) -> Result<u32> {
        self.optional_count(name)?.ok_or_else(|| GgufError::Bad(format!("`{name}` is missing")))
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        self.get(name)
            .map(|v| v.as_f64().ok_or_else(|| GgufError::Bad(format!("`{name}` is not a number"))))
            .transpose()
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name) == Some(&Json::Bool(true))
    }

    /// The longest text in tokens on which llama.cpp computes the same: where it does not know of a window, no longer than that.
    fn context(&self, arch: Arch) -> Result<u32> {
        let longest = self.count("max_position_embeddings")?;
        let window = match arch {
            Arch::Llama | Arch::Phi3 => self.optional_count("sliding_window")?,
            Arch::Qwen2 | Arch::Qwen3 | Arch::SmolLm3 if self.flag("use_sliding_window") => {
                self.optional_count("sliding_window")?
            }
            Arch::Qwen2 | Arch::Qwen3 | Arch::SmolLm3 | Arch::Gemma2 | Arch::Gemma3 | Arch::Olmo2 => None,
        };
        Ok(window.map_or(longest, |window| window.min(longest)))
    }

    /// Per layer, whether it sees a window only.
    fn local_layers(&self, arch: Arch, layers: u32) -> Result<Vec<bool>> {
        if let Some(kinds) = self.get("layer_types").and_then(Json::as_array) {
            return Ok(kinds.iter().map(|kind| kind == "sliding_attention").collect());
        }
        let every = match self.optional_count("sliding_window_pattern")? {
            Some(n) => n.max(1),
            None if arch == Arch::Gemma2 => 2,
            None => 6,
        };
        Ok((0..layers).map(|layer| (layer + 1) % every != 0).collect())
    }

    /// The rotary table of layers that see everything: `rope_scaling` if it is there, else `rope_parameters`.
    fn rope_table(&self) -> Map<String, Json> {
        let table = |name: &str| self.get(name).and_then(Json::as_object).filter(|m| !m.is_empty());
        let found = table("rope_scaling").or_else(|| table("rope_parameters"));
        let inner = found.and_then(|t| t.get("full_attention")).and_then(Json::as_object);
        inner.or(found).cloned().unwrap_or_default()
    }

    /// The base period of layers that see a window only, where they have one of their own.
    fn local_theta(&self) -> Result<Option<f64>> {
        let nested = self.get("rope_parameters").and_then(|t| t.get("sliding_attention")?.get("rope_theta")?.as_f64());
        match nested {
            Some(theta) => Ok(Some(theta)),
            None => self.number("rope_local_base_freq"),
        }
    }
}
