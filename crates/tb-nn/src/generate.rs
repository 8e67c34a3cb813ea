//! Generation: batched decode of ragged rows with a key/value cache per row, end tokens. How prompts are read is in `generate/prefill.rs`,
//! the choice of a token in `generate/sampler.rs`, an answer that is made a token at a time in `generate/answering.rs`.

mod answering;
mod cache;
mod prefill;
mod prefixes;
mod sampler;

pub use answering::{Answering, Step};
#[cfg(feature = "cuda")]
pub(crate) use cache::Steps;
pub use prefixes::{Prefixes, Shared};

use crate::checkpoint::read_json;
use crate::decoder::{Decoder, is_gguf, read_config};
#[cfg(feature = "cuda")]
use crate::ops::gpu::{Gpu, read_gpu};
use crate::ops::slices::read;
use crate::{Error, Result};
use cache::RowCache;
use candle_core::Tensor;
use std::path::Path;
use tb_core::decoder_config::token_ids;

/// How answers are made.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Most tokens per answer.
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token; above 0 divides the logits before sampling.
    pub temperature: f64,
    /// Sampling keeps the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f64,
    /// Sampling keeps this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Same seed, same prompts: same answers.
    pub seed: u64,
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
}

impl Default for GenerationConfig {
    /// Greedy, at most 256 tokens, no end token.
    fn default() -> Self {
        Self { max_new_tokens: 256, temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0, eos_token_ids: Vec::new() }
    }
}

impl GenerationConfig {
    /// The default with the end tokens of a model: those of `generation_config.json` in its folder; if that file or its field is
    /// absent, of `config.json`; of a GGUF file, those of its metadata.
    pub fn read(model: &Path) -> Result<Self> {
        let mut config = Self::default();
        if is_gguf(model) {
            config.eos_token_ids = read_config(model)?.eos_token_ids;
            return Ok(config);
        }
        let generation = model.join("generation_config.json");
        let files = [generation.is_file().then_some(generation), Some(model.join("config.json"))];
        for path in files.into_iter().flatten() {
            let value = read_json(&path)?;
            config.eos_token_ids = token_ids(value.get("eos_token_id"))
                .ok_or_else(|| Error::file(&path, "`eos_token_id` must be a token id or a list of them"))?;
            if !config.eos_token_ids.is_empty() {
                break;
            }
        }
        Ok(config)
    }

    /// Refuses values outside their range, by name.
    pub fn check(&self) -> Result<()> {
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return Err(Error::config("temperature", format!("{} must be a number from 0", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::config("top_p", format!("{} must be above 0 and at most 1", self.top_p)));
        }
        Ok(())
    }
}

/// The listener's answer to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on with this row.
    Continue,
    /// End this row here.
    Stop,
}

/// Why a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model gave an end token.
    Eos,
    /// `max_new_tokens` were made.
    Length,
    /// The listener stopped it.
    Stopped,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// New tokens, without the prompt and without the end token.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Answers every prompt; `on_token(row, id)` hears each new token (not the end token) as it is made.
///
/// Rows are decoded together and leave the batch as they end. Sampling is keyed by (seed, position, row). What prompts begin with in
/// common is read once, which changes no answer. Errors: an empty prompt, a token outside the vocabulary, a setting out of range, logits
/// that are not finite.
pub fn generate(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    on_token: &mut dyn FnMut(usize, u32) -> Flow,
) -> Result<Vec<Generated>> {
    generate_sharing(decoder, prompts, config, &mut Prefixes::new(0).of(0), on_token)
}

/// As [`generate`], from what `shared` holds of the prompts on; what they have in common is kept there. It belongs to this base and to the
/// adapter that the decoder wears.
pub fn generate_sharing(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    shared: &mut Shared<'_>,
    on_token: &mut dyn FnMut(usize, u32) -> Flow,
) -> Result<Vec<Generated>> {
    config.check()?;
    if let Some(row) = prompts.iter().position(Vec::is_empty) {
        return Err(Error::value("generate", format!("prompt {row} has no tokens")));
    }
    let mut done: Vec<Generated> =
        prompts.iter().map(|_| Generated { ids: Vec::new(), finish: Finish::Length }).collect();
    if config.max_new_tokens == 0 || prompts.is_empty() {
        return Ok(done);
    }
    let vocab = decoder.config().vocab_size;
    let mut live: Vec<Live> = Vec::with_capacity(prompts.len());
    let mut next: Vec<u32> = Vec::with_capacity(prompts.len());
    prefill::read_prompts(decoder, prompts, shared, |rows, logits, caches| {
        let at: Vec<(usize, usize)> = rows.clone().map(|row| (row, prompts[row].len())).collect();
        next.extend(choose(logits, vocab, &at, config)?);
        live.extend(rows.zip(caches).map(|(row, cache)| Live { row, cache }));
        Ok(())
    })?;
    loop {
        let mut keep = Vec::with_capacity(live.len());
        for (row, id) in live.iter().map(|l| l.row).zip(&next) {
            keep.push(accept(&mut done[row], row, *id, config, on_token));
        }
        let mut kept = keep.iter();
        next.retain(|_| kept.next().copied().unwrap_or(false));
        let mut kept = keep.iter();
        live.retain(|_| kept.next().copied().unwrap_or(false));
        if live.is_empty() {
            return Ok(done);
        }
        let at: Vec<(usize, usize)> = live.iter().map(|l| (l.row, l.cache.tokens() + 1)).collect();
        let mut caches: Vec<&mut RowCache> = live.iter_mut().map(|l| &mut l.cache).collect();
        let logits = cache::decode(decoder, &next, &mut caches)?; // (rows, V)
        next = choose(&logits, vocab, &at, config)?;
    }
}

struct Live {
    row: usize,
    cache: RowCache,
}

/// Takes a token into a row; whether the row goes on.
fn accept(
    answer: &mut Generated,
    row: usize,
    id: u32,
    config: &GenerationConfig,
    on_token: &mut dyn FnMut(usize, u32) -> Flow,
) -> bool {
    if config.eos_token_ids.contains(&id) {
        answer.finish = Finish::Eos;
        return false;
    }
    answer.ids.push(id);
    match on_token(row, id) {
        Flow::Stop => {
            answer.finish = Finish::Stopped;
            false
        }
        Flow::Continue => answer.ids.len() < config.max_new_tokens,
    }
}

/// The next token of each row, from logits (rows, V); `at` is (row, position of the new token).
fn choose(logits: &Tensor, vocab: usize, at: &[(usize, usize)], config: &GenerationConfig) -> Result<Vec<u32>> {
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() && config.temperature == 0.0 {
        let gpu = Gpu::of_tensor(logits)?;
        read_gpu!(gpu, values = logits);
        let best: Option<Vec<u32>> = gpu.best_logits(values, vocab)?.into_iter().collect();
        // Where a logit is not a number, the host says which.
        if let Some(ids) = best {
            return Ok(ids);
        }
    }
    read!(values = logits);
    values
        .chunks_exact(vocab)
        .zip(at)
        .map(|(logits, (row, position))| sampler::choose(logits, config, *row, *position))
        .collect()
}

/// Logits of the token after each prompt, (B, V), read from what `shared` holds on: what generation begins with. For tests.
pub fn prompt_logits(decoder: &Decoder, prompts: &[Vec<u32>], shared: &mut Shared<'_>) -> Result<Tensor> {
    let mut all = Vec::new();
    prefill::read_prompts(decoder, prompts, shared, |_, logits, _| {
        all.push(logits.clone());
        Ok(())
    })?;
    Ok(Tensor::cat(&all, 0)?)
}

/// Logits of the token after each row, (B, V), through the cache one token at a time: what generation sees. For tests.
///
/// The first `prefilled` tokens of each row go in at once; every row must be longer.
pub fn cached_logits(decoder: &Decoder, rows: &[Vec<u32>], prefilled: usize) -> Result<Tensor> {
    let start: Vec<&[u32]> = rows.iter().map(|ids| &ids[..prefilled]).collect();
    let mut caches: Vec<RowCache> = start.iter().map(|ids| RowCache::new(decoder.config(), ids.len())).collect();
    let first = prefill::read_on(decoder, &start, &mut caches, &mut || Flow::Continue)?;
    let first = first.expect("the listener never stops it");
    let mut last: Vec<Tensor> = (0..rows.len()).map(|r| first.narrow(0, r, 1)).collect::<candle_core::Result<_>>()?;
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    for t in prefilled..longest {
        let live: Vec<usize> = (0..rows.len()).filter(|r| rows[*r].len() > t).collect();
        let ids: Vec<u32> = live.iter().map(|r| rows[*r][t]).collect();
        let mut held: Vec<&mut RowCache> =
            caches.iter_mut().enumerate().filter(|(r, _)| live.contains(r)).map(|(_, c)| c).collect();
        let logits = cache::decode(decoder, &ids, &mut held)?;
        for (i, r) in live.iter().enumerate() {
            last[*r] = logits.narrow(0, i, 1)?;
        }
    }
    Ok(Tensor::cat(&last, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let bad = |change: fn(&mut GenerationConfig)| {
            let mut c = GenerationConfig::default();
            change(&mut c);
            c.check().unwrap_err().to_string()
        };
        assert!(bad(|c| c.temperature = -1.0).contains("temperature"));
        assert!(bad(|c| c.temperature = f64::NAN).contains("temperature"));
        assert!(bad(|c| c.top_p = 0.0).contains("top_p"));
        assert!(bad(|c| c.top_p = f64::NAN).contains("top_p"));
    }
}
