//! Answers to prompts, each told as an event when it is whole.

use tb_core::ErrorCode;
use tb_core::run_folder::{Decoding, Done, GenerateTask, Outcome, RunEventBody};
use tb_data::tokenize::{TextTokenizer, frame_prompt, whole_characters};
use tb_nn::decoder::Decoder;
use tb_nn::generate::{Finish, Flow, Generated, GenerationConfig, Prefixes, generate_sharing};

use crate::error::{Failure, Result};
use crate::models;
use crate::protocol::Session;

/// Prompts decoded together.
const TOGETHER: usize = 16;

/// Bytes of keys and values that stay in memory from one chunk of prompts to the next: of what they all begin with.
const KEPT_PREFIX_BYTES: usize = 1 << 28;

/// Runs a generation task.
///
/// # Errors
/// A model or prompt that cannot be used.
pub fn run(session: &mut Session, task: &GenerateTask) -> Result<()> {
    session.started(None)?;
    let started = std::time::Instant::now();
    let tokenizer = models::tokenizer(&task.model.base)?;
    let decoder = models::frozen(&task.model, task.dtype, &session.spec().device)?;
    let config = config(&task.decoding, &task.model.base, &tokenizer)?;
    let prompts = task
        .prompts
        .iter()
        .map(|text| Ok(frame_prompt(&tokenizer, text, task.framing)?))
        .collect::<Result<Vec<Vec<u32>>>>()?;
    let (mut tokens, mut prefixes) = (0, prefixes());
    for (chunk, prompts) in prompts.chunks(TOGETHER).enumerate() {
        let first = chunk * TOGETHER;
        for (i, answer) in answers(&decoder, prompts, &config, first as u64, &mut prefixes)?.iter().enumerate() {
            tokens += answer.ids.len();
            let text = tokenizer.decode(&answer.ids)?;
            let text = match answer.finish {
                Finish::Eos => text,
                Finish::Length | Finish::Stopped => whole_characters(&text).to_owned(),
            };
            session.emit(RunEventBody::Generated {
                index: (first + i) as u32,
                text,
                tokens: answer.ids.len() as u32,
                finish: finish(answer.finish).to_owned(),
            })?;
        }
    }
    let mut metrics = serde_json::Map::new();
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    metrics.insert("tokens_per_s".to_owned(), (tokens as f64 / seconds).into());
    session.emit(RunEventBody::Done(Done { outcome: Outcome::Completed, step: 0, metrics, files: Vec::new() }))?;
    session.sync()
}

/// The settings of a decoding with the model's end tokens.
///
/// # Errors
/// A setting out of range, or a `generation_config.json` that cannot be read.
pub fn config(decoding: &Decoding, base: &std::path::Path, tokenizer: &TextTokenizer) -> Result<GenerationConfig> {
    let mut config = GenerationConfig::read(base)?;
    if config.eos_token_ids.is_empty() {
        config.eos_token_ids.extend(tokenizer.eos_id());
    }
    config.max_new_tokens = decoding.max_new_tokens as usize;
    config.temperature = decoding.temperature;
    config.top_p = decoding.top_p;
    config.top_k = decoding.top_k as usize;
    config.seed = decoding.seed;
    config.check()?;
    Ok(config)
}

/// What prompts have in common, for the chunks of one model.
pub fn prefixes() -> Prefixes {
    Prefixes::new(KEPT_PREFIX_BYTES)
}

/// Answers of a chunk of prompts whose first has number `first` in the whole job; `prefixes` are of this very model.
///
/// # Errors
/// An empty prompt, or logits that are not finite.
pub fn answers(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    first: u64,
    prefixes: &mut Prefixes,
) -> Result<Vec<Generated>> {
    if let Some(empty) = prompts.iter().position(Vec::is_empty) {
        return Err(Failure::new(ErrorCode::InvalidArgument, format!("prompt {} is empty.", first + empty as u64)));
    }
    // Sampling is keyed by the row within a call; the seed tells the chunks apart.
    let config = GenerationConfig { seed: config.seed.wrapping_add(first), ..config.clone() };
    Ok(generate_sharing(decoder, prompts, &config, &mut prefixes.of(0), &mut |_, _| Flow::Continue)?)
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Eos => "eos",
        Finish::Length => "length",
        Finish::Stopped => "stopped",
    }
}
