//! What a GGUF file's metadata say of its model, as the `config.json` that the same model has in a Hugging Face folder.

use std::io::{Read, Seek};

use serde_json::{Map, Value as Json, json};

use super::names::Arch;
use super::{GgufError, Header, Result, Value, bad, decimal};

/// Frequencies of a rotary embedding count as equal within this, relative: they went through f32 twice.
const SAME_FREQUENCY: f64 = 1e-5;

/// The family that the file names.
///
/// # Errors
/// None, or one that is not supported.
pub fn arch(header: &Header) -> Result<Arch> {
    let Some(name) = header.text("general.architecture")? else { return bad("it has no `general.architecture`") };
    Arch::ALL.into_iter().find(|arch| arch.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Arch::ALL.iter().map(|a| a.name()).collect();
        GgufError::Bad(format!("its architecture {name:?} is not supported: only {}", known.join(", ")))
    })
}

/// The model's configuration in Hugging Face's words. `file` is read for the factors of the rotary frequencies alone.
///
/// # Errors
/// A field that is missing, of the wrong type or impossible; it is named.
pub fn config_json(header: &Header, file: &mut (impl Read + Seek)) -> Result<Json> {
    let arch = arch(header)?;
    let fields = Fields { header, arch };
    if fields.count("expert_count")?.unwrap_or(0) > 0 {
        return bad("it is a mixture of experts, which is not supported");
    }
    let hidden = fields.needed("embedding_length")?;
    let heads = fields.needed("attention.head_count")?;
    if heads == 0 || hidden == 0 {
        return bad("it has no heads or no width");
    }
    let head_dim = match fields.count("attention.key_length")? {
        Some(d) => d,
        None if hidden % heads == 0 => hidden / heads,
        None => return bad(format!("its width {hidden} is no multiple of its {heads} heads")),
    };
    if fields.count("attention.value_length")?.is_some_and(|d| d != head_dim) {
        return bad("its keys and values differ in size, which is not supported");
    }
    let layers = fields.needed("block_count")?;
    if layers > header.tensors.len() {
        return bad(format!("its key `{}` is {layers}, more than it has tensors", fields.key("block_count")));
    }
    let rotated = fields.count("rope.dimension_count")?.unwrap_or(head_dim);
    let Some(embedding) = header.tensors.get("token_embd.weight").filter(|t| t.shape.len() == 2) else {
        return bad("tensor `token_embd.weight` is missing");
    };
    let has = |name: &str| header.tensors.contains_key(name);
    let mut out = Map::new();
    let mut put = |name: &str, value: Json| {
        out.insert(name.to_owned(), value);
    };
    put("model_type", json!(arch.model_type()));
    put("vocab_size", json!(embedding.shape[0]));
    put("hidden_size", json!(hidden));
    put("intermediate_size", json!(fields.needed("feed_forward_length")?));
    put("num_hidden_layers", json!(layers));
    put("num_attention_heads", json!(heads));
    put("num_key_value_heads", json!(fields.count("attention.head_count_kv")?.unwrap_or(heads)));
    put("head_dim", json!(head_dim));
    put("max_position_embeddings", json!(fields.needed("context_length")?));
    put("rms_norm_eps", json!(fields.needed_number("attention.layer_norm_rms_epsilon")?));
    put("tie_word_embeddings", json!(!has("output.weight")));
    let theta = fields.number("rope.freq_base")?.unwrap_or(10_000.0);
    let rope = rope(&fields, file, rotated, theta)?;
    put("rope_theta", json!(theta));
    if rotated != head_dim {
        if rotated > head_dim || arch != Arch::Phi3 {
            return bad(format!("it rotates {rotated} of {head_dim} values of a head, which is not supported"));
        }
        put("partial_rotary_factor", json!(rotated as f64 / head_dim as f64));
    }
    match arch {
        Arch::Llama | Arch::SmolLm3 | Arch::Qwen3 | Arch::Olmo2 => {
            put("attention_bias", json!(has("blk.0.attn_q.bias")));
            put("mlp_bias", json!(has("blk.0.ffn_down.bias")));
            put("hidden_act", json!("silu"));
        }
        Arch::Qwen2 | Arch::Phi3 => put("hidden_act", json!("silu")),
        Arch::Gemma2 | Arch::Gemma3 => {
            put("hidden_activation", json!("gelu_pytorch_tanh"));
            put("query_pre_attn_scalar", json!(gemma_query_scale(arch, layers, hidden, heads, head_dim)));
            put("attn_logit_softcapping", json!(fields.number("attn_logit_softcapping")?));
            put("final_logit_softcapping", json!(fields.number("final_logit_softcapping")?));
        }
    }
    let window = fields.count("attention.sliding_window")?.filter(|n| *n > 0);
    match arch {
        Arch::Gemma2 => {
            put("sliding_window", json!(window.unwrap_or(4096)));
            put("layer_types", layer_types(&fields, layers, 2)?);
        }
        Arch::Gemma3 => {
            put("sliding_window", json!(window));
            put("layer_types", layer_types(&fields, layers, if window.is_some() { 6 } else { 1 })?);
            put("rope_local_base_freq", json!(fields.number("rope.freq_base_swa")?.unwrap_or(10_000.0)));
        }
        // llama.cpp attends to everything in these families, whatever the key says.
        Arch::Llama | Arch::Qwen2 | Arch::Qwen3 | Arch::Phi3 | Arch::SmolLm3 => {}
        Arch::Olmo2 if window.is_some() => return bad("it is an OLMo-3 model, which is not supported"),
        Arch::Olmo2 => {}
    }
    if let Some(n) = rope.get("original_max_position_embeddings").filter(|_| arch == Arch::Phi3) {
        put("original_max_position_embeddings", n.clone());
    }
    put("rope_scaling", if rope.is_empty() { Json::Null } else { Json::Object(rope) });
    let id = |name: &str| header.count(&format!("tokenizer.ggml.{name}_token_id"));
    put("bos_token_id", json!(id("bos")?));
    put("pad_token_id", json!(id("padding")?));
    let (end, end_of_turn) = (id("eos")?, id("eot")?);
    put(
        "eos_token_id",
        match (end, end_of_turn) {
            (Some(a), Some(b)) if a != b => json!([a, b]),
            (a, b) => json!(a.or(b)),
        },
    );
    Ok(Json::Object(out))
}

/// The number under whose root Gemma's attention divides. llama.cpp knows the 27B models by their depth: there it is the width per
/// head, elsewhere the head's size.
#[must_use]
pub fn gemma_query_scale(arch: Arch, layers: usize, hidden: usize, heads: usize, head_dim: usize) -> usize {
    let large = layers == if arch == Arch::Gemma2 { 46 } else { 62 };
    if large { hidden / heads.max(1) } else { head_dim }
}

/// Which layers see a window only: all but every `every`-th, unless the file says otherwise.
fn layer_types(fields: &Fields<'_>, layers: usize, every: usize) -> Result<Json> {
    let key = fields.key("attention.sliding_window_pattern");
    let local: Vec<bool> = match fields.header.metadata.get(&key) {
        Some(Value::Bools(local)) if local.len() == layers => local.clone(),
        Some(Value::Bools(_)) => return bad(format!("its key `{key}` does not fit its {layers} layers")),
        Some(_) | None => {
            let every = fields.header.count(&key)?.unwrap_or(every).max(1);
            (0..layers).map(|layer| (layer + 1) % every != 0).collect()
        }
    };
    let name = |local: &bool| if *local { "sliding_attention" } else { "full_attention" };
    Ok(json!(local.iter().map(name).collect::<Vec<_>>()))
}

struct Fields<'a> {
    header: &'a Header,
    arch: Arch,
}

impl Fields<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch.name())
    }

    fn count(&self, name: &str) -> Result<Option<usize>> {
        self.header.count(&self.key(name))
    }

    fn needed(&self, name: &str) -> Result<usize> {
        self.count(name)?.ok_or_else(|| GgufError::Bad(format!("its key `{}` is missing", self.key(name))))
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        self.header.number(&self.key(name))
    }

    fn needed_number(&self, name: &str) -> Result<f64> {
        self.number(name)?.ok_or_else(|| GgufError::Bad(format!("its key `{}` is missing", self.key(name))))
    }
}

/// The table `rope_scaling`; empty where the frequencies are plain.
fn rope(fields: &Fields<'_>, file: &mut (impl Read + Seek), rotated: usize, theta: f64) -> Result<Map<String, Json>> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Json| {
        out.insert(name.to_owned(), value);
    };
    let kind = fields.header.text(&fields.key("rope.scaling.type"))?.unwrap_or("none");
    let factor = fields.number("rope.scaling.factor")?;
    let original = fields.count("rope.scaling.original_context_length")?;
    let long = fields.header.small_tensor(file, "rope_factors_long.weight")?;
    let short = fields.header.small_tensor(file, "rope_factors_short.weight")?;
    let freqs = fields.header.small_tensor(file, FREQS)?;
    match (kind, long, short, freqs) {
        (_, Some(long), Some(short), None) => {
            let Some(original) = original else {
                return bad("its key `rope.scaling.original_context_length` is missing, which its long factors need");
            };
            put("rope_type", json!("longrope"));
            put("long_factor", json!(decimals(&long)));
            put("short_factor", json!(decimals(&short)));
            put("original_max_position_embeddings", json!(original));
            if let Some(attention) = fields.number("rope.scaling.attn_factor")? {
                put("attention_factor", json!(attention));
            }
        }
        ("none" | "linear", None, None, Some(factors)) if factor.is_none_or(|f| f == 1.0) => {
            if factors.len() != rotated / 2 {
                return bad(format!("tensor `{FREQS}` has {} values, not {}", factors.len(), rotated / 2));
            }
            let table = llama3(&factors, rotated, theta).map_or_else(|| any_divisors(fields, &factors), Ok)?;
            out.extend(table);
        }
        ("none", None, None, None) => {}
        ("linear", None, None, None) => match factor {
            Some(factor) if factor != 1.0 && factor != 0.0 => {
                put("rope_type", json!("linear"));
                put("factor", json!(factor));
            }
            Some(_) | None => {}
        },
        ("yarn", None, None, None) => {
            let (Some(factor), Some(original)) = (factor, original) else {
                return bad("its yarn scaling lacks `rope.scaling.factor` or `rope.scaling.original_context_length`");
            };
            put("rope_type", json!("yarn"));
            put("factor", json!(factor));
            put("original_max_position_embeddings", json!(original));
            for (key, name) in [
                ("rope.scaling.yarn_attn_factor", "attention_factor"),
                ("rope.scaling.yarn_beta_fast", "beta_fast"),
                ("rope.scaling.yarn_beta_slow", "beta_slow"),
            ] {
                if let Some(number) = fields.number(key)? {
                    put(name, json!(number));
                }
            }
        }
        (kind, ..) => return bad(format!("its rotary scaling {kind:?} with these tensors is not supported")),
    }
    Ok(out)
}

fn decimals(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| decimal(*x)).collect()
}

/// The divisor of each rotary frequency under Llama 3's rule: 1 for short waves, `factor` for long ones, and between them
/// `1 / ((1 - s) / factor + s)` with `s = (original / wavelength - low) / (high - low)`.
#[must_use]
pub fn llama3_factors(rotated: usize, theta: f64, factor: f64, low: f64, high: f64, original: f64) -> Vec<f32> {
    (0..rotated / 2)
        .map(|i| {
            let wavelength = std::f64::consts::TAU * theta.powf(2.0 * i as f64 / rotated as f64);
            let smooth = (original / wavelength - low) / (high - low);
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor as f32
            } else {
                (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
            }
        })
        .collect()
}

/// Divisors that follow no rule: those of longrope, the same for texts of any length.
fn any_divisors(fields: &Fields<'_>, divisors: &[f32]) -> Result<Map<String, Json>> {
    if let Some(wrong) = divisors.iter().find(|d| !(d.is_finite() && **d > 0.0)) {
        return bad(format!("tensor `{FREQS}` holds {wrong}, which divides no frequency"));
    }
    let (divisors, longest) = (decimals(divisors), fields.needed("context_length")?);
    let table = json!({"rope_type": "longrope", "short_factor": divisors, "long_factor": divisors, "attention_factor": 1.0,
        "original_max_position_embeddings": longest});
    Ok(table.as_object().cloned().unwrap_or_default())
}

/// Llama 3's parameters from the divisors that a file holds, if they follow its rule. The rule only knows `original / low`, `original / high`, so one of the
/// three is free: `low_freq_factor` is 1, as in every published model.
fn llama3(factors: &[f32], rotated: usize, theta: f64) -> Option<Map<String, Json>> {
    let table = |factor: f64, high: f64, original: f64| -> Option<Map<String, Json>> {
        let ours = llama3_factors(rotated, theta, factor, 1.0, high, original);
        let close = |(a, b): (&f32, &f32)| {
            let (a, b) = (f64::from(*a), f64::from(*b));
            (a - b).abs() <= SAME_FREQUENCY * b.abs()
        };
        if !ours.iter().zip(factors).all(close) {
            return None;
        }
        let table = json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": high,
            "original_max_position_embeddings": original});
        table.as_object().cloned()
    };
    let factor = factors.iter().copied().fold(1.0_f32, f32::max);
    if factor == 1.0 {
        return factors.iter().all(|x| *x == 1.0).then(Map::new);
    }
    let factor = decimal(factor);
    // Between the two bounds the rule is a straight line over 1/wavelength: two such points give both bounds.
    let points: Vec<(f64, f64)> = (0..factors.len())
        .filter(|i| factors[*i] > 1.0 && f64::from(factors[*i]) < factor)
        .map(|i| {
            let frequency = 1.0 / (std::f64::consts::TAU * theta.powf(2.0 * i as f64 / rotated as f64));
            let smooth = (1.0 / f64::from(factors[i]) - 1.0 / factor) / (1.0 - 1.0 / factor);
            (frequency, smooth)
        })
        .collect();
    if let (Some(first), Some(last)) = (points.first(), points.last())
        && points.len() > 1
    {
        // smooth = original/(high - 1) * frequency - 1/(high - 1)
        let slope = (first.1 - last.1) / (first.0 - last.0);
        let offset = last.1 - slope * last.0;
        let high = 1.0 - 1.0 / offset;
        let original = -slope / offset;
        let rounded = (original.round(), (high * 64.0).round() / 64.0);
        return table(factor, rounded.1, rounded.0).or_else(|| table(factor, high, original));
    }
    // Too few points for a line: the published settings, and every shorter context.
    let contexts = (3..18).map(|n| f64::from(1 << n));
    contexts.into_iter().find_map(|original| table(factor, 4.0, original))
}

/// Holds what each frequency of a rotary embedding is divided by.
pub(super) const FREQS: &str = "rope_freqs.weight";
