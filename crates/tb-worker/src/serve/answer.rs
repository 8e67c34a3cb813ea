//! One answer: its prompt in tokens, its adapter, its text so far, and its times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tb_core::ErrorCode;
use tb_core::run_folder::Framing;
use tb_core::serving::{Finish, Finished, Generate};
use tb_data::tokenize::{AnswerText, whole_characters};
use tb_nn::generate::{Answering, Flow, Step};

use super::Wanted;
use super::resident::{Held, Resident};
use crate::error::{Failure, Result};

/// An answer in the making.
pub struct Answer {
    /// Of its request.
    pub id: u64,
    adapter: Option<Arc<Held>>,
    answering: Answering,
    text: AnswerText,
    wanted: Wanted,
    /// Whether its length is what the context has left, not what was asked for.
    cut_by_context: bool,
    prompt_tokens: u32,
    tokens: u32,
    times: Times,
}

struct Times {
    asked: Instant,
    first_token: Option<Duration>,
    /// Of the steps after the first token, without what other answers had in between.
    own: Duration,
}

/// How an answer began.
pub enum Begun {
    /// It grows.
    Answer(Box<Answer>),
    /// It was not wanted any more before its first token.
    Stopped(Finished),
}

/// What a turn brought.
pub enum Turn {
    /// The answer goes on.
    More(String),
    /// It has ended.
    End {
        /// What had been held back.
        text: String,
        /// How.
        finished: Finished,
    },
}

impl Answer {
    /// Reads the prompt; `started` hears its tokens before they are computed.
    ///
    /// # Errors
    /// An adapter, a prompt or a decoding that cannot be used.
    pub fn begin(
        resident: &mut Resident,
        id: u64,
        generate: &Generate,
        wanted: Wanted,
        asked: Instant,
        started: &mut dyn FnMut(u32, Framing),
    ) -> Result<Begun> {
        let stopped = |prompt_tokens| {
            let time_ms = asked.elapsed().as_millis() as u64;
            let finish = Finish::Stopped;
            Begun::Stopped(Finished {
                finish,
                prompt_tokens,
                tokens: 0,
                tokens_per_s: 0.0,
                first_token_ms: time_ms,
                time_ms,
            })
        };
        if !wanted.still() {
            return Ok(stopped(0));
        }
        let mut config = resident.config(&generate.decoding)?;
        let (ids, framing) = resident.prompt_ids(&generate.prompt)?;
        let room = resident.context().saturating_sub(ids.len());
        if ids.is_empty() || room == 0 {
            let message = format!(
                "Nothing was generated: the prompt has {} tokens, the model's context {}.",
                ids.len(),
                resident.context()
            );
            return Err(Failure::new(ErrorCode::InvalidArgument, message).hint("Shorten the prompt, or write one."));
        }
        let cut_by_context = config.max_new_tokens > room;
        config.max_new_tokens = config.max_new_tokens.min(room);
        let adapter = generate.adapter.as_deref().map(|folder| resident.adapter(folder)).transpose()?;
        let prompt_tokens = ids.len() as u32;
        started(prompt_tokens, framing);
        let mut go_on = || if wanted.still() { Flow::Continue } else { Flow::Stop };
        let (decoder, mut shared) = resident.reading(adapter.as_ref());
        let answering = Answering::begin(decoder, &ids, config, &mut shared, &mut go_on)?;
        let Some(answering) = answering else { return Ok(stopped(prompt_tokens)) };
        Ok(Begun::Answer(Box::new(Self {
            id,
            adapter,
            answering,
            text: AnswerText::default(),
            wanted,
            cut_by_context,
            prompt_tokens,
            tokens: 0,
            times: Times { asked, first_token: None, own: Duration::ZERO },
        })))
    }

    /// One token more, or the end.
    ///
    /// # Errors
    /// Numbers of the model that are none.
    pub fn turn(&mut self, resident: &mut Resident) -> Result<Turn> {
        if !self.wanted.still() {
            return self.end(resident, Finish::Stopped);
        }
        let begun = Instant::now();
        let step = self.answering.step(resident.decoder(self.adapter.as_ref()))?;
        if self.times.first_token.is_some() {
            self.times.own += begun.elapsed();
        }
        match step {
            Step::Token(id) => {
                self.tokens += 1;
                self.times.first_token.get_or_insert_with(|| self.times.asked.elapsed());
                Ok(Turn::More(self.text.push(resident.tokenizer(), id)?))
            }
            Step::End(tb_nn::Finish::Eos) => self.end(resident, Finish::Eos),
            Step::End(tb_nn::Finish::Length) if self.cut_by_context => self.end(resident, Finish::Context),
            Step::End(tb_nn::Finish::Length) => self.end(resident, Finish::Length),
            Step::End(tb_nn::Finish::Stopped) => self.end(resident, Finish::Stopped),
        }
    }

    fn end(&mut self, resident: &Resident, finish: Finish) -> Result<Turn> {
        let rest = std::mem::take(&mut self.text).rest(resident.tokenizer())?;
        let text = match finish {
            Finish::Eos => rest,
            Finish::Length | Finish::Context | Finish::Stopped => whole_characters(&rest).to_owned(),
        };
        let time = self.times.asked.elapsed();
        let own = self.times.own.as_secs_f64();
        let after_first = f64::from(self.tokens.saturating_sub(1));
        let finished = Finished {
            finish,
            prompt_tokens: self.prompt_tokens,
            tokens: self.tokens,
            tokens_per_s: if own > 0.0 { after_first / own } else { 0.0 },
            first_token_ms: self.times.first_token.unwrap_or(time).as_millis() as u64,
            time_ms: time.as_millis() as u64,
        };
        Ok(Turn::End { text, finished })
    }
}
