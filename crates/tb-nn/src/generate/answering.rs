//! One answer in the making, a token at a time, for callers that do other things between two tokens. The same prompt, settings and
//! adapter give the same tokens as [`super::generate`] with that prompt alone, whatever happens in between.

use super::cache::{self, RowCache};
use super::prefill::read_prompt;
use super::{Finish, Flow, GenerationConfig, Shared, choose};
use crate::decoder::Decoder;
use crate::{Error, Result};
use candle_core::Tensor;

/// An answer that [`Answering::step`] makes longer. It holds the keys and values of its row, not the model.
pub struct Answering {
    cache: RowCache,
    config: GenerationConfig,
    made: usize,
    next: Next,
}

/// What a step does first.
#[derive(Clone, Copy)]
enum Next {
    /// Take the token that the prompt has led to.
    Take(u32),
    /// Show the model its last token.
    Show(u32),
}

/// What a step brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new token; never the end token.
    Token(u32),
    /// The answer has ended; a further step says so again.
    End(Finish),
}

impl Answering {
    /// Reads the prompt with the adapter that the decoder wears, from what `shared` holds of it on, and keeps it there; `shared` belongs to
    /// this base and to that adapter. `wanted` is asked before every layer; none once it stops.
    ///
    /// Errors: an empty prompt, a token outside the vocabulary, a setting out of range, logits that are not a number.
    pub fn begin(
        decoder: &Decoder,
        prompt: &[u32],
        config: GenerationConfig,
        shared: &mut Shared<'_>,
        wanted: &mut dyn FnMut() -> Flow,
    ) -> Result<Option<Self>> {
        config.check()?;
        if prompt.is_empty() {
            return Err(Error::value("generate", "the prompt has no tokens"));
        }
        let Some((logits, cache)) = read_prompt(decoder, prompt, shared, wanted)? else { return Ok(None) };
        let first = choose_one(&logits, prompt.len(), &config)?;
        Ok(Some(Self { cache, config, made: 0, next: Next::Take(first) }))
    }

    /// The next token. The decoder must wear what it wore at the beginning.
    ///
    /// Errors: logits that are not a number.
    pub fn step(&mut self, decoder: &Decoder) -> Result<Step> {
        if self.made >= self.config.max_new_tokens {
            return Ok(Step::End(Finish::Length));
        }
        let id = match self.next {
            Next::Take(id) => id,
            Next::Show(last) => {
                let position = self.cache.tokens() + 1;
                let logits = cache::decode(decoder, &[last], &mut [&mut self.cache])?; // (1, V)
                choose_one(&logits, position, &self.config)?
            }
        };
        if self.config.eos_token_ids.contains(&id) {
            self.next = Next::Take(id);
            return Ok(Step::End(Finish::Eos));
        }
        self.made += 1;
        self.next = Next::Show(id);
        Ok(Step::Token(id))
    }
}

/// The next token of the only row, from its logits (1, V).
fn choose_one(logits: &Tensor, position: usize, config: &GenerationConfig) -> Result<u32> {
    Ok(choose(logits, logits.dim(1)?, &[(0, position)], config)?.remove(0))
}
